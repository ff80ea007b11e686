"""Tensors made from numbers."""

import numpy as np
import pytest

from service.errors import InvalidGraph, TooLarge, UnsupportedOperator
from tests.operators.cases import apply

CONSTANTS = {
    "value": (np.array([1.5, 2.5]), np.array([1.5, 2.5])),
    "value_float": (0.5, np.array(0.5, np.float32)),
    "value_floats": ((0.5, 1.5), np.array([0.5, 1.5], np.float32)),
    "value_int": (3, np.array(3)),
    "value_ints": ((3, 4), np.array([3, 4])),
}


@pytest.mark.parametrize("form", CONSTANTS)
def test_constants(form: str) -> None:
    value, expected = CONSTANTS[form]
    (result,) = apply("Constant", **{form: value})
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result, expected)


def test_constants_that_are_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="strings"):
        apply("Constant", value_string="a")
    with pytest.raises(InvalidGraph, match="no value"):
        apply("Constant")


def test_constant_of_shape() -> None:
    (zeros,) = apply("ConstantOfShape", [2, 0, 3])
    assert (zeros.dtype, zeros.shape) == (np.float32, (2, 0, 3))
    np.testing.assert_array_equal(apply("ConstantOfShape", [2], value=np.array([7]))[0], [7, 7])
    with pytest.raises(InvalidGraph, match="negative"):
        apply("ConstantOfShape", [-1])


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("ConstantOfShape", ([2**16, 2**16],)),
        ("Range", (np.array(0), np.array(2**40), np.array(1))),
        ("HannWindow", (np.array(2**40),)),
    ],
    ids=["ConstantOfShape", "Range", "HannWindow"],
)
def test_sizes_in_data_are_bounded(op: str, inputs: tuple[object, ...]) -> None:
    with pytest.raises(TooLarge):
        apply(op, *inputs)


@pytest.mark.parametrize("k", [-2, 0, 1], ids=str)
def test_eye_like(k: int) -> None:
    np.testing.assert_array_equal(apply("EyeLike", np.zeros((3, 4)), k=k)[0], np.eye(3, 4, k))
    assert apply("EyeLike", np.zeros((3, 4)), dtype=7)[0].dtype == np.int64


@pytest.mark.parametrize(
    ("start", "limit", "delta"),
    [(0, 5, 2), (5, -1, -2), (3, 3, 1), (4, 0, 1), (0.5, 2.0, 0.25), (1.0, 0.0, -0.3)],
    ids=str,
)
def test_ranges_are_numpys(start: float, limit: float, delta: float) -> None:
    (result,) = apply("Range", np.array(start), np.array(limit), np.array(delta))
    np.testing.assert_allclose(result, np.arange(start, limit, delta), rtol=1e-14)


def test_ranges_of_large_integers_and_of_halves_are_exact() -> None:
    big = 2**62
    np.testing.assert_array_equal(apply("Range", np.array(big), np.array(big + 3), np.array(2))[0], [big, big + 2])
    ends = (np.array(v, np.float16) for v in (2046, 2052, 1))
    np.testing.assert_array_equal(apply("Range", *ends)[0], np.arange(2046, 2052).astype(np.float16))


@pytest.mark.parametrize("delta", [0.0, np.nan], ids=str)
def test_ranges_without_end(delta: float) -> None:
    with pytest.raises(InvalidGraph, match="Range"):
        apply("Range", np.array(0.0), np.array(1.0), np.array(delta))


@pytest.mark.parametrize("size", [1, 2, 7, 8], ids=str)
@pytest.mark.parametrize(
    ("op", "numpys"), [("HannWindow", np.hanning), ("BlackmanWindow", np.blackman)], ids=["hann", "blackman"]
)
def test_windows_are_numpys(op: str, numpys: object, size: int) -> None:
    symmetric, periodic = (apply(op, np.array(size), output_datatype=11, periodic=p)[0] for p in (0, 1))
    if size > 1:
        np.testing.assert_allclose(symmetric, numpys(size), atol=1e-15)
    np.testing.assert_allclose(periodic, numpys(size + 1)[:-1], atol=1e-15)
    assert apply(op, np.array(size))[0].dtype == np.float32
