"""Slices over HTTP: representations, headers, conditions, laziness."""

import io
from base64 import b64decode
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import TypeAdapter

from service.api import answers
from tests.contract.conftest import LINEAR, OpenSession
from tests.contract.problems import check_problem

W = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
HESSIAN = np.diag([6.0, 12.0])
KINDS = {
    "jacobian": ({"y": "y", "x": "x"}, W, answers.JacobianSlice),
    "hessian": ({"y": "s", "x1": "x", "x2": "x"}, HESSIAN, answers.HessianSlice),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def ask(client: httpx.Client, session: dict[str, Any], kind: str, suffix: str = "", **rest: Any) -> httpx.Response:
    names = {**KINDS[kind][0], **rest.pop("params", {})}
    return client.get(f"/v1/sessions/{session['id']}/{kind}{suffix}", params=names, **rest)


def array_of(body: dict[str, Any]) -> np.ndarray:
    return np.array(body["data"], body["dtype"]).reshape(body["shape"])


def cached_rows(client: httpx.Client, session: dict[str, Any]) -> list[int]:
    blocks = client.get(f"/v1/sessions/{session['id']}").json()["jacobians"]
    return [block["rows"]["cached"] for block in blocks]


@kinds
def test_json(client: httpx.Client, linear: dict[str, Any], kind: str) -> None:
    names, values, schema = KINDS[kind]
    answer = ask(client, linear, kind, params={"index": "1,:"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = TypeAdapter(schema).validate_json(answer.content, extra="forbid")
    assert names.items() <= body.items()
    assert (body["index"], body["revision"], body["dtype"], body["shape"]) == ("1,:", 1, "float64", [2])
    assert body["rows"] == {"computed": 1, "cached": 0}
    np.testing.assert_allclose(array_of(body), values[1])


@kinds
def test_base64(client: httpx.Client, linear: dict[str, Any], kind: str) -> None:
    body = ask(client, linear, kind, params={"encoding": "base64"}).json()
    assert "data" not in body
    content = np.frombuffer(b64decode(body["base64"]), "<f8").reshape(body["shape"])
    np.testing.assert_allclose(content, KINDS[kind][1])


@kinds
@pytest.mark.parametrize(
    ("suffix", "accept", "media_type"),
    [
        pytest.param("", "application/x-npy", "application/x-npy", id="accept"),
        pytest.param(".npy", "*/*", "application/octet-stream", id="path"),
        pytest.param(".npy", "text/csv", "application/octet-stream", id="path-whatever-is-accepted"),
    ],
)
def test_npy(
    client: httpx.Client, linear: dict[str, Any], kind: str, suffix: str, accept: str, media_type: str
) -> None:
    answer = ask(client, linear, kind, suffix, params={"index": "::-1"}, headers={"Accept": accept})
    assert answer.headers["content-type"] == media_type
    np.testing.assert_allclose(np.load(io.BytesIO(answer.content)), KINDS[kind][1][::-1])


@kinds
@pytest.mark.parametrize(
    ("suffix", "accept"),
    [pytest.param("", "application/octet-stream", id="accept"), pytest.param(".bin", "*/*", id="path")],
)
def test_bytes(client: httpx.Client, linear: dict[str, Any], kind: str, suffix: str, accept: str) -> None:
    answer = ask(client, linear, kind, suffix, headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/octet-stream"
    shape = [int(size) for size in answer.headers["jacobian-shape"].split(",")]
    values = np.frombuffer(answer.content, answer.headers["jacobian-dtype"]).reshape(shape)
    np.testing.assert_allclose(values, KINDS[kind][1])


@kinds
@pytest.mark.parametrize("suffix", ["", ".npy", ".bin"], ids=["json", "npy", "bin"])
def test_headers(client: httpx.Client, linear: dict[str, Any], kind: str, suffix: str) -> None:
    first = ask(client, linear, kind, suffix, params={"index": "0"})
    again = ask(client, linear, kind, suffix, params={"index": "0,:"})
    for answer, computed in ((first, "1"), (again, "0")):
        assert answer.headers["jacobian-revision"] == "1"
        assert answer.headers["jacobian-shape"] == "2"
        assert answer.headers["jacobian-dtype"] == "float64"
        assert answer.headers["jacobian-rows-computed"] == computed
        assert answer.headers["jacobian-rows-cached"] == str(1 - int(computed))
        assert answer.headers["vary"] == "Accept"
        assert int(answer.headers["content-length"]) == len(answer.content)
        phases = [phase.split(";dur=") for phase in answer.headers["server-timing"].split(", ")]
        assert [name for name, _ in phases] == ["queue", "forward", "rows", "encode"]
        assert all(float(milliseconds) >= 0 for _, milliseconds in phases)
    assert first.headers["etag"].startswith('W/"')
    assert first.headers["etag"] == again.headers["etag"]


def test_a_scalar_has_an_empty_shape(client: httpx.Client, linear: dict[str, Any]) -> None:
    answer = ask(client, linear, "jacobian", params={"index": "0,1"})
    assert answer.headers["jacobian-shape"] == ""
    assert (answer.json()["shape"], answer.json()["data"]) == ([], [2.0])


def test_an_empty_slice_touches_no_row(client: httpx.Client, linear: dict[str, Any]) -> None:
    answer = ask(client, linear, "jacobian", params={"index": "0:0"})
    assert (answer.json()["shape"], answer.json()["data"]) == ([0, 2], [])
    assert answer.json()["rows"] == {"computed": 0, "cached": 0}
    assert ask(client, linear, "jacobian", ".bin", params={"index": "0:0"}).content == b""


@pytest.mark.parametrize("accept", ["text/html", "image/jpeg", "application/json;q=0, text/*;q=0"])
def test_other_representations_are_refused(client: httpx.Client, linear: dict[str, Any], accept: str) -> None:
    problem = check_problem(ask(client, linear, "jacobian", headers={"Accept": accept}), "not-acceptable")
    assert "application/x-npy" in problem["detail"]
    assert cached_rows(client, linear) == [0, 0, 0, 0]


def test_representations_have_their_own_etags(client: httpx.Client, linear: dict[str, Any]) -> None:
    answers_ = [
        ask(client, linear, "jacobian"),
        ask(client, linear, "jacobian", params={"encoding": "base64"}),
        ask(client, linear, "jacobian", headers={"Accept": "application/x-npy"}),
        ask(client, linear, "jacobian", headers={"Accept": "application/octet-stream"}),
    ]
    assert len({answer.headers["etag"] for answer in answers_}) == 4
    assert ask(client, linear, "jacobian", ".npy").headers["etag"] == answers_[2].headers["etag"]
    assert ask(client, linear, "hessian").headers["etag"] != answers_[0].headers["etag"]
    assert ask(client, linear, "jacobian", params={"index": "0"}).headers["etag"] != answers_[0].headers["etag"]


@kinds
@pytest.mark.parametrize("suffix", ["", ".npy", ".bin"], ids=["json", "npy", "bin"])
def test_not_modified(client: httpx.Client, linear: dict[str, Any], kind: str, suffix: str) -> None:
    etag = ask(client, linear, kind, suffix).headers["etag"]
    for header in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        answer = ask(client, linear, kind, suffix, headers={"If-None-Match": header})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
        assert answer.headers["vary"] == "Accept"
    assert ask(client, linear, kind, suffix, headers={"If-None-Match": 'W/"other"'}).status_code == 200


def test_not_modified_holds_in_another_session_at_the_point(client: httpx.Client, open_session: OpenSession) -> None:
    etag = ask(client, open_session(LINEAR), "jacobian").headers["etag"]
    fresh = open_session(LINEAR)
    assert ask(client, fresh, "jacobian", headers={"If-None-Match": etag}).status_code == 304
    assert cached_rows(client, fresh) == [0, 0, 0, 0]


def test_a_new_point_is_modified(client: httpx.Client, linear: dict[str, Any]) -> None:
    etag = ask(client, linear, "hessian").headers["etag"]
    path = f"/v1/sessions/{linear['id']}/inputs"
    assert client.put(path, json={"inputs": {"x": [2.0, 3.0]}}).json()["revision"] == 2
    answer = ask(client, linear, "hessian", headers={"If-None-Match": etag})
    assert answer.status_code == 200
    assert answer.headers["jacobian-revision"] == "2"
    client.put(path, json={"inputs": {"x": [1.0, 2.0]}})
    assert ask(client, linear, "hessian").headers["etag"] == etag


def test_a_pinned_revision(client: httpx.Client, linear: dict[str, Any]) -> None:
    assert ask(client, linear, "jacobian", params={"revision": "1"}).status_code == 200
    check_problem(ask(client, linear, "jacobian", params={"revision": "2"}), "invalid-request")
    client.put(f"/v1/sessions/{linear['id']}/inputs", json={"inputs": {"x": [2.0, 3.0]}})
    check_problem(ask(client, linear, "jacobian", params={"revision": "1"}), "revision-passed")


@kinds
@pytest.mark.parametrize("suffix", ["", ".npy", ".bin"], ids=["json", "npy", "bin"])
def test_head(client: httpx.Client, linear: dict[str, Any], kind: str, suffix: str) -> None:
    path, names = f"/v1/sessions/{linear['id']}/{kind}{suffix}", KINDS[kind][0]
    head, get = client.head(path, params=names), client.get(path, params=names)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "etag", "jacobian-shape"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        pytest.param({"index": "True"}, "invalid-index", id="boolean"),
        pytest.param({"index": "7"}, "invalid-index", id="out-of-range"),
        pytest.param({"index": ""}, "invalid-index", id="empty"),
        pytest.param({"revision": "0"}, "invalid-request", id="revision-zero"),
        pytest.param({"revision": "one"}, "invalid-request", id="revision-word"),
        pytest.param({"encoding": "hex"}, "invalid-request", id="encoding"),
        pytest.param({"x1": "x"}, "invalid-request", id="hessian's-parameter"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".npy", ".bin"], ids=["json", "npy", "bin"])
def test_refusals(
    client: httpx.Client, linear: dict[str, Any], suffix: str, params: dict[str, str], problem: str
) -> None:
    check_problem(ask(client, linear, "jacobian", suffix, params=params), problem)


def test_names_may_be_left_out_where_there_is_one(client: httpx.Client, named: dict[str, Any]) -> None:
    body = client.get(f"/v1/sessions/{named['id']}/jacobian").json()
    assert (body["y"], body["x"], body["index"]) == ("out/y.1", "in/x.1", ":")
    np.testing.assert_allclose(array_of(body), np.diag([0.0, 4.0, -2.0]))


def test_not_finite(client: httpx.Client, open_session: OpenSession) -> None:
    graph = {"format": "expression", "outputs": {"y": "log(x)"}}
    session = open_session({"graph": graph, "inputs": {"x": [0.0, 1.0]}})
    path = f"/v1/sessions/{session['id']}/jacobian"
    assert client.get(path, params={"index": "0,0"}).json()["data"] == ["Infinity"]
    bare = client.get(f"{path}.bin", params={"index": "0,0"}).content
    assert np.frombuffer(bare, "<f8").tolist() == [np.inf]


def test_a_large_slice_comes_whole(client: httpx.Client, open_session: OpenSession) -> None:
    n = 600
    session = open_session(
        {
            "graph": {"format": "expression", "outputs": {"y": "x * a"}},
            "inputs": {"x": [1.0] * n, "a": list(range(n))},
            "xs": "x",
        }
    )
    path = f"/v1/sessions/{session['id']}/jacobian"
    wanted = np.diag(np.arange(n, dtype=float))
    np.testing.assert_array_equal(np.load(io.BytesIO(client.get(f"{path}.npy").content)), wanted)
    np.testing.assert_array_equal(np.frombuffer(client.get(f"{path}.bin").content, "<f8"), wanted.ravel())
    np.testing.assert_array_equal(array_of(client.get(path).json()), wanted)
