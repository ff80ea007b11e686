"""Rows are evaluated once, kept within a budget, and shared by whoever asks for them at the same time."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import errors
from service.lazy import rows as lazy_rows
from service.lazy.block import Block, block_shape
from service.lazy.rows import Operand, RowCache

F8 = np.dtype("<f8")


class Matrix:
    """An evaluator of known rows that counts what it evaluates and goes on when it is told to."""

    def __init__(self, *jacobians: np.ndarray, batch: int = 4, axis: int = 0) -> None:
        self.jacobians = jacobians
        self.batch = batch
        self.axis = axis
        self.evaluated: list[int] = []
        self.cancelled = 0
        self.fail_at: int | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.timings = {"rows": 0.0}

    async def rows(self, rows: Sequence[int]) -> AsyncIterator[tuple[Sequence[int], Sequence[np.ndarray]]]:
        for start in range(0, len(rows), self.batch):
            part = list(rows[start : start + self.batch])
            try:
                await self.gate.wait()
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            if self.fail_at is not None and self.fail_at in part:
                raise errors.OutOfMemory("this row is too much")
            self.evaluated += part
            yield part, [j.take(part, self.axis) for j in self.jacobians]


def jacobian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def block_of(cache: RowCache, matrix: Matrix, key: str = "k", position: int = 0) -> Block:
    shape = matrix.jacobians[position].shape
    operands = [Operand(F8, j.shape[-1]) for j in matrix.jacobians]
    if matrix.axis == 0:
        rows = cache.rows(key, shape[0], operands, None)
        return Block(block_shape(shape[:1], shape[1:], None), rows, position, matrix, 2**30)
    rows = cache.rows(key, shape[1], operands, shape[0])
    return Block(block_shape(shape[:2], (shape[0], shape[2]), 0), rows, position, matrix, 2**30)


async def take(block: Block, index: str) -> tuple[np.ndarray, int, int]:
    array, tally = await block.slice(block.select(index))
    return array, tally.computed, tally.cached


async def test_a_slice_evaluates_the_rows_that_nobody_evaluated_before() -> None:
    matrix = Matrix(jacobian(6, 3))
    block = block_of(RowCache(2**20), matrix)
    first, *counts = await take(block, "1:4")
    assert counts == [3, 0]
    np.testing.assert_array_equal(first, matrix.jacobians[0][1:4])
    _, *counts = await take(block, "0:6")
    assert counts == [3, 3]
    assert sorted(matrix.evaluated) == list(range(6))


async def test_rows_of_one_x_are_there_for_every_other() -> None:
    matrix = Matrix(jacobian(5, 3), jacobian(5, 7, seed=1))
    cache = RowCache(2**20)
    await take(block_of(cache, matrix, position=0), ":")
    got, *counts = await take(block_of(cache, matrix, position=1), "::-2,[0,6]")
    assert counts == [0, 3]
    np.testing.assert_array_equal(got, matrix.jacobians[1][::-2][:, [0, 6]])


async def test_an_empty_slice_evaluates_nothing() -> None:
    matrix = Matrix(jacobian(5, 3))
    got, *counts = await take(block_of(RowCache(2**20), matrix), "2:2")
    assert got.shape == (0, 3)
    assert counts == [0, 0]
    assert matrix.evaluated == []


async def test_simultaneous_requests_evaluate_each_row_once() -> None:
    matrix = Matrix(jacobian(40, 3))
    block = block_of(RowCache(2**20), matrix)
    answers = await asyncio.gather(*(take(block, f"{i}:{i + 9}") for i in range(32)))
    assert sorted(matrix.evaluated) == list(range(40))
    assert sum(computed for _, computed, _ in answers) == 40
    for i, (got, computed, cached) in enumerate(answers):
        np.testing.assert_array_equal(got, matrix.jacobians[0][i : i + 9])
        assert computed + cached == 9


async def test_the_last_to_give_up_cancels_the_evaluation_and_no_one_before() -> None:
    matrix = Matrix(jacobian(8, 3))
    block = block_of(RowCache(2**20), matrix)
    matrix.gate.clear()
    first, second = asyncio.create_task(take(block, ":")), asyncio.create_task(take(block, "0:2"))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    assert matrix.cancelled == 0
    second.cancel()
    await asyncio.sleep(0.01)
    assert matrix.cancelled == 1
    matrix.gate.set()
    _, *counts = await take(block, ":")
    assert counts == [8, 0]


async def test_a_failure_reaches_all_who_wait_and_leaves_what_was_evaluated() -> None:
    matrix = Matrix(jacobian(8, 3), batch=2)
    block = block_of(RowCache(2**20), matrix)
    matrix.fail_at = 5
    failed = await asyncio.gather(take(block, ":"), take(block, "4:8"), return_exceptions=True)
    assert [type(f) for f in failed] == [errors.OutOfMemory] * 2
    matrix.fail_at = None
    got, *counts = await take(block, ":")
    assert counts == [4, 4]
    np.testing.assert_array_equal(got, matrix.jacobians[0])


async def test_rows_far_apart_do_not_drive_the_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page takes what its rows take, not what it could hold."""
    monkeypatch.setattr(lazy_rows, "PAGE_BYTES", 1024)
    monkeypatch.setattr(lazy_rows, "MEMORY_PAGE", 0)
    cache = RowCache(4200)
    near, far = Matrix(jacobian(32, 8)), Matrix(jacobian(256, 8, seed=1))
    await take(block_of(cache, near, "near"), ":")
    _, *counts = await take(block_of(cache, far, "far"), "::16")
    assert counts == [16, 0]
    for matrix, key, index, rows in ((near, "near", ":", 32), (far, "far", "::16", 16)):
        _, *counts = await take(block_of(cache, matrix, key), index)
        assert counts == [0, rows]


async def test_the_least_recently_used_pages_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_rows, "PAGE_BYTES", 1024)
    cache = RowCache(4200)
    old, new = Matrix(jacobian(64, 8)), Matrix(jacobian(64, 8, seed=1))
    await take(block_of(cache, old, "old"), ":")
    assert cache.bytes <= 4200
    await take(block_of(cache, new, "new"), ":")
    _, *counts = await take(block_of(cache, new, "new"), ":")
    assert counts == [0, 64]
    _, *counts = await take(block_of(cache, old, "old"), ":")
    assert counts == [64, 0]


async def test_rows_of_a_session_of_its_own_are_forgotten_with_it() -> None:
    matrix = Matrix(jacobian(4, 2))
    cache = RowCache(2**20)
    rows = cache.rows(("owner", 1), 4, [Operand(F8, 2)], None)
    block = Block(block_shape((4,), (2,), None), rows, 0, matrix, 2**30)
    await take(block, ":")
    cache.forget("another")
    assert rows.cached == 4
    cache.forget("owner")
    assert cache.bytes == rows.cached == 0


async def test_a_slice_above_the_limit_is_refused_before_anything_is_evaluated() -> None:
    matrix = Matrix(jacobian(10, 10))
    rows = RowCache(2**20).rows("k", 10, [Operand(F8, 10)], None)
    block = Block(block_shape((10,), (10,), None), rows, 0, matrix, 400)
    with pytest.raises(errors.TooLarge, match="slice_bytes"):
        await take(block, ":")
    assert matrix.evaluated == []
    assert (await take(block, "0:5"))[1:] == (5, 0)


SLICES = st.builds(
    lambda start, stop, step: f"{start if start is not None else ''}:{stop if stop is not None else ''}:{step}",
    st.none() | st.integers(-12, 12),
    st.none() | st.integers(-12, 12),
    st.integers(-3, 3).filter(bool),
)
LISTS = st.lists(st.integers(0, 1), min_size=1, max_size=5).map(lambda ns: "[" + ",".join(map(str, ns)) + "]")
ENTRIES = SLICES | st.sampled_from(["0", "-1", ":"])


@given(
    batch=st.none() | st.integers(1, 3),
    rows=st.integers(2, 11),
    columns=st.integers(2, 5),
    page=st.sampled_from([1, 64, 200, 4096]),
    budget=st.sampled_from([1, 500, 2**20]),
    steps=st.lists(st.tuples(ENTRIES, ENTRIES | LISTS), min_size=1, max_size=6),
)
def test_any_slices_in_any_pages_are_those_of_the_dense_block(
    batch: int | None, rows: int, columns: int, page: int, budget: int, steps: list[tuple[str, str]]
) -> None:
    dense = jacobian(*(() if batch is None else (batch,)), rows, columns)
    lead = "" if batch is None else ":,"
    axis = 0 if batch is None else 1

    async def run() -> None:
        matrix = Matrix(dense, batch=3, axis=axis)
        cache = RowCache(budget)
        for of_rows, of_columns in steps:
            text = f"{lead}{of_rows},{of_columns}"
            index = eval(f"np.s_[{text}]", {"np": np})
            before = len(matrix.evaluated)
            got, computed, cached = await take(block_of(cache, matrix), text)
            wanted = dense[index]
            assert got.shape == wanted.shape
            np.testing.assert_array_equal(got, wanted)
            numbers = np.broadcast_to(np.arange(rows).reshape([-1, 1]), dense.shape)[index]
            assert computed + cached == len(np.unique(numbers))
            assert len(matrix.evaluated) - before == computed
            assert cache.bytes <= budget or not any(p.pins for p in cache._pages.values())
        if budget == 2**20:
            assert len(matrix.evaluated) == len(set(matrix.evaluated))

    original, lazy_rows.PAGE_BYTES = lazy_rows.PAGE_BYTES, page
    try:
        asyncio.run(run())
    finally:
        lazy_rows.PAGE_BYTES = original
