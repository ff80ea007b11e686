"""What laziness promises, counted over HTTP."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

W = np.random.default_rng(3).standard_normal((64, 5))
X = np.linspace(-1, 1, 5)
WANTED = (1 - np.tanh(W @ X) ** 2)[:, None] * W


def open_session(client, outputs=None, **more):
    body = {
        "graph": {"format": "expression", "outputs": outputs or {"y": "tanh(W @ x + b)"}},
        "inputs": {"W": W.tolist(), "x": X.tolist(), "b": [0.0] * 64},
        "xs": ["x", "b"],
        "cache": "session",
    }
    answer = client.post("/v1/sessions", json={**body, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def ask(client, session, index, x="x"):
    answer = client.get(f"/v1/sessions/{session['id']}/jacobian", params={"x": x, "index": index})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    counts = (body["rows"]["computed"], body["rows"]["cached"])
    assert counts == tuple(int(answer.headers[f"Jacobian-Rows-{what}"]) for what in ("Computed", "Cached"))
    return np.array(body["data"]).reshape(body["shape"]), counts


def cached(client, session):
    return [b["rows"]["cached"] for b in client.get(f"/v1/sessions/{session['id']}").json()["jacobians"]]


def test_creating_a_session_evaluates_no_row(client):
    session = open_session(client)
    assert [b["rows"] for b in session["jacobians"]] == [{"total": 64, "cached": 0}] * 2
    assert cached(client, session) == [0, 0]


def test_a_slice_takes_what_it_touches_and_the_next_what_is_missing(client):
    session = open_session(client)
    values, counts = ask(client, session, "1:4")
    assert counts == (3, 0)
    np.testing.assert_allclose(values, WANTED[1:4], rtol=1e-12)
    values, counts = ask(client, session, "0:6")
    assert counts == (3, 3)
    np.testing.assert_allclose(values, WANTED[0:6], rtol=1e-12)
    assert cached(client, session) == [6, 6]


def test_a_second_x_costs_nothing(client):
    session = open_session(client)
    ask(client, session, "0:10")
    values, counts = ask(client, session, "0:10", x="b")
    assert counts == (0, 10)
    np.testing.assert_allclose(values, np.diag(1 - np.tanh(W @ X) ** 2)[:10], atol=1e-15)


def test_a_row_of_a_zero_block_counts_as_any_other(client):
    session = open_session(client, {"y": "W @ x", "z": "b * 2"}, ys=["y", "z"])
    zeros = client.get(f"/v1/sessions/{session['id']}/jacobian", params={"y": "z", "x": "x", "index": "0:4"}).json()
    assert zeros["rows"] == {"computed": 4, "cached": 0}
    assert not np.any(zeros["data"])
    diagonal = client.get(f"/v1/sessions/{session['id']}/jacobian", params={"y": "z", "x": "b", "index": "0:5"}).json()
    assert diagonal["rows"] == {"computed": 1, "cached": 4}


def test_an_empty_slice_takes_nothing(client):
    session = open_session(client)
    values, counts = ask(client, session, "5:5")
    assert (values.shape, counts) == ((0, 5), (0, 0))


def test_simultaneous_requests_evaluate_each_row_once(client, server):
    session = open_session(client)

    def one(i):
        with httpx.Client(base_url=server.url, timeout=60) as own:
            return ask(own, session, f"{i}:{i + 33}")

    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(one, range(32)))
    for i, (values, (computed, in_cache)) in enumerate(answers):
        np.testing.assert_allclose(values, WANTED[i : i + 33], rtol=1e-12)
        assert computed + in_cache == 33
    assert sum(computed for _, (computed, _) in answers) == 64


def test_sessions_at_the_same_point_share_rows_unless_they_ask_for_their_own(client):
    shared = {"cache": "shared", "outputs": {"y": "tanh(W @ x + b) * 1.25"}}
    first, second = open_session(client, **shared), open_session(client, **shared)
    assert ask(client, first, ":")[1] == (64, 0)
    assert ask(client, second, ":")[1] == (0, 64)
    own = open_session(client, outputs=shared["outputs"])
    assert ask(client, own, ":")[1] == (64, 0)


def test_stepping_back_to_an_earlier_point_finds_its_rows(client):
    session = open_session(client, cache="shared", outputs={"y": "tanh(W @ x + b) * 1.5"})
    ask(client, session, ":")
    path = f"/v1/sessions/{session['id']}/inputs"
    assert client.put(path, json={"inputs": {"x": (X + 1).tolist()}}).json()["revision"] == 2
    assert ask(client, session, ":")[1] == (64, 0)
    assert client.put(path, json={"inputs": {"x": X.tolist()}}).json()["revision"] == 3
    values, counts = ask(client, session, ":")
    assert counts == (0, 64)
    np.testing.assert_allclose(values, 1.5 * WANTED, rtol=1e-12)
