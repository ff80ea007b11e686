"""Quantization: rounding, saturation, granularity."""

import numpy as np
import pytest

from tests.operators.cases import apply

RNG = np.random.default_rng(3)
DTYPES = [np.uint8, np.int8, np.int16]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_ties_go_to_even_and_values_saturate(dtype: type) -> None:
    x = np.array([-1e9, -1.5, 0.5, 1.5, 1e9], np.float32)
    (result,) = apply("QuantizeLinear", x, np.float32(1), np.array(1, dtype))
    limits = np.iinfo(dtype)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, [limits.min, max(-1, limits.min), 1, 3, limits.max])


def test_the_default_is_uint8() -> None:
    assert apply("QuantizeLinear", np.ones(2, np.float32), np.float32(1))[0].dtype == np.uint8
    assert apply("QuantizeLinear", np.ones(2, np.float32), np.float32(1), output_dtype=3)[0].dtype == np.int8


def test_scales_for_an_axis_and_for_blocks() -> None:
    q = np.arange(10, dtype=np.int8).reshape(2, 5)
    by_row = np.array([1.0, 0.5], np.float32)
    np.testing.assert_array_equal(apply("DequantizeLinear", q, by_row, axis=0)[0], q * by_row[:, None])
    by_block = np.array([[1.0, 2.0, 4.0], [0.5, 0.25, 8.0]], np.float32)
    (result,) = apply("DequantizeLinear", q, by_block, axis=1, block_size=2)
    np.testing.assert_array_equal(result, q * np.repeat(by_block, 2, 1)[:, :5])
    np.testing.assert_array_equal(
        apply("QuantizeLinear", result, by_block, np.zeros((2, 3), np.int8), axis=1, block_size=2)[0], q
    )


def test_a_dynamic_scale_spans_the_tensor_and_zero() -> None:
    x = np.array([0.0, 2.0, -3.0, 5.1], np.float32)
    q, scale, zero_point = apply("DynamicQuantizeLinear", x, outputs=3)
    assert scale == pytest.approx(8.1 / 255)
    np.testing.assert_allclose((q.astype(np.float32) - zero_point) * scale, x, atol=float(scale))
    zeros, _, _ = apply("DynamicQuantizeLinear", np.zeros(3, np.float32), outputs=3)
    np.testing.assert_array_equal(zeros, 0)


def test_integer_products_do_not_wrap() -> None:
    a, b = np.full((2, 300), 255, np.uint8), np.full((300, 2), -128, np.int8)
    zeros = np.array([0, 5], np.uint8)
    (result,) = apply("MatMulInteger", a, b, zeros)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, (a.astype(int) - zeros[:, None]) @ b.astype(int))


def quantized(x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    limits = np.iinfo(zero.dtype)
    return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(zero.dtype)


def test_a_quantized_product_is_that_of_the_numbers_meant() -> None:
    a, b = RNG.integers(0, 255, (3, 4), np.uint8), RNG.integers(-128, 127, (4, 2), np.int8)
    rows, columns = np.array([0.5, 0.25, 2.0], np.float32), np.array([0.125, 0.5], np.float32)
    zeros, scale, zero = np.array([3, 0, 9], np.uint8), np.float32(32), np.array(100, np.uint8)
    (result,) = apply("QLinearMatMul", a, rows, zeros, b, columns, np.array([1, -2], np.int8), scale, zero)
    meant = ((a.astype(float) - zeros[:, None]) * rows[:, None]) @ ((b - np.array([1.0, -2.0])) * columns)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, quantized(meant, scale, zero))


def test_a_quantized_convolution_is_that_of_the_numbers_meant() -> None:
    x, w = RNG.integers(0, 255, (1, 2, 5, 4), np.uint8), RNG.integers(-128, 127, (3, 2, 2, 2), np.int8)
    zero, by_channel = np.array(7, np.uint8), np.array([1, -2, 3], np.int8)
    shape = {"pads": (1, 0, 0, 1), "strides": (2, 1)}
    wide = x.astype(float) - zero, w - by_channel[:, None, None, None].astype(float)
    (exact,) = apply("Conv", *wide, **shape)
    (steps,) = apply("ConvInteger", x, w, zero, by_channel, **shape)
    assert steps.dtype == np.int32
    np.testing.assert_array_equal(steps, exact)
    scales, bias = np.array([0.5, 0.25, 1.0], np.float32), np.array([10, -20, 30], np.int32)
    y_scale, y_zero = np.float32(64), np.array(-5, np.int8)
    (result,) = apply("QLinearConv", x, np.float32(0.5), zero, w, scales, by_channel, y_scale, y_zero, bias, **shape)
    meant = (exact + bias[:, None, None]) * 0.5 * scales[:, None, None]
    np.testing.assert_array_equal(result, quantized(meant, y_scale, y_zero))
