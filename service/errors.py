"""One class for each problem name of the HTTP contract. Imports nothing of the project.

A problem is raised once, as close to the fault as possible, with what was wrong and what would be right. It
crosses the wall to the serving process by name (`problem_named`) and becomes `application/problem+json` in one place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault with a place.

    Attributes:
        pointer: JSON pointer (RFC 6901) into the request's body, or `#/query/<name>` style text for parameters.
        detail: what is wrong there.
    """

    pointer: str
    detail: str


def pointer(start: str, *parts: str | int) -> str:
    """A JSON pointer (RFC 6901) below another."""
    return "/".join((start, *(str(part).replace("~", "~0").replace("/", "~1") for part in parts)))


class Problem(Exception):
    """The base of all problems; itself never raised.

    Args:
        detail: what was wrong and what would be right, one or two sentences.
        pointer: where, if the fault has one place; its fault then repeats `detail`.
        faults: all places, if there are several (in the place of `pointer`).
        headers: HTTP headers that belong to the answer (`Retry-After`, `Allow`).
    """

    name = "internal"
    status = 500
    title = "Internal error"

    def __init__(
        self,
        detail: str,
        pointer: str | None = None,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults) or ((Fault(pointer, detail),) if pointer is not None else ())
        self.headers = dict(headers or {})


class InvalidRequest(Problem):
    name, status, title = "invalid-request", 422, "The request is not valid"


class InvalidGraph(Problem):
    name, status, title = "invalid-graph", 422, "The graph is not valid"


class UnsupportedOperator(Problem):
    name, status, title = "unsupported-operator", 422, "An operator of the graph is not supported"


class InvalidIndex(Problem):
    name, status, title = "invalid-index", 422, "The index does not fit the block"


class ShapeMismatch(Problem):
    name, status, title = "shape-mismatch", 422, "Shapes do not fit"


class NotDifferentiable(Problem):
    name, status, title = "not-differentiable", 422, "There is no derivative here"


class NotFound(Problem):
    name, status, title = "not-found", 404, "Not found"


class MethodNotAllowed(Problem):
    name, status, title = "method-not-allowed", 405, "Method not allowed"


class NotAcceptable(Problem):
    name, status, title = "not-acceptable", 406, "No representation that the client accepts"


class RevisionPassed(Problem):
    name, status, title = "revision-passed", 409, "The session has moved on"


class Expired(Problem):
    name, status, title = "expired", 410, "The session has expired"


class PreconditionFailed(Problem):
    name, status, title = "precondition-failed", 412, "The precondition does not hold"


class TooLarge(Problem):
    name, status, title = "too-large", 413, "Larger than the service allows"


class UnsupportedMediaType(Problem):
    name, status, title = "unsupported-media-type", 415, "Unsupported media type"


class Unauthorized(Problem):
    name, status, title = "unauthorized", 401, "Authentication is required"


class Forbidden(Problem):
    name, status, title = "forbidden", 403, "Not allowed"


class RateLimited(Problem):
    name, status, title = "rate-limited", 429, "Too many requests"


class Internal(Problem):
    name, status, title = "internal", 500, "Internal error"


class Busy(Problem):
    name, status, title = "busy", 503, "The service is busy"


class WorkerLost(Problem):
    name, status, title = "worker-lost", 503, "The worker was lost"


class DeadlineExceeded(Problem):
    name, status, title = "deadline-exceeded", 504, "It took too long"


class OutOfMemory(Problem):
    name, status, title = "out-of-memory", 507, "Not enough memory"


PROBLEMS: dict[str, type[Problem]] = {c.name: c for c in Problem.__subclasses__()}


def problem_named(name: str, detail: str, faults: Sequence[Fault] = ()) -> Problem:
    """The problem of that name, `internal` if there is none: how a worker's refusal comes back."""
    return PROBLEMS.get(name, Internal)(detail, faults=faults)
