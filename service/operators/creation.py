"""Constants, ranges and windows: tensors made from numbers."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from service.errors import InvalidGraph, UnsupportedOperator
from service.operators.numerics import accumulated
from service.operators.registry import Ints, Static, bounded, kernel, torch_dtype


@kernel("Constant", 1)
def constant(
    *,
    sparse_value: object = None,
    value: Tensor | None = None,
    value_float: float | None = None,
    value_floats: tuple[float, ...] | None = None,
    value_int: int | None = None,
    value_ints: tuple[int, ...] | None = None,
    value_string: str | None = None,
    value_strings: tuple[str, ...] | None = None,
) -> Tensor:
    """The one value given: a tensor, float32 numbers or int64 numbers.

    Raises:
        UnsupportedOperator: strings and sparse tensors.
        InvalidGraph: none is given.
    """
    if not (sparse_value is None and value_string is None and value_strings is None):
        raise UnsupportedOperator("Constant: strings and sparse tensors are not supported; give a tensor or numbers")
    if value is not None:
        return value
    for numbers, dtype in (
        (value_float, torch.float32),
        (value_floats, torch.float32),
        (value_int, torch.int64),
        (value_ints, torch.int64),
    ):
        if numbers is not None:
            return torch.tensor(numbers, dtype=dtype)
    raise InvalidGraph("Constant has no value")


@kernel("ConstantOfShape", 9)
def constant_of_shape(input: Ints, *, value: Tensor | None = None) -> Tensor:
    """A shape filled with the one element of `value`, float32 zeros by default."""
    if min(input, default=0) < 0:
        raise InvalidGraph(f"ConstantOfShape: the shape {list(input)} has a negative size")
    element = torch.zeros(1) if value is None else value
    return element.reshape(()).expand(bounded(input)).clone()


@kernel("EyeLike", 9)
def eye_like(input: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """Ones on the k-th diagonal of a matrix of the input's shape."""
    if input.dim() != 2:
        raise InvalidGraph(f"EyeLike takes a matrix, not a tensor of rank {input.dim()}")
    rows, columns = (torch.arange(n, device=input.device) for n in input.shape)
    return (rows[:, None] + k == columns).to(input.dtype if dtype is None else torch_dtype(dtype))


@kernel("Range", 11)
def range_of(start: Static, limit: Static, delta: Static, *, stash_type: int = 1) -> Tensor:
    """`start + i delta` for the i from 0 on that stay before `limit`; 16-bit floats are computed in float32."""
    begin, end, step = start.item(), limit.item(), delta.item()
    if step == 0:
        raise InvalidGraph("Range: delta must not be 0")
    span = (end - begin) / step if start.is_floating_point() else -((begin - end) // step)
    if not math.isfinite(span):
        raise InvalidGraph(f"Range: from {begin} to {end} by {step} has no finite length")
    (count,) = bounded([max(math.ceil(span), 0)])
    wide = torch_dtype(stash_type) if accumulated(start.dtype) != start.dtype else start.dtype
    return (begin + torch.arange(count, dtype=wide, device=start.device) * step).to(start.dtype)


# --- windows: DSP textbooks' cosine sums, as functions of the phase 2 pi n / N ----------------------------------------


def _window(op: str, of_phase: Callable[[Tensor], Tensor]) -> None:
    @kernel(op, 17)
    def window(size: Ints, *, output_datatype: int = 1, periodic: int = 1) -> Tensor:
        (count,) = bounded(size)
        places = torch.arange(count, dtype=torch.float64)
        return of_phase(places * (2 * math.pi) / max(count if periodic else count - 1, 1)).to(
            torch_dtype(output_datatype)
        )


def _hann(phase: Tensor) -> Tensor:
    return 0.5 - 0.5 * torch.cos(phase)


def _hamming(phase: Tensor) -> Tensor:
    return 25 / 46 - 21 / 46 * torch.cos(phase)


def _blackman(phase: Tensor) -> Tensor:
    return 0.42 - 0.5 * torch.cos(phase) + 0.08 * torch.cos(2 * phase)


_window("HannWindow", _hann)
_window("HammingWindow", _hamming)
_window("BlackmanWindow", _blackman)
