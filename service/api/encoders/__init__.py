"""The representations of a slice: a row of the table and a file each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from service.api.encoders import arrow, csv_text, json_text, npy, octets, png
from service.api.responses import CSV, JSON, OCTETS, Buffer
from service.sessions.session import SliceResult


@dataclass(frozen=True, slots=True)
class Representation:
    """One way to write a slice.

    Attributes:
        name: what tells it from the others in an ETag.
        media_type: what `Accept` asks for it by.
        encode: writes it.
        slow: whether writing even a small slice takes long enough to be done apart.
        head: of one that is this and then the bare bytes of the slice, `(dtype, shape) -> head`; it can be streamed.
    """

    name: str
    media_type: str
    encode: Callable[[SliceResult], Sequence[Buffer]]
    slow: bool = False
    head: Callable[[np.dtype, tuple[int, ...]], bytes] | None = None


JSON_NUMBERS = Representation("json", JSON, json_text.numbers)
JSON_BASE64 = Representation("base64", JSON, json_text.base64)
NPY = Representation("npy", "application/x-npy", npy.encode, head=npy.head)
BYTES = Representation("bytes", OCTETS, octets.encode, head=octets.head)
ARROW = Representation("arrow", "application/vnd.apache.arrow.stream", arrow.encode, slow=True)
PNG = Representation("png", "image/png", png.encode, slow=True)
CSV_TEXT = Representation("csv", CSV, csv_text.encode)

SAFETENSORS = "application/x-safetensors"
"""Of several slices, see `safetensors_file`."""

NEGOTIATED = {r.media_type: r for r in (JSON_NUMBERS, NPY, BYTES, ARROW, PNG, CSV_TEXT)}
"""What `Accept` can ask for, the default first."""
