"""`application/vnd.apache.arrow.stream`: one record batch, for data frames and columnar stores."""

from collections.abc import Sequence
from io import RawIOBase
from typing import Any

import numpy as np

from service.api.responses import Buffer
from service.errors import NotAcceptable
from service.sessions.session import SliceResult
from service.tensors.dtypes import dtype_of

COLUMN = "jacobian"


def encode(result: SliceResult) -> Sequence[Buffer]:
    """A row for each entry of the first axis, of a FixedShapeTensor of the others; 0-D is one row. Not copied.

    Raises:
        NotAcceptable: Arrow has no bfloat16.
    """
    if dtype_of(result.array).name == "bfloat16":
        raise NotAcceptable("Arrow has no bfloat16; ask for JSON or the bare bytes")
    import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415 - large, and few ask for it

    array = np.atleast_1d(np.ascontiguousarray(result.array))
    rows, *shape = array.shape
    kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(array.dtype), shape)
    values = pa.array(array.reshape(-1))
    storage = pa.FixedSizeListArray.from_buffers(kind.storage_type, rows, [None], children=[values])
    batch = pa.record_batch({COLUMN: pa.ExtensionArray.from_storage(kind, storage)})
    pieces = _Pieces()
    with pa.PythonFile(pieces, "w") as sink, pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return pieces.written


class _Pieces(RawIOBase):
    """A file that keeps what is written to it, small pieces joined and Arrow's own buffers as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Buffer] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        last = self.written[-1] if self.written else None
        if isinstance(piece, bytes) and isinstance(last, bytes):
            self.written[-1] = last + piece
        else:
            self.written.append(piece if isinstance(piece, bytes) else memoryview(piece))
        return len(piece)
