"""Large slices leave while later rows are evaluated, no faster than they are read, and whole or not at all."""

import contextlib
import io
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.conftest import Server, start_server
from tests.contract.calls import cached, counts, held, opened, workers
from tests.contract.problems import check_problem

M, N = 4000, 2000
A, X = np.arange(1.0, M + 1), np.arange(N) / 8 - 100
WANTED = 2 * A[:, None] * X
"""Of numbers so short that every way to evaluate it gives these very bits."""
MOST_AHEAD = M // 2
"""Rows of a slice of which little was read: some windows, and what the sockets hold."""
SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)]


def session(client, a=A, **more):
    return opened(client, {"y": "a * sum(x * x)"}, {"a": a.tolist(), "x": X.tolist()}, xs="x", **more)


@pytest.fixture
def path(client):
    opened_path = session(client)
    yield opened_path
    client.delete(opened_path)


def slow_reader(url):
    """A client that takes little from its socket beyond what it reads."""
    return httpx.Client(base_url=url, timeout=60, transport=httpx.HTTPTransport(socket_options=SMALL_BUFFER))


def settled(client, path):
    """How many rows are cached once that does not change any more."""
    before = -1
    while (now := cached(client, path)[0]) != before:
        before = now
        time.sleep(0.5)
    return now


# --- whole -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "read"),
    [
        pytest.param(".npy", lambda content: np.load(io.BytesIO(content)), id="npy"),
        pytest.param(".bin", lambda content: np.frombuffer(content).reshape(M, N), id="bytes"),
    ],
)
def test_every_byte_is_right(client, path, suffix, read):
    head = client.head(f"{path}/jacobian{suffix}")
    assert (head.status_code, head.content, cached(client, path)) == (200, b"", [0])
    first = client.get(f"{path}/jacobian{suffix}")
    again = client.get(f"{path}/jacobian{suffix}")
    for answer in (first, again):
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) == len(answer.content)
        np.testing.assert_array_equal(read(answer.content), WANTED)
        assert (answer.headers["jacobian-shape"], answer.headers["jacobian-dtype"]) == (f"{M},{N}", "float64")
        assert answer.headers["jacobian-revision"] == "1"
        phases = {phase.partition(";")[0] for phase in answer.headers["server-timing"].split(", ")}
        assert {"queue", "forward"} <= phases
        assert not {"rows", "encode"} & phases
    assert (counts(head), counts(first), counts(again)) == ((M, 0), (M, 0), (0, M))
    assert cached(client, path) == [M]
    for name in ("content-length", "content-type", "etag", "vary", "jacobian-shape", "jacobian-dtype"):
        assert head.headers[name] == first.headers[name] == again.headers[name]
    unchanged = client.get(f"{path}/jacobian{suffix}", headers={"If-None-Match": first.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


SOME = 1500
"""Rows of a smaller slice, which still is larger than a window."""


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        pytest.param("1:1400:2,::-2", 700, id="steps"),
        pytest.param("1490:10:-2", 740, id="backwards"),
        pytest.param("-1::-1,[7,0,7]", SOME, id="backwards with a list of columns"),
        pytest.param("::2,-1", 750, id="a column"),
        pytest.param("[" + ",".join(str(7 * k % 1300 - 650) for k in range(1400)) + "],1::7", 1300, id="a list"),
        pytest.param("...,1990:", SOME, id="the last columns"),
    ],
)
def test_slices_of_every_kind(client, index, rows):
    path = session(client, A[:SOME])
    wanted = WANTED[:SOME][eval(f"np.s_[{index}]", {"np": np})]
    answer = client.get(f"{path}/jacobian.npy", params={"index": index})
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.content)), wanted, strict=True)
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "rows" not in answer.headers["server-timing"]
    assert counts(answer) == (rows, 0)
    assert cached(client, path) == [rows]
    client.delete(path)


def test_a_step_streams_too(client, path):
    body = {"slices": [{"index": "::-1"}], "at": {"a": (A + 1).tolist()}}
    answer = client.post(f"{path}/jacobian", json=body, headers={"Accept": "application/octet-stream"})
    assert "jacobian-revision" not in answer.headers
    np.testing.assert_array_equal(np.frombuffer(answer.content).reshape(M, N), (WANTED + 2 * X)[::-1])
    assert cached(client, path) == [0]


# --- no faster than it is read ---------------------------------------------------------------------------------------


def test_a_slow_reader_is_waited_for(client, server, path):
    with slow_reader(server.url) as own, own.stream("GET", f"{path}/jacobian.bin") as answer:
        pieces = answer.iter_bytes(1 << 20)
        content = bytearray(next(pieces))
        time.sleep(1)
        assert settled(client, path) <= MOST_AHEAD
        for piece in pieces:
            content += piece
    np.testing.assert_array_equal(np.frombuffer(content).reshape(M, N), WANTED)
    assert cached(client, path) == [M]


def test_nothing_is_evaluated_for_a_client_that_has_left(client, server, path):
    with slow_reader(server.url) as own, own.stream("GET", f"{path}/jacobian.bin") as answer:
        next(answer.iter_bytes(1 << 20))
    there = settled(client, path)
    assert there <= MOST_AHEAD
    rest = client.get(f"{path}/jacobian.bin")
    assert counts(rest) == (M - there, there)
    np.testing.assert_array_equal(np.frombuffer(rest.content).reshape(M, N), WANTED)


def test_a_client_that_leaves_cancels_what_nobody_else_waits_for(client, server):
    alone, shared = session(client), session(client)
    with ThreadPoolExecutor(1) as threads, held(server.pid):
        stays = threads.submit(httpx.get, f"{server.url}{shared}/jacobian?index=0:4", timeout=60)
        for left in (alone, shared):
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(f"{server.url}{left}/jacobian?index=0:4", timeout=0.7)
        time.sleep(0.3)
    assert stays.result().status_code == 200
    assert (settled(client, alone), settled(client, shared)) == (0, 4)


# --- whole or not at all ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_server(tmp_path_factory):
    """A server that holds less than the slice, and does not wait long for a worker."""
    settings = {"JACOBIAN_WAIT_SECONDS": "2", "JACOBIAN_CACHE_BYTES": str(32 << 20)}
    process, url = start_server(tmp_path_factory.mktemp("small"), settings)
    with process:
        yield Server(url, process.pid)
        process.terminate()


def test_more_than_the_cache_holds(small_server):
    with httpx.Client(base_url=small_server.url, timeout=60) as client:
        small, large = session(client, A[:100]), session(client)
        client.get(f"{small}/jacobian.bin")
        content = client.get(f"{large}/jacobian.bin").content
        np.testing.assert_array_equal(np.frombuffer(content).reshape(M, N), WANTED)
        assert cached(client, large) == [0]
        assert cached(client, small) == [100]


def test_a_failure_in_the_middle_breaks_the_connection(small_server):
    over = threading.Event()

    def no_worker_lives():
        while not over.is_set():
            for pid in workers(small_server.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    with slow_reader(small_server.url) as client, ThreadPoolExecutor(1) as threads:
        path = session(client)
        with client.stream("GET", f"{path}/jacobian.npy") as answer:
            pieces = answer.iter_bytes(1 << 20)
            size = len(next(pieces))
            killing = threads.submit(no_worker_lives)
            try:
                with pytest.raises(httpx.TransportError):
                    size += sum(map(len, pieces))
                assert size < int(answer.headers["content-length"])
                before_it_began = client.get(f"{path}/jacobian.npy", params={"index": "::-1"})
                check_problem(before_it_began, "busy")
            finally:
                over.set()
                killing.result()


# --- far more than memory should hold --------------------------------------------------------------------------------


def resident(pid):
    """Bytes of a process and of its children."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    return own + sum(resident(child) for child in workers(pid))


@pytest.mark.slow
def test_a_slice_far_larger_than_what_is_held(client, server):
    a = np.arange(1.0, 100_001)
    path = session(client, a)
    client.get(f"{path}/jacobian.bin", params={"index": "0:1000"})
    before = most = resident(server.pid)
    row = 0
    with client.stream("GET", f"{path}/jacobian.bin") as answer:
        assert int(answer.headers["content-length"]) == 8 * 100_000 * N
        for piece in answer.iter_bytes(N * 8 * 500):
            rows = np.frombuffer(piece).reshape(-1, N)
            np.testing.assert_array_equal(rows, 2 * a[row : row + len(rows), None] * X)
            row += len(rows)
            most = max(most, resident(server.pid))
    assert row == 100_000
    assert most - before < 300e6
