"""The precision in which a kernel computes, where it is not that of its input."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.errors import InvalidGraph

HALVES = (torch.float16, torch.bfloat16)


def accumulated(dtype: torch.dtype) -> torch.dtype:
    """The dtype to accumulate in: float32 for the 16-bit floats, else the dtype itself."""
    return torch.float32 if dtype in HALVES else dtype


def floating(dtype: torch.dtype) -> torch.dtype:
    """As `accumulated`, and float64 for integers: the dtype for roots, logarithms and means of them."""
    return accumulated(dtype) if dtype.is_floating_point else torch.float64


def axis_of(axis: int, rank: int, op: str) -> int:
    """A single axis counted from the front.

    Raises:
        InvalidGraph: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise InvalidGraph(
            f"{op}: there is no axis {axis} in a tensor of rank {rank}; axes run from {-rank} to {rank - 1}"
        )
    return axis % rank


def axes_of(axes: Sequence[int], rank: int, op: str) -> tuple[int, ...]:
    """Several axes counted from the front, in the order given.

    Raises:
        InvalidGraph: there is no such axis, or one is named twice.
    """
    places = tuple(axis_of(a, rank, op) for a in axes)
    if len(set(places)) < len(places):
        raise InvalidGraph(f"{op}: the axes {list(axes)} name one axis twice")
    return places


def widened(value: Tensor) -> Tensor:
    """`value` in the dtype to accumulate in."""
    return value.to(accumulated(value.dtype))


def safe_sqrt(value: Tensor) -> Tensor:
    """The square root of what is not negative, with derivative 0 at 0: the subgradient of a norm at the origin."""
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1).sqrt(), 0 * value)
