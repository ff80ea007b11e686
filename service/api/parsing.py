"""JSON in pieces: parsing a large body in one call would keep every other request of the process from running.

Long arrays of numbers are taken out, parsed piece by piece and put back; what they say, and what is refused, is what
one call would say and refuse.
"""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import orjson

PIECE = 2**18
"""The most bytes parsed in one call, of arrays of numbers; a shorter array stays where it is."""

MOST_QUOTES = 100_000
"""A body with more strings is none of a few long arrays, and is parsed in one call."""

VALUE = re.compile(rb"\s*:\s*(?=\[)")
BETWEEN_NUMBERS = re.compile(rb"(?<=\d),(?=\s*[-\d])")


def loads(body: bytes, piece: int = PIECE) -> Any:
    """Parse JSON.

    Args:
        body: the text.
        piece: what `PIECE` tells.

    Raises:
        orjson.JSONDecodeError: it is no JSON.
    """
    if len(body) > piece and body.count(b'"') <= MOST_QUOTES:
        try:
            return _in_pieces(body, piece)
        except orjson.JSONDecodeError:
            """One call says what is wrong, and where."""
    return orjson.loads(body)


def _in_pieces(body: bytes, piece: int) -> Any:
    mark = secrets.token_hex(16)
    taken: dict[str, Any] = {}
    rest = []
    done = 0
    for start, end in _arrays(body, piece):
        name = f"{mark}{len(taken)}"
        taken[name] = _array(body, start, end, piece)
        rest += [body[done:start], b'"%b"' % name.encode()]
        done = end
    value = orjson.loads(b"".join([*rest, body[done:]]))
    _put_back(value, taken)
    return value


def _arrays(body: bytes, least: int) -> Iterator[tuple[int, int]]:
    """Where members of objects that are long arrays without strings and objects begin and end."""
    for start, end in _outside_strings(body):
        if end - start < least:
            continue
        value = VALUE.match(body, start, end)
        if value is not None:
            brace = body.find(b"}", value.end(), end)
            last = body.rfind(b"]", value.end(), end if brace < 0 else brace)
            if last >= 0:
                yield value.end(), last + 1


def _outside_strings(body: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while (quote := body.find(b'"', start)) >= 0:
        yield start, quote
        end = body.find(b'"', quote + 1)
        while end >= 0 and _escaped(body, end):
            end = body.find(b'"', end + 1)
        if end < 0:
            return
        start = end + 1
    yield start, len(body)


def _escaped(body: bytes, quote: int) -> bool:
    before = quote
    while body[before - 1] == ord("\\"):
        before -= 1
    return (quote - before) % 2 == 1


def _array(body: bytes, start: int, end: int, piece: int) -> list[Any]:
    """The array that stands there: each piece ends between two numbers, with its lists closed, and is joined on."""
    array: list[Any] = []
    depth = 0
    while start < end:
        comma = BETWEEN_NUMBERS.search(body, min(start + piece, end), end)
        stop = end if comma is None else comma.start()
        text = b"[" * depth + body[start:stop]
        opened, depth = depth, text.count(b"[") - text.count(b"]")
        _join(array, orjson.loads(text if comma is None else text + b"]" * depth), opened)
        start = stop + 1
    return array


def _join(left: list[Any], right: list[Any], depth: int) -> None:
    """Append lists that were cut apart at some depth."""
    for _ in range(depth - 1):
        inner = left[-1]
        left += right[1:]
        left, right = inner, right[0]
    left += right


def _put_back(value: Any, taken: dict[str, Any]) -> None:
    """Put arrays in the places of their names, in whatever objects there are."""
    left = [value]
    while left:
        match left.pop():
            case dict() as members:
                for name, member in members.items():
                    if isinstance(member, str) and member in taken:
                        members[name] = taken[member]
                    else:
                        left.append(member)
            case list() as elements:
                left += elements
            case _:
                pass
