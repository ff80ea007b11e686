"""The canonical form of a model: what is equal in content becomes equal in bytes.

Order and numbers of values come from one depth-first walk from the outputs, so that neither the order of nodes nor any
name but those of inputs and outputs matters.
"""

from collections import ChainMap
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from itertools import count

import numpy as np
import onnx
from onnx.helper import find_min_ir_version_for

from service import errors
from service.graphs import attributes, constants
from service.graphs.model import bodies, label


@dataclass(frozen=True, slots=True)
class _Ordered:
    """A graph with its live nodes in canonical order.

    Attributes:
        graph: as it came.
        nodes: live, in order, without `Constant` nodes.
        bodies: the subgraphs of each node by attribute name.
        constants: name -> content: initializers, sparse ones, `Constant` nodes; live or not.
        captured: outer values that the graph and its subgraphs read, in the order of the walk.
    """

    graph: onnx.GraphProto
    nodes: tuple[onnx.NodeProto, ...]
    bodies: tuple[Mapping[str, "_Ordered"], ...]
    constants: Mapping[str, onnx.TensorProto | onnx.SparseTensorProto | onnx.NodeProto]
    captured: tuple[str, ...]


def canonical(model: onnx.ModelProto) -> onnx.ModelProto:
    """The canonical form of a validated model, but for the names of nodes, which messages still need.

    Declared types of inputs and outputs are kept.

    Raises:
        InvalidGraph: nodes feed themselves in a cycle.
    """
    versions = {o.domain: o.version for o in model.opset_import}
    ordered = _order(model.graph)
    kept = {v.name for v in (*model.graph.input, *model.graph.output)}
    fresh = (name for name in (f"v{i}" for i in count()) if name not in kept)
    graph = _write(ordered, {}, fresh, versions, kept)
    graph.name = "graph"
    used = {""} | {n.domain for n in _all(ordered)}
    opsets = [onnx.helper.make_opsetid(d, v) for d, v in sorted(versions.items()) if d in used]
    plain = [o for o in opsets if not o.domain]
    return onnx.ModelProto(
        ir_version=find_min_ir_version_for(plain, ignore_unknown=True), opset_import=opsets, graph=graph
    )


def _all(ordered: _Ordered) -> Iterator[onnx.NodeProto]:
    yield from ordered.nodes
    for below in ordered.bodies:
        for body in below.values():
            yield from _all(body)


# --- order -----------------------------------------------------------------------------------------------------------


def _order(graph: onnx.GraphProto) -> _Ordered:
    held: dict[str, onnx.TensorProto | onnx.SparseTensorProto | onnx.NodeProto] = {}
    held |= {t.name: t for t in graph.initializer}
    held |= {s.values.name: s for s in graph.sparse_initializer}
    held |= {n.output[0]: n for n in graph.node if _is_constant(n)}
    makers = {o: i for i, n in enumerate(graph.node) if not _is_constant(n) for o in n.output if o}
    local = {i.name for i in graph.input} | held.keys()
    below: dict[int, dict[str, _Ordered]] = {}
    order: list[int] = []
    captured: dict[str, None] = {}

    def reads(position: int) -> Iterator[str]:
        node = graph.node[position]
        below[position] = {name: _order(g) for name, g in sorted(bodies(node), key=lambda b: b[0])}
        yield from (i for i in node.input if i)
        for body in below[position].values():
            yield from body.captured

    open_: dict[int, None] = {}
    done: set[int] = set()
    walk: list[tuple[int, Iterator[str]]] = [(-1, iter([o.name for o in graph.output]))]
    while walk:
        position, names = walk[-1]
        name = next(names, None)
        if name is None:
            walk.pop()
            if position >= 0:
                del open_[position]
                done.add(position)
                order.append(position)
        elif name in makers:
            maker = makers[name]
            if maker in open_:
                raise _cycle(graph, list(open_), maker)
            if maker not in done:
                open_[maker] = None
                walk.append((maker, reads(maker)))
        elif name not in local:
            captured[name] = None
    return _Ordered(graph, tuple(graph.node[i] for i in order), tuple(below[i] for i in order), held, tuple(captured))


def _is_constant(node: onnx.NodeProto) -> bool:
    return node.op_type == "Constant" and not node.domain


def _cycle(graph: onnx.GraphProto, walk: list[int], again: int) -> errors.InvalidGraph:
    around = walk[walk.index(again) :][:10]
    names = " <- ".join(label(graph.node[i], i) for i in (*around, again))
    return errors.InvalidGraph(f"the nodes form a cycle: {names}")


# --- writing ---------------------------------------------------------------------------------------------------------


def _write(
    ordered: _Ordered,
    outer: MutableMapping[str, str],
    fresh: Iterator[str],
    versions: Mapping[str, int],
    kept: Collection[str],
) -> onnx.GraphProto:
    """The graph with new names.

    Args:
        ordered: the graph.
        outer: the new names of what it captures.
        fresh: names to give.
        versions: of the operators.
        kept: values that keep their names.
    """
    local = {i.name for i in ordered.graph.input} | ordered.constants.keys()
    local |= {o for node in ordered.nodes for o in node.output if o}
    own = {name: name for name in kept}
    names = ChainMap(own, outer)
    written: dict[str, None] = {}

    def name_of(old: str) -> str:
        if old in ordered.constants:
            written[old] = None
        if old in local and old not in own:
            own[old] = next(fresh)
        return names[old]

    inputs = [_info(i, name_of(i.name)) for i in ordered.graph.input]
    nodes = []
    for node, below in zip(ordered.nodes, ordered.bodies, strict=True):
        inward = [name_of(i) if i else i for i in node.input]
        for body in below.values():
            for name in body.captured:
                name_of(name)
        graphs = {at: _write(body, names, fresh, versions, ()) for at, body in below.items()}
        nodes.append(_node(node, inward, [name_of(o) if o else o for o in node.output], graphs, versions))
    outputs = [_info(o, name_of(o.name)) for o in ordered.graph.output]
    initializers = [constants.tensor(_content(ordered.constants[old]), names[old]) for old in written]
    return onnx.GraphProto(name="body", node=nodes, initializer=initializers, input=inputs, output=outputs)


def _content(constant: onnx.TensorProto | onnx.SparseTensorProto | onnx.NodeProto) -> np.ndarray:
    match constant:
        case onnx.TensorProto():
            return constants.array(constant)
        case onnx.SparseTensorProto():
            return constants.dense(constant)
        case _:
            return constants.of_node(constant)


def _info(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    info = onnx.ValueInfoProto(name=name)
    declared = value.type.tensor_type
    if declared.elem_type:
        info.type.tensor_type.elem_type = declared.elem_type
        if declared.HasField("shape"):
            info.type.tensor_type.shape.dim.extend(_dim(d) for d in declared.shape.dim)
            info.type.tensor_type.shape.SetInParent()
    return info


def _dim(dim: onnx.TensorShapeProto.Dimension) -> onnx.TensorShapeProto.Dimension:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return onnx.TensorShapeProto.Dimension(dim_value=dim.dim_value)
    return onnx.TensorShapeProto.Dimension(dim_param=dim.dim_param or None)


def _node(
    node: onnx.NodeProto,
    inputs: list[str],
    outputs: list[str],
    graphs: Mapping[str, onnx.GraphProto],
    versions: Mapping[str, int],
) -> onnx.NodeProto:
    described = attributes.schema(node.op_type, versions[node.domain], node.domain)
    kept = [a for a in node.attribute if not attributes.is_default(a, described)]
    return onnx.NodeProto(
        name=node.name,
        op_type=node.op_type,
        domain=node.domain,
        input=_trimmed(inputs),
        output=_trimmed(outputs),
        attribute=[_attribute(a, graphs) for a in sorted(kept, key=lambda a: a.name)],
    )


def _trimmed(names: list[str]) -> list[str]:
    """The names without those left out at the end."""
    while names and not names[-1]:
        names = names[:-1]
    return names


def _attribute(attribute: onnx.AttributeProto, graphs: Mapping[str, onnx.GraphProto]) -> onnx.AttributeProto:
    result = onnx.AttributeProto(name=attribute.name, type=attribute.type)
    match attribute.type:
        case onnx.AttributeProto.TENSOR:
            result.t.CopyFrom(constants.tensor(constants.array(attribute.t)))
        case onnx.AttributeProto.GRAPH:
            result.g.CopyFrom(graphs[attribute.name])
        case onnx.AttributeProto.INT | onnx.AttributeProto.FLOAT | onnx.AttributeProto.STRING:
            field = attributes.FIELDS[attribute.type]
            setattr(result, field, getattr(attribute, field))
        case _:
            field = attributes.FIELDS[attribute.type]
            getattr(result, field).extend(getattr(attribute, field))
    return result
