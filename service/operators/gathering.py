"""Reading and writing by index, and what depends on the values of a constant: NonZero, Unique, Compress."""

import math

import torch
from torch import Tensor

from service.errors import InvalidGraph, ShapeMismatch
from service.operators.numerics import axis_of
from service.operators.registry import Ints, Static, bounded, kernel

OUT_OF_RANGE = -(2**31)
"""Stands for an index out of range: so negative that a position made with it is negative too, which torch refuses."""


def _from_front(indices: Tensor, size: int) -> Tensor:
    """Indices in `[-size, size)` counted from the front, others `OUT_OF_RANGE`. int64."""
    wide = indices.to(torch.int64)
    inside = (wide >= -size) & (wide < size)
    return torch.where(inside, torch.where(wide < 0, wide + size, wide), OUT_OF_RANGE)


@kernel("Gather", 1)
def gather(data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Slices of `data` along an axis: `[*data[:axis], *indices, *data[axis + 1:]]`."""
    place = axis_of(axis, data.dim(), "Gather")
    picked = data.index_select(place, _from_front(indices, data.shape[place]).reshape(-1))
    return picked.reshape((*data.shape[:place], *indices.shape, *data.shape[place + 1 :]))


@kernel("GatherElements", 11)
def gather_elements(data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Elements by their index along an axis; the other indices are those of the place itself."""
    place = axis_of(axis, data.dim(), "GatherElements")
    return torch.gather(data, place, _from_front(indices, data.shape[place]))


@kernel("GatherND", 11)
def gather_nd(data: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Slices by tuples of indices, the last axis of `indices`; the first axes may be a batch."""
    indexed = batch_dims + indices.shape[-1]
    batch = torch.arange(math.prod(data.shape[:batch_dims]), device=data.device)
    batch = batch.reshape((*data.shape[:batch_dims], *[1] * (indices.dim() - 1 - batch_dims)))
    places = _linear(indices, data.shape[batch_dims:indexed], batch)
    slices = data.reshape((math.prod(data.shape[:indexed]), *data.shape[indexed:]))
    return slices.index_select(0, places.reshape(-1)).reshape((*indices.shape[:-1], *data.shape[indexed:]))


def _linear(tuples: Tensor, sizes: tuple[int, ...], outer: Tensor) -> Tensor:
    """Row-major positions of tuples of indices `[..., len(sizes)]` within the positions `outer` of a batch. int64."""
    position = outer.expand(tuples.shape[:-1])
    for i, size in enumerate(sizes):
        position = position * size + _from_front(tuples[..., i], size)
    return position


# --- writing ----------------------------------------------------------------------------------------------------------


@kernel("Scatter", 9)
def scatter(data: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0) -> Tensor:
    """The older name of ScatterElements."""
    return scatter_elements(data, indices, updates, axis=axis)


@kernel("ScatterElements", 11)
def scatter_elements(
    data: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    """`data` with elements written, or combined, at an index along an axis; the other indices are the place's own."""
    place = axis_of(axis, data.dim(), "ScatterElements")
    if indices.shape != updates.shape:
        raise ShapeMismatch(f"ScatterElements: indices {list(indices.shape)} and updates {list(updates.shape)} differ")
    target = torch.zeros(indices.shape, dtype=torch.int64, device=data.device)
    for i, size in enumerate(data.shape):
        own = torch.arange(indices.shape[i], device=data.device).reshape(
            [-1 if j == i else 1 for j in range(data.dim())]
        )
        target = target * size + (_from_front(indices, size) if i == place else own)
    return _combined(data.reshape(-1), target.reshape(-1), updates.reshape(-1), reduction).reshape(data.shape)


@kernel("ScatterND", 11)
def scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """`data` with slices written, or combined, at tuples of indices, the last axis of `indices`."""
    depth = indices.shape[-1]
    wanted = (*indices.shape[:-1], *data.shape[depth:])
    if tuple(updates.shape) != wanted:
        raise ShapeMismatch(f"ScatterND: updates {list(updates.shape)} should have the shape {list(wanted)}")
    width = math.prod(data.shape[depth:])
    origin = torch.zeros((), dtype=torch.int64, device=data.device)
    first = _linear(indices, data.shape[:depth], origin).reshape(-1, 1) * width
    target = (first + torch.arange(width, device=data.device)).reshape(-1)
    return _combined(data.reshape(-1), target, updates.reshape(-1), reduction).reshape(data.shape)


def _combined(data: Tensor, target: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """`data` `[S]` with `updates` `[N]` written to, or combined with, the places `target` `[N]`."""
    match reduction:
        case "none":
            return data.scatter(0, target, updates)
        case "add":
            return data.scatter_add(0, target, updates)
        case "mul":
            return data * _products(target, updates, data.shape[0])
        case "max" | "min":
            return data.scatter_reduce(0, target, updates, f"a{reduction}")
        case _:
            raise InvalidGraph(f'reduction must be "none", "add", "mul", "max" or "min", not "{reduction}"')


def _products(target: Tensor, factors: Tensor, size: int) -> Tensor:
    """The product of the factors of each place, 1 where there are none: `[size]`.

    Sorted by place, then a segmented scan by doubling; the last of each segment is its product. torch's own
    `scatter_reduce("prod")` has a wrong pushforward.
    """
    places, order = torch.sort(target, stable=True)
    products = factors.index_select(0, order)
    step = 1
    while step < len(places):
        same = places[step:] == places[:-step]
        earlier = torch.where(same, products[:-step], torch.ones_like(products[:-step]))
        products = torch.cat([products[:step], products[step:] * earlier])
        step *= 2
    last = torch.cat([places[1:] != places[:-1], places.new_ones(min(1, len(places)), dtype=torch.bool)])
    return products.new_ones(size + 1).scatter(0, torch.where(last, places, size), products)[:size]


@kernel("TensorScatter", 24)
def tensor_scatter(
    past_cache: Tensor, update: Tensor, write_indices: Tensor | None = None, *, axis: int = -2, mode: str = "linear"
) -> Tensor:
    """The cache `[B, ...]` with `update` written along an axis from a place on that is each sample's own."""
    place = axis_of(axis, past_cache.dim(), "TensorScatter")
    if mode not in ("linear", "circular"):
        raise InvalidGraph(f'TensorScatter: mode must be "linear" or "circular", not "{mode}"')
    batch, length = update.shape[0], update.shape[place]
    steps = torch.arange(length, device=update.device)
    first = steps.new_zeros(batch) if write_indices is None else write_indices
    positions = first[:, None] + steps
    if mode == "circular":
        positions = positions % past_cache.shape[place]
    shape = [batch if i == 0 else length if i == place else 1 for i in range(update.dim())]
    return past_cache.scatter(place, positions.reshape(shape).expand(update.shape), update)


@kernel("ReverseSequence", 10)
def reverse_sequence(input: Tensor, sequence_lens: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """The first `sequence_lens[b]` steps of sample b reversed in time."""
    batch, time = (axis_of(a, input.dim(), "ReverseSequence") for a in (batch_axis, time_axis))
    steps = torch.arange(input.shape[time], device=input.device)[:, None]
    lengths = sequence_lens.to(torch.int64)
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)
    source = source if time < batch else source.mT
    shape = [n if i in (batch, time) else 1 for i, n in enumerate(input.shape)]
    return torch.gather(input, time, source.reshape(shape).expand(input.shape))


# --- what depends on values -------------------------------------------------------------------------------------------


@kernel("Compress", 9)
def compress(input: Tensor, condition: Static, *, axis: int | None = None) -> Tensor:
    """The slices along an axis, or the elements of all, for which the condition holds."""
    kept = torch.tensor(
        [i for i, held in enumerate(condition.tolist()) if held], dtype=torch.int64, device=input.device
    )
    if axis is None:
        return input.reshape(-1).index_select(0, kept)
    return input.index_select(axis_of(axis, input.dim(), "Compress"), kept)


@kernel("NonZero", 9)
def non_zero(X: Static) -> Tensor:
    """The indices of the elements that are not 0: `[rank, count]`, int64."""
    return torch.nonzero(X).mT


@kernel("Unique", 11)
def unique(X: Static, *, axis: int | None = None, sorted: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The distinct elements, or slices along an axis, sorted or as they first occur.

    Returns:
        They, the index of the first occurrence of each, for each element of X the index among them, and their counts.
    """
    place = None if axis is None else axis_of(axis, X.dim(), "Unique")
    values, inverse, counts = torch.unique(X, return_inverse=True, return_counts=True, dim=place)
    inverse = inverse.reshape(-1)
    positions = torch.arange(len(inverse), device=X.device)
    first = positions.new_full(counts.shape, len(inverse)).scatter_reduce(0, inverse, positions, "amin")
    if sorted:
        return values, first, inverse, counts
    order = torch.argsort(first)
    rank = torch.argsort(order)
    return values.index_select(place or 0, order), first[order], rank[inverse], counts[order]


@kernel("OneHot", 9)
def one_hot(indices: Tensor, depth: Ints, values: Tensor, *, axis: int = -1) -> Tensor:
    """A new axis of size `depth` that holds `values[1]` at the index and `values[0]` elsewhere."""
    place = axis_of(axis, indices.dim() + 1, "OneHot")
    count = depth[0]
    bounded([*indices.shape, count])
    wrapped = torch.where(indices < 0, indices + count, indices).unsqueeze(place)
    places = torch.arange(count, device=indices.device).reshape([-1 if i == place else 1 for i in range(wrapped.dim())])
    return torch.where(wrapped == places, values[1], values[0])
