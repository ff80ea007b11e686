"""Linear quantization to int8, uint8 and int16, forwards: rounding has no gradient."""

import torch
from torch import Tensor

from service.operators.numerics import axis_of
from service.operators.registry import kernel, torch_dtype


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
        rows = a_zero_point.to(torch.int32)
        a = a - (rows.unsqueeze(-1) if rows.dim() == 1 and rows.numel() > 1 else rows)
    if b_zero_point is not None:
        b = b - b_zero_point.to(torch.int32)
    return torch.matmul(a, b)
