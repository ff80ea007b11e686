"""Pools against ONNX's cases, their definition window by window, and torch's subgradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from service.operators.registry import resolve
from tests.operators.cases import apply

RNG = np.random.default_rng(1)


@st.composite
def pools(draw):
    rank = draw(st.integers(1, 4))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    sizes = [(k - 1) * d + 1 + draw(st.integers(0, 2)) for k, d in zip(kernel, dilations, strict=True)]
    pads = [draw(st.integers(0, k - 1)) if d == 1 else 0 for _ in "be" for k, d in zip(kernel, dilations, strict=True)]
    return RNG.standard_normal((1, 2, *sizes)), kernel, strides, dilations, pads, draw(st.booleans())


def windows(X, kernel, strides, dilations, pads, ceil_mode):
    """For each output position, the window's positions in X and how many are explicit padding."""
    rank = len(kernel)
    counts = []
    for i in range(rank):
        span = (kernel[i] - 1) * dilations[i] + 1
        room = X.shape[2 + i] + pads[i] + pads[rank + i] - span
        count = (-(-room // strides[i]) if ceil_mode else room // strides[i]) + 1
        if (count - 1) * strides[i] >= X.shape[2 + i] + pads[i]:
            count -= 1
        counts.append(count)
    for at in np.ndindex(*counts):
        inside, padding = [], 0
        for tap in np.ndindex(*kernel):
            place = [a * s - p + t * d for a, s, p, t, d in zip(at, strides, pads, tap, dilations, strict=False)]
            if all(0 <= q < n for q, n in zip(place, X.shape[2:], strict=True)):
                inside.append(tuple(place))
            elif all(q < n + e for q, n, e in zip(place, X.shape[2:], pads[rank:], strict=True)):
                padding += 1
        yield counts, at, inside, padding


@settings(max_examples=60, deadline=None)
@given(pools(), st.booleans(), st.integers(1, 3), st.integers(0, 1))
def test_pools_are_their_definition(case, include, p, order):
    X, kernel, strides, dilations, pads, ceil_mode = case
    shared = {
        "kernel_shape": tuple(kernel),
        "strides": tuple(strides),
        "dilations": tuple(dilations),
        "pads": tuple(pads),
        "ceil_mode": int(ceil_mode),
    }
    largest, indices = apply("MaxPool", X, outputs=2, storage_order=order, **shared)
    (mean,) = apply("AveragePool", X, count_include_pad=int(include), **shared)
    (norm,) = apply("LpPool", X, p=p, **shared)
    for counts, at, inside, padding in windows(X, kernel, strides, dilations, pads, ceil_mode):
        assert largest.shape == mean.shape == norm.shape == (1, 2, *counts)
        for c in range(2):
            values = np.array([X[(0, c, *q)] for q in inside])
            here = (0, c, *at)
            assert largest[here] == values.max()
            where = np.ravel_multi_index(inside[values.argmax()], X.shape[2:], order="F" if order else "C")
            assert indices[here] == c * np.prod(X.shape[2:]) + where
            np.testing.assert_allclose(mean[here], values.sum() / (len(values) + padding * include), atol=1e-12)
            np.testing.assert_allclose(norm[here], (np.abs(values) ** p).sum() ** (1 / p), atol=1e-12)


@pytest.mark.parametrize("sizes", [(5,), (3, 4), (2, 3, 4), ()], ids=str)
def test_global_pools_are_reductions(sizes):
    X, axes = RNG.standard_normal((2, 3, *sizes)), tuple(range(2, 2 + len(sizes)))
    kept = (2, 3, *[1] * len(sizes))
    np.testing.assert_array_equal(apply("GlobalMaxPool", X)[0], X.max(axes).reshape(kept))
    np.testing.assert_allclose(apply("GlobalAveragePool", X)[0], X.mean(axes).reshape(kept), rtol=1e-12)
    for p in (1, 2, 3):
        expected = (np.abs(X) ** p).sum(axes).reshape(kept) ** (1 / p)
        np.testing.assert_allclose(apply("GlobalLpPool", X, p=p)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size", [4, 5, 6], ids=lambda n: f"size{n}")
def test_auto_pad_is_the_explicit_one(auto_pad, size):
    X = RNG.standard_normal((1, 1, size))
    total = 0 if auto_pad == "VALID" else max((-(-size // 2) - 1) * 2 + 4 - size, 0)
    less, more = total // 2, total - total // 2
    pads = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
    for op in ("MaxPool", "AveragePool", "LpPool"):
        by_name = apply(op, X, kernel_shape=(4,), strides=(2,), auto_pad=auto_pad)
        np.testing.assert_array_equal(by_name[0], apply(op, X, kernel_shape=(4,), strides=(2,), pads=pads)[0])


def gradient(op, x, **attributes):
    def f(t):
        return resolve(op, 22)([t], attributes)[0].sum()

    return torch.func.grad(f)(torch.tensor(x, dtype=torch.float64))


def test_a_tie_goes_to_the_first_as_in_torch():
    x = [[[1.0, 2.0, 2.0, 2.0, 0.0]]]
    reference = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.max_pool1d(reference, 3, 1, 1).sum().backward()
    assert torch.equal(gradient("MaxPool", x, kernel_shape=(3,), pads=(1, 1)), reference.grad)
    assert gradient("GlobalMaxPool", x).tolist() == [[[0, 1, 0, 0, 0]]]


@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_norm_has_derivative_0_where_it_is_0(p):
    assert gradient("LpPool", [[[0.0, 0.0]]], kernel_shape=(2,), p=p).abs().max() == 0
    assert gradient("GlobalLpPool", [[[0.0, 0.0]]], p=p).abs().max() == 0


def test_max_pool_of_infinities_and_integers():
    (y,) = apply("MaxPool", np.array([[[-np.inf, -np.inf, np.nan]]]), kernel_shape=(2,), pads=(1, 0))[:1]
    np.testing.assert_array_equal(y, [[[-np.inf, -np.inf, np.nan]]])
    (y,) = apply("MaxPool", np.array([[[-128, -3, 5]]], np.int8), kernel_shape=(2,), pads=(1, 1))[:1]
    assert y.dtype == np.int8
    np.testing.assert_array_equal(y, [[[-128, -3, 5, 5]]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_half_precision_is_accumulated_in_float32(op, dtype):
    X = torch.rand(1, 1, 4, 4, 4).to(dtype)
    attributes = {"kernel_shape": (3, 3, 3)}
    y, wide = (resolve(op, 22)([t], attributes)[0] for t in (X, X.float()))
    assert y.dtype == dtype
    assert torch.equal(y, wide.to(dtype))


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        pytest.param({"kernel_shape": (2,), "pads": (2, 0)}, errors.InvalidGraph, id="all-padding"),
        pytest.param({"kernel_shape": (5,)}, errors.InvalidGraph, id="too-large"),
        pytest.param({"kernel_shape": (2, 2)}, errors.InvalidGraph, id="rank"),
    ],
)
def test_max_pool_refuses(attributes, problem):
    with pytest.raises(problem):
        apply("MaxPool", np.ones((1, 1, 4)), **attributes)


@pytest.mark.parametrize("sizes", [(6,), (4, 6), (4, 2, 2)], ids=str)
def test_unpooled_maxima_are_pooled_again(sizes):
    X = RNG.standard_normal((2, 3, *sizes)) + 10
    windows = {"kernel_shape": (2,) * len(sizes), "strides": (2,) * len(sizes)}
    y, indices = apply("MaxPool", X, outputs=2, **windows)
    (back,) = apply("MaxUnpool", y, indices, **windows)
    np.testing.assert_array_equal(back, np.where(np.isin(X, y), X, 0))
    (larger,) = apply("MaxUnpool", y, indices, np.array([2, 3, *(n + 1 for n in sizes)]), **windows)
    np.testing.assert_array_equal(larger, np.pad(back, [(0, 0), (0, 0), *[(0, 1)] * len(sizes)]))


def test_max_unpool_refuses():
    x = np.ones((1, 1, 2))
    with pytest.raises(errors.ShapeMismatch):
        apply("MaxUnpool", x, np.array([[[0]]]), kernel_shape=(2,))
    for index in (3, -4):
        with pytest.raises((IndexError, RuntimeError)):
            apply("MaxUnpool", x, np.array([[[0, index]]]), kernel_shape=(2,))
