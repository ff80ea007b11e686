"""Where a request is computed: at the session's own values, or at those that its body brings."""

from collections.abc import Callable, Mapping
from typing import Any

from service.api.conditions import require_match
from service.api.operations import Call
from service.api.reading import ApiLimits, tensors
from service.errors import InvalidRequest
from service.sessions.session import Place, whichever


def place_of(body: Mapping[str, Any], limits: ApiLimits, require: Callable[[int], None]) -> Place:
    """The place that `inputs` or `at` of a body name. Without a value they are as if left out: some clients send both.

    Raises:
        InvalidRequest: both are given.
        Problem: a value is no tensor.
    """
    given = {m: tensors(body[m], f"/{m}", limits) for m in ("inputs", "at") if body.get(m)}
    if len(given) == 2:
        raise InvalidRequest("inputs move the session and at does not: give one of them", "/at")
    return Place(given.get("inputs"), given.get("at"), require)


def matching(call: Call) -> Callable[[int], None]:
    """What `If-Match` requires of the session's revision."""
    header = call.header("If-Match")
    if header is None:
        return whichever
    return lambda revision: require_match(header, revision)
