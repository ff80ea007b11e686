"""A block: the Jacobian of one `y` with respect to one `x`, as the contract shapes it, over rows shared by all xs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from service import errors
from service.lazy.evaluator import Evaluator
from service.lazy.index import parse
from service.lazy.rows import Rows, Tally
from service.lazy.selection import Selection, select


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

    def select(self, index: str) -> Selection:
        """What an index selects of the block. Raises: InvalidIndex: it does not fit."""
        return select(parse(index), self._block.shape, self._block.row_axis)

    async def slice(self, selection: Selection) -> tuple[np.ndarray, Tally]:
        """The selected values, C order, and which rows they took.

        Raises:
            TooLarge: the slice, or the rows that it needs, are larger than the limit.
            Problem: rows could not be evaluated.
        """
        dtype = self._rows.operands[self._position].dtype
        if not selection.rows.size:
            return np.zeros(selection.shape, dtype), Tally(0, 0)
        self._check_size(selection, dtype)
        with self._rows.pinned(selection.distinct) as pages:
            tally = await self._rows.fill(pages, selection.distinct, self._evaluator)
            arrays = [(page.first, page.arrays[self._position]) for page in pages.values()]
        return self._take(selection, arrays), tally

    def _check_size(self, selection: Selection, dtype: np.dtype) -> None:
        size = max(prod(selection.shape) * dtype.itemsize, len(selection.distinct) * self._rows.row_bytes)
        if size > self._limit:
            raise errors.TooLarge(
                f"the slice of shape {list(selection.shape)} touches {len(selection.distinct)} rows and takes "
                f"{size} bytes; the limit (slice_bytes) is {self._limit}: ask for fewer rows at a time"
            )

    def _take(self, selection: Selection, pages: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        """The selected values of the pages' arrays, `[R, N]` or `[B, R, N]` each."""
        axis, shape = self._block.row_axis, self._block.shape
        if axis is None or pages[0][1].size == prod(shape):
            return np.asarray(selection.of(pages[0][1].reshape(shape)), order="C")
        parts, places = [], []
        columns = list(selection.fetch)
        columns[axis] = slice(None)
        for first, array in pages:
            count = array.shape[axis]
            at = np.flatnonzero((selection.rows >= first) & (selection.rows < first + count))
            shaped = array.reshape(*shape[:axis], count, *shape[axis + 1 :])
            parts.append(shaped[tuple(columns)].take(selection.rows[at] - first, axis))
            places.append(at)
        fetched = np.concatenate(parts, axis)
        order = np.argsort(np.concatenate(places), kind="stable")
        return np.asarray(fetched.take(order, axis)[selection.rest], order="C")
