"""An operation of the API: what it does, and beside it what the document says of it."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.api.access import tenant_of
from service.api.connection import while_connected
from service.api.reading import ApiLimits, apart, check, choice, parse_json, read_body, read_query
from service.api.responses import JSON, OCTETS, Answer, Streamed
from service.errors import Internal, InvalidRequest, Problem
from service.sessions.derivatives import Derivatives
from service.sessions.evaluations import Evaluations
from service.sessions.graphs import Graphs
from service.sessions.registry import Sessions
from service.sessions.session import Place
from service.sessions.spec import Session

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Services:
    """What operations call."""

    graphs: Graphs
    sessions: Sessions
    derivatives: Derivatives
    evaluations: Evaluations
    limits: ApiLimits
    ready: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an operation, its query already read."""

    services: Services
    request: Request
    tenant: str
    query: Mapping[str, str]

    @property
    def path(self) -> Mapping[str, str]:
        """The parameters of the path."""
        return self.request.path_params

    def header(self, name: str) -> str | None:
        """A header of the request."""
        return self.request.headers.get(name)

    @property
    def base64(self) -> bool:
        """Whether tensors are wanted as base64. Raises: InvalidRequest: `encoding` is something else."""
        return choice(self.query, "encoding", ("base64",)) is not None

    @property
    def check(self) -> bool:
        """Whether the adjoint identity is to be checked. Raises: InvalidRequest: `check` is neither true nor false."""
        return choice(self.query, "check", ("true", "false")) == "true"

    async def at(self, place: Place, work: Callable[[Session], Awaitable[T]]) -> T:
        """Compute something at the session of the path, as long as the client is there.

        Raises:
            ClientDisconnect: it has left.
            Problem: what `Sessions.at` refuses.
        """
        computed = self.services.sessions.at(self.tenant, self.path["session_id"], place, work)
        return await while_connected(self.request.receive, computed)

    async def json(self, schema: Any, then: Callable[[Any], T]) -> T:
        """The body as JSON of a schema, and what is made of it, off the event loop where it is large.

        Raises:
            Problem: what `read_body`, `parse_json`, `check` and `then` refuse.
        """
        body = await read_body(self.request, [JSON], self.services.limits.body_bytes)
        return await apart(len(body), lambda: then(check(parse_json(body), schema)))


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that is not in the path.

    Attributes:
        name: in a header's canonical spelling.
        place: where it stands.
        description: what it means, and what its absence means.
        schema: its JSON schema.
        example: a value that works.
    """

    name: str
    place: Literal["query", "header"]
    description: str
    schema: Mapping[str, Any]
    example: Any = None


@dataclass(frozen=True, slots=True)
class Body:
    """What an operation takes: JSON of a schema, or bytes where there is none.

    Attributes:
        schema: its name in the document; None for bytes.
        description: what it is.
        examples: some that work, by name.
        parts: the media types of the parts that are not files, by name, of a form.
    """

    schema: str | None
    description: str
    examples: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Success:
    """An answer without a problem.

    Attributes:
        status: its code.
        description: when it is given.
        schema: the name of its JSON; None for bytes, or for no body where `empty`.
        headers: names in the document's table of headers, besides `X-Request-Id`.
        links: operation -> its parameters as runtime expressions.
        empty: no body at all.
        media_type: of the body, see `type_of_body`.
    """

    status: int
    description: str
    schema: str | None = None
    headers: tuple[str, ...] = ()
    links: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    empty: bool = False
    media_type: str | None = None

    @property
    def type_of_body(self) -> str:
        """The media type: if not said, JSON where there is a schema, else bytes."""
        return self.media_type or (OCTETS if self.schema is None else JSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        id: its name in generated clients.
        method: of HTTP; `HEAD` comes with `GET`.
        path: a parameter `{name}` takes one segment, `{name:path}` the rest.
        tag: where the document lists it.
        summary: a line.
        description: the rest.
        handler: parses, makes one call, represents.
        parameters: those of the query and the headers that it understands.
        body: what it takes, if anything.
        successes: its answers without a problem.
        problems: those that it can answer, besides the ones that all can.
    """

    id: str
    method: str
    path: str
    tag: str
    summary: str
    description: str
    handler: Callable[[Call], Awaitable[Answer | Streamed]]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    successes: tuple[Success, ...]
    problems: tuple[type[Problem], ...] = ()

    @property
    def all_problems(self) -> tuple[type[Problem], ...]:
        """All that it can answer: any operation refuses an unknown parameter, and may fail."""
        return (InvalidRequest, *self.problems, Internal)

    @property
    def path_parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters."""
        return tuple(re.findall(r"{(\w+)(?::path)?}", self.path))

    def route(self, services: Services) -> Route:
        """The operation as a route."""
        return Route(self.path, _Endpoint(self, services), methods=[self.method], name=self.id)


class _Endpoint:
    """An operation as an ASGI application."""

    def __init__(self, operation: Operation, services: Services) -> None:
        self._handler = operation.handler
        self._services = services
        self._query = tuple(p.name for p in operation.parameters if p.place == "query")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        call = Call(self._services, request, tenant_of(request), read_query(scope["query_string"], self._query))
        answer = await self._handler(call)
        await answer(scope, receive, send)
