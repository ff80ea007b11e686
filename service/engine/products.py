"""Products with a Jacobian that nobody makes: VJPs, JVPs and Hessian products of the whole function at a point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

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
    ys = _floating(point, cotangents)
    if not ys:
        return _zeros(point.inputs, xs, cotangents, batched)
    pullback = torch.func.vjp(point.forward(ys, xs), *(point.inputs[x] for x in xs))[1]
    vectors = tuple(cotangents[y].to(point.values[y]) for y in ys)
    products = torch.func.vmap(pullback)(vectors) if batched else pullback(vectors)
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
    floating = _floating(point, ys)
    zeros = _zeros(point.values, ys, tangents, batched)
    if not floating:
        return zeros

    def push(*directions: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.func.jvp(point.forward(floating, xs), primals, directions)[1])

    products = torch.func.vmap(push)(*vectors) if batched else push(*vectors)
    return {**zeros, **dict(zip(floating, products, strict=True))}


def hvp(
    point: Point, cotangents: Mapping[str, Tensor], tangents: Mapping[str, Tensor], xs: Sequence[str], batched: bool
) -> dict[str, Tensor]:
    """The derivative of a VJP along tangents: `sum over y, x2 of v_y^T d2y/(dx dx2) t_x2` for each x.

    Forward over reverse (Pearlmutter, Fast exact multiplication by the Hessian, 1994).

    Args:
        point: where.
        cotangents: as for `vjp`.
        tangents: as for `jvp`, of inputs among `xs`.
        xs: the inputs.
        batched: whether K products are wanted.

    Returns:
        By x, of x's shape and dtype, led by `K` where `batched`.
    """
    if not _floating(point, cotangents):
        return _zeros(point.inputs, xs, cotangents, batched)
    primals = tuple(point.inputs[x] for x in xs)
    along = list(tangents)

    def product(weights: tuple[Tensor, ...], directions: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        given = dict(zip(along, directions, strict=True))
        full = tuple(given[x] if x in given else torch.zeros_like(point.inputs[x]) for x in xs)
        pulled = gradient(point, dict(zip(cotangents, weights, strict=True)), xs, xs)
        return tuple(torch.func.jvp(pulled, primals, full)[1])

    weights = tuple(v.to(point.values[y]) for y, v in cotangents.items())
    directions = tuple(v.to(point.inputs[x]) for x, v in tangents.items())
    run = torch.func.vmap(product) if batched else product
    return dict(zip(xs, run(weights, directions), strict=True))


def gradient(
    point: Point, cotangents: Mapping[str, Tensor], by: Sequence[str], xs: Sequence[str]
) -> Callable[..., tuple[Tensor, ...]]:
    """The function of the xs whose value is the VJP of these cotangents, one for each input of `by`."""
    ys = _floating(point, cotangents)
    weights = tuple(cotangents[y] for y in ys)

    def pulled(*values: Tensor) -> tuple[Tensor, ...]:
        inputs = {**point.inputs, **dict(zip(xs, values, strict=True))}

        def forward(*of: Tensor) -> tuple[Tensor, ...]:
            return point.program.forward({**inputs, **dict(zip(by, of, strict=True))}, ys)

        return tuple(torch.func.vjp(forward, *(inputs[x] for x in by))[1](weights))

    return pulled


def adjoint_residual(function: Callable[..., tuple[Tensor, ...]], primals: tuple[Tensor, ...]) -> float:
    """How far a pushforward and a pullback of a function are from being adjoint, at random vectors.

    Returns:
        `|<w, J v> - <J^T w, v>|` over the sum of the magnitudes of either side's terms, whichever is larger; 0 where
        all terms are zero.
    """
    v = tuple(_normal(x) for x in primals)
    outputs, pushed = torch.func.jvp(function, primals, v)[:2]
    w = tuple(_normal(y) for y in outputs)
    pulled = torch.func.vjp(function, *primals)[1](w)
    left = [(a.double() * b.double()).reshape(-1) for a, b in zip(w, pushed, strict=True)]
    right = [(a.double() * b.double()).reshape(-1) for a, b in zip(pulled, v, strict=True)]
    scale = max(sum(float(t.abs().sum()) for t in side) for side in (left, right))
    difference = abs(sum(float(t.sum()) for t in left) - sum(float(t.sum()) for t in right))
    return difference / scale if scale else 0.0


def _floating(point: Point, ys: Iterable[str]) -> list[str]:
    """Those that have derivatives."""
    return [y for y in ys if point.values[y].is_floating_point()]


def _zeros(
    values: Mapping[str, Tensor], names: Sequence[str], vectors: Mapping[str, Tensor], batched: bool
) -> dict[str, Tensor]:
    """Products that are zero, as many as there are vectors."""
    lead = (len(next(iter(vectors.values()))),) if batched else ()
    return {n: values[n].new_zeros((*lead, *values[n].shape)) for n in names}


def _normal(like: Tensor) -> Tensor:
    return torch.randn(like.shape, dtype=torch.float64, device=like.device).to(like.dtype)
