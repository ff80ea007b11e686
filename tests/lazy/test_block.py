"""Blocks in windows and small pages are what NumPy makes of the dense block; nothing is held that should not be."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from service.lazy import rows as lazy_rows
from service.lazy.block import Block, block_shape
from service.lazy.rows import Operand, RowCache
from service.lazy.selection import Selection, select
from tests.lazy.test_rows import F8, Matrix, block_of, jacobian, take


@contextmanager
def sizes(page: int, window: int) -> Iterator[None]:
    """Pages and windows of so many bytes."""
    before = lazy_rows.PAGE_BYTES, lazy_rows.WINDOW_BYTES
    lazy_rows.PAGE_BYTES, lazy_rows.WINDOW_BYTES = page, window
    try:
        yield
    finally:
        lazy_rows.PAGE_BYTES, lazy_rows.WINDOW_BYTES = before


@pytest.fixture
def small() -> Iterator[None]:
    """Rows of four numbers (32 bytes) by four in a page, and eight in a window."""
    with sizes(128, 256):
        yield


async def settle() -> None:
    """Whatever can go on has gone on."""
    for _ in range(200):
        await asyncio.sleep(0)


def word(entry: Any) -> str:
    match entry:
        case slice():
            return ":".join("" if part is None else str(part) for part in (entry.start, entry.stop, entry.step))
        case list():
            return "[" + ",".join(map(str, entry)) + "]"
        case _:
            return "..." if entry is ... else str(entry)


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Any index that the contract knows, on a block without empty axes."""
    named = draw(st.integers(0, len(shape)))
    listed = draw(st.integers(-1, named - 1))
    entries: list[Any] = []
    for axis, size in enumerate(shape[:named]):
        numbers = st.integers(-size, size - 1)
        bounds = st.none() | st.integers(-size - 2, size + 2)
        slices = st.builds(slice, bounds, bounds, st.none() | st.integers(-3, 3).filter(bool))
        entries.append(draw(st.lists(numbers, max_size=9) if axis == listed else slices | numbers))
    if draw(st.booleans()):
        entries.append(...)
    return tuple(entries)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """A dense block, `[M, N]` or `[B, M, N]`, and its axis of rows."""
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    batch = draw(st.none() | st.integers(1, 3))
    return (jacobian(rows, columns), 0) if batch is None else (jacobian(batch, rows, columns), 1)


@given(blocks().flatmap(lambda b: st.tuples(st.just(b), indices(b[0].shape))), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_pieces_joined_are_the_whole(case: tuple[tuple[np.ndarray, int], tuple[Any, ...]], most: int) -> None:
    (dense, axis), index = case
    whole = select(index, dense.shape, axis)
    pieces = list(whole.pieces(most))
    parts = [piece.of(dense) for piece in pieces]
    assert [part.shape for part in parts] == [piece.shape for piece in pieces]
    joined = parts[0] if whole.joint is None else np.concatenate(parts, whole.joint)
    np.testing.assert_array_equal(joined, np.asarray(dense[index]), strict=True)
    np.testing.assert_array_equal(np.concatenate([piece.rows for piece in pieces]), whole.rows)
    for piece in pieces:
        assert piece.rows.size <= most or whole.joint is None
        np.testing.assert_array_equal(piece.distinct, np.unique(piece.rows))


@given(
    blocks().flatmap(lambda b: st.tuples(st.just(b), st.lists(indices(b[0].shape), min_size=1, max_size=4))),
    st.sampled_from([1, 60, 200]),
    st.sampled_from([1, 150, 400]),
    st.sampled_from([1, 600, 2**20]),
)
@settings(max_examples=60, deadline=None)
def test_slices_in_windows_are_numpys(
    case: tuple[tuple[np.ndarray, int], list[tuple[Any, ...]]], page: int, window: int, budget: int
) -> None:
    (dense, axis), steps = case

    async def run() -> None:
        matrix, cache = Matrix(dense, batch=3, axis=axis), RowCache(budget)
        for index in steps:
            block = block_of(cache, matrix)
            selection = block.select(",".join(map(word, index)) or "()")
            wanted = np.asarray(dense[index])
            expected, before = block.expected(selection), len(matrix.evaluated)
            if block.streams(selection):
                parts = [part async for part, _ in block.parts(selection)]
                assert all(part.flags.c_contiguous for part in parts)
                np.testing.assert_array_equal(np.concatenate(parts), wanted, strict=True)
            got, tally = await block.slice(selection)
            np.testing.assert_array_equal(got, wanted, strict=True)
            assert got.flags.c_contiguous
            assert tally.computed + tally.cached == expected.computed + expected.cached == len(selection.distinct)
            if budget == 2**20:
                assert len(matrix.evaluated) - before == expected.computed
                assert block.expected(selection).computed == 0
            assert cache.bytes <= max(budget, 0) or budget < 600
        assert not any(pinned.pins for pinned in cache._pages.values())

    with sizes(page, window):
        asyncio.run(run())


@given(
    blocks().flatmap(
        lambda b: st.tuples(st.just(b), indices(b[0].shape), st.sets(st.integers(0, b[0].shape[b[1]] - 1)))
    ),
    st.sampled_from([1, 60, 2**20]),
    st.sampled_from([1, 150, 2**20]),
)
@settings(max_examples=60, deadline=None)
def test_what_is_known_is_what_was_evaluated(
    case: tuple[tuple[np.ndarray, int], tuple[Any, ...], set[int]], page: int, window: int
) -> None:
    (dense, axis), index, there = case
    marks = np.zeros(dense.shape, bool)
    marks[(slice(None),) * axis + (sorted(there),)] = True

    async def run() -> None:
        matrix, cache = Matrix(dense, axis=axis), RowCache(2**20)
        block = block_of(cache, matrix)
        for row in there:
            await block.fill(np.array([row]))
        evaluated, held = list(matrix.evaluated), cache.bytes
        selection = block.select(",".join(map(word, index)) or "()")
        values, known = await block.known(selection)
        np.testing.assert_array_equal(known, np.asarray(marks[index]), strict=True)
        np.testing.assert_array_equal(values, np.asarray(np.where(marks, dense, 0)[index]), strict=True)
        assert (matrix.evaluated, cache.bytes) == (evaluated, held)
        rows = block._rows
        np.testing.assert_array_equal(rows.valid(np.arange(rows.total)), [r in there for r in range(rows.total)])
        assert (rows.cached, rows.absent(selection.distinct)) == (len(there), len(set(selection.distinct) - there))
        for number in range(rows.total):
            found = rows.row(number)
            assert (found is not None) == (number in there)
            if found is not None:
                np.testing.assert_array_equal(found[0], dense.take(number, axis), strict=True)

    with sizes(page, window):
        asyncio.run(run())


@given(st.lists(st.integers(0, 3), max_size=2), st.lists(st.integers(0, 3), max_size=2), st.sampled_from([None, 0]))
@settings(max_examples=60, deadline=None)
def test_shapes_of_blocks(y: list[int], x: list[int], batch_axis: int | None) -> None:
    lead = [2] if batch_axis == 0 else []
    found = block_shape([*lead, *y], [*lead, *x], batch_axis)
    wanted = (*lead, *([int(np.prod(y))] if y else []), *([int(np.prod(x))] if x else []))
    assert found.shape == wanted
    assert found.row_axis == (len(lead) if y else None)
    assert found.total == int(np.prod(y))


# --- windows ---------------------------------------------------------------------------------------------------------


def selection_of(block: Block, index: str = ":") -> Selection:
    selection = block.select(index)
    assert block.streams(selection)
    return selection


@pytest.mark.usefixtures("small")
async def test_one_window_is_evaluated_ahead() -> None:
    matrix = Matrix(jacobian(40, 4))
    block = block_of(RowCache(2**20), matrix)
    assert block.window == 8
    async with aclosing(block.parts(selection_of(block))) as parts:
        first, tally = await anext(parts)
        assert (first.shape, tally.computed) == ((8, 4), 8)
        await settle()
        assert sorted(matrix.evaluated) == list(range(16))
        await anext(parts)
        await settle()
        assert sorted(matrix.evaluated) == list(range(24))


@pytest.mark.usefixtures("small")
async def test_nothing_is_evaluated_once_the_parts_are_closed() -> None:
    matrix, cache = Matrix(jacobian(40, 4), batch=1), RowCache(2**20)
    block = block_of(cache, matrix)
    async with aclosing(block.parts(selection_of(block))) as parts:
        await anext(parts)
        matrix.gate.clear()
        await settle()
    await settle()
    matrix.gate.set()
    await settle()
    assert matrix.cancelled == 1
    assert len(matrix.evaluated) < 16
    assert not block._rows.flights
    assert not any(page.pins for page in cache._pages.values())


@pytest.mark.usefixtures("small")
async def test_a_failure_comes_after_the_parts_before_it() -> None:
    matrix = Matrix(jacobian(40, 4))
    matrix.fail_at = 20
    block = block_of(RowCache(2**20), matrix)
    parts, seen = block.parts(selection_of(block)), 0
    for _ in range(2):
        part, _ = await anext(parts)
        np.testing.assert_array_equal(part, matrix.jacobians[0][seen : seen + 8])
        seen += len(part)
    with pytest.raises(errors.OutOfMemory):
        await anext(parts)
    assert seen == 16


@pytest.mark.usefixtures("small")
async def test_two_readers_of_one_slice_evaluate_each_row_once() -> None:
    matrix = Matrix(jacobian(64, 4))
    cache = RowCache(2**20)

    async def read() -> np.ndarray:
        block = block_of(cache, matrix)
        return np.concatenate([part async for part, _ in block.parts(selection_of(block))])

    for got in await asyncio.gather(read(), read(), read()):
        np.testing.assert_array_equal(got, matrix.jacobians[0])
    assert sorted(matrix.evaluated) == list(range(64))


@pytest.mark.usefixtures("small")
async def test_rows_under_way_are_not_expected_to_be_computed() -> None:
    matrix = Matrix(jacobian(8, 4))
    matrix.gate.clear()
    block = block_of(RowCache(2**20), matrix)
    asked = asyncio.create_task(take(block, "2:5"))
    await settle()
    expected = block.expected(block.select("0:8"))
    assert (expected.computed, expected.cached) == (5, 3)
    matrix.gate.set()
    await asked


# --- what stays ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
async def test_rows_that_are_too_many_do_not_stay_and_drive_out_no_others() -> None:
    cache = RowCache(1500)
    small, large = Matrix(jacobian(12, 4)), Matrix(jacobian(200, 4, seed=1))
    await take(block_of(cache, small, "small"), ":")
    block = block_of(cache, large, "large")
    held = []
    parts = []
    async for part, _ in block.parts(selection_of(block)):
        parts.append(part)
        held.append(cache.bytes)
    np.testing.assert_array_equal(np.concatenate(parts), large.jacobians[0])
    assert max(held) < 1500
    await settle()
    assert block._rows.cached == 0
    assert (await take(block_of(cache, small, "small"), ":"))[1:] == (0, 12)


@pytest.mark.usefixtures("small")
async def test_rows_that_were_there_stay_where_others_do_not() -> None:
    cache, matrix = RowCache(1500), Matrix(jacobian(200, 4))
    block = block_of(cache, matrix)
    await take(block, "8:12")
    async for _ in block.parts(selection_of(block)):
        pass
    assert block._rows.valid(np.arange(200)).nonzero()[0].tolist() == [8, 9, 10, 11]
    assert len(matrix.evaluated) == 200


@pytest.mark.usefixtures("small")
async def test_rows_that_somebody_else_needs_stay_as_long() -> None:
    cache, matrix = RowCache(1500), Matrix(jacobian(200, 4))
    block = block_of(cache, matrix)
    with block._rows.pinned(np.array([0, 5])):
        async for _ in block.parts(selection_of(block)):
            pass
        assert {0, 5} <= set(block._rows.valid(np.arange(200)).nonzero()[0].tolist())
    assert len(set(matrix.evaluated)) == len(matrix.evaluated) == 200


@pytest.mark.usefixtures("small")
async def test_what_is_left_behind_by_a_reader_that_goes_does_not_stay() -> None:
    cache, matrix = RowCache(1500), Matrix(jacobian(200, 4), batch=1)
    block = block_of(cache, matrix)
    async with aclosing(block.parts(selection_of(block))) as parts:
        await anext(parts)
        matrix.gate.clear()
        await settle()
    await settle()
    assert cache.bytes == 0


async def test_rows_of_a_session_go_with_it_also_while_they_are_evaluated() -> None:
    cache, matrix = RowCache(2**20), Matrix(jacobian(8, 4), batch=1)
    rows = cache.rows(("owner", 1), 8, [Operand(F8, 4)], None)
    block = Block(block_shape((8,), (4,), None), rows, 0, matrix, 2**30)
    matrix.gate.clear()
    asked = asyncio.create_task(take(block, ":"))
    await settle()
    cache.forget("owner")
    matrix.gate.set()
    got, *_ = await asked
    np.testing.assert_array_equal(got, matrix.jacobians[0])
    await settle()
    assert cache.bytes == 0


@pytest.mark.usefixtures("small")
async def test_looking_at_what_is_cached_drives_nothing_out() -> None:
    cache = RowCache(1000)
    others, matrix = Matrix(jacobian(12, 4)), Matrix(jacobian(120, 4, seed=1))
    await take(block_of(cache, others, "others"), ":")
    await take(block_of(cache, matrix, "seen"), "0:4")
    block = block_of(cache, matrix, "seen")
    _, known = await block.known(block.select("::3"))
    assert known[:, 0].nonzero()[0].tolist() == [0, 1]
    assert (await take(block_of(cache, others, "others"), ":"))[1:] == (0, 12)


async def test_a_row_above_the_limit_is_refused() -> None:
    matrix = Matrix(jacobian(4, 100))
    rows = RowCache(2**20).rows("k", 4, [Operand(F8, 100)], None)
    block = Block(block_shape((4,), (100,), None), rows, 0, matrix, 500)
    with pytest.raises(errors.TooLarge):
        await take(block, "0,0:2")
    with pytest.raises(errors.TooLarge):
        await block.fill(np.array([0]))
    with pytest.raises(errors.TooLarge):
        await block.known(block.select(":"))
    assert matrix.evaluated == []
