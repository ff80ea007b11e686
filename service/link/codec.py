"""Messages to bytes and back: a header, the message in msgpack, arrays beside it. Touches no socket.

A frame is a header of two unsigned 32-bit numbers (little-endian: the length of the head, the request's number) and
one unsigned 64-bit (the length of the arrays), then the head in msgpack, then the arrays' bytes one after the other.
"""

import math
import struct
from collections.abc import Sequence

import msgspec
import numpy as np

from service.link.messages import Message
from service.tensors.dtypes import DTYPES, dtype_of

HEADER = struct.Struct("<IIQ")


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What is in msgpack: the message, and dtype and shape of each array."""

    message: Message
    arrays: tuple[tuple[str, tuple[int, ...]], ...]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Head)


def encode(request: int, message: Message, arrays: Sequence[np.ndarray] = ()) -> list[bytes | memoryview]:
    """One frame, in pieces; arrays that are contiguous are not copied.

    Args:
        request: the number of the request that the message asks or answers, 0 for none.
        message: what is said.
        arrays: what travels beside it, dtypes of the contract.
    """
    head = _ENCODER.encode(Head(message, tuple((dtype_of(a).name, a.shape) for a in arrays)))
    data = [np.ascontiguousarray(a).reshape(-1).view(np.uint8).data for a in arrays if a.size]
    return [HEADER.pack(len(head), request, sum(len(d) for d in data)), head, *data]


def decode(head: bytes, data: bytearray) -> tuple[Message, list[np.ndarray]]:
    """The message of a frame and its arrays, which are views of `data`, little-endian.

    Args:
        head: the msgpack part.
        data: the arrays' bytes.
    """
    read = _DECODER.decode(head)
    arrays, offset = [], 0
    for name, shape in read.arrays:
        dtype = DTYPES[name].numpy
        count = math.prod(shape)
        arrays.append(np.frombuffer(data, dtype, count, offset).reshape(shape))
        offset += count * dtype.itemsize
    return read.message, arrays
