"""What goes back: a status, headers, and a body in pieces whose length is known beforehand."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson
from starlette.types import Receive, Scope, Send

Buffer: TypeAlias = bytes | memoryview

JSON = "application/json"
PROBLEM = "application/problem+json"
OCTETS = "application/octet-stream"
HTML = "text/html; charset=utf-8"

PIECE = 1 << 20
"""The most bytes handed to the server at once: it waits for a slow client between two."""


class Answer:
    """A response, as an ASGI application.

    Args:
        body: one-dimensional buffers of bytes; not copied.
        media_type: None where there is no body.
    """

    def __init__(
        self,
        body: Sequence[Buffer] = (),
        media_type: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._body = body
        self.status = status
        self.headers = dict(headers or {})
        if media_type is not None:
            self.headers["Content-Type"] = media_type
            self.headers["Content-Length"] = str(sum(map(len, body)))

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        *pieces, last = _pieces(self._body) if self._body else [b""]
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": last, "more_body": False})


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of JSON."""
    return Answer([orjson.dumps(value)], JSON, status, headers)


def _pieces(body: Sequence[Buffer]) -> list[Buffer]:
    if all(len(buffer) <= PIECE for buffer in body):
        return list(body)
    return [memoryview(b)[start : start + PIECE] for b in body for start in range(0, len(b), PIECE)]
