"""Evaluations in the background."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import quote

import orjson

from service.api import answers
from service.api.bodies import EvaluationRequest
from service.api.operations import Body, Call, Operation, Success
from service.api.problems import content_of
from service.api.responses import EVENTS, Answer, Buffer, Streamed, json_answer
from service.api.sessions import SESSION
from service.errors import Busy, InvalidIndex, InvalidRequest, NotFound, ShapeMismatch, TooLarge, UnsupportedMediaType
from service.sessions.evaluations import Evaluation
from service.sessions.session import Wanted


async def start_evaluation(call: Call) -> Answer:
    """Begin one."""
    wanted = await call.json(EvaluationRequest, _wanted)
    evaluation = await call.services.evaluations.start(call.tenant, call.path["session_id"], wanted)
    return json_answer(_answer(call, evaluation), 202, {"Location": f"/v1/evaluations/{quote(evaluation.id)}"})


async def get_evaluation(call: Call) -> Answer:
    """How one stands."""
    return json_answer(_answer(call, _evaluation(call)))


async def cancel_evaluation(call: Call) -> Answer:
    """End one."""
    call.services.evaluations.cancel(call.tenant, call.path["evaluation_id"])
    return Answer(status=204)


async def stream_evaluation_events(call: Call) -> Streamed:
    """How one gets on."""
    return Streamed([], _events(call, _evaluation(call)), EVENTS, {"Cache-Control": "no-store"})


def _wanted(body: EvaluationRequest) -> Wanted:
    hessian = "x1" in body or "x2" in body
    if hessian and "x" in body:
        raise InvalidRequest("x is for a Jacobian, x1 and x2 are for a Hessian", "/x")
    x = body.get("x2") if hessian else body.get("x")
    return Wanted(body.get("y"), x, body.get("index"), hessian, body.get("x1"), "")


def _evaluation(call: Call) -> Evaluation:
    return call.services.evaluations.get(call.tenant, call.path["evaluation_id"])


def _answer(call: Call, evaluation: Evaluation) -> answers.Evaluation:
    problem = evaluation.problem
    return answers.evaluation(evaluation, None if problem is None else content_of(call.request, problem))


async def _events(call: Call, evaluation: Evaluation) -> AsyncGenerator[Buffer, None]:
    """Server-sent events: `progress` now and at every change, `done` or `failed` at the end."""
    async with aclosing(evaluation.changes()) as changes:
        async for now in changes:
            name = "progress" if not now.finished else "done" if now.state == "done" else "failed"
            yield b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(_answer(call, now)))


_ID = {"evaluation_id": "$response.body#/id"}

OPERATIONS = (
    Operation(
        id="start_evaluation",
        method="POST",
        path="/v1/sessions/{session_id}/evaluations",
        tag="evaluations",
        summary="Evaluate a slice in the background",
        description="At the session's present revision. The rows land in the cache, where a slice finds them.",
        handler=start_evaluation,
        body=Body(
            "EvaluationRequest",
            "The slice.",
            {"jacobian": {"y": "y", "x": "x", "index": ":"}, "everything": {"y": "y", "x": "x"}},
        ),
        successes=(Success(202, "It is queued.", "Evaluation", ("Location",), {"get_evaluation": _ID}),),
        problems=(*SESSION, InvalidIndex, ShapeMismatch, TooLarge, UnsupportedMediaType, Busy),
    ),
    Operation(
        id="get_evaluation",
        method="GET",
        path="/v1/evaluations/{evaluation_id}",
        tag="evaluations",
        summary="How an evaluation stands",
        description="One that has ended is known for an hour.",
        handler=get_evaluation,
        successes=(Success(200, "The evaluation.", "Evaluation"),),
        problems=(NotFound,),
    ),
    Operation(
        id="stream_evaluation_events",
        method="GET",
        path="/v1/evaluations/{evaluation_id}/events",
        tag="evaluations",
        summary="How an evaluation gets on, as server-sent events",
        description="`progress` at once, at every change and every quarter of a minute; `done` or `failed` (also where "
        "it is cancelled) at the end. Each has the Evaluation as its data.",
        handler=stream_evaluation_events,
        successes=(Success(200, "Events.", media_type=EVENTS),),
        problems=(NotFound,),
    ),
    Operation(
        id="cancel_evaluation",
        method="DELETE",
        path="/v1/evaluations/{evaluation_id}",
        tag="evaluations",
        summary="Cancel an evaluation",
        description="Rows that are there stay. One that has ended stays as it is.",
        handler=cancel_evaluation,
        successes=(Success(204, "It has ended.", empty=True),),
        problems=(NotFound,),
    ),
)
