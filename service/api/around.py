"""Whether the service is alive, and whether it is ready."""

from service.api.operations import Call, Operation, Success
from service.api.responses import Answer, json_answer
from service.errors import Busy


async def get_health(_call: Call) -> Answer:
    """This process answers."""
    return json_answer({"status": "ok"})


async def get_readiness(call: Call) -> Answer:
    """A worker answers."""
    if not call.services.ready():
        raise Busy("no worker is ready yet")
    return json_answer({"status": "ready"})


OPERATIONS = (
    Operation(
        id="get_health",
        method="GET",
        path="/healthz",
        tag="health",
        summary="Whether the service is alive",
        description="Answers as long as the serving process does.",
        handler=get_health,
        successes=(Success(200, "It is.", "Health"),),
    ),
    Operation(
        id="get_readiness",
        method="GET",
        path="/readyz",
        tag="health",
        summary="Whether the service is ready",
        description="Ready is who can evaluate: a worker has started and warmed up.",
        handler=get_readiness,
        successes=(Success(200, "It is.", "Health"),),
        problems=(Busy,),
    ),
)
