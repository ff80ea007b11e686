"""A server for each test, which may do with it what it likes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, start_server


class OwnServer:
    """A server on a folder of its own, that can be ended and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        self._process, self.url = start_server(self._folder, {"JACOBIAN_SILENCE_SECONDS": "8"})

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self._process.terminate()
        return self._process.wait(30)

    def beside(self) -> "subprocess.CompletedProcess[str]":
        """What becomes of a second server on the same folder."""
        command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data-dir", str(self._folder / "data")]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        if self._process.stdout:
            self._process.stdout.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    server = OwnServer(tmp_path)
    yield server
    server.close()
