"""What the tests of sessions ask over HTTP, and how they read the answers."""

import os
import signal
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np


def opened(client: httpx.Client, outputs: dict[str, str], inputs: dict[str, Any], **more: Any) -> str:
    """The path of a fresh session of expressions, whose rows are its own."""
    body = {"graph": {"format": "expression", "outputs": outputs}, "inputs": inputs, "cache": "session", **more}
    answer = client.post("/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def answered(answer: httpx.Response, status: int = 200) -> Any:
    """The JSON of an answer that succeeded."""
    assert answer.status_code == status, answer.text
    return answer.json()


def array(tensor: dict[str, Any]) -> np.ndarray:
    """A tensor of an answer, or a slice."""
    if "base64" in tensor:
        return np.frombuffer(b64decode(tensor["base64"]), tensor["dtype"]).reshape(tensor["shape"])
    return np.array(tensor["data"], tensor["dtype"]).reshape(tensor["shape"])


def arrays(tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    """Tensors of an answer by name."""
    return {name: array(tensor) for name, tensor in tensors.items()}


def tensor(value: Any) -> dict[str, Any]:
    """An array as a request takes it, to the last bit."""
    given = np.asarray(value)
    data = b64encode(np.ascontiguousarray(given).tobytes()).decode()
    return {"dtype": str(given.dtype), "shape": list(given.shape), "base64": data}


def revision(client: httpx.Client, path: str) -> int:
    """Where a session stands."""
    return int(answered(client.get(path))["revision"])


def cached(client: httpx.Client, path: str) -> list[int]:
    """How many rows of each block are cached."""
    return [block["rows"]["cached"] for block in answered(client.get(path))["jacobians"]]


def counts(answer: httpx.Response) -> tuple[int, int]:
    """The rows that an answer took: computed and cached."""
    return int(answer.headers["jacobian-rows-computed"]), int(answer.headers["jacobian-rows-cached"])


def workers(server_pid: int) -> list[int]:
    """The processes that evaluate for a server."""
    return [int(pid) for pid in Path(f"/proc/{server_pid}/task/{server_pid}/children").read_text().split()]


@contextmanager
def held(server_pid: int) -> Iterator[None]:
    """The server's workers stand still: whatever needs one waits."""
    stopped = workers(server_pid)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
