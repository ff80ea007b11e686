"""GridSample and AffineGrid against ONNX's cases and torch's own in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from service import errors
from service.operators.registry import resolve
from tests.operators.cases import apply

RNG = np.random.default_rng(5)
MODES = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}


def spatial(mode):
    return [(4, 5)] if mode == "cubic" else [(4, 5), (2, 3, 4)]


@pytest.mark.parametrize("align", [0, 1], ids=["edges", "corners"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", list(MODES))
def test_values_and_gradients_are_torch_s(mode, padding, align):
    for sizes in spatial(mode):
        X = torch.from_numpy(RNG.standard_normal((2, 2, *sizes))).requires_grad_()
        grid = torch.from_numpy(RNG.uniform(-2.5, 2.5, (2, *(3,) * len(sizes), len(sizes)))).requires_grad_()
        attributes = {"align_corners": align, "mode": mode, "padding_mode": padding}
        (result,) = resolve("GridSample", 22)([X, grid], attributes)
        expected = F.grid_sample(X, grid, MODES[mode], padding, bool(align))
        torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)
        cotangent = torch.from_numpy(RNG.standard_normal(result.shape))
        ours = torch.autograd.grad(result, (X, grid), cotangent, allow_unused=True, materialize_grads=True)
        theirs = torch.autograd.grad(expected, (X, grid), cotangent)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_opset_16_has_its_own_names():
    X, grid = RNG.standard_normal((1, 1, 3, 3)), RNG.uniform(-1, 1, (1, 2, 2, 2))
    for old, new in (("bilinear", "linear"), ("bicubic", "cubic"), ("nearest", "nearest")):
        (before,) = apply("GridSample", X, grid, opset=16, mode=old)
        np.testing.assert_array_equal(before, apply("GridSample", X, grid, mode=new)[0])


@pytest.mark.parametrize("align", [0, 1], ids=["edges", "corners"])
@pytest.mark.filterwarnings("ignore:Since version 1.3.0:UserWarning")
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 1, 1), (2, 1, 2, 3, 4)], ids=str)
def test_affine_grid_is_torch_s(size, align):
    rank = len(size) - 2
    theta = RNG.standard_normal((2, rank, rank + 1))
    (grid,) = apply("AffineGrid", theta, np.array(size), align_corners=align)
    expected = F.affine_grid(torch.from_numpy(theta), size, align_corners=bool(align))
    np.testing.assert_allclose(grid, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shapes", "attributes", "problem"),
    [
        pytest.param([(1, 1, 3, 3), (1, 2, 2, 3)], {}, errors.ShapeMismatch, id="coordinates"),
        pytest.param([(1, 1, 3, 3), (2, 2, 2, 2)], {}, errors.ShapeMismatch, id="batch"),
        pytest.param([(1, 1, 3, 3), (1, 2, 2, 2)], {"mode": "area"}, errors.InvalidGraph, id="mode"),
        pytest.param([(1, 1, 3, 3), (1, 2, 2, 2)], {"padding_mode": "wrap"}, errors.InvalidGraph, id="padding_mode"),
    ],
)
def test_grid_sample_refuses(shapes, attributes, problem):
    with pytest.raises(problem):
        apply("GridSample", *(np.ones(shape) for shape in shapes), **attributes)


def test_affine_grid_refuses():
    with pytest.raises(errors.ShapeMismatch):
        apply("AffineGrid", np.ones((1, 2, 3)), np.array([1, 1, 2, 2, 2]))
    with pytest.raises(errors.TooLarge):
        apply("AffineGrid", np.ones((1, 2, 3)), np.array([1, 1, 2**20, 2**20]))
