"""Evaluations in the background: the rows of a slice go to the cache, and who asked may look how far they are."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from typing import Literal, TypeAlias

import numpy as np

from service import errors
from service.sessions.derivatives import Derivatives, LazySlice
from service.sessions.registry import Sessions
from service.sessions.session import OWN, Wanted
from service.sessions.spec import Session

State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]

AT_ONCE = 4
"""Evaluations that run; the others are queued."""
MOST_UNFINISHED = 64
"""Evaluations of a tenant that are queued or running; more are `busy`."""
KEPT_SECONDS = 3600.0
"""How long a finished evaluation is still known."""
FIRST_ROWS = 16
"""Rows that are evaluated before progress is first told; twice as many each time that this was quick."""
QUICK_SECONDS = 0.25
QUIET_SECONDS = 15.0
"""How often one that does not change is told again to who watches it."""
PATIENCE = 10
"""How often an evaluation asks again while no worker is ready."""

_LOG = logging.getLogger(__name__)


class Evaluation:
    """One evaluation. Times are seconds since the epoch.

    Attributes:
        id: begins with the session's id.
        session_id: the session.
        revision: the session's, at which it is evaluated.
        tenant: whose it is.
        slice: what is evaluated.
        state: how it stands.
        done: rows that are cached by now, of those that the slice touches.
        created_at: when it was asked for.
        finished_at: when it ended.
        problem: why it failed.
    """

    def __init__(self, tenant: str, session: Session, wanted: LazySlice, now: float) -> None:
        self.session_id = session.record.id
        self.revision = session.record.revision
        self.id = f"{self.session_id}.{secrets.token_urlsafe(9)}"
        self.tenant = tenant
        self.slice = wanted
        self.state: State = "queued"
        self.done = 0
        self.created_at = now
        self.finished_at: float | None = None
        self.problem: errors.Problem | None = None
        self._pace = 0.0
        self._changed = asyncio.Event()

    @property
    def total(self) -> int:
        """The rows that the slice touches."""
        return len(self.slice.rows)

    @property
    def eta_seconds(self) -> float | None:
        """How long it will take yet, by its pace so far; None where that is not known."""
        return self._pace * (self.total - self.done) if self.state == "running" and self.done else None

    @property
    def finished(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.finished_at is not None

    def advance(self, rows: int, seconds: float) -> None:
        """More rows are cached, `seconds` after it began to run."""
        self.done += rows
        self._pace = seconds / self.done
        self._tell()

    def enter(self, state: State, now: float | None = None, problem: errors.Problem | None = None) -> None:
        """It stands otherwise now; with a time it has ended, unless it had before."""
        if not self.finished:
            self.state, self.finished_at, self.problem = state, now, problem
            self._tell()

    async def changes(self) -> AsyncGenerator["Evaluation", None]:
        """This now, again whenever it has changed or was quiet for long, and when it has ended."""
        while not self.finished:
            changed = self._changed
            yield self
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), QUIET_SECONDS)
        yield self

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Evaluations:
    """The evaluations of all tenants, in this process.

    Args:
        sessions: what is evaluated.
        derivatives: who evaluates.
        clock: seconds since the epoch.
    """

    def __init__(self, sessions: Sessions, derivatives: Derivatives, clock: Callable[[], float] = time.time) -> None:
        self._sessions = sessions
        self._derivatives = derivatives
        self._clock = clock
        self._known: dict[str, Evaluation] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def start(self, tenant: str, session_id: str, wanted: Wanted) -> Evaluation:
        """Begin the evaluation of a slice at the session's present revision.

        Raises:
            Busy: the tenant has too many that are not finished.
            Problem: the slice is not valid.
        """
        self._purge()
        if sum(e.tenant == tenant and not e.finished for e in self._known.values()) >= MOST_UNFINISHED:
            raise errors.Busy(
                f"{MOST_UNFINISHED} evaluations are not finished yet; cancel one or wait", headers={"Retry-After": "5"}
            )

        async def begin(session: Session) -> Evaluation:
            return Evaluation(tenant, session, self._derivatives.slice(session, wanted), self._clock())

        evaluation = await self._sessions.at(tenant, session_id, OWN, begin)
        self._known[evaluation.id] = evaluation
        task = self._tasks[evaluation.id] = asyncio.create_task(self._run(evaluation))
        task.add_done_callback(lambda _: self._tasks.pop(evaluation.id))
        return evaluation

    def get(self, tenant: str, evaluation_id: str) -> Evaluation:
        """An evaluation. Raises: NotFound."""
        found = self._known.get(evaluation_id)
        if found is None or found.tenant != tenant:
            raise errors.NotFound(f"there is no evaluation {evaluation_id}; finished ones are kept for an hour")
        return found

    def cancel(self, tenant: str, evaluation_id: str) -> None:
        """End an evaluation; rows that are there stay. Raises: NotFound."""
        self._end(self.get(tenant, evaluation_id))

    def forget(self, tenant: str, session_id: str) -> None:
        """Cancel and forget the evaluations of a session."""
        for evaluation in [e for e in self._known.values() if (e.tenant, e.session_id) == (tenant, session_id)]:
            self._end(evaluation)
            del self._known[evaluation.id]

    async def stop(self) -> None:
        """Cancel all that is not finished."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _end(self, evaluation: Evaluation) -> None:
        evaluation.enter("cancelled", self._clock())
        task = self._tasks.get(evaluation.id)
        if task is not None:
            task.cancel()

    def _purge(self) -> None:
        before = self._clock() - KEPT_SECONDS
        for evaluation in list(self._known.values()):
            if evaluation.finished_at is not None and evaluation.finished_at < before:
                del self._known[evaluation.id]

    async def _run(self, evaluation: Evaluation) -> None:
        try:
            async with self._slots:
                evaluation.enter("running")
                await _evaluate(evaluation)
            evaluation.enter("done", self._clock())
        except errors.Problem as problem:
            evaluation.enter("failed", self._clock(), problem)
        except Exception:
            _LOG.exception("evaluation %s failed", evaluation.id)
            failure = errors.Internal("the service failed; the evaluation's id is in its log")
            evaluation.enter("failed", self._clock(), failure)
        finally:
            evaluation.enter("cancelled", self._clock())


async def _evaluate(evaluation: Evaluation) -> None:
    began, start, size = time.monotonic(), 0, FIRST_ROWS
    rows = evaluation.slice.rows
    while start < len(rows):
        part, asked = rows[start : start + min(size, evaluation.slice.window)], time.monotonic()
        await _fill(evaluation.slice, part)
        evaluation.advance(len(part), time.monotonic() - began)
        start += len(part)
        if time.monotonic() - asked < QUICK_SECONDS:
            size *= 2


async def _fill(wanted: LazySlice, rows: np.ndarray) -> None:
    """Evaluate some rows, also where it takes a while until a worker is ready."""
    for attempt in range(1, PATIENCE + 1):
        try:
            await wanted.fill(rows)
        except errors.Busy as busy:
            if attempt == PATIENCE:
                raise
            await asyncio.sleep(float(busy.headers.get("Retry-After", "1")))
        else:
            return
