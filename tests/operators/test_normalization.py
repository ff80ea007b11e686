"""Normalizations against ONNX's cases, torch's own functions in float64, and finite differences."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from service import errors
from service.catalogue import MICROSOFT
from service.operators.registry import resolve
from tests.operators.cases import apply

RNG = np.random.default_rng(2)


def normal(*shape):
    return RNG.standard_normal(shape)


def tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_normalization_is_torch_s(opset):
    X, scale, B, mean, var = normal(3, 2, 4), normal(2), normal(2), normal(2), RNG.random(2) + 0.5
    (y,) = apply("BatchNormalization", X, scale, B, mean, var, opset=opset, epsilon=1e-3)
    x, s, b, m, v = tensors(X, scale, B, mean, var)
    np.testing.assert_allclose(y, F.batch_norm(x, m, v, s, b, eps=1e-3), rtol=1e-12)


def test_batch_normalization_in_training_mode_is_torch_s():
    X, scale, B, mean, var = normal(5, 2, 3), normal(2), normal(2), normal(2), RNG.random(2) + 0.5
    y, running_mean, running_var = apply(
        "BatchNormalization", X, scale, B, mean, var, outputs=3, training_mode=1, momentum=0.7, epsilon=1e-3
    )
    x, s, b, m, v = tensors(X, scale, B, mean.copy(), var.copy())
    np.testing.assert_allclose(y, F.batch_norm(x, m, v, s, b, True, 0.3, 1e-3), rtol=1e-10)
    np.testing.assert_allclose(running_mean, m, rtol=1e-12)
    np.testing.assert_allclose(running_var, var * 0.7 + X.var((0, 2)) * 0.3, rtol=1e-12)


def test_batch_normalization_by_element():
    X = normal(3, 2, 4)
    scale, B, mean = normal(2, 4), normal(2, 4), normal(2, 4)
    var = RNG.random((2, 4)) + 0.5
    (y,) = apply("BatchNormalization", X, scale, B, mean, var, opset=7, spatial=0, epsilon=1e-3)
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 1e-3) * scale + B, rtol=1e-12)


@pytest.mark.parametrize("opset", [7, 9])
def test_old_training_mode_is_refused(opset):
    arrays = [np.ones((1, 2, 3)), *[np.ones(2)] * 4]
    with pytest.raises(errors.UnsupportedOperator):
        apply("BatchNormalization", *arrays, opset=opset, outputs=5)


@pytest.mark.parametrize("axis", [-1, 1, -3])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_layer_normalization_in_float64(axis, bias):
    X = normal(2, 3, 4) + 1e4
    shape = X.shape[axis % 3 :]
    scale, B = normal(*shape), normal(*shape) if bias else None
    y, mean, inverse = apply("LayerNormalization", X, scale, B, axis=axis, outputs=3, epsilon=1e-6)
    x, s = tensors(X, scale)
    reference = F.layer_norm(x, shape, s, None if B is None else torch.from_numpy(B), 1e-6)
    np.testing.assert_allclose(y, reference, rtol=1e-9, atol=1e-9)
    axes = tuple(range(axis % 3, 3))
    np.testing.assert_allclose(mean, X.mean(axes, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(inverse, 1 / np.sqrt(X.var(axes, keepdims=True) + 1e-6), rtol=1e-9)


@pytest.mark.parametrize("opset", [18, 21])
def test_group_normalization_in_float64(opset):
    X = normal(2, 6, 3, 2)
    scale, bias = (normal(3), normal(3)) if opset == 18 else (normal(6), normal(6))
    (y,) = apply("GroupNormalization", X, scale, bias, num_groups=3, opset=opset, epsilon=1e-3)
    if opset == 18:
        scale, bias = scale.repeat(2), bias.repeat(2)
    x, s, b = tensors(X, scale, bias)
    np.testing.assert_allclose(y, F.group_norm(x, 3, s, b, 1e-3), rtol=1e-10, atol=1e-12)


def test_instance_and_rms_normalization_in_float64():
    X, scale, B = normal(2, 3, 4), normal(3), normal(3)
    x, s, b = tensors(X, scale, B)
    (y,) = apply("InstanceNormalization", X, scale, B, epsilon=1e-3)
    np.testing.assert_allclose(y, F.instance_norm(x, weight=s, bias=b, eps=1e-3), rtol=1e-10, atol=1e-12)
    (y,) = apply("RMSNormalization", X, scale[:, None], axis=1, epsilon=1e-3)
    np.testing.assert_allclose(y, X / np.sqrt((X * X).mean((1, 2), keepdims=True) + 1e-3) * scale[:, None], rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 50])
def test_lrn_is_its_definition(size):
    X = normal(2, 4, 3)
    (y,) = apply("LRN", X, size=size, alpha=0.5, beta=0.6, bias=1.5)
    squares = np.zeros_like(X)
    for c in range(4):
        low, high = max(0, c - (size - 1) // 2), min(3, c + size // 2)
        squares[:, c] = (X[:, low : high + 1] ** 2).sum(1)
    np.testing.assert_allclose(y, X / (1.5 + 0.5 / size * squares) ** 0.6, rtol=1e-12)


def test_skip_layer_normalizations_are_those_of_the_sum():
    x, skip, gamma, beta, bias = normal(2, 3, 4), normal(2, 3, 4), normal(4), normal(4), normal(4)
    total = x + skip + bias
    y, mean, inverse, shown = apply(
        "SkipLayerNormalization", x, skip, gamma, beta, bias, domain=MICROSOFT, opset=1, outputs=4, epsilon=1e-5
    )
    expected = apply("LayerNormalization", total, gamma, beta, outputs=3, epsilon=1e-5)
    for result, wanted in zip((y, mean, inverse, shown), (*expected, total), strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-12)
    y, _, _, shown = apply(
        "SkipSimplifiedLayerNormalization", x, skip, gamma, bias, domain=MICROSOFT, opset=1, outputs=4, epsilon=1e-5
    )
    np.testing.assert_allclose(y, apply("RMSNormalization", total, gamma, epsilon=1e-5)[0], rtol=1e-12)
    np.testing.assert_allclose(shown, total, rtol=1e-12)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        pytest.param("LpNormalization", {"p": 1}, id="p1"),
        pytest.param("LpNormalization", {"p": 2}, id="p2"),
        pytest.param("MeanVarianceNormalization", {"axes": (1,)}, id="mean-variance"),
    ],
)
def test_data_without_spread_has_finite_derivatives(op, attributes):
    def f(x):
        return resolve(op, 22)([x], attributes)[0]

    x = torch.zeros(1, 3, dtype=torch.float64)
    assert f(x).abs().max() == 0
    assert torch.func.jacrev(f)(x).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_takes_its_moments_in_float32(dtype):
    x, one, zero = (torch.rand(2, 600) + 30).to(dtype), torch.ones(600, dtype=dtype), torch.zeros(600, dtype=dtype)
    (y, *_) = resolve("LayerNormalization", 17)([x, one, zero], {}, 1)
    (wide, *_) = resolve("LayerNormalization", 17)([x.float(), one.float(), zero.float()], {}, 1)
    assert y.dtype == dtype
    assert torch.equal(y, wide.to(dtype))


@pytest.mark.parametrize(
    ("op", "shapes", "attributes", "problem"),
    [
        pytest.param("BatchNormalization", [(1, 2, 3), *[(3,)] * 4], {}, errors.ShapeMismatch, id="channels"),
        pytest.param(
            "GroupNormalization", [(1, 3, 2), (3,), (3,)], {"num_groups": 2}, errors.ShapeMismatch, id="groups"
        ),
        pytest.param("LRN", [(1, 2, 3)], {"size": 0}, errors.InvalidGraph, id="size"),
        pytest.param("LpNormalization", [(2, 3)], {"p": 3}, errors.InvalidGraph, id="p"),
    ],
)
def test_refusals(op, shapes, attributes, problem):
    with pytest.raises(problem):
        apply(op, *(np.ones(shape) for shape in shapes), **attributes)
