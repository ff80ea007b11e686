"""Slices of Jacobians and Hessians."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

from service.api.accept import choose
from service.api.conditions import not_modified
from service.api.connection import while_connected
from service.api.encoders import BYTES, JSON_BASE64, JSON_NUMBERS, NEGOTIATED, NPY, Representation
from service.api.operations import Call, Operation, Parameter, Success
from service.api.reading import apart, choice, integer
from service.api.responses import JSON, OCTETS, Answer
from service.api.sessions import ENCODING, ENCODINGS, SESSION, WORKER
from service.errors import InvalidIndex, NotAcceptable, NotDifferentiable, RevisionPassed, ShapeMismatch
from service.sessions.registry import Sessions
from service.sessions.session import SliceResult, Unchanged
from service.tensors.dtypes import dtype_of

LARGEST_REVISION = 2**63 - 1
OFFERED = tuple(NEGOTIATED)
PHASES = ("queue", "forward", "rows")
"""What happens to a slice before it is encoded; 0 s where it was not needed."""


@dataclass(frozen=True, slots=True)
class Family:
    """Jacobians or Hessians.

    Attributes:
        names: the parameters that name a block.
        evaluate: `(sessions, tenant, session_id, *names, index, revision, unless=)` -> the slice.
    """

    names: tuple[str, ...]
    evaluate: Callable[..., Awaitable[SliceResult | Unchanged]]


JACOBIAN = Family(("y", "x"), Sessions.jacobian)
HESSIAN = Family(("y", "x1", "x2"), Sessions.hessian)


def _handler(family: Family, fixed: Representation | None) -> Callable[[Call], Awaitable[Answer]]:
    """A handler that answers in a fixed representation, as bytes, or in what `Accept` and `encoding` choose."""

    async def handler(call: Call) -> Answer:
        base64 = choice(call.query, "encoding", ENCODINGS) is not None
        if fixed is not None:
            return await _slice(call, family, fixed, OCTETS)
        chosen = NEGOTIATED[choose(call.header("Accept") or "", OFFERED)]
        representation = JSON_BASE64 if base64 and chosen is JSON_NUMBERS else chosen
        return await _slice(call, family, representation, representation.media_type)

    return handler


async def _slice(call: Call, family: Family, representation: Representation, media_type: str) -> Answer:
    if_none_match = call.header("If-None-Match")
    work = family.evaluate(
        call.services.sessions,
        call.tenant,
        call.path["session_id"],
        *(call.query.get(name) for name in family.names),
        call.query.get("index"),
        integer(call.query, "revision", 1, LARGEST_REVISION),
        unless=lambda identity: not_modified(if_none_match, _etag(identity, representation)),
    )
    result = await while_connected(call.request.receive, work)
    if isinstance(result, Unchanged):
        return Answer(status=304, headers={"ETag": _etag(result.etag, representation), "Vary": "Accept"})
    began = perf_counter()
    body = await apart(result.array.nbytes, lambda: representation.encode(result))
    timings = {**{phase: result.timings.get(phase, 0.0) for phase in PHASES}, "encode": perf_counter() - began}
    return Answer(body, media_type, headers=_headers(result, _etag(result.etag, representation), timings))


def _etag(identity: str, representation: Representation) -> str:
    return f'W/"{identity}.{representation.name}"'


def _headers(result: SliceResult, etag: str, timings: dict[str, float]) -> dict[str, str]:
    return {
        "ETag": etag,
        "Vary": "Accept",
        "Jacobian-Revision": str(result.revision),
        "Jacobian-Shape": ",".join(map(str, result.array.shape)),
        "Jacobian-Dtype": dtype_of(result.array).name,
        "Jacobian-Rows-Computed": str(result.computed),
        "Jacobian-Rows-Cached": str(result.cached),
        "Server-Timing": ", ".join(f"{phase};dur={1000 * seconds:.3f}" for phase, seconds in timings.items()),
    }


def _name(name: str, description: str) -> Parameter:
    return Parameter(name, "query", description, {"type": "string"})


_HEADERS = (
    "ETag",
    "Jacobian-Revision",
    "Jacobian-Shape",
    "Jacobian-Dtype",
    "Jacobian-Rows-Computed",
    "Jacobian-Rows-Cached",
    "Server-Timing",
)
_COMMON = (
    Parameter(
        "index",
        "query",
        "What stands between the brackets in NumPy: integers, slices, `...` and one list of integers. "
        "If left out, everything.",
        {"type": "string"},
        "0,:",
    ),
    Parameter(
        "revision",
        "query",
        "Only at this revision of the session; 409 where it has passed, 422 where it has not come.",
        {"type": "integer", "format": "int64", "minimum": 1},
    ),
    ENCODING,
    Parameter("If-None-Match", "header", "304 if the slice is still the one of this `ETag`.", {"type": "string"}),
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
    family: Family, word: str, schema: str, meaning: str, names: tuple[Parameter, ...]
) -> tuple[Operation, ...]:
    ways = (
        ("", "", "", None, _NEGOTIATED),
        ("_npy", ".npy", " as a NumPy file", NPY, f"A .npy file, version 1.0. {_FIXED}"),
        ("_bytes", ".bin", " as bytes", BYTES, f"Little-endian, row-major; `Jacobian-Shape` tells the shape. {_FIXED}"),
    )
    return tuple(
        Operation(
            id=f"get_{word}{name}",
            method="GET",
            path=f"/v1/sessions/{{session_id}}/{word}{suffix}",
            tag="jacobians",
            summary=f"A slice of a {word.capitalize()}{form}",
            description=f"{meaning} {note}",
            handler=_handler(family, fixed),
            parameters=names + _COMMON,
            successes=(
                Success(200, "The slice.", schema if fixed is None else None, _HEADERS),
                Success(304, "The client has the slice already.", headers=("ETag",), empty=True),
            ),
            problems=(*SESSION, InvalidIndex, ShapeMismatch, NotDifferentiable, RevisionPassed, NotAcceptable, *WORKER),
        )
        for name, suffix, form, fixed, note in ways
    )


OPERATIONS = (
    *_operations(JACOBIAN, "jacobian", "JacobianSlice", _JACOBIAN_MEANING, _JACOBIAN_NAMES),
    *_operations(HESSIAN, "hessian", "HessianSlice", _HESSIAN_MEANING, _HESSIAN_NAMES),
)
