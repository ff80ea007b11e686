"""Products of a Jacobian or a Hessian with vectors: no matrix is made."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import orjson

from service.api.bodies import HvpRequest, JvpRequest, VjpRequest
from service.api.encoders import json_text
from service.api.headers import origin, timed_whole
from service.api.operations import Body, Call, Operation, Success
from service.api.places import matching, place_of
from service.api.reading import apart, tensors
from service.api.responses import JSON, Answer
from service.api.sessions import CHECK, ENCODING, IF_MATCH, SESSION, WORKER
from service.errors import (
    InvalidRequest,
    NotDifferentiable,
    PreconditionFailed,
    ShapeMismatch,
    TooLarge,
    UnsupportedMediaType,
)
from service.sessions.derivatives import Derivatives
from service.sessions.session import Place, Products
from service.sessions.spec import Session
from service.tensors.wire import Given

Vectors: TypeAlias = Mapping[str, Mapping[str, Given]]
"""The vectors of a request, by the member that they stand in."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of product.

    Attributes:
        schema: of its body.
        vectors: the members of the body that hold vectors.
        multiply: evaluates it: `(derivatives, session, y, vectors)`.
        check: the residual of the adjoint identity of the function that it differentiates.
    """

    schema: type
    vectors: tuple[str, ...]
    multiply: Callable[[Derivatives, Session, str | None, Vectors], Awaitable[Products]]
    check: Callable[[Derivatives, Session, str | None, Vectors], Awaitable[float]]


VJP = Kind(
    VjpRequest,
    ("cotangents",),
    lambda d, session, _, vectors: d.vjp(session, vectors["cotangents"]),
    lambda d, session, *_: d.check(session),
)
JVP = Kind(
    JvpRequest,
    ("tangents",),
    lambda d, session, _, vectors: d.jvp(session, vectors["tangents"]),
    lambda d, session, *_: d.check(session),
)
HVP = Kind(
    HvpRequest,
    ("cotangents", "vectors"),
    lambda d, session, y, vectors: d.hvp(session, y, vectors.get("cotangents"), vectors["vectors"]),
    lambda d, session, y, vectors: d.check_second_order(session, y, vectors.get("cotangents"), vectors["vectors"]),
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A product as it is asked for."""

    place: Place
    y: str | None
    vectors: Vectors
    outputs: tuple[str, ...]


def _handler(kind: Kind) -> Callable[[Call], Awaitable[Answer]]:
    async def handler(call: Call) -> Answer:
        base64, check = call.base64, call.check
        limits, require = call.services.limits, matching(call)
        derivatives = call.services.derivatives

        def read(body: Mapping[str, Any]) -> _Asked:
            vectors = {m: tensors(body[m], f"/{m}", limits) for m in kind.vectors if body.get(m)}
            if "y" in body and "cotangents" in vectors:
                raise InvalidRequest("cotangents say which outputs are meant, and y is for one of one element", "/y")
            place = place_of(body, limits, require)
            return _Asked(place, body.get("y"), vectors, tuple(body.get("outputs", ())))

        asked = await call.json(kind.schema, read)

        async def work(session: Session) -> tuple[Products, dict[str, np.ndarray], float | None]:
            products = await kind.multiply(derivatives, session, asked.y, asked.vectors)
            outputs = await derivatives.outputs(session, asked.outputs)
            residual = await kind.check(derivatives, session, asked.y, asked.vectors) if check else None
            return products, outputs, residual

        products, outputs, residual = await call.at(asked.place, work)
        began = perf_counter()
        size = sum(array.nbytes for array in (*products.arrays.values(), *outputs.values()))
        text = await apart(size, lambda: _text(products, outputs if asked.outputs else None, base64))
        timing = timed_whole(products.timings, perf_counter() - began)
        return Answer([text], JSON, headers={**timing, **origin(products.revision, residual)})

    return handler


def _text(products: Products, outputs: Mapping[str, np.ndarray] | None, base64: bool) -> bytes:
    values = b"" if outputs is None else b'"outputs":%b,' % json_text.tensors(outputs, base64)
    products_text = json_text.tensors(products.arrays, base64)
    return b'{"revision":%b,%b"products":%b}' % (orjson.dumps(products.revision), values, products_text)


_PROBLEMS = (
    *SESSION,
    ShapeMismatch,
    NotDifferentiable,
    PreconditionFailed,
    TooLarge,
    UnsupportedMediaType,
    *WORKER,
)
_VECTORS = (
    "Products are summed over all vectors given; a value without a vector counts as zeros. "
    "With one more leading axis of equal length on every vector, each answer leads with it too. "
    "They are those of the whole function, whatever the session's batch axis. "
    "`outputs` adds values, `inputs` moves the session, `at` computes at other values."
)
_X = {"x": [1.0, 0.0]}


def _operation(kind: Kind, name: str, summary: str, meaning: str, examples: Mapping[str, Any]) -> Operation:
    return Operation(
        id=name,
        method="POST",
        path=f"/v1/sessions/{{session_id}}/{name}",
        tag="products",
        summary=summary,
        description=f"{meaning} {_VECTORS}",
        handler=_handler(kind),
        parameters=(ENCODING, CHECK, IF_MATCH),
        body=Body(kind.schema.__name__, "The vectors.", examples),
        successes=(Success(200, "The products.", "Products", ("Jacobian-Revision", "Jacobian-Check")),),
        problems=_PROBLEMS,
    )


OPERATIONS = (
    _operation(
        VJP,
        "vjp",
        "Vector-Jacobian products",
        "Of cotangents by output, answered by input. No Jacobian is made.",
        {"y": {"cotangents": {"y": [1.0, 0.0]}}, "step": {"cotangents": {"y": [1.0, 0.0]}, "outputs": ["y"], "at": _X}},
    ),
    _operation(
        JVP,
        "jvp",
        "Jacobian-vector products",
        "Of tangents by input, answered by output. No Jacobian is made.",
        {"x": {"tangents": _X}},
    ),
    _operation(
        HVP,
        "hvp",
        "Hessian-vector products",
        "The derivative of the VJP along vectors, answered by input: of an output `y` of one element, or with "
        "`cotangents` of outputs of any size. No Hessian is made.",
        {"cotangents": {"cotangents": {"y": [1.0, 0.0]}, "vectors": _X}},
    ),
)
