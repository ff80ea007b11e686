"""What the functions of an expression are made of: values, literals and the nodes that join them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, TypeAlias

import numpy as np
import onnx
from onnx import helper

from service import catalogue, errors
from service.graphs import constants
from service.graphs.model import OPSET, nearest
from service.link.messages import Limits
from service.tensors.dtypes import DTYPES

Number: TypeAlias = int | float | bool
Kind: TypeAlias = Literal["float", "bool", "any"]


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression stands for.

    Attributes:
        name: in the model; "" for a literal, which gets one when a node reads it.
        kind: what is known of its dtype before the inputs have theirs.
        literal: a number that takes the dtype of what it meets.
    """

    name: str
    kind: Kind = "any"
    literal: Number | None = None


def literal(number: Number) -> Value:
    """A number as it stands in an expression."""
    return Value("", "bool" if isinstance(number, bool) else "any", number)


@dataclass(slots=True)
class Builder:
    """A model in the making.

    Attributes:
        limits: for nodes and constants.
        taken: names that are not to be used for intermediate values.
        output: the output whose expression is being read.
        column: where in it, from 1.
    """

    limits: Limits
    taken: frozenset[str]
    output: str = ""
    column: int = 1
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    _literals: dict[tuple[type, str], str] = field(default_factory=dict)
    _fresh: Iterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self._fresh = (name for name in map("%{}".format, count()) if name not in self.taken)

    def fault(self, what: str, advice: str = "") -> errors.InvalidGraph:
        """The problem that something is wrong here."""
        at = f'at column {self.column} of output "{self.output}"'
        return errors.InvalidGraph(f"{what} {at}" + (f"; {advice}" if advice else ""), pointer(self.output))

    def unknown(self, what: str, name: str, names: Sequence[str]) -> errors.InvalidGraph:
        """The problem that there is no such thing, with the nearest that there is."""
        near = nearest(name, names)
        return self.fault(f'unknown {what} "{name}"', f'did you mean "{near}"?' if near else "")

    def literal(self, number: Number) -> Value:
        """A number that an array can hold.

        Raises:
            InvalidGraph: it is too large.
        """
        if isinstance(number, int) and not -(2**63) <= number < 2**63:
            raise self.fault("the integer takes more than 64 bits", "write it with a point, as a float")
        if isinstance(number, float) and math.isinf(number):
            raise self.fault("the number is too large for float64")
        return literal(number)

    def node(self, op: str, *inputs: Value | None, kind: Kind = "any", domain: str = "", **attributes: object) -> Value:
        """A node with one output. None is an input that is left out."""
        return self.split(op, 1, *inputs, kind=kind, domain=domain, **attributes)[0]

    def split(
        self, op: str, outputs: int, *inputs: Value | None, kind: Kind = "any", domain: str = "", **attributes: object
    ) -> tuple[Value, ...]:
        """A node with several outputs."""
        if len(self.nodes) >= self.limits.graph_nodes:
            raise errors.TooLarge(
                f"the expression takes more than {self.limits.graph_nodes} nodes; that is the limit",
                pointer(self.output),
            )
        made = [next(self._fresh) for _ in range(outputs)]
        names = [self._name(value) if value is not None else "" for value in inputs]
        self.nodes.append(helper.make_node(op, names, made, None, None, domain, None, **attributes))
        return tuple(Value(name, kind) for name in made)

    def constant(self, content: np.ndarray) -> Value:
        """An array that is part of the expression."""
        name = next(self._fresh)
        self.initializers.append(constants.tensor(content, name))
        return Value(name, "float" if content.dtype.kind == "f" else "any")

    def integers(self, *numbers: int) -> Value:
        """A 1-D constant for axes, shapes and bounds."""
        return self.constant(np.array(numbers, DTYPES["int64"].numpy))

    def promote(self, *values: Value, floating: bool = False) -> tuple[Value, ...]:
        """The values in their common dtype, as NumPy has it; with `floating`, integers become float64."""
        alike = all(v == values[0] for v in values) and values[0].literal is None
        if alike and (not floating or values[0].kind == "float"):
            return values
        kind: Kind = "float" if floating or any(v.kind == "float" for v in values) else "any"
        weak = [i for i, v in enumerate(values) if v.literal is not None and not isinstance(v.literal, bool)]
        attributes = ({"weak": weak} if weak else {}) | ({"floating": 1} if floating else {})
        distinct = values[:1] if alike else values
        promoted = self.split("Promote", len(distinct), *distinct, kind=kind, domain=catalogue.EXPRESSION, **attributes)
        return promoted * len(values) if alike else promoted

    def finish(self, inputs: Sequence[str], outputs: dict[str, Value]) -> onnx.ModelProto:
        """The model, its outputs under their names."""
        made = {name for node in self.nodes for name in node.output}
        renamed: dict[str, str] = {}
        for output, value in outputs.items():
            if value.name in made and value.name not in renamed:
                renamed[value.name] = output
            else:
                self.nodes.append(helper.make_node("Identity", [self._name(value)], [output]))
        for node in self.nodes:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [onnx.ValueInfoProto(name=name) for name in inputs],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(catalogue.EXPRESSION, 1)]
        return onnx.ModelProto(graph=graph, opset_import=opsets)

    def _name(self, value: Value) -> str:
        if value.literal is None:
            return value.name
        key = (type(value.literal), repr(value.literal))
        if key not in self._literals:
            dtype = {bool: "bool", int: "int64", float: "float64"}[key[0]]
            self._literals[key] = self.constant(np.array(value.literal, DTYPES[dtype].numpy)).name
        return self._literals[key]


def pointer(output: str) -> str:
    """Where an output's expression stands in the request."""
    return errors.pointer("/outputs", output)
