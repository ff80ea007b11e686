"""Linear quantization to int8, uint8 and int16, forwards: rounding has no gradient."""

import torch
from torch import Tensor

from service.operators.convolution import conv
from service.operators.numerics import axis_of
from service.operators.registry import Ints, kernel, torch_dtype


def _spread(scale: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """A scale for the whole tensor, for each slice of an axis, or for each block along it, so that it fits `x`."""
    if scale.numel() == 1 and scale.dim() <= 1:
        return scale.reshape(())
    place = axis_of(axis, x.dim(), "QuantizeLinear")
    if block_size:
        return scale.repeat_interleave(block_size, dim=place).narrow(place, 0, x.shape[place])
    return scale.reshape([-1 if i == place else 1 for i in range(x.dim())])


def _saturated(x: Tensor, dtype: torch.dtype) -> Tensor:
    limits = torch.iinfo(dtype)
    return x.clamp(limits.min, limits.max).to(dtype)


@kernel("QuantizeLinear", 10)
def quantize_linear(
    x: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    """`round(x / scale) + zero point`, ties to even, limited to the integers of the zero point's dtype (uint8)."""
    dtype = torch_dtype(output_dtype) if output_dtype else torch.uint8
    dtype = y_zero_point.dtype if y_zero_point is not None else dtype
    scale = _spread(y_scale, x, axis, block_size).to(torch_dtype(precision) if precision else y_scale.dtype)
    steps = torch.round(x.to(scale.dtype) / scale).to(torch.float64)
    if y_zero_point is not None:
        steps = steps + _spread(y_zero_point, x, axis, block_size).to(torch.float64)
    return _saturated(steps, dtype)


@kernel("DequantizeLinear", 10)
def dequantize_linear(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """`(x - zero point) scale` in the dtype of the scale, or in `output_dtype`."""
    steps = x.to(torch.int32)
    if x_zero_point is not None:
        steps = steps - _spread(x_zero_point, x, axis, block_size).to(torch.int32)
    dtype = torch_dtype(output_dtype) if output_dtype else x_scale.dtype
    return steps.to(dtype) * _spread(x_scale, x, axis, block_size).to(dtype)


@kernel("DynamicQuantizeLinear", 11)
def dynamic_quantize_linear(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantized to uint8 by a scale that spans the tensor and 0: the values, the scale, the zero point."""
    largest, smallest = torch.clamp(x.max(), min=0), torch.clamp(x.min(), max=0)
    span = largest - smallest
    scale = torch.where(span == 0, torch.ones_like(span), span) / 255
    zero_point = torch.round(torch.clamp(-smallest / scale, 0, 255))
    return _saturated(torch.round(x / scale) + zero_point, torch.uint8), scale, zero_point.to(torch.uint8)


@kernel("MatMulInteger", 10)
def matmul_integer(
    A: Tensor, B: Tensor, a_zero_point: Tensor | None = None, b_zero_point: Tensor | None = None
) -> Tensor:
    """The product of 8-bit matrices less their zero points, in int32."""
    a, b = A.to(torch.int32), B.to(torch.int32)
    if a_zero_point is not None:
        a = a - _of_rows(a_zero_point.to(torch.int32))
    if b_zero_point is not None:
        b = b - b_zero_point.to(torch.int32)
    return torch.matmul(a, b)


@kernel("QLinearMatMul", 10)
def qlinear_matmul(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
) -> Tensor:
    """The product of quantized matrices, quantized by the scale and zero point of y."""
    product = matmul_integer(a, b, a_zero_point, b_zero_point)
    return _requantized(product, _of_rows(a_scale).double() * b_scale.double(), y_scale, y_zero_point)


def _requantized(steps: Tensor, scale: Tensor, y_scale: Tensor, y_zero_point: Tensor) -> Tensor:
    """`round(steps scale / y_scale) + zero point`, ties to even, limited to the integers of the zero point's dtype."""
    return _saturated(torch.round(steps * (scale / y_scale.double())) + y_zero_point, y_zero_point.dtype)


@kernel("ConvInteger", 10)
def conv_integer(
    x: Tensor,
    w: Tensor,
    x_zero_point: Tensor | None = None,
    w_zero_point: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Conv of 8-bit integers less their zero points, in int32; float64 holds the sums exactly."""
    data, weights = x.double(), w.double()
    if x_zero_point is not None:
        data = data - x_zero_point
    if w_zero_point is not None:
        weights = weights - _of_channels(w_zero_point, w.dim(), 0)
    return conv(
        data,
        weights,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    ).to(torch.int32)


@kernel("QLinearConv", 10)
def qlinear_conv(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    B: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Conv of quantized data, quantized by the scale and zero point of y; B counts steps of the scales of x and w."""
    steps = conv_integer(
        x,
        w,
        x_zero_point,
        w_zero_point,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    if B is not None:
        steps = steps + _of_channels(B, x.dim(), 1)
    scale = x_scale.double() * _of_channels(w_scale, x.dim(), 1).double()
    return _requantized(steps, scale, y_scale, y_zero_point)


def _of_rows(parameter: Tensor) -> Tensor:
    """One number, or one for each row of a matrix."""
    return parameter.unsqueeze(-1) if parameter.dim() == 1 and parameter.numel() > 1 else parameter


def _of_channels(parameter: Tensor, rank: int, axis: int) -> Tensor:
    """One number, or one for each index of an axis."""
    return parameter.reshape([-1 if i == axis else 1 for i in range(rank)])
