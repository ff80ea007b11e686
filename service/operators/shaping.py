"""Shapes, and what moves data by position alone: reshape, transpose, concatenate, split, slice, repeat, pad."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from service.errors import InvalidGraph, ShapeMismatch
from service.operators.numerics import axes_of, axis_of
from service.operators.registry import Ints, bounded, kernel


@kernel("Shape", 1)
def shape(data: Tensor, *, end: int | None = None, start: int = 0) -> Tensor:
    """The sizes of the axes from `start` to `end`, as Python slices them. int64."""
    return torch.tensor(data.shape[start:end], dtype=torch.int64, device=data.device)


@kernel("Size", 1)
def size(data: Tensor) -> Tensor:
    """The number of elements. 0-D int64."""
    return torch.tensor(data.numel(), dtype=torch.int64, device=data.device)


@kernel("Reshape", 5)
def reshape(data: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    """Other sizes for the same elements; -1 is inferred, 0 copies the size at its place unless `allowzero`.

    Raises:
        ShapeMismatch: the numbers of elements differ.
    """
    if not allowzero and any(n == 0 and i >= data.dim() for i, n in enumerate(shape)):
        raise ShapeMismatch(f"Reshape: a 0 in {list(shape)} copies an axis that {list(data.shape)} has not")
    sizes = [data.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(shape)]
    known = math.prod(n for n in sizes if n != -1)
    open_axes = sizes.count(-1)
    fits = data.numel() == known if not open_axes else open_axes == 1 and known and data.numel() % known == 0
    if not fits or min(sizes, default=0) < -1:
        raise ShapeMismatch(f"Reshape: {list(data.shape)} cannot become {list(shape)}")
    return data.reshape([data.numel() // known if n == -1 else n for n in sizes])


@kernel("Flatten", 1)
def flatten(input: Tensor, *, axis: int = 1) -> Tensor:
    """A matrix: the axes before `axis` are its rows, the others its columns."""
    if not -input.dim() <= axis <= input.dim():
        raise InvalidGraph(f"Flatten: axis {axis} is not between {-input.dim()} and {input.dim()}")
    first = axis + input.dim() if axis < 0 else axis
    return input.reshape(math.prod(input.shape[:first]), math.prod(input.shape[first:]))


@kernel("Squeeze", 1)
def squeeze_by_attribute(data: Tensor, *, axes: tuple[int, ...] | None = None) -> Tensor:
    """Without the named axes of size 1, or without all of them."""
    return squeeze(data, axes)


@kernel("Squeeze", 13)
def squeeze(data: Tensor, axes: Ints | None = None) -> Tensor:
    """Without the named axes of size 1, or without all of them.

    Raises:
        ShapeMismatch: a named axis has another size.
    """
    if axes is None:
        return data.squeeze()
    places = axes_of(axes, data.dim(), "Squeeze")
    if any(data.shape[p] != 1 for p in places):
        raise ShapeMismatch(f"Squeeze: the axes {list(axes)} of {list(data.shape)} are not all of size 1")
    return data.reshape([n for i, n in enumerate(data.shape) if i not in places])


@kernel("Unsqueeze", 1)
def unsqueeze_by_attribute(data: Tensor, *, axes: tuple[int, ...]) -> Tensor:
    """With axes of size 1 at these places of the result."""
    return unsqueeze(data, axes)


@kernel("Unsqueeze", 13)
def unsqueeze(data: Tensor, axes: Ints) -> Tensor:
    """With axes of size 1 at these places of the result."""
    rank = data.dim() + len(axes)
    places = axes_of(axes, rank, "Unsqueeze")
    sizes = iter(data.shape)
    return data.reshape([1 if i in places else next(sizes) for i in range(rank)])


@kernel("Transpose", 1)
def transpose(data: Tensor, *, perm: tuple[int, ...] | None = None) -> Tensor:
    """The axes in another order, reversed by default."""
    if perm is None:
        return data.permute(*range(data.dim() - 1, -1, -1))
    if sorted(perm) != list(range(data.dim())):
        raise InvalidGraph(f"Transpose: perm {list(perm)} is no permutation of the {data.dim()} axes")
    return data.permute(*perm)


@kernel("Concat", 4)
def concat(*inputs: Tensor, axis: int) -> Tensor:
    """One after the other along an axis."""
    if not inputs:
        raise InvalidGraph("Concat needs at least one input")
    return torch.cat(inputs, axis_of(axis, inputs[0].dim(), "Concat"))


@kernel("Split", 2)
def split_by_attribute(
    input: Tensor, *, outputs: int, axis: int = 0, split: tuple[int, ...] | None = None
) -> tuple[Tensor, ...]:
    """Pieces along an axis, of the sizes given or equal ones."""
    return split_by_input(input, split, outputs=outputs, axis=axis)


@kernel("Split", 13)
def split_by_input(
    input: Tensor, split: Ints | None = None, *, outputs: int, axis: int = 0, num_outputs: int | None = None
) -> tuple[Tensor, ...]:
    """Pieces along an axis, of the sizes given or equal ones; the last may be smaller.

    Raises:
        ShapeMismatch: the sizes are not those of the axis together.
    """
    place = axis_of(axis, input.dim(), "Split")
    length = input.shape[place]
    count = num_outputs or outputs
    piece = -(-length // count)
    sizes = [max(min(piece, length - i * piece), 0) for i in range(count)] if split is None else list(split)
    if sum(sizes) != length or min(sizes, default=0) < 0:
        raise ShapeMismatch(f"Split: the sizes {sizes} do not make up the {length} elements of axis {axis}")
    return torch.split(input, sizes, place)


@kernel("Slice", 1)
def slice_by_attributes(
    data: Tensor, *, ends: tuple[int, ...], starts: tuple[int, ...], axes: tuple[int, ...] | None = None
) -> Tensor:
    """As Python slices each axis named, all by default."""
    return slice_by_inputs(data, starts, ends, axes)


@kernel("Slice", 10)
def slice_by_inputs(
    data: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None
) -> Tensor:
    """As Python slices each axis named, the first ones by default; negative steps too."""
    places = axes_of(range(len(starts)) if axes is None else axes, data.dim(), "Slice")
    strides = steps or (1,) * len(starts)
    if not len(starts) == len(ends) == len(places) == len(strides) or 0 in strides:
        raise InvalidGraph("Slice: starts, ends, axes and steps must be equally many, and no step 0")
    for start, end, axis, step in zip(starts, ends, places, strides, strict=True):
        data = _sliced(data, axis, range(data.shape[axis])[start:end:step])
    return data


def _sliced(data: Tensor, axis: int, wanted: range) -> Tensor:
    if not wanted:
        return data.narrow(axis, 0, 0)
    low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
    before = (slice(None),) * axis
    ascending = data[(*before, slice(low, high + 1, abs(wanted.step)))]
    return ascending.flip(axis) if wanted.step < 0 else ascending


@kernel("Expand", 8)
def expand(input: Tensor, shape: Ints) -> Tensor:
    """Broadcast with a shape, both ways.

    Raises:
        ShapeMismatch: they cannot be broadcast.
    """
    rank = max(len(shape), input.dim())
    pairs = list(zip((1,) * (rank - input.dim()) + tuple(input.shape), (1,) * (rank - len(shape)) + shape, strict=True))
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise ShapeMismatch(f"Expand: {list(input.shape)} and {list(shape)} cannot be broadcast")
    return input.expand(bounded([b if a == 1 else a for a, b in pairs]))


@kernel("Tile", 6)
def tile(input: Tensor, repeats: Ints) -> Tensor:
    """Repeated along each axis."""
    if len(repeats) != input.dim() or min(repeats, default=0) < 0:
        raise InvalidGraph(f"Tile: repeats {list(repeats)} must be {input.dim()} numbers, none negative")
    bounded([n * r for n, r in zip(input.shape, repeats, strict=True)])
    return input.repeat(repeats)


@kernel("Trilu", 14)
def trilu(input: Tensor, k: Ints | None = None, *, upper: int = 1) -> Tensor:
    """The upper or lower triangle of each matrix, from its k-th diagonal on; zeros elsewhere."""
    diagonal = max(min(k[0], 2**31), -(2**31)) if k else 0
    return torch.triu(input, diagonal) if upper else torch.tril(input, diagonal)


# --- padding ----------------------------------------------------------------------------------------------------------


@kernel("Pad", 2)
def pad_by_attributes(data: Tensor, *, pads: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Padded by `pads`, first all beginnings and then all ends; a negative number crops."""
    return pad(data, pads, data.new_tensor(value), mode=mode)


@kernel("Pad", 11)
def pad(
    data: Tensor, pads: Ints, constant_value: Tensor | None = None, axes: Ints | None = None, *, mode: str = "constant"
) -> Tensor:
    """Padded by `pads`, first all beginnings and then all ends; a negative number crops.

    Args:
        data: any rank and dtype.
        pads: two numbers for each of the axes.
        constant_value: a scalar for the mode `constant`, 0 by default.
        axes: the axes that are padded, all by default.
        mode: `constant`, `edge`, `reflect` or `wrap`; the last three by any number of periods.

    Raises:
        InvalidGraph: the numbers or the mode are not as above.
        TooLarge: the result would be.
    """
    places = axes_of(range(data.dim()) if axes is None else axes, data.dim(), "Pad")
    if len(pads) != 2 * len(places):
        raise InvalidGraph(f"Pad: there are {len(pads)} pads for {len(places)} axes; there must be two for each")
    edges = dict(zip(places, zip(pads[: len(places)], pads[len(places) :], strict=True), strict=True))
    sizes = bounded([n + sum(edges.get(i, (0, 0))) for i, n in enumerate(data.shape)])
    if min(sizes, default=0) < 0:
        raise InvalidGraph(f"Pad: the pads {list(pads)} crop more than {list(data.shape)} has")
    if mode == "constant":
        return _padded_by_constant(data, [edges.get(i, (0, 0)) for i in range(data.dim())], constant_value)
    for axis, (before, after) in edges.items():
        if before or after:
            sources = _sources(data.shape[axis], before, after, mode)
            data = data.index_select(axis, torch.tensor(sources, dtype=torch.int64, device=data.device))
    return data


def _padded_by_constant(data: Tensor, edges: Sequence[tuple[int, int]], value: Tensor | None) -> Tensor:
    flat = [n for edge in reversed(edges) for n in edge]
    padded = functional.pad(data, flat)
    if value is None:
        return padded
    inside = functional.pad(torch.ones(data.shape, dtype=torch.bool, device=data.device), flat)
    return torch.where(inside, padded, value.reshape(()))


def _sources(length: int, before: int, after: int, mode: str) -> list[int]:
    """For each element of a padded axis, the element that it repeats."""
    if length == 0:
        raise ShapeMismatch(f'Pad: an empty axis has nothing to pad with in mode "{mode}"')
    places = range(-before, length + after)
    match mode:
        case "edge":
            return [min(max(p, 0), length - 1) for p in places]
        case "wrap":
            return [p % length for p in places]
        case "reflect":
            period = max(2 * (length - 1), 1)
            return [min(p % period, period - p % period) if length > 1 else 0 for p in places]
        case _:
            raise InvalidGraph(f'Pad: mode must be "constant", "edge", "reflect" or "wrap", not "{mode}"')


@kernel("CenterCropPad", 18)
def center_crop_pad(input_data: Tensor, shape: Ints, *, axes: tuple[int, ...] | None = None) -> Tensor:
    """Cropped or padded with zeros to sizes, about the middle; an odd one goes to the end."""
    places = axes_of(range(input_data.dim()) if axes is None else axes, input_data.dim(), "CenterCropPad")
    edges = [(0, 0)] * input_data.dim()
    for axis, wanted in zip(places, shape, strict=True):
        change = wanted - input_data.shape[axis]
        first = change // 2 if change > 0 else -(-change // 2)
        edges[axis] = (first, change - first)
    bounded([n + sum(edge) for n, edge in zip(input_data.shape, edges, strict=True)])
    return _padded_by_constant(input_data, edges, None)


# --- blocks -----------------------------------------------------------------------------------------------------------


@kernel("DepthToSpace", 1)
def depth_to_space(input: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """`[N, C, H, W]` to `[N, C / b^2, H b, W b]`; the depth holds blocks before channels (DCR) or after (CRD)."""
    n, c, h, w = _image(input, "DepthToSpace")
    b = blocksize
    if c % (b * b):
        raise ShapeMismatch(f"DepthToSpace: {c} channels are no multiple of blocksize squared, {b * b}")
    if _blocks_first(mode, "DepthToSpace"):
        parts = input.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = input.reshape(n, c // (b * b), b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // (b * b), h * b, w * b)


@kernel("SpaceToDepth", 1)
def space_to_depth(input: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """`[N, C, H, W]` to `[N, C b^2, H / b, W / b]`, the reverse of DepthToSpace."""
    n, c, h, w = _image(input, "SpaceToDepth")
    b = blocksize
    if h % b or w % b:
        raise ShapeMismatch(f"SpaceToDepth: an image of {h} by {w} is not made of blocks of {b}")
    order = (0, 3, 5, 1, 2, 4) if _blocks_first(mode, "SpaceToDepth") else (0, 1, 3, 5, 2, 4)
    return input.reshape(n, c, h // b, b, w // b, b).permute(*order).reshape(n, c * b * b, h // b, w // b)


def _image(x: Tensor, op: str) -> tuple[int, int, int, int]:
    if x.dim() != 4:
        raise ShapeMismatch(f"{op} takes a tensor [N, C, H, W], not one of rank {x.dim()}")
    n, c, h, w = x.shape
    return n, c, h, w


def _blocks_first(mode: str, op: str) -> bool:
    if mode not in ("DCR", "CRD"):
        raise InvalidGraph(f'{op}: mode must be "DCR" or "CRD", not "{mode}"')
    return mode == "DCR"
