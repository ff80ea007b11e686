"""Arrays as files: .npy, .npz and safetensors.

Headers are written apart from the bytes of the arrays, so that no array is copied to be sent. No header that is read is
believed: every size is checked before memory is taken for it, and nothing is ever unpickled.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from struct import Struct
from typing import IO, BinaryIO

import numpy as np
import orjson

from service import errors
from service.tensors.dtypes import DTYPES, NAMES, OF_NUMPY, Dtype, dtype_of
from service.tensors.wire import Given, Shape, read_shape

SAFETENSORS: dict[str, Dtype] = {
    name: DTYPES[dtype]
    for name, dtype in {
        "F16": "float16",
        "BF16": "bfloat16",
        "F32": "float32",
        "F64": "float64",
        "I8": "int8",
        "I16": "int16",
        "I32": "int32",
        "I64": "int64",
        "U8": "uint8",
        "BOOL": "bool",
    }.items()
}
"""The dtypes by their names in safetensors."""

DIRECTORY_BYTES = 2**20
"""The most bytes of a file's table of contents: the header of safetensors, the central directory of a .npz."""

ZIP_MAGIC, ZIP_END_MAGIC, ZIP64_LOCATOR_MAGIC = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x07"
ZIP_END = Struct("<4s4H2LH")
ZIP64_LOCATOR_BYTES = 20
ZIP_COMMENT_BYTES = 2**16
ZIP_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


# --- writing ---------------------------------------------------------------------------------------------------------


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


def safetensors(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """The safetensors file of some arrays in pieces: its header, then their bytes, not copied where contiguous.

    Args:
        arrays: by name; dtypes of the contract.
        metadata: what the file says of itself; nothing where it is empty.
    """
    names = {dtype: name for name, dtype in SAFETENSORS.items()}
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": names[dtype_of(array)], "shape": array.shape, "data_offsets": (begin, end)}
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 8)
    contents = (np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for array in arrays.values())
    return [len(text).to_bytes(8, "little") + text, *contents]


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Limits:
    """The most elements and axes of an array, and the most bytes of all together."""

    elements: int
    rank: int
    total: int


def read_arrays(file: BinaryIO, pointer: str, *, elements: int, rank: int, total: int) -> dict[str, Given]:
    """Read the arrays of a safetensors or .npz file, told apart by its first bytes.

    Args:
        file: can be sought in, and stands at its beginning.
        pointer: where it stands in the request; that of an array has its name below.
        elements: the most elements that an array may have.
        rank: the most axes that an array may have.
        total: the most bytes that all arrays may take together.

    Raises:
        InvalidRequest: neither format, a file that is damaged, a dtype that is not of the contract, pickled objects.
        TooLarge: more elements, axes or bytes than allowed.
    """
    limits = _Limits(elements, rank, total)
    start = file.read(9)
    file.seek(0)
    if start.startswith((ZIP_MAGIC, ZIP_END_MAGIC)):
        return _read_npz(file, pointer, limits)
    if start[8:] == b"{":
        return _read_safetensors(file, pointer, limits)
    raise errors.InvalidRequest("neither a safetensors nor a .npz file", pointer)


def _read_safetensors(file: BinaryIO, pointer: str, limits: _Limits) -> dict[str, Given]:
    size = file.seek(0, SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > DIRECTORY_BYTES:
        raise errors.TooLarge(f"the header has {length} bytes; the limit is {DIRECTORY_BYTES}", pointer)
    header = _header(file.read(length), pointer)
    offsets = {name: _offsets(entry, errors.pointer(pointer, name)) for name, entry in header.items()}
    arrays = {}
    at = 0
    for name, (begin, end) in sorted(offsets.items(), key=lambda item: item[1]):
        where = errors.pointer(pointer, name)
        entry = header[name]
        dtype = SAFETENSORS.get(str(entry.get("dtype")))
        if dtype is None:
            raise _foreign(str(entry.get("dtype")), where)
        shape = read_shape(entry.get("shape"), f"{where}/shape", limits.elements, limits.rank)
        count = math.prod(shape) * dtype.numpy.itemsize
        if begin != at or end != at + count or 8 + length + end > size:
            raise errors.InvalidRequest(
                f"{dtype.name} of shape {list(shape)} takes {count} bytes from {at} on; the header says "
                f"{begin} to {end} of {size - 8 - length}",
                where,
            )
        if end > limits.total:
            raise _too_large(limits, where)
        arrays[name] = _given(file.read(count), dtype.numpy, shape, where)
        at = end
    if 8 + length + at != size:
        raise errors.InvalidRequest(f"{size - 8 - length - at} bytes belong to no tensor", pointer)
    return arrays


def _header(text: bytes, pointer: str) -> dict[str, dict[str, object]]:
    """The tensors that a header of safetensors names; what the file says of itself is left out."""
    try:
        header = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise errors.InvalidRequest(f"the header is not JSON: {fault}", pointer) from fault
    if not isinstance(header, dict):
        raise errors.InvalidRequest("the header is no JSON object", pointer)
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if not isinstance(entry, dict):
            raise errors.InvalidRequest("a tensor's entry in the header is an object", errors.pointer(pointer, name))
    return header


def _offsets(entry: Mapping[str, object], where: str) -> tuple[int, int]:
    match entry.get("data_offsets"):
        case [int(begin), int(end)]:
            return begin, end
        case _:
            raise errors.InvalidRequest("data_offsets is a list of two integers", where)


def _read_npz(file: BinaryIO, pointer: str, limits: _Limits) -> dict[str, Given]:
    _check_directory(file, pointer)
    arrays: dict[str, Given] = {}
    left = limits.total
    with _damage(pointer), zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            where = errors.pointer(pointer, name)
            if name == member.filename or name in arrays:
                raise errors.InvalidRequest("the members of a .npz file end with .npy, and each stands once", where)
            if member.compress_type not in ZIP_COMPRESSIONS:
                raise errors.InvalidRequest("a member of a .npz file is stored or deflated", where)
            with _damage(where), archive.open(member) as content:
                arrays[name] = _read_npy(content, where, limits, left)
            left -= arrays[name].array.nbytes
    return arrays


def _read_npy(file: IO[bytes], where: str, limits: _Limits, left: int) -> Given:
    """A .npy file of version 1.0, which is what NumPy writes for all but structures."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise errors.InvalidRequest("a .npy file has version 1.0", where)
    shape, by_columns, stored = np.lib.format.read_array_header_1_0(file)
    if stored.newbyteorder("<") not in OF_NUMPY:
        raise _foreign(stored.str, where)
    shape = read_shape(list(shape), f"{where}/shape", limits.elements, limits.rank)
    count = math.prod(shape) * stored.itemsize
    if count > left:
        raise _too_large(limits, where)
    content = file.read(count)
    if len(content) != count or file.read(1):
        raise errors.InvalidRequest(f"{stored} of shape {list(shape)} takes {count} bytes, the file has others", where)
    given = _given(content, stored, shape[::-1] if by_columns else shape, where)
    return Given(given.array.T, typed=True) if by_columns else given


def _check_directory(file: BinaryIO, pointer: str) -> None:
    """Check the size of a zip file's table of contents, all of which is read at once.

    The table is what the last end record says; a zip64 record, which would have the last word, is for files larger
    than any request.
    """
    size = file.seek(0, SEEK_END)
    file.seek(max(0, size - ZIP_END.size - ZIP_COMMENT_BYTES - ZIP64_LOCATOR_BYTES))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(ZIP_END_MAGIC)
    if at < 0 or at + ZIP_END.size > len(tail):
        raise errors.InvalidRequest("the .npz file is cut off", pointer)
    *_, directory, _start, _comment = ZIP_END.unpack_from(tail, at)
    if directory > DIRECTORY_BYTES or tail[max(0, at - ZIP64_LOCATOR_BYTES) : at].startswith(ZIP64_LOCATOR_MAGIC):
        raise errors.TooLarge(f"the table of contents is larger than {DIRECTORY_BYTES} bytes, the limit", pointer)


@contextmanager
def _damage(pointer: str) -> Iterator[None]:
    """Whatever the readers of broken files raise is the client's."""
    try:
        yield
    except errors.Problem:
        raise
    except Exception as fault:
        raise errors.InvalidRequest(f"the .npz file is damaged: {fault}", pointer) from fault


def _given(content: bytes, stored: np.dtype, shape: Shape, where: str) -> Given:
    """Bytes that were read as an array, little-endian."""
    array = np.frombuffer(content, stored).reshape(shape)
    if stored == np.bool_ and content.strip(b"\x00\x01"):
        raise errors.InvalidRequest("the bytes of bool are 0 and 1", where)
    return Given(array.astype(stored.newbyteorder("<"), copy=False), typed=True)


def _foreign(name: str, where: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"the tensor's dtype is {name}; use one of {', '.join(NAMES)}", where)


def _too_large(limits: _Limits, where: str) -> errors.TooLarge:
    return errors.TooLarge(f"the arrays have more than {limits.total} bytes together; that is the limit", where)
