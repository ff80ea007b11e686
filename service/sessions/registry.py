"""Sessions of all tenants: opened, moved to new points, sliced, forgotten."""

import hashlib
import secrets
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from service import errors
from service.lazy.block import Block, BlockShape
from service.lazy.index import whole
from service.lazy.rows import RowCache
from service.link.messages import Function, Point, SessionNames, ValueInfo
from service.sessions import inputs as values_of
from service.sessions.cursors import read_cursor, write_cursor
from service.sessions.graphs import Graphs, RegisteredGraph
from service.sessions.session import BlockInfo, NewSession, SessionView, SliceResult, Unchanged
from service.sessions.spec import Session, Spec, check_batches, choose_blocks, concrete, inputs_of
from service.stores.base import SessionRecord, Store
from service.tensors.wire import Given
from service.workers.pool import PointSource, Pool

EXPIRED_KEPT_SECONDS = 86_400
"""How long an expired session is still known as such."""
TOUCH_FRACTION = 0.9
"""A use is written down once less than this of the time to live is left."""

OutputInfos = tuple[ValueInfo, ...]
Unless: TypeAlias = Callable[[str], bool]


def never(etag: str) -> bool:
    """No client has it."""
    return False


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """What sessions may be.

    Attributes:
        ttl: seconds that a session lives after each use, by default.
        longest_ttl: the most seconds that a client may ask for.
        slice_bytes: the largest slice.
    """

    ttl: float
    longest_ttl: float
    slice_bytes: int


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
        session = Session(record, spec, graph, infos, outputs, point_id)
        self._live[tenant, record.id] = session
        return self._view(session)

    async def view(self, tenant: str, session_id: str) -> SessionView:
        """A session as it stands. Raises: NotFound, Expired."""
        return self._view(await self._use(tenant, session_id))

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
        self._live.pop((tenant, session_id), None)
        self._cache.forget(session_id)
        if not await self._store.delete(tenant, session_id):
            raise _not_found(session_id)

    async def set_inputs(
        self, tenant: str, session_id: str, inputs: Mapping[str, Given], if_revision: int | None
    ) -> SessionView:
        """Move a session to new values of some inputs: its next revision.

        Args:
            tenant: whose it is.
            session_id: which.
            inputs: the new values; the other inputs keep theirs.
            if_revision: the revision that the client believes it is at, None for whichever.

        Raises:
            PreconditionFailed: it is at another revision.
            Problem: the values do not fit, or the graph cannot be evaluated at them; nothing is changed.
        """
        while True:
            session = await self._use(tenant, session_id)
            revision = session.record.revision
            if if_revision is not None and if_revision != revision:
                raise errors.PreconditionFailed(f"the session is at revision {revision}, not {if_revision}")
            moved = await self._moved(session, inputs)
            advanced = await self._store.advance(
                tenant, session_id, revision, moved.record.inputs, moved.record.outputs, moved.record.expires_at
            )
            if advanced:
                self._live[tenant, session_id] = moved
                return self._view(moved)
            self._live.pop((tenant, session_id), None)

    async def output(self, tenant: str, session_id: str, y: str) -> tuple[int, np.ndarray]:
        """The revision, and the value of an output at it. Raises: NotFound."""
        session = await self._use(tenant, session_id)
        if y not in session.outputs:
            raise errors.NotFound(f"the session has no output {y}; its outputs are {', '.join(session.outputs)}")
        (value,) = await self._pool.values(self._source(session), (y,))
        return session.record.revision, value

    async def jacobian(
        self,
        tenant: str,
        session_id: str,
        y: str | None,
        x: str | None,
        index: str | None,
        revision: int | None,
        unless: Unless = never,
    ) -> SliceResult | Unchanged:
        """A slice of a Jacobian; names may be left out where there is just one.

        Args:
            tenant: whose the session is.
            session_id: which session.
            y: the output.
            x: the input.
            index: as between NumPy's brackets; None for the whole block.
            revision: what the client wants the session to be at, None for whichever.
            unless: whether the client has the slice of that etag already.

        Raises:
            Problem: names, index or revision are wrong, or rows could not be evaluated.
        """
        session = await self._use(tenant, session_id)
        y = _named(y, session.spec.ys, "y")
        x = _named(x, session.spec.xs, "x")
        function = Function(y, session.operands, None, session.spec.batch_axis)
        names, shape = {"y": y, "x": x}, session.shape_of(y, x)
        return await self._slice(session, names, function, x, shape, index, revision, unless)

    async def hessian(
        self,
        tenant: str,
        session_id: str,
        y: str | None,
        x1: str | None,
        x2: str | None,
        index: str | None,
        revision: int | None,
        unless: Unless = never,
    ) -> SliceResult | Unchanged:
        """A slice of a Hessian; names may be left out where there is just one. Arguments as for `jacobian`.

        Raises:
            ShapeMismatch: `y` has more than one element (of each sample).
            Problem: names, index or revision are wrong, or rows could not be evaluated.
        """
        session = await self._use(tenant, session_id)
        y = _named(y, session.spec.ys, "y")
        x1 = _named(x1, session.spec.xs, "x1")
        x2 = _named(x2, session.spec.xs, "x2")
        shape = concrete(session.outputs[y])
        if int(np.prod(shape[0 if session.spec.batch_axis is None else 1 :])) != 1:
            raise errors.ShapeMismatch(
                f"{y} has shape {list(shape)}; a Hessian needs an output of one element"
                + ("" if session.spec.batch_axis is None else " in each sample")
            )
        function = Function(y, session.operands, x1, session.spec.batch_axis)
        names = {"y": y, "x1": x1, "x2": x2}
        return await self._slice(session, names, function, x2, session.hessian_shape(x1, x2), index, revision, unless)

    async def vjp(
        self, tenant: str, session_id: str, cotangents: Mapping[str, Given]
    ) -> tuple[int, dict[str, np.ndarray]]:
        """The revision, and for each x the sum over the given ys of `v^T dy/dx`.

        Raises:
            Problem: a cotangent does not fit.
        """
        return await self._product(tenant, session_id, "vjp", cotangents)

    async def jvp(
        self, tenant: str, session_id: str, tangents: Mapping[str, Given]
    ) -> tuple[int, dict[str, np.ndarray]]:
        """The revision, and for each y the sum over the given xs of `dy/dx v`.

        Raises:
            Problem: a tangent does not fit.
        """
        return await self._product(tenant, session_id, "jvp", tangents)

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
        """A session, used now: its expiry is pushed on."""
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

    async def _moved(self, session: Session, inputs: Mapping[str, Given]) -> Session:
        """The session at new values, once the graph was evaluated there."""
        spec, record = session.spec, session.record
        given = values_of.rebind(session.graph.info, record.inputs, inputs, spec.precision)
        point_id = values_of.point_id(spec.graph_id, spec.precision, given)
        moved = replace(
            session,
            point_id=point_id,
            record=replace(record, revision=record.revision + 1, inputs=given, expires_at=self._clock() + record.ttl),
        )
        opened = await self._pool.open(self._source(moved))
        outputs = {o.name: o for o in opened.outputs}
        infos = inputs_of(session.graph.info, given, spec.precision)
        if spec.batch_axis is not None and spec.ys:
            check_batches(spec.ys, spec.xs, infos, outputs)
        record = replace(moved.record, outputs=msgspec.json.encode(opened.outputs))
        return replace(moved, record=record, outputs=outputs, inputs=infos)

    def _source(self, session: Session) -> PointSource:
        spec = session.spec
        point = Point(spec.graph_id, session.point_id, spec.precision)
        return PointSource(point, lambda: (session.graph.model, session.record.inputs))

    def _key(self, session: Session, function: Function) -> Hashable:
        """What rows are found by: all that they depend on, whose they are, and whether they are shared."""
        owner = session.record.id if session.spec.cache == "session" else ""
        return (owner, session.record.tenant, session.point_id, function)

    async def _slice(
        self,
        session: Session,
        names: Mapping[str, str],
        function: Function,
        x: str,
        shape: BlockShape,
        index: str | None,
        revision: int | None,
        unless: Unless,
    ) -> SliceResult | Unchanged:
        current = session.record.revision
        if revision is not None and revision < current:
            raise errors.RevisionPassed(f"revision {revision} has passed; the session is at {current}")
        if revision is not None and revision > current:
            raise errors.InvalidRequest(f"revision {revision} has not come; the session is at {current}")
        key = self._key(session, function)
        rows = self._cache.rows(key, shape.total, session.row_operands(), session.samples)
        evaluator = self._pool.evaluator(self._source(session), function)
        block = Block(shape, rows, session.operands.index(x), evaluator, self._policy.slice_bytes)
        text = whole(shape.shape) if index is None else index
        selection = block.select(text)
        identity = (session.record.tenant, session.point_id, function.y, function.x1, x, function.batch_axis)
        etag = hashlib.blake2b(f"{identity} {selection.canonical}".encode(), digest_size=18).hexdigest()
        if unless(etag):
            return Unchanged(etag)
        array, tally = await block.slice(selection)
        return SliceResult(names, text, current, array, tally.computed, tally.cached, etag, tally.timings)

    async def _product(
        self, tenant: str, session_id: str, kind: Literal["vjp", "jvp"], given: Mapping[str, Given]
    ) -> tuple[int, dict[str, np.ndarray]]:
        session = await self._use(tenant, session_id)
        ys, xs = tuple(dict.fromkeys(session.spec.ys)), tuple(dict.fromkeys(session.spec.xs))
        if kind == "vjp":
            infos = {y: session.outputs[y] for y in ys}
        else:
            infos = {x: ValueInfo(x, session.inputs[x].dtype, session.inputs[x].shape) for x in xs}
        what = "cotangents" if kind == "vjp" else "tangents"
        vectors, batched = values_of.settle_vectors(given, infos, what)
        products = await self._pool.product(self._source(session), kind, ys, xs, vectors, batched)
        return session.record.revision, products

    def _view(self, session: Session) -> SessionView:
        spec, record = session.spec, session.record
        blocks = []
        for y in spec.ys:
            rows = self._cache.find(self._key(session, Function(y, session.operands, None, spec.batch_axis)))
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


def _named(name: str | None, known: Sequence[str], parameter: str) -> str:
    """The name that a parameter gives, or the only one there is."""
    names = list(dict.fromkeys(known))
    if name is None:
        if len(names) != 1:
            raise errors.InvalidRequest(
                f"{parameter} may be left out where there is just one; here it is one of {', '.join(names) or 'none'}",
                f"#/query/{parameter}",
            )
        return names[0]
    if name not in names:
        raise errors.InvalidRequest(
            f"{parameter} is {name}; it is one of {', '.join(names) or 'none'}", f"#/query/{parameter}"
        )
    return name
