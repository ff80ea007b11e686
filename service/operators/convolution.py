"""Convolutions and their transposes over one to three spatial axes, and Col2Im, the transpose of taking windows."""

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from service import errors
from service.operators.numerics import widened
from service.operators.registry import Ints, bounded, kernel
from service.operators.windows import Axis, flat_positions, pad_widths, per_axis, windows_of

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@kernel("Conv", 1)
def conv(
    X: Tensor,
    W: Tensor,
    B: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Cross-correlation: `Y[n, m, p] = B[m] + sum over c, k of X[n, c, p * stride + k * dilation - begin] W[m, c, k]`.

    Args:
        X: `[N, C, *spatial]`.
        W: `[M, C / group, *kernel]`.
        B: `[M]`.
        auto_pad: NOTSET, SAME_UPPER, SAME_LOWER or VALID.
        dilations: one for each spatial axis.
        group: groups of channels.
        kernel_shape: W's, which it must repeat.
        pads: begins, then ends.
        strides: one for each spatial axis.

    Returns:
        `[N, M, *counts]`, dtype of X.

    Raises:
        ShapeMismatch: channels or ranks do not fit.
        UnsupportedOperator: more than three spatial axes.
    """
    rank = _spatial_rank("Conv", X, W, kernel_shape)
    if X.shape[1] != W.shape[1] * group or W.shape[0] % group:
        raise errors.ShapeMismatch(
            f"Conv: X has {X.shape[1]} channels and W is {list(W.shape)}; in {group} groups, "
            f"W takes {W.shape[1] * group} channels and gives a multiple of {group}"
        )
    axes = windows_of("Conv", X.shape[2:], W.shape[2:], strides, dilations, pads, auto_pad)
    stride, dilation = [a.stride for a in axes], [a.dilation for a in axes]
    if all(a.begin == a.end for a in axes):
        return _CONVOLVE[rank](X, W, B, stride, [a.begin for a in axes], dilation, group)
    return _CONVOLVE[rank](F.pad(X, pad_widths(axes)), W, B, stride, 0, dilation, group)


@kernel("ConvTranspose", 1)
def conv_transpose(
    X: Tensor,
    W: Tensor,
    B: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """The transpose of Conv with the same W, as a linear map of X.

    Args:
        X: `[N, C, *spatial]`.
        W: `[C, M / group, *kernel]`.
        B: `[M]`.
        auto_pad: NOTSET, VALID, or SAME_* for an output of `spatial * strides`.
        dilations: one for each spatial axis.
        group: groups of channels.
        kernel_shape: W's, which it must repeat.
        output_padding: elements added at the end of each axis.
        output_shape: the output's spatial sizes; the pads follow from them.
        pads: elements cut off, begins, then ends.
        strides: one for each spatial axis.

    Returns:
        `[N, M, *sizes]`, dtype of X.

    Raises:
        ShapeMismatch: channels or ranks do not fit.
        UnsupportedOperator: more than three spatial axes.
    """
    rank = _spatial_rank("ConvTranspose", X, W, kernel_shape)
    if X.shape[1] != W.shape[0] or W.shape[0] % group:
        raise errors.ShapeMismatch(
            f"ConvTranspose: X has {X.shape[1]} channels, W is {list(W.shape)} in {group} groups; "
            "W's first size is X's channels, a multiple of the groups"
        )
    stride = per_axis(strides, rank, 1, "strides", "ConvTranspose")
    dilation = per_axis(dilations, rank, 1, "dilations", "ConvTranspose")
    extra = per_axis(output_padding, rank, 0, "output_padding", "ConvTranspose")
    if min((*stride, *dilation), default=1) < 1:
        raise errors.InvalidGraph("ConvTranspose: strides and dilations are at least 1")
    sizes = output_shape and per_axis(tuple(output_shape)[-rank:], rank, 0, "output_shape", "ConvTranspose")
    explicit = per_axis(pads if auto_pad != "VALID" else None, 2 * rank, 0, "pads", "ConvTranspose")
    widths: list[int] = []
    shape = [X.shape[0], W.shape[1] * group]
    for i, n in enumerate(X.shape[2:]):
        full = (n - 1) * stride[i] + (W.shape[2 + i] - 1) * dilation[i] + 1
        begin, end = explicit[i], explicit[rank + i] - extra[i]
        size = sizes[i] if sizes else n * stride[i] if auto_pad in {"SAME_UPPER", "SAME_LOWER"} else None
        if size is not None:
            cut = max(full + extra[i] - size, 0)
            begin = cut // 2 if auto_pad == "SAME_UPPER" else cut - cut // 2
            end = full - begin - size
        widths = [-begin, -end, *widths]
        shape.append(full - begin - end)
    bounded(shape)
    if min(shape[2:]) < 0:
        raise errors.InvalidGraph(f"ConvTranspose: pads leave an output of shape {shape}")
    product = _TRANSPOSE[rank](X, W, None, stride, 0, 0, group, dilation)
    result = F.pad(product, widths) if any(widths) else product
    return result if B is None else result + B.reshape(-1, *[1] * rank)


def _spatial_rank(op: str, X: Tensor, W: Tensor, kernel_shape: Sequence[int] | None) -> int:
    rank = X.ndim - 2
    if rank not in _CONVOLVE:
        raise errors.UnsupportedOperator(f"{op} takes one to three spatial axes; X has shape {list(X.shape)}")
    if W.ndim != X.ndim:
        raise errors.ShapeMismatch(f"{op}: X has shape {list(X.shape)} and W {list(W.shape)}; their ranks must agree")
    if kernel_shape is not None and tuple(kernel_shape) != tuple(W.shape[2:]):
        raise errors.ShapeMismatch(f"{op}: kernel_shape is {list(kernel_shape)}, but W is {list(W.shape)}")
    return rank


@kernel("Col2Im", 18)
def col2im(
    input: Tensor,
    image_shape: Ints,
    block_shape: Ints,
    *,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """The image in which each element is the sum of all the blocks' elements that lie on it.

    Args:
        input: `[N, C * elements of a block, blocks]`.
        image_shape: the image's spatial sizes.
        block_shape: a block's sizes.
        dilations: one for each spatial axis.
        pads: the image's padding, begins, then ends; what falls on it is dropped.
        strides: one for each spatial axis.

    Returns:
        `[N, C, *image_shape]`, dtype of the input.

    Raises:
        ShapeMismatch: the input is not made of such blocks.
    """
    axes = windows_of("Col2Im", bounded(image_shape), block_shape, strides, dilations, pads)
    elements, blocks = prod(block_shape), prod(a.count for a in axes)
    if input.ndim != 3 or input.shape[1] % elements or input.shape[2] != blocks:
        raise errors.ShapeMismatch(
            f"Col2Im: the input has shape {list(input.shape)}; [N, a multiple of {elements}, {blocks}] is expected"
        )
    padded = [Axis(a.begin + a.size + a.end, a.kernel, a.stride, a.dilation, 0, 0, a.count) for a in axes]
    sizes = bounded([a.size for a in padded])
    values = torch.unflatten(widened(input), 1, (-1, elements)).flatten(2)
    positions = torch.tensor(flat_positions(padded, "Col2Im").T.reshape(-1), device=input.device)
    image = torch.zeros((*values.shape[:2], prod(sizes)), dtype=values.dtype, device=input.device)
    image = torch.unflatten(image.index_add(2, positions, values), 2, sizes)
    cuts = [-width for axis in reversed(axes) for width in (axis.begin, axis.end)]
    return (F.pad(image, cuts) if any(cuts) else image).to(input.dtype)
