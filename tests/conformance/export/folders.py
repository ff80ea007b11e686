"""Write a model's folder: the model, its inputs, and what its own framework says of its values and derivatives."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

Array = NDArray[np.float64]

MODELS = Path(__file__).parent.parent / "models"
WHOLE = 4000
"""The most elements of a block that is stored whole."""


@dataclass(frozen=True)
class Tolerance:
    """How far an answer may be off: relative to each value, and to the largest of its array."""

    value: float
    derivative: float


SINGLE = Tolerance(1e-4, 2e-4)
DOUBLE = Tolerance(1e-10, 1e-8)


@dataclass(frozen=True)
class Example:
    """A model at a point, with reference values in float64.

    Attributes:
        name: the folder's name.
        title: what the model is, a phrase.
        framework: what computed the references, with its version.
        exporter: what wrote the model.
        model: the model as the exporter wrote it; what it says of its source is left out of the file.
        inputs: every input of the graph, in the graph's dtype.
        xs: the inputs to differentiate with respect to.
        outputs: the value of every output.
        jacobians: for (y, x), the Jacobian of all of y with respect to all of x, [size of y, size of x].
        hessians: for (y, x1, x2), the Hessian of each element of y, [size of y, size of x1, size of x2].
        batch_axis: 0 where the first axis counts samples.
        tolerance: how far an answer may be off.
    """

    name: str
    title: str
    framework: str
    exporter: str
    model: onnx.ModelProto
    inputs: Mapping[str, NDArray[np.generic]]
    xs: tuple[str, ...]
    outputs: Mapping[str, Array]
    jacobians: Mapping[tuple[str, str], Array]
    hessians: Mapping[tuple[str, str, str], Array] = field(default_factory=dict)
    batch_axis: int | None = None
    tolerance: Tolerance = SINGLE

    def block(self, y: str, x: str) -> Array:
        """The block as the service shapes it: flattened, or one matrix for each sample."""
        whole, of_y, of_x = self.jacobians[y, x], self.outputs[y].shape, self.inputs[x].shape
        if self.batch_axis is None:
            return whole.reshape(_flat(of_y) + _flat(of_x))
        samples = whole.reshape(of_y[0], prod(of_y[1:]), of_x[0], prod(of_x[1:]))
        each = np.stack([samples[b, :, b] for b in range(of_y[0])])
        return each.reshape(of_y[0], *_flat(of_y[1:]), *_flat(of_x[1:]))

    def hessian_block(self, y: str, x1: str, x2: str) -> Array:
        """The Hessian as the service shapes it: that of y, or of each sample's y with respect to that sample."""
        whole, of_x1, of_x2 = self.hessians[y, x1, x2], self.inputs[x1].shape, self.inputs[x2].shape
        if self.batch_axis is None:
            return whole[0].reshape(_flat(of_x1) + _flat(of_x2))
        samples = whole.reshape(-1, of_x1[0], prod(of_x1[1:]), of_x2[0], prod(of_x2[1:]))
        each = np.stack([samples[b, b, :, b] for b in range(len(samples))])
        return each.reshape(len(samples), *_flat(of_x1[1:]), *_flat(of_x2[1:]))


def write(example: Example) -> None:
    """Write `models/<name>`; the slices asked for are chosen by each block's shape."""
    folder = MODELS / example.name
    folder.mkdir(exist_ok=True)
    model = _without_origin(example.model)
    dtypes = {y.name: onnx.helper.tensor_dtype_to_np_dtype(y.type.tensor_type.elem_type) for y in model.graph.output}
    expected = {f"out.{y}": value.astype(dtypes[y]) for y, value in example.outputs.items()}
    tolerance = example.tolerance
    meta = {
        "name": example.name,
        "title": example.title,
        "framework": example.framework,
        "exporter": example.exporter,
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "operators": dict(sorted(Counter(node.op_type for node in _nodes(model)).items())),
        "functions": len(model.functions),
        "inputs": {x: {"dtype": str(v.dtype), "shape": list(v.shape)} for x, v in example.inputs.items()},
        "batch_axis": example.batch_axis,
        "ys": list(example.outputs),
        "xs": list(example.xs),
        "outputs": [
            {"y": y, "key": f"out.{y}", **_bounds(tolerance.value, value)} for y, value in example.outputs.items()
        ],
        "jacobians": [
            slice_
            for y, x in example.jacobians
            for slice_ in _slices({"y": y, "x": x}, example.block(y, x), tolerance, expected, "jac")
        ],
        "hessians": [
            slice_
            for y, x1, x2 in example.hessians
            for slice_ in _slices(
                {"y": y, "x1": x1, "x2": x2}, example.hessian_block(y, x1, x2), tolerance, expected, "hes"
            )
        ],
        "vjp": _products(example, "vjp", expected),
        "jvp": _products(example, "jvp", expected),
        "may_refuse": False,
    }
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    np.savez_compressed(folder / "inputs.npz", **example.inputs)
    np.savez_compressed(folder / "expected.npz", **expected)


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (prod(shape),) if shape else ()


def _bounds(relative: float, value: Array) -> dict[str, float]:
    return {"rtol": relative, "atol": relative / 10 * float(np.abs(value).max(initial=0))}


def _slices(
    names: dict[str, str], block: Array, tolerance: Tolerance, expected: dict[str, Array], prefix: str
) -> Iterator[dict[str, object]]:
    for index in _indexes(block.shape):
        key = f"{prefix}.{len(expected)}"
        expected[key] = np.array(block[eval(f"np.s_[{index}]", {"np": np})])
        yield {**names, "index": index, "key": key, "shape": block.shape, **_bounds(tolerance.derivative, block)}


def _indexes(shape: tuple[int, ...]) -> list[str]:
    """Indexes of every kind, one that covers the whole block last if it is small."""
    whole = ["..."] if prod(shape) <= WHOLE else []
    match shape:
        case ():
            return ["()"]
        case (n,):
            return [f"{n // 2}", "-1::-2", *whole]
        case (m, _):
            return [f"{m // 2}", f"[0,{m - 1}],:", "-1:-4:-1,1::2", *whole]
        case (b, m, _):
            return [f"{b // 2},{m // 2}", f":,[0,{m - 1}],:", "-1,-1:-4:-1,1::2", *whole]
    raise ValueError(f"a block has at most 3 axes, not {len(shape)}")


def _products(example: Example, kind: str, expected: dict[str, Array]) -> dict[str, object]:
    """Random vectors and their products with all Jacobians, summed."""
    y_shapes = {y: value.shape for y, value in example.outputs.items()}
    x_shapes = {x: example.inputs[x].shape for x in example.xs}
    given, wanted = (y_shapes, x_shapes) if kind == "vjp" else (x_shapes, y_shapes)
    random = np.random.default_rng(len(example.name))
    vectors = {name: random.standard_normal(shape) for name, shape in given.items()}
    products = {name: np.zeros(shape) for name, shape in wanted.items()}
    for (y, x), jacobian in example.jacobians.items():
        if kind == "vjp":
            products[x] += (vectors[y].ravel() @ jacobian).reshape(x_shapes[x])
        else:
            products[y] += (jacobian @ vectors[x].ravel()).reshape(y_shapes[y])
    keys = {name: f"{kind}.in.{name}" for name in given}, {name: f"{kind}.out.{name}" for name in wanted}
    expected.update({keys[0][name]: value for name, value in vectors.items()})
    expected.update({keys[1][name]: value for name, value in products.items()})
    largest = np.concatenate([value.ravel() for value in products.values()])
    return {
        "cotangents" if kind == "vjp" else "tangents": keys[0],
        "products": keys[1],
        **_bounds(5 * example.tolerance.derivative, largest),
    }


def _without_origin(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without doc strings and metadata, which hold stack traces and paths of the machine that exported it."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer)
    for part in (model, model.graph, *model.functions, *_nodes(model), *values):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    return model


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs and local functions too."""
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())):
                pending.extend(graph.node)
