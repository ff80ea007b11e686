"""`application/json`: the names of the block and its numbers, or their bytes in base64."""

import orjson

from service.api.responses import Buffer
from service.sessions.session import SliceResult
from service.tensors import wire


def numbers(result: SliceResult) -> list[Buffer]:
    """The values as `data`."""
    return [_text(result, base64=False)]


def base64(result: SliceResult) -> list[Buffer]:
    """The values as `base64`."""
    return [_text(result, base64=True)]


def _text(result: SliceResult, base64: bool) -> bytes:
    names = orjson.dumps({**result.names, "index": result.index, "revision": result.revision})[1:-1]
    rows = orjson.dumps({"computed": result.computed, "cached": result.cached})
    return b'{%b,%b,"rows":%b}' % (names, wire.members(result.array, base64), rows)
