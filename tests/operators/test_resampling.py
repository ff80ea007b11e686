"""Resize and Upsample against ONNX's cases and torch's interpolation in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from service import errors
from service.operators.registry import resolve
from tests.operators.cases import apply

RNG = np.random.default_rng(4)
MODES = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}


@pytest.mark.parametrize("sizes", [(3, 4), (7, 5), (2, 9), (1, 1)], ids=str)
@pytest.mark.parametrize("align", [False, True], ids=["half_pixel", "align_corners"])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_torch_s_interpolation_in_float64(mode, align, sizes):
    X = RNG.standard_normal((2, 1, 4, 5))
    transformation = "align_corners" if align else "half_pixel"
    (Y,) = apply(
        "Resize", X, None, None, np.array((2, 1, *sizes)), mode=mode, coordinate_transformation_mode=transformation
    )
    expected = F.interpolate(torch.from_numpy(X), sizes, mode=MODES[mode], align_corners=align)
    np.testing.assert_allclose(Y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_torch_s_antialias_in_float64(mode):
    X = RNG.standard_normal((1, 1, 9, 8))
    sizes = np.array((1, 1, 4, 3))
    (Y,) = apply("Resize", X, None, None, sizes, mode=mode, antialias=1, exclude_outside=1, cubic_coeff_a=-0.5)
    expected = F.interpolate(torch.from_numpy(X), (4, 3), mode=MODES[mode], antialias=True)
    np.testing.assert_allclose(Y, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 20), st.sampled_from(["half_pixel", "asymmetric", "align_corners"]))
def test_linear_interpolation_is_numpy_s(size, out, transformation):
    x, at = RNG.standard_normal(size), np.arange(out)
    where = {
        "half_pixel": (at + 0.5) * size / out - 0.5,
        "asymmetric": at * size / out,
        "align_corners": at * (size - 1) / max(out - 1, 1),
    }[transformation]
    (y,) = apply("Resize", x, None, None, np.array([out]), mode="linear", coordinate_transformation_mode=transformation)
    np.testing.assert_allclose(y, np.interp(where, np.arange(size), x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("antialias", [0, 1])
def test_a_constant_stays_constant(mode, antialias):
    (Y,) = apply("Resize", np.ones((3, 5)), None, np.array([0.7, 1.9], np.float32), mode=mode, antialias=antialias)
    np.testing.assert_allclose(Y, np.ones((2, 9)), rtol=1e-12)


@pytest.mark.parametrize("opset", [7, 9])
def test_upsample(opset):
    X, scales = np.array([[1.0, 2.0], [3.0, 4.0]]), (2.0, 1.5)
    given = {"scales": scales} if opset == 7 else {}
    arrays = (X,) if opset == 7 else (X, np.array(scales, np.float32))
    (Y,) = apply("Upsample", *arrays, opset=opset, **given)
    np.testing.assert_array_equal(Y, [[1, 1, 2], [1, 1, 2], [3, 3, 4], [3, 3, 4]])


def test_resize_10_rounds_down():
    (Y,) = apply("Resize", np.arange(6.0), np.array([0.6], np.float32), opset=10)
    np.testing.assert_array_equal(Y, [0, 1, 3])


def test_the_jacobian_is_sparse():
    def f(x):
        return resolve("Resize", 19)([x, None, None, torch.tensor([12])], {"mode": "linear"})[0]

    jacobian = torch.func.jacrev(f)(torch.rand(6, dtype=torch.float64))
    assert ((jacobian != 0).sum(1) <= 2).all()
    infinite = torch.tensor([0.0, 1, 2, 3, 4, torch.inf])
    assert f(infinite)[:8].isfinite().all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32], ids=lambda d: d.__name__)
def test_integers_keep_their_dtype(dtype):
    (Y,) = apply("Resize", np.array([0, 100], dtype), None, None, np.array([4]), mode="linear")
    assert Y.dtype == dtype
    np.testing.assert_array_equal(Y, [0, 25, 75, 100])


def test_an_empty_output_takes_no_taps():
    (Y,) = apply("Resize", np.ones((2, 3)), None, np.array([1.0, 1e-9], np.float32), mode="linear", antialias=1)
    assert Y.shape == (2, 0)


@pytest.mark.parametrize(
    ("scales", "sizes", "attributes", "problem"),
    [
        pytest.param(None, None, {}, errors.InvalidGraph, id="neither"),
        pytest.param([2.0, 2.0], [4, 4], {}, errors.InvalidGraph, id="both"),
        pytest.param([2.0], None, {}, errors.InvalidGraph, id="too-few"),
        pytest.param([-1.0, 1.0], None, {}, errors.InvalidGraph, id="negative"),
        pytest.param(None, [2**20, 2**20], {}, errors.TooLarge, id="too-large"),
        pytest.param(None, [4, 4], {"mode": "area"}, errors.InvalidGraph, id="mode"),
        pytest.param(None, [4, 4], {"nearest_mode": "up"}, errors.InvalidGraph, id="nearest_mode"),
        pytest.param(None, [4, 4], {"coordinate_transformation_mode": "x"}, errors.InvalidGraph, id="transformation"),
        pytest.param(
            None, [4, 4], {"coordinate_transformation_mode": "tf_crop_and_resize"}, errors.InvalidGraph, id="no-roi"
        ),
        pytest.param(None, [4, 4], {"keep_aspect_ratio_policy": "x"}, errors.InvalidGraph, id="policy"),
    ],
)
def test_refusals(scales, sizes, attributes, problem):
    with pytest.raises(problem):
        apply(
            "Resize",
            np.ones((2, 2)),
            None,
            None if scales is None else np.array(scales, np.float32),
            None if sizes is None else np.array(sizes),
            **attributes,
        )
