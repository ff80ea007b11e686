"""`application/json`: the names of the block and its numbers, or their bytes in base64."""

from collections.abc import Mapping

import numpy as np
import orjson

from service.api.responses import Buffer
from service.sessions.session import SliceResult
from service.tensors import wire


def numbers(result: SliceResult) -> list[Buffer]:
    """The values as `data`."""
    return [text(result, base64=False)]


def base64(result: SliceResult) -> list[Buffer]:
    """The values as `base64`."""
    return [text(result, base64=True)]


def text(result: SliceResult, base64: bool) -> bytes:
    """The slice as one JSON object."""
    names = orjson.dumps({**result.names, "index": result.index, "revision": result.revision})[1:-1]
    rows = orjson.dumps({"computed": result.computed, "cached": result.cached})
    return b"".join((b"{", names, b",", wire.members(result.array, base64), b',"rows":', rows, b"}"))


def tensors(arrays: Mapping[str, np.ndarray], base64: bool) -> bytes:
    """Tensors by name as one JSON object."""
    members = (b"%b:%b" % (orjson.dumps(name), wire.encode(array, base64)) for name, array in arrays.items())
    return b"{%b}" % b",".join(members)
