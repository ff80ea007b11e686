"""The function that is pulled back: `y` itself for a Jacobian, `dy/dx1` for a Hessian."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from service.engine.program import Program
from service.link.messages import Function

Target: TypeAlias = Callable[..., Tensor]
"""Of the xs, in the function's order; its value is `[M]`, or `[B, M]` with a batch."""


def target(program: Program, inputs: Mapping[str, Tensor], function: Function, separate: bool) -> Target:
    """The function of `xs` whose Jacobian's rows are wanted.

    Args:
        program: the program.
        inputs: values of all inputs; those of the xs are replaced by the target's arguments.
        function: what is differentiated with respect to what.
        separate: whether samples are known not to mix.

    Returns:
        For a Jacobian `y`, flattened (within each sample). For a Hessian the gradient of `y` with respect to `x1`,
        flattened likewise; with a batch, of each sample's `y` with respect to its own part of `x1`: where samples
        mix, the gradient of the sum would be another thing.
    """

    def value(*xs: Tensor) -> Tensor:
        (y,) = program.forward({**inputs, **dict(zip(function.xs, xs, strict=True))}, (function.y,))
        return y.reshape(-1) if function.batch_axis is None else y.reshape(y.shape[0], -1)

    if function.x1 is None:
        return value
    position = function.xs.index(function.x1)

    def gradient(*xs: Tensor) -> Tensor:
        y, pullback = torch.func.vjp(value, *xs)[:2]
        if function.batch_axis is not None and not separate:
            units = torch.eye(len(y), dtype=y.dtype, device=y.device).unsqueeze(-1)
            of_samples: Tensor = torch.func.vmap(pullback)(units)[position]
            return of_samples.reshape(len(y), len(y), -1).diagonal(dim1=0, dim2=1).T
        whole: Tensor = pullback(torch.ones_like(y))[position]
        return whole.reshape(-1) if function.batch_axis is None else whole.reshape(len(y), -1)

    return gradient


def target_like(inputs: Mapping[str, Tensor], values: Mapping[str, Tensor], function: Function) -> Tensor:
    """A tensor of the target's shape and dtype (its values are of no account)."""
    like = values[function.y] if function.x1 is None else inputs[function.x1]
    return like.reshape(-1) if function.batch_axis is None else like.reshape(like.shape[0], -1)
