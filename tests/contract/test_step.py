"""A solver's step in one round trip: several slices and values, at the session's values, at new ones, or elsewhere."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.numpy import load

from service.api import answers
from tests.contract.calls import answered, array, arrays, cached, counts, held, opened, revision, tensor
from tests.contract.problems import check_problem

OUTPUTS = {"y": "tanh(W @ x + b)", "s": "sum(x ** 3) * sum(b * b)"}
W = np.array([[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]])
X, B = np.array([1.0, -2.0]), np.array([0.25, 0.5, -1.0])
INPUTS = {"W": W.tolist(), "x": X.tolist(), "b": B.tolist()}
NEW = np.array([0.5, 0.75])


def values(x=X, b=B):
    return {"y": np.tanh(W @ x + b), "s": np.sum(x**3) * np.sum(b * b)}


def block(y, x, at=X, b=B):
    """The blocks in closed form."""
    slope = 1 - np.tanh(W @ at + b) ** 2
    return {
        ("y", "x"): slope[:, None] * W,
        ("y", "b"): np.diag(slope),
        ("s", "x"): 3 * at**2 * np.sum(b * b),
        ("s", "b"): np.sum(at**3) * 2 * b,
    }[y, x]


@pytest.fixture
def path(client):
    return opened(client, OUTPUTS, INPUTS, ys=["y", "s"], xs=["x", "b"])


def step(client, path, slices, query="", headers=None, **more):
    return client.post(f"{path}/jacobian{query}", json={"slices": slices, **more}, headers=headers)


def wanted(y, x, index=None):
    return {"y": y, "x": x} if index is None else {"y": y, "x": x, "index": index}


# --- what is answered ------------------------------------------------------------------------------------------------


def test_slices_and_outputs_in_the_order_asked(client, path):
    slices = [wanted("s", "x"), wanted("y", "b", "1"), wanted("y", "x", ":,0"), wanted("y", "b", "1"), wanted("s", "b")]
    answer = step(client, path, slices, outputs=["s", "y"])
    body = TypeAdapter(answers.Slices).validate_json(answer.content, extra="forbid")
    assert body["revision"] == 1
    assert answer.headers["jacobian-revision"] == "1"
    assert [(s["y"], s["x"], s["index"], s["revision"]) for s in body["slices"]] == [
        ("s", "x", ":", 1),
        ("y", "b", "1", 1),
        ("y", "x", ":,0", 1),
        ("y", "b", "1", 1),
        ("s", "b", ":", 1),
    ]
    for got, (y, x, index) in zip(
        body["slices"],
        [("s", "x", ...), ("y", "b", 1), ("y", "x", np.s_[:, 0]), ("y", "b", 1), ("s", "b", ...)],
        strict=True,
    ):
        np.testing.assert_allclose(array(got), block(y, x)[index], rtol=1e-13, atol=1e-15)
    assert list(body["outputs"]) == ["s", "y"]
    for name, value in arrays(body["outputs"]).items():
        np.testing.assert_allclose(value, values()[name], rtol=1e-14)


def test_rows_that_two_slices_share_are_evaluated_once(client, path):
    answer = step(client, path, [wanted("y", "x", "0:2"), wanted("y", "b", "1:3"), wanted("s", "b")])
    rows = [s["rows"] for s in answered(answer)["slices"]]
    assert rows == [{"computed": 2, "cached": 0}, {"computed": 1, "cached": 1}, {"computed": 1, "cached": 0}]
    assert counts(answer) == (4, 1)
    assert cached(client, path) == [3, 3, 1, 1]
    assert counts(step(client, path, [wanted("y", "x"), wanted("s", "x")])) == (0, 4)


def test_names_and_indices_may_be_left_out_where_there_is_one(client):
    path = opened(client, {"y": "x * x"}, {"x": [1.0, 2.0]})
    (got,) = answered(step(client, path, [{}]))["slices"]
    assert (got["y"], got["x"], got["index"]) == ("y", "x", ":")
    assert array(got).tolist() == [[2, 0], [0, 4]]


def test_nothing_asked_is_nothing_answered(client, path):
    assert answered(step(client, path, [])) == {"revision": 1, "outputs": {}, "slices": []}


def test_bytes_in_the_place_of_numbers(client, path):
    body = answered(step(client, path, [wanted("y", "x")], query="?encoding=base64", outputs=["y"]))
    assert "data" not in body["slices"][0].keys() | body["outputs"]["y"].keys()
    np.testing.assert_allclose(array(body["slices"][0]), block("y", "x"), rtol=1e-13)
    np.testing.assert_allclose(array(body["outputs"]["y"]), values()["y"], rtol=1e-14)


# --- `inputs` moves --------------------------------------------------------------------------------------------------


def test_inputs_move_the_session(client, path):
    answer = step(client, path, [wanted("y", "x"), wanted("s", "b")], inputs={"x": NEW.tolist()}, outputs=["y"])
    body = answered(answer)
    assert body["revision"] == int(answer.headers["jacobian-revision"]) == 2
    assert [s["revision"] for s in body["slices"]] == [2, 2]
    np.testing.assert_allclose(array(body["slices"][0]), block("y", "x", NEW), rtol=1e-13)
    np.testing.assert_allclose(array(body["slices"][1]), block("s", "b", NEW), rtol=1e-13)
    np.testing.assert_allclose(array(body["outputs"]["y"]), values(NEW)["y"], rtol=1e-14)
    assert revision(client, path) == 2
    later = client.get(f"{path}/jacobian", params={"y": "y", "x": "x"})
    assert (later.headers["jacobian-revision"], counts(later)) == ("2", (0, 3))


def test_inputs_that_are_not_named_stay(client, path):
    step(client, path, [], inputs={"x": NEW.tolist()})
    body = answered(step(client, path, [], inputs={"b": (2 * B).tolist()}, outputs=["y", "s"]))
    assert body["revision"] == 3
    for name, value in arrays(body["outputs"]).items():
        np.testing.assert_allclose(value, values(NEW, 2 * B)[name], rtol=1e-14)


@pytest.mark.parametrize(
    ("tag", "status"),
    [
        pytest.param('"1"', 200, id="equal"),
        pytest.param("*", 200, id="star"),
        pytest.param('"7", "1"', 200, id="list"),
        pytest.param('"2"', 412, id="other"),
        pytest.param('W/"1"', 412, id="weak"),
    ],
)
@pytest.mark.parametrize(
    ("suffix", "body"),
    [
        pytest.param("/jacobian", {"slices": [wanted("y", "x")]}, id="slices"),
        pytest.param("/jacobian.safetensors", {"slices": [wanted("y", "x")]}, id="safetensors"),
        pytest.param("/vjp", {"cotangents": {"s": 1.0}}, id="vjp"),
        pytest.param("/jvp", {"tangents": {"x": [1.0, 0.0]}}, id="jvp"),
        pytest.param("/hvp", {"y": "s", "vectors": {"x": [1.0, 0.0]}}, id="hvp"),
    ],
)
def test_a_move_is_conditional(client, path, suffix, body, tag, status):
    moving = {**body, "inputs": {"x": NEW.tolist()}}
    answer = client.post(path + suffix, json=moving, headers={"If-Match": tag})
    if status == 412:
        check_problem(answer, "precondition-failed")
    assert answer.status_code == status
    assert revision(client, path) == (2 if status == 200 else 1)


def test_moves_at_the_same_time_end_in_distinct_revisions(server, client, path):
    points = [np.array([0.1 * k, 1.0 - 0.1 * k]) for k in range(8)]

    def move(x):
        with httpx.Client(base_url=server.url, timeout=60) as own:
            body = answered(step(own, path, [wanted("y", "x")], inputs={"x": x.tolist()}, outputs=["s"]))
        np.testing.assert_allclose(array(body["slices"][0]), block("y", "x", x), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(array(body["outputs"]["s"]), values(x)["s"], rtol=1e-12, atol=1e-15)
        assert body["slices"][0]["revision"] == body["revision"]
        return body["revision"]

    with ThreadPoolExecutor(len(points)) as threads:
        revisions = list(threads.map(move, points))
    assert sorted(revisions) == list(range(2, 10))
    last = points[int(np.argmax(revisions))]
    np.testing.assert_allclose(array(answered(client.get(f"{path}/outputs/s"))), values(last)["s"], rtol=1e-12)


def test_a_slice_under_way_completes_at_the_revision_it_began_with(server, client, path):
    params = {"y": "y", "x": "x"}
    with ThreadPoolExecutor(1) as threads:
        with held(server.pid):
            asked = threads.submit(httpx.get, f"{server.url}{path}/jacobian", params=params, timeout=60)
            time.sleep(0.5)
            moved = answered(client.put(f"{path}/inputs", json={"inputs": {"x": NEW.tolist()}}))
            assert (moved["revision"], asked.done()) == (2, False)
        begun = answered(asked.result())
    assert begun["revision"] == 1
    np.testing.assert_allclose(array(begun), block("y", "x"), rtol=1e-13)
    np.testing.assert_allclose(
        array(answered(client.get(f"{path}/jacobian", params=params))), block("y", "x", NEW), rtol=1e-13
    )


def test_of_conditional_moves_at_the_same_time_one_succeeds(server, client, path):
    def move(k):
        with httpx.Client(base_url=server.url, timeout=60) as own:
            return step(own, path, [wanted("y", "x")], headers={"If-Match": '"1"'}, inputs={"x": [k, k]}).status_code

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(move, range(6))) == [200] + [412] * 5
    assert revision(client, path) == 2


# --- `at` does not ---------------------------------------------------------------------------------------------------


def test_at_computes_elsewhere_and_moves_nothing(client, path):
    answer = step(client, path, [wanted("y", "x"), wanted("s", "b", "0")], at={"x": NEW.tolist()}, outputs=["y"])
    body = TypeAdapter(answers.Slices).validate_json(answer.content, extra="forbid")
    assert body["revision"] is None
    assert [s["revision"] for s in body["slices"]] == [None, None]
    assert "jacobian-revision" not in answer.headers
    np.testing.assert_allclose(array(body["slices"][0]), block("y", "x", NEW), rtol=1e-13)
    np.testing.assert_allclose(array(body["slices"][1]), block("s", "b", NEW)[0], rtol=1e-13)
    np.testing.assert_allclose(array(body["outputs"]["y"]), values(NEW)["y"], rtol=1e-14)
    assert revision(client, path) == 1
    assert cached(client, path) == [0, 0, 0, 0]
    np.testing.assert_allclose(array(answered(client.get(f"{path}/outputs/y"))), values()["y"], rtol=1e-14)


def test_rows_at_other_values_are_cached_by_content(client, path):
    asked, there = [wanted("y", "x")], {"at": {"x": NEW.tolist()}}
    assert counts(step(client, path, asked, **there)) == (3, 0)
    assert counts(step(client, path, asked, at={"x": NEW.tolist(), "b": B.tolist()})) == (0, 3)
    assert counts(step(client, path, asked)) == (3, 0)
    assert counts(step(client, path, asked, at={"x": X.tolist()})) == (0, 3)
    assert counts(step(client, path, asked, inputs={"x": NEW.tolist()})) == (0, 3)


def test_rows_at_other_values_are_shared_by_sessions(client):
    outputs = {"y": "tanh(W @ x + b) * 0.375"}
    first, second = (opened(client, outputs, INPUTS, xs=["x", "b"], cache="shared") for _ in range(2))
    asked = [wanted("y", "x", "0:2")]
    assert counts(step(client, first, asked, at={"x": NEW.tolist()})) == (2, 0)
    assert counts(step(client, second, asked, at={"x": NEW.tolist()})) == (0, 2)
    assert counts(step(client, second, asked, inputs={"x": NEW.tolist()})) == (0, 2)
    assert counts(step(client, first, asked)) == (2, 0)


def test_many_places_at_the_same_time(server, client, path):
    points = [np.array([0.2 * k, -0.3 * k]) for k in range(8)]

    def there(x):
        with httpx.Client(base_url=server.url, timeout=60) as own:
            (got,) = answered(step(own, path, [wanted("y", "x")], at={"x": x.tolist()}))["slices"]
        np.testing.assert_allclose(array(got), block("y", "x", x), rtol=1e-12, atol=1e-15)

    with ThreadPoolExecutor(len(points)) as threads:
        list(threads.map(there, points))
    assert revision(client, path) == 1


def test_if_match_holds_at_other_values_too(client, path):
    other = step(client, path, [wanted("y", "x")], headers={"If-Match": '"2"'}, at={"x": NEW.tolist()})
    check_problem(other, "precondition-failed")


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED = {
    "both": ({"inputs": {"x": [1, 2]}, "at": {"x": [1, 2]}}, "invalid-request", "/at"),
    "no such y": ({"slices": [wanted("y", "x"), wanted("z", "x")]}, "invalid-request", "/slices/1/y"),
    "no such x": ({"slices": [wanted("y", "W")]}, "invalid-request", "/slices/0/x"),
    "a name too few": ({"slices": [{"y": "y"}]}, "invalid-request", "/slices/0/x"),
    "out of range": ({"slices": [wanted("y", "x"), wanted("y", "x", "3")]}, "invalid-index", "/slices/1/index"),
    "no index": ({"slices": [wanted("y", "x", "True")]}, "invalid-index", "/slices/0/index"),
    "an integer as index": ({"slices": [{"y": "y", "x": "x", "index": 1}]}, "invalid-request", "/slices/0/index"),
    "no such member of a slice": ({"slices": [{"x1": "x"}]}, "invalid-request", "/slices/0/x1"),
    "no such output": ({"outputs": ["y", "z"]}, "invalid-request", "/outputs/1"),
    "slices are no list": ({"slices": {"y": "y"}}, "invalid-request", "/slices"),
    "no such input": ({"inputs": {"z": 1.0}}, "invalid-request", "/inputs/z"),
    "another shape": ({"inputs": {"x": [1.0, 2.0, 3.0]}}, "shape-mismatch", "/inputs/x"),
    "another dtype": ({"inputs": {"x": tensor(np.float32([1, 2]))}}, "invalid-request", "/inputs/x/dtype"),
    "no tensor": ({"inputs": {"x": [1.0, "one"]}}, "invalid-request", "/inputs/x/1"),
    "no such input elsewhere": ({"at": {"z": 1.0}}, "invalid-request", "/at/z"),
    "another shape elsewhere": ({"at": {"x": 1.0}}, "shape-mismatch", "/at/x"),
    "too many": ({"slices": [{}] * 257}, "invalid-request", "/slices"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_moves_nothing(client, path, case):
    more, name, pointer = REFUSED[case]
    moving = {} if "at" in more else {"inputs": {"x": NEW.tolist()}}
    answer = step(client, path, **{"slices": [wanted("y", "x")], **moving, **more})
    assert check_problem(answer, name)["errors"][0]["pointer"] == pointer
    assert revision(client, path) == 1


def test_what_fails_while_it_is_evaluated_moves_nothing(client):
    nodes = [{"op": "Gather", "inputs": ["x", "n"], "outputs": ["y"]}]
    body = {
        "graph": {"format": "nodes", "nodes": nodes, "outputs": ["y"]},
        "inputs": {"x": [1.0, 2.0], "n": {"dtype": "int64", "data": [1]}},
    }
    path = client.post("/v1/sessions", json=body).headers["location"]
    assert step(client, path, [{}], inputs={"n": [7]}).status_code == 422
    assert step(client, path, [{}], at={"n": [7]}).status_code == 422
    assert revision(client, path) == 1
    assert array(answered(step(client, path, [{}]))["slices"][0]).tolist() == [[0, 1]]


# --- representations -------------------------------------------------------------------------------------------------


def columns_of(content):
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all().column("jacobian").combine_chunks().to_numpy_ndarray()


READERS = {
    "application/json": lambda a: array(a.json()["slices"][0]),
    "application/x-npy": lambda a: np.load(io.BytesIO(a.content)),
    "application/octet-stream": lambda a: np.frombuffer(a.content).reshape(3, 2),
    "application/vnd.apache.arrow.stream": lambda a: columns_of(a.content),
    "application/x-safetensors": lambda a: load(a.content)["slices.0"],
    "text/csv": lambda a: np.loadtxt(io.StringIO(a.text), delimiter=",", ndmin=2)[-3:],
    "image/png": None,
}


@pytest.mark.parametrize("media_type", READERS)
@pytest.mark.parametrize("member", ["inputs", "at"])
def test_one_slice_comes_in_every_media_type(client, path, media_type, member):
    answer = step(client, path, [wanted("y", "x")], headers={"Accept": media_type}, **{member: {"x": NEW.tolist()}})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert answer.headers.get("jacobian-revision") == ("2" if member == "inputs" else None)
    assert (answer.headers["jacobian-shape"], answer.headers["jacobian-dtype"]) == ("3,2", "float64")
    assert counts(answer) == (3, 0)
    assert answer.headers["etag"].startswith('W/"')
    assert revision(client, path) == (2 if member == "inputs" else 1)
    read = READERS[media_type]
    if read is not None:
        np.testing.assert_allclose(read(answer), block("y", "x", NEW), rtol=1e-12)


@pytest.mark.parametrize(
    "media_type", [t for t in READERS if t not in {"application/json", "application/x-safetensors"}]
)
@pytest.mark.parametrize("more", [{"slices": [{}, {}]}, {"outputs": ["y"]}], ids=["two slices", "outputs"])
def test_more_than_one_slice_does_not(client, path, media_type, more):
    asked = {"slices": [wanted("y", "x")], "inputs": {"x": NEW.tolist()}, **more}
    answer = client.post(f"{path}/jacobian", json=asked, headers={"Accept": media_type})
    problem = check_problem(answer, "not-acceptable")
    assert "application/x-safetensors" in problem["detail"]
    assert revision(client, path) == 1


@pytest.mark.parametrize(
    ("suffix", "accept", "media_type"),
    [
        pytest.param("", "application/x-safetensors", "application/x-safetensors", id="accept"),
        pytest.param(".safetensors", "text/csv", "application/octet-stream", id="path"),
    ],
)
def test_safetensors(client, path, tmp_path, suffix, accept, media_type):
    asked = {"slices": [wanted("y", "x"), wanted("s", "b"), wanted("y", "x", "0,0")], "outputs": ["s", "y"]}
    for move, metadata in (({"inputs": {"x": NEW.tolist()}}, {"revision": "2"}), ({"at": {"x": NEW.tolist()}}, {})):
        answer = client.post(f"{path}/jacobian{suffix}", json={**asked, **move}, headers={"Accept": accept})
        assert answer.headers["content-type"] == media_type
        (tmp_path / "step").write_bytes(answer.content)
        with safe_open(tmp_path / "step", "np") as file:
            assert (file.metadata() or {}) == metadata
            assert set(file.keys()) == {"slices.0", "slices.1", "slices.2", "outputs.s", "outputs.y"}
            np.testing.assert_allclose(file.get_tensor("slices.0"), block("y", "x", NEW), rtol=1e-13)
            np.testing.assert_allclose(file.get_tensor("slices.1"), block("s", "b", NEW), rtol=1e-13)
            np.testing.assert_allclose(file.get_tensor("slices.2"), block("y", "x", NEW)[0, 0], rtol=1e-13)
            np.testing.assert_allclose(file.get_tensor("outputs.y"), values(NEW)["y"], rtol=1e-14)
    assert answer.headers.get("jacobian-revision") is None


def test_bfloat16_comes_where_it_can(client):
    graph = {"format": "nodes", "nodes": [{"op": "Mul", "inputs": ["x", "x"], "outputs": ["y"]}], "outputs": ["y"]}
    x = {"dtype": "bfloat16", "shape": [2], "data": [1.0, 2.0]}
    path = client.post("/v1/sessions", json={"graph": graph, "inputs": {"x": x}}).headers["location"]
    for media_type in ("application/x-npy", "application/vnd.apache.arrow.stream", "text/csv"):
        check_problem(step(client, path, [{}], headers={"Accept": media_type}), "not-acceptable")
    assert answered(step(client, path, [{}]))["slices"][0]["data"] == [2.0, 0.0, 0.0, 4.0]
    assert step(
        client, path, [{}], headers={"Accept": "application/octet-stream"}
    ).content.hex() == "00400000000080 40".replace(" ", "")
