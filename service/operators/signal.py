"""Discrete Fourier transforms, with complex numbers as a last axis of size 2, and the mel filter bank."""

import torch
import torch.nn.functional as F
from torch import Tensor

from service import errors
from service.operators.numerics import widened
from service.operators.registry import Floats, Ints, bounded, kernel, torch_dtype


@kernel("DFT", 20)
def dft(
    input: Tensor, dft_length: Ints | None = None, axis: Ints | None = None, *, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """`y[k] = sum over n of exp(-2 pi j k n / N) x[n]`; the inverse has the other sign and the factor `1 / N`.

    Args:
        input: `[..., 1]` real or `[..., 2]` complex.
        dft_length: N; the signal is cut or padded with zeros. Its size by default, or with both `onesided` and
            `inverse` twice its size less 2.
        axis: the signal's, -2 by default.
        inverse: whether to transform back.
        onesided: whether only the first `N // 2 + 1` frequencies are given (of a real signal), or are the input
            (`inverse`), and the output is real.

    Returns:
        `[..., 2]` complex, or `[..., 1]` real with both `onesided` and `inverse`; dtype of the input.

    Raises:
        ShapeMismatch: the last axis is neither 1 nor 2 or is the signal's, or a complex signal is to be onesided.
    """
    return _dft(input, dft_length, axis[0] if axis else -2, bool(inverse), bool(onesided))


@kernel("DFT", 17)
def dft_17(
    input: Tensor, dft_length: Ints | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """As from opset 20 on, with the axis as an attribute."""
    return _dft(input, dft_length, axis, bool(inverse), bool(onesided))


def _dft(input: Tensor, length: Ints | None, axis: int, inverse: bool, onesided: bool) -> Tensor:
    last = input.ndim - 1
    if input.ndim < 2 or not -input.ndim <= axis < input.ndim:
        raise errors.ShapeMismatch(f"DFT: the input has shape {list(input.shape)} and no signal axis {axis}")
    dim = axis % input.ndim
    if dim == last or input.shape[last] not in {1, 2}:
        raise errors.ShapeMismatch(
            f"DFT: the input has shape {list(input.shape)}; its last axis holds real and imaginary parts (1 or 2), "
            "and is not the signal's"
        )
    wide = widened(input)
    complex_input = input.shape[last] == 2
    size = input.shape[dim]
    n = length[0] if length else 2 * (size - 1) if onesided and inverse else size
    if n < 1:
        raise errors.InvalidGraph(f"DFT: the length is {n}; it is at least 1")
    bounded([n if i == dim else s for i, s in enumerate(input.shape)])
    if onesided and not inverse:
        if complex_input:
            raise errors.ShapeMismatch("DFT: a onesided transform takes a real signal, [..., 1]")
        return torch.view_as_real(torch.fft.rfft(wide[..., 0], n, dim)).to(input.dtype)
    signal = torch.view_as_complex(wide.contiguous() if complex_input else F.pad(wide, (0, 1)))
    if onesided:
        real: Tensor = torch.fft.irfft(signal, n, dim)
        return real[..., None].to(input.dtype)
    transform = torch.fft.ifft if inverse else torch.fft.fft
    spectrum: Tensor = transform(signal, n, dim)
    return torch.view_as_real(spectrum).to(input.dtype)


@kernel("STFT", 17)
def stft(
    signal: Tensor,
    frame_step: Ints,
    window: Tensor | None = None,
    frame_length: Ints | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """The DFT of every frame of a signal, each multiplied by the window.

    Args:
        signal: `[B, L, 1]` real or `[B, L, 2]` complex.
        frame_step: from one frame's start to the next one's.
        window: `[length]`, ones by default.
        frame_length: the window's length by default, else L.
        onesided: whether only the first `length // 2 + 1` frequencies are given.

    Returns:
        `[B, (L - length) // frame_step + 1, frequencies, 2]`, dtype of the signal.

    Raises:
        ShapeMismatch: frames do not fit the signal or the window.
    """
    if signal.ndim != 3:
        raise errors.ShapeMismatch(f"STFT: the signal has shape {list(signal.shape)}; [batch, length, 1 or 2] is due")
    step, total = frame_step[0], signal.shape[1]
    length = frame_length[0] if frame_length else total if window is None else window.shape[0]
    if step < 1 or not 1 <= length <= total or (window is not None and tuple(window.shape) != (length,)):
        raise errors.ShapeMismatch(
            f"STFT: frames of {length} at steps of {step} do not fit a signal of {total} "
            f"and a window of shape {None if window is None else list(window.shape)}"
        )
    frames = (total - length) // step + 1
    starts = torch.arange(frames, device=signal.device) * step
    index = (starts[:, None] + torch.arange(length, device=signal.device)).reshape(-1)
    bounded([signal.shape[0], *index.shape, signal.shape[2]])
    cut = torch.unflatten(signal.index_select(1, index), 1, (frames, length))
    weighted = cut if window is None else cut * window[:, None]
    return _dft(weighted, None, 2, False, bool(onesided))


@kernel("MelWeightMatrix", 17)
def mel_weight_matrix(
    num_mel_bins: Ints,
    dft_length: Ints,
    sample_rate: Ints,
    lower_edge_hertz: Floats,
    upper_edge_hertz: Floats,
    *,
    output_datatype: int = 1,
) -> Tensor:
    """Triangular filters, evenly spaced on the mel scale `2595 log10(1 + f / 700)`.

    Args:
        num_mel_bins: how many filters.
        dft_length: the length of the transform whose spectrum is weighed.
        sample_rate: samples a second.
        lower_edge_hertz: where the first filter begins.
        upper_edge_hertz: where the last one ends.
        output_datatype: ONNX's number of the dtype.

    Returns:
        `[dft_length // 2 + 1, num_mel_bins]`.
    """
    bins, rows = num_mel_bins[0], dft_length[0] // 2 + 1
    bounded([rows, bins])
    hertz = torch.tensor([lower_edge_hertz[0], upper_edge_hertz[0]], dtype=torch.float64)
    low, high = (2595 * torch.log10(1 + hertz / 700)).unbind()
    mel = torch.arange(bins + 2) * ((high - low) / (bins + 2)) + low
    edges = torch.floor((dft_length[0] + 1) * (700 * (10 ** (mel / 2595) - 1)) / sample_rate[0])
    row = torch.arange(rows, dtype=torch.float64)[:, None]
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = torch.where(centre == lower, (row == centre).double(), (row - lower) / (centre - lower))
    falling = (upper - row) / (upper - centre)
    weights = torch.where(
        (row >= lower) & (row <= centre), rising, torch.where((row > centre) & (row < upper), falling, 0)
    )
    return weights.to(torch_dtype(output_datatype))
