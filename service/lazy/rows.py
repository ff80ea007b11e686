"""Rows in the cache, rows in flight, and rows that are missing.

The rows of one function at one point (`Rows`) are kept in pages: arrays of consecutive rows, one array for each x, and
a mark for each row that is valid. A page is what is evicted. Whoever asks for rows pins their pages, joins the flights
that are evaluating some of them, and starts one flight for the rest; so no row is evaluated twice at once.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from service.lazy.evaluator import Evaluator

T = TypeVar("T")

PAGE_BYTES = 4 << 20
"""What a page holds at most, for all xs; a row is never divided."""
MEMORY_PAGE = 4096
"""What memory comes in: a row that is written touches one more of these than it fills."""
WINDOW_BYTES = 8 << 20
"""What a slice has evaluated and held at once, about: a larger one goes through window by window."""


@dataclass(frozen=True, slots=True)
class Operand:
    """An x as the rows see it: its dtype and the elements of one row (of one sample, with a batch)."""

    dtype: np.dtype
    size: int


@dataclass(eq=False, slots=True)
class Page:
    """Consecutive rows.

    Attributes:
        first: the number of the first.
        arrays: for each x `[R, N]`, or `[B, R, N]` with a batch.
        valid: which rows are there, `[R]`.
        row_bytes: what one row takes of memory, at most.
        pins: requests and flights that need it now.
        stays: whether it is kept once nobody needs it, as long as there is room.
    """

    first: int
    arrays: tuple[np.ndarray, ...]
    valid: np.ndarray
    row_bytes: int
    pins: int = 0
    stays: bool = False

    @property
    def nbytes(self) -> int:
        """What it takes of memory: no more than its rows, since the rest of a new array was never touched."""
        whole = sum(a.nbytes for a in self.arrays)
        return min(whole, int(np.count_nonzero(self.valid)) * self.row_bytes) + self.valid.nbytes


@dataclass(frozen=True, slots=True)
class Tally:
    """What a request did to the cache: rows evaluated for it, and rows that were there or on their way."""

    computed: int
    cached: int
    timings: Mapping[str, float] = field(default_factory=dict)


def started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task whose failure is no news if nobody waits for it any more."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


class Flight:
    """An evaluation that is under way, for as many requests as wait for its rows; without any, it is cancelled."""

    def __init__(self, rows: "Rows", missing: Sequence[int], evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._rows = rows
        self._pending = set(missing)
        self._waiting = 0
        self._moved = asyncio.Event()
        self._task = started(self._fly(missing))

    @property
    def timings(self) -> Mapping[str, float]:
        """Seconds by phase, so far."""
        return self._evaluator.timings

    def join(self) -> None:
        """One request more waits."""
        self._waiting += 1

    def leave(self) -> None:
        """One request less waits."""
        self._waiting -= 1
        if not self._waiting and self._pending:
            self._task.cancel()

    async def wait(self, needed: set[int]) -> None:
        """Wait until none of the needed rows is pending.

        Raises:
            Problem: the evaluation failed.
        """
        while needed & self._pending:
            if self._task.done():
                self._task.result()
            await self._moved.wait()

    async def _fly(self, missing: Sequence[int]) -> None:
        rows = self._rows
        try:
            with rows.pinned(missing, keep=False) as pages:
                async for part, arrays in self._evaluator.rows(missing):
                    rows.write(pages, part, arrays)
                    self._pending.difference_update(part)
                    self._land(part)
        finally:
            self._land(tuple(self._pending))

    def _land(self, part: Sequence[int]) -> None:
        for row in part:
            self._rows.flights.pop(row, None)
        self._moved.set()
        self._moved = asyncio.Event()


class Rows:
    """The rows of one function at one point, for all its xs.

    Args:
        cache: whose budget they are under.
        key: what they are found by.
        total: how many there are.
        operands: the xs.
        samples: B, None without a batch.
    """

    def __init__(
        self, cache: "RowCache", key: Hashable, total: int, operands: Sequence[Operand], samples: int | None
    ) -> None:
        self.key = key
        self.total = total
        self.flights: dict[int, Flight] = {}
        self._cache = cache
        self.operands = tuple(operands)
        self._samples = samples
        self.row_bytes = sum(o.size * o.dtype.itemsize for o in operands) * (samples or 1)
        self.page_rows = max(1, min(total, PAGE_BYTES // max(self.row_bytes, 1)))

    @property
    def cached(self) -> int:
        """How many rows are there now."""
        return sum(int(p.valid.sum()) for p in self._cache.pages_of(self).values())

    @property
    def window(self) -> int:
        """How many rows are worked on at once: what fits `WINDOW_BYTES`, by whole pages."""
        return max(1, WINDOW_BYTES // (self.page_rows * max(self.row_bytes, 1))) * self.page_rows

    def fits(self, count: int) -> bool:
        """Whether so many rows may stay in the cache: more than half of it would leave nothing of the others'."""
        return count * self.row_bytes <= self._cache.budget // 2

    def valid(self, rows: np.ndarray) -> np.ndarray:
        """Which of these rows are there, bool `[R]`. No page is made."""
        found = np.zeros(len(rows), bool)
        numbers = rows // self.page_rows
        for number, page in self._cache.pages_of(self).items():
            here = numbers == number
            found[here] = page.valid[rows[here] - page.first]
        return found

    def absent(self, rows: np.ndarray) -> int:
        """How many of these rows are neither there nor on their way."""
        missing = rows[~self.valid(rows)]
        return sum(row not in self.flights for row in missing.tolist()) if self.flights else len(missing)

    def row(self, number: int) -> tuple[np.ndarray, ...] | None:
        """One row for each x, `[N]` (`[B, N]` with a batch), if it is there; the most recently used from now on."""
        if not self.valid(np.array([number])).all():
            return None
        page = self._cache.page(self, number // self.page_rows)
        return tuple(array[..., number - page.first, :] for array in page.arrays)

    @contextmanager
    def pinned(self, rows: Sequence[int] | np.ndarray, keep: bool = True) -> Iterator[dict[int, Page]]:
        """The pages of these rows, made where they are missing, there as long as the context is open.

        Without `keep`, those that were made do not stay longer, unless others want them kept.
        """
        numbers = np.unique(np.asarray(rows, np.int64) // self.page_rows).tolist()
        pages = {n: self._cache.page(self, n) for n in numbers}
        for page in pages.values():
            page.pins += 1
            page.stays |= keep
        self._cache.trim()
        try:
            yield pages
        finally:
            for page in pages.values():
                page.pins -= 1
            self._cache.release(self, pages)

    async def fill(self, pages: Mapping[int, Page], rows: np.ndarray, evaluator: Evaluator) -> Tally:
        """Make rows valid: what is missing is evaluated, what is on its way awaited.

        Args:
            pages: the rows' pages, pinned.
            rows: distinct, ascending, `[R]`.
            evaluator: of this function at this point.

        Raises:
            Problem: some rows could not be evaluated; those that were stay.
        """
        lacking = [r for n, page in pages.items() for r in self._lacking(n, page, rows)]
        if not lacking:
            return Tally(0, len(rows))
        joined: dict[Flight, set[int]] = {}
        for row in lacking:
            if row in self.flights:
                joined.setdefault(self.flights[row], set()).add(row)
        missing = [row for row in lacking if row not in self.flights]
        own = None
        if missing:
            own = Flight(self, missing, evaluator)
            self.flights.update(dict.fromkeys(missing, own))
            joined[own] = set(missing)
        for flight in joined:
            flight.join()
        try:
            for flight, needed in joined.items():
                await flight.wait(needed)
        finally:
            for flight in joined:
                flight.leave()
        return Tally(len(missing), len(rows) - len(missing), own.timings if own else {})

    def _lacking(self, number: int, page: Page, rows: np.ndarray) -> list[int]:
        start, stop = np.searchsorted(rows, (number * self.page_rows, (number + 1) * self.page_rows))
        part = rows[start:stop]
        found: list[int] = part[~page.valid[part - page.first]].tolist()
        return found

    def write(self, pages: Mapping[int, Page], part: Sequence[int], arrays: Sequence[np.ndarray]) -> None:
        """Put evaluated rows in their pages, and then mark them valid."""
        rows = np.asarray(part, np.int64)
        for number in np.unique(rows // self.page_rows).tolist():
            page = pages[number]
            here = rows // self.page_rows == number
            local = rows[here] - page.first
            for kept, values in zip(page.arrays, arrays, strict=True):
                if self._samples is None:
                    kept[local] = values[here]
                else:
                    kept[:, local] = values[:, here]
            before = page.nbytes
            page.valid[local] = True
            self._cache.grow(page.nbytes - before)

    def make_page(self, number: int) -> Page:
        """A page without a valid row."""
        first = number * self.page_rows
        count = min(self.page_rows, self.total - first)
        lead = (count,) if self._samples is None else (self._samples, count)
        return Page(
            first,
            tuple(np.empty((*lead, o.size), o.dtype) for o in self.operands),
            np.zeros(count, bool),
            self.row_bytes + MEMORY_PAGE * len(self.operands) * (self._samples or 1),
        )


class RowCache:
    """All pages, within a budget: the least recently used that nobody needs goes first.

    Args:
        budget: bytes. What is pinned stays even where it is more.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._bytes = 0
        self._known: WeakValueDictionary[Hashable, Rows] = WeakValueDictionary()
        self._pages: OrderedDict[tuple[Rows, int], Page] = OrderedDict()
        self._of: dict[Rows, dict[int, Page]] = {}

    @property
    def bytes(self) -> int:
        """What the pages take."""
        return self._bytes

    def find(self, key: Hashable) -> Rows | None:
        """The rows of that key, if any are held or under way."""
        return self._known.get(key)

    def rows(self, key: Hashable, total: int, operands: Sequence[Operand], samples: int | None) -> Rows:
        """The rows of that key, from now on if not before."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Rows(self, key, total, operands, samples)
        return found

    def pages_of(self, rows: Rows) -> Mapping[int, Page]:
        """The pages that are held of some rows, by number."""
        return self._of.get(rows, {})

    def page(self, rows: Rows, number: int) -> Page:
        """One page, made where it is missing; the most recently used from now on."""
        page = self._pages.get((rows, number))
        if page is None:
            page = self._pages[rows, number] = self._of.setdefault(rows, {})[number] = rows.make_page(number)
            self._bytes += page.nbytes
        self._pages.move_to_end((rows, number))
        return page

    def grow(self, size: int) -> None:
        """Pages take so many bytes more."""
        self._bytes += size
        self.trim()

    def trim(self) -> None:
        """Let go of pages until the rest fits the budget."""
        if self._bytes <= self.budget:
            return
        for place in [place for place, page in self._pages.items() if not page.pins]:
            self._drop(place)
            if self._bytes <= self.budget:
                return

    def release(self, rows: Rows, pages: Mapping[int, Page]) -> None:
        """Let go of those pages that nobody needs any more and that do not stay."""
        for number, page in pages.items():
            if not page.pins and not page.stays:
                self._drop((rows, number))

    def forget(self, owner: str) -> None:
        """Let go of the rows that one session has for itself (their key begins with it) once nobody needs them."""
        for place, page in list(self._pages.items()):
            key = place[0].key
            if isinstance(key, tuple) and key[0] == owner:
                page.stays = False
                self.release(place[0], {place[1]: page})

    def _drop(self, place: tuple[Rows, int]) -> None:
        rows, number = place
        self._bytes -= self._pages.pop(place).nbytes
        held = self._of[rows]
        del held[number]
        if not held:
            del self._of[rows]
