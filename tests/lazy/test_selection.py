import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from service.lazy.index import parse
from service.lazy.selection import select


def numbered(shape):
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


def rows_touched(index, shape, row_axis):
    """Rows by the definition: index an array in which each element is the number of its row."""
    if row_axis is None:
        return np.unique(np.zeros(shape, int)[index])
    numbers = np.arange(shape[row_axis]).reshape([-1 if axis == row_axis else 1 for axis in range(len(shape))])
    return np.unique(np.broadcast_to(numbers, shape)[index])


def check(index, shape, row_axis):
    block = numbered(shape)
    expected = block[index]
    selection = select(index, shape, row_axis)
    assert selection.shape == expected.shape
    np.testing.assert_array_equal(selection.of(block), np.asarray(expected), strict=True)
    np.testing.assert_array_equal(selection.distinct, rows_touched(index, shape, row_axis))
    assert selection.rows.dtype == selection.distinct.dtype == np.int64
    np.testing.assert_array_equal(np.unique(selection.rows), selection.distinct)
    if row_axis is not None and selection.rows.size:
        fetched = block.take(selection.rows, row_axis)
        columns = tuple(slice(None) if axis == row_axis else f for axis, f in enumerate(selection.fetch))
        np.testing.assert_array_equal(fetched[columns][selection.rest], expected)
    return selection


BOUNDS = [None, *range(-5, 6)]


@pytest.mark.parametrize("size", range(5), ids="size-{}".format)
def test_every_small_slice_is_numpys(size):
    for start, stop, step in itertools.product(BOUNDS, BOUNDS, [None, -3, -2, -1, 1, 2, 3]):
        check((slice(start, stop, step),), (size,), 0)


SOME = {
    3: [0, -1, slice(None), slice(None, None, -1), slice(1, 1), [2, 0], [1, 1, -3], []],
    2: [1, slice(None), slice(-1, None), [1], [0, 1, 0]],
    4: [-4, slice(None), slice(3, 0, -2), [3], [0, 3]],
}


@pytest.mark.parametrize("ellipsis", [None, 0, 1, 2, 3], ids="ellipsis-at-{}".format)
@pytest.mark.parametrize("named", [0, 1, 2, 3], ids="entries-{}".format)
def test_every_mixture_on_a_batched_block_is_numpys(named, ellipsis):
    shape = (3, 2, 4)
    if ellipsis is not None and ellipsis > named:
        return
    axes = range(named) if ellipsis is None else [*range(ellipsis), *range(3 - named + ellipsis, 3)]
    for entries in itertools.product(*(SOME[shape[axis]] for axis in axes)):
        if sum(isinstance(e, list) for e in entries) > 1:
            continue
        check(entries if ellipsis is None else (*entries[:ellipsis], ..., *entries[ellipsis:]), shape, 1)


@st.composite
def indexed_blocks(draw):
    shape = tuple(draw(st.lists(st.integers(0, 7), max_size=3)))
    named = draw(st.integers(0, len(shape)))
    listed = draw(st.integers(-1, named - 1))
    ellipsis = draw(st.integers(-1, named))
    sizes = shape if ellipsis < 0 else (*shape[:ellipsis], *shape[len(shape) - named + ellipsis :])
    entries = []
    for at, size in enumerate(sizes[:named]):
        numbers = st.integers(-size, size - 1) if size else st.nothing()
        if at == listed:
            entries.append(draw(st.lists(numbers, max_size=6 if size else 0)))
        elif size and draw(st.booleans()):
            entries.append(draw(numbers))
        else:
            bounds = st.none() | st.integers(-9, 9)
            entries.append(slice(draw(bounds), draw(bounds), draw(bounds.filter(lambda step: step != 0))))
    if ellipsis >= 0:
        entries.insert(ellipsis, ...)
    row_axis = draw(st.sampled_from([None, *range(min(len(shape), 2))]))
    return tuple(entries), shape, row_axis


@given(indexed_blocks())
@settings(max_examples=100, deadline=None)
def test_any_index_is_numpys(case):
    check(*case)


def test_an_integer_beside_a_list_counts_as_a_list():
    assert check((0, slice(None), [0, 2]), (5, 3, 4), 1).shape == (2, 3)


def test_rows_come_in_the_order_of_the_index():
    np.testing.assert_array_equal(select(([4, 0, 4],), (5, 2), 0).rows, [4, 0, 4])
    np.testing.assert_array_equal(select((slice(None, None, -2),), (5, 2), 0).rows, [4, 2, 0])


def test_slices_of_a_whole_block_are_views():
    block = numbered((5, 4))
    assert np.shares_memory(select((slice(1, 4), 0), block.shape, 0).of(block), block)


@pytest.mark.parametrize(
    ("index", "shape"),
    [
        pytest.param("1:4,0:0", (5, 4), id="no-columns"),
        pytest.param("[],:", (5, 4), id="empty-list"),
        pytest.param("0:0,1,:", (5, 3, 4), id="no-samples"),
        pytest.param(":", (0, 4), id="empty-y"),
        pytest.param(":", (5, 0), id="empty-x"),
    ],
)
def test_an_empty_result_touches_no_row(index, shape):
    selection = check(parse(index), shape, len(shape) - 2)
    assert selection.rows.size == selection.distinct.size == 0


def test_a_y_without_an_axis_of_its_own_has_one_row():
    assert check((slice(1, 3),), (4,), None).rows.tolist() == [0]
    assert check((), (), None).rows.tolist() == [0]


@pytest.mark.parametrize(
    "indices",
    [
        pytest.param(("1:4", "1:4,:", "1:4,...", "-4:-1,", "1:4:1,0:99"), id="slices"),
        pytest.param(("2,1", "-3,-3", "2,1,..."), id="integers"),
        pytest.param(("[0,4]", "[-5,-1],:"), id="lists"),
        pytest.param(("::-1", "4::-1", ":-9:-1,:"), id="backwards"),
        pytest.param(("0:0", "3:1", "9:"), id="empty"),
        pytest.param((":", "...", "()"), id="all"),
    ],
)
def test_indices_that_say_the_same_have_one_canonical_text(indices):
    assert len({select(parse(text), (5, 4), 0).canonical for text in indices}) == 1


def test_different_results_have_different_canonical_texts():
    shape = (4, 4, 4)
    entries = [1, slice(1, 2), slice(None), slice(None, None, -1), slice(2), [1], [2, 0], [0, 2]]
    results = {}
    for parts in itertools.product(entries, repeat=3):
        if sum(isinstance(e, list) for e in parts) > 1:
            continue
        for index in (parts, (*parts[:2], ..., parts[2])):
            result = numbered(shape)[index]
            known = results.setdefault(select(index, shape, 1).canonical, result)
            np.testing.assert_array_equal(result, known)
            assert result.shape == known.shape


@pytest.mark.parametrize(
    ("index", "shape", "told"),
    [
        pytest.param("7", (5, 4), "index 7 is out of bounds for axis 0 with size 5; rows run from -5 to 4", id="row"),
        pytest.param(
            "-6", (5, 4), "index -6 is out of bounds for axis 0 with size 5; rows run from -5 to 4", id="negative"
        ),
        pytest.param(":,4", (5, 4), "index 4 is out of bounds for axis 1 with size 4; indices run", id="column"),
        pytest.param("[0,5],:", (5, 4), "index 5 is out of bounds for axis 0 with size 5", id="in-a-list"),
        pytest.param("...,9", (5, 4), "index 9 is out of bounds for axis 1", id="after-an-ellipsis"),
        pytest.param("0", (0, 4), "index 0 is out of bounds for axis 0 with size 0; it has no rows", id="no-rows"),
        pytest.param("5,[]", (5, 4), "index 5 is out of bounds", id="beside-an-empty-list"),
        pytest.param("999999999999999999", (5, 4), "out of bounds", id="large"),
        pytest.param("0,0,0", (5, 4), "too many indices: the block has 2 axes", id="too-many"),
        pytest.param(":,...,:,:", (5, 4), "too many indices", id="too-many-with-ellipsis"),
        pytest.param(":", (), "takes only () and ..., the index has 1", id="colon-on-no-axis"),
        pytest.param("0", (), "too many indices", id="integer-on-no-axis"),
    ],
)
def test_refuses(index, shape, told):
    with pytest.raises(errors.InvalidIndex) as caught:
        select(parse(index), shape, 0 if shape else None)
    assert told in caught.value.detail
    with pytest.raises(IndexError):
        np.zeros(shape)[parse(index)]
