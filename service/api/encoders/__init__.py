"""The representations of a slice: a row of the table and a file each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.api.encoders import json_text, npy, octets
from service.api.responses import JSON, OCTETS, Buffer
from service.sessions.session import SliceResult


@dataclass(frozen=True, slots=True)
class Representation:
    """One way to write a slice.

    Attributes:
        name: what tells it from the others in an ETag.
        media_type: what `Accept` asks for it by.
        encode: writes it.
    """

    name: str
    media_type: str
    encode: Callable[[SliceResult], Sequence[Buffer]]


JSON_NUMBERS = Representation("json", JSON, json_text.numbers)
JSON_BASE64 = Representation("base64", JSON, json_text.base64)
NPY = Representation("npy", "application/x-npy", npy.encode)
BYTES = Representation("bytes", OCTETS, octets.encode)

NEGOTIATED = {r.media_type: r for r in (JSON_NUMBERS, NPY, BYTES)}
"""What `Accept` can ask for, the default first."""
