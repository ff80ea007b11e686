"""A solver's step: several slices and values of outputs at once, perhaps at new inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import orjson

from service.api.accept import choose
from service.api.bodies import SlicesRequest
from service.api.encoders import NEGOTIATED, SAFETENSORS, json_text, safetensors_file
from service.api.headers import PHASES, counted, described, origin, timed_whole
from service.api.operations import Body, Call, Operation, Success
from service.api.places import matching, place_of
from service.api.reading import apart
from service.api.responses import JSON, OCTETS, Answer, Buffer, Streamed
from service.api.sessions import CHECK, ENCODING, IF_MATCH, SESSION, WORKER
from service.api.slices import OFFERED, SLICE_HEADERS, Form, answer_slice
from service.errors import (
    InvalidIndex,
    NotAcceptable,
    NotDifferentiable,
    PreconditionFailed,
    ShapeMismatch,
    TooLarge,
    UnsupportedMediaType,
)
from service.sessions.session import Place, SliceResult, Wanted
from service.sessions.spec import Session

OFFERED_TO_ONE = (*OFFERED, SAFETENSORS)
OFFERED_TO_SEVERAL = (JSON, SAFETENSORS)


@dataclass(frozen=True, slots=True)
class Step:
    """What a solver asks for at once."""

    place: Place
    slices: tuple[Wanted, ...]
    outputs: tuple[str, ...]


async def evaluate_slices(call: Call) -> Answer | Streamed:
    """Several slices and values, perhaps at new inputs."""
    base64 = call.base64
    step = await _step(call)
    one = len(step.slices) == 1 and not step.outputs
    media_type = choose(call.header("Accept") or "", OFFERED_TO_ONE if one else OFFERED_TO_SEVERAL)
    if media_type == SAFETENSORS:
        return await _several(call, step, SAFETENSORS, base64)
    if media_type == JSON:
        return await _several(call, step, JSON, base64)
    form = Form(NEGOTIATED[media_type], media_type, check=call.check)
    return await answer_slice(call, step.place, step.slices[0], form, None)


async def evaluate_slices_safetensors(call: Call) -> Answer:
    """The same as a safetensors file."""
    return await _several(call, await _step(call), SAFETENSORS, base64=False, sent_as=OCTETS)


async def _step(call: Call) -> Step:
    limits, require = call.services.limits, matching(call)

    def read(body: SlicesRequest) -> Step:
        wanted = tuple(
            Wanted(s.get("y"), s.get("x"), s.get("index"), place=f"/slices/{at}") for at, s in enumerate(body["slices"])
        )
        return Step(place_of(body, limits, require), wanted, tuple(body.get("outputs", ())))

    return await call.json(SlicesRequest, read)


async def _several(call: Call, step: Step, media_type: str, base64: bool, sent_as: str | None = None) -> Answer:
    derivatives, check = call.services.derivatives, call.check

    async def work(session: Session) -> tuple[int | None, list[SliceResult], dict[str, np.ndarray], float | None]:
        lazy = [derivatives.slice(session, wanted) for wanted in step.slices]
        results, outputs = await derivatives.step(session, lazy, step.outputs)
        residuals = [await derivatives.check(session, wanted) for wanted in step.slices] if check else []
        return session.revision, results, outputs, max(residuals, default=None)

    revision, results, outputs, residual = await call.at(step.place, work)

    def write() -> Sequence[Buffer]:
        if media_type == SAFETENSORS:
            return safetensors_file.encode(results, outputs, revision)
        return [_envelope(revision, results, outputs, base64)]

    began = perf_counter()
    body = await apart(sum(a.nbytes for a in (*outputs.values(), *(r.array for r in results))), write)
    timings = {phase: max((r.timings.get(phase, 0.0) for r in results), default=0.0) for phase in PHASES}
    headers = {
        **origin(revision, residual),
        **counted(sum(r.computed for r in results), sum(r.cached for r in results)),
        **timed_whole(timings, perf_counter() - began),
    }
    if len(results) == 1:
        headers |= described(results[0].array.shape, results[0].array.dtype)
        headers["ETag"] = f'W/"{results[0].etag}.envelope{"64" if base64 else ""}"'
    return Answer(body, sent_as or media_type, headers=headers)


def _envelope(
    revision: int | None, results: Sequence[SliceResult], outputs: Mapping[str, np.ndarray], base64: bool
) -> bytes:
    slices = b",".join(json_text.text(result, base64) for result in results)
    return b'{"revision":%b,"outputs":%b,"slices":[%b]}' % (
        orjson.dumps(revision),
        json_text.tensors(outputs, base64),
        slices,
    )


_STEP = {
    "slices": {"slices": [{"y": "y", "x": "x", "index": "0"}, {"y": "y", "x": "x", "index": ":,0"}]},
    "step": {"slices": [{"y": "y", "x": "x"}], "inputs": {"x": [1.5, 2.5]}, "outputs": ["y"]},
    "elsewhere": {"slices": [{"y": "y", "x": "x", "index": "0"}], "at": {"x": [0.5, 0.5]}},
}
_STEP_MEANING = (
    "`inputs` moves the session first, as `set_inputs` does, once all that is asked for is evaluated: a solver's step "
    "in one round trip. `at` computes at other values and changes nothing of the session; `revision` is null then."
)
_STEP_PROBLEMS = (
    *SESSION,
    InvalidIndex,
    ShapeMismatch,
    NotDifferentiable,
    PreconditionFailed,
    NotAcceptable,
    TooLarge,
    UnsupportedMediaType,
    *WORKER,
)

OPERATIONS = (
    Operation(
        id="evaluate_slices",
        method="POST",
        path="/v1/sessions/{session_id}/jacobian",
        tag="jacobians",
        summary="Several slices at once, perhaps at new inputs",
        description=f"{_STEP_MEANING} Answers JSON; by `Accept` {SAFETENSORS}, and one slice without outputs in any "
        "media type of `get_jacobian`.",
        handler=evaluate_slices,
        parameters=(ENCODING, CHECK, IF_MATCH),
        body=Body("SlicesRequest", "The slices, and where they are evaluated.", _STEP),
        successes=(Success(200, "The slices in the order asked.", "Slices", SLICE_HEADERS),),
        problems=_STEP_PROBLEMS,
    ),
    Operation(
        id="evaluate_slices_safetensors",
        method="POST",
        path="/v1/sessions/{session_id}/jacobian.safetensors",
        tag="jacobians",
        summary="Several slices at once as a safetensors file",
        description=f"Keys `slices.0` and so on, `outputs.` and a name; `revision` in the metadata. {_STEP_MEANING}",
        handler=evaluate_slices_safetensors,
        parameters=(ENCODING, CHECK, IF_MATCH),
        body=Body("SlicesRequest", "The slices, and where they are evaluated.", _STEP),
        successes=(Success(200, "A safetensors file.", None, SLICE_HEADERS, media_type=OCTETS),),
        problems=_STEP_PROBLEMS,
    ),
)
