"""What a worker does: one function a message. Each yields its answers, and lets others pass at every yield."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

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
Handler: TypeAlias = Callable[..., Answers]
"""`(worker, point, message, vectors, forward)`: the arrays beside the message without the point's values, and the
seconds of its forward pass."""


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
        if isinstance(message, messages.Compile):
            yield compile_graph(message.source, self.limits, message.names), ()
            return
        began = time.perf_counter()
        handler: Handler = _HANDLERS[type(message)]
        question: Question = message.question  # type: ignore[union-attr]  # what is handled is about a point
        count = len(question.content.inputs) if question.content else 0
        vectors, inputs = arrays[: len(arrays) - count], arrays[len(arrays) - count :]
        point = self.point(question, inputs)
        if point is None:
            yield messages.Missing(), ()
            return
        yield from handler(self, point, message, vectors, time.perf_counter() - began)

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


def opens(
    worker: Worker, point: Point, message: messages.Open, vectors: Sequence[np.ndarray], forward: float
) -> Answers:
    """Dtypes and shapes of a point's outputs."""
    infos = (ValueInfo(n, str(v.dtype)[len("torch.") :], tuple(v.shape)) for n, v in point.values.items())
    yield messages.Opened(tuple(infos), not point.program.value_dependent), ()


def rows(
    worker: Worker, point: Point, message: messages.Rows, vectors: Sequence[np.ndarray], forward: float
) -> Answers:
    """Rows, batch by batch."""
    left, began = len(message.rows), time.perf_counter()
    for part, found in sweeps.evaluate(worker.pullbacks, point, message.function, message.rows):
        left -= len(part)
        yield messages.RowsPart(part, not left, time.perf_counter() - began, forward), found
        began, forward = time.perf_counter(), 0.0


def values(
    worker: Worker, point: Point, message: messages.Values, vectors: Sequence[np.ndarray], forward: float
) -> Answers:
    """Values of outputs."""
    found = [to_numpy(point.values[n]) for n in message.outputs]
    yield messages.Done(message.outputs, 0.0, forward), found


def product(
    worker: Worker, point: Point, message: messages.Product, vectors: Sequence[np.ndarray], forward: float
) -> Answers:
    """A VJP, a JVP or a Hessian's product."""
    began = time.perf_counter()
    tensors = [point.program.model.tensor(v) for v in vectors]
    by_y = dict(zip(message.cotangents, tensors, strict=False))
    by_x = dict(zip(message.tangents, tensors[len(by_y) :], strict=True))
    if by_y and by_x:
        found = products.hvp(point, by_y, by_x, message.xs, message.batched)
    elif by_y:
        found = products.vjp(point, by_y, message.xs, message.batched)
    else:
        found = products.jvp(point, by_x, message.ys, message.batched)
    arrays = [to_numpy(v) for v in found.values()]
    yield messages.Done(tuple(found), time.perf_counter() - began, forward), arrays


def check(
    worker: Worker, point: Point, message: messages.Check, vectors: Sequence[np.ndarray], forward: float
) -> Answers:
    """The residual of the adjoint identity."""
    ys = [y for y in message.ys if point.values[y].is_floating_point()]
    function = point.forward(ys, message.xs)
    if message.x1s:
        given = {n: point.program.model.tensor(v) for n, v in zip(message.cotangents, vectors, strict=True)}
        weights = given or {y: torch.ones_like(point.values[y]) for y in ys}
        function = products.gradient(point, weights, message.x1s, message.xs)
    residual = products.adjoint_residual(function, tuple(point.inputs[x] for x in message.xs)) if ys else 0.0
    yield messages.Checked(residual), ()


_HANDLERS: dict[type, Handler] = {
    messages.Open: opens,
    messages.Rows: rows,
    messages.Values: values,
    messages.Product: product,
    messages.Check: check,
}


def refusal(problem: errors.Problem) -> messages.Refused:
    """A problem as it crosses the wall."""
    return messages.Refused(problem.name, problem.detail, tuple((f.pointer, f.detail) for f in problem.faults))
