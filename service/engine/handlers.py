"""What a worker does: one function a message. Each yields its answers, and lets others pass at every yield."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from service import errors
from service.engine import products, sweeps
from service.engine.points import Point, Residents, to_numpy
from service.engine.program import Model
from service.engine.pullbacks import Pullbacks
from service.graphs.compile import compile_graph
from service.link import messages
from service.link.messages import Limits, Message, Question, ValueInfo

Answer: TypeAlias = tuple[Message, Sequence[np.ndarray]]
Answers: TypeAlias = Iterator[Answer]


class Worker:
    """A worker's state: all of it can be sent again.

    Args:
        device: where it computes.
        limits: what graphs may be at most.
        resident_bytes: how much of models and points it holds.
    """

    def __init__(self, device: torch.device, limits: Limits, resident_bytes: int) -> None:
        self.device = device
        self.limits = limits
        self.pullbacks = Pullbacks()
        self._models = Residents[tuple[str, str], Model](resident_bytes // 2, lambda m: m.bytes)
        self._points = Residents[messages.Point, Point](resident_bytes // 2, lambda p: p.bytes)

    def handle(self, message: Message, arrays: Sequence[np.ndarray]) -> Answers:
        """The answers to a request.

        Raises:
            Problem: it cannot be done; the rest of the answers will not come.
        """
        handler: Callable[[Worker, Any, Sequence[np.ndarray]], Answers] = _HANDLERS[type(message)]
        return handler(self, message, arrays)

    def free(self) -> None:
        """Let go of everything that is held: memory is short."""
        self._models.clear()
        self._points.clear()

    def point(self, question: Question, arrays: Sequence[np.ndarray]) -> Point | None:
        """The point that is asked about, made where its content is given; None where it is not held."""
        found = self._points.get(question.point)
        if found is not None or question.content is None:
            return found
        key = (question.point.graph_id, question.point.precision)
        model = self._models.get(key)
        if model is None:
            content = question.content.model
            model = self._models.put(key, Model(content, self.device, question.point.precision))
        given = dict(zip(question.content.inputs, arrays, strict=True))
        return self._points.put(question.point, Point(model, given))


def compiles(worker: Worker, message: messages.Compile, arrays: Sequence[np.ndarray]) -> Answers:
    """One validated model of a graph."""
    yield compile_graph(message.source, worker.limits, message.names), ()


def opens(worker: Worker, message: messages.Open, arrays: Sequence[np.ndarray]) -> Answers:
    """Dtypes and shapes of a point's outputs."""
    point = worker.point(message.question, arrays)
    if point is None:
        yield messages.Missing(), ()
        return
    infos = (ValueInfo(n, str(v.dtype)[len("torch.") :], tuple(v.shape)) for n, v in point.values.items())
    yield messages.Opened(tuple(infos)), ()


def rows(worker: Worker, message: messages.Rows, arrays: Sequence[np.ndarray]) -> Answers:
    """Rows, batch by batch."""
    point = worker.point(message.question, arrays)
    if point is None:
        yield messages.Missing(), ()
        return
    left, began = len(message.rows), time.perf_counter()
    for part, found in sweeps.evaluate(worker.pullbacks, point, message.function, message.rows):
        left -= len(part)
        yield messages.RowsPart(part, not left, time.perf_counter() - began), found
        began = time.perf_counter()


def values(worker: Worker, message: messages.Values, arrays: Sequence[np.ndarray]) -> Answers:
    """Values of outputs."""
    point = worker.point(message.question, arrays)
    if point is None:
        yield messages.Missing(), ()
        return
    yield messages.Done(message.outputs), [to_numpy(point.values[n]) for n in message.outputs]


def product(worker: Worker, message: messages.Product, arrays: Sequence[np.ndarray]) -> Answers:
    """A VJP or a JVP."""
    count = len(message.vectors)
    point = worker.point(message.question, arrays[count:])
    if point is None:
        yield messages.Missing(), ()
        return
    model = point.program.model
    vectors = {n: model.tensor(a) for n, a in zip(message.vectors, arrays[:count], strict=True)}
    if message.kind == "vjp":
        found = products.vjp(point, vectors, message.xs, message.batched)
    else:
        found = products.jvp(point, vectors, message.ys, message.batched)
    yield messages.Done(tuple(found)), [to_numpy(v) for v in found.values()]


_HANDLERS: dict[type, Any] = {
    messages.Compile: compiles,
    messages.Open: opens,
    messages.Rows: rows,
    messages.Values: values,
    messages.Product: product,
}


def refusal(problem: errors.Problem) -> messages.Refused:
    """A problem as it crosses the wall."""
    return messages.Refused(problem.name, problem.detail, tuple((f.pointer, f.detail) for f in problem.faults))
