"""A real server for every test that speaks HTTP."""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import hypothesis
import pytest

ROOT = Path(__file__).parent.parent
START_SECONDS = 180.0
LISTENING = "listening on "

hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    pid: int


def start_server(folder: Path, environment: Mapping[str, str] = {}) -> tuple["subprocess.Popen[bytes]", str]:
    """A server on `folder/data` that is ready, and its address; its log is `folder/log.txt`."""
    log = folder / "log.txt"
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data-dir", str(folder / "data")]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **environment}
        )
    deadline = time.monotonic() + START_SECONDS
    url = _url(process.stdout, deadline)
    assert url is not None, f"the server did not start:\n{log.read_text()}"
    assert _ready(url, deadline), f"no worker became ready:\n{log.read_text()}"
    return process, url


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    process, url = start_server(tmp_path_factory.mktemp("server"))
    with process:
        yield Server(url, process.pid)
        process.terminate()


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
    with httpx.Client() as client:
        while client.get(f"{url}/readyz").status_code != 200:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
    return True
