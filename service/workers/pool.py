"""The pool of workers: who is asked, what happens when one is lost, and the questions themselves."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from msgspec.structs import replace

from service import errors
from service.errors import Fault
from service.link import messages
from service.link.messages import Compiled, Content, Function, Message, Opened, Point, Question, SessionNames
from service.workers.process import Answer, Call, Lost, WorkerOptions, WorkerProcess
from service.workers.supervisor import Supervisor

POINTS_REMEMBERED = 4096
ATTEMPTS = 2
"""A request whose worker is lost is given to another once."""
RETRY_AFTER = {"Retry-After": "2"}

Contents: TypeAlias = Callable[[], tuple[bytes, Mapping[str, np.ndarray]]]
"""The model of a point and the values of its inputs, for a worker that does not hold it."""


@dataclass(frozen=True, slots=True)
class PointSource:
    """A point that a worker may be asked about, and where its content is."""

    point: Point
    contents: Contents


@dataclass(frozen=True, slots=True)
class Computed:
    """Arrays by name, and seconds by phase (`queue`, `forward`, `rows`)."""

    arrays: Mapping[str, np.ndarray]
    timings: Mapping[str, float]


class Pool:
    """Worker processes behind one face.

    Args:
        count: how many.
        options: what each is started with.
        queue_length: requests that one may hold; more are `busy`.
        wait: seconds that a request waits for a worker to be ready.
        silence: seconds without a sign of life that end a worker.
        stall: seconds without progress that end a worker.
    """

    def __init__(
        self, count: int, options: WorkerOptions, *, queue_length: int, wait: float, silence: float, stall: float
    ) -> None:
        self._supervisors = [Supervisor(i, options, silence, stall, self._wake) for i in range(count)]
        self._queue_length = queue_length
        self._wait = wait
        self._changed = asyncio.Event()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def _ready(self) -> list[WorkerProcess]:
        return [s.current for s in self._supervisors if s.current is not None and not s.current.lost.done()]

    @property
    def ready(self) -> bool:
        """Whether a worker answers."""
        return bool(self._ready)

    @property
    def device(self) -> str:
        """What rows are evaluated on: the kind of device of the workers."""
        return next((w.device.partition(":")[0] for w in self._ready), "cpu")

    async def start(self) -> None:
        """Start the workers; does not wait until they are ready."""
        for supervisor in self._supervisors:
            supervisor.start()

    async def stop(self) -> None:
        """End the workers."""
        await asyncio.gather(*(s.stop() for s in self._supervisors))

    async def compile(self, source: Mapping[str, Any], names: SessionNames) -> Compiled:
        """Make the one model of a graph.

        Raises:
            Problem: the graph is not valid or not supported; pointers are relative to the graph.
        """
        answer, _ = await self._ask(messages.Compile(dict(source), names), source.get("format", ""))
        assert isinstance(answer, Compiled)  # noqa: S101
        return answer

    async def open(self, source: PointSource) -> Opened:
        """Evaluate a point forwards, no row of it.

        Raises:
            Problem: the graph cannot be evaluated there.
        """
        answer, _ = await self._ask(messages.Open(Question(source.point)), source.point.point_id, source)
        assert isinstance(answer, Opened)  # noqa: S101
        return answer

    async def values(self, source: PointSource, outputs: Sequence[str]) -> Computed:
        """The values of outputs at a point, by name."""
        message = messages.Values(Question(source.point), tuple(outputs))
        return await self._compute(message, source)

    async def product(
        self,
        source: PointSource,
        ys: Sequence[str],
        xs: Sequence[str],
        cotangents: Mapping[str, np.ndarray],
        tangents: Mapping[str, np.ndarray],
        batched: bool,
    ) -> Computed:
        """A VJP (cotangents by y), a JVP (tangents by x) or the derivative of a VJP (both) at a point; by name."""
        question = Question(source.point)
        message = messages.Product(question, tuple(ys), tuple(xs), tuple(cotangents), tuple(tangents), batched)
        return await self._compute(message, source, (*cotangents.values(), *tangents.values()))

    async def check(
        self,
        source: PointSource,
        ys: Sequence[str],
        xs: Sequence[str],
        x1s: Sequence[str] = (),
        cotangents: Mapping[str, np.ndarray] | None = None,
    ) -> float:
        """The relative residual of the adjoint identity of `xs -> ys`, or of its gradient by `x1s`."""
        given = cotangents or {}
        message = messages.Check(Question(source.point), tuple(ys), tuple(xs), tuple(x1s), tuple(given))
        answer, _ = await self._ask(message, source.point.point_id, source, tuple(given.values()))
        assert isinstance(answer, messages.Checked)  # noqa: S101
        return answer.residual

    def evaluator(self, source: PointSource, function: Function) -> "PoolEvaluator":
        """Whoever evaluates rows of a function at a point."""
        return PoolEvaluator(self, source, function)

    async def _compute(self, message: Message, source: PointSource, arrays: Sequence[np.ndarray] = ()) -> Computed:
        asked = time.monotonic()
        done, found = await self._ask(message, source.point.point_id, source, arrays)
        assert isinstance(done, messages.Done)  # noqa: S101
        queue = max(time.monotonic() - asked - done.seconds - done.forward, 0.0)
        timings = {"queue": queue, "forward": done.forward, "rows": done.seconds}
        return Computed(dict(zip(done.names, found, strict=True)), timings)

    async def _ask(
        self, message: Message, affinity: str, source: PointSource | None = None, arrays: Sequence[np.ndarray] = ()
    ) -> Answer:
        """The one answer to a request, whichever worker gives it."""
        for _ in range(ATTEMPTS):
            with contextlib.suppress(Lost):
                async with contextlib.aclosing(self.answers(message, affinity, source, arrays)) as answers:
                    return await anext(answers)
        raise lost()

    async def answers(
        self, message: Message, affinity: str, source: PointSource | None = None, arrays: Sequence[np.ndarray] = ()
    ) -> AsyncGenerator[Answer, None]:
        """The answers of one worker to a request; a worker that misses the point is sent it.

        Raises:
            Lost: the worker ended before the last answer.
            Problem: the worker's refusal, or `busy`.
        """
        worker = await self._choose(affinity)
        known = source is None or source.point in worker.holds
        while True:
            number, call = _send(worker, message, arrays, None if known else source)
            closed = False
            try:
                while not closed:
                    answer = await call.answer()
                    closed = not isinstance(answer[0], messages.RowsPart) or answer[0].last
                    if isinstance(answer[0], messages.Refused):
                        raise _problem(answer[0])
                    if not isinstance(answer[0], messages.Missing):
                        yield answer
            finally:
                worker.finish(number, cancel=not closed)
            if not isinstance(answer[0], messages.Missing):
                return
            known = False

    async def _choose(self, affinity: str) -> WorkerProcess:
        """The worker that probably holds what is asked about.

        Raises:
            Busy: none is ready in time, or it holds too much already.
        """
        try:
            async with asyncio.timeout(self._wait):
                while not (ready := self._ready):
                    await self._changed.wait()
        except TimeoutError:
            raise errors.Busy("no worker is ready yet; try again", headers=RETRY_AFTER) from None
        worker = max(ready, key=lambda w: hashlib.blake2b(f"{affinity}/{w.pid}".encode()).digest())
        if worker.load >= self._queue_length:
            raise errors.Busy(f"{worker.load} requests wait already; try again", headers=RETRY_AFTER)
        return worker


class PoolEvaluator:
    """Rows of one function at one point, by the pool (`lazy.evaluator.Evaluator`)."""

    def __init__(self, pool: Pool, source: PointSource, function: Function) -> None:
        self._pool = pool
        self._source = source
        self._function = function
        self.timings = {"queue": 0.0, "forward": 0.0, "rows": 0.0}

    async def rows(self, rows: Sequence[int]) -> AsyncIterator[tuple[Sequence[int], Sequence[np.ndarray]]]:
        """Evaluate rows; where a worker is lost, another evaluates once what is still missing."""
        left = tuple(int(r) for r in rows)
        for _ in range(ATTEMPTS):
            message = messages.Rows(Question(self._source.point), self._function, left)
            asked = time.monotonic()
            try:
                async for part, arrays in self._pool.answers(message, self._source.point.point_id, self._source):
                    assert isinstance(part, messages.RowsPart)  # noqa: S101
                    now = time.monotonic()
                    self.timings["rows"] += part.seconds
                    self.timings["forward"] += part.forward
                    self.timings["queue"] += max(now - asked - part.seconds - part.forward, 0.0)
                    asked = now
                    left = left[len(part.rows) :]
                    yield part.rows, arrays
                return
            except Lost:
                continue
        raise lost()


def lost() -> errors.WorkerLost:
    """The problem of a request that two workers did not survive."""
    return errors.WorkerLost(
        "the worker ended while it held the request, and so did the one that tried again",
        headers=RETRY_AFTER,
    )


def _send(
    worker: WorkerProcess, message: Message, arrays: Sequence[np.ndarray], source: PointSource | None
) -> tuple[int, Call]:
    """Send a request, with the content of its point where a source is given."""
    if source is None:
        return worker.ask(message, arrays)
    model, inputs = source.contents()
    question = Question(source.point, Content(model, tuple(inputs)))
    if len(worker.holds) >= POINTS_REMEMBERED:
        worker.holds.clear()
    worker.holds.add(source.point)
    return worker.ask(replace(message, question=question), (*arrays, *inputs.values()))


def _problem(refused: messages.Refused) -> errors.Problem:
    faults = [Fault(pointer, detail) for pointer, detail in refused.faults]
    return errors.problem_named(refused.name, refused.detail, faults)
