"""Every error becomes `application/problem+json` (RFC 9457), here."""

import logging
from collections.abc import Iterable

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Route

from service.api import answers
from service.api.responses import PROBLEM, Answer
from service.errors import Internal, InvalidRequest, MethodNotAllowed, NotFound, Problem

log = logging.getLogger(__name__)

TYPE = "urn:jacobian:problem:"
RETRY_AFTER = "1"


def answer_problem(request: Request, error: Exception) -> Answer:
    """The answer to a request that failed."""
    problem = _problem_of(request, error)
    headers = {"Retry-After": RETRY_AFTER, **problem.headers} if problem.status == 503 else problem.headers
    return Answer([orjson.dumps(content_of(request, problem))], PROBLEM, problem.status, headers)


def content_of(request: Request, problem: Problem) -> answers.Problem:
    """A problem as clients see it."""
    content: answers.Problem = {
        "type": TYPE + problem.name,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.scope["path"],
        "request_id": request.state.request_id,
    }
    if problem.faults:
        content["errors"] = [{"pointer": fault.pointer, "detail": fault.detail} for fault in problem.faults]
    return content


def _problem_of(request: Request, error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case HTTPException(status_code=404):
            return NotFound(f"there is nothing at {request.scope['path']}")
        case HTTPException(status_code=405):
            allowed = ", ".join(sorted(_methods(request)))
            return MethodNotAllowed(
                f"{request.method} is not for this path, which has {allowed}", headers={"Allow": allowed}
            )
        case HTTPException():
            return InvalidRequest(error.detail)
        case _:
            log.error("request %s failed", request.state.request_id, exc_info=error)
            return Internal("the service failed; the request's id is in its log")


def _methods(request: Request) -> set[str]:
    """The methods of all routes that match the path."""
    routes: Iterable[BaseRoute] = request.app.routes
    return {
        method
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
