"""Whether a model is one: names, operators, numbers of inputs and outputs, attributes, sizes.

Everything further in trusts what passed here.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx
from onnx import AttributeProto
from onnx.defs import OpSchema

from service import catalogue, errors
from service.graphs import attributes
from service.graphs.model import bodies, label, nearest, operator, opsets
from service.link.messages import Limits

MOST_FAULTS = 20
"""Unsupported operators that one answer lists."""

_OPTIONAL = OpSchema.FormalParameterOption.Optional
_VARIADIC = OpSchema.FormalParameterOption.Variadic


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a request a graph stands.

    Attributes:
        pointer: JSON pointer of the graph.
        readable: whether the request spells the nodes out, so that a pointer can go on into them.
        trail: what a message adds to a node's name inside a subgraph.
        depth: how deep the subgraph is nested.
    """

    pointer: str = ""
    readable: bool = True
    trail: str = ""
    depth: int = 0

    def below(self, *steps: str | int) -> str:
        """The pointer to something in the graph; the graph's own where the request does not spell it out."""
        return errors.pointer(self.pointer, *steps) if self.readable else self.pointer

    def body(self, position: int, node: onnx.NodeProto, attribute: str) -> "Place":
        """The place of a node's subgraph."""
        pointer = self.below("nodes", position, "attributes", attribute)
        return replace(
            self,
            pointer=pointer,
            trail=f" in {attribute} of {label(node, position, self.trail)}",
            depth=self.depth + 1,
        )


def check(model: onnx.ModelProto, place: Place, limits: Limits, in_order: bool) -> None:
    """Check a model without local functions, top to bottom.

    Args:
        model: from a client; its tensors' sizes are checked already.
        place: where it stands in the request.
        limits: for nodes and nesting.
        in_order: whether every node must stand after those that it reads.

    Raises:
        InvalidGraph: what ONNX forbids.
        UnsupportedOperator: operators that the catalogue has not; all of them, with their places.
        TooLarge: more nodes than allowed.
    """
    versions = opsets(model)
    visited = list(_walk(model.graph, place, limits))
    if len(visited) > limits.graph_nodes:
        raise errors.TooLarge(f"the graph has {len(visited)} nodes; the limit is {limits.graph_nodes}")
    _check_supported(visited, versions)
    for node, position, where in visited:
        _check_node(node, position, where, versions)
    _check_scope(model.graph, place, (), in_order)


def _walk(graph: onnx.GraphProto, place: Place, limits: Limits) -> Iterator[tuple[onnx.NodeProto, int, Place]]:
    if place.depth > limits.graph_depth:
        raise errors.InvalidGraph(f"subgraphs are nested more than {limits.graph_depth} deep", place.pointer)
    for position, node in enumerate(graph.node):
        yield node, position, place
        for attribute, body in bodies(node):
            yield from _walk(body, place.body(position, node, attribute), limits)


# --- operators -------------------------------------------------------------------------------------------------------


def _check_supported(visited: list[tuple[onnx.NodeProto, int, Place]], versions: dict[str, int]) -> None:
    faults: dict[str, errors.Fault] = {}
    for node, position, place in visited:
        refusal = None if node.op_type == "Constant" and not node.domain else _refusal(node, versions)
        if refusal and operator(node) not in faults:
            detail = f"{label(node, position, place.trail)}: {refusal}"
            faults[operator(node)] = errors.Fault(place.below("nodes", position), detail)
    if faults:
        first, *others = faults.values()
        also = f"; likewise {', '.join(list(faults)[1:MOST_FAULTS])}" if others else ""
        raise errors.UnsupportedOperator(first.detail + also, faults=[first, *others][:MOST_FAULTS])


def _refusal(node: onnx.NodeProto, versions: dict[str, int]) -> str | None:
    """Why an operator is not supported, None if it is."""
    known = catalogue.OPERATORS.get((node.domain, node.op_type))
    if known is None:
        instead = catalogue.instead_of(node.domain, node.op_type)
        near = None if instead else nearest(node.op_type, [name for _, name in catalogue.OPERATORS])
        advice = f"did you mean {near}?" if near else instead
        return f"the operator {operator(node)} is not supported" + (f"; {advice}" if advice else "")
    version = versions.get(node.domain)
    if version is not None and version < known.versions[0]:
        return f"{operator(node)} is supported from opset {known.versions[0]} on; the graph says {version}"
    if node.op_type in catalogue.SEEDED and all(a.name != "seed" for a in node.attribute):
        return f"{operator(node)} without a seed is random; give it a seed, or make its sample an input of the graph"
    return None


def _check_node(node: onnx.NodeProto, position: int, place: Place, versions: dict[str, int]) -> None:
    name = label(node, position, place.trail)
    pointer = place.below("nodes", position)
    version = versions.get(node.domain)
    if version is None:
        raise errors.InvalidGraph(f'{name}: the model imports no opset of "{node.domain or "ai.onnx"}"', pointer)
    described = attributes.schema(node.op_type, version, node.domain)
    if described is None and not node.domain:
        raise errors.InvalidGraph(f"{name}: ONNX has no {node.op_type} at opset {version}", pointer)
    _check_attributes(node, name, place, position, described)
    if described is not None:
        _check_numbers(node, name, pointer, described)
    if node.domain == catalogue.EXPRESSION and not 1 <= len(node.output) <= len(node.input):
        raise errors.InvalidGraph(f"{name} has an output for each of its inputs", pointer)
    if node.op_type == "Constant" and not node.domain:
        _check_constant(node, name, pointer)


def _check_numbers(node: onnx.NodeProto, name: str, pointer: str, described: OpSchema) -> None:
    given, made = len(node.input), len(node.output)
    if not described.min_input <= given <= described.max_input:
        wanted = _range(described.min_input, described.max_input)
        raise errors.InvalidGraph(f"{name} has {given} inputs; it takes {wanted}", pointer)
    if not described.min_output <= made <= described.max_output:
        wanted = _range(described.min_output, described.max_output)
        raise errors.InvalidGraph(f"{name} has {made} outputs; it makes {wanted}", pointer)
    for parameter, value in zip(described.inputs, node.input, strict=False):
        if not value and parameter.option != _OPTIONAL:
            raise errors.InvalidGraph(f"{name}: the input {parameter.name} may not be left out", pointer)
    if described.inputs and described.inputs[-1].option == _VARIADIC and "" in node.input[len(described.inputs) :]:
        raise errors.InvalidGraph(f"{name}: no input of {described.inputs[-1].name} may be left out", pointer)
    if not any(node.output):
        raise errors.InvalidGraph(f"{name} names no output", pointer)


def _range(least: int, most: int) -> str:
    if least == most:
        return str(least)
    return f"at least {least}" if most > 2**16 else f"{least} to {most}"


def _check_attributes(node: onnx.NodeProto, name: str, place: Place, position: int, described: OpSchema | None) -> None:
    pointer = place.below("nodes", position)
    for attribute, times in Counter(a.name for a in node.attribute).items():
        if times > 1:
            raise errors.InvalidGraph(f"{name} has the attribute {attribute} {times} times", pointer)
    for attribute in node.attribute:
        where = place.below("nodes", position, "attributes", attribute.name)
        if attribute.ref_attr_name:
            raise errors.InvalidGraph(f"{name}: {attribute.name} refers to an attribute of no function", where)
        if attribute.type not in attributes.FIELDS and attribute.name != "sparse_value":
            raise errors.UnsupportedOperator(
                f"{name}: {attribute.name} is {attributes.kind(attribute)}, which no supported operator takes", where
            )
        if described is None:
            continue
        declared = described.attributes.get(attribute.name)
        if declared is None:
            raise errors.InvalidGraph(
                f"{name} has no attribute {attribute.name}; it has {', '.join(described.attributes) or 'none'}", where
            )
        wanted = AttributeProto.AttributeType.Name(attributes.declared_kind(declared))
        if attributes.kind(attribute) != wanted:
            raise errors.InvalidGraph(
                f"{name}: {attribute.name} is {attributes.kind(attribute)}; {wanted} is wanted", where
            )
    if described is not None:
        given = {a.name for a in node.attribute}
        for attribute_name, declared in described.attributes.items():
            if declared.required and attribute_name not in given:
                raise errors.InvalidGraph(f"{name} needs the attribute {attribute_name}", pointer)


def _check_constant(node: onnx.NodeProto, name: str, pointer: str) -> None:
    if len(node.attribute) != 1:
        raise errors.InvalidGraph(f"{name} has {len(node.attribute)} values; one is wanted", pointer)
    if node.attribute[0].name in {"value_string", "value_strings"}:
        raise errors.UnsupportedOperator(f"{name} is a string; strings are not supported", pointer)


# --- names -----------------------------------------------------------------------------------------------------------


def _check_scope(graph: onnx.GraphProto, place: Place, outer: tuple[set[str], ...], in_order: bool) -> None:
    """That every name is made once and, where it is read, known."""
    inputs = [i.name for i in graph.input]
    held = [t.name for t in graph.initializer] + [s.values.name for s in graph.sparse_initializer]
    for names, what in ((inputs, "input"), (held, "initializer"), ([o.name for o in graph.output], "output")):
        for name, times in Counter(names).items():
            if not name:
                raise errors.InvalidGraph(f"an {what}{place.trail} has no name", place.below(f"{what}s"))
            if times > 1 and not (place.depth and what == "output"):
                raise errors.InvalidGraph(
                    f'the {what} "{name}"{place.trail} stands {times} times', place.below(f"{what}s")
                )
    if place.depth and set(inputs) & set(held):
        raise errors.InvalidGraph(f"an initializer{place.trail} is also an input, which only the main graph allows")
    made = _made(graph, place, {*inputs, *held})
    own = {*inputs, *held} if in_order else {*inputs, *held, *made}
    known = (own, *outer)
    for position, node in enumerate(graph.node):
        for name in node.input:
            if name and not any(name in names for names in known):
                when = "comes later; nodes of an ONNX file are sorted" if name in made else "is not in the graph"
                raise errors.InvalidGraph(
                    f'{label(node, position, place.trail)} reads "{name}", which {when}',
                    place.below("nodes", position, "inputs"),
                )
        for attribute, body in bodies(node):
            _check_scope(body, place.body(position, node, attribute), known, in_order)
        own.update(node.output)
    for output in graph.output:
        if not any(output.name in names for names in known):
            raise errors.InvalidGraph(
                f'no node makes the output "{output.name}"{place.trail}{_near(output.name, made)}',
                place.below("outputs"),
            )


def _made(graph: onnx.GraphProto, place: Place, known: set[str]) -> dict[str, int]:
    """Which node makes each value."""
    made: dict[str, int] = {}
    for position, node in enumerate(graph.node):
        for name in node.output:
            if name in made or name in known:
                other = f"{label(graph.node[made[name]], made[name])} makes" if name in made else "the graph has"
                raise errors.InvalidGraph(
                    f'{label(node, position, place.trail)} makes "{name}", which {other} already',
                    place.below("nodes", position, "outputs"),
                )
            if name:
                made[name] = position
    return made


def _near(name: str, names: dict[str, int]) -> str:
    near = nearest(name, names)
    return f'; did you mean "{near}"?' if near else ""
