"""Sessions on a real server that the contract's tests share."""

from collections.abc import Callable
from typing import Any, TypeAlias

import httpx
import pytest

OpenSession: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

LINEAR: dict[str, Any] = {
    "graph": {"format": "expression", "outputs": {"y": "W @ x + b", "s": "sum(x**3)"}},
    "inputs": {"W": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "x": [1.0, 2.0], "b": [0.0, 0.5, 1.0]},
    "ys": ["y", "s"],
    "xs": ["x", "b"],
    "cache": "session",
}
"""dy/dx is W; the Hessian of s is diag(6 x)."""

NAMED = {
    "graph": {
        "format": "nodes",
        "opset": 21,
        "nodes": [
            {"op": "Mul", "inputs": ["in/x.1", "in/x.1"], "outputs": ["out/y.1"]},
            {"op": "Less", "inputs": ["in/x.1", "out/y.1"], "outputs": ["less"]},
            {"op": "Log", "inputs": ["in/x.1"], "outputs": ["log"]},
        ],
        "outputs": ["out/y.1", "less", "log"],
    },
    "inputs": {"in/x.1": {"dtype": "float64", "shape": [3], "data": [0.0, 2.0, -1.0]}},
    "ys": "out/y.1",
}
"""Names with slashes and dots; values that are boolean, infinite and NaN."""


@pytest.fixture(scope="session")
def open_session(client: httpx.Client) -> OpenSession:
    def opened(body: dict[str, Any]) -> dict[str, Any]:
        answer = client.post("/v1/sessions", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return opened


@pytest.fixture
def linear(open_session: OpenSession) -> dict[str, Any]:
    """A fresh session, nothing of it cached."""
    return open_session(LINEAR)


@pytest.fixture(scope="session")
def named(open_session: OpenSession) -> dict[str, Any]:
    return open_session(NAMED)
