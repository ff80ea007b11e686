"""What sessions mean: dtypes, batches, defaults, products, expiry."""

import time

import numpy as np
import pytest

from tests.contract.problems import check_problem


def opened(client, outputs, inputs, **more):
    graph = {"format": "expression", "outputs": outputs if isinstance(outputs, dict) else {"y": outputs}}
    answer = client.post("/v1/sessions", json={"graph": graph, "inputs": inputs, "cache": "session", **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def block(client, session, kind="jacobian", **names):
    answer = client.get(f"/v1/sessions/{session['id']}/{kind}", params=names)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return np.array(body["data"], body["dtype"]).reshape(body["shape"])


def test_blocks_are_listed_by_y_and_then_by_x(client):
    session = opened(client, {"u": "a * 2", "v": "b * 3"}, {"a": [1.0], "b": [2.0, 3.0]}, ys=["v", "u"], xs=["b", "a"])
    assert [(b["y"], b["x"], b["shape"]) for b in session["jacobians"]] == [
        ("v", "b", [2, 2]),
        ("v", "a", [2, 1]),
        ("u", "b", [1, 2]),
        ("u", "a", [1, 1]),
    ]
    assert not block(client, session, y="v", x="a").any()


def test_a_name_may_stand_twice(client):
    session = opened(client, "x * 2", {"x": [1.0, 2.0]}, ys=["y", "y"], xs=["x", "x"])
    assert len(session["jacobians"]) == 4
    assert block(client, session).tolist() == [[2, 0], [0, 2]]


@pytest.mark.parametrize(
    ("outputs", "x", "shape"),
    [
        pytest.param("sum(x)", [1.0, 2.0], [2], id="scalar y"),
        pytest.param("x * a", 2.0, [2], id="scalar x"),
        pytest.param("x * 2", 2.0, [], id="both scalar"),
        pytest.param("x * 2", [[1.0, 2.0], [3.0, 4.0]], [4, 4], id="matrices are flattened"),
    ],
)
def test_ranks(client, outputs, x, shape):
    inputs = {"x": x, "a": [1.0, 2.0]} if "a" in outputs else {"x": x}
    session = opened(client, outputs, inputs, xs="x")
    assert session["jacobians"][0]["shape"] == shape
    assert list(block(client, session).shape) == shape


def test_a_batch(client):
    x = np.arange(6.0).reshape(3, 2)
    inputs = {"x": x.tolist(), "w": 2.0}
    session = opened(client, "x * sum(x, axis=0) * w", inputs, batch_axis=0, xs="x")
    assert [(b["x"], b["shape"], b["rows"]["total"]) for b in session["jacobians"]] == [("x", [3, 2, 2], 2)]
    wanted = np.stack([2 * np.diag(x.sum(0) + x[b]) for b in range(3)])
    np.testing.assert_allclose(block(client, session), wanted)
    np.testing.assert_allclose(block(client, session, index="0,:,[0,1]"), wanted[0, :, [0, 1]])


def test_the_xs_of_a_batch_are_those_that_have_its_axis(client):
    inputs = {"x": [[1.0, 2.0]] * 3, "W": [[1.0, 2.0], [3.0, 4.0]], "c": [1.0, 2.0, 3.0]}
    outputs = "x @ W + reshape(c, (3, 1))"
    session = opened(client, outputs, inputs, batch_axis=0)
    assert [(b["x"], b["shape"]) for b in session["jacobians"]] == [("c", [3, 2]), ("x", [3, 2, 2])]
    assert block(client, session, x="c").tolist() == [[1, 1]] * 3
    graph = {"format": "expression", "outputs": {"y": outputs}}
    answer = client.post("/v1/sessions", json={"graph": graph, "inputs": inputs, "batch_axis": 0, "xs": "W"})
    check_problem(answer, "shape-mismatch")


def test_an_empty_y_has_no_rows(client):
    session = opened(client, "x[0:0] * 2", {"x": [1.0, 2.0]})
    (described,) = session["jacobians"]
    assert (described["shape"], described["rows"]) == ([0, 2], {"total": 0, "cached": 0})
    assert block(client, session).shape == (0, 2)


def test_a_block_without_axes_has_few_indices(client):
    session = opened(client, "x * x", {"x": 3.0})
    path = f"/v1/sessions/{session['id']}/jacobian"
    assert session["jacobians"][0]["rows"]["total"] == 1
    assert client.get(path).json()["index"] == "..."
    for index in ("()", "..."):
        assert client.get(path, params={"index": index}).json()["data"] == [6.0]
    for index in (":", "0", "[0]"):
        check_problem(client.get(path, params={"index": index}), "invalid-index")


def test_a_batch_of_scalars(client):
    session = opened(client, "sin(x)", {"x": [0.5, 1.5]}, batch_axis=0)
    assert session["jacobians"][0]["shape"] == [2]
    assert session["jacobians"][0]["rows"]["total"] == 1
    np.testing.assert_allclose(block(client, session), np.cos([0.5, 1.5]))


@pytest.mark.parametrize(
    ("outputs", "inputs", "more", "name", "pointer"),
    [
        pytest.param("sum(x)", {"x": [1.0]}, {"batch_axis": 0}, "shape-mismatch", "/ys", id="y is 0-D"),
        pytest.param(
            "x * 2 + c", {"x": [1.0, 2.0], "c": 1.0}, {"batch_axis": 0}, "shape-mismatch", "/xs", id="0-D x by default"
        ),
        pytest.param(
            "x * 2 + c",
            {"x": [1.0, 2.0], "c": 1.0},
            {"batch_axis": 0, "xs": ["x", "c"]},
            "shape-mismatch",
            "/xs",
            id="x is 0-D",
        ),
        pytest.param("x", {"x": [1.0]}, {"ys": "z"}, "invalid-request", "/ys", id="no such y"),
        pytest.param("x", {"x": [1.0]}, {"xs": "z"}, "invalid-request", "/xs", id="no such x"),
        pytest.param(
            "x * n",
            {"x": [1.0], "n": {"dtype": "int64", "data": [2]}},
            {"xs": "n"},
            "not-differentiable",
            "/xs",
            id="an integer x",
        ),
        pytest.param("x", {"x": [1.0], "z": 1.0}, {}, "invalid-request", "/inputs/z", id="an input too many"),
        pytest.param("x + z", {"x": [1.0]}, {}, "invalid-request", "/inputs/z", id="an input too few"),
        pytest.param("a @ b", {"a": [1.0], "b": [1.0, 2.0]}, {}, "shape-mismatch", None, id="shapes that do not fit"),
        pytest.param("x", {"x": [1.0]}, {"ttl_seconds": 1e9}, "invalid-request", "/ttl_seconds", id="too long a life"),
    ],
)
def test_refusals(client, outputs, inputs, more, name, pointer):
    graph = {"format": "expression", "outputs": {"y": outputs}}
    answer = client.post("/v1/sessions", json={"graph": graph, "inputs": inputs, **more})
    problem = check_problem(answer, name)
    assert pointer is None or [e["pointer"] for e in problem["errors"]] == [pointer]


def test_bare_numbers_take_the_sessions_dtype(client):
    session = opened(client, "x * 2", {"x": [1, 2]}, dtype="float32")
    assert session["inputs"][0]["dtype"] == "float32"
    assert block(client, session).dtype == np.float32


def test_double_precision_of_a_single_precision_graph(client):
    graph = {
        "format": "nodes",
        "nodes": [
            {"op": "Cast", "inputs": ["x"], "outputs": ["h"], "attributes": {"to": 1}},
            {"op": "Exp", "inputs": ["h"], "outputs": ["y"]},
        ],
        "outputs": ["y"],
    }
    x = {"dtype": "float32", "shape": [2], "data": [0.5, 0.25]}
    answer = client.post("/v1/sessions", json={"graph": graph, "inputs": {"x": x}, "precision": "float64"})
    session = answer.json()
    assert [b["dtype"] for b in session["jacobians"]] == ["float64"]
    np.testing.assert_allclose(block(client, session), np.diag(np.exp([0.5, 0.25])), rtol=1e-15)
    client.put(f"/v1/sessions/{session['id']}/inputs", json={"inputs": {"x": [0.1, 0.2]}})
    np.testing.assert_allclose(block(client, session), np.diag(np.exp([0.1, 0.2])), rtol=1e-15)


def test_a_session_without_floating_point_inputs_has_outputs_and_no_blocks(client):
    session = opened(client, "n + n", {"n": {"dtype": "int64", "data": [1, 2]}})
    assert session["jacobians"] == []
    assert client.get(f"/v1/sessions/{session['id']}/outputs/y").json()["data"] == [2, 4]


def test_an_integer_output_has_a_block_of_zeros(client):
    session = opened(client, "argmax(x)", {"x": [1.0, 3.0, 2.0]})
    assert block(client, session).tolist() == [0, 0, 0]


def test_ys_name_any_value_of_a_nodes_graph(client):
    nodes = [
        {"op": "Tanh", "inputs": ["h"], "outputs": ["y"]},
        {"op": "Mul", "inputs": ["x", "x"], "outputs": ["h"]},
    ]
    graph = {"format": "nodes", "opset": 21, "nodes": nodes}
    answer = client.post("/v1/sessions", json={"graph": graph, "inputs": {"x": [1.0, 2.0]}, "ys": ["y", "h"]})
    session = answer.json()
    assert block(client, session, y="h").tolist() == [[2, 0], [0, 4]]


def test_hessian_of_a_sample_where_samples_mix(client):
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    session = opened(client, "sum(x * x, axis=1) * sum(x)", {"x": x.tolist()}, batch_axis=0)
    got = block(client, session, kind="hessian")
    for b in range(2):
        v = x[b]
        wanted = 2 * x.sum() * np.eye(2) + 2 * np.add.outer(v, v)
        np.testing.assert_allclose(got[b], wanted)


def test_a_hessian_needs_a_scalar(client):
    session = opened(client, "x * x", {"x": [1.0, 2.0]})
    check_problem(client.get(f"/v1/sessions/{session['id']}/hessian"), "shape-mismatch")


def test_products_come_in_batches(client):
    session = opened(client, "W @ x", {"W": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "x": [1.0, 1.0]}, xs="x")
    path = f"/v1/sessions/{session['id']}"
    answer = client.post(f"{path}/vjp", json={"cotangents": {"y": [[1, 0, 0], [0, 1, 1]]}}).json()
    assert answer["products"]["x"]["shape"] == [2, 2]
    assert answer["products"]["x"]["data"] == [1, 2, 8, 10]
    answer = client.post(f"{path}/jvp", json={"tangents": {"x": [[1, 0], [0, 1]]}}).json()
    assert answer["products"]["y"]["data"] == [1, 3, 5, 2, 4, 6]


def test_values_that_are_not_finite_come_through(client):
    session = opened(client, "1 / x", {"x": [0.0, 2.0]})
    answer = client.get(f"/v1/sessions/{session['id']}/jacobian").json()
    assert (answer["data"][0], answer["data"][3]) == ("-Infinity", -0.25)
    moved = client.put(f"/v1/sessions/{session['id']}/inputs", json={"inputs": {"x": ["NaN", "Infinity"]}})
    assert moved.status_code == 200


def test_a_session_expires_after_its_last_use(client):
    session = opened(client, "x", {"x": [1.0]}, ttl_seconds=1.0)
    path = f"/v1/sessions/{session['id']}"
    for _ in range(4):
        time.sleep(0.4)
        assert client.get(path).status_code == 200
    time.sleep(1.2)
    check_problem(client.get(path), "expired")
    assert session["id"] not in [s["id"] for s in client.get("/v1/sessions").json()["sessions"]]


def test_a_failing_move_changes_nothing(client):
    nodes = [{"op": "Gather", "inputs": ["x", "n"], "outputs": ["y"]}]
    body = {
        "graph": {"format": "nodes", "nodes": nodes, "outputs": ["y"]},
        "inputs": {"x": [1.0, 2.0], "n": {"dtype": "int64", "data": [1]}},
    }
    session = client.post("/v1/sessions", json=body).json()
    path = f"/v1/sessions/{session['id']}"
    answer = client.put(f"{path}/inputs", json={"inputs": {"n": [7]}})
    assert answer.status_code == 422
    assert client.get(path).json()["revision"] == 1
    assert client.get(f"{path}/outputs/y").json()["data"] == [2.0]
