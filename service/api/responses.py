"""What goes back: a status, headers, and a body in pieces whose length is known beforehand."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import orjson
from starlette.types import Receive, Scope, Send

from service.api.connection import while_connected

Buffer: TypeAlias = bytes | memoryview

JSON = "application/json"
PROBLEM = "application/problem+json"
OCTETS = "application/octet-stream"
FORM = "multipart/form-data"
CSV = "text/csv"
EVENTS = "text/event-stream"
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
        await send({"type": "http.response.start", "status": self.status, "headers": _raw(self.headers)})
        *pieces, last = _pieces(self._body) if self._body else [b""]
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": last, "more_body": False})


class Streamed:
    """A response whose body is made while it is sent; who does not read makes it wait, who leaves ends it.

    A failure in the middle breaks the connection, so that nobody takes the rest for the whole.

    Args:
        first: what is sent at once.
        rest: the other pieces.
        media_type: its type.
        headers: others, `Content-Length` among them where it is known.
    """

    def __init__(
        self,
        first: Sequence[Buffer],
        rest: AsyncGenerator[Buffer, None],
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        self._first = first
        self._rest = rest
        self.status = 200
        self.headers = {"Content-Type": media_type, **headers}

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": _raw(self.headers)})
        async with aclosing(self._rest) as rest:
            for piece in _pieces(self._first):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            async for buffer in rest:
                for piece in _pieces([buffer]):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of JSON."""
    return Answer([orjson.dumps(value)], JSON, status, headers)


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]


def _pieces(body: Sequence[Buffer]) -> list[Buffer]:
    if all(len(buffer) <= PIECE for buffer in body):
        return list(body)
    return [memoryview(b)[start : start + PIECE] for b in body for start in range(0, len(b), PIECE)]
