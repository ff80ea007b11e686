"""Elementwise operators against NumPy: broadcasting, integers, dtypes."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.errors import InvalidGraph, UnsupportedOperator
from service.tensors.dtypes import DTYPES
from tests.operators.cases import apply

INTEGERS = ("int8", "int16", "int32", "int64", "uint8")
BINARY = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
}
UNARY = {
    "Abs": np.abs,
    "Neg": np.negative,
    "Sign": np.sign,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.round,
    "Exp": np.exp,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Tanh": np.tanh,
    "Atan": np.arctan,
    "Asinh": np.arcsinh,
    "Reciprocal": np.reciprocal,
}


@given(shapes=arrays.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), data=st.data())
@settings(max_examples=50, deadline=None)
def test_broadcasting_is_numpys(shapes: arrays.BroadcastableShapes, data: st.DataObject) -> None:
    op = data.draw(st.sampled_from(sorted(BINARY)))
    a, b = (data.draw(arrays.arrays(np.float64, s, elements=st.floats(-9, 9))) for s in shapes.input_shapes)
    (result,) = apply(op, a, b)
    assert result.shape == shapes.result_shape
    np.testing.assert_array_equal(result, BINARY[op](a, b))


@pytest.mark.parametrize("op", UNARY)
def test_functions_are_right_to_rounding_in_float64(op: str) -> None:
    x = np.linspace(-2.6, 2.7, 41)
    np.testing.assert_allclose(apply(op, x)[0], UNARY[op](x), rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap(dtype: str) -> None:
    a, b = np.array([100, 250 % 128, 3], dtype), np.array([100, 7, 5], dtype)
    for op in ("Add", "Sub", "Mul"):
        result = apply(op, a, b)[0]
        assert result.dtype == a.dtype
        np.testing.assert_array_equal(result, BINARY[op](a, b))


@given(a=st.integers(-100, 100), b=st.integers(-100, 100).filter(bool))
@settings(max_examples=60, deadline=None)
def test_division_and_remainders_of_integers(a: int, b: int) -> None:
    quotient, floored, truncated = (
        int(apply(op, np.array(a), np.array(b), **attributes)[0])
        for op, attributes in (("Div", {}), ("Mod", {}), ("Mod", {"fmod": 1}))
    )
    assert quotient == abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    assert floored == a % b
    assert truncated == a - b * quotient


@pytest.mark.parametrize(
    ("base", "exponent", "expected"),
    [
        (np.array([2, 3, -2], np.int32), np.array([10, 0, 3], np.int32), np.array([1024, 1, -8], np.int32)),
        (np.array([2, 9], np.int64), np.array([0.5], np.float32), np.array([1, 3])),
        (np.array([2.0, 9.0]), np.array([3, 2]), np.array([8.0, 81.0])),
        (np.array([2.0, 9.0], np.float32), np.array(0.5), np.sqrt([2.0, 9.0]).astype(np.float32)),
    ],
    ids=["integers", "integer-to-float", "float-to-integer", "float32-to-float64"],
)
def test_power_has_the_dtype_of_its_base(base: np.ndarray, exponent: np.ndarray, expected: np.ndarray) -> None:
    (result,) = apply("Pow", base, exponent)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=1e-7)


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_cast(source: str, to: str) -> None:
    x = np.array([0.0, 1.75, 3.0, 100.0]).astype(DTYPES[source].numpy)
    (result,) = apply("Cast", x, to=DTYPES[to].onnx)
    assert result.dtype == DTYPES[to].numpy
    np.testing.assert_array_equal(result, x.astype(DTYPES[to].numpy))


def test_cast_to_a_dtype_that_is_none_of_the_contracts() -> None:
    with pytest.raises(UnsupportedOperator, match="data type 8"):
        apply("Cast", np.ones(2), to=8)


def test_sums_of_halves_are_accumulated_in_float32() -> None:
    values = [np.array(2048, np.float16), np.array(1, np.float16), np.array(1, np.float16)]
    assert apply("Sum", *values)[0] == np.float16(2050)
    assert apply("Mean", *(np.array(60000, np.float16),) * 3)[0] == np.float16(60000)


def test_shift_by_more_than_there_are_bits() -> None:
    x, by = np.array([-8, 8, -8, 8], np.int8), np.array([1, 9, 9, -1], np.int8)
    np.testing.assert_array_equal(apply("BitShift", x, by, direction="RIGHT")[0], [-4, 0, -1, 0])
    np.testing.assert_array_equal(apply("BitShift", x, by, direction="LEFT")[0], [-16, 0, 0, 0])


def test_clip_of_integers_and_of_float16_by_the_old_defaults() -> None:
    np.testing.assert_array_equal(apply("Clip", np.array([1, 5, 9], np.uint8), np.uint8(3), np.uint8(7))[0], [3, 5, 7])
    x = np.array([-np.inf, 1, np.inf], np.float16)
    np.testing.assert_array_equal(apply("Clip", x, opset=6)[0], x)


def test_bit_cast_refuses_another_width() -> None:
    with pytest.raises(InvalidGraph, match="width"):
        apply("BitCast", np.ones(2, np.float32), to=11)
    assert apply("BitCast", np.array([1.5], ml_dtypes.bfloat16), to=10)[0].dtype == np.float16


@pytest.mark.parametrize("op", ["Max", "Min", "Sum", "Mean"])
def test_variadic_operators_need_an_input(op: str) -> None:
    with pytest.raises(InvalidGraph, match="at least one"):
        apply(op)
