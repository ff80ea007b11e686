"""A real server for every test that speaks HTTP."""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest

ROOT = Path(__file__).parent.parent
START_SECONDS = 180.0
LISTENING = "listening on "


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    pid: int


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    log = folder / "log.txt"
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data-dir", str(folder / "data")]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        ) as process,
    ):
        try:
            deadline = time.monotonic() + START_SECONDS
            url = _url(process.stdout, deadline)
            assert url is not None, f"the server did not start:\n{log.read_text()}"
            assert _ready(url, deadline), f"the server did not become ready:\n{log.read_text()}"
            yield Server(url, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as opened:
        yield opened


def _url(output: IO[bytes] | None, deadline: float) -> str | None:
    """What the server says that it listens on, None where it ends or says nothing in time."""
    assert output is not None
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while selector.select(deadline - time.monotonic()):
            line = output.readline().decode()
            if line.startswith(LISTENING):
                return line.removeprefix(LISTENING).strip()
            if not line:
                return None
    return None


def _ready(url: str, deadline: float) -> bool:
    while httpx.get(f"{url}/readyz").status_code != 200:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
