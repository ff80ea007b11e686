"""`text/csv`: numbers and nothing else, for spreadsheets and `numpy.loadtxt`."""

from collections.abc import Iterator, Sequence

from service.api.responses import Buffer
from service.errors import NotAcceptable
from service.sessions.session import SliceResult
from service.tensors import wire
from service.tensors.dtypes import dtype_of

NEWLINE = b"\r\n"


def encode(result: SliceResult) -> Sequence[Buffer]:
    """A line a row, without a line of names; a 1-D slice is one column, a 0-D one a single number.

    Each number has the fewest digits that give it back in its own dtype; what is not finite is `NaN`, `Infinity` or
    `-Infinity`.

    Raises:
        NotAcceptable: more than two axes, or bfloat16.
    """
    array = result.array
    if array.ndim > 2:
        raise NotAcceptable(
            f"CSV has lines and columns, the slice has shape {list(array.shape)}; index one sample, as in 0,:,:"
        )
    if dtype_of(array).name == "bfloat16":
        raise NotAcceptable("CSV has no bfloat16; ask for JSON or the bare bytes")
    return list(_lines(array if array.ndim == 2 else array.reshape(-1, 1)))


def _lines(array: wire.Array) -> Iterator[bytes]:
    """The text of a 2-D array in pieces: of several lines, or of a part of a line where lines are long."""
    rows, columns = array.shape
    if columns == 0:
        yield NEWLINE * rows
        return
    step = max(1, wire.PIECE // columns)
    for top in range(0, rows, step):
        for left in range(0, columns, wire.PIECE):
            piece = array[top : top + step, left : left + wire.PIECE]
            text = wire.numbers(piece, wire.WORDS)[2:-2].replace(b"],[", NEWLINE)
            yield text + (NEWLINE if left + wire.PIECE >= columns else b",")
