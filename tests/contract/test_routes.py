"""Graphs, sessions, products and what is around them, over HTTP."""

import base64
from datetime import datetime, timedelta
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from pydantic import TypeAdapter

from service.api import answers
from service.api.application import OPERATIONS, openapi_document
from service.catalogue import OPERATORS
from tests.contract.conftest import LINEAR, NAMED, OpenSession
from tests.contract.problems import check_problem

EXPRESSION = {"format": "expression", "outputs": {"y": "tanh(A @ x) + c"}}


def is_a(schema: type, answer: httpx.Response) -> Any:
    """The JSON of an answer, which must be of the schema and have nothing else."""
    assert answer.headers["content-type"] == "application/json"
    return TypeAdapter(schema).validate_json(answer.content, extra="forbid")


# --- graphs ----------------------------------------------------------------------------------------------------------


def test_a_graph_is_registered_once(client: httpx.Client) -> None:
    first = client.post("/v1/graphs", json=EXPRESSION)
    again = client.post("/v1/graphs", json=EXPRESSION)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.content == again.content
    graph = is_a(answers.RegisteredGraph, first)
    assert first.headers["location"] == f"/v1/graphs/{graph['graph_id']}"
    assert {value["name"] for value in graph["inputs"]} == {"A", "x", "c"}
    assert all(value["dtype"] is None and value["shape"] is None for value in graph["inputs"])
    assert client.get(first.headers["location"]).json() == graph


def test_an_onnx_graph_comes_back_and_in_again(client: httpx.Client) -> None:
    graph = client.post("/v1/graphs", json=NAMED["graph"]).json()
    model = client.get(f"/v1/graphs/{graph['graph_id']}/model")
    assert model.headers["content-type"] == "application/octet-stream"
    octets = {"Content-Type": "application/octet-stream"}
    ways = [
        client.post("/v1/graphs/onnx", content=model.content, headers=octets),
        client.post("/v1/graphs", content=model.content, headers=octets),
        client.post("/v1/graphs", json={"format": "onnx", "model": base64.b64encode(model.content).decode()}),
    ]
    assert all(way.status_code in {200, 201} for way in ways), [way.text for way in ways]
    assert len({way.json()["graph_id"] for way in ways}) == 1


@pytest.mark.parametrize("path", ["/v1/graphs", "/v1/graphs/onnx"])
def test_bytes_that_are_no_graph(client: httpx.Client, path: str) -> None:
    answer = client.post(path, content=b"\xff" * 100, headers={"Content-Type": "application/octet-stream"})
    check_problem(answer, "invalid-graph")


def test_a_graph_is_not_registered_by_reference(client: httpx.Client) -> None:
    problem = check_problem(client.post("/v1/graphs", json={"format": "ref", "graph_id": "x"}), "invalid-request")
    assert problem["errors"][0]["pointer"] == "/format"


def test_a_session_opens_on_a_reference(client: httpx.Client, open_session: OpenSession) -> None:
    graph_id = client.post("/v1/graphs", json=LINEAR["graph"]).json()["graph_id"]
    session = open_session({**LINEAR, "graph": {"format": "ref", "graph_id": graph_id}})
    assert session["graph_id"] == graph_id
    missing = {**LINEAR, "graph": {"format": "ref", "graph_id": "sha256:00"}}
    check_problem(client.post("/v1/sessions", json=missing), "not-found")


def test_operators_are_those_of_the_catalogue(client: httpx.Client) -> None:
    listed = is_a(answers.Operators, client.get("/v1/operators"))["operators"]
    assert {(operator["domain"], operator["name"]) for operator in listed} == OPERATORS.keys()


def test_faults_of_a_graph_have_places(client: httpx.Client) -> None:
    body = {"graph": {"format": "expression", "outputs": {"y": "tahn(x)"}}, "inputs": {"x": [1.0]}}
    problem = check_problem(client.post("/v1/sessions", json=body), "invalid-graph")
    assert problem["errors"][0]["pointer"] == "/graph/outputs/y"


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_is_opened(client: httpx.Client) -> None:
    answer = client.post("/v1/sessions", json={**LINEAR, "label": "pump 7", "ttl_seconds": 120})
    session = is_a(answers.Session, answer)
    assert answer.headers["location"] == f"/v1/sessions/{session['id']}"
    assert answer.headers["etag"] == '"1"'
    assert (session["revision"], session["label"], session["batch_axis"]) == (1, "pump 7", None)
    blocks = [(b["y"], b["x"], b["shape"], b["rows"]) for b in session["jacobians"]]
    assert blocks == [
        ("y", "x", [3, 2], {"total": 3, "cached": 0}),
        ("y", "b", [3, 3], {"total": 3, "cached": 0}),
        ("s", "x", [2], {"total": 1, "cached": 0}),
        ("s", "b", [3], {"total": 1, "cached": 0}),
    ]
    created, expires = (datetime.fromisoformat(session[name]) for name in ("created_at", "expires_at"))
    assert created.utcoffset() == timedelta(0)
    assert expires - created == timedelta(seconds=120)


def test_a_session_is_seen_and_forgotten(client: httpx.Client, linear: dict[str, Any]) -> None:
    path = f"/v1/sessions/{linear['id']}"
    seen = client.get(path)
    assert is_a(answers.Session, seen)["jacobians"] == linear["jacobians"]
    assert seen.headers["etag"] == '"1"'
    gone = client.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (client.delete(path), client.get(path), client.get(f"{path}/jacobian?y=y&x=x")):
        check_problem(answer, "not-found")


def test_pages_of_sessions(client: httpx.Client, open_session: OpenSession) -> None:
    opened = [open_session(LINEAR)["id"] for _ in range(3)]
    first = is_a(answers.Sessions, client.get("/v1/sessions", params={"limit": 2}))
    assert [session["id"] for session in first["sessions"]] == opened[:0:-1]
    second = client.get("/v1/sessions", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [session["id"] for session in second["sessions"]] == opened[:1]
    whole = client.get("/v1/sessions", params={"limit": 1000}).json()
    assert "next_cursor" not in whole
    check_problem(client.get("/v1/sessions", params={"cursor": "nonsense"}), "invalid-request")


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "ten", ""])
def test_pages_have_bounds(client: httpx.Client, limit: str) -> None:
    check_problem(client.get("/v1/sessions", params={"limit": limit}), "invalid-request")


def test_inputs_are_set(client: httpx.Client, linear: dict[str, Any]) -> None:
    path = f"/v1/sessions/{linear['id']}/inputs"
    answer = client.put(path, json={"inputs": {"x": [2.0, 3.0]}})
    assert is_a(answers.Session, answer)["revision"] == 2
    assert answer.headers["etag"] == '"2"'
    value = client.get(f"/v1/sessions/{linear['id']}/outputs/y")
    assert value.headers["jacobian-revision"] == "2"
    np.testing.assert_allclose(value.json()["data"], [8.0, 18.5, 29.0])


@pytest.mark.parametrize(
    ("tag", "status"),
    [
        pytest.param('"1"', 200, id="equal"),
        pytest.param("*", 200, id="star"),
        pytest.param('"0", "1"', 200, id="list"),
        pytest.param('"2"', 412, id="other"),
        pytest.param('W/"1"', 412, id="weak"),
        pytest.param("1", 422, id="unquoted"),
    ],
)
def test_inputs_are_set_conditionally(client: httpx.Client, linear: dict[str, Any], tag: str, status: int) -> None:
    answer = client.put(
        f"/v1/sessions/{linear['id']}/inputs", json={"inputs": {"x": [2.0, 3.0]}}, headers={"If-Match": tag}
    )
    assert answer.status_code == status
    revision = client.get(f"/v1/sessions/{linear['id']}").json()["revision"]
    assert revision == (2 if status == 200 else 1)


@pytest.mark.parametrize(
    ("inputs", "problem", "place"),
    [
        pytest.param({"nothing": 1.0}, "invalid-request", "/inputs/nothing", id="unknown"),
        pytest.param({"x": [1.0]}, "shape-mismatch", "/inputs/x", id="shape"),
        pytest.param({"x": [1.0, None]}, "invalid-request", "/inputs/x/1", id="null"),
        pytest.param({"x": "NaN?"}, "invalid-request", "/inputs/x", id="text"),
        pytest.param({"x": {"dtype": "float32", "data": [1, 2]}}, "invalid-request", "/inputs/x", id="dtype"),
    ],
)
def test_inputs_that_do_not_fit(
    client: httpx.Client, linear: dict[str, Any], inputs: dict[str, Any], problem: str, place: str
) -> None:
    answer = client.put(f"/v1/sessions/{linear['id']}/inputs", json={"inputs": inputs})
    assert check_problem(answer, problem)["errors"][0]["pointer"].startswith(place)
    assert client.get(f"/v1/sessions/{linear['id']}").json()["revision"] == 1


@pytest.mark.parametrize("path", ["out/y.1", "out%2Fy.1", "out%2fy%2E1"], ids=["bare", "slash", "all"])
def test_outputs_with_slashes_and_dots(client: httpx.Client, named: dict[str, Any], path: str) -> None:
    answer = client.get(f"/v1/sessions/{named['id']}/outputs/{path}")
    assert is_a(answers.Tensor, answer) == {"dtype": "float64", "shape": [3], "data": [0.0, 4.0, 1.0]}


def test_outputs_of_other_kinds(client: httpx.Client, named: dict[str, Any]) -> None:
    path = f"/v1/sessions/{named['id']}/outputs"
    assert client.get(f"{path}/less").json() == {"dtype": "bool", "shape": [3], "data": [False, True, True]}
    logarithm = client.get(f"{path}/log").json()["data"]
    assert (logarithm[0], logarithm[2]) == ("-Infinity", "NaN")
    exact = client.get(f"{path}/log", params={"encoding": "base64"}).json()
    assert exact.keys() == {"dtype", "shape", "base64"}
    with np.errstate(all="ignore"):
        wanted = np.log([0.0, 2.0, -1.0])
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(exact["base64"]), "<f8"), wanted)
    check_problem(client.get(f"{path}/nothing"), "not-found")


# --- products --------------------------------------------------------------------------------------------------------

W = np.array(LINEAR["inputs"]["W"])


def test_vjp(client: httpx.Client, linear: dict[str, Any]) -> None:
    answer = client.post(f"/v1/sessions/{linear['id']}/vjp", json={"cotangents": {"y": [1.0, 0.0, 2.0], "s": 0.5}})
    body = is_a(answers.Products, answer)
    assert body["revision"] == 1
    np.testing.assert_allclose(body["products"]["x"]["data"], [1.0, 0.0, 2.0] @ W + 0.5 * np.array([3.0, 12.0]))
    np.testing.assert_allclose(body["products"]["b"]["data"], [1.0, 0.0, 2.0])


def test_jvp(client: httpx.Client, linear: dict[str, Any]) -> None:
    answer = client.post(f"/v1/sessions/{linear['id']}/jvp", json={"tangents": {"x": [[1.0, 0.0], [0.0, 2.0]]}})
    products = is_a(answers.Products, answer)["products"]
    assert products["y"]["shape"] == [2, 3]
    np.testing.assert_allclose(np.reshape(products["y"]["data"], [2, 3]), [W[:, 0], 2 * W[:, 1]])
    np.testing.assert_allclose(products["s"]["data"], [3.0, 24.0])


def test_products_as_bytes(client: httpx.Client, linear: dict[str, Any]) -> None:
    path = f"/v1/sessions/{linear['id']}/jvp?encoding=base64"
    product = client.post(path, json={"tangents": {"x": [1.0, 0.0]}}).json()["products"]["y"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(product["base64"]), "<f8"), W[:, 0])


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        pytest.param("vjp", {"cotangents": {"nothing": 1.0}}, "/cotangents/nothing", id="unknown-output"),
        pytest.param("jvp", {"tangents": {"x": [1.0]}}, "/tangents/x", id="shape"),
        pytest.param("vjp", {"cotangents": {"s": {"data": 1}}}, "/cotangents/s/data", id="no-tensor"),
    ],
)
def test_vectors_that_do_not_fit(
    client: httpx.Client, linear: dict[str, Any], path: str, body: dict[str, Any], place: str
) -> None:
    answer = client.post(f"/v1/sessions/{linear['id']}/{path}", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(place)


# --- around ----------------------------------------------------------------------------------------------------------


def test_health(client: httpx.Client) -> None:
    assert is_a(answers.Health, client.get("/healthz")) == {"status": "ok"}
    assert is_a(answers.Health, client.get("/readyz")) == {"status": "ready"}


def test_the_document_is_served_byte_for_byte(client: httpx.Client) -> None:
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == openapi_document()


def test_the_pages_need_no_internet(client: httpx.Client) -> None:
    assert client.get("/").headers["content-type"].startswith("text/html")
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"docs/{name}" in page.text
        asset = client.get(f"/docs/{name}")
        assert asset.status_code == 200
        assert len(asset.content) > 1000


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz", "/v1/operators", "/v1/sessions"])
def test_head(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


EXAMPLES = [
    pytest.param(operation, body, id=f"{operation.id}-{name}")
    for operation in OPERATIONS
    if operation.body is not None
    for name, body in operation.body.examples.items()
    if operation.id != "create_session_from_files"
]


@pytest.mark.parametrize(("operation", "body"), EXAMPLES)
def test_the_examples_work(client: httpx.Client, operation: Any, body: dict[str, Any]) -> None:
    create = next(o for o in OPERATIONS if o.id == "create_session")
    session = client.post("/v1/sessions", json=create.body.examples["expression"]).json()
    answer = client.request(operation.method, operation.path.format(session_id=session["id"]), json=body)
    assert answer.status_code in {success.status for success in operation.successes}, answer.text


def test_the_links_work(client: httpx.Client, open_session: OpenSession) -> None:
    document = orjson.loads(openapi_document())
    operations = {o["operationId"]: (m, p) for p, ms in document["paths"].items() for m, o in ms.items()}
    session = open_session(
        {
            "graph": {"format": "expression", "outputs": {"y": "sum(x**3)"}},
            "inputs": {"x": [1.0, 2.0]},
        }
    )
    links = document["paths"]["/v1/sessions"]["post"]["responses"]["201"]["links"]
    for link in links.values():
        method, path = operations[link["operationId"]]
        if method == "get":
            values = {
                name: resolve(session, expression.removeprefix("$response.body#"))
                for name, expression in link["parameters"].items()
            }
            inside = {name for name in values if f"{{{name}}}" in path}
            query = {name: value for name, value in values.items() if name not in inside}
            assert client.get(path.format(**values), params=query).status_code == 200, link


def resolve(value: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value
