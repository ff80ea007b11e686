"""A model interpreted in torch: steps, what of them is static, and a program for given shapes.

Three lifetimes: a `Model` is made once per graph and device, a `Program` once per dtypes, shapes and deciding values,
a point (`points`) once per forward pass.

A value is *static* if it depends only on constants, shapes and *deciding* inputs (integers and booleans that reach a
shape or a branch). Static values are computed once per program, outside whatever transform is at work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

from service import errors
from service.graphs import attributes, infer, model
from service.operators import registry
from service.tensors.dtypes import DTYPES, OF_ONNX

SHAPE_READERS = frozenset({"Shape", "Size"})
PROGRAMS_KEPT = 64
"""Programs of one model; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class Step:
    """One node, ready to run.

    Attributes:
        label: how error messages name it.
        node: the node, for the check of its types.
        kernel: what computes it.
        inputs: names, "" where one is left out.
        outputs: names, "" where one is not wanted.
        attributes: by ONNX name; subgraphs as `Block`s.
        captured: outer values that its subgraphs read.
    """

    label: str
    node: onnx.NodeProto
    kernel: registry.Kernel
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    captured: tuple[str, ...]

    @property
    def reads(self) -> Iterator[str]:
        """Every value that it needs."""
        yield from (name for name in self.inputs if name)
        yield from self.captured


@dataclass(frozen=True, slots=True)
class Block:
    """A list of steps with inputs and outputs: a graph's body, or a subgraph of an operator."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Tensor]
    steps: tuple[Step, ...]

    @property
    def captured(self) -> tuple[str, ...]:
        """Values of outer scopes that the block reads."""
        known = {*self.inputs, *self.constants}
        outer: dict[str, None] = {}
        for step in self.steps:
            outer.update((name, None) for name in step.reads if name not in known)
            known.update(step.outputs)
        outer.update((name, None) for name in self.outputs if name not in known)
        return tuple(outer)


@dataclass(slots=True)
class Scope:
    """Values while a block runs.

    Attributes:
        values: name -> tensor, those of the outer scopes included.
        static: names of the static values.
        origins: name -> the graph's inputs that it depends on; kept at the first run of a program only.
        deciding: inputs that were found to reach a shape or a branch.
        check: whether dtypes are held against ONNX's type constraints.
    """

    values: dict[str, Tensor]
    static: set[str]
    origins: dict[str, frozenset[str]] | None = None
    deciding: set[str] = field(default_factory=set)
    check: bool = False

    def inner(self) -> Scope:
        """The scope of a subgraph: what it sets is not seen outside."""
        return Scope(
            dict(self.values),
            set(self.static),
            None if self.origins is None else dict(self.origins),
            self.deciding,
            self.check,
        )


@contextlib.contextmanager
def untransformed() -> Iterator[None]:
    """Leave every torch.func transform and trace: static values are plain tensors."""
    with disable_proxy_modes_tracing(), temporarily_clear_interpreter_stack():
        yield


def run(block: Block, scope: Scope, opset: Mapping[str, int]) -> None:
    """Run a block's steps; their values land in the scope.

    Raises:
        Problem: a node cannot be applied to these values; the detail names it.
    """
    scope.values.update(block.constants)
    scope.static.update(block.constants)
    for step in block.steps:
        static = step.node.op_type in SHAPE_READERS or all(name in scope.static for name in step.reads)
        if scope.origins is not None:
            _note_origins(step, scope, static)
        if scope.check:
            _check(step, scope, opset)
        bound = {
            name: partial(_call, value, scope, opset) if isinstance(value, Block) else value
            for name, value in step.attributes.items()
        }
        values = [scope.values[name] if name else None for name in step.inputs]
        with untransformed() if static else contextlib.nullcontext():
            results = _apply(step, values, bound)
        for name, result in zip(step.outputs, results, strict=False):
            if name:
                scope.values[name] = result
                if static:
                    scope.static.add(name)


def _apply(step: Step, values: Sequence[Tensor | None], bound: Mapping[str, Any]) -> tuple[Tensor, ...]:
    try:
        results = step.kernel(values, bound, len(step.outputs))
    except errors.Problem as problem:
        if step.label in problem.detail:
            raise
        raise errors.problem_named(problem.name, f"{step.label}: {problem.detail}") from problem
    except (IndexError, ValueError, TypeError, ArithmeticError, NotImplementedError) as error:
        raise errors.InvalidGraph(f"{step.label}: {error}") from error
    except RuntimeError as error:
        if "allocate memory" in str(error) or isinstance(error, torch.OutOfMemoryError):
            raise
        shapes = ", ".join("none" if v is None else f"{str(v.dtype)[6:]}{list(v.shape)}" for v in values)
        reason = str(error).splitlines()[0]
        raise errors.ShapeMismatch(f"{step.label} cannot be applied to {shapes}: {reason}") from error
    wanted = max((i + 1 for i, name in enumerate(step.outputs) if name), default=0)
    if len(results) < wanted:
        raise errors.InvalidGraph(f"{step.label} has {len(results)} outputs, the graph names {wanted}")
    return results


def _call(block: Block, scope: Scope, opset: Mapping[str, int], *inputs: Tensor) -> tuple[Tensor, ...]:
    inner = scope.inner()
    if len(inputs) != len(block.inputs):
        raise errors.InvalidGraph(f"a subgraph with {len(block.inputs)} inputs is given {len(inputs)}")
    for name, value in zip(block.inputs, inputs, strict=True):
        inner.values[name] = value
        inner.static.discard(name)
        if inner.origins is not None:
            inner.origins[name] = frozenset().union(*(inner.origins.values()))
    run(block, inner, opset)
    return tuple(inner.values[name] for name in block.outputs)


def _note_origins(step: Step, scope: Scope, static: bool) -> None:
    assert scope.origins is not None  # noqa: S101
    origins = frozenset[str]().union(*(scope.origins.get(name, frozenset()) for name in step.reads))
    for position, name in enumerate(step.inputs):
        if name and step.kernel.input_at(position).kind != "tensor":
            scope.deciding |= scope.origins.get(name, frozenset())
    for name in step.outputs:
        scope.origins[name] = frozenset() if static and step.node.op_type in SHAPE_READERS else origins


def _check(step: Step, scope: Scope, opset: Mapping[str, int]) -> None:
    dtypes = [str(scope.values[name].dtype)[len("torch.") :] if name else None for name in step.inputs]
    infer.check_types(step.node, opset.get(step.node.domain, 1), dtypes)


class Model:
    """A graph on a device: its steps with their kernels, its constants as tensors.

    Args:
        serialized: the canonical model.
        device: where the constants go.
        precision: `native`, or `float64` to promote lower floating-point constants.
    """

    def __init__(self, serialized: bytes, device: torch.device, precision: str) -> None:
        proto = model.load(serialized)
        self.device = device
        self.promote = precision == "float64"
        self.opset = {o.domain: o.version for o in proto.opset_import}
        self.inputs = tuple(i.name for i in proto.graph.input)
        block = self._block(proto.graph, "")
        self.defaults = {name: block.constants[name] for name in self.inputs if name in block.constants}
        constants = {name: t for name, t in block.constants.items() if name not in self.defaults}
        self.block = Block(block.inputs, block.outputs, constants, block.steps)
        self.deciding: set[str] = set()
        self.programs: dict[tuple[Any, ...], Program] = {}
        self.bytes = len(serialized) + sum(t.nbytes for t in block.constants.values())

    def tensor(self, array: np.ndarray) -> Tensor:
        """An array on the model's device, in the model's precision."""
        if array.dtype == DTYPES["bfloat16"].numpy:
            made = torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
        else:
            made = torch.from_numpy(np.array(array, order="C"))
        made = made.to(self.device)
        return made.double() if self.promote and made.is_floating_point() else made

    def static_of(self, inputs: Mapping[str, Tensor]) -> set[str]:
        """The inputs whose values are a program's own: those that decide and have no gradient."""
        return {n for n in self.deciding if not inputs[n].is_floating_point()}

    def key(self, inputs: Mapping[str, Tensor]) -> tuple[Any, ...]:
        """What a program for these inputs depends on, as far as is known by now."""
        return tuple(
            (
                n,
                t.dtype,
                tuple(t.shape),
                t.cpu().reshape(-1).view(torch.uint8).numpy().tobytes() if n in self.deciding and t.numel() else None,
            )
            for n, t in inputs.items()
        )

    def _block(self, graph: onnx.GraphProto, where: str) -> Block:
        constants = {i.name: self._initializer(i) for i in graph.initializer}
        steps = tuple(self._step(node, f"{where}node {i}") for i, node in enumerate(graph.node))
        return Block(tuple(i.name for i in graph.input), tuple(o.name for o in graph.output), constants, steps)

    def _initializer(self, tensor: onnx.TensorProto) -> Tensor:
        return self.tensor(np.asarray(onnx.numpy_helper.to_array(tensor), OF_ONNX[tensor.data_type].numpy))

    def _step(self, node: onnx.NodeProto, where: str) -> Step:
        version = self.opset.get(node.domain, 1)
        kernel = registry.resolve(node.op_type, version, node.domain)
        label = f"{where} ({node.op_type})"
        if kernel is None:
            raise errors.UnsupportedOperator(f"{label} is not supported at opset {version}")
        values: dict[str, Any] = {}
        for attribute in node.attribute:
            value: Any = attributes.python_value(attribute)
            if isinstance(value, onnx.GraphProto):
                value = self._block(value, f"{label}, {attribute.name}: ")
            elif isinstance(value, np.ndarray):
                value = self.tensor(value)
            if attribute.name not in kernel.attributes:
                raise errors.UnsupportedOperator(f"{label}: the attribute {attribute.name} is not supported")
            values[attribute.name] = value
        if self.promote and node.op_type == "Cast" and values["to"] in (1, 10, 16):
            values["to"] = 11
        captured = dict.fromkeys(name for v in values.values() if isinstance(v, Block) for name in v.captured)
        return Step(label, node, kernel, tuple(node.input), tuple(node.output), values, tuple(captured))


class Program:
    """A model at given dtypes, shapes and deciding values: static values folded, the rest in order.

    Attributes:
        model: where it comes from.
        block: the steps that remain, for all outputs.
        largest: bytes of the largest value of a forward pass.
        total: bytes of all its values.
        value_dependent: whether floating-point values decide a shape or a branch: the program then holds for one
            point only, and no trace of it for another.
        derived: what is made from the program once, by whoever makes it.
    """

    def __init__(self, source: Model, inputs: Mapping[str, Tensor], scope: Scope) -> None:
        self.model = source
        self.value_dependent = any(inputs[n].is_floating_point() for n in source.deciding)
        needed = set(source.block.outputs)
        steps = []
        for step in reversed(source.block.steps):
            if any(n in needed and n not in scope.static for n in step.outputs):
                steps.append(step)
                needed.update(step.reads)
        constants = {n: scope.values[n] for n in needed if n in scope.static and n not in inputs}
        self.block = Block(source.block.inputs, source.block.outputs, constants, tuple(reversed(steps)))
        sizes = [v.nbytes for n, v in scope.values.items() if n not in scope.static]
        self.largest, self.total = max(sizes, default=0), sum(sizes)
        self.derived: dict[Any, Any] = {}

    def forward(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> tuple[Tensor, ...]:
        """Values of outputs at inputs of the program's dtypes and shapes. Differentiable, traceable."""
        scope = Scope(dict(inputs), self.model.static_of(inputs))
        run(self.block, scope, self.model.opset)
        return tuple(scope.values[n] for n in outputs)


def specialize(source: Model, inputs: Mapping[str, Tensor]) -> tuple[Program, dict[str, Tensor]]:
    """The program for these inputs, made if there is none yet, and the values of the outputs at them.

    Raises:
        Problem: the graph cannot be evaluated at these inputs.
    """
    program = source.programs.get(source.key(inputs))
    if program is not None:
        names = source.block.outputs
        return program, dict(zip(names, program.forward(inputs, names), strict=True))
    scope = _first_run(source, inputs)
    if not scope.deciding <= source.deciding:
        source.deciding |= scope.deciding
        scope = _first_run(source, inputs)
    program = source.programs[source.key(inputs)] = Program(source, inputs, scope)
    while len(source.programs) > PROGRAMS_KEPT:
        del source.programs[next(iter(source.programs))]
    return program, {n: scope.values[n] for n in source.block.outputs}


def _first_run(source: Model, inputs: Mapping[str, Tensor]) -> Scope:
    origins = {n: frozenset((n,)) for n in inputs}
    scope = Scope(dict(inputs), source.static_of(inputs), origins, check=not source.promote)
    run(source.block, scope, source.opset)
    return scope
