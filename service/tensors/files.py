"""Arrays as files: .npy, header and bytes apart, so that an array need not be copied to be sent."""

from io import BytesIO

import numpy as np

from service import errors


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What stands before the array's bytes in a .npy file of version 1.0, row-major; a multiple of 64 bytes long.

    Raises:
        NotAcceptable: bfloat16, which the format has no name for.
    """
    if dtype.isbuiltin != 1:
        raise errors.NotAcceptable(f"a .npy file cannot hold {dtype.name}; ask for JSON or the bare bytes")
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return header.getvalue()


def npy(array: np.ndarray) -> list[bytes | memoryview]:
    """The .npy file of an array in two pieces: its header, and its bytes, not copied where it is contiguous.

    Raises:
        NotAcceptable: bfloat16, which the format has no name for.
    """
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return [npy_header(array.dtype, array.shape), content.data]
