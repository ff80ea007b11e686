"""Reading and writing by index, against NumPy and against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.errors import InvalidGraph, ShapeMismatch, TooLarge
from tests.operators.cases import apply

X = np.arange(12.0).reshape(3, 4)
COMBINE = {
    "none": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "max": max,
    "min": min,
}


@pytest.mark.parametrize("axis", [0, 1, -1], ids=str)
@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (0,)], ids=str)
def test_gather_is_take(shape: tuple[int, ...], axis: int) -> None:
    indices = np.resize([0, -1, 2, -3], shape)
    np.testing.assert_array_equal(apply("Gather", X, indices, axis=axis)[0], np.take(X, indices, axis))


def test_gather_with_other_integers() -> None:
    assert apply("Gather", X[0], np.array(-1))[0].shape == ()
    np.testing.assert_array_equal(apply("Gather", X, np.array([-1, 0], np.int32))[0], X[[-1, 0]])


@given(indices=arrays.arrays(np.int64, st.tuples(st.integers(0, 3), st.just(4)), elements=st.integers(-3, 2)))
@settings(max_examples=30, deadline=None)
def test_gather_elements_is_take_along_axis(indices: np.ndarray) -> None:
    np.testing.assert_array_equal(apply("GatherElements", X, indices)[0], np.take_along_axis(X, indices, 0))


def test_gather_nd_with_a_batch() -> None:
    data, indices = np.arange(24.0).reshape(2, 3, 4), np.array([[[0, 1], [-1, 3]], [[2, 0], [1, -4]]])
    expected = np.stack([d[tuple(i.T)] for d, i in zip(data, indices, strict=True)])
    np.testing.assert_array_equal(apply("GatherND", data, indices, batch_dims=1)[0], expected)
    rows = np.array([[0], [-1], [1]])
    np.testing.assert_array_equal(apply("GatherND", data, rows)[0], data[rows[:, 0]])


@pytest.mark.parametrize("reduction", COMBINE)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_scatter_elements(reduction: str, data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 3))
    unique = reduction == "none"
    column = st.lists(st.integers(-3, 2), min_size=rows, max_size=rows, unique_by=(lambda i: i % 3) if unique else None)
    indices = np.array([data.draw(column) for _ in range(4)], np.int64).reshape(4, rows).T
    updates = data.draw(arrays.arrays(np.float64, indices.shape, elements=st.integers(-3, 3)))
    expected = X.copy()
    for (i, j), index in np.ndenumerate(indices):
        expected[index, j] = COMBINE[reduction](expected[index, j], updates[i, j])
    np.testing.assert_array_equal(apply("ScatterElements", X, indices, updates, reduction=reduction)[0], expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("reduction", [r for r in COMBINE if r != "none"])
def test_scatter_nd_of_slices_with_repeated_places(reduction: str, dtype: type) -> None:
    x, updates = X.astype(dtype), np.array([[5, 1, 2, 3], [2, 2, 0, 9], [1, 7, 3, 2]], dtype)
    expected = x.copy()
    for row, update in zip([1, -2, 0], updates, strict=True):
        expected[row] = [COMBINE[reduction](a, b) for a, b in zip(expected[row], update, strict=True)]
    (result,) = apply("ScatterND", x, [[1], [-2], [0]], updates, reduction=reduction)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)


OUTSIDE = [
    ("Gather", (X, [3])),
    ("GatherElements", (X, [[-4] * 4])),
    ("GatherND", (X, [[0, 4]])),
    ("ScatterElements", (X, [[3]], [[1.0]])),
    ("ScatterND", (X, [[0, -5]], [1.0])),
]


@pytest.mark.parametrize(("op", "inputs"), OUTSIDE, ids=[op for op, _ in OUTSIDE])
def test_an_index_out_of_range_is_never_another_element(op: str, inputs: tuple[object, ...]) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        apply(op, *inputs)


def test_scatter_refuses() -> None:
    with pytest.raises(ShapeMismatch, match="should have the shape"):
        apply("ScatterND", X, [[0]], np.ones((1, 3)))
    with pytest.raises(ShapeMismatch, match="differ"):
        apply("ScatterElements", X, [[0]], np.ones((1, 2)))
    with pytest.raises(InvalidGraph, match="reduction must be"):
        apply("ScatterND", X, [[0]], X[:1], reduction="mean")


@pytest.mark.parametrize("axis", [None, 0, 1], ids=str)
def test_compress(axis: int | None) -> None:
    condition = np.array([True, False, True])
    (result,) = apply("Compress", X, condition, axis=axis)
    np.testing.assert_array_equal(result, np.compress(condition, X, axis))


def test_non_zero() -> None:
    x = np.array([[0.0, 2.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(apply("NonZero", x)[0], np.nonzero(x))
    assert apply("NonZero", np.zeros(3, np.bool_))[0].shape == (1, 0)


@given(
    x=arrays.arrays(np.int64, arrays.array_shapes(max_dims=2, max_side=5), elements=st.integers(0, 3)), data=st.data()
)
@settings(max_examples=40, deadline=None)
def test_unique_is_numpys(x: np.ndarray, data: st.DataObject) -> None:
    axis = data.draw(st.sampled_from([None, *range(x.ndim)]))
    results = apply("Unique", x, axis=axis, outputs=4)
    expected = np.unique(x, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted.reshape(result.shape))


def test_unique_as_they_occur() -> None:
    values, first, inverse, counts = apply("Unique", [2.0, 1.0, 1.0, 3.0, 2.0], sorted=0, outputs=4)
    np.testing.assert_array_equal(values, [2, 1, 3])
    np.testing.assert_array_equal(first, [0, 1, 3])
    np.testing.assert_array_equal(inverse, [0, 1, 1, 2, 0])
    np.testing.assert_array_equal(counts, [2, 2, 1])


@pytest.mark.parametrize("axis", [0, 1, -1], ids=str)
def test_one_hot(axis: int) -> None:
    indices = np.array([[0, -1], [2, 7]])
    hot = (np.where(indices < 0, indices + 3, indices)[..., None] == np.arange(3)) * 4 + 1
    (result,) = apply("OneHot", indices, np.array(3.0), np.array([1, 5], np.int32), axis=axis)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, np.moveaxis(hot, -1, axis))


def test_one_hot_is_bounded() -> None:
    with pytest.raises(TooLarge):
        apply("OneHot", np.arange(9), np.array(2**40), np.array([0, 1]))


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)], ids=["time-first", "batch-first"])
def test_reverse_sequence(axes: tuple[int, int]) -> None:
    time, batch = axes
    x = np.arange(24).reshape(3, 4, 2)
    lengths = np.resize([2, 3, 1, 0], x.shape[batch])
    expected = np.moveaxis(x, (time, batch), (0, 1)).copy()
    for b, n in enumerate(np.minimum(lengths, x.shape[time])):
        expected[:n, b] = expected[:n, b][::-1]
    (result,) = apply("ReverseSequence", x, lengths, time_axis=time, batch_axis=batch)
    np.testing.assert_array_equal(np.moveaxis(result, (time, batch), (0, 1)), expected)
