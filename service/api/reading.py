"""How a request is read: its query, its body under a limit, and its JSON."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from service.api.parsing import loads
from service.errors import Fault, InvalidRequest, TooLarge, UnsupportedMediaType, pointer
from service.tensors import wire

T = TypeVar("T")

LARGE = 64 * 1024
"""Bytes above which the event loop does not wait for a body to be parsed or written."""

MOST_FAULTS = 20
MOST_QUERY_FIELDS = 100


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """What a request may be at most.

    Attributes:
        body_bytes: bytes of a body.
        tensor_elements: elements of one tensor.
        tensor_rank: axes of one tensor.
    """

    body_bytes: int = 2**28
    tensor_elements: int = 2**28
    tensor_rank: int = 16


def read_query(text: bytes, allowed: Sequence[str]) -> dict[str, str]:
    """The query's parameters.

    Raises:
        InvalidRequest: one is not known, stands twice, or is not UTF-8.
    """
    if not text:
        return {}
    try:
        pairs = parse_qsl(
            text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_QUERY_FIELDS
        )
    except ValueError as fault:
        raise InvalidRequest("the query is not percent-encoded UTF-8, or has too many parameters") from fault
    query: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            there = f"the parameters are {', '.join(allowed)}" if allowed else "there are none here"
            raise InvalidRequest(f"there is no parameter {name!r}; {there}", pointer("#", "query", name))
        if name in query:
            raise InvalidRequest(f"the parameter {name} stands twice", pointer("#", "query", name))
        query[name] = value
    return query


def integer(query: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    """An integer parameter, None where it is left out.

    Raises:
        InvalidRequest: it is no integer from `low` to `high`.
    """
    text = query.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 19 and low <= int(text) <= high:
        return int(text)
    raise InvalidRequest(f"{name} is {text!r}; it is an integer from {low} to {high}", f"#/query/{name}")


def choice(query: Mapping[str, str], name: str, choices: Sequence[str]) -> str | None:
    """A parameter that has few values, None where it is left out.

    Raises:
        InvalidRequest: it has another.
    """
    text = query.get(name)
    if text is not None and text not in choices:
        raise InvalidRequest(f"{name} is {text!r}; it is {' or '.join(choices)}", f"#/query/{name}")
    return text


async def read_body(request: Request, media_types: Sequence[str], limit: int) -> bytes:
    """The body, never more of it than `limit` bytes.

    Raises:
        UnsupportedMediaType: it is none of `media_types`, or is encoded (compressed).
        TooLarge: it is declared larger, or becomes larger.
    """
    check_headers(request, media_types, limit)
    body = bytearray()
    async for piece in read_pieces(request, limit):
        body += piece
    return bytes(body)


def check_headers(request: Request, media_types: Sequence[str], limit: int) -> None:
    """What the headers say of a body that is to be read.

    Raises:
        UnsupportedMediaType: it is none of `media_types`, or is encoded (compressed).
        TooLarge: it is declared larger than `limit` bytes.
    """
    if media_type_of(request) not in media_types:
        given = request.headers.get("content-type")
        said = f"the Content-Type is {given}" if given else "there is no Content-Type"
        raise UnsupportedMediaType(f"{said}; this takes {' or '.join(media_types)}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("the body is encoded (Content-Encoding); send it as it is")
    if int(request.headers.get("content-length", "0")) > limit:
        raise TooLarge(f"the body has {request.headers['content-length']} bytes; the limit is {limit}")


async def read_pieces(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes in.

    Raises:
        TooLarge: it becomes larger than `limit` bytes.
    """
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise TooLarge(f"the body has more than {limit} bytes; that is the limit")
        yield piece


def media_type_of(request: Request) -> str:
    """The media type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def apart(size: int, function: Callable[[], T]) -> T:
    """Call a function, in a thread where it has much to do.

    Args:
        size: the bytes that it reads or writes.
        function: touches nothing that others change.
    """
    return function() if size <= LARGE else await asyncio.to_thread(function)


def parse_json(body: bytes) -> Any:
    """Parse a body. Of equal keys the last counts.

    Raises:
        InvalidRequest: it is no JSON, or no UTF-8, or nested too deep.
    """
    try:
        return loads(body)
    except orjson.JSONDecodeError as fault:
        raise InvalidRequest(f"the body is not JSON: {fault}", "") from fault


def check(value: object, schema: Any, at: str = "") -> Any:
    """Check parsed JSON against a schema of `bodies`.

    Args:
        value: left as it is.
        schema: a typed dictionary.
        at: where the value stands in the body.

    Raises:
        InvalidRequest: every fault, with its place.
    """
    try:
        return _adapter(schema).validate_python(value)
    except ValidationError as error:
        faults = tuple(_faults(error.errors(include_url=False, include_context=False), schema, at))
    more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
    raise InvalidRequest(f"{faults[0].pointer or 'the body'}: {faults[0].detail}{more}", faults=faults[:MOST_FAULTS])


def tensors(values: Mapping[str, Any], at: str, limits: ApiLimits) -> dict[str, wire.Given]:
    """The tensors of a request by name.

    Raises:
        Problem: one is none, with its place.
    """
    return {
        name: wire.decode(value, pointer(at, name), elements=limits.tensor_elements, rank=limits.tensor_rank)
        for name, value in values.items()
    }


def _faults(found: Sequence[ErrorDetails], schema: Any, at: str) -> Iterator[Fault]:
    for error in found:
        match error["type"]:
            case "missing":
                detail = "it is required"
            case "extra_forbidden" if len(error["loc"]) == 1:
                detail = f"there is no such property; the properties are {', '.join(schema.__annotations__)}"
            case "extra_forbidden":
                detail = "there is no such property"
            case _:
                detail = error["msg"].removeprefix("Input ").replace("dictionary", "object")
        yield Fault(pointer(at, *error["loc"]), detail)


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)
