"""The frame around every request: its id, how long it took, and whatever nobody else has caught."""

import re
from secrets import token_hex
from time import perf_counter

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import answer_problem

REQUEST_ID = "X-Request-Id"
SERVER_TIMING = b"server-timing"
_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class Frame:
    """ASGI middleware: every answer bears `X-Request-Id` and `Server-Timing`, every exception is a problem.

    The client's own id is kept where it is sane (1 to 128 letters, digits and `._:/+=@-`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get(REQUEST_ID))
        scope.setdefault("state", {})["request_id"] = request_id
        header = (REQUEST_ID.lower().encode(), request_id.encode())
        began, started = perf_counter(), False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = [*message["headers"], header]
                if all(name != SERVER_TIMING for name, _ in headers):
                    headers.append((SERVER_TIMING, b"total;dur=%.3f" % (1000 * (perf_counter() - began))))
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            return
        except Exception as error:
            if started:
                raise
            await answer_problem(Request(scope), error)(scope, receive, send_with_id)


def _request_id(given: str | None) -> str:
    return given if given is not None and _SANE.fullmatch(given) else token_hex(16)
