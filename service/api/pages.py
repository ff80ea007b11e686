"""The pages for people, and the document that one of them shows. None needs the internet."""

from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import PurePosixPath

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from service.api.responses import HTML, JSON, Answer

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon.png": "image/png",
}
"""What the documentation page is made of: files of the package fastapi-offline."""

HOME = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Jacobians over HTTP</title>
<style>body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }
pre { background: #8882; padding: 1rem; overflow-x: auto }</style>
<h1>Jacobians over HTTP</h1>
<p>Open a session on a computation graph, then ask for slices of its Jacobians. Only the rows that a slice touches are
evaluated, and each of them once.</p>
<pre>curl -s -X POST localhost:8000/v1/sessions -H 'Content-Type: application/json' -d '{
  "graph": {"format": "expression", "outputs": {"y": "tanh(W @ x)"}},
  "inputs": {"W": [[0.1, 0.2], [0.3, 0.4]], "x": [1, 2]}, "xs": "x"}'
curl -s 'localhost:8000/v1/sessions/ID/jacobian?index=0,:'</pre>
<p><a href="docs">The API</a> &middot; <a href="openapi.json">its OpenAPI document</a></p>
</html>
"""


def routes(title: str, document: Callable[[], bytes]) -> list[Route]:
    """The pages' routes.

    Args:
        title: of the documentation page.
        document: the OpenAPI document.
    """

    async def home(_request: Request) -> Answer:
        return Answer([HOME], HTML)

    async def openapi(_request: Request) -> Answer:
        return Answer([document()], JSON)

    async def docs(_request: Request) -> Answer:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
        )
        return Answer([bytes(page.body)], HTML)

    async def asset(request: Request) -> Answer:
        name = request.path_params["name"]
        if name not in ASSETS:
            raise HTTPException(404)
        return Answer([_asset(name)], ASSETS[name], headers={"Cache-Control": "max-age=86400"})

    return [
        Route("/", home),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        Route("/docs/{name}", asset),
    ]


@cache
def _asset(name: str) -> bytes:
    return (resources.files("fastapi_offline") / str(PurePosixPath("static", name))).read_bytes()
