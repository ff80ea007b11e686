"""Processes are ended at the worst moment: answers are right or say when to try again, and nothing is lost."""

import contextlib
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

N = 400
SLOW = {"y": "tanh(W @ tanh(W @ tanh(W @ x)))"}
"""The block of W has rows of 1.3 MB: a few hundred take a while."""


def children(pid):
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def slow_session(client):
    rng = np.random.default_rng(5)
    weights, x = rng.standard_normal((N, N)) / 20, rng.standard_normal(N)
    body = {
        "graph": {"format": "expression", "outputs": SLOW},
        "inputs": {"W": weights.tolist(), "x": x.tolist()},
        "cache": "session",
    }
    answer = client.post("/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    hidden = [x]
    for _ in range(3):
        hidden.append(np.tanh(weights @ hidden[-1]))
    jacobian = np.eye(N)
    for h in hidden[1:]:
        jacobian = (1 - h**2)[:, None] * weights @ jacobian
    return answer.json(), jacobian


def get_rows(url, session, index="0:300"):
    """The slice of the block of x, whose rows are evaluated for W too; asked for again where the answer says so."""
    path, query = f"/v1/sessions/{session['id']}/jacobian.bin", {"x": "x", "index": index}
    with httpx.Client(base_url=url, timeout=120) as client:
        for _ in range(20):
            answer = client.get(path, params=query)
            if answer.status_code != 503:
                break
            time.sleep(int(answer.headers["Retry-After"]))
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content).reshape(-1, N)


def test_a_worker_killed_during_a_slice(own_server):
    with httpx.Client(base_url=own_server.url, timeout=120) as client, ThreadPoolExecutor(1) as threads:
        session, jacobian = slow_session(client)
        asked = threads.submit(get_rows, own_server.url, session)
        time.sleep(0.3)
        assert not asked.done()
        (worker,) = children(own_server.pid)
        os.kill(worker, signal.SIGKILL)
        np.testing.assert_allclose(asked.result(), jacobian[:300], atol=1e-12)
        again = get_rows(own_server.url, session, "[0,399],:")
        np.testing.assert_allclose(again, jacobian[[0, 399]], atol=1e-12)
        assert client.get(f"/v1/sessions/{session['id']}").json()["revision"] == 1


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(own_server):
    with httpx.Client(base_url=own_server.url, timeout=120) as client:
        session, jacobian = slow_session(client)
        (worker,) = children(own_server.pid)
        os.kill(worker, signal.SIGSTOP)
        np.testing.assert_allclose(get_rows(own_server.url, session, "0:4"), jacobian[:4], atol=1e-12)
        assert children(own_server.pid) != [worker]


@pytest.mark.slow
def test_the_workers_end_with_a_server_that_is_killed(own_server):
    (worker,) = children(own_server.pid)
    own_server.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def test_what_was_acknowledged_is_there_after_the_server_was_killed(own_server):
    with httpx.Client(base_url=own_server.url, timeout=60) as client:
        body = {
            "graph": {"format": "expression", "outputs": {"y": "sin(x) * a"}},
            "inputs": {"x": [0.5, 1.5], "a": 2.0},
            "label": "kept",
        }
        session = client.post("/v1/sessions", json=body).json()
        moved = client.put(f"/v1/sessions/{session['id']}/inputs", json={"inputs": {"a": 3.0}}).json()
        graph = client.post("/v1/graphs", json={"format": "expression", "outputs": {"z": "x ** 5"}}).json()
        model = client.get(f"/v1/graphs/{graph['graph_id']}/model").content
    own_server.kill()
    own_server.start()
    with httpx.Client(base_url=own_server.url, timeout=60) as client:
        found = client.get(f"/v1/sessions/{session['id']}").json()
        volatile = {"expires_at"}
        assert {k: v for k, v in found.items() if k not in volatile} == {
            k: v for k, v in moved.items() if k not in volatile
        }
        assert found["revision"] == 2
        rows = client.get(f"/v1/sessions/{session['id']}/jacobian", params={"x": "x"}).json()
        np.testing.assert_allclose(np.reshape(rows["data"], (2, 2)), np.diag(3 * np.cos([0.5, 1.5])), rtol=1e-14)
        assert client.get(f"/v1/graphs/{graph['graph_id']}/model").content == model


@pytest.mark.slow
def test_a_second_server_on_the_same_folder_refuses_to_start(own_server):
    second = own_server.beside()
    assert second.returncode != 0
    assert "another" in second.stderr


def test_a_server_that_is_asked_to_stop_ends_with_its_workers(own_server):
    (worker,) = children(own_server.pid)
    assert own_server.stop() == 0
    assert not Path(f"/proc/{worker}").exists()


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 64, b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/sessions HTTP/1.1\r\n"], ids=repr
)
def test_garbage_on_a_connection_hurts_nobody(client, server, garbage):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(garbage)
        connection.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            connection.recv(1024)
    assert client.get("/healthz").status_code == 200
