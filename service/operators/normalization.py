"""Normalizations: data brought to mean 0 and variance 1, or to norm 1, over some of its axes.

ONNX's function bodies compute in float32 whatever the data's dtype; here float64 stays float64 and only half
precision is widened. A standard deviation or norm has derivative 0 where it is 0 and nothing is added under the root.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from service import errors
from service.catalogue import MICROSOFT
from service.operators.numerics import accumulated, safe_sqrt, widened
from service.operators.registry import Ints, kernel, torch_dtype

EPSILON = 9.999999747378752e-06
"""ONNX's default, the float32 number nearest to 1e-5: its attributes are float32."""


def _channels(parameter: Tensor, ndim: int) -> Tensor:
    """A parameter of shape `[C]` laid along axis 1 of data with `ndim` axes."""
    return parameter.reshape(-1, *[1] * (ndim - 2)) if ndim > 1 else parameter


def _moments(value: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The centred data and its biased variance over `axes`, which are kept."""
    centred = value - value.mean(tuple(axes), keepdim=True)
    return centred, (centred * centred).mean(tuple(axes), keepdim=True)


def _stash(x: Tensor, stash_type: int) -> torch.dtype:
    return torch.promote_types(accumulated(x.dtype), torch_dtype(stash_type))


@kernel("BatchNormalization", 14)
def batch_normalization(
    X: Tensor,
    scale: Tensor,
    B: Tensor,
    input_mean: Tensor,
    input_var: Tensor,
    *,
    epsilon: float = EPSILON,
    momentum: float = 0.8999999761581421,
    training_mode: int = 0,
) -> tuple[Tensor, ...]:
    """`scale * (X - mean) / sqrt(var + epsilon) + B`, channel by channel.

    Args:
        X: `[N, C, ...]`.
        scale: `[C]`.
        B: `[C]`.
        input_mean: `[C]`.
        input_var: `[C]`.
        epsilon: added to the variance.
        momentum: the weight of the running values in their update.
        training_mode: whether mean and biased variance are those of X itself, over all samples.

    Returns:
        Y of X's shape and dtype; in training mode also the running mean and variance, `[C]`.
    """
    if not training_mode:
        return (_normalized(X, scale, B, input_mean, input_var, epsilon),)
    wide = widened(X)
    centred, var = _moments(wide, [0, *range(2, X.ndim)])
    y = centred * torch.rsqrt(var + epsilon) * _channels(scale, X.ndim) + _channels(B, X.ndim)
    mean, var = (wide - centred).mean([0, *range(2, X.ndim)]), var.reshape(-1)
    running = (old * momentum + new * (1 - momentum) for old, new in ((input_mean, mean), (input_var, var)))
    return y.to(X.dtype), *(r.to(input_mean.dtype) for r in running)


@kernel("BatchNormalization", 9)
def batch_normalization_9(
    X: Tensor,
    scale: Tensor,
    B: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = EPSILON,
    momentum: float = 0.8999999761581421,
    outputs: int = 1,
) -> Tensor:
    """BatchNormalization by given moments; a node that names more outputs than Y trains, and is refused.

    Args:
        X: `[N, C, ...]`.
        scale: `[C]`.
        B: `[C]`.
        mean: `[C]`.
        var: `[C]`.
        epsilon: added to the variance.
        momentum: of no meaning here.
        outputs: how many the node names.

    Raises:
        UnsupportedOperator: the node trains.
    """
    _refuse_training(outputs)
    return _normalized(X, scale, B, mean, var, epsilon)


@kernel("BatchNormalization", 7)
def batch_normalization_7(
    X: Tensor,
    scale: Tensor,
    B: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = EPSILON,
    momentum: float = 0.8999999761581421,
    spatial: int = 1,
    outputs: int = 1,
) -> Tensor:
    """As from opset 9 on; with `spatial` 0 the parameters have a value for each element of a sample, `[C, ...]`.

    Raises:
        UnsupportedOperator: the node trains.
    """
    _refuse_training(outputs)
    if spatial:
        return _normalized(X, scale, B, mean, var, epsilon)
    wide = accumulated(X.dtype)
    return ((X.to(wide) - mean) * torch.rsqrt(var.to(wide) + epsilon) * scale + B).to(X.dtype)


def _normalized(X: Tensor, scale: Tensor, B: Tensor, mean: Tensor, var: Tensor, epsilon: float) -> Tensor:
    if any(p.shape != X.shape[1:2] for p in (scale, B, mean, var)):
        raise errors.ShapeMismatch(f"BatchNormalization: X is {list(X.shape)}; all parameters are {list(X.shape[1:2])}")
    wide = accumulated(X.dtype)
    factor = scale.to(wide) * torch.rsqrt(var.to(wide) + epsilon)
    y = (X.to(wide) - _channels(mean.to(wide), X.ndim)) * _channels(factor, X.ndim) + _channels(B.to(wide), X.ndim)
    return y.to(X.dtype)


def _refuse_training(outputs: int) -> None:
    if outputs > 1:
        raise errors.UnsupportedOperator("BatchNormalization in training mode is supported from opset 14 on")


@kernel("InstanceNormalization", 6)
def instance_normalization(input: Tensor, scale: Tensor, B: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """`scale * (input - mean) / sqrt(var + epsilon) + B` with the moments of each sample's channel.

    Args:
        input: `[N, C, *spatial]`.
        scale: `[C]`.
        B: `[C]`.
        epsilon: added to the variance.

    Returns:
        The shape and dtype of the input.
    """
    centred, var = _moments(widened(input), range(2, input.ndim))
    y = centred * torch.rsqrt(var + epsilon) * _channels(scale, input.ndim) + _channels(B, input.ndim)
    return y.to(input.dtype)


@kernel("LayerNormalization", 17)
def layer_normalization(
    X: Tensor,
    Scale: Tensor,
    B: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = EPSILON,
    stash_type: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """`Scale * (X - mean) / sqrt(var + epsilon) + B` with the moments over `axis` and all axes after it.

    Args:
        X: any shape.
        Scale: broadcastable to X.
        B: broadcastable to X.
        axis: the first normalized axis.
        epsilon: added to the variance.
        stash_type: the least precision of the moments; X's own, if that is more.

    Returns:
        Y of X's shape and dtype; mean and inverse standard deviation with the normalized axes kept as 1.
    """
    wide = X.to(_stash(X, stash_type))
    axes = list(range(axis % X.ndim, X.ndim))
    centred, var = _moments(wide, axes)
    inverse = torch.rsqrt(var + epsilon)
    y = (centred * inverse).to(X.dtype) * Scale
    return y if B is None else y + B, wide.mean(axes, keepdim=True), inverse


@kernel("GroupNormalization", 18)
def group_normalization_18(
    X: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = EPSILON, num_groups: int
) -> Tensor:
    """GroupNormalization with one `scale` and `bias` for each group, `[num_groups]`."""
    groups = _grouped(X, num_groups, epsilon, accumulated(X.dtype))
    shape = (num_groups, *[1] * (groups.ndim - 2))
    return (groups.to(X.dtype) * scale.reshape(shape) + bias.reshape(shape)).reshape(X.shape)


@kernel("GroupNormalization", 21)
def group_normalization(
    X: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = EPSILON, num_groups: int, stash_type: int = 1
) -> Tensor:
    """`scale * (X - mean) / sqrt(var + epsilon) + bias` with the moments of each sample's group of channels.

    Args:
        X: `[N, C, ...]`.
        scale: `[C]`.
        bias: `[C]`.
        epsilon: added to the variance.
        num_groups: a divisor of C.
        stash_type: the least precision of the moments; X's own, if that is more.

    Returns:
        The shape and dtype of X.
    """
    groups = _grouped(X, num_groups, epsilon, _stash(X, stash_type)).to(X.dtype)
    return groups.reshape(X.shape) * _channels(scale, X.ndim) + _channels(bias, X.ndim)


def _grouped(X: Tensor, num_groups: int, epsilon: float, dtype: torch.dtype) -> Tensor:
    if X.ndim < 2 or num_groups < 1 or X.shape[1] % num_groups:
        raise errors.ShapeMismatch(f"GroupNormalization: the channels of X {list(X.shape)} are no {num_groups} groups")
    groups = X.to(dtype).reshape(X.shape[0], num_groups, -1)
    centred, var = _moments(groups, [2])
    return centred * torch.rsqrt(var + epsilon)


@kernel("RMSNormalization", 23)
def rms_normalization(
    X: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = EPSILON, stash_type: int = 1
) -> Tensor:
    """`scale * X / sqrt(mean of X**2 + epsilon)` with the mean over `axis` and all axes after it.

    Args:
        X: any shape.
        scale: broadcastable to X.
        axis: the first normalized axis.
        epsilon: added to the mean square.
        stash_type: the least precision of the mean; X's own, if that is more.

    Returns:
        The shape and dtype of X.
    """
    wide = X.to(_stash(X, stash_type))
    return (wide * _inverse_rms(wide, axis, epsilon)).to(X.dtype) * scale


def _inverse_rms(x: Tensor, axis: int, epsilon: float) -> Tensor:
    return torch.rsqrt((x * x).mean(tuple(range(axis % x.ndim, x.ndim)), keepdim=True) + epsilon)


@kernel("SimplifiedLayerNormalization", 1, MICROSOFT)
def simplified_layer_normalization(
    X: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = EPSILON, stash_type: int = 1
) -> tuple[Tensor, Tensor]:
    """RMSNormalization, and the inverse root mean square with the normalized axes kept as 1."""
    wide = X.to(_stash(X, stash_type))
    inverse = _inverse_rms(wide, axis, epsilon)
    return (wide * inverse).to(X.dtype) * scale, inverse


@kernel("SkipLayerNormalization", 1, MICROSOFT)
def skip_layer_normalization(
    input: Tensor,
    skip: Tensor,
    gamma: Tensor,
    beta: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """LayerNormalization of `input + skip + bias` over the last axis.

    Returns:
        The normalized sum, its mean, its inverse standard deviation, and the sum itself.
    """
    total = input + skip if bias is None else input + skip + bias
    return *layer_normalization(total, gamma, beta, epsilon=epsilon), total


@kernel("SkipSimplifiedLayerNormalization", 1, MICROSOFT)
def skip_simplified_layer_normalization(
    input: Tensor, skip: Tensor, gamma: Tensor, bias: Tensor | None = None, *, epsilon: float = 1e-12
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """RMSNormalization of `input + skip + bias` over the last axis.

    Returns:
        The normalized sum, an empty mean, its inverse root mean square, and the sum itself.
    """
    total = input + skip if bias is None else input + skip + bias
    y, inverse = simplified_layer_normalization(total, gamma, epsilon=epsilon)
    return y, inverse.new_empty(0), inverse, total


@kernel("LRN", 1)
def lrn(X: Tensor, *, alpha: float = 9.999999747378752e-05, beta: float = 0.75, bias: float = 1.0, size: int) -> Tensor:
    """`X / (bias + alpha / size * sum of X**2 over size neighbouring channels) ** beta`.

    Args:
        X: `[N, C, ...]`.
        alpha: the weight of the squares.
        beta: the exponent.
        bias: added to the sum.
        size: how many channels, `floor((size - 1) / 2)` of them before; those beyond the ends are 0.

    Returns:
        The shape and dtype of X.
    """
    if size < 1:
        raise errors.InvalidGraph(f"LRN: size is {size}; it is at least 1")
    wide = widened(X)
    channels = X.shape[1]
    before, after = min((size - 1) // 2, channels), min(size // 2, channels)
    squares = F.pad((wide * wide).flatten(2) if X.ndim > 2 else (wide * wide)[..., None], (0, 0, before, after))
    total = sum(
        (squares[:, shift : shift + channels] for shift in range(1, before + after + 1)), start=squares[:, :channels]
    )
    return (wide * (bias + alpha / size * total.reshape(X.shape)) ** -beta).to(X.dtype)


@kernel("MeanVarianceNormalization", 9)
def mean_variance_normalization(X: Tensor, *, axes: Ints = (0, 2, 3)) -> Tensor:
    """`(X - mean) / (standard deviation + 1e-9)` over `axes`."""
    centred, var = _moments(widened(X), axes)
    return (centred / (safe_sqrt(var) + 1e-9)).to(X.dtype)


@kernel("LpNormalization", 1)
def lp_normalization(input: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """`input / norm` along `axis`, 0 where the norm is 0.

    Raises:
        InvalidGraph: p is neither 1 nor 2.
    """
    if p not in {1, 2}:
        raise errors.InvalidGraph(f"LpNormalization: p is 1 or 2, not {p}")
    wide = widened(input)
    norm = wide.abs().sum(axis, keepdim=True) if p == 1 else safe_sqrt((wide * wide).sum(axis, keepdim=True))
    return (wide / torch.where(norm == 0, 1, norm)).to(input.dtype)
