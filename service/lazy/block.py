"""A block: the Jacobian of one `y` with respect to one `x`, as the contract shapes it, over rows shared by all xs."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from service import errors
from service.lazy.evaluator import Evaluator
from service.lazy.index import parse
from service.lazy.rows import Page, Rows, Tally, started
from service.lazy.selection import Selection, Shape, select


@dataclass(frozen=True, slots=True)
class BlockShape:
    """How a block looks.

    Attributes:
        shape: `y' + x'` where `s'` is `[]` for 0-D and `[size]` for the rest; with a batch `[B, M, N]`, without `M`
            where `y` is 1-D, without `N` where `x` is.
        row_axis: the axis that counts rows, None where `y` has none: there is one row then.
        total: how many rows there are.
    """

    shape: tuple[int, ...]
    row_axis: int | None
    total: int


def block_shape(y_shape: Sequence[int], x_shape: Sequence[int], batch_axis: int | None) -> BlockShape:
    """The shape of the block of a `y` and an `x` of these shapes; with a batch their first axes agree."""
    lead = () if batch_axis is None else (y_shape[0],)
    of_y, of_x = (tuple(s) if batch_axis is None else tuple(s[1:]) for s in (y_shape, x_shape))
    rows = (prod(of_y),) if of_y else ()
    columns = (prod(of_x),) if of_x else ()
    return BlockShape((*lead, *rows, *columns), len(lead) if rows else None, prod(rows) if 0 not in lead else 0)


class Block:
    """One block, lazily: nothing is evaluated but what a slice needs.

    Args:
        shape: how it looks.
        rows: the rows of `y`, for all xs.
        position: which of the xs is the block's.
        evaluator: evaluates what is missing.
        limit: the most bytes of a slice.
    """

    def __init__(self, shape: BlockShape, rows: Rows, position: int, evaluator: Evaluator, limit: int) -> None:
        self._block = shape
        self._rows = rows
        self._position = position
        self._evaluator = evaluator
        self._limit = limit

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the block: that of its x."""
        return self._rows.operands[self._position].dtype

    @property
    def window(self) -> int:
        """The most rows to be evaluated at once."""
        return self._rows.window

    def select(self, index: str) -> Selection:
        """What an index selects of the block. Raises: InvalidIndex: it does not fit."""
        return select(parse(index), self._block.shape, self._block.row_axis)

    async def slice(self, selection: Selection) -> tuple[np.ndarray, Tally]:
        """The selected values, C order, and which rows they took.

        Raises:
            TooLarge: the slice, or one row of it, is larger than the limit.
            Problem: rows could not be evaluated.
        """
        if not selection.rows.size:
            return np.zeros(selection.shape, self.dtype), Tally(0, 0)
        self._check_size(prod(selection.shape) * self.dtype.itemsize, selection.shape)
        if selection.joint is None or selection.rows.size <= self._rows.window:
            return await self._part(selection, keep=True)
        result = np.empty(selection.shape, self.dtype)
        computed, start = 0, 0
        async with contextlib.aclosing(self.parts(selection)) as parts:
            async for part, tally in parts:
                stop = start + part.shape[selection.joint]
                await asyncio.to_thread(result.__setitem__, _at(selection.joint, slice(start, stop)), part)
                computed, start = computed + tally.computed, stop
        return result, self._tally(selection, computed, tally.timings)

    def streams(self, selection: Selection) -> bool:
        """Whether the slice is large, and can leave part by part in the order of its bytes."""
        return selection.joint == 0 and selection.rows.size > self._rows.window

    async def parts(self, selection: Selection) -> AsyncGenerator[tuple[np.ndarray, Tally], None]:
        """The slice window by window; while one is used, the next is evaluated. Rows that are too many do not stay.

        Yields:
            A run of the result along `selection.joint`, C order, and which rows it took.

        Raises:
            TooLarge: one row is larger than the limit.
            Problem: rows could not be evaluated.
        """
        self._check_size(0, selection.shape)
        keep = self._rows.fits(len(selection.distinct))
        pieces = selection.pieces(self._rows.window)
        coming = started(self._part(next(pieces), keep))
        try:
            for piece in pieces:
                part = await coming
                coming = started(self._part(piece, keep))
                yield part
            yield await coming
        finally:
            coming.cancel()

    def expected(self, selection: Selection) -> Tally:
        """The rows that the slice would take now."""
        return self._tally(selection, self._rows.absent(selection.distinct), {})

    async def fill(self, rows: np.ndarray) -> None:
        """Evaluate rows into the cache.

        Args:
            rows: distinct, ascending, at most a window of them.

        Raises:
            Problem: rows could not be evaluated.
        """
        self._check_size(0, self._block.shape)
        with self._rows.pinned(rows) as pages:
            await self._rows.fill(pages, rows, self._evaluator)

    async def known(self, selection: Selection) -> tuple[np.ndarray, np.ndarray]:
        """The selected values as far as their rows are cached (else zero), and where that is so; nothing is evaluated.

        Raises:
            TooLarge: the slice is larger than the limit.
        """
        self._check_size(prod(selection.shape) * self.dtype.itemsize, selection.shape)
        values = np.zeros(selection.shape, self.dtype)
        there = self._rows.valid(selection.rows)
        if not there.any():
            return values, np.zeros(selection.shape, bool)
        places, start = np.flatnonzero(there), 0
        present = selection.only(places)
        with self._rows.pinned(present.distinct, keep=False):
            for piece in present.pieces(self._rows.window):
                stop = start + piece.rows.size
                with self._rows.pinned(piece.distinct, keep=False) as pages:
                    values[_at(selection.joint, places[start:stop])] = self._take(piece, pages)
                start = stop
                await asyncio.sleep(0)
        return values, np.broadcast_to(_along(there, selection), selection.shape)

    async def _part(self, selection: Selection, keep: bool) -> tuple[np.ndarray, Tally]:
        """At most a window, or a slice of one row."""
        with self._rows.pinned(selection.distinct, keep) as pages:
            tally = await self._rows.fill(pages, selection.distinct, self._evaluator)
            return self._take(selection, pages), tally

    def _tally(self, selection: Selection, computed: int, timings: Mapping[str, float]) -> Tally:
        """Of the distinct rows, also where one was evaluated twice because it could not stay."""
        rows = len(selection.distinct)
        return Tally(min(computed, rows), rows - min(computed, rows), timings)

    def _check_size(self, size: int, shape: Shape) -> None:
        if max(size, self._rows.row_bytes) > self._limit:
            raise errors.TooLarge(
                f"the slice of shape {list(shape)} takes {size} bytes, and each of its rows {self._rows.row_bytes} for "
                f"all inputs and samples; the limit (slice_bytes) is {self._limit}. Ask for less at a time; without "
                "a batch axis a slice in .npy or bytes may have any number of rows"
            )

    def _take(self, selection: Selection, pages: Mapping[int, Page]) -> np.ndarray:
        """The selected values of the pages' arrays, `[R, N]` or `[B, R, N]` each."""
        axis, shape = self._block.row_axis, self._block.shape
        arrays = [(page.first, page.arrays[self._position]) for page in pages.values()]
        if axis is None or arrays[0][1].size == prod(shape):
            return np.asarray(selection.of(arrays[0][1].reshape(shape)), order="C")
        parts, places = [], []
        columns = list(selection.fetch)
        columns[axis] = slice(None)
        for first, array in arrays:
            count = array.shape[axis]
            at = np.flatnonzero((selection.rows >= first) & (selection.rows < first + count))
            shaped = array.reshape(*shape[:axis], count, *shape[axis + 1 :])
            parts.append(shaped[tuple(columns)].take(selection.rows[at] - first, axis))
            places.append(at)
        fetched = np.concatenate(parts, axis)
        order = np.argsort(np.concatenate(places), kind="stable")
        return np.asarray(fetched.take(order, axis)[selection.rest], order="C")


def _at(axis: int | None, places: slice | np.ndarray) -> tuple[slice | np.ndarray, ...]:
    """The index of some places along one axis; without an axis, of everything."""
    return () if axis is None else (*(slice(None),) * axis, places)


def _along(marks: np.ndarray, selection: Selection) -> np.ndarray:
    """A mark for each fetched row, shaped to be broadcast to the result."""
    if selection.joint is None:
        return marks[:1].reshape(())
    return marks.reshape(-1, *(1,) * (len(selection.shape) - selection.joint - 1))
