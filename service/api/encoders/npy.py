"""`application/x-npy`: a NumPy file."""

from collections.abc import Sequence

import numpy as np

from service.api.responses import Buffer
from service.sessions.session import SliceResult
from service.tensors import files


def head(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What stands before the numbers.

    Raises:
        NotAcceptable: NumPy's format has no bfloat16.
    """
    return files.npy_header(dtype, shape)


def encode(result: SliceResult) -> Sequence[Buffer]:
    """Version 1.0, C order.

    Raises:
        NotAcceptable: NumPy's format has no bfloat16.
    """
    return files.npy(result.array)
