"""Evaluations in the background: what they say of themselves, how they end, and what they leave in the cache."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime

import httpx
import numpy as np
import pytest
from pydantic import TypeAdapter

from service.api import answers
from tests.contract.calls import answered, array, cached, counts, held, opened, revision
from tests.contract.problems import check_problem

A = np.linspace(0.1, 1.0, 120)
X = np.array([0.5, -1.0, 2.0])
OUTPUTS = {"y": "sin(a * sum(x * x))", "s": "sum(x ** 3) * sum(a)"}
INPUTS = {"a": A.tolist(), "x": X.tolist()}


@pytest.fixture
def path(client):
    return opened(client, OUTPUTS, INPUTS, ys=["y", "s"], xs=["x", "a"])


def jacobian(x=X):
    return (A * np.cos(A * (x @ x)))[:, None] * 2 * x


def start(client, path, **wanted):
    return client.post(f"{path}/evaluations", json={"y": "y", "x": "x", **wanted})


def is_an_evaluation(body):
    return TypeAdapter(answers.Evaluation).validate_python(body, extra="forbid")


def seen(client, evaluation):
    return is_an_evaluation(answered(client.get(f"/v1/evaluations/{evaluation['id']}")))


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(client, evaluation):
    """An evaluation once it has ended."""
    wait_for(lambda: seen(client, evaluation)["finished_at"] is not None)
    return seen(client, evaluation)


def events_of(lines):
    """Server-sent events as they come: name and data."""
    name = None
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


# --- a life ----------------------------------------------------------------------------------------------------------


def test_one_is_started_and_ends(client, path):
    answer = start(client, path, index="10:90,:")
    first = is_an_evaluation(answered(answer, 202))
    assert answer.headers["location"] == f"/v1/evaluations/{first['id']}"
    session_id = path.rpartition("/")[2]
    assert first["id"].startswith(session_id)
    assert first["id"] != session_id
    names = {name: first[name] for name in ("session_id", "revision", "y", "x", "index", "problem")}
    assert names == {
        "session_id": session_id,
        "revision": 1,
        "y": "y",
        "x": "x",
        "index": "10:90,:",
        "problem": None,
    }
    assert first["state"] in {"queued", "running"}
    assert (first["rows"]["total"], first["finished_at"]) == (80, None)
    last = ended(client, first)
    assert (last["state"], last["rows"], last["eta_seconds"]) == ("done", {"total": 80, "done": 80}, None)
    assert datetime.fromisoformat(last["created_at"]) <= datetime.fromisoformat(last["finished_at"])
    assert datetime.fromisoformat(last["finished_at"]).utcoffset().total_seconds() == 0


def test_the_slice_takes_nothing_afterwards(client, path):
    evaluation = answered(start(client, path, index="::3"), 202)
    ended(client, evaluation)
    assert cached(client, path) == [40, 40, 0, 0]
    answer = client.get(f"{path}/jacobian", params={"y": "y", "x": "x", "index": "::3"})
    assert counts(answer) == (0, 40)
    np.testing.assert_allclose(array(answered(answer)), jacobian()[::3], rtol=1e-12)
    assert counts(client.get(f"{path}/jacobian", params={"y": "y", "x": "a"})) == (80, 40)


def test_a_slice_of_a_hessian(client, path):
    body = {"y": "s", "x1": "x", "x2": "a", "index": "1:,:"}
    first = is_an_evaluation(answered(client.post(f"{path}/evaluations", json=body), 202))
    assert (first["y"], first["x1"], first["x2"], first["rows"]["total"]) == ("s", "x", "a", 2)
    assert "x" not in first
    ended(client, first)
    answer = client.get(f"{path}/hessian", params=body)
    assert counts(answer) == (0, 2)
    np.testing.assert_allclose(array(answered(answer)), np.outer(3 * X**2, np.ones(120))[1:], rtol=1e-12)


def test_names_and_index_may_be_left_out_where_there_is_one(client):
    path = opened(client, {"y": "x * x"}, {"x": [1.0, 2.0]})
    evaluation = answered(client.post(f"{path}/evaluations", json={}), 202)
    assert (evaluation["y"], evaluation["x"], evaluation["index"]) == ("y", "x", ":")
    assert ended(client, evaluation)["rows"] == {"total": 2, "done": 2}


@pytest.mark.parametrize("index", ["5:5", "[],:"])
def test_an_empty_slice_is_done_without_a_row(client, path, index):
    last = ended(client, answered(start(client, path, index=index), 202))
    assert (last["state"], last["rows"]) == ("done", {"total": 0, "done": 0})
    assert cached(client, path) == [0, 0, 0, 0]


def test_rows_that_are_there_count_as_done(client, path):
    client.get(f"{path}/jacobian", params={"y": "y", "x": "x"})
    with_rows = ended(client, answered(start(client, path), 202))
    assert (with_rows["state"], with_rows["rows"]) == ("done", {"total": 120, "done": 120})


def test_a_batch(client):
    x = np.arange(12.0).reshape(3, 4)
    path = opened(client, {"y": "x * sum(x, axis=0)"}, {"x": x.tolist()}, batch_axis=0)
    evaluation = answered(start(client, path, index="1:,0:2"), 202)
    assert evaluation["rows"]["total"] == 2
    assert ended(client, evaluation)["state"] == "done"
    answer = client.get(f"{path}/jacobian", params={"index": "1:,0:2"})
    assert counts(answer) == (0, 2)
    wanted = np.stack([np.diag(x.sum(0) + x[b]) for b in range(3)])[1:, 0:2]
    np.testing.assert_allclose(array(answered(answer)), wanted)


# --- the session meanwhile -------------------------------------------------------------------------------------------


def test_the_revision_is_pinned_while_the_session_moves(client, server, path):
    with held(server.pid):
        evaluation = answered(start(client, path), 202)
        assert revision(client, path) == 1
        answered(client.put(f"{path}/inputs", json={"inputs": {"x": (2 * X).tolist()}}))
        assert revision(client, path) == 2
    last = ended(client, evaluation)
    assert (last["state"], last["revision"], last["rows"]["done"]) == ("done", 1, 120)
    answer = client.get(f"{path}/jacobian", params={"y": "y", "x": "x"})
    assert counts(answer) == (120, 0)
    np.testing.assert_allclose(array(answered(answer)), jacobian(2 * X), rtol=1e-12)
    answered(client.put(f"{path}/inputs", json={"inputs": {"x": X.tolist()}}))
    answer = client.get(f"{path}/jacobian", params={"y": "y", "x": "x"})
    assert counts(answer) == (0, 120)
    np.testing.assert_allclose(array(answered(answer)), jacobian(), rtol=1e-12)


def test_a_slice_counts_rows_under_way_as_cached(client, server, path):
    with ThreadPoolExecutor(1) as threads:
        with held(server.pid):
            evaluation = answered(start(client, path, index="0:16"), 202)
            wait_for(lambda: seen(client, evaluation)["state"] == "running")
            params = {"y": "y", "x": "x", "index": "0:20"}
            asked = threads.submit(httpx.get, f"{server.url}{path}/jacobian", params=params, timeout=60)
            time.sleep(0.3)
            assert not asked.done()
        assert counts(asked.result()) == (4, 16)
    assert ended(client, evaluation)["state"] == "done"


def test_it_ends_with_its_session(client, server, path):
    with held(server.pid):
        evaluation = answered(start(client, path), 202)
        with client.stream("GET", f"/v1/evaluations/{evaluation['id']}/events") as stream:
            events = events_of(stream.iter_lines())
            assert next(events)[0] == "progress"
            assert client.delete(path).status_code == 204
            name, data = list(events)[-1]
            assert (name, data["state"]) == ("failed", "cancelled")
        check_problem(client.get(f"/v1/evaluations/{evaluation['id']}"), "not-found")


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_tell_progress_and_the_end(client, server, path):
    with ExitStack() as stack:
        with held(server.pid):
            evaluation = answered(start(client, path), 202)
            answer = stack.enter_context(client.stream("GET", f"/v1/evaluations/{evaluation['id']}/events"))
            assert answer.headers["content-type"] == "text/event-stream"
            coming = events_of(answer.iter_lines())
            events = [next(coming)]
        events += coming
    names = [name for name, _ in events]
    assert names == ["progress"] * (len(names) - 1) + ["done"]
    told = [is_an_evaluation(data) for _, data in events]
    done = [data["rows"]["done"] for data in told]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == 120
    midway = [data for data in told if 0 < data["rows"]["done"] < 120]
    assert midway
    assert all(data["state"] == "running" and data["eta_seconds"] >= 0 for data in midway)
    assert told[-1] == seen(client, evaluation)


def test_events_of_one_that_has_ended(client, path):
    evaluation = answered(start(client, path, index="0"), 202)
    last = ended(client, evaluation)
    with client.stream("GET", f"/v1/evaluations/{evaluation['id']}/events") as answer:
        assert list(events_of(answer.iter_lines())) == [("done", last)]


# --- cancelling ------------------------------------------------------------------------------------------------------


def test_one_is_cancelled(client, server, path):
    with held(server.pid):
        evaluation = answered(start(client, path), 202)
        where = f"/v1/evaluations/{evaluation['id']}"
        assert (client.delete(where).status_code, client.delete(where).content) == (204, b"")
        now = seen(client, evaluation)
        assert (now["state"], now["rows"]["done"], now["eta_seconds"]) == ("cancelled", 0, None)
        assert now["finished_at"] is not None
        with client.stream("GET", f"{where}/events") as answer:
            assert [name for name, _ in events_of(answer.iter_lines())] == ["failed"]
    time.sleep(0.3)
    assert cached(client, path) == [0, 0, 0, 0]
    assert ended(client, evaluation) == now
    assert counts(client.get(f"{path}/jacobian", params={"y": "y", "x": "x"})) == (120, 0)


def test_one_that_has_ended_stays_as_it_is(client, path):
    last = ended(client, answered(start(client, path, index="0:4"), 202))
    assert client.delete(f"/v1/evaluations/{last['id']}").status_code == 204
    assert seen(client, last) == last
    assert cached(client, path) == [4, 4, 0, 0]


def test_what_another_waits_for_is_not_cancelled(client, server, path):
    with held(server.pid):
        first, second = (answered(start(client, path, index="0:8"), 202) for _ in range(2))
        time.sleep(0.3)
        client.delete(f"/v1/evaluations/{first['id']}")
    assert ended(client, second)["state"] == "done"
    assert ended(client, first)["state"] == "cancelled"


def test_too_many_are_busy(client, server, path):
    with held(server.pid):
        for _ in range(64):
            assert start(client, path, index="0").status_code == 202
        refused = start(client, path, index="0")
        check_problem(refused, "busy")
        assert int(refused.headers["retry-after"]) > 0
        assert client.delete(path).status_code == 204
    again = opened(client, OUTPUTS, INPUTS, ys=["y", "s"], xs=["x", "a"])
    assert ended(client, answered(start(client, again, index="0"), 202))["state"] == "done"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "name", "pointer"),
    [
        pytest.param({"y": "y", "x": "x", "index": "120"}, "invalid-index", "/index", id="out of range"),
        pytest.param({"y": "y", "x": "x", "index": "None"}, "invalid-index", "/index", id="no index"),
        pytest.param({"y": "z", "x": "x"}, "invalid-request", "/y", id="no such y"),
        pytest.param({"y": "y", "x": "z"}, "invalid-request", "/x", id="no such x"),
        pytest.param({"y": "y"}, "invalid-request", "/x", id="a name too few"),
        pytest.param({"y": "s", "x": "x", "x1": "x"}, "invalid-request", "/x", id="x beside x1"),
        pytest.param({"y": "s", "x1": "x"}, "invalid-request", "/x2", id="x1 alone"),
        pytest.param({"y": "y", "x1": "x", "x2": "x"}, "shape-mismatch", None, id="a Hessian of many"),
        pytest.param({"y": "y", "x": "x", "at": {}}, "invalid-request", "/at", id="unknown member"),
        pytest.param({"y": "y", "x": "x", "index": 3}, "invalid-request", "/index", id="an integer as index"),
    ],
)
def test_refusals(client, path, body, name, pointer):
    problem = check_problem(client.post(f"{path}/evaluations", json=body), name)
    assert pointer is None or problem["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("GET", "/events"), ("DELETE", "")])
def test_unknown_ones_are_not_found(client, path, method, suffix):
    known = ended(client, answered(start(client, path, index="0"), 202))
    for unknown in ("nothing", known["session_id"], known["id"][:-1]):
        check_problem(client.request(method, f"/v1/evaluations/{unknown}{suffix}"), "not-found")


def test_there_is_none_of_an_unknown_session(client):
    check_problem(client.post("/v1/sessions/nothing/evaluations", json={}), "not-found")
