"""Tensors in JSON: what a request gives becomes an array, and an array becomes an answer's text.

A tensor in a request is a Tensor object (`dtype`, `shape`, `data` or `base64`), a bare number, or a nested list of
numbers. Every size is checked before memory is taken for it, and each fault has a JSON pointer.
"""

import math
from binascii import Error as BadBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Literal, TypeAlias, assert_never

import numpy as np
import orjson

from service import errors
from service.tensors.dtypes import DTYPES, NAMES, Dtype, dtype_of

Array: TypeAlias = np.ndarray
Shape: TypeAlias = tuple[int, ...]
Form: TypeAlias = Literal["bare", "data", "base64"]

NOT_FINITE: dict[object, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""What JSON has no numbers for."""

EXACT_INTEGERS = 2**53
"""A float64 up to here is an integer exactly when it was written as one."""

WORDS = {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}
STRINGS = {value: b'"%b"' % word for value, word in WORDS.items()}

PIECE = 2**14
"""The most elements read or written in one call that keeps other threads from running: about a millisecond's work."""

LARGEST = np.finfo(np.float64).max.item()

MEMBERS = ("dtype", "shape", "data", "base64")


@dataclass(frozen=True, slots=True)
class Given:
    """A tensor as a request gives it.

    Attributes:
        array: the values, little-endian; of bare numbers float64, of integers alone int64, of booleans bool. It may
            be read-only.
        typed: False for bare numbers, whose dtype is decided by what they meet.
        form: how they were written, which is where faults point to.
    """

    array: Array
    typed: bool
    form: Form = "bare"


# --- reading ---------------------------------------------------------------------------------------------------------


def decode(value: object, pointer: str, *, elements: int, rank: int) -> Given:
    """Read a tensor from parsed JSON.

    Args:
        value: a Tensor object, a number, a boolean, or a nested list.
        pointer: where it stands in the request.
        elements: the most elements that it may have.
        rank: the most axes that it may have.

    Raises:
        InvalidRequest: anything but numbers, numbers that are not finite or do not fit the dtype, unknown members.
        ShapeMismatch: ragged lists; a `shape` that is not that of the data.
        TooLarge: more elements or axes than allowed.
    """
    if isinstance(value, dict):
        return _decode_object(value, pointer, elements, rank)
    leaves, shape = _flatten(value, pointer, elements, rank)
    return Given(_numbers(leaves, shape, pointer).reshape(shape), typed=False)


def settle(given: Given, dtype: str, pointer: str) -> Array:
    """The given values in the dtype that they meet, C-contiguous and little-endian.

    Raises:
        InvalidRequest: the tensor names another dtype, or a bare number does not fit this one.
    """
    if given.typed and dtype_of(given.array).name != dtype:
        raise errors.InvalidRequest(
            f"the tensor is {dtype_of(given.array).name}; {dtype} is wanted here", f"{pointer}/dtype"
        )
    return cast(given, dtype, pointer)


def cast(given: Given, dtype: str, pointer: str) -> Array:
    """The given values in any dtype that holds them, C-contiguous and little-endian, whatever dtype they name.

    Floating-point values are rounded; what is not finite stays so.

    Raises:
        InvalidRequest: booleans for numbers; numbers other than 0 and 1 for booleans; fractions, and numbers out of
            range, for integers; numbers that would become infinite.
    """
    return _cast(given, DTYPES[dtype], pointer)


def _decode_object(value: dict[str, object], pointer: str, elements: int, rank: int) -> Given:
    for member in value:
        if member not in MEMBERS:
            raise errors.InvalidRequest(
                f"a tensor has no member {member!r}; it has {', '.join(MEMBERS)}",
                errors.pointer(pointer, member),
            )
    if ("data" in value) == ("base64" in value):
        raise errors.InvalidRequest("a tensor has either data or base64", pointer)
    dtype = _dtype(value["dtype"], f"{pointer}/dtype") if "dtype" in value else None
    shape = read_shape(value["shape"], f"{pointer}/shape", elements, rank) if "shape" in value else None
    if "base64" in value:
        if dtype is None:
            raise errors.InvalidRequest("base64 needs a dtype", pointer)
        array = _bytes(value["base64"], dtype, shape, pointer, elements)
        return Given(array if shape is None else array.reshape(shape), typed=True, form="base64")
    array = _data(value["data"], shape, pointer, elements)
    given = Given(array if shape is None else array.reshape(shape), typed=False, form="data")
    return given if dtype is None else Given(_cast(given, dtype, pointer), typed=True, form="data")


def _dtype(value: object, pointer: str) -> Dtype:
    if not isinstance(value, str) or value not in DTYPES:
        raise errors.InvalidRequest(f"{_shown(value)} is not a dtype; use one of {', '.join(NAMES)}", pointer)
    return DTYPES[value]


def read_shape(value: object, pointer: str, elements: int, rank: int) -> Shape:
    """A shape, from parsed JSON.

    Raises:
        InvalidRequest: anything but a list of integers from 0 on.
        TooLarge: more elements or axes than allowed.
    """
    if not isinstance(value, list):
        raise errors.InvalidRequest("a shape is a list of integers", pointer)
    if len(value) > rank:
        raise errors.TooLarge(f"the tensor has {len(value)} axes; the limit is {rank}", pointer)
    for axis, size in enumerate(value):
        if type(size) is not int or size < 0:
            raise errors.InvalidRequest(
                f"{_shown(size)} is not a size; sizes are integers from 0 on", f"{pointer}/{axis}"
            )
        if size > elements:
            raise errors.TooLarge(f"an axis of {size} elements; the limit is {elements}", f"{pointer}/{axis}")
    if math.prod(value) > elements:
        raise errors.TooLarge(f"the tensor has {math.prod(value)} elements; the limit is {elements}", pointer)
    return tuple(value)


def _data(value: object, shape: Shape | None, pointer: str, elements: int) -> Array:
    if not isinstance(value, list):
        raise errors.InvalidRequest("data is a flat list of numbers", f"{pointer}/data")
    if shape is not None and len(value) != math.prod(shape):
        raise errors.ShapeMismatch(
            f"the shape {list(shape)} has {math.prod(shape)} elements, data has {len(value)}", f"{pointer}/shape"
        )
    if len(value) > elements:
        raise errors.TooLarge(f"the tensor has {len(value)} elements; the limit is {elements}", f"{pointer}/data")
    return _numbers(value, (len(value),), f"{pointer}/data")


def _bytes(value: object, dtype: Dtype, shape: Shape | None, pointer: str, elements: int) -> Array:
    where = f"{pointer}/base64"
    if not isinstance(value, str):
        raise errors.InvalidRequest("base64 is a string", where)
    itemsize = dtype.numpy.itemsize
    most = elements if shape is None else math.prod(shape)
    if len(value) > 4 * math.ceil(most * itemsize / 3):
        if shape is None:
            raise errors.TooLarge(f"the tensor has more than {elements} elements", where)
        raise errors.ShapeMismatch(
            f"base64 has more bytes than {dtype.name} of shape {list(shape)}", f"{pointer}/shape"
        )
    try:
        content = _decoded(value)
    except (BadBase64, ValueError) as fault:
        raise errors.InvalidRequest("not base64 (the standard alphabet, padded, without line breaks)", where) from fault
    if shape is None and len(content) % itemsize:
        raise errors.ShapeMismatch(f"{len(content)} bytes are not a whole number of {dtype.name} elements", where)
    if shape is not None and len(content) != most * itemsize:
        raise errors.ShapeMismatch(
            f"{dtype.name} of shape {list(shape)} takes {most * itemsize} bytes, base64 has {len(content)}",
            f"{pointer}/shape",
        )
    if dtype.kind == "bool" and content.strip(b"\x00\x01"):
        raise errors.InvalidRequest("the bytes of bool are 0 and 1", where)
    return np.frombuffer(content, dtype.numpy)


def _decoded(text: str) -> bytes:
    """The bytes of base64 text."""
    parts = [a2b_base64(text[at : at + 4 * PIECE], strict_mode=True) for at in range(0, len(text), 4 * PIECE)]
    if any(len(part) != 3 * PIECE for part in parts[:-1]):
        raise BadBase64("there is padding before the end")
    return b"".join(parts)


def _flatten(value: object, pointer: str, elements: int, rank: int) -> tuple[list[object], Shape]:
    """The leaves of a nested list in row-major order, and its shape."""
    leaves: list[object] = [value]
    shape: Shape = ()
    while leaves and isinstance(leaves[0], list):
        if len(shape) == rank:
            raise errors.TooLarge(f"the lists are nested more than {rank} deep; that is the limit", pointer)
        size = len(leaves[0])
        if set(map(type, leaves)) != {list} or set(map(len, leaves)) != {size}:  # type: ignore[arg-type]
            at = next(i for i, leaf in enumerate(leaves) if not isinstance(leaf, list) or len(leaf) != size)
            raise errors.ShapeMismatch(
                f"the lists are ragged: here stands {_shown(leaves[at])}, in the first place a list of {size}",
                pointer + _place(at, shape),
            )
        if len(leaves) * size > elements:
            raise errors.TooLarge(
                f"the tensor has at least {len(leaves) * size} elements; the limit is {elements}", pointer
            )
        leaves = [leaf for nested in leaves for leaf in nested]  # type: ignore[attr-defined]
        shape += (size,)
    return leaves, shape


def _numbers(leaves: Sequence[object], shape: Shape, pointer: str) -> Array:
    """A flat array of float64, int64 (integers alone) or bool (booleans alone). The types alone choose the way."""
    types = {kind for part in _parts(leaves) for kind in set(map(type, part))}
    if types == {bool}:
        return _filled(leaves, np.bool_)
    if types == {int}:
        try:
            return _filled(leaves, np.int64)
        except OverflowError:
            types = {int, float}
    strings = [leaf for leaf in leaves if type(leaf) is str] if str in types else []
    if types <= {int, float, str} and NOT_FINITE.keys() >= set(strings):
        numbers = [NOT_FINITE.get(leaf, leaf) for leaf in leaves] if strings else leaves
        with suppress(OverflowError):
            array = _filled(numbers, np.float64)
            if array.size - np.count_nonzero(np.isfinite(array)) == len(strings):
                return array
    raise _fault(leaves, shape, pointer)


def _filled(leaves: Sequence[object], dtype: type[np.generic]) -> Array:
    return np.concatenate([np.zeros(0, dtype), *(np.array(part, dtype) for part in _parts(leaves))])


def _parts(leaves: Sequence[object]) -> Iterator[Sequence[object]]:
    return (leaves[start : start + PIECE] for start in range(0, len(leaves), PIECE))


def _fault(leaves: Sequence[object], shape: Shape, pointer: str) -> errors.Problem:
    """What is wrong with leaves that are no array: the first that is no number, else the first of another kind."""
    at = next((i for i, leaf in enumerate(leaves) if not _is_number(leaf)), None)
    if at is None:
        first = isinstance(leaves[0], bool)
        at = next(i for i, leaf in enumerate(leaves) if isinstance(leaf, bool) is not first)
        return errors.InvalidRequest("booleans and numbers do not mix", pointer + _place(at, shape))
    where = pointer + _place(at, shape)
    match leaves[at]:
        case list():
            return errors.ShapeMismatch(f"here stands {_shown(leaves[at])} where a number is wanted", where)
        case str():
            words = ", ".join(map(str, NOT_FINITE))
            return errors.InvalidRequest(f"{_shown(leaves[at])} is no number; the strings are {words}", where)
        case int() | float():
            return errors.InvalidRequest("a number that is not finite; write NaN and infinities as strings", where)
        case _:
            return errors.InvalidRequest(f"{_shown(leaves[at])} is no number", where)


def _is_number(leaf: object) -> bool:
    if isinstance(leaf, str):
        return leaf in NOT_FINITE
    return isinstance(leaf, int | float) and abs(leaf) <= LARGEST


def _cast(given: Given, dtype: Dtype, pointer: str) -> Array:
    array = given.array
    if array.dtype == dtype.numpy:
        return array.astype(dtype.numpy, order="C", copy=False)
    kind = dtype_of(array).kind
    if kind == "bool":
        raise errors.InvalidRequest(f"booleans are no {dtype.name}; write 0 and 1", pointer)
    if kind == "float" and dtype.kind != "float":
        array = array.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(dtype.numpy, order="C")
    unfit, holds = _unfit(array, result, dtype)
    if unfit.any():
        at = int(np.flatnonzero(unfit)[0])
        raise errors.InvalidRequest(
            f"{array.reshape(-1)[at]} does not fit {dtype.name}, which holds {holds}",
            pointer + _element(given.form, at, array.shape),
        )
    return result


def _unfit(array: Array, result: Array, dtype: Dtype) -> tuple[Array, str]:
    """Which elements of `array` the cast `result` does not stand for, and what the dtype holds, in words."""
    if dtype.kind == "float":
        return np.isinf(result) & np.isfinite(array), "no finite number as large"
    if dtype.kind == "bool":
        return (array != 0) & (array != 1), "false and true (0 and 1)"
    low, high = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
    unfit = (array < low) | (array > high)
    if array.dtype == np.float64:
        unfit |= (np.abs(array) > EXACT_INTEGERS) | (array != np.floor(array))
    return unfit, f"integers from {low} to {high} (written without fraction or exponent beyond 2**53)"


def _element(form: Form, at: int, shape: Shape) -> str:
    match form:
        case "bare":
            return _place(at, shape)
        case "data":
            return f"/data/{at}"
        case "base64":
            return "/base64"
        case _:
            assert_never(form)


def _place(at: int, shape: Shape) -> str:
    """The pointer below a nested list of that shape to the element at a row-major position."""
    return "".join(f"/{i}" for i in np.unravel_index(at, shape)) if shape else ""


def _shown(value: object) -> str:
    """A JSON value in a few words, for a message."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
        case str() if len(value) > 40:
            return repr(value[:40] + "...")
        case _:
            return repr(value)


# --- writing ---------------------------------------------------------------------------------------------------------


def encode(array: Array, base64: bool) -> bytes:
    """The JSON text of an array as a whole Tensor object.

    Args:
        array: any rank and strides, a dtype of the contract.
        base64: `base64` (little-endian bytes) in the place of `data`: exact, and safe for NaN.
    """
    return b"".join((b"{", members(array, base64), b"}"))


def members(array: Array, base64: bool) -> bytes:
    """The members of a Tensor object as JSON text, without the braces: to stand among others in a larger object."""
    head = orjson.dumps({"dtype": dtype_of(array).name, "shape": array.shape})[1:-1]
    flat = array.reshape(-1)
    if base64:
        return b"".join((head, b',"base64":"', *_base64_text(flat), b'"'))
    return b"".join((head, b',"data":[', *_data_text(flat), b"]"))


def numbers(array: Array, words: Mapping[str, bytes]) -> bytes:
    """The JSON text of an array's nested lists, with words for what is not finite.

    It holds the interpreter while it writes: larger arrays are written in parts of `PIECE` elements.

    Args:
        array: any rank and strides, a dtype of the contract.
        words: for `nan`, `inf` and `-inf`.
    """
    exact = array.astype(np.float32) if dtype_of(array).name == "bfloat16" else np.ascontiguousarray(array)
    text = orjson.dumps(exact, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" not in text:
        return text
    found = (words[str(value)] for value in exact[~np.isfinite(exact)].tolist())
    return b"".join(chain.from_iterable(zip(text.split(b"null"), [*found, b""], strict=True)))


def _data_text(flat: Array) -> Iterator[bytes]:
    """The numbers of a 1-D array as JSON, each with the fewest digits that give it back, without brackets."""
    for start in range(0, flat.size, PIECE):
        yield b"," if start else b""
        yield numbers(flat[start : start + PIECE], STRINGS)[1:-1]


def _base64_text(flat: Array) -> Iterator[bytes]:
    content = np.ascontiguousarray(flat).view(np.uint8).data
    return (b2a_base64(content[at : at + 3 * PIECE], newline=False) for at in range(0, len(content), 3 * PIECE))
