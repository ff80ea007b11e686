"""The application: every operation as a route, one frame around them."""

from functools import cache
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import Lifespan

from service import __version__
from service.api import around, document, evaluations, pages, products, slices, steps
from service.api import graphs as graph_operations
from service.api import sessions as session_operations
from service.api.operations import Operation, Services
from service.api.problems import answer_problem
from service.api.telemetry import Frame

OPERATIONS: tuple[Operation, ...] = (
    *slices.OPERATIONS,
    *steps.OPERATIONS,
    *products.OPERATIONS,
    *evaluations.OPERATIONS,
    *session_operations.OPERATIONS,
    *graph_operations.OPERATIONS,
    *around.OPERATIONS,
)
"""All that the API can do; routes are tried in this order, the most frequent first."""


def create_api(services: Services, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The ASGI application.

    Args:
        services: what operations call.
        lifespan: what runs around the serving.
    """
    app = FastAPI(
        title=document.TITLE,
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        lifespan=lifespan,
        middleware=[Middleware(Frame)],
        exception_handlers={HTTPException: _problem},
        routes=[
            *(operation.route(services) for operation in OPERATIONS),
            *pages.routes(document.TITLE, openapi_document),
        ],
    )
    app.openapi = lambda: orjson.loads(openapi_document())  # type: ignore[method-assign]  # FastAPI's way to replace it
    return app


@cache
def openapi_document() -> bytes:
    """The OpenAPI document, byte for byte as it is served and kept in the repository."""
    return document.openapi_document(OPERATIONS)


async def _problem(request: Request, error: Exception) -> Any:
    return answer_problem(request, error)
