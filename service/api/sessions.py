"""Sessions: a graph at a point."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from service.api import answers, conditions
from service.api.bodies import GRAPHS, InputsUpdate, SessionCreate, SessionOptions
from service.api.graphs import EXPRESSION, check_graph
from service.api.headers import origin
from service.api.operations import Body, Call, Operation, Parameter, Success
from service.api.places import matching
from service.api.reading import apart, integer, media_type_of, tensors
from service.api.responses import FORM, JSON, Answer, json_answer
from service.api.uploads import read_session_form
from service.errors import (
    Busy,
    DeadlineExceeded,
    Expired,
    InvalidGraph,
    NotDifferentiable,
    NotFound,
    OutOfMemory,
    PreconditionFailed,
    ShapeMismatch,
    TooLarge,
    UnsupportedMediaType,
    UnsupportedOperator,
    WorkerLost,
)
from service.sessions.session import OWN, NewSession, Place, SessionView
from service.tensors import wire

ENCODING = Parameter(
    "encoding",
    "query",
    "`base64` puts the bytes of tensors in the place of their numbers; JSON answers only.",
    {"$ref": "#/components/schemas/Encoding"},
)
CHECK = Parameter(
    "check",
    "query",
    "`true` adds `Jacobian-Check`: the relative residual of the adjoint identity at random vectors, one pushforward "
    "against one pullback.",
    {"type": "boolean"},
)
IF_MATCH = Parameter(
    "If-Match",
    "header",
    'Only if the session is at this revision, e.g. `"3"`; else 412.',
    {"type": "string"},
)

WORKER = (Busy, WorkerLost, DeadlineExceeded, OutOfMemory)
"""What can befall a request that needs a worker."""

SESSION = (NotFound, Expired)
"""What can befall a request to a session."""


async def create_session(call: Call) -> Answer:
    """Open a session, by JSON or by a form."""
    if media_type_of(call.request) == FORM:
        return await create_session_from_files(call)
    limits = call.services.limits
    new = await call.json(
        SessionCreate,
        lambda body: _new_session(
            body, check_graph(body["graph"], GRAPHS, "/graph"), tensors(body["inputs"], "/inputs", limits)
        ),
    )
    return await _created(call, new)


async def create_session_from_files(call: Call) -> Answer:
    """Open a session by a form."""
    form = await read_session_form(call.request, call.services.limits)
    return await _created(call, _new_session(form.options, form.graph, form.inputs))


async def _created(call: Call, new: NewSession) -> Answer:
    view = await call.services.sessions.create(call.tenant, new)
    return _session(view, 201, {"Location": f"/v1/sessions/{quote(view.id, safe='')}"})


async def list_sessions(call: Call) -> Answer:
    """A page of the caller's sessions."""
    limit = integer(call.query, "limit", 1, 1000) or 100
    views, cursor = await call.services.sessions.list(call.tenant, limit, call.query.get("cursor"))
    page: answers.Sessions = {"sessions": [answers.session(view) for view in views]}
    return json_answer(page if cursor is None else {**page, "next_cursor": cursor})


async def get_session(call: Call) -> Answer:
    """What a session is."""
    return _session(await call.services.sessions.view(call.tenant, call.path["session_id"]))


async def delete_session(call: Call) -> Answer:
    """Forget a session."""
    session_id = call.path["session_id"]
    call.services.evaluations.forget(call.tenant, session_id)
    await call.services.sessions.delete(call.tenant, session_id)
    return Answer(status=204)


async def set_inputs(call: Call) -> Answer:
    """Move a session to another point."""
    limits, require = call.services.limits, matching(call)
    place = await call.json(InputsUpdate, lambda body: Place(tensors(body["inputs"], "/inputs", limits), None, require))
    return _session(await call.services.sessions.view(call.tenant, call.path["session_id"], place))


async def get_output(call: Call) -> Answer:
    """The value of an output."""
    base64, y = call.base64, call.path["y"]
    revision, array = await call.at(OWN, lambda session: call.services.derivatives.output(session, y))
    text = await apart(array.nbytes, lambda: wire.encode(array, base64))
    return Answer([text], JSON, headers=origin(revision, None))


def _session(view: SessionView, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    etag = {"ETag": conditions.revision_tag(view.revision)}
    return json_answer(answers.session(view), status, {**etag, **(headers or {})})


def _new_session(body: SessionOptions, graph: Mapping[str, Any], inputs: Mapping[str, wire.Given]) -> NewSession:
    return NewSession(
        graph=graph,
        inputs=inputs,
        ys=_names(body.get("ys")),
        xs=_names(body.get("xs")),
        batch_axis=body.get("batch_axis"),
        dtype=body.get("dtype"),
        ttl_seconds=body.get("ttl_seconds"),
        cache=body.get("cache", "shared"),
        label=body.get("label"),
        precision=body.get("precision", "native"),
    )


def _names(names: str | list[str] | None) -> tuple[str, ...] | None:
    match names:
        case None:
            return None
        case str():
            return (names,)
        case _:
            return tuple(names)


_ID = {"session_id": "$response.body#/id"}
_BLOCK = {**_ID, "y": "$response.body#/jacobians/0/y", "x": "$response.body#/jacobians/0/x"}
_LINKS = {
    "get_session": _ID,
    "delete_session": _ID,
    "set_inputs": _ID,
    "get_output": {**_ID, "y": "$response.body#/outputs/0/name"},
    "get_jacobian": _BLOCK,
    "get_jacobian_npy": _BLOCK,
    "get_jacobian_bytes": _BLOCK,
    "get_jacobian_csv": _BLOCK,
    "evaluate_slices": _ID,
    "evaluate_slices_safetensors": _ID,
    "get_hessian": _ID,
    "get_hessian_npy": _ID,
    "get_hessian_bytes": _ID,
    "get_hessian_csv": _ID,
    "vjp": _ID,
    "jvp": _ID,
    "hvp": _ID,
    "start_evaluation": _ID,
}
_INPUTS = {"W": [[0.1, 0.2], [0.3, 0.4]], "x": [1.0, 2.0], "b": [0.0, 0.5]}
_OPENING = "Checks the graph, the inputs and every shape, and evaluates no row of a Jacobian."
_OPENED = (Success(201, "The session is open.", "Session", ("Location", "ETag"), _LINKS),)
_REFUSALS = (
    InvalidGraph,
    UnsupportedOperator,
    ShapeMismatch,
    NotDifferentiable,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
    *WORKER,
)

OPERATIONS = (
    Operation(
        id="create_session",
        method="POST",
        path="/v1/sessions",
        tag="sessions",
        summary="Open a session",
        description=f"{_OPENING} Also takes the form of `create_session_from_files`.",
        handler=create_session,
        body=Body(
            "SessionCreate",
            "The graph, its inputs, and what to differentiate by what.",
            {
                "expression": {
                    "graph": EXPRESSION,
                    "inputs": _INPUTS,
                    "ys": "y",
                    "xs": ["x", "b"],
                    "dtype": "float64",
                    "ttl_seconds": 3600,
                    "label": "calibration of pump 7",
                },
                "scalar": {
                    "graph": {"format": "expression", "outputs": {"y": "sum(x**3)"}},
                    "inputs": {"x": {"dtype": "float64", "shape": [3], "data": [1.0, 2.0, 3.0]}},
                },
                "batch": {
                    "graph": {"format": "expression", "outputs": {"y": "x * sum(x, axis=1, keepdims=True)"}},
                    "inputs": {"x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]},
                    "batch_axis": 0,
                },
            },
        ),
        successes=_OPENED,
        problems=_REFUSALS,
    ),
    Operation(
        id="create_session_from_files",
        method="POST",
        path="/v1/sessions/files",
        tag="sessions",
        summary="Open a session from files",
        description=f"For large graphs and inputs. {_OPENING}",
        handler=create_session_from_files,
        body=Body(
            "SessionFiles",
            "A session, with the graph and the inputs as files or within the part `session`.",
            {"expression": {"session": {"graph": EXPRESSION, "inputs": _INPUTS}}},
            {"session": JSON},
        ),
        successes=_OPENED,
        problems=_REFUSALS,
    ),
    Operation(
        id="list_sessions",
        method="GET",
        path="/v1/sessions",
        tag="sessions",
        summary="The caller's sessions",
        description="Newest first, page by page.",
        handler=list_sessions,
        parameters=(
            Parameter(
                "limit",
                "query",
                "The most sessions of a page.",
                {"type": "integer", "format": "int64", "minimum": 1, "maximum": 1000, "default": 100},
                10,
            ),
            Parameter("cursor", "query", "`next_cursor` of the page before.", {"type": "string"}),
        ),
        successes=(Success(200, "A page.", "Sessions"),),
    ),
    Operation(
        id="get_session",
        method="GET",
        path="/v1/sessions/{session_id}",
        tag="sessions",
        summary="What a session is",
        description="With the shape of every block, and how many of its rows are cached.",
        handler=get_session,
        successes=(Success(200, "The session.", "Session", ("ETag",)),),
        problems=SESSION,
    ),
    Operation(
        id="delete_session",
        method="DELETE",
        path="/v1/sessions/{session_id}",
        tag="sessions",
        summary="Close a session",
        description="Its rows go with it, unless other sessions share them.",
        handler=delete_session,
        successes=(Success(204, "The session is gone.", empty=True),),
        problems=SESSION,
    ),
    Operation(
        id="set_inputs",
        method="PUT",
        path="/v1/sessions/{session_id}/inputs",
        tag="sessions",
        summary="Move a session to another point",
        description="Inputs that are not named stay. What is being evaluated completes at the revision it began with.",
        handler=set_inputs,
        parameters=(IF_MATCH,),
        body=Body("InputsUpdate", "The new values.", {"x": {"inputs": {"x": [1.5, 2.5]}}}),
        successes=(Success(200, "The session at its next revision.", "Session", ("ETag",)),),
        problems=(*SESSION, PreconditionFailed, ShapeMismatch, TooLarge, UnsupportedMediaType, *WORKER),
    ),
    Operation(
        id="get_output",
        method="GET",
        path="/v1/sessions/{session_id}/outputs/{y:path}",
        tag="sessions",
        summary="The value of an output",
        description="The name takes the rest of the path: it may hold slashes and dots, percent-encoded or not.",
        handler=get_output,
        parameters=(ENCODING,),
        successes=(Success(200, "The value.", "Tensor", ("Jacobian-Revision",)),),
        problems=(*SESSION, *WORKER),
    ),
)
