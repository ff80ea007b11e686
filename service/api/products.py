"""Products of a Jacobian with vectors: no Jacobian is made."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import numpy as np
import orjson

from service.api.bodies import JvpRequest, VjpRequest
from service.api.connection import while_connected
from service.api.operations import Body, Call, Operation, Success
from service.api.reading import apart, choice, tensors
from service.api.responses import JSON, Answer
from service.api.sessions import ENCODING, ENCODINGS, SESSION, WORKER
from service.errors import NotDifferentiable, ShapeMismatch, TooLarge, UnsupportedMediaType
from service.tensors import wire

Products: TypeAlias = Mapping[str, np.ndarray]
Evaluate: TypeAlias = Callable[[str, str, dict[str, wire.Given]], Awaitable[tuple[int, Products]]]


async def vjp(call: Call) -> Answer:
    """Vectors times the Jacobian."""
    return await _products(call, VjpRequest, "cotangents", call.services.sessions.vjp)


async def jvp(call: Call) -> Answer:
    """The Jacobian times vectors."""
    return await _products(call, JvpRequest, "tangents", call.services.sessions.jvp)


async def _products(call: Call, schema: type, vectors: str, evaluate: Evaluate) -> Answer:
    base64 = choice(call.query, "encoding", ENCODINGS) is not None
    given = await call.json(schema, lambda body: tensors(body[vectors], f"/{vectors}", call.services.limits))
    work = evaluate(call.tenant, call.path["session_id"], given)
    revision, products = await while_connected(call.request.receive, work)
    size = sum(product.nbytes for product in products.values())
    return Answer([await apart(size, lambda: _text(revision, products, base64))], JSON)


def _text(revision: int, products: Products, base64: bool) -> bytes:
    members = (b"%b:%b" % (orjson.dumps(name), wire.encode(array, base64)) for name, array in products.items())
    return b'{"revision":%d,"products":{%b}}' % (revision, b",".join(members))


_DESCRIPTION = (
    "No Jacobian is made. Products are summed over all vectors given; a value without a vector counts as zeros. "
    "With one more leading axis on every vector, each answer leads with it too."
)
_PROBLEMS = (*SESSION, ShapeMismatch, NotDifferentiable, TooLarge, UnsupportedMediaType, *WORKER)

OPERATIONS = (
    Operation(
        id="vjp",
        method="POST",
        path="/v1/sessions/{session_id}/vjp",
        tag="products",
        summary="Vector-Jacobian products",
        description=f"Of cotangents by output, answered by input. {_DESCRIPTION}",
        handler=vjp,
        parameters=(ENCODING,),
        body=Body("VjpRequest", "The cotangents.", {"y": {"cotangents": {"y": [1.0, 0.0]}}}),
        successes=(Success(200, "The products by input.", "Products"),),
        problems=_PROBLEMS,
    ),
    Operation(
        id="jvp",
        method="POST",
        path="/v1/sessions/{session_id}/jvp",
        tag="products",
        summary="Jacobian-vector products",
        description=f"Of tangents by input, answered by output. {_DESCRIPTION}",
        handler=jvp,
        parameters=(ENCODING,),
        body=Body("JvpRequest", "The tangents.", {"x": {"tangents": {"x": [1.0, 0.0]}}}),
        successes=(Success(200, "The products by output.", "Products"),),
        problems=_PROBLEMS,
    ),
)
