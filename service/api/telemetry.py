"""The frame around every request: its id, and whatever nobody else has caught."""

import re
from secrets import token_hex

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import answer_problem

REQUEST_ID = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class Frame:
    """ASGI middleware: every answer bears `X-Request-Id`, every exception is a problem.

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
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], header]
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
