"""Graphs evaluated in process, beside what NumPy and finite differences say of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import service.operators  # noqa: F401
from service.engine.points import Point
from service.engine.program import Model
from service.engine.pullbacks import Pullbacks
from service.engine.sweeps import evaluate
from service.graphs.compile import compile_graph
from service.link.messages import Function, Limits


class Engine:
    """A graph on the CPU, its points, and their rows."""

    def __init__(self, source: Mapping[str, Any], precision: str = "native") -> None:
        compiled = compile_graph(source, Limits())
        self.info = compiled.info
        self.model = Model(compiled.model, torch.device("cpu"), precision)
        self.pullbacks = Pullbacks()

    def point(self, **inputs: Any) -> Point:
        return Point(self.model, {n: np.asarray(v) for n, v in inputs.items()})

    def rows(
        self,
        point: Point,
        y: str,
        x: str,
        rows: Sequence[int] | None = None,
        *,
        xs: Sequence[str] = (),
        x1: str | None = None,
        batch_axis: int | None = None,
    ) -> np.ndarray:
        """Rows of the block of y and x; all of them if none are named."""
        operands = tuple(dict.fromkeys((*xs, x, *((x1,) if x1 else ()))))
        function = Function(y, operands, x1, batch_axis)
        of = point.values[y] if x1 is None else point.inputs[x1]
        total = of.numel() if batch_axis is None else of[0].numel()
        parts = list(evaluate(self.pullbacks, point, function, list(range(total) if rows is None else rows)))
        assert [r for part, _ in parts for r in part] == list(range(total) if rows is None else rows)
        position = operands.index(x)
        return np.concatenate([arrays[position] for _, arrays in parts], axis=0 if batch_axis is None else 1)


@pytest.fixture
def expression() -> Callable[..., Engine]:
    return lambda **outputs: Engine({"format": "expression", "outputs": outputs})


@pytest.fixture
def nodes() -> Callable[..., Engine]:
    def make(*steps: Any, outputs: Sequence[str] = ("y",), precision: str = "native", **more: Any) -> Engine:
        listed = [
            {"op": op, "inputs": list(ins), "outputs": list(outs), "attributes": rest[0] if rest else {}}
            for op, ins, outs, *rest in steps
        ]
        return Engine({"format": "nodes", "nodes": listed, "outputs": list(outputs), **more}, precision)

    return make


def differences(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """The Jacobian `[M, N]` of a function by central differences, extrapolated once (error O(h^4))."""

    def central(h: float) -> np.ndarray:
        columns = []
        for n in range(x.size):
            e = np.zeros(x.size)
            e[n] = h
            e = e.reshape(x.shape)
            columns.append((function(x + e) - function(x - e)).reshape(-1) / (2 * h))
        return np.stack(columns, axis=-1)

    return (4 * central(step / 2) - central(step)) / 3
