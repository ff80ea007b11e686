"""What is asked of a session where it stands: slices of its Jacobians and Hessians, products, values of outputs."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from math import prod

import numpy as np

from service import errors
from service.lazy.block import Block
from service.lazy.index import whole
from service.lazy.rows import RowCache, Tally
from service.lazy.selection import Selection
from service.link.messages import ValueInfo
from service.sessions import inputs as values_of
from service.sessions.session import Products, SliceResult, Wanted
from service.sessions.spec import Session, concrete
from service.tensors.dtypes import DTYPES
from service.tensors.wire import Given
from service.workers.pool import Computed, Pool


@dataclass(frozen=True, slots=True)
class LazySlice:
    """A slice of which nothing is evaluated yet.

    Attributes:
        names: the block's names, by parameter.
        index: the text of the index, as asked.
        revision: the session's revision, None at other values than its own.
        etag: names graph, point, block and index; equal for equal answers of any representation.
    """

    names: Mapping[str, str]
    index: str
    revision: int | None
    etag: str
    _block: Block
    _selection: Selection

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return self._selection.shape

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the result."""
        return self._block.dtype

    @property
    def streams(self) -> bool:
        """Whether it is large, and can leave part by part in the order of its bytes."""
        return self._block.streams(self._selection)

    @property
    def rows(self) -> np.ndarray:
        """The rows that it touches, distinct, ascending."""
        return self._selection.distinct

    @property
    def window(self) -> int:
        """The most rows to fill at once."""
        return self._block.window

    @property
    def expected(self) -> Tally:
        """The rows that it would take now."""
        return self._block.expected(self._selection)

    async def evaluate(self) -> SliceResult:
        """The slice, whole. Raises: Problem: rows could not be evaluated, or it is too large."""
        array, tally = await self._block.slice(self._selection)
        return self._result(array, tally, None)

    async def known(self) -> SliceResult:
        """What is known of the slice without evaluating anything. Raises: TooLarge."""
        array, known = await self._block.known(self._selection)
        return self._result(array, Tally(0, len(self.rows) - self.expected.computed), known)

    async def parts(self) -> AsyncGenerator[np.ndarray, None]:
        """The slice part by part along its first axis. Raises: Problem: rows could not be evaluated."""
        async with aclosing(self._block.parts(self._selection)) as parts:
            async for part, _ in parts:
                yield part

    async def fill(self, rows: np.ndarray) -> None:
        """Evaluate some of its rows into the cache. Raises: Problem: they could not be evaluated."""
        await self._block.fill(rows)

    def _result(self, array: np.ndarray, tally: Tally, known: np.ndarray | None) -> SliceResult:
        return SliceResult(
            self.names,
            self.index,
            self.revision,
            array,
            tally.computed,
            tally.cached,
            self.etag,
            tally.timings,
            known,
        )


class Derivatives:
    """Derivatives of sessions.

    Args:
        pool: who evaluates.
        cache: the rows.
        slice_bytes: the largest slice that is held whole.
    """

    def __init__(self, pool: Pool, cache: RowCache, slice_bytes: int) -> None:
        self._pool = pool
        self._cache = cache
        self._slice_bytes = slice_bytes

    def slice(self, session: Session, wanted: Wanted) -> LazySlice:
        """A slice of a Jacobian, or of a Hessian.

        Raises:
            InvalidRequest: names that are not there, or are needed.
            InvalidIndex: the index does not fit.
            ShapeMismatch: for a Hessian, `y` has more than one element (of each sample).
        """
        ys, xs = session.spec.ys, session.spec.xs
        y = _named(wanted.y, ys, "y", wanted.place)
        if wanted.hessian:
            x1 = _named(wanted.x1, xs, "x1", wanted.place)
            x = _named(wanted.x, xs, "x2", wanted.place)
            _check_scalar(session, y)
            names, shape = {"y": y, "x1": x1, "x2": x}, session.hessian_shape(x1, x)
        else:
            x1 = None
            x = _named(wanted.x, xs, "x", wanted.place)
            names, shape = {"y": y, "x": x}, session.shape_of(y, x)
        function = session.function(y, x1)
        rows = self._cache.rows(session.key(function), shape.total, session.row_operands(), session.samples)
        evaluator = self._pool.evaluator(session.source, function)
        block = Block(shape, rows, session.operands.index(x), evaluator, self._slice_bytes)
        text = whole(shape.shape) if wanted.index is None else wanted.index
        try:
            selection = block.select(text)
        except errors.InvalidIndex as problem:
            raise errors.InvalidIndex(problem.detail, f"{wanted.place}/index") from None
        identity = (session.record.tenant, session.point_id, y, x1, x, session.spec.batch_axis)
        etag = hashlib.blake2b(f"{identity} {selection.canonical}".encode(), digest_size=18).hexdigest()
        return LazySlice(names, text, session.revision, etag, block, selection)

    async def step(
        self, session: Session, slices: Sequence[LazySlice], outputs: Sequence[str]
    ) -> tuple[list[SliceResult], dict[str, np.ndarray]]:
        """Several slices and values at once, each in the order asked. Rows that two slices share are evaluated once.

        Raises:
            InvalidRequest: a name that is no output.
            TooLarge: the slices are too large together.
            Problem: rows could not be evaluated.
        """
        size = sum(prod(s.shape) * s.dtype.itemsize for s in slices)
        if size > self._slice_bytes:
            raise errors.TooLarge(
                f"the slices take {size} bytes together; the limit (slice_bytes) is {self._slice_bytes}", "/slices"
            )
        try:
            async with asyncio.TaskGroup() as group:
                evaluated = [group.create_task(lazy.evaluate()) for lazy in slices]
                values = group.create_task(self.outputs(session, outputs))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        return [task.result() for task in evaluated], values.result()

    async def outputs(self, session: Session, names: Sequence[str], place: str = "/outputs") -> dict[str, np.ndarray]:
        """The values of outputs, in the order asked.

        Raises:
            InvalidRequest: a name that is no output.
        """
        for at, name in enumerate(names):
            if name not in session.outputs:
                listed = ", ".join(session.outputs)
                raise errors.InvalidRequest(f"{name} is no output; the outputs are {listed}", f"{place}/{at}")
        if not names:
            return {}
        found = await self._pool.values(session.source, tuple(dict.fromkeys(names)))
        return dict(found.arrays)

    async def output(self, session: Session, name: str) -> tuple[int | None, np.ndarray]:
        """The revision, and the value of an output at it. Raises: NotFound."""
        if name not in session.outputs:
            listed = ", ".join(session.outputs)
            raise errors.NotFound(f"the session has no output {name}; its outputs are {listed}")
        return session.revision, (await self._pool.values(session.source, (name,))).arrays[name]

    async def vjp(self, session: Session, given: Mapping[str, Given]) -> Products:
        """For each x the sum over the given ys of `v^T dy/dx`. Raises: Problem: a cotangent does not fit."""
        ys, xs = _distinct(session)
        cotangents, count = values_of.settle_vectors(given, {y: session.outputs[y] for y in ys}, "cotangents")
        cached = self._cached_row(session, cotangents) if count is None else None
        if cached is not None:
            return Products(session.revision, cached, {})
        found = await self._pool.product(session.source, ys, xs, cotangents, {}, count is not None)
        return _products(session, found)

    async def jvp(self, session: Session, given: Mapping[str, Given]) -> Products:
        """For each y the sum over the given xs of `dy/dx v`. Raises: Problem: a tangent does not fit."""
        ys, xs = _distinct(session)
        tangents, count = values_of.settle_vectors(given, _infos(session, xs), "tangents")
        found = await self._pool.product(session.source, ys, xs, {}, tangents, count is not None)
        return _products(session, found)

    async def hvp(
        self, session: Session, y: str | None, cotangents: Mapping[str, Given] | None, vectors: Mapping[str, Given]
    ) -> Products:
        """For each x the derivative of a VJP along vectors.

        Args:
            session: where.
            y: an output of one element, whose cotangent is 1; not beside `cotangents`.
            cotangents: by y, for outputs of any size.
            vectors: by x.

        Raises:
            ShapeMismatch: `y` has more than one element, or vectors do not fit.
            InvalidRequest: names that are not there.
        """
        _, xs = _distinct(session)
        weights, along, count = self._second_order(session, y, cotangents, vectors)
        found = await self._pool.product(session.source, tuple(weights), xs, weights, along, count is not None)
        return _products(session, found)

    async def check(self, session: Session, wanted: Wanted | None = None) -> float:
        """The relative residual of the adjoint identity at random vectors, of a slice's block or of the whole function.

        Raises:
            Problem: names that are not there, or the worker failed.
        """
        ys, xs = _distinct(session)
        if wanted is None:
            return await self._pool.check(session.source, ys, xs)
        y = _named(wanted.y, ys, "y", wanted.place)
        x = _named(wanted.x, xs, "x2" if wanted.hessian else "x", wanted.place)
        x1s = (_named(wanted.x1, xs, "x1", wanted.place),) if wanted.hessian else ()
        return await self._pool.check(session.source, (y,), (x,), x1s)

    async def check_second_order(
        self, session: Session, y: str | None, cotangents: Mapping[str, Given] | None, vectors: Mapping[str, Given]
    ) -> float:
        """The same of the function that `hvp` differentiates; a batch is checked by its first cotangents."""
        _, xs = _distinct(session)
        weights, _, count = self._second_order(session, y, cotangents, vectors)
        first = weights if count is None else {name: v[0] for name, v in weights.items()}
        return await self._pool.check(session.source, tuple(first), xs, xs, first)

    def _second_order(
        self, session: Session, y: str | None, cotangents: Mapping[str, Given] | None, vectors: Mapping[str, Given]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], int | None]:
        """Cotangents, tangents, and how many of each."""
        ys, xs = _distinct(session)
        along, count = values_of.settle_vectors(vectors, _infos(session, xs), "vectors")
        if cotangents is not None:
            weights, number = values_of.settle_vectors(cotangents, {y: session.outputs[y] for y in ys}, "cotangents")
            if number != count:
                raise errors.ShapeMismatch(
                    "cotangents and vectors lead with one more axis of equal length, or neither does", "/cotangents"
                )
            return weights, along, count
        name = _named(y, ys, "y", "")
        shape, dtype = concrete(session.outputs[name]), DTYPES[session.outputs[name].dtype or "float64"]
        if prod(shape) != 1:
            raise errors.ShapeMismatch(
                f"{name} has shape {list(shape)}; give cotangents for an output of more than one element", "/y"
            )
        return {name: np.ones(shape if count is None else (count, *shape), dtype.numpy)}, along, count

    def _cached_row(self, session: Session, cotangents: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        """The VJP of a one-hot cotangent, where that row is cached."""
        if len(cotangents) != 1 or session.spec.batch_axis is not None:
            return None
        ((y, cotangent),) = cotangents.items()
        hot = np.flatnonzero(cotangent)
        if len(hot) != 1 or cotangent.reshape(-1)[hot[0]] != 1:
            return None
        rows = self._cache.find(session.key(session.function(y)))
        row = None if rows is None else rows.row(int(hot[0]))
        if row is None:
            return None
        return {x: r.reshape(session.inputs[x].shape) for x, r in zip(session.operands, row, strict=True)}


def _products(session: Session, found: Computed) -> Products:
    return Products(session.revision, found.arrays, found.timings)


def _distinct(session: Session) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The session's ys and xs, each name once."""
    return tuple(dict.fromkeys(session.spec.ys)), tuple(dict.fromkeys(session.spec.xs))


def _infos(session: Session, xs: Sequence[str]) -> dict[str, ValueInfo]:
    return {x: ValueInfo(x, session.inputs[x].dtype, session.inputs[x].shape) for x in xs}


def _check_scalar(session: Session, y: str) -> None:
    shape = concrete(session.outputs[y])
    if prod(shape if session.spec.batch_axis is None else shape[1:]) != 1:
        raise errors.ShapeMismatch(
            f"{y} has shape {list(shape)}; a Hessian needs an output of one element"
            + ("" if session.spec.batch_axis is None else " in each sample")
        )


def _named(name: str | None, known: Sequence[str], parameter: str, place: str) -> str:
    """The name that a parameter gives, or the only one there is."""
    names = list(dict.fromkeys(known))
    listed = ", ".join(names) or "none"
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        detail = f"{parameter} may be left out where there is just one; here it is one of {listed}"
        raise errors.InvalidRequest(detail, f"{place}/{parameter}")
    if name not in names:
        raise errors.InvalidRequest(f"{parameter} is {name}; it is one of {listed}", f"{place}/{parameter}")
    return name
