"""Reductions against NumPy: axes, dtypes, empty tensors, ties."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.errors import InvalidGraph
from tests.operators.cases import apply

NUMPYS = {
    "ReduceL1": lambda x, **k: np.abs(x).sum(**k),
    "ReduceL2": lambda x, **k: np.sqrt((x * x).sum(**k)),
    "ReduceLogSum": lambda x, **k: np.log(np.abs(x).sum(**k)),
    "ReduceLogSumExp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "ReduceMax": np.max,
    "ReduceMean": np.mean,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
    "ReduceSumSquare": lambda x, **k: (x * x).sum(**k),
}
AXES_ARE_INPUT_SINCE = {op: 13 if op == "ReduceSum" else 18 for op in NUMPYS}


@pytest.mark.parametrize("op", NUMPYS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_reductions_are_numpys(op: str, data: st.DataObject) -> None:
    x = data.draw(arrays.arrays(np.float64, arrays.array_shapes(min_dims=0, max_side=4), elements=st.floats(0.1, 3)))
    axes = data.draw(st.lists(st.integers(0, x.ndim - 1), unique=True)) if x.ndim else []
    keep = data.draw(st.booleans())
    expected = NUMPYS[op](x, axis=tuple(axes) or None, keepdims=keep)
    signed = np.array([a - x.ndim if data.draw(st.booleans()) else a for a in axes], np.int64)
    since = AXES_ARE_INPUT_SINCE[op]
    by_input = apply(op, x, signed, keepdims=int(keep), opset=since)[0]
    by_attribute = apply(op, x, axes=tuple(int(a) for a in signed), keepdims=int(keep), opset=since - 1)[0]
    assert by_input.shape == expected.shape
    np.testing.assert_allclose(by_input, expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(by_attribute, by_input)


@pytest.mark.parametrize("op", NUMPYS)
def test_no_axes_reduce_nothing_where_that_is_asked_for(op: str) -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    (result,) = apply(op, x, noop_with_empty_axes=1)
    np.testing.assert_allclose(result, NUMPYS[op](x[..., None], axis=-1), rtol=1e-15)


@pytest.mark.parametrize(
    ("op", "neutral"),
    [
        ("ReduceSum", 0),
        ("ReduceProd", 1),
        ("ReduceMax", -np.inf),
        ("ReduceMin", np.inf),
        ("ReduceL2", 0),
        ("ReduceLogSumExp", -np.inf),
    ],
    ids=lambda v: str(v),
)
def test_a_reduction_of_nothing_is_neutral(op: str, neutral: float) -> None:
    np.testing.assert_array_equal(apply(op, np.zeros((2, 0)), [1])[0], np.full((2, 1), neutral))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8], ids=lambda d: d.__name__)
def test_integers_keep_their_dtype(dtype: type) -> None:
    x = np.array([[1, 2, 3], [4, 5, 7]], dtype)
    expected = {"ReduceSum": [6, 16], "ReduceProd": [6, 140], "ReduceMax": [3, 7], "ReduceMean": [2, 5]}
    for op, values in expected.items():
        (result,) = apply(op, x, [1], keepdims=0)
        assert result.dtype == dtype, op
        np.testing.assert_array_equal(result, np.array(values).astype(dtype))


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "CumSum"])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_halves_are_accumulated_in_float32(op: str, dtype: type) -> None:
    x = np.ones(5000, dtype)
    result = apply(op, x, np.array(0))[0] if op == "CumSum" else apply(op, x, keepdims=0)[0]
    assert result.dtype == dtype
    exact = 5000**0.5 if op == "ReduceL2" else 5000
    assert result.reshape(-1)[-1] == np.array(exact).astype(dtype)


@pytest.mark.parametrize("op", NUMPYS)
def test_no_rows_are_no_results(op: str) -> None:
    assert apply(op, np.zeros((0, 3)), [1])[0].shape == (0, 1)


def test_axes_are_checked() -> None:
    with pytest.raises(InvalidGraph, match="no axis 2"):
        apply("ReduceSum", np.ones((2, 2)), [2])
    with pytest.raises(InvalidGraph, match="twice"):
        apply("ReduceSum", np.ones((2, 2)), [1, -1])


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_places_of_extremes_among_equals(op: str) -> None:
    x = np.array([[2, 1, 2], [0, 0, 0]], np.float32) * (1 if op == "ArgMax" else -1)
    np.testing.assert_array_equal(apply(op, x, axis=1, keepdims=0)[0], [0, 0])
    np.testing.assert_array_equal(apply(op, x, axis=-1, select_last_index=1)[0], [[2], [2]])


@given(x=arrays.arrays(np.int32, (3, 5), elements=st.integers(0, 3)), k=st.integers(0, 5), largest=st.booleans())
@settings(max_examples=40, deadline=None)
def test_of_equals_top_k_takes_the_first(x: np.ndarray, k: int, largest: bool) -> None:
    values, indices = apply("TopK", x, np.array([k]), largest=int(largest), outputs=2)
    expected = np.argsort(-x if largest else x, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(x, expected, 1))


def test_top_k_of_more_than_there_are() -> None:
    with pytest.raises(InvalidGraph, match="k is 4, axis -1 has 3"):
        apply("TopK", np.ones(3), np.array([4]), outputs=2)


@pytest.mark.parametrize("reverse", [0, 1], ids=["forward", "reverse"])
@pytest.mark.parametrize("exclusive", [0, 1], ids=["inclusive", "exclusive"])
@pytest.mark.parametrize(
    ("op", "scan", "neutral"), [("CumSum", np.cumsum, 0), ("CumProd", np.cumprod, 1)], ids=["sum", "product"]
)
def test_cumulative(op: str, scan: object, neutral: int, exclusive: int, reverse: int) -> None:
    x = np.array([[1, 2, 3, 4, 5], [3, 0, 2, 1, 7]])
    way = slice(None, None, -1 if reverse else 1)
    source = x[:, way]
    if exclusive:
        source = np.concatenate([np.full((2, 1), neutral), source[:, :-1]], 1)
    (result,) = apply(op, x, np.array(1), exclusive=exclusive, reverse=reverse)
    np.testing.assert_array_equal(result, scan(source, axis=1)[:, way])
