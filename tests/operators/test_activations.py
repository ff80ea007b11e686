"""Activations in float64 against their formulas."""

import math

import ml_dtypes
import numpy as np
import pytest

from service.catalogue import MICROSOFT
from service.errors import InvalidGraph
from tests.operators.cases import apply

X = np.linspace(-4, 4, 33).reshape(3, 11)
erf = np.vectorize(math.erf)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def tanh_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


SELU = np.float32(1.67326319217681884765625), np.float32(1.05070102214813232421875)
FORMULAS = {
    "Celu": ({"alpha": 0.5}, np.maximum(X, 0) + np.minimum(0, 0.5 * np.expm1(X / 0.5))),
    "Elu": ({"alpha": 0.75}, np.where(X > 0, X, 0.75 * np.expm1(X))),
    "Gelu": ({}, X * (1 + erf(X / np.sqrt(2))) / 2),
    "HardSigmoid": ({}, np.clip(np.float64(np.float32(0.2)) * X + 0.5, 0, 1)),
    "HardSwish": ({}, X * np.clip(X / 6 + 0.5, 0, 1)),
    "LeakyRelu": ({"alpha": 0.125}, np.where(X > 0, X, 0.125 * X)),
    "LogSoftmax": ({"axis": 0}, np.log(softmax(X, 0))),
    "Mish": ({}, X * np.tanh(np.log1p(np.exp(X)))),
    "Selu": ({}, np.float64(SELU[1]) * np.where(X > 0, X, np.float64(SELU[0]) * np.expm1(X))),
    "Shrink": ({"bias": 0.25, "lambd": 1.0}, np.where(X < -1, X + 0.25, np.where(X > 1, X - 0.25, 0))),
    "Sigmoid": ({}, sigmoid(X)),
    "Softmax": ({"axis": 0}, softmax(X, 0)),
    "Softplus": ({}, np.log1p(np.exp(X))),
    "Softsign": ({}, X / (1 + np.abs(X))),
    "Swish": ({"alpha": 0.5}, X * sigmoid(0.5 * X)),
    "ThresholdedRelu": ({"alpha": 0.5}, np.where(X > 0.5, X, 0)),
}


@pytest.mark.parametrize("op", FORMULAS)
def test_formulas_in_float64(op: str) -> None:
    attributes, expected = FORMULAS[op]
    np.testing.assert_allclose(apply(op, X, **attributes)[0], expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_before_opset_13_the_last_axes_are_one(op: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    together = apply(op, x.reshape(2, 12), axis=1)[0].reshape(x.shape)
    np.testing.assert_allclose(apply(op, x, opset=11)[0], together, rtol=1e-15)
    np.testing.assert_allclose(apply(op, x, opset=11, axis=-2)[0], together, rtol=1e-15)


def test_softplus_and_softmax_do_not_overflow() -> None:
    np.testing.assert_allclose(apply("Softplus", [-800.0, 35.0, 800.0])[0], [0, 35 + np.exp(-35), 800], rtol=1e-16)
    np.testing.assert_allclose(apply("Softmax", [1000.0, 1000.0])[0], [0.5, 0.5])


def test_softmax_has_no_axis_beyond_its_rank() -> None:
    with pytest.raises(InvalidGraph, match="no axis 2 in a tensor of rank 2"):
        apply("Softmax", X, axis=2)


def test_the_first_of_equals_is_the_hard_maximum() -> None:
    np.testing.assert_array_equal(apply("Hardmax", [[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]])[0], [[0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32], ids=["float16", "bfloat16", "float32"])
def test_softmax_keeps_its_dtype(dtype: type) -> None:
    (result,) = apply("Softmax", np.zeros((1, 3000), dtype))
    assert result.dtype == dtype
    assert float(result.astype(np.float64).sum()) == pytest.approx(1, rel=0.01)


MICROSOFTS = {
    "Gelu": ((X,), {}, X * (1 + erf(X / np.sqrt(2))) / 2),
    "BiasGelu": ((X, X[0]), {}, (X + X[0]) * (1 + erf((X + X[0]) / np.sqrt(2))) / 2),
    "FastGelu": ((X, X[0]), {}, tanh_gelu(X + X[0])),
    "QuickGelu": ((X,), {"alpha": 1.5}, X * sigmoid(1.5 * X)),
}


@pytest.mark.parametrize("op", MICROSOFTS)
def test_the_formulas_of_microsoft(op: str) -> None:
    inputs, attributes, expected = MICROSOFTS[op]
    result = apply(op, *inputs, domain=MICROSOFT, opset=1, **attributes)[0]
    np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-15)
