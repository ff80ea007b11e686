"""Bad input to every operation of the document, found by reflection: the answer is always the one shape."""

import http.client
import re
from typing import Any

import httpx
import orjson
import pytest

from service.api.application import openapi_document
from tests.conftest import Server
from tests.contract.problems import check_problem

DOCUMENT: dict[str, Any] = orjson.loads(openapi_document())
OPERATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
IDS = sorted(OPERATIONS)
TAKING_BODIES = [name for name in IDS if "requestBody" in OPERATIONS[name][2]]
TAKING_JSON = [name for name in TAKING_BODIES if "application/json" in OPERATIONS[name][2]["requestBody"]["content"]]
WITH_PATH = [name for name in IDS if "{" in OPERATIONS[name][1]]
JSON = {"Content-Type": "application/json"}

BROKEN = {
    "empty": b"",
    "cut": b'{"inputs": {"x": [1, 2',
    "trailing": b"{} {}",
    "nan-token": b'{"inputs": {"x": [NaN]}}',
    "infinite": b'{"inputs": {"x": [1e999]}}',
    "not-utf-8": b'{"inputs": {"\xff": 1}}',
    "lone-surrogate": b'{"inputs": {"\\ud800": 1}}',
    "deep": b'{"inputs":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "huge-number": b'{"inputs": ' + b"9" * 5000 + b"}",
    "no-object": b'"inputs"',
    "null": b"null",
}


def request(client: httpx.Client, name: str, path: str | None = None, **rest: Any) -> httpx.Response:
    """An operation's request, its path filled with names of nothing."""
    method, template, _ = OPERATIONS[name]
    return client.request(method, path or re.sub(r"{\w+}", "nothing", template), **rest)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("method", ["PATCH", "TRACE", "OPTIONS"])
def test_other_methods(client: httpx.Client, name: str, method: str) -> None:
    path = re.sub(r"{\w+}", "nothing", OPERATIONS[name][1])
    answer = client.request(method, path)
    check_problem(answer, "method-not-allowed")
    allowed = set(answer.headers["allow"].split(", "))
    assert OPERATIONS[name][0] in allowed
    assert ("HEAD" in allowed) == ("GET" in allowed)
    assert method not in allowed


@pytest.mark.parametrize("name", IDS)
def test_unknown_parameters(client: httpx.Client, name: str) -> None:
    problem = check_problem(request(client, name, params={"nonsense": "1"}), "invalid-request")
    assert problem["errors"][0]["pointer"] == "#/query/nonsense"
    for parameter in OPERATIONS[name][2].get("parameters", []):
        assert parameter["in"] != "query" or parameter["name"] in problem["detail"]


@pytest.mark.parametrize(
    "query", ["a=%ff", "nonsense=1&nonsense=2", "&&=", "%00=1"], ids=["bytes", "repeated", "blank", "nul"]
)
def test_broken_queries(client: httpx.Client, query: str) -> None:
    check_problem(client.get(f"/v1/sessions?{query}"), "invalid-request")


@pytest.mark.parametrize("name", WITH_PATH)
@pytest.mark.parametrize("segment", ["nothing", "%00", "%ff", "..%2f..", "x" * 3000], ids=lambda s: s[:8])
def test_what_is_not_there(client: httpx.Client, name: str, segment: str) -> None:
    method, template, operation = OPERATIONS[name]
    examples = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {})
    body = next(iter(examples.values()))["value"] if examples else None
    answer = client.request(method, re.sub(r"{\w+}", segment, template), json=body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == 404
    assert "404" in operation["responses"]


@pytest.mark.parametrize("name", TAKING_BODIES)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Content-Type": "text/plain"}, id="text"),
        pytest.param({"Content-Type": "application/jsonp"}, id="alike"),
        pytest.param({"Content-Type": "multipart/mixed"}, id="multipart"),
        pytest.param({"Content-Type": "application/json", "Content-Encoding": "gzip"}, id="gzip"),
    ],
)
def test_other_content(client: httpx.Client, name: str, headers: dict[str, str]) -> None:
    check_problem(request(client, name, content=b"{}", headers=headers), "unsupported-media-type")
    assert "415" in OPERATIONS[name][2]["responses"]


@pytest.mark.parametrize("name", TAKING_JSON)
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_broken_json(client: httpx.Client, name: str, body: bytes) -> None:
    check_problem(request(client, name, content=body, headers=JSON), "invalid-request")


@pytest.mark.parametrize("name", TAKING_JSON)
def test_unknown_properties(client: httpx.Client, name: str) -> None:
    examples = OPERATIONS[name][2]["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        problem = check_problem(request(client, name, json={**example["value"], "nonsense": 1}), "invalid-request")
        assert [fault["pointer"] for fault in problem["errors"]] == ["/nonsense"]


@pytest.mark.parametrize("name", [name for name in TAKING_JSON if name != "start_evaluation"])
def test_missing_properties(client: httpx.Client, name: str) -> None:
    problem = check_problem(request(client, name, json={}), "invalid-request")
    assert problem["errors"]


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/healthz/", "//healthz", "/v1/sessions/", "/docs/nothing"])
def test_other_paths(server: Server, path: str) -> None:
    check_problem(httpx.get(server.url + path), "not-found")


def test_request_ids_are_echoed_where_sane(client: httpx.Client) -> None:
    assert client.get("/nothing", headers={"X-Request-Id": "mine-1"}).json()["request_id"] == "mine-1"
    for odd in ["", "two words", "x" * 200, '"quoted"']:
        answer = client.get("/nothing", headers={"X-Request-Id": odd})
        assert answer.headers["x-request-id"] not in {"", odd}


def test_a_body_that_is_declared_too_large_is_not_waited_for(server: Server) -> None:
    connection = http.client.HTTPConnection(httpx.URL(server.url).netloc.decode(), timeout=10)
    connection.putrequest("POST", "/v1/sessions")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(2**50))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert orjson.loads(answer.read())["type"] == "urn:jacobian:problem:too-large"
    connection.close()
