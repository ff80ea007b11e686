"""The one door: three forms of a graph in, one canonical model out."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import onnx

from service import catalogue, errors
from service.graphs import constants, expression, infer, nodes, serialized, validation
from service.graphs.canonical import canonical
from service.graphs.model import all_nodes, dump, operator, opsets
from service.link.messages import NO_SESSION, Compiled, GraphInfo, Limits, SessionNames, ValueInfo

FORMATS = ("expression", "nodes", "onnx")


def compile_graph(source: Mapping[str, Any], limits: Limits, names: SessionNames = NO_SESSION) -> Compiled:
    """The canonical model of a graph, and what a client sees of it.

    Args:
        source: one of the contract's three forms as parsed JSON, however malformed; `model` may be bytes.
        limits: what a graph may be at most.
        names: what a session that brings the graph along says by name.

    Raises:
        Problem: of whatever kind fits; pointers are relative to the graph.
    """
    try:
        model = canonical(_read(source, limits, names))
    except UnicodeError as fault:
        raise errors.InvalidGraph("a name in the graph is not valid Unicode") from fault
    except RecursionError as fault:
        raise errors.InvalidGraph("the graph is nested too deep") from fault
    if infer.is_typed(model.graph):
        _type_outputs(model)
    for node in all_nodes(model.graph):
        node.ClearField("name")
    content = dump(model)
    return Compiled(content, _info(model, content))


def _read(source: Mapping[str, Any], limits: Limits, names: SessionNames) -> onnx.ModelProto:
    match source.get("format"):
        case "expression":
            model = expression.read(source, limits, names)
            validation.check(model, validation.Place("/outputs", readable=False), limits, in_order=True)
        case "nodes":
            model = nodes.read(source, limits, names)
            validation.check(model, validation.Place(), limits, in_order=False)
        case "onnx":
            model = serialized.read(source, limits)
            validation.check(model, serialized.PLACE, limits, in_order=True)
        case other:
            raise errors.InvalidGraph(
                f"{repr(other)[:40]} is no format of a graph; use one of {', '.join(FORMATS)}", "/format"
            )
    return model


def _type_outputs(model: onnx.ModelProto) -> None:
    """Give the outputs of a typed model the types that follow from its inputs, once they agree with those declared."""
    types = infer.infer(model)
    infer.check_model(model, types)
    for output in model.graph.output:
        inferred = types.get(output.name)
        if inferred is None:
            continue
        declared = output.type.tensor_type
        if declared.elem_type not in {0, inferred.tensor_type.elem_type}:
            found = constants.dtype(inferred.tensor_type.elem_type, f'the output "{output.name}"')
            said = constants.dtype(declared.elem_type, f'the output "{output.name}"')
            raise errors.InvalidGraph(f'the output "{output.name}" is declared {said.name} and comes out {found.name}')
        infer.refine(output.type, inferred)


def _info(model: onnx.ModelProto, content: bytes) -> GraphInfo:
    defaults = {t.name for t in model.graph.initializer}
    operators = Counter(operator(n) for n in all_nodes(model.graph) if n.domain != catalogue.EXPRESSION)
    return GraphInfo(
        graph_id=f"sha256:{hashlib.sha256(content).hexdigest()}",
        opset=opsets(model)[""],
        inputs=tuple(_value(i, i.name in defaults) for i in model.graph.input),
        outputs=tuple(_value(o, False) for o in model.graph.output),
        operators=dict(sorted(operators.items())),
    )


def _value(value: onnx.ValueInfoProto, default: bool) -> ValueInfo:
    declared = value.type.tensor_type
    if not declared.elem_type:
        return ValueInfo(value.name, None, None, default)
    dtype = constants.dtype(declared.elem_type, f'"{value.name}"').name
    shape = tuple(_dim(d) for d in declared.shape.dim) if declared.HasField("shape") else None
    return ValueInfo(value.name, dtype, shape, default)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
