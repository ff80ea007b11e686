"""Random graphs of ten nodes: values as ONNX's reference has them, rows as differences of the reference do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from service.graphs.compile import compile_graph
from service.link.messages import Limits
from tests.engine.conftest import Engine, differences

NODES = 10
MOST_ELEMENTS = 48
LARGEST = 100.0
"""Larger values are left aside: differences of them say little."""
INPUTS = {"x": (2, 3), "w": (3,)}
UNARY = ("Asinh", "Atan", "Cos", "Neg", "Sigmoid", "Sin", "Softplus", "Softsign", "Tanh")
BINARY = ("Add", "Mul", "Sub")
REDUCTIONS = ("ReduceLogSumExp", "ReduceMean", "ReduceSum", "ReduceSumSquare")


@dataclass
class Sketch:
    """A graph in the making: its nodes and constants, and the shape of every value, the newest last."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=lambda: dict(INPUTS))
    nodes: list[dict[str, Any]] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)

    def add(self, op: str, inputs: list[str], *shapes: tuple[int, ...], **attributes: Any) -> None:
        outputs = [f"v{len(self.nodes)}_{i}" for i in range(len(shapes))]
        self.nodes.append({"op": op, "inputs": inputs, "outputs": outputs, "attributes": attributes})
        self.shapes |= dict(zip(outputs, shapes, strict=True))

    def constant(self, *values: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = {"dtype": "int64", "shape": [len(values)], "data": list(values)}
        return name

    def value(self, least_rank: int = 0) -> str:
        names = [n for n, s in self.shapes.items() if len(s) >= least_rank]
        return self.draw(st.sampled_from(names[::-1]))

    def axis(self, name: str) -> int:
        rank = len(self.shapes[name])
        return self.draw(st.integers(-rank, rank - 1))


def unary(g: Sketch) -> None:
    x = g.value()
    g.add(g.draw(st.sampled_from(UNARY)), [x], g.shapes[x])


def binary(g: Sketch) -> None:
    a, b = g.value(), g.value()
    try:
        shape = np.broadcast_shapes(g.shapes[a], g.shapes[b])
    except ValueError:
        b, shape = a, g.shapes[a]
    g.add(g.draw(st.sampled_from(BINARY)), [a, b], shape)


def reduction(g: Sketch) -> None:
    x = g.value(1)
    axis, keep = g.axis(x), g.draw(st.integers(0, 1))
    shape = np.empty(g.shapes[x]).sum(axis, keepdims=bool(keep)).shape
    g.add(g.draw(st.sampled_from(REDUCTIONS)), [x, g.constant(axis)], shape, keepdims=keep)


def softmax(g: Sketch) -> None:
    x = g.value(1)
    g.add(g.draw(st.sampled_from(("Softmax", "LogSoftmax"))), [x], g.shapes[x], axis=g.axis(x))


def product(g: Sketch) -> None:
    a = g.value(1)
    inner = g.shapes[a][-1]
    fitting = [n for n, s in g.shapes.items() if s and (s[-2] if len(s) > 1 else s[0]) == inner and len(s) <= 2]
    if fitting:
        b = g.draw(st.sampled_from(fitting))
        g.add("MatMul", [a, b], (np.zeros(g.shapes[a]) @ np.zeros(g.shapes[b])).shape)
    else:
        g.add("Einsum", [a, a], g.shapes[a][:-1], equation="...i,...i->...")


def transpose(g: Sketch) -> None:
    x = g.value(1)
    order = g.draw(st.permutations(range(len(g.shapes[x]))))
    g.add("Transpose", [x], tuple(g.shapes[x][i] for i in order), perm=list(order))


def reshape(g: Sketch) -> None:
    x = g.value()
    size = int(np.prod(g.shapes[x]))
    first = g.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    g.add("Reshape", [x, g.constant(first, -1)], (first, size // first))


def unsqueeze(g: Sketch) -> None:
    x = g.value()
    axis = g.draw(st.integers(0, len(g.shapes[x])))
    g.add("Unsqueeze", [x, g.constant(axis)], (*g.shapes[x][:axis], 1, *g.shapes[x][axis:]))


def concat(g: Sketch) -> None:
    x = g.value(1)
    axis = g.axis(x)
    shape = list(g.shapes[x])
    shape[axis] *= 2
    g.add("Concat", [x, x], tuple(shape), axis=axis)


def slicing(g: Sketch) -> None:
    x = g.value(1)
    axis, step = g.axis(x), g.draw(st.sampled_from((-2, -1, 1, 2)))
    size = g.shapes[x][axis]
    start, stop = (-1, -(2**40)) if step < 0 else (g.draw(st.integers(0, size - 1)), 2**40)
    shape = list(g.shapes[x])
    shape[axis] = len(range(size)[start : None if step < 0 else stop : step])
    g.add("Slice", [x, *(g.constant(v) for v in (start, stop, axis, step))], tuple(shape))


def gather(g: Sketch) -> None:
    x = g.value(1)
    axis = g.axis(x) % len(g.shapes[x])
    size = g.shapes[x][axis]
    indices = g.draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=3))
    shape = (*g.shapes[x][:axis], len(indices), *g.shapes[x][axis + 1 :])
    g.add("Gather", [x, g.constant(*indices)], shape, axis=axis)


def split(g: Sketch) -> None:
    x = g.value(1)
    axis = g.axis(x)
    size = g.shapes[x][axis]
    if size < 2:
        return unary(g)
    at = g.draw(st.integers(1, size - 1))
    shapes = [list(g.shapes[x]) for _ in range(2)]
    shapes[0][axis], shapes[1][axis] = at, size - at
    return g.add("Split", [x, g.constant(at, size - at)], *map(tuple, shapes), axis=axis)


def cumulate(g: Sketch) -> None:
    x = g.value(1)
    flags = {name: g.draw(st.integers(0, 1)) for name in ("exclusive", "reverse")}
    axis = g.constant(g.axis(x))
    g.constants[axis]["shape"] = []
    g.add("CumSum", [x, axis], g.shapes[x], **flags)


STEPS = (
    *(unary, unary, binary, binary, reduction, softmax, product),
    *(transpose, reshape, unsqueeze, concat, slicing, gather, split, cumulate),
)


@st.composite
def graphs(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Sketch:
    sketch = Sketch(draw)
    for _ in range(NODES):
        draw(st.sampled_from(STEPS))(sketch)
        assume(max(np.prod(s) for s in sketch.shapes.values()) <= MOST_ELEMENTS)
    return sketch


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_random_graphs(sketch: Sketch, seed: int) -> None:
    y = sketch.nodes[-1]["outputs"][-1]
    source = {"format": "nodes", "nodes": sketch.nodes, "initializers": sketch.constants, "outputs": [y]}
    reference = ReferenceEvaluator(onnx.load_from_string(compile_graph(source, Limits()).model))
    generator = np.random.default_rng(seed)
    engine = Engine(source)
    inputs = {i.name: generator.standard_normal(INPUTS[i.name]) for i in engine.info.inputs}

    def forward(**values: np.ndarray) -> np.ndarray:
        return np.asarray(reference.run(None, values)[0])

    expected = forward(**inputs)
    assume(np.abs(expected).max() < LARGEST)
    point = engine.point(**inputs)
    assert point.values[y].shape == sketch.shapes[y]
    np.testing.assert_allclose(point.values[y], expected, rtol=1e-9, atol=1e-9)
    row = int(generator.integers(expected.size))
    for x, value in inputs.items():
        (found,) = engine.rows(point, y, x, [row])
        wanted = differences(lambda at, x=x: forward(**inputs | {x: at}).reshape(-1)[row : row + 1], value)[0]
        scale = max(1.0, np.abs(expected).max(), np.abs(wanted).max())
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * scale)
