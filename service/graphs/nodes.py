"""Node lists in readable JSON, made into a model without types, its nodes in the order given."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto

from service import catalogue, errors
from service.graphs import attributes, constants, infer
from service.graphs.model import OLDEST_OPSET, OPSET, bodies, label, plain_domain, unread
from service.graphs.validation import Place
from service.link.messages import Limits, SessionNames
from service.tensors import wire
from service.tensors.dtypes import dtype_of

GRAPH_MEMBERS = ("format", "opset", "nodes", "initializers", "outputs")
BODY_MEMBERS = ("nodes", "inputs", "initializers", "outputs")
NODE_MEMBERS = ("op", "inputs", "outputs", "attributes", "domain", "name")
DOMAINS = {catalogue.MICROSOFT: 1, catalogue.ML: 4, catalogue.EXPRESSION: 1}
"""The versions of the other domains' operators, which a node list does not say."""

_LARGEST_FLOAT = float(np.finfo(np.float32).max)


def read(source: Mapping[str, Any], limits: Limits, names: SessionNames) -> onnx.ModelProto:
    """The model of a `nodes` graph; what no node makes is an input, sorted by name.

    Args:
        source: `{"format": "nodes", "opset", "nodes", "initializers", "outputs"}`.
        limits: for nesting and tensors.
        names: a session's; its `ys` are put out besides.

    Raises:
        InvalidGraph: malformed JSON, or attributes that are not of the operator's types.
        InvalidRequest: a tensor is malformed, or one of the `ys` is no value of the graph.
        ShapeMismatch: a tensor's shape is not that of its data.
        TooLarge: a tensor, or the number of nodes, is larger than allowed.
    """
    _check_members(source, GRAPH_MEMBERS, "a nodes graph", "")
    version = source.get("opset", OPSET)
    newest = onnx.defs.onnx_opset_version()
    if type(version) is not int or not OLDEST_OPSET <= version <= newest:
        raise errors.InvalidGraph(f"opset is an integer from {OLDEST_OPSET} to {newest}", "/opset")
    reader = _Reader(version, limits)
    graph = reader.graph(source, Place())
    made = {t.name for t in graph.initializer} | {o for n in graph.node for o in n.output}
    inputs = sorted({*_free(graph), *unread(names)} - made)
    values = made.union(inputs)
    for name in names.ys:
        if name not in values:
            raise errors.InvalidRequest(f'the graph has no value "{name}"')
    outputs = _names(source.get("outputs", []), "outputs", "/outputs")
    outputs += [name for name in dict.fromkeys(names.ys) if name not in outputs]
    if not outputs:
        raise errors.InvalidGraph('the graph puts nothing out; name values: "outputs": ["y"]', "/outputs")
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    graph.input.extend(onnx.ValueInfoProto(name=name) for name in inputs)
    opsets = {"": version, **DOMAINS}
    return onnx.ModelProto(graph=graph, opset_import=[onnx.helper.make_opsetid(d, v) for d, v in opsets.items()])


def _free(graph: onnx.GraphProto) -> Iterator[str]:
    """What a graph and its subgraphs read and do not have."""
    local = {i.name for i in graph.input} | {t.name for t in graph.initializer}
    local |= {o for n in graph.node for o in n.output}
    for node in graph.node:
        yield from (i for i in node.input if i and i not in local)
        for _, body in bodies(node):
            yield from (name for name in _free(body) if name not in local)
    yield from (o.name for o in graph.output if o.name not in local)


@dataclass(frozen=True, slots=True)
class _Reader:
    """What reading a graph and its subgraphs has in common: the opset and the limits."""

    version: int
    limits: Limits

    def graph(self, source: Mapping[str, Any], place: Place) -> onnx.GraphProto:
        """The nodes and initializers of a graph; its inputs and outputs are the caller's."""
        if place.depth > self.limits.graph_depth:
            raise errors.InvalidGraph(f"subgraphs are nested more than {self.limits.graph_depth} deep", place.pointer)
        given = source.get("nodes")
        if not isinstance(given, list):
            raise errors.InvalidGraph('a graph has "nodes", a list', place.below("nodes"))
        if len(given) > self.limits.graph_nodes:
            raise errors.TooLarge(
                f"the graph has {len(given)} nodes; the limit is {self.limits.graph_nodes}", place.below("nodes")
            )
        nodes = [self.node(each, position, place) for position, each in enumerate(given)]
        held = source.get("initializers", {})
        if not isinstance(held, dict):
            raise errors.InvalidGraph("initializers are an object: name -> tensor", place.below("initializers"))
        readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in nodes:
            for at, name in enumerate(node.input):
                readers.setdefault(name, []).append((node, at))
        initializers = []
        for name, value in held.items():
            pointer = place.below("initializers", name)
            given_tensor = wire.decode(
                value, pointer, elements=self.limits.tensor_elements, rank=self.limits.tensor_rank
            )
            dtype = dtype_of(given_tensor.array).name if given_tensor.typed else self.met_by(readers.get(name, ()))
            initializers.append(constants.tensor(wire.settle(given_tensor, dtype, pointer), name))
        return onnx.GraphProto(name="graph", node=nodes, initializer=initializers)

    def body(self, source: Mapping[str, Any], place: Place) -> onnx.GraphProto:
        """A subgraph, which says its inputs and outputs itself."""
        _check_members(source, BODY_MEMBERS, "a subgraph", place.pointer)
        graph = self.graph(source, place)
        for member, values in (("inputs", graph.input), ("outputs", graph.output)):
            names = _names(source.get(member, []), member, place.below(member))
            values.extend(onnx.ValueInfoProto(name=name) for name in names)
        return graph

    def met_by(self, readers: Sequence[tuple[onnx.NodeProto, int]]) -> str:
        """The dtype of a tensor that names none: float64, unless an operator that reads it takes only integers."""
        for node, position in readers:
            formal = infer.formal_at(node, self.opset(node.domain), position)
            if formal is not None and "float64" not in formal.allowed:
                return "int64" if "int64" in formal.allowed else "bool"
        return "float64"

    def opset(self, domain: str) -> int:
        """The version of a domain's operators."""
        return DOMAINS.get(domain, 1) if domain else self.version

    def node(self, source: object, position: int, place: Place) -> onnx.NodeProto:
        """One node."""
        pointer = place.below("nodes", position)
        if not isinstance(source, dict):
            raise errors.InvalidGraph(
                'a node is an object: {"op": "Add", "inputs": ["a", "b"], "outputs": ["c"]}', pointer
            )
        _check_members(source, NODE_MEMBERS, "a node", pointer)
        node = onnx.NodeProto(
            op_type=_string(source.get("op"), "op", f"{pointer}/op"),
            name=_string(source.get("name", ""), "name", f"{pointer}/name"),
            domain=plain_domain(_string(source.get("domain", ""), "domain", f"{pointer}/domain")),
            input=_names(source.get("inputs", []), "inputs", f"{pointer}/inputs", blank=True),
            output=_names(source.get("outputs"), "outputs", f"{pointer}/outputs", blank=True),
        )
        given = source.get("attributes", {})
        if not isinstance(given, dict):
            raise errors.InvalidGraph("attributes are an object: name -> value", f"{pointer}/attributes")
        described = attributes.schema(node.op_type, self.opset(node.domain), node.domain)
        for name, value in given.items():
            inner = place.body(position, node, name)
            declared = described.attributes.get(name) if described else None
            wanted = attributes.declared_kind(declared) if declared else _kind_of(value)
            node.attribute.append(self.attribute(name, value, wanted, f"{label(node, position)}: {name}", inner))
        return node

    def attribute(self, name: str, value: object, kind: int, what: str, place: Place) -> onnx.AttributeProto:
        """One attribute, of the type that the operator's schema gives it. Messages call it `what`."""
        attribute = onnx.AttributeProto(name=name, type=AttributeProto.AttributeType.ValueType(kind))
        pointer = place.pointer
        match kind:
            case AttributeProto.INT:
                attribute.i = _integer(value, what, pointer)
            case AttributeProto.FLOAT:
                attribute.f = _number(value, what, pointer)
            case AttributeProto.STRING:
                attribute.s = _string(value, what, pointer).encode()
            case AttributeProto.INTS:
                attribute.ints.extend(_integer(v, what, f"{pointer}/{i}") for i, v in _items(value, what, pointer))
            case AttributeProto.FLOATS:
                attribute.floats.extend(_number(v, what, f"{pointer}/{i}") for i, v in _items(value, what, pointer))
            case AttributeProto.STRINGS:
                texts = (_string(v, what, f"{pointer}/{i}") for i, v in _items(value, what, pointer))
                attribute.strings.extend(text.encode() for text in texts)
            case AttributeProto.TENSOR:
                attribute.t.CopyFrom(self.tensor(value, pointer))
            case AttributeProto.GRAPH if isinstance(value, dict):
                attribute.g.CopyFrom(self.body(value, place))
            case AttributeProto.GRAPH:
                raise errors.InvalidGraph(f'{name} is a graph: {{"nodes": ..., "outputs": ...}}', pointer)
            case _:
                raise errors.UnsupportedOperator(
                    f"{what} is {attributes.kind(attribute)}, which no supported operator takes", pointer
                )
        return attribute

    def tensor(self, value: object, pointer: str) -> onnx.TensorProto:
        """A tensor among the attributes; of bare numbers float64."""
        given = wire.decode(value, pointer, elements=self.limits.tensor_elements, rank=self.limits.tensor_rank)
        dtype = dtype_of(given.array).name if given.typed else "float64"
        return constants.tensor(wire.settle(given, dtype, pointer))


# --- JSON ------------------------------------------------------------------------------------------------------------


def _kind_of(value: object) -> int:
    """The type of an attribute that no schema declares."""
    match value:
        case bool() | int():
            return AttributeProto.INT
        case float():
            return AttributeProto.FLOAT
        case str():
            return AttributeProto.STRING
        case dict():
            return AttributeProto.GRAPH if "nodes" in value else AttributeProto.TENSOR
        case [str(), *_]:
            return AttributeProto.STRINGS
        case list() if all(type(v) is int for v in value):
            return AttributeProto.INTS
        case _:
            return AttributeProto.FLOATS


def _check_members(source: Mapping[str, Any], members: Sequence[str], what: str, pointer: str) -> None:
    for member in source:
        if member not in members:
            raise errors.InvalidGraph(f'{what} has no member "{member}"; it has {", ".join(members)}', pointer)


def _names(value: object, what: str, pointer: str, blank: bool = False) -> list[str]:
    if not isinstance(value, list):
        raise errors.InvalidGraph(f"{what} are a list of names", pointer)
    for position, name in enumerate(value):
        if not isinstance(name, str) or not (name or blank):
            raise errors.InvalidGraph(f"{what} are names, strings", f"{pointer}/{position}")
    return list(value)


def _string(value: object, what: str, pointer: str) -> str:
    if not isinstance(value, str):
        raise errors.InvalidGraph(f"{what} is a string", pointer)
    return value


def _items(value: object, what: str, pointer: str) -> Iterator[tuple[int, object]]:
    if not isinstance(value, list):
        raise errors.InvalidGraph(f"{what} is a list", pointer)
    return enumerate(value)


def _integer(value: object, what: str, pointer: str) -> int:
    match value:
        case int() | float() if -(2**63) <= value < 2**63 and value == int(value):
            return int(value)
    raise errors.InvalidGraph(f"{what} is an integer of 64 bits", pointer)


def _number(value: object, what: str, pointer: str) -> float:
    match value:
        case str() if value in wire.NOT_FINITE:
            return wire.NOT_FINITE[value]
        case int() | float() if abs(value) <= _LARGEST_FLOAT:
            return float(value)
    raise errors.InvalidGraph(f"{what} is a number that fits float32", pointer)
