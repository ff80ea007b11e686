"""`application/octet-stream`: the bare numbers."""

import numpy as np

from service.api.responses import Buffer
from service.sessions.session import SliceResult


def head(_dtype: np.dtype, _shape: tuple[int, ...]) -> bytes:
    """Nothing stands before the numbers."""
    return b""


def encode(result: SliceResult) -> list[Buffer]:
    """Little-endian, row-major."""
    return [np.ascontiguousarray(result.array).reshape(-1).view(np.uint8).data]
