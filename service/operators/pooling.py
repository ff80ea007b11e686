"""Pools: a maximum, a mean or a norm over sliding windows, or over all of the spatial axes.

A maximum is gathered from its position, so that its derivative goes to the first of equal elements, as torch's does,
and has a derivative of every order.
"""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from service import errors
from service.operators.numerics import widened
from service.operators.registry import Ints, bounded, kernel
from service.operators.windows import Axis, covered, flat_positions, gather_windows, pad_widths, per_axis, windows_of

_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@kernel("MaxPool", 1)
def max_pool(
    X: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    storage_order: int = 0,
    strides: Ints | None = None,
) -> tuple[Tensor, Tensor]:
    """The largest element of each window, and where it lies.

    Args:
        X: `[N, C, *spatial]`, floating-point or 8-bit integers.
        auto_pad: NOTSET, SAME_UPPER, SAME_LOWER or VALID.
        ceil_mode: whether a last window may reach beyond the padding.
        dilations: one for each spatial axis.
        kernel_shape: a window's sizes.
        pads: begins, then ends; never the largest.
        storage_order: 1 counts the spatial positions of `Indices` column-major.
        strides: one for each spatial axis.

    Returns:
        `[N, C, *counts]` of X's dtype, and int64 indices into the flattened X.

    Raises:
        InvalidGraph: a window lies in the padding altogether.
    """
    axes = _windows("MaxPool", X, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    flat = X.flatten(2)
    candidates = torch.tensor(flat_positions(axes, "MaxPool"), device=X.device)
    windows = torch.unflatten(flat.detach().index_select(2, candidates.reshape(-1)), 2, candidates.shape)
    where = candidates[torch.arange(len(candidates), device=X.device), windows.argmax(3)]
    shape = (*X.shape[:2], *(a.count for a in axes))
    return flat.gather(2, where).reshape(shape), _indices(X, where, storage_order).reshape(shape)


def _indices(X: Tensor, where: Tensor, storage_order: int) -> Tensor:
    spatial = X.shape[2:]
    if storage_order:
        columns = np.arange(prod(spatial)).reshape(spatial, order="F").reshape(-1)
        where = torch.tensor(columns, device=X.device)[where]
    planes = torch.arange(X.shape[0] * X.shape[1], device=X.device).reshape(X.shape[0], X.shape[1], 1)
    return planes * prod(spatial) + where


@kernel("MaxUnpool", 9)
def max_unpool(
    X: Tensor,
    I: Tensor,  # noqa: E741
    output_shape: Ints | None = None,
    *,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Zeros but for the elements of X, each where MaxPool found it.

    Args:
        X: `[N, C, *counts]`.
        I: MaxPool's indices, into the flattened data that these windows cover; likewise.
        output_shape: `[N, C, *sizes]`, to which the data is filled up with zeros at the end of each axis.
        kernel_shape: a window's sizes.
        pads: MaxPool's, begins, then ends.
        strides: one for each spatial axis.

    Returns:
        `[N, C, *sizes]`, dtype of X.

    Raises:
        ShapeMismatch: there is not one index for each element.
    """
    rank = X.ndim - 2
    window = per_axis(kernel_shape, rank, 1, "kernel_shape", "MaxUnpool")
    stride = per_axis(strides, rank, 1, "strides", "MaxUnpool")
    cut = per_axis(pads, 2 * rank, 0, "pads", "MaxUnpool")
    spatial = [(n - 1) * stride[i] + window[i] - cut[i] - cut[rank + i] for i, n in enumerate(X.shape[2:])]
    shape = bounded((*X.shape[:2], *spatial))
    if I.shape != X.shape or (output_shape is not None and len(output_shape) != X.ndim):
        raise errors.ShapeMismatch(f"MaxUnpool: X is {list(X.shape)}; I and output_shape must be of that rank and size")
    size, where = prod(shape), I.reshape(-1).to(torch.int64)
    where = torch.where(where >= 0, where, size)
    data = X.new_zeros(size).index_put((where,), X.reshape(-1)).reshape(shape)
    if output_shape is None:
        return data
    wanted = bounded(output_shape)
    return F.pad(data, [width for n, m in zip(reversed(shape), reversed(wanted), strict=True) for width in (0, m - n)])


@kernel("AveragePool", 7)
def average_pool(
    X: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """The mean of each window's elements.

    Args:
        X: `[N, C, *spatial]`.
        auto_pad: NOTSET, SAME_UPPER, SAME_LOWER or VALID.
        ceil_mode: whether a last window may reach beyond the padding.
        count_include_pad: whether padding counts as zeros of the window; what lies beyond it never counts.
        dilations: one for each spatial axis.
        kernel_shape: a window's sizes.
        pads: begins, then ends.
        strides: one for each spatial axis.

    Returns:
        `[N, C, *counts]`, dtype of X.
    """
    axes = _windows("AveragePool", X, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    sums = _sum_pool(widened(X), axes)
    counts = np.ones(())
    for axis in axes:
        counts = counts[..., None] * covered(axis, bool(count_include_pad))
    return (sums / torch.tensor(counts, dtype=sums.dtype, device=X.device)).to(X.dtype)


@kernel("LpPool", 2)
def lp_pool(
    X: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    p: int = 2,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """The p-norm of each window: `(sum of |x|**p) ** (1 / p)`, with derivative 0 where it is 0.

    Args:
        X: `[N, C, *spatial]`.
        auto_pad: NOTSET, SAME_UPPER, SAME_LOWER or VALID.
        ceil_mode: whether a last window may reach beyond the padding.
        dilations: one for each spatial axis.
        kernel_shape: a window's sizes.
        p: the norm's order, at least 1.
        pads: begins, then ends, of zeros.
        strides: one for each spatial axis.

    Returns:
        `[N, C, *counts]`, dtype of X.
    """
    axes = _windows("LpPool", X, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    return _root(_sum_pool(_power(X, p, "LpPool"), axes), p).to(X.dtype)


@kernel("GlobalAveragePool", 1)
def global_average_pool(X: Tensor) -> Tensor:
    """The mean over all spatial axes, `[N, C, *spatial]` to `[N, C, 1, ...]`."""
    return _global(X, widened(_flat(X)).mean(2))


@kernel("GlobalMaxPool", 1)
def global_max_pool(X: Tensor) -> Tensor:
    """The maximum over all spatial axes, `[N, C, *spatial]` to `[N, C, 1, ...]`; its derivative goes to the first."""
    flat = _flat(X)
    return _global(X, flat.gather(2, flat.detach().argmax(2, keepdim=True)))


@kernel("GlobalLpPool", 2)
def global_lp_pool(X: Tensor, *, p: int = 2) -> Tensor:
    """The p-norm over all spatial axes, `[N, C, *spatial]` to `[N, C, 1, ...]`, with derivative 0 where it is 0."""
    return _global(X, _root(_power(_flat(X), p, "GlobalLpPool").sum(2), p))


def _flat(X: Tensor) -> Tensor:
    return X.flatten(2) if X.ndim > 2 else X[..., None]


def _global(X: Tensor, pooled: Tensor) -> Tensor:
    return pooled.reshape(*X.shape[:2], *[1] * (X.ndim - 2)).to(X.dtype)


def _windows(
    op: str,
    X: Tensor,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    ceil_mode: int,
) -> tuple[Axis, ...]:
    if X.ndim < 3:
        raise errors.ShapeMismatch(f"{op} takes [N, C, *spatial]; X has shape {list(X.shape)}")
    return windows_of(op, X.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, bool(ceil_mode))


def _sum_pool(X: Tensor, axes: Sequence[Axis]) -> Tensor:
    widths = pad_widths(axes)
    padded = F.pad(X, widths) if any(widths) else X
    if len(axes) not in _AVERAGE or any(a.dilation > 1 for a in axes):
        return gather_windows(padded, axes).sum(-1)
    kernel_shape = [a.kernel for a in axes]
    return _AVERAGE[len(axes)](padded, kernel_shape, [a.stride for a in axes]) * prod(kernel_shape)


def _power(X: Tensor, p: int, op: str) -> Tensor:
    if p < 1:
        raise errors.InvalidGraph(f"{op}: p is {p}; it is at least 1")
    wide = widened(X)
    return wide.abs() if p == 1 else wide * wide if p == 2 else wide.abs() ** p


def _root(sums: Tensor, p: int) -> Tensor:
    if p == 1:
        return sums
    positive = sums > 0
    return torch.where(positive, torch.where(positive, sums, 1) ** (1 / p), 0 * sums)
