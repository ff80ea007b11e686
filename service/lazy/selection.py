"""An index on a block of a certain shape: which rows it touches, which columns of them, and what NumPy then does.

An index is split in two, applied in turn: an orthogonal one that fetches (`fetch`, one selector an axis) and the rest
that NumPy applies to what was fetched (`rest`). So NumPy's own rules, an integer beside a list included, hold to the
letter: `block[selection.fetch][selection.rest]` is `block[index]`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import TypeAlias

import numpy as np

from service import errors
from service.lazy.index import Entry, Index

Shape: TypeAlias = tuple[int, ...]
AxisEntry: TypeAlias = int | slice | list[int]
Fetch: TypeAlias = slice | np.ndarray


@dataclass(frozen=True, slots=True)
class Selection:
    """What an index selects of a block.

    Attributes:
        shape: the result's.
        rows: numbers of the rows to fetch, int64 `[R]`, in the order of the fetch, repeated as the index repeats
            them. Empty where the result is empty: nothing is to be fetched then.
        distinct: the rows touched, int64, ascending, each once.
        fetch: for each axis of the block a slice, or the int64 numbers of a list; an integer is a slice of length 1.
            Slices have bounds within the axis. The entry of the row axis stands for `rows`.
        rest: what NumPy applies to the fetched array, which has the block's rank, to give the result.
        row_axis: the axis of the block that counts rows, None where it has one row.
        joint: the axis of the result that counts rows, None where it has one row at most.
        listed: whether the index's list, if it has one, is that of the rows.
        canonical: a text that is equal for indices that say the same of this block.
    """

    shape: Shape
    rows: np.ndarray
    distinct: np.ndarray
    fetch: tuple[Fetch, ...]
    rest: Index
    row_axis: int | None
    joint: int | None
    listed: bool
    canonical: str

    def pieces(self, most: int) -> Iterator["Selection"]:
        """The selection in runs of at most that many fetched rows; their results are to be joined along `joint`."""
        if self.joint is None or self.rows.size <= most:
            yield self
            return
        for start in range(0, self.rows.size, most):
            yield self.only(slice(start, start + most))

    def only(self, places: slice | np.ndarray) -> "Selection":
        """What it selects of some of the fetched rows: their places along `joint`. All of it where it has one row."""
        if self.row_axis is None or self.joint is None:
            return self
        rows = self.rows[places]
        return replace(
            self,
            shape=(*self.shape[: self.joint], rows.size, *self.shape[self.joint + 1 :]),
            rows=rows,
            distinct=np.unique(rows),
            fetch=(*self.fetch[: self.row_axis], rows, *self.fetch[self.row_axis + 1 :]),
            rest=tuple(list(range(rows.size)) if self.listed and isinstance(e, list) else e for e in self.rest),
        )

    def of(self, block: np.ndarray) -> np.ndarray:
        """The result from a whole block, an array also where it is one number; a view wherever NumPy gives one."""
        fetched = block[tuple(slice(None) if isinstance(f, np.ndarray) else f for f in self.fetch)]
        for axis, numbers in enumerate(self.fetch):
            if isinstance(numbers, np.ndarray):
                fetched = fetched.take(numbers, axis)
        return np.asarray(fetched[self.rest])


def select(index: Index, shape: Shape, row_axis: int | None) -> Selection:
    """Apply an index to a block's shape.

    Args:
        index: as `index.parse` gives it.
        shape: the block's.
        row_axis: the axis that counts rows; None for a block of one row, all of whose axes are columns.

    Raises:
        InvalidIndex: more entries than axes, an integer out of bounds.
    """
    entries = _by_axis(index, shape)
    fetch = tuple(_fetch(e, axis, shape[axis], axis == row_axis) for axis, e in enumerate(entries))
    axes = _result_axes(index, entries)
    result = tuple(_length(fetch[axis]) for axis in axes)
    if 0 in result:
        rows = np.empty(0, np.int64)
    elif row_axis is None:
        rows = np.zeros(1, np.int64)
    else:
        rows = np.arange(shape[row_axis], dtype=np.int64)[fetch[row_axis]]
    joint = axes.index(row_axis) if row_axis is not None and row_axis in axes else None
    listed = row_axis is not None and isinstance(fetch[row_axis], np.ndarray)
    canonical = _canonical(fetch, axes)
    return Selection(result, rows, np.unique(rows), fetch, _rest(index), row_axis, joint, listed, canonical)


def _by_axis(index: Index, shape: Shape) -> tuple[AxisEntry, ...]:
    """The entry of each axis, those not named filled with `:`."""
    named = sum(entry is not Ellipsis for entry in index)
    if named > len(shape):
        allowed = f"at most {len(shape)} entries" if shape else "only () and ..."
        raise errors.InvalidIndex(
            f"too many indices: the block has {len(shape)} axes and takes {allowed}, the index has {named}"
        )
    filling = (slice(None),) * (len(shape) - named)
    place = index.index(Ellipsis) if Ellipsis in index else len(index)
    entries = (*index[:place], *filling, *index[place + 1 :])
    return tuple(entry for entry in entries if not isinstance(entry, EllipsisType))


def _fetch(entry: AxisEntry, axis: int, size: int, counts_rows: bool) -> Fetch:
    match entry:
        case slice():
            return _slice_of(range(size)[entry])
        case int():
            at = int(_in_bounds(np.array([entry]), axis, size, counts_rows)[0])
            return slice(at, at + 1, 1)
        case _:
            return _in_bounds(np.array(entry, np.int64), axis, size, counts_rows)


def _in_bounds(numbers: np.ndarray, axis: int, size: int, counts_rows: bool) -> np.ndarray:
    """The numbers counted from the front."""
    outside = numbers[(numbers < -size) | (numbers >= size)]
    if outside.size:
        name = "rows" if counts_rows else "indices"
        raise errors.InvalidIndex(
            f"index {outside[0]} is out of bounds for axis {axis} with size {size}; "
            + (f"{name} run from {-size} to {size - 1}" if size else f"it has no {name}")
        )
    return np.where(numbers < 0, numbers + size, numbers)


def _slice_of(numbers: range) -> slice:
    """The one slice within bounds that yields these numbers."""
    if not numbers:
        return slice(0, 0, 1)
    if len(numbers) == 1:
        return slice(numbers[0], numbers[0] + 1, 1)
    stop = numbers[-1] + (1 if numbers.step > 0 else -1)
    return slice(numbers[0], None if stop < 0 else stop, numbers.step)


def _length(fetch: Fetch) -> int:
    """How many numbers a selector yields; slices are within bounds."""
    if isinstance(fetch, np.ndarray):
        return fetch.size
    stop = -1 if fetch.stop is None else fetch.stop
    return len(range(fetch.start, stop, fetch.step))


def _result_axes(index: Index, entries: tuple[AxisEntry, ...]) -> tuple[int, ...]:
    """The block's axis behind each axis of the result.

    NumPy itself says where the axis of a list goes, by an empty array in which that axis alone has size 1.
    """
    probe = np.empty(tuple(0 if isinstance(entry, slice) else 1 for entry in entries))
    shape = probe[tuple([0] if isinstance(entry, list) else entry for entry in _rest(index))].shape
    sliced = iter([axis for axis, entry in enumerate(entries) if isinstance(entry, slice)])
    listed = next((axis for axis, entry in enumerate(entries) if isinstance(entry, list)), None)
    return tuple(next(sliced) if size == 0 or listed is None else listed for size in shape)


def _rest(index: Index) -> Index:
    """The same index on what was fetched: an integer is the only entry of its axis, slices and lists take all."""
    return tuple(_rest_of(entry) for entry in index)


def _rest_of(entry: Entry) -> Entry:
    match entry:
        case int():
            return 0
        case slice():
            return slice(None)
        case list():
            return list(range(len(entry)))
        case _:
            return entry


def _canonical(fetch: tuple[Fetch, ...], axes: tuple[int, ...]) -> str:
    """The selectors, and which axes they leave: an integer is told from a slice of length 1 by the latter."""
    selectors = (
        f"[{','.join(map(str, f.tolist()))}]" if isinstance(f, np.ndarray) else f"{f.start}:{f.stop}:{f.step}"
        for f in fetch
    )
    return f"{','.join(selectors)}->{','.join(map(str, axes))}"
