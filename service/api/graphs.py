"""Graphs and operators."""

from typing import Any

from service.api import answers
from service.api.bodies import DEFINITIONS
from service.api.operations import Body, Call, Operation, Success
from service.api.reading import apart, check, media_type_of, parse_json, read_body
from service.api.responses import JSON, OCTETS, Answer, json_answer
from service.errors import (
    Busy,
    DeadlineExceeded,
    InvalidGraph,
    InvalidRequest,
    NotFound,
    OutOfMemory,
    TooLarge,
    UnsupportedMediaType,
    UnsupportedOperator,
    WorkerLost,
    pointer,
)

EXPRESSION = {"format": "expression", "outputs": {"y": "tanh(W @ x + b)"}}
NODES = {
    "format": "nodes",
    "opset": 21,
    "nodes": [
        {"op": "MatMul", "inputs": ["W", "x"], "outputs": ["h"]},
        {"op": "Softmax", "inputs": ["h"], "outputs": ["y"], "attributes": {"axis": 0}},
    ],
    "initializers": {"W": {"dtype": "float64", "shape": [2, 2], "data": [0.1, 0.2, 0.3, 0.4]}},
    "outputs": ["y"],
}


def check_graph(graph: Any, formats: dict[str, type], at: str) -> dict[str, Any]:
    """Check a graph against the schema of its format; what it says is for the worker to judge.

    Raises:
        InvalidRequest: it is no object, has no known format, or breaks the schema.
    """
    if not isinstance(graph, dict):
        raise InvalidRequest("a graph is an object", at)
    schema = formats.get(graph["format"]) if isinstance(graph.get("format"), str) else None
    if schema is None:
        raise InvalidRequest(f"a graph has a format: {', '.join(formats)}", pointer(at, "format"))
    check(graph, schema, at)
    return graph


async def register_graph(call: Call) -> Answer:
    """A graph as JSON, or as the bytes of ONNX."""
    body = await read_body(call.request, [JSON, OCTETS], call.services.limits.body_bytes)
    if media_type_of(call.request) == OCTETS:
        return await _register(call, {"format": "onnx", "model": body})
    return await _register(call, await apart(len(body), lambda: check_graph(parse_json(body), DEFINITIONS, "")))


async def register_onnx_graph(call: Call) -> Answer:
    """A graph as the bytes of ONNX."""
    body = await read_body(call.request, [OCTETS], call.services.limits.body_bytes)
    return await _register(call, {"format": "onnx", "model": body})


async def _register(call: Call, source: dict[str, Any]) -> Answer:
    info, created = await call.services.graphs.register(call.tenant, source)
    headers = {"Location": f"/v1/graphs/{info.graph_id}"}
    return json_answer(answers.registered_graph(info), 201 if created else 200, headers)


async def get_graph(call: Call) -> Answer:
    """What a graph is."""
    return json_answer(answers.registered_graph(await call.services.graphs.info(call.tenant, call.path["graph_id"])))


async def get_graph_model(call: Call) -> Answer:
    """A graph as the bytes of ONNX."""
    return Answer([await call.services.graphs.model(call.tenant, call.path["graph_id"])], OCTETS)


async def list_operators(_call: Call) -> Answer:
    """The catalogue."""
    return json_answer(answers.operators())


_LINKS = {
    "get_graph": {"graph_id": "$response.body#/graph_id"},
    "get_graph_model": {"graph_id": "$response.body#/graph_id"},
}
_REGISTERED = (
    Success(201, "The graph is registered.", "RegisteredGraph", ("Location",), _LINKS),
    Success(200, "The graph was there already.", "RegisteredGraph", ("Location",), _LINKS),
)
_REFUSALS = (
    InvalidGraph,
    UnsupportedOperator,
    TooLarge,
    UnsupportedMediaType,
    Busy,
    WorkerLost,
    DeadlineExceeded,
    OutOfMemory,
)

OPERATIONS = (
    Operation(
        id="register_graph",
        method="POST",
        path="/v1/graphs",
        tag="graphs",
        summary="Register a graph",
        description="Equal content has an equal id, whatever form it is said in. "
        "The bytes of an ONNX model are taken here too, as `application/octet-stream`.",
        handler=register_graph,
        body=Body(
            "GraphDefinition",
            "The graph.",
            {"expression": EXPRESSION, "nodes": NODES},
        ),
        successes=_REGISTERED,
        problems=_REFUSALS,
    ),
    Operation(
        id="register_onnx_graph",
        method="POST",
        path="/v1/graphs/onnx",
        tag="graphs",
        summary="Register a graph from the bytes of ONNX",
        description="The model is self-contained: it has no external data.",
        handler=register_onnx_graph,
        body=Body(None, "A serialized ModelProto."),
        successes=_REGISTERED,
        problems=_REFUSALS,
    ),
    Operation(
        id="get_graph",
        method="GET",
        path="/v1/graphs/{graph_id}",
        tag="graphs",
        summary="What a graph is",
        description="Its inputs, outputs and operators.",
        handler=get_graph,
        successes=(Success(200, "The graph.", "RegisteredGraph"),),
        problems=(NotFound,),
    ),
    Operation(
        id="get_graph_model",
        method="GET",
        path="/v1/graphs/{graph_id}/model",
        tag="graphs",
        summary="A graph as ONNX",
        description="The canonical model. Types that the graph leaves open are left out.",
        handler=get_graph_model,
        successes=(Success(200, "A serialized ModelProto."),),
        problems=(NotFound,),
    ),
    Operation(
        id="list_operators",
        method="GET",
        path="/v1/operators",
        tag="graphs",
        summary="The operators that graphs may have",
        description="With opset versions, whether a gradient flows through, and what is not supported.",
        handler=list_operators,
        successes=(Success(200, "The operators, by domain and name.", "Operators"),),
    ),
)
