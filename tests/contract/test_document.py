"""The rules that client generators need the document to keep."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from service.api.application import OPERATIONS, openapi_document
from service.errors import PROBLEMS

DOCUMENT: dict[str, Any] = orjson.loads(openapi_document())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
BY_ID = {o["operationId"]: o for path in DOCUMENT["paths"].values() for o in path.values()}
IDS = sorted(BY_ID)

REQUESTS = {"Graph", "GraphDefinition", "SessionCreate", "InputsUpdate", "VjpRequest", "JvpRequest"}
DERIVATIVES = {"JacobianSlice", "HessianSlice", "Derivative"}


def walk(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value within a value, with its path; examples are data, not schema."""
    yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if key not in {"example", "examples"}:
            yield from walk(value, (*path, key))


def references(node: Any) -> set[str]:
    """The schemas that a value names."""
    refs = (value["$ref"] for _, value in walk(node) if isinstance(value, dict) and "$ref" in value)
    return {ref.removeprefix("#/components/schemas/") for ref in refs if "/schemas/" in ref}


def reach(names: set[str]) -> set[str]:
    """The schemas that these are made of, themselves included."""
    found: set[str] = set()
    while names:
        found |= names
        names = set().union(*(references(SCHEMAS[name]) for name in names)) - found
    return found


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every content of an operation: where it stands, and media type by schema."""
    if "requestBody" in operation:
        yield "request", operation["requestBody"]["content"]
    for status, answer in operation["responses"].items():
        if "content" in answer:
            yield status, answer["content"]


ANSWERED = reach(set().union(*(references(o["responses"]) for o in BY_ID.values())))


def test_the_document_is_the_same_each_time() -> None:
    assert openapi_document() == orjson.dumps(DOCUMENT, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def test_the_frame() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["servers"] == [{"url": "/"}]
    assert DOCUMENT["info"]["license"]["identifier"] == "Apache-2.0"
    assert all(tag["description"] for tag in DOCUMENT["tags"])


def test_no_schema_is_recursive() -> None:
    for name, schema in SCHEMAS.items():
        assert name not in reach(references(schema)), name


def test_tensors_of_requests_have_a_name_and_no_type() -> None:
    assert not SCHEMAS["TensorLike"].keys() & {"type", "anyOf", "oneOf", "items"}
    assert SCHEMAS["SessionCreate"]["properties"]["inputs"]["additionalProperties"] == {
        "$ref": "#/components/schemas/TensorLike"
    }


def test_answers_have_no_unions() -> None:
    for name in ANSWERED:
        for path, node in walk(SCHEMAS[name]):
            if isinstance(node, dict):
                assert "oneOf" not in node, (name, path)
                options = node.get("anyOf", [])
                assert not options or (len(options) == 2 and {"type": "null"} in options), (name, path)


@pytest.mark.parametrize("name", sorted(DERIVATIVES))
def test_derivatives_are_numbers(name: str) -> None:
    data = SCHEMAS[name]["properties"]["data"]
    assert data["items"] == {"type": "number", "format": "double"}
    assert "encoding=base64" in data["description"]


def test_tensors_may_hold_booleans() -> None:
    assert SCHEMAS["Tensor"]["properties"]["data"]["items"] == {}


def test_numbers_have_widths() -> None:
    widths = {"number": "double", "integer": "int64"}
    for path, node in walk(DOCUMENT):
        if isinstance(node, dict) and node.get("type") in ("number", "integer"):
            assert node.get("format") == widths[node["type"]], path


def test_bytes_have_a_format() -> None:
    for path, node in walk(SCHEMAS):
        if path[-1:] in (("base64",), ("model",)):
            assert (node["type"], node["format"]) == ("string", "byte"), path


@pytest.mark.parametrize("name", ["Graph", "GraphDefinition"])
def test_graphs_are_a_tagged_union(name: str) -> None:
    mapping = SCHEMAS[name]["discriminator"]["mapping"]
    assert SCHEMAS[name]["discriminator"]["propertyName"] == "format"
    assert SCHEMAS[name]["oneOf"] == [{"$ref": ref} for ref in mapping.values()]
    for tag, ref in mapping.items():
        variant = SCHEMAS[ref.rsplit("/", 1)[1]]
        assert variant["additionalProperties"] is False
        assert "format" in variant["required"]
        assert variant["properties"]["format"] == {"const": tag, "type": "string"}


def test_constants_are_strings() -> None:
    for path, node in walk(DOCUMENT):
        if isinstance(node, dict) and {"const", "enum"} & node.keys():
            assert node["type"] == "string", path


def test_requests_are_closed_and_have_no_defaults() -> None:
    for name in reach(REQUESTS):
        for path, node in walk(SCHEMAS[name]):
            if isinstance(node, dict):
                assert "default" not in node, (name, path)
                assert node.get("type") != "object" or "additionalProperties" in node, (name, path)


def test_enumerations_are_named() -> None:
    for path, node in walk(DOCUMENT):
        if isinstance(node, dict) and "enum" in node:
            assert path[:2] == ("components", "schemas"), path
            assert len(path) == 3, path


def test_properties_have_no_titles() -> None:
    for name, schema in SCHEMAS.items():
        for path, node in walk(schema):
            if isinstance(node, dict) and path and path[-1] != "properties":
                assert "title" not in node, (name, path)


def test_schemas_are_used_and_plainly_named() -> None:
    used = reach(set().union(*(references(o) for o in BY_ID.values())))
    assert used == set(SCHEMAS)
    assert all(re.fullmatch(r"([A-Z][a-z0-9]+)+", name) for name in SCHEMAS)


def test_the_contract_has_its_schemas() -> None:
    contract = {
        "Graph",
        "Tensor",
        "TensorLike",
        "Session",
        "SessionCreate",
        "InputsUpdate",
        "JacobianSlice",
        "Problem",
    } | {
        "SlicesRequest",
        "Slices",
    }
    assert contract <= set(SCHEMAS)


def test_what_may_be_missing_is_not_null() -> None:
    for name, schema in SCHEMAS.items():
        for member, described in schema.get("properties", {}).items():
            if member not in schema.get("required", []) and member != "batch_axis":
                assert {"type": "null"} not in described.get("anyOf", []), (name, member)


def test_operations_have_unique_names() -> None:
    assert len(BY_ID) == len(OPERATIONS)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in BY_ID)


@pytest.mark.parametrize("name", IDS)
def test_an_operation_is_described(name: str) -> None:
    operation = BY_ID[name]
    assert operation["summary"]
    assert operation["description"]
    assert operation["security"] == []
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(parameter["description"] for parameter in operation.get("parameters", []))


@pytest.mark.parametrize("name", IDS)
def test_one_media_type_for_each_body(name: str) -> None:
    for place, content in contents(BY_ID[name]):
        assert len(content) == 1, place


@pytest.mark.parametrize("name", IDS)
def test_json_bodies_are_named(name: str) -> None:
    for place, content in contents(BY_ID[name]):
        for media_type, described in content.items():
            schema = described["schema"]
            match media_type.partition("/")[0], media_type:
                case ("text", _):
                    assert schema == {"type": "string"}, place
                case (_, "application/octet-stream"):
                    assert schema == {"type": "string", "format": "binary"}, place
                case _:
                    assert schema.keys() == {"$ref"}, place


@pytest.mark.parametrize("name", IDS)
def test_errors_are_problems(name: str) -> None:
    responses = BY_ID[name]["responses"]
    errors = {status: answer for status, answer in responses.items() if int(status) >= 400}
    assert {"422", "500"} <= errors.keys()
    for status, answer in errors.items():
        assert answer["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        }, status
        named = re.findall(r"`([a-z-]+)`", answer["description"])
        assert named
        assert all(PROBLEMS[problem].status == int(status) for problem in named)


@pytest.mark.parametrize("name", IDS)
def test_headers_are_documented(name: str) -> None:
    for status, answer in BY_ID[name]["responses"].items():
        assert "X-Request-Id" in answer["headers"]
        assert ("Retry-After" in answer["headers"]) == (status == "503")


def test_parameters_of_queries_are_optional_and_never_null() -> None:
    for name, operation in BY_ID.items():
        for parameter in operation.get("parameters", []):
            assert parameter["required"] == (parameter["in"] == "path"), name
            assert "anyOf" not in parameter["schema"], name
            assert parameter["in"] != "header" or parameter["name"] in {"If-Match", "If-None-Match"}, name


def test_parameters_of_paths_are_declared() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path)), path


def test_every_request_has_an_example_that_is_json() -> None:
    for name, operation in BY_ID.items():
        for media_type, described in operation.get("requestBody", {}).get("content", {}).items():
            assert media_type != "application/json" or described["examples"], name


def test_links_lead_to_operations() -> None:
    for name, operation in BY_ID.items():
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                target = BY_ID[link["operationId"]]
                assert set(link["parameters"]) <= {p["name"] for p in target["parameters"]}, name
    linked = set(BY_ID["create_session"]["responses"]["201"]["links"])
    assert {"get_session", "delete_session", "set_inputs", "get_output", "get_jacobian", "vjp", "jvp"} <= linked
