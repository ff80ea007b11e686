"""What every error looks like."""

import re
from typing import Any

import httpx

from service.errors import PROBLEMS


def check_problem(answer: httpx.Response, name: str) -> dict[str, Any]:
    """The shape of every error: RFC 9457 with the contract's members."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem: dict[str, Any] = answer.json()
    assert problem.keys() - {"errors"} == {"type", "title", "status", "detail", "instance", "request_id"}
    assert problem["type"] == f"urn:jacobian:problem:{name}"
    assert (problem["status"], problem["title"]) == (PROBLEMS[name].status, PROBLEMS[name].title)
    assert problem["status"] == answer.status_code
    assert problem["detail"]
    assert problem["instance"] == httpx.URL(answer.request.url).path
    assert problem["request_id"] == answer.headers["x-request-id"]
    for fault in problem.get("errors", []):
        assert fault.keys() == {"pointer", "detail"}
        assert re.match(r"$|/|#/(query|header)/", fault["pointer"])
    return problem
