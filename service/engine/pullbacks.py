"""Pullbacks of a point, by the general way or by a trace, and when a trace is made.

The general way, `vmap` over `torch.func.vjp`, is always there. A trace (`tracing`) is many times faster and takes a
tenth of a second to make: it is made while the worker has nothing else to do, for what has been asked for more than
once, and used from then on if it agrees with the general way.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from service.engine.points import Point
from service.engine.targets import target, target_like
from service.engine.tracing import Trace, trace
from service.link.messages import Function

Pullback: TypeAlias = Callable[[Tensor], Sequence[Tensor]]
"""Cotangents `[R, *target]` to gradients, one for each x, `[R, *x]`."""

LONGEST_TRACE = 64
"""Operators of a forward pass. Tracing takes 3 to 20 ms for each, in which the worker answers nobody."""
WORTH_A_TRACE = 2
"""Uses after which a trace is made."""
JOBS = 32

_LOG = logging.getLogger(__name__)


class Pullbacks:
    """Makes pullbacks, keeps them with their points, and traces what is used again."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[Point, Function, bool, int]] = deque(maxlen=JOBS)

    def at(self, point: Point, function: Function, separate: bool, size: int) -> Pullback:
        """The pullback of a function at a point for batches of up to `size` cotangents."""
        key = (function, size)
        found = point.program.derived.get(key, 0)
        if isinstance(found, Trace):
            kept = point.kept.get(key)
            if kept is None:
                kept = point.kept[key] = found.keep(point.inputs)
            return lambda cotangents: found.rows(cotangents, kept)
        if found is not None:
            point.program.derived[key] = found + 1
            if found + 1 == WORTH_A_TRACE and not point.program.value_dependent:
                self._jobs.append((point, function, separate, size))
        return self._general(point, function, separate)

    def _general(self, point: Point, function: Function, separate: bool) -> Pullback:
        pullback = point.kept.get(function)
        if pullback is None:
            pulled = target(point.program, point.inputs, function, separate)
            pullback = torch.func.vjp(pulled, *(point.inputs[x] for x in function.xs))[1]
            point.kept[function] = pullback
        return torch.func.vmap(pullback)

    def work(self) -> bool:
        """Make one trace that is due. Returns: whether there was one."""
        if not self._jobs:
            return False
        point, function, separate, size = self._jobs.popleft()
        made: Trace | None = None
        try:
            if _operators(point) <= LONGEST_TRACE:
                made = trace(point, function, separate, size)
                if not self._agrees(made, point, function, separate, size):
                    _LOG.warning("a trace of %s does not agree with its pullback; it is not used", function)
                    made = None
        except Exception as error:  # a graph that cannot be traced is evaluated the general way
            _LOG.info("no trace of %s: %s", function, str(error).splitlines()[:1])
        point.program.derived[function, size] = made
        point.kept.pop(function, None)
        return True

    def _agrees(self, made: Trace, point: Point, function: Function, separate: bool, size: int) -> bool:
        like = target_like(point.inputs, point.values, function)
        cotangents = torch.randn((size, *like.shape), dtype=torch.float64).to(like)
        wanted = self._general(point, function, separate)(cotangents)
        got = made.rows(cotangents, made.keep(point.inputs))
        return all(_close(a, b) for a, b in zip(got, wanted, strict=True))


def _close(got: Tensor, wanted: Tensor) -> bool:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    finite = wanted[torch.isfinite(wanted)].double()
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    tolerance = torch.finfo(wanted.dtype).eps ** 0.75
    return torch.allclose(got.double(), wanted.double(), rtol=tolerance, atol=tolerance * scale, equal_nan=True)


class _Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators += 1
        return func(*args, **(kwargs or {}))


def _operators(point: Point) -> int:
    with torch.no_grad(), _Count() as count:  # type: ignore[no-untyped-call]
        point.program.forward(point.inputs, tuple(point.values))
    return int(count.operators)
