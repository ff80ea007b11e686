"""Products with a Jacobian that nobody makes: VJPs and JVPs of the whole function at a point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from service.engine.points import Point


def vjp(point: Point, cotangents: Mapping[str, Tensor], xs: Sequence[str], batched: bool) -> dict[str, Tensor]:
    """`sum over y of v_y^T dy/dx` for each x.

    Args:
        point: where.
        cotangents: by y, each of y's shape, with one more leading axis `K` where `batched`; cast to y's dtype.
        xs: the inputs.
        batched: whether K products are wanted.

    Returns:
        By x, of x's shape and dtype, led by `K` where `batched`.
    """
    ys = [y for y in cotangents if point.values[y].is_floating_point()]
    pullback = torch.func.vjp(point.forward(ys, xs), *(point.inputs[x] for x in xs))[1]
    vectors = tuple(cotangents[y].to(point.values[y]) for y in ys)
    products = torch.func.vmap(pullback)(vectors) if batched and ys else pullback(vectors)
    return dict(zip(xs, products, strict=True))


def jvp(point: Point, tangents: Mapping[str, Tensor], ys: Sequence[str], batched: bool) -> dict[str, Tensor]:
    """`sum over x of dy/dx v_x` for each y.

    Args:
        point: where.
        tangents: by x, each of x's shape, with one more leading axis `K` where `batched`; cast to x's dtype.
        ys: the outputs.
        batched: whether K products are wanted.

    Returns:
        By y, of y's shape and dtype (zeros where y is no floating-point value), led by `K` where `batched`.
    """
    xs = list(tangents)
    vectors = tuple(tangents[x].to(point.inputs[x]) for x in xs)
    primals = tuple(point.inputs[x] for x in xs)
    floating = [y for y in ys if point.values[y].is_floating_point()]

    def push(*directions: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.func.jvp(point.forward(floating, xs), primals, directions)[1])

    found = dict(zip(floating, torch.func.vmap(push)(*vectors) if batched else push(*vectors), strict=True))
    lead = (len(vectors[0]),) if batched else ()
    return {y: found[y] if y in found else point.values[y].new_zeros((*lead, *point.values[y].shape)) for y in ys}
