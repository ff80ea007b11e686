"""The OpenAPI document, made of the operations and of the schemas of what is sent and answered.

Its rules are those of client generators: one media type for a status, no recursive schema, no union in an answer, no
default in a body, a width on every number, a name on every body.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from service import __version__
from service.api import answers, bodies
from service.api.operations import Body, Operation, Parameter, Success
from service.api.responses import FORM, JSON, OCTETS, PROBLEM
from service.errors import Problem

TITLE = "Jacobians over HTTP"
DESCRIPTION = (
    "Open a session on a computation graph of ONNX operators, then ask for slices of its Jacobians and Hessians. "
    "Only the rows that a slice touches are evaluated, and each of them once."
)
TAGS = {
    "graphs": "Computation graphs: expressions, node lists and ONNX models.",
    "sessions": "A graph at a point: values for its inputs, and the choice of what to differentiate by what.",
    "jacobians": "Slices of Jacobians and Hessians, evaluated by row and cached.",
    "products": "Products with vectors, without a Jacobian.",
    "evaluations": "Slices evaluated in the background.",
    "health": "Whether the service is alive and ready.",
}
PATH_PARAMETERS = {
    "graph_id": "As `register_graph` answered it.",
    "session_id": "As `create_session` answered it.",
    "evaluation_id": "As `start_evaluation` answered it.",
    "y": "The name of an output; it may hold slashes.",
}
WORDS = {"Encoding": ("base64",), "Cached": ("only",)}
"""What parameters that have few values may be."""
COUNT = {"type": "integer", "format": "int64", "minimum": 0}
TEXT = {"type": "string"}
HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "X-Request-Id": ("The client's own id, or one that is made; it is in the log.", TEXT),
    "Location": ("The path of what was created.", TEXT),
    "ETag": ("For conditional requests.", TEXT),
    "Retry-After": ("Seconds to wait before trying again.", COUNT),
    "Server-Timing": ("Milliseconds by phase: `queue`, `forward`, `rows`, `encode`, or `total`.", TEXT),
    "Jacobian-Revision": ("The session's revision that the values belong to.", {**COUNT, "minimum": 1}),
    "Jacobian-Shape": ("The shape of the values, with commas between; empty for 0-D.", TEXT),
    "Jacobian-Dtype": ("The dtype of the values.", TEXT),
    "Jacobian-Rows-Computed": ("Rows that were evaluated for this request.", COUNT),
    "Jacobian-Check": ("The relative residual of the adjoint identity, where `check=true` asks for it.", TEXT),
    "Jacobian-Rows-Cached": ("Rows that were there, or were being evaluated for another request.", COUNT),
}


def openapi_document(operations: Iterable[Operation]) -> bytes:
    """The document as the bytes that are served and kept in the repository."""
    return orjson.dumps(describe(operations), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def describe(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document as a value."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = operation.path.replace(":path}", "}")
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {"schemas": _schemas(), "headers": {name: _header(name) for name in HEADERS}},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": [],
    }
    parameters = [
        *(_path_parameter(name) for name in operation.path_parameters),
        *map(_parameter, operation.parameters),
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = _request_body(operation.body)
    described["responses"] = {
        **{str(success.status): _success(success) for success in operation.successes},
        **_problems(operation.all_problems),
    }
    return described


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": PATH_PARAMETERS[name], "schema": TEXT}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": parameter.place,
        "required": False,
        "description": parameter.description,
        "schema": parameter.schema,
    }
    return described if parameter.example is None else {**described, "example": parameter.example}


def _request_body(body: Body) -> dict[str, Any]:
    media_type = FORM if body.parts else OCTETS if body.schema is None else JSON
    content = _content(media_type, body.schema)
    if body.parts:
        content[media_type]["encoding"] = {name: {"contentType": kind} for name, kind in body.parts.items()}
    if body.examples:
        content[media_type]["examples"] = {name: {"value": value} for name, value in body.examples.items()}
    return {"required": True, "description": body.description, "content": content}


def _success(success: Success) -> dict[str, Any]:
    described: dict[str, Any] = {"description": success.description, "headers": _headers(success.headers)}
    if not success.empty:
        described["content"] = _content(success.type_of_body, success.schema)
    if success.links:
        described["links"] = {
            operation: {"operationId": operation, "parameters": dict(parameters)}
            for operation, parameters in success.links.items()
        }
    return described


def _problems(problems: Iterable[type[Problem]]) -> dict[str, Any]:
    names: dict[int, list[str]] = {}
    for problem in problems:
        names.setdefault(problem.status, []).append(problem.name)
    return {
        str(status): {
            "description": "One of the problems " + ", ".join(f"`{name}`" for name in names[status]) + "."
            if len(names[status]) > 1
            else f"The problem `{names[status][0]}`.",
            "headers": _headers(("Retry-After",) if status == 503 else ()),
            "content": _content(PROBLEM, "Problem"),
        }
        for status in sorted(names)
    }


def _content(media_type: str, schema: str | None) -> dict[str, Any]:
    """One media type: JSON of a named schema, text, or bytes."""
    opaque = TEXT if media_type.startswith("text/") else {"type": "string", "format": "binary"}
    described = opaque if schema is None else _ref("schemas", schema)
    return {media_type: {"schema": described}}


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: _ref("headers", name) for name in ("X-Request-Id", "Server-Timing", *names)}


def _header(name: str) -> dict[str, Any]:
    description, schema = HEADERS[name]
    return {"description": description, "schema": schema}


def _ref(kind: str, name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/{kind}/{name}"}


class _Schemas(GenerateJsonSchema):
    """JSON schemas with a width on every number and a title on no property."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def int_schema(self, schema: core_schema.IntSchema) -> dict[str, Any]:
        return {**super().int_schema(schema), "format": "int64"}

    def float_schema(self, schema: core_schema.FloatSchema) -> dict[str, Any]:
        return {**super().float_schema(schema), "format": "double"}


def _schemas() -> Mapping[str, Any]:
    _, found = TypeAdapter.json_schemas(
        [(schema.__name__, "validation", TypeAdapter(schema)) for schema in bodies.SCHEMAS + answers.SCHEMAS],
        schema_generator=_Schemas,
        ref_template="#/components/schemas/{model}",
    )
    words = {name: {"type": "string", "enum": list(choices)} for name, choices in WORDS.items()}
    schemas: dict[str, Any] = {**found["$defs"], **words}
    return dict(sorted(schemas.items()))
