"""Sessions of all tenants: opened, moved to new points, forgotten."""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from service import errors
from service.lazy.rows import RowCache
from service.link.messages import Point, SessionNames, ValueInfo
from service.sessions import inputs as values_of
from service.sessions.cursors import read_cursor, write_cursor
from service.sessions.graphs import Graphs, RegisteredGraph
from service.sessions.session import OWN, BlockInfo, NewSession, Place, SessionView
from service.sessions.spec import Session, Spec, check_batches, choose_blocks, inputs_of
from service.stores.base import SessionRecord, Store
from service.tensors.wire import Given
from service.workers.pool import PointSource, Pool

T = TypeVar("T")

EXPIRED_KEPT_SECONDS = 86_400
"""How long an expired session is still known as such."""
TOUCH_FRACTION = 0.9
"""A use is written down once less than this of the time to live is left."""

OutputInfos = tuple[ValueInfo, ...]


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """What sessions may be.

    Attributes:
        ttl: seconds that a session lives after each use, by default.
        longest_ttl: the most seconds that a client may ask for.
    """

    ttl: float
    longest_ttl: float


class Sessions:
    """The registry.

    Args:
        store: where sessions are kept.
        graphs: the graphs.
        pool: who evaluates.
        cache: the rows.
        policy: what sessions may be.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        graphs: Graphs,
        pool: Pool,
        cache: RowCache,
        policy: SessionPolicy,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._graphs = graphs
        self._pool = pool
        self._cache = cache
        self._policy = policy
        self._clock = clock
        self._live: dict[tuple[str, str], Session] = {}
        self._deletions = 0

    async def create(self, tenant: str, new: NewSession) -> SessionView:
        """Open a session: the graph, the inputs and every shape are checked; no row is evaluated.

        Raises:
            Problem: what was wrong; nothing is kept then but the graph.
        """
        ttl = self._ttl(new)
        graph = await self._graph(tenant, new)
        given = values_of.bind(graph.info, new.inputs, new.dtype, new.precision)
        graph_id = graph.info.graph_id
        point_id = values_of.point_id(graph_id, new.precision, given)
        point = Point(graph_id, point_id, new.precision)
        opened = await self._pool.open(PointSource(point, lambda: (graph.model, given)))
        infos = inputs_of(graph.info, given, new.precision)
        outputs = {o.name: o for o in opened.outputs}
        ys, xs = choose_blocks(new, graph.info, infos, outputs)
        spec = Spec(graph_id, ys, xs, new.batch_axis, new.cache, new.precision, new.label)
        now = self._clock()
        record = SessionRecord(
            secrets.token_urlsafe(18),
            tenant,
            msgspec.json.encode(spec),
            1,
            given,
            msgspec.json.encode(opened.outputs),
            now,
            now + ttl,
            ttl,
        )
        await self._store.create(record)
        session = Session(record, spec, graph, infos, outputs, point_id, opened.steady)
        self._live[tenant, record.id] = session
        return self._view(session)

    async def view(self, tenant: str, session_id: str, place: Place = OWN) -> SessionView:
        """A session as it stands, once it has moved where a place says so. Raises: Problem: as for `at`."""

        async def stay(session: Session) -> Session:
            return session

        return self._view(await self.at(tenant, session_id, place, stay))

    async def list(self, tenant: str, limit: int, cursor: str | None) -> tuple[list[SessionView], str | None]:
        """A page of the tenant's sessions, newest first, and the cursor of the next one, None at the end.

        Raises:
            InvalidRequest: the cursor is none that was given out.
        """
        before = None if cursor is None else read_cursor(cursor)
        records = await self._store.list(tenant, self._clock(), limit + 1, before)
        views = [self._view(await self._session(r)) for r in records[:limit]]
        last = records[limit - 1] if len(records) > limit else None
        return views, None if last is None else write_cursor(last.created_at, last.id)

    async def delete(self, tenant: str, session_id: str) -> None:
        """Forget a session. Raises: NotFound."""
        existed = await self._store.delete(tenant, session_id)
        self._deletions += 1
        self._live.pop((tenant, session_id), None)
        self._cache.forget(session_id)
        if not existed:
            raise _not_found(session_id)

    async def at(self, tenant: str, session_id: str, place: Place, work: Callable[[Session], Awaitable[T]]) -> T:
        """Compute something at a session's values, or at those that a request brings.

        Args:
            tenant: whose it is.
            session_id: which.
            place: the values. Where the session moves to them, it does so once the work is done: a request that fails
                leaves it where it was.
            work: gets the session where it stands; may be called again where another request has moved it meanwhile.

        Raises:
            PreconditionFailed: it is at another revision than required.
            Problem: the values do not fit, or what `work` raises; nothing is changed.
        """
        while True:
            session = await self._use(tenant, session_id)
            place.require(session.record.revision)
            if place.inputs is None:
                if place.at is not None:
                    session = replace(await self._moved(session, place.at, "at"), detached=True)
                return await work(session)
            moved = await self._moved(session, place.inputs, "inputs")
            result = await work(moved)
            record = moved.record
            if await self._store.advance(
                tenant, session_id, session.record.revision, record.inputs, record.outputs, record.expires_at
            ):
                self._live[tenant, session_id] = moved
                return result
            self._live.pop((tenant, session_id), None)

    async def purge(self) -> int:
        """Forget what expired long ago. Returns: how many sessions that were."""
        now = self._clock()
        for place in [place for place, s in self._live.items() if s.record.expires_at <= now]:
            self._cache.forget(place[1])
            del self._live[place]
        return await self._store.purge(now - EXPIRED_KEPT_SECONDS)

    # --- how ---------------------------------------------------------------------------------------------------------

    def _ttl(self, new: NewSession) -> float:
        ttl = self._policy.ttl if new.ttl_seconds is None else new.ttl_seconds
        if not 0 < ttl <= self._policy.longest_ttl:
            raise errors.InvalidRequest(
                f"ttl_seconds is {ttl:g}; it is more than 0 and at most {self._policy.longest_ttl:g}", "/ttl_seconds"
            )
        return ttl

    async def _graph(self, tenant: str, new: NewSession) -> RegisteredGraph:
        """The graph of a new session, registered where it is given."""
        if new.graph.get("format") == "ref":
            try:
                return await self._graphs.get(tenant, str(new.graph["graph_id"]))
            except errors.NotFound as problem:
                raise errors.NotFound(problem.detail, "/graph/graph_id") from None
        names = SessionNames(new.ys or (), new.xs or (), tuple(new.inputs))
        try:
            info, _ = await self._graphs.register(tenant, new.graph, names)
        except errors.Problem as problem:
            faults = [errors.Fault("/graph" + f.pointer, f.detail) for f in problem.faults]
            raise type(problem)(problem.detail, faults=faults, headers=problem.headers) from None
        return await self._graphs.get(tenant, info.graph_id)

    async def _use(self, tenant: str, session_id: str) -> Session:
        """A session, used now: its expiry is pushed on. What may have been deleted meanwhile is not kept in memory."""
        deletions = self._deletions
        session = self._live.get((tenant, session_id))
        if session is None:
            record = await self._store.get(tenant, session_id)
            if record is None:
                raise _not_found(session_id)
            session = await self._session(record)
        now = self._clock()
        record = session.record
        if record.expires_at <= now:
            raise errors.Expired("the session has expired; create it again")
        if record.expires_at - now < record.ttl * TOUCH_FRACTION:
            await self._store.touch(tenant, session_id, now + record.ttl)
            current = self._live.get((tenant, session_id), session)
            session = replace(current, record=replace(current.record, expires_at=now + record.ttl))
        if self._deletions == deletions:
            self._live[tenant, session_id] = session
        return session

    async def _session(self, record: SessionRecord) -> Session:
        live = self._live.get((record.tenant, record.id))
        if live is not None:
            return live
        spec = msgspec.json.decode(record.spec, type=Spec)
        graph = await self._graphs.get(record.tenant, spec.graph_id)
        outputs = msgspec.json.decode(record.outputs, type=OutputInfos)
        return Session(
            record,
            spec,
            graph,
            inputs_of(graph.info, record.inputs, spec.precision),
            {o.name: o for o in outputs},
            values_of.point_id(spec.graph_id, spec.precision, record.inputs),
        )

    async def _moved(self, session: Session, given: Mapping[str, Given], member: str) -> Session:
        """The session at new values; the graph is evaluated there where these could change what its outputs are."""
        spec, record, info = session.spec, session.record, session.graph.info
        inputs = values_of.rebind(info, record.inputs, given, spec.precision, member)
        moved = replace(
            session,
            point_id=values_of.point_id(spec.graph_id, spec.precision, inputs),
            record=replace(record, revision=record.revision + 1, inputs=inputs, expires_at=self._clock() + record.ttl),
        )
        if session.steady and all(name in record.inputs and session.inputs[name].differentiable for name in given):
            return moved
        opened = await self._pool.open(moved.source)
        outputs = {o.name: o for o in opened.outputs}
        infos = inputs_of(info, inputs, spec.precision)
        if spec.batch_axis is not None and spec.ys:
            check_batches(spec.ys, spec.xs, infos, outputs)
        record = replace(moved.record, outputs=msgspec.json.encode(opened.outputs))
        return replace(moved, record=record, outputs=outputs, inputs=infos, steady=opened.steady)

    def _view(self, session: Session) -> SessionView:
        """A session as clients see it."""
        spec, record = session.spec, session.record
        blocks = []
        for y in spec.ys:
            rows = self._cache.find(session.key(session.function(y)))
            cached = 0 if rows is None else rows.cached
            for x in spec.xs:
                shape = session.shape_of(y, x)
                blocks.append(BlockInfo(y, x, session.inputs[x].dtype, shape.shape, shape.total, cached))
        return SessionView(
            record.id,
            record.revision,
            spec.graph_id,
            spec.label,
            spec.batch_axis,
            self._pool.device,
            tuple(session.inputs.values()),
            tuple(session.outputs.values()),
            tuple(blocks),
            record.created_at,
            record.expires_at,
        )


def _not_found(session_id: str) -> errors.NotFound:
    return errors.NotFound(f"there is no session {session_id}")
