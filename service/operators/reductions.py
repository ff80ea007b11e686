"""Reductions over axes, the places of extremes, cumulative sums and products, the largest elements."""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from service.errors import InvalidGraph
from service.operators.numerics import accumulated, axes_of, axis_of, floating, widened
from service.operators.registry import Ints, kernel

Reduction: TypeAlias = Callable[[Tensor, tuple[int, ...], bool], Tensor]
"""Reduces over the axes given, one at least, with or without keeping them as axes of size 1."""


def _sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return x.sum(axes, keep, dtype=accumulated(x.dtype))


def _mean(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    count = math.prod(x.shape[a] for a in axes)
    total = _sum(x, axes, keep)
    return total / count if x.is_floating_point() else torch.div(total, count, rounding_mode="trunc")


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    """The product by halving: log2(n) products whose derivatives of every order are right at zeros too."""
    kept = [a for a in range(x.dim()) if a not in axes]
    count = math.prod(x.shape[a] for a in axes)
    values = widened(x).permute(*kept, *axes).reshape(*(x.shape[a] for a in kept), count)
    while values.shape[-1] > 1:
        half = values.shape[-1] // 2
        odd = values[..., 2 * half :]
        values = torch.cat([values[..., :half] * values[..., half : 2 * half], odd], -1)
    result = values[..., 0] if values.shape[-1] else values.new_ones(values.shape[:-1])
    return result.reshape([1 if a in axes else n for a, n in enumerate(x.shape)]) if keep else result


def _extreme(pick: Callable[..., Tensor], worst: Callable[[torch.dtype], float]) -> Reduction:
    def reduce(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
        if all(x.shape[a] for a in axes):
            return pick(x, axes, keep)
        shape = [1 if a in axes else n for a, n in enumerate(x.shape) if keep or a not in axes]
        return x.new_full(shape, worst(x.dtype))

    return reduce


def _lowest(dtype: torch.dtype) -> float:
    if dtype.is_floating_point:
        return -math.inf
    return 0 if dtype == torch.bool else torch.iinfo(dtype).min


def _highest(dtype: torch.dtype) -> float:
    if dtype.is_floating_point:
        return math.inf
    return 1 if dtype == torch.bool else torch.iinfo(dtype).max


def _l1(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return _sum(x.abs(), axes, keep)


def _l2(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x.to(floating(x.dtype)), dim=axes, keepdim=keep)
    return norm


def _log_sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return _sum(x.to(floating(x.dtype)), axes, keep).log()


def _log_sum_exp(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return torch.logsumexp(x.to(floating(x.dtype)), axes, keep)


def _sum_square(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    wide = widened(x)
    return _sum(wide * wide, axes, keep)


def _reduction(op: str, function: Reduction, axes_are_input_since: int = 18) -> None:
    def reduce(data: Tensor, axes: Ints | None, keep: bool, nothing_is_all: bool) -> Tensor:
        places = axes_of(axes or (), data.dim(), op)
        if not places and nothing_is_all:
            places = tuple(range(data.dim()))
        if not places:
            return function(data.unsqueeze(-1), (data.dim(),), False).to(data.dtype)
        return function(data, places, keep).to(data.dtype)

    @kernel(op, 1)
    def by_attribute(data: Tensor, *, axes: tuple[int, ...] | None = None, keepdims: int = 1) -> Tensor:
        return reduce(data, axes, bool(keepdims), True)

    @kernel(op, axes_are_input_since)
    def by_input(data: Tensor, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        return reduce(data, axes, bool(keepdims), not noop_with_empty_axes)


_reduction("ReduceL1", _l1)
_reduction("ReduceL2", _l2)
_reduction("ReduceLogSum", _log_sum)
_reduction("ReduceLogSumExp", _log_sum_exp)
_reduction("ReduceMax", _extreme(torch.amax, _lowest))
_reduction("ReduceMean", _mean)
_reduction("ReduceMin", _extreme(torch.amin, _highest))
_reduction("ReduceProd", _product)
_reduction("ReduceSum", _sum, axes_are_input_since=13)
_reduction("ReduceSumSquare", _sum_square)


# --- the places of extremes -------------------------------------------------------------------------------------------


@kernel("ArgMax", 1)
def arg_max(data: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """The index of the largest element along an axis, the first or the last of equals. int64."""
    return _place(torch.argmax, data, axis_of(axis, data.dim(), "ArgMax"), bool(keepdims), bool(select_last_index))


@kernel("ArgMin", 1)
def arg_min(data: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """The index of the smallest element along an axis, the first or the last of equals. int64."""
    return _place(torch.argmin, data, axis_of(axis, data.dim(), "ArgMin"), bool(keepdims), bool(select_last_index))


def _place(find: Callable[..., Tensor], data: Tensor, axis: int, keep: bool, last: bool) -> Tensor:
    if last:
        return data.shape[axis] - 1 - find(data.flip(axis), axis, keep)
    return find(data, axis, keep)


def _top(data: Tensor, k: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    """By a stable sort, so that of equal elements the one with the lower index comes first."""
    place = axis_of(axis, data.dim(), "TopK")
    if not 0 <= k <= data.shape[place]:
        raise InvalidGraph(f"TopK: k is {k}, axis {axis} has {data.shape[place]} elements")
    values, indices = torch.sort(data, dim=place, descending=largest, stable=True)
    return values.narrow(place, 0, k), indices.narrow(place, 0, k)


@kernel("TopK", 1)
def top_k_by_attribute(X: Tensor, *, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The k largest along an axis, in descending order, and their int64 indices."""
    return _top(X, k, axis, True)


@kernel("TopK", 10)
def top_k(X: Tensor, K: Ints, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:
    """The K largest or smallest along an axis, always sorted, and their int64 indices."""
    return _top(X, K[0], axis, bool(largest))


# --- cumulative -------------------------------------------------------------------------------------------------------


def _shifted(x: Tensor, axis: int, by: int, fill: int) -> Tensor:
    """`x` moved on by some places along an axis, the first places filled."""
    kept = max(x.shape[axis] - by, 0)
    head = list(x.shape)
    head[axis] -= kept
    return torch.cat([x.new_full(head, fill), x.narrow(axis, 0, kept)], axis)


def _cumulative_sum(x: Tensor, axis: int) -> Tensor:
    return x.cumsum(axis, dtype=accumulated(x.dtype)).to(x.dtype)


def _cumulative_product(x: Tensor, axis: int) -> Tensor:
    """The scan by doubling (Hillis and Steele): log2(n) products, differentiable at zeros too."""
    result = widened(x)
    step = 1
    while step < x.shape[axis]:
        result = result * _shifted(result, axis, step, 1)
        step *= 2
    return result.to(x.dtype)


def _scan(op: str, since: int, function: Callable[[Tensor, int], Tensor], neutral: int) -> None:
    @kernel(op, since)
    def apply(x: Tensor, axis: Ints, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
        place = axis_of(axis[0], x.dim(), op)
        values = x.flip(place) if reverse else x
        values = function(_shifted(values, place, 1, neutral) if exclusive else values, place)
        return values.flip(place) if reverse else values


_scan("CumSum", 11, _cumulative_sum, 0)
_scan("CumProd", 26, _cumulative_product, 1)
