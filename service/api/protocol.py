"""The protocol of a connection: HTTP/1.1 as uvicorn speaks it, with offers of HTTP/2 ignored."""

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_OFFER = re.compile(rb"(?im)^upgrade(?=:[ \t]*h2c[ \t]*\r?$)")


class Http1(HttpToolsProtocol):
    """A server passes over an upgrade that it does not know (RFC 9110, section 7.8), body and all.

    The parser stops at the end of the headers wherever an upgrade is offered, and the body would be lost. Java's
    HttpClient and `curl --http2` offer HTTP/2 with every first request.
    """

    def data_received(self, data: bytes) -> None:
        """Take what has come; an offer of HTTP/2 in a request's headers gets a name that the parser does not know."""
        begins = getattr(self.cycle, "response_complete", True)
        if begins and b"h2c" in data:
            head, end, body = data.partition(b"\r\n\r\n")
            data = _OFFER.sub(b"x-upgrade", head) + end + body
        super().data_received(data)
