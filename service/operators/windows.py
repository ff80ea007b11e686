"""Sliding windows over spatial axes: the arithmetic that convolutions, pools and their like have in common.

Windows are described axis by axis, by integers outside of any trace; only `gather_windows` touches data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from service import errors


@dataclass(frozen=True, slots=True)
class Axis:
    """The windows along one spatial axis.

    Attributes:
        size: elements of the input.
        kernel: elements of a window.
        stride: from one window's first element to the next one's.
        dilation: from one element of a window to the next.
        begin: padding before the input.
        end: padding after it.
        count: how many windows there are.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int
    count: int

    @property
    def span(self) -> int:
        """From a window's first element to its last, both included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def tail(self) -> int:
        """Padding after the input up to the last window's last element; negative where elements are left over."""
        return (self.count - 1) * self.stride + self.span - self.size - self.begin

    def positions(self) -> np.ndarray:
        """Where the elements of each window lie in the input, `[count, kernel]`; outside of `[0, size)` is padding."""
        starts = np.arange(self.count) * self.stride - self.begin
        return starts[:, None] + np.arange(self.kernel) * self.dilation


def per_axis(values: Sequence[int] | None, rank: int, default: int, name: str, op: str) -> tuple[int, ...]:
    """An attribute that has one number for each spatial axis.

    Raises:
        InvalidGraph: it has another length.
    """
    if values is None or len(values) == 0:
        return (default,) * rank
    if len(values) != rank:
        raise errors.InvalidGraph(f"{op}: {name} has {len(values)} numbers; {rank} are expected")
    return tuple(int(v) for v in values)


def windows_of(
    op: str,
    spatial: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str = "NOTSET",
    ceil_mode: bool = False,
) -> tuple[Axis, ...]:
    """The windows along each axis, as ONNX's Conv and pools define them.

    With `ceil_mode` a last window may reach beyond the padded input, but not start there.

    Raises:
        InvalidGraph: an attribute has the wrong length, a number below its least, or no window fits.
    """
    rank = len(spatial)
    kernel = per_axis(kernel, rank, 1, "kernel_shape", op)
    strides = per_axis(strides, rank, 1, "strides", op)
    dilations = per_axis(dilations, rank, 1, "dilations", op)
    explicit = per_axis(pads, 2 * rank, 0, "pads", op)
    if min((*kernel, *strides, *dilations), default=1) < 1 or min(explicit, default=0) < 0:
        raise errors.InvalidGraph(f"{op}: kernel_shape, strides and dilations are at least 1, pads at least 0")
    axes = []
    for i, size in enumerate(spatial):
        span = (kernel[i] - 1) * dilations[i] + 1
        begin, end = _padding(op, auto_pad, size, span, strides[i], explicit[i], explicit[rank + i])
        room = size + begin + end - span
        if room < 0:
            raise errors.InvalidGraph(f"{op}: a window of {span} does not fit the padded size {size + begin + end}")
        count = room // strides[i] + 1
        if ceil_mode and auto_pad in {"NOTSET", ""} and room % strides[i] and count * strides[i] < size + begin:
            count += 1
        axes.append(Axis(size, kernel[i], strides[i], dilations[i], begin, end, count))
    return tuple(axes)


def _padding(op: str, auto_pad: str, size: int, span: int, stride: int, begin: int, end: int) -> tuple[int, int]:
    match auto_pad:
        case "NOTSET" | "":
            return begin, end
        case "VALID":
            return 0, 0
        case "SAME_UPPER" | "SAME_LOWER":
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            less, more = total // 2, total - total // 2
            return (less, more) if auto_pad == "SAME_UPPER" else (more, less)
    raise errors.InvalidGraph(f"{op}: auto_pad is NOTSET, SAME_UPPER, SAME_LOWER or VALID, not {auto_pad!r}")


def pad_widths(axes: Sequence[Axis]) -> list[int]:
    """The widths for `torch.nn.functional.pad` (last axis first) so that every window is whole."""
    return [width for axis in reversed(axes) for width in (axis.begin, axis.tail)]


def flat_positions(axes: Sequence[Axis], op: str) -> np.ndarray:
    """Where each window's elements lie in the flattened spatial axes; padding repeats an element of the same window.

    Returns:
        `[windows, elements]`, int64, both in row-major order.

    Raises:
        InvalidGraph: a window lies in the padding altogether.
    """
    flat = np.zeros((1, 1), np.int64)
    for axis in axes:
        here = _inside(axis.positions(), axis.size, op)
        flat = (flat * axis.size)[:, None, :, None] + here[None, :, None, :]
        flat = flat.reshape(flat.shape[0] * axis.count, flat.shape[2] * axis.kernel)
    return flat


def _inside(positions: np.ndarray, size: int, op: str) -> np.ndarray:
    valid = (positions >= 0) & (positions < size)
    if not valid.any(1).all():
        raise errors.InvalidGraph(f"{op}: a window lies in the padding altogether; pads must be less than the window")
    first = np.take_along_axis(positions, valid.argmax(1)[:, None], 1)
    return np.where(valid, positions, first)


def gather_windows(padded: Tensor, axes: Sequence[Axis]) -> Tensor:
    """The elements of every window of data that is padded by `pad_widths`.

    Args:
        padded: `[N, C, *spatial]`.
        axes: the windows.

    Returns:
        `[N, C, *counts, elements]`.
    """
    rank = len(axes)
    for i, axis in enumerate(axes):
        dim = 2 + 2 * i
        index = torch.tensor(replace(axis, begin=0).positions().reshape(-1), device=padded.device)
        padded = torch.unflatten(padded.index_select(dim, index), dim, (axis.count, axis.kernel))
    order = [0, 1, *(2 + 2 * i for i in range(rank)), *(3 + 2 * i for i in range(rank))]
    return padded.permute(order).flatten(2 + rank)


def covered(axis: Axis, with_padding: bool) -> np.ndarray:
    """How many elements of each window are data (or explicit padding, if that counts), `[count]`."""
    low, high = (-axis.begin, axis.size + axis.end) if with_padding else (0, axis.size)
    positions = axis.positions()
    counts: np.ndarray = np.count_nonzero((positions >= low) & (positions < high), axis=1)
    return counts
