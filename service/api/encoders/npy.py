"""`application/x-npy`: a NumPy file."""

from collections.abc import Sequence

from service.api.responses import Buffer
from service.sessions.session import SliceResult
from service.tensors import files


def encode(result: SliceResult) -> Sequence[Buffer]:
    """Version 1.0, C order.

    Raises:
        NotAcceptable: NumPy's format has no bfloat16.
    """
    return files.npy(result.array)
