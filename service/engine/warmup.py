"""The first batched pullback and the first trace of a process take seconds; they are made before it is ready."""

from __future__ import annotations

import numpy as np

from service.engine.handlers import Worker
from service.engine.pullbacks import WORTH_A_TRACE
from service.graphs.compile import compile_graph
from service.link.messages import Content, Function, Point, Question, Rows

_SOURCE = {
    "format": "nodes",
    "nodes": [
        {"op": "MatMul", "inputs": ["W", "x"], "outputs": ["h"]},
        {"op": "Tanh", "inputs": ["h"], "outputs": ["y"]},
    ],
    "outputs": ["y"],
}


def warm(worker: Worker) -> None:
    """Evaluate rows of a small graph the general way and by a trace."""
    compiled = compile_graph(_SOURCE, worker.limits)
    point = Point(compiled.info.graph_id, "warm-up")
    content = Content(compiled.model, ("W", "x"))
    message = Rows(Question(point, content), Function("y", ("W", "x")), (0, 1))
    arrays = [np.eye(2), np.ones(2)]
    for _ in range(WORTH_A_TRACE):
        list(worker.handle(message, arrays))
    worker.pullbacks.work()
    list(worker.handle(message, arrays))
    worker.free()
