"""Serialized ONNX models from clients: nothing of them is believed before it is checked."""

from binascii import Error as BadBase64
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from typing import Any

import onnx
from onnx.inliner import inline_local_functions

from service import errors
from service.graphs import constants
from service.graphs import model as models
from service.graphs.validation import Place
from service.link.messages import Limits

PLACE = Place("/model", readable=False)
MEMBERS = ("format", "model")


def read(source: Mapping[str, Any], limits: Limits) -> onnx.ModelProto:
    """A self-contained model with its local functions inlined, from bytes or their base64.

    Args:
        source: `{"format": "onnx", "model"}`.
        limits: for nodes, nesting and tensors.

    Raises:
        InvalidGraph: no ModelProto; external data, training information, versions out of range, bad functions.
        UnsupportedOperator: tensors and types that the contract has not.
        TooLarge: more nodes or elements than allowed.
    """
    for member in source:
        if member not in MEMBERS:
            raise errors.InvalidGraph(f'an onnx graph has no member "{member}"; it has {", ".join(MEMBERS)}')
    proto = models.load(_bytes(source.get("model")))
    _check_strings(proto)
    if not proto.HasField("graph"):
        raise errors.InvalidGraph("the model has no graph", PLACE.pointer)
    if proto.training_info:
        raise errors.InvalidGraph("the model has training information; export it for inference", PLACE.pointer)
    if proto.ir_version > onnx.IR_VERSION:
        raise errors.InvalidGraph(
            f"the model has IR version {proto.ir_version}; the newest known is {onnx.IR_VERSION}", PLACE.pointer
        )
    for graph in _graphs(proto):
        _check_tensors(graph, limits)
    for function in proto.functions:
        for node in function.node:
            _check_node_tensors(node, limits)
    _set_opsets(proto)
    _check_size(proto, limits)
    if proto.functions:
        proto = _inlined(proto)
    for value in (*proto.graph.input, *proto.graph.output):
        _check_type(value)
    return proto


def _bytes(model: object) -> bytes:
    match model:
        case bytes() | bytearray() | memoryview():
            return bytes(model)
        case str():
            try:
                return a2b_base64(model, strict_mode=True)
            except (BadBase64, ValueError) as fault:
                raise errors.InvalidGraph(
                    "the model is not base64 (the standard alphabet, padded, without line breaks)", PLACE.pointer
                ) from fault
        case _:
            raise errors.InvalidGraph("the model is a string: the base64 of a serialized ModelProto", PLACE.pointer)


# --- what is in it ---------------------------------------------------------------------------------------------------


def _graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and every subgraph, those of functions too."""
    pending = [proto.graph, *(g for f in proto.functions for n in f.node for _, g in models.bodies(n))]
    while pending:
        graph = pending.pop()
        yield graph
        pending += [g for n in graph.node for _, g in models.bodies(n)]


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in _graphs(proto):
        yield from graph.node
    for function in proto.functions:
        yield from function.node


def _check_strings(proto: onnx.ModelProto) -> None:
    """Protobuf gives bytes for a string that is not UTF-8."""
    if not all(isinstance(text, str) for text in _strings(proto)):
        raise errors.InvalidGraph("a name in the model is not UTF-8", PLACE.pointer)


def _strings(proto: onnx.ModelProto) -> Iterator[object]:
    yield from (o.domain for o in proto.opset_import)
    for function in proto.functions:
        yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
        yield from (o.domain for o in function.opset_import)
        yield from (a.name for a in function.attribute_proto)
    for graph in _graphs(proto):
        yield from (t.name for t in graph.initializer)
        yield from (s.values.name for s in graph.sparse_initializer)
        for value in (*graph.input, *graph.output):
            yield value.name
            yield from (d.dim_param for d in value.type.tensor_type.shape.dim)
    for node in _nodes(proto):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)


def _check_tensors(graph: onnx.GraphProto, limits: Limits) -> None:
    for tensor in graph.initializer:
        constants.check(tensor, f'the initializer "{tensor.name}"', limits, PLACE.pointer)
    for sparse in graph.sparse_initializer:
        constants.check_sparse(sparse, f'the sparse initializer "{sparse.values.name}"', limits, PLACE.pointer)
    for node in graph.node:
        _check_node_tensors(node, limits)


def _check_node_tensors(node: onnx.NodeProto, limits: Limits) -> None:
    what = f'a tensor of node "{node.name or next(iter(node.output), "")}" ({node.op_type})'
    for tensor in constants.attribute_tensors(node):
        if isinstance(tensor, onnx.TensorProto):
            constants.check(tensor, what, limits, PLACE.pointer)
        else:
            constants.check_sparse(tensor, what, limits, PLACE.pointer)


def _check_type(value: onnx.ValueInfoProto) -> None:
    kind = value.type.WhichOneof("value")
    if kind not in {None, "tensor_type"}:
        raise errors.UnsupportedOperator(
            f'"{value.name}" is a {kind.removesuffix("_type")}; inputs and outputs are tensors', PLACE.pointer
        )
    if value.type.tensor_type.elem_type:
        constants.dtype(value.type.tensor_type.elem_type, f'"{value.name}"', PLACE.pointer)


def _set_opsets(proto: onnx.ModelProto) -> None:
    """One import for each domain, those of functions too; ai.onnx is written "" everywhere."""
    for owner in (proto, *proto.functions):
        versions: dict[str, int] = {}
        for o in owner.opset_import:
            domain = models.plain_domain(o.domain)
            if versions.setdefault(domain, o.version) != o.version:
                raise errors.InvalidGraph(
                    f'the model imports the domain "{domain or "ai.onnx"}" at two versions', PLACE.pointer
                )
        owner.ClearField("opset_import")
        owner.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in versions.items())
    for node in _nodes(proto):
        node.domain = models.plain_domain(node.domain)
    if all(node.domain for node in _nodes(proto)) and "" not in models.opsets(proto):
        proto.opset_import.append(onnx.helper.make_opsetid("", models.OPSET))
    versions = models.opsets(proto)
    inherited = {o.domain: o.version for f in proto.functions for o in f.opset_import if o.domain not in versions}
    proto.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in inherited.items())
    newest = onnx.defs.onnx_opset_version()
    if "" not in versions:
        raise errors.InvalidGraph("the model imports no opset of ai.onnx", PLACE.pointer)
    if not models.OLDEST_OPSET <= versions[""] <= newest:
        raise errors.InvalidGraph(
            f"the model has opset {versions['']}; supported are {models.OLDEST_OPSET} to {newest}", PLACE.pointer
        )


# --- functions -------------------------------------------------------------------------------------------------------


def _key(node: onnx.NodeProto | onnx.FunctionProto) -> tuple[str, str, str]:
    name = node.op_type if isinstance(node, onnx.NodeProto) else node.name
    return models.plain_domain(node.domain), name, node.overload


def _check_size(proto: onnx.ModelProto, limits: Limits) -> None:
    """That the graph has few enough nodes once its functions are inlined, which may double at every level."""
    functions = {_key(f): f for f in proto.functions}
    sizes: dict[tuple[str, str, str], int] = {}
    for key in functions:
        _measure(key, functions, sizes, (), limits)
    total = sum(sizes.get(_key(n), 1) for n in models.all_nodes(proto.graph))
    if total > limits.graph_nodes:
        raise errors.TooLarge(
            f"the graph has {total} nodes (local functions inlined); the limit is {limits.graph_nodes}", PLACE.pointer
        )


def _measure(
    key: tuple[str, str, str],
    functions: Mapping[tuple[str, str, str], onnx.FunctionProto],
    sizes: dict[tuple[str, str, str], int],
    callers: tuple[tuple[str, str, str], ...],
    limits: Limits,
) -> int:
    if key not in functions:
        return 1
    if key in callers or len(callers) > limits.graph_depth:
        what = "calls itself" if key in callers else f"is nested more than {limits.graph_depth} deep"
        raise errors.InvalidGraph(f"the local function {key[1]} {what}", PLACE.pointer)
    if key not in sizes:
        called = [_key(n) for top in functions[key].node for n in (top, *_inner(top))]
        sizes[key] = sum(_measure(k, functions, sizes, (*callers, key), limits) for k in called)
    return sizes[key]


def _inner(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    for _, body in models.bodies(node):
        yield from models.all_nodes(body)


def _inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    try:
        inlined = inline_local_functions(proto)
        if inlined.functions:
            inlined = inline_local_functions(proto, convert_version=True)
    except Exception as fault:  # whatever the C++ library throws
        raise errors.InvalidGraph(f"the local functions cannot be inlined: {fault}", PLACE.pointer) from fault
    names = {_key(f) for f in proto.functions}
    for node in models.all_nodes(inlined.graph):
        node.domain = models.plain_domain(node.domain)
        if _key(node) in names:
            raise errors.InvalidGraph(
                f"the local function {node.op_type} is written for another opset than the model", PLACE.pointer
            )
    return inlined
