"""Slices of Jacobians and Hessians."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from time import perf_counter

import numpy as np

from service.api.accept import choose
from service.api.conditions import not_modified
from service.api.connection import while_connected
from service.api.encoders import (
    BYTES,
    CSV_TEXT,
    JSON_BASE64,
    JSON_NUMBERS,
    NEGOTIATED,
    NPY,
    PNG,
    Representation,
    png,
)
from service.api.headers import counted, described, origin, timed, timed_whole
from service.api.operations import Call, Operation, Parameter, Success
from service.api.reading import LARGE, apart, choice, integer
from service.api.responses import CSV, JSON, OCTETS, Answer, Buffer, Streamed
from service.api.sessions import CHECK, ENCODING, SESSION, WORKER
from service.errors import (
    InvalidIndex,
    InvalidRequest,
    NotAcceptable,
    NotDifferentiable,
    RevisionPassed,
    ShapeMismatch,
    TooLarge,
)
from service.sessions.derivatives import LazySlice
from service.sessions.session import OWN, Place, SliceResult, Wanted
from service.sessions.spec import Session

LARGEST_REVISION = 2**63 - 1
OFFERED = tuple(NEGOTIATED)
WIDTHS = (200, 4000)
"""Of pictures, in pixels."""
SLOW = LARGE + 1
"""What is written slowly is written apart, however small it is."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a slice is to be answered.

    Attributes:
        representation: what is written.
        media_type: what it is called.
        cached_only: whether only what is cached is wanted.
        check: whether the adjoint identity is to be checked.
    """

    representation: Representation
    media_type: str
    cached_only: bool = False
    check: bool = False


# --- one slice -------------------------------------------------------------------------------------------------------


def _get(hessian: bool, fixed: Representation | None) -> Callable[[Call], Awaitable[Answer | Streamed]]:
    """A handler of one slice: in a fixed representation, or in what `Accept` and `encoding` choose."""

    async def handler(call: Call) -> Answer | Streamed:
        query = call.query
        wanted = Wanted(
            query.get("y"), query.get("x2" if hessian else "x"), query.get("index"), hessian, query.get("x1")
        )
        revision = integer(query, "revision", 1, LARGEST_REVISION)
        place = OWN if revision is None else Place(require=partial(_require, revision))
        return await answer_slice(call, place, wanted, _form(call, fixed), call.header("If-None-Match"))

    return handler


def _form(call: Call, fixed: Representation | None) -> Form:
    base64, check = call.base64, call.check
    cached_only = choice(call.query, "cached", ("only",)) is not None
    width = integer(call.query, "width", *WIDTHS)
    if fixed is not None:
        return Form(fixed, CSV if fixed is CSV_TEXT else OCTETS, check=check)
    representation = NEGOTIATED[choose(call.header("Accept") or "", OFFERED)]
    if representation is PNG:
        return Form(_picture(width), PNG.media_type, cached_only, check)
    if cached_only or width is not None:
        name = "cached" if cached_only else "width"
        raise InvalidRequest(f"{name} is for pictures (Accept: {PNG.media_type})", f"#/query/{name}")
    if base64 and representation is JSON_NUMBERS:
        representation = JSON_BASE64
    return Form(representation, representation.media_type, check=check)


def _picture(width: int | None) -> Representation:
    if width is None:
        return PNG
    return replace(PNG, name=f"png{width}", encode=partial(png.encode, width=width))


def _require(wanted: int, current: int) -> None:
    """Hold the session against the revision that is asked for."""
    if wanted < current:
        raise RevisionPassed(f"revision {wanted} has passed; the session is at {current}")
    if wanted > current:
        raise InvalidRequest(f"revision {wanted} has not come; the session is at {current}", "#/query/revision")


async def answer_slice(
    call: Call, place: Place, wanted: Wanted, form: Form, if_none_match: str | None
) -> Answer | Streamed:
    """One slice in one representation."""
    derivatives, representation = call.services.derivatives, form.representation

    async def work(session: Session) -> tuple[LazySlice, SliceResult | None, float | None]:
        lazy = derivatives.slice(session, wanted)
        if form.cached_only:
            return lazy, await lazy.known(), None
        if not_modified(if_none_match, _etag(lazy, representation)):
            return lazy, None, None
        residual = await derivatives.check(session, wanted) if form.check else None
        streams = representation.head is not None and lazy.streams
        return lazy, None if streams else await lazy.evaluate(), residual

    lazy, result, residual = await call.at(place, work)
    etag = _etag(lazy, representation)
    headers = {**_tags(form, etag), **origin(lazy.revision, residual), **described(lazy.shape, lazy.dtype)}
    if result is not None:
        began = perf_counter()
        size = SLOW if representation.slow else result.array.nbytes
        body = await apart(size, lambda: representation.encode(result))
        took = {**counted(result.computed, result.cached), **timed_whole(result.timings, perf_counter() - began)}
        return Answer(body, form.media_type, headers={**headers, **took})
    if not_modified(if_none_match, etag):
        return Answer(status=304, headers=_tags(form, etag))
    return await _streamed(call, lazy, form, headers)


async def _streamed(call: Call, lazy: LazySlice, form: Form, headers: Mapping[str, str]) -> Answer | Streamed:
    """A large slice, sent while later rows are evaluated. What fails before its first rows are there is a problem."""
    assert form.representation.head is not None  # noqa: S101
    head = form.representation.head(lazy.dtype, lazy.shape)
    tally = lazy.expected
    headers = {
        **headers,
        "Content-Length": str(len(head) + _size(lazy)),
        **counted(tally.computed, tally.cached),
        **timed({"queue": 0.0, "forward": 0.0}),
    }
    if call.request.method == "HEAD":
        return Answer(headers={**headers, "Content-Type": form.media_type})
    parts = _bytes(lazy)
    first = await while_connected(call.request.receive, anext(parts))
    return Streamed([head, first], parts, form.media_type, headers)


async def _bytes(lazy: LazySlice) -> AsyncGenerator[Buffer, None]:
    async with aclosing(lazy.parts()) as parts:
        async for part in parts:
            yield np.ascontiguousarray(part).reshape(-1).view(np.uint8).data


def _size(lazy: LazySlice) -> int:
    return prod(lazy.shape) * lazy.dtype.itemsize


def _etag(lazy: LazySlice, representation: Representation) -> str:
    return f'W/"{lazy.etag}.{representation.name}"'


def _tags(form: Form, etag: str) -> dict[str, str]:
    """What is cached now has no lasting tag."""
    return {"Cache-Control": "no-store"} if form.cached_only else {"ETag": etag, "Vary": "Accept"}


# --- what the document says of them ----------------------------------------------------------------------------------


def _name(name: str, description: str) -> Parameter:
    return Parameter(name, "query", description, {"type": "string"})


SLICE_HEADERS = (
    "ETag",
    "Jacobian-Revision",
    "Jacobian-Shape",
    "Jacobian-Dtype",
    "Jacobian-Rows-Computed",
    "Jacobian-Rows-Cached",
    "Jacobian-Check",
)
_INDEX = Parameter(
    "index",
    "query",
    "What stands between the brackets in NumPy: integers, slices, `...` and one list of integers. "
    "If left out, everything.",
    {"type": "string"},
    "0,:",
)
_REVISION = Parameter(
    "revision",
    "query",
    "Only at this revision of the session; 409 where it has passed, 422 where it has not come.",
    {"type": "integer", "format": "int64", "minimum": 1},
)
_IF_NONE_MATCH = Parameter(
    "If-None-Match", "header", "304 if the slice is still the one of this `ETag`.", {"type": "string"}
)
_PICTURE = (
    Parameter(
        "width",
        "query",
        "Of a picture, in pixels; 800 if left out.",
        {"type": "integer", "format": "int64", "minimum": WIDTHS[0], "maximum": WIDTHS[1]},
    ),
    Parameter(
        "cached",
        "query",
        "`only` draws what is cached and evaluates nothing; rows that are not are hatched. For pictures.",
        {"$ref": "#/components/schemas/Cached"},
    ),
)
_JACOBIAN_NAMES = (
    _name("y", "The output; may be left out where the session has one."),
    _name("x", "The input; may be left out where the session has one."),
)
_HESSIAN_NAMES = (
    _name("y", "The output, of one element (of each sample); may be left out where the session has one."),
    _name("x1", "The input that gives rows; may be left out where the session has one."),
    _name("x2", "The input that gives columns; may be left out where the session has one."),
)
_NEGOTIATED = f"Answers JSON, or by `Accept` one of {', '.join(t for t in OFFERED if t != JSON)}."
_FIXED = "The parameters, headers and errors are those of the path without the suffix; `Accept` has no say."
_LARGE = "A large slice of a session without a batch axis is streamed while later rows are evaluated."
_JACOBIAN_MEANING = (
    "The derivative of `y` with respect to `x`, each flattened to one axis (0-D stays 0-D), with an axis of samples "
    "before them where the session has a batch axis. Only rows that the slice touches and that are not cached are "
    "evaluated."
)
_HESSIAN_MEANING = (
    "The second derivative of a `y` of one element with respect to `x1` and `x2`; its rows are those of the Jacobian "
    "of `dy/dx1` with respect to `x2`."
)


def _operations(
    hessian: bool, word: str, schema: str, meaning: str, names: tuple[Parameter, ...]
) -> tuple[Operation, ...]:
    bytes_note = "Little-endian, row-major; `Jacobian-Shape` tells the shape."
    ways: tuple[tuple[str, str, str, Representation | None, str | None, str], ...] = (
        ("", "", "", None, JSON, _NEGOTIATED),
        ("_npy", ".npy", " as a NumPy file", NPY, OCTETS, f"A .npy file, version 1.0. {_LARGE} {_FIXED}"),
        ("_bytes", ".bin", " as bytes", BYTES, OCTETS, f"{bytes_note} {_LARGE} {_FIXED}"),
        ("_csv", ".csv", " as CSV", CSV_TEXT, CSV, f"Of one or two axes; one is a column. {_FIXED}"),
    )
    return tuple(
        Operation(
            id=f"get_{word}{name}",
            method="GET",
            path=f"/v1/sessions/{{session_id}}/{word}{suffix}",
            tag="jacobians",
            summary=f"A slice of a {word.capitalize()}{form}",
            description=f"{meaning} {note}",
            handler=_get(hessian, fixed),
            parameters=(
                *names,
                _INDEX,
                _REVISION,
                ENCODING,
                CHECK,
                *(_PICTURE if fixed is None else ()),
                _IF_NONE_MATCH,
            ),
            successes=(
                Success(200, "The slice.", schema if fixed is None else None, SLICE_HEADERS, media_type=media_type),
                Success(304, "The client has the slice already.", headers=("ETag",), empty=True),
            ),
            problems=(
                *SESSION,
                InvalidIndex,
                ShapeMismatch,
                NotDifferentiable,
                RevisionPassed,
                NotAcceptable,
                TooLarge,
                *WORKER,
            ),
        )
        for name, suffix, form, fixed, media_type, note in ways
    )


OPERATIONS = (
    *_operations(False, "jacobian", "JacobianSlice", _JACOBIAN_MEANING, _JACOBIAN_NAMES),
    *_operations(True, "hessian", "HessianSlice", _HESSIAN_MEANING, _HESSIAN_NAMES),
)
