"""DFT, STFT and the mel filter bank against ONNX's cases and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from tests.operators.cases import apply

RNG = np.random.default_rng(6)


def as_complex(a):
    return a[..., 0] + 1j * a[..., 1] if a.shape[-1] == 2 else a[..., 0]


def as_real(z):
    return np.stack([z.real, z.imag], -1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 1), st.integers(1, 2), st.integers(0, 1))
def test_the_transform_is_numpy_s(size, length, axis, parts, inverse):
    shape = (size, 3, parts) if axis == 0 else (3, size, parts)
    x = RNG.standard_normal(shape)
    transform = np.fft.ifft if inverse else np.fft.fft
    expected = as_real(transform(as_complex(x), length, axis))
    for opset in (17, 20):
        given = {"axis": axis} if opset == 17 else {}
        arrays = (x, np.array(length)) if opset == 17 else (x, np.array(length), np.array(axis))
        (y,) = apply("DFT", *arrays, opset=opset, inverse=inverse, **given)
        np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize("size", [5, 6])
def test_onesided_there_and_back(size):
    x = RNG.standard_normal((2, size, 1))
    (spectrum,) = apply("DFT", x, onesided=1)
    np.testing.assert_allclose(spectrum, as_real(np.fft.rfft(x[..., 0])), atol=1e-12)
    (back,) = apply("DFT", spectrum, np.array(size), onesided=1, inverse=1)
    np.testing.assert_allclose(back, x, atol=1e-12)
    (default,) = apply("DFT", spectrum, onesided=1, inverse=1)
    assert default.shape == (2, 2 * (spectrum.shape[1] - 1), 1)


@pytest.mark.parametrize("windowed", [True, False], ids=["window", "length"])
@pytest.mark.parametrize("onesided", [0, 1])
def test_stft_is_the_dft_of_each_frame(windowed, onesided):
    x, window = RNG.standard_normal((2, 11, 1)), RNG.random(4)
    arrays = (window,) if windowed else (None, np.array(4))
    (y,) = apply("STFT", x, np.array(3), *arrays, onesided=onesided)
    transform = np.fft.rfft if onesided else np.fft.fft
    for f in range(3):
        frame = x[:, 3 * f : 3 * f + 4, 0] * (window if windowed else 1)
        np.testing.assert_allclose(y[:, f], as_real(transform(frame)), atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "attributes", "problem"),
    [
        pytest.param((4,), {}, errors.ShapeMismatch, id="no-signal-axis"),
        pytest.param((2, 4, 3), {}, errors.ShapeMismatch, id="three-parts"),
        pytest.param((2, 4, 2), {"onesided": 1}, errors.ShapeMismatch, id="onesided-complex"),
    ],
)
def test_dft_refuses(shape, attributes, problem):
    with pytest.raises(problem):
        apply("DFT", np.ones(shape), **attributes)


def test_sizes_are_bounded():
    with pytest.raises(errors.TooLarge):
        apply("DFT", np.ones((2, 4, 1)), np.array(2**40))
    with pytest.raises(errors.TooLarge):
        apply("MelWeightMatrix", np.array(2**20), np.array(2**20), np.array(8000), np.float32(0), np.float32(1000))
    with pytest.raises(errors.ShapeMismatch):
        apply("STFT", np.ones((1, 4, 1)), np.array(1), None, np.array(5))
