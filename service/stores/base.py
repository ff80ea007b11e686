"""The records that outlive a process, and the verbs on them: one small interface, in the language of the use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class GraphRecord:
    """A registered graph of one tenant.

    Attributes:
        graph_id: hash of its content.
        model: the canonical ONNX model.
        info: what clients see of it, as JSON bytes (of `link.messages.GraphInfo`).
    """

    graph_id: str
    model: bytes
    info: bytes


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """The spec of a session: all that is needed to make everything else again.

    Attributes:
        id: opaque, unguessable.
        tenant: the owner.
        spec: what creation fixed (graph, ys, xs, batch axis, dtype, ...), as JSON bytes.
        revision: counts its points, from 1.
        inputs: the point: name -> array, little-endian.
        outputs: what the point's outputs are, as JSON bytes.
        created_at: seconds since the epoch.
        expires_at: seconds since the epoch.
        ttl: seconds that each use pushes `expires_at` on by.
    """

    id: str
    tenant: str
    spec: bytes
    revision: int
    inputs: Mapping[str, np.ndarray]
    outputs: bytes
    created_at: float
    expires_at: float
    ttl: float


class Store(Protocol):
    """Graphs and sessions that survive the process. Every verb is a coroutine and never blocks the event loop.

    What belongs to another tenant is not there. What a verb has returned from is durable.
    """

    async def put_graph(self, tenant: str, graph: GraphRecord) -> bool:
        """Keep a graph. Returns: False where it was there already."""
        ...

    async def get_graph(self, tenant: str, graph_id: str) -> GraphRecord | None:
        """A graph, None where there is none."""
        ...

    async def create(self, session: SessionRecord) -> None:
        """Keep a new session."""
        ...

    async def get(self, tenant: str, session_id: str) -> SessionRecord | None:
        """A session, expired or not; None where there is none."""
        ...

    async def advance(
        self,
        tenant: str,
        session_id: str,
        if_revision: int,
        inputs: Mapping[str, np.ndarray],
        outputs: bytes,
        expires_at: float,
    ) -> bool:
        """Compare and set: the next revision, with new values for all inputs.

        Returns: False, and nothing is changed, where the session is not at `if_revision` (or gone).
        """
        ...

    async def touch(self, tenant: str, session_id: str, expires_at: float) -> None:
        """Push the expiry on; never back."""
        ...

    async def delete(self, tenant: str, session_id: str) -> bool:
        """Forget a session. Returns: False where there was none."""
        ...

    async def list(
        self, tenant: str, now: float, limit: int, before: tuple[float, str] | None
    ) -> Sequence[SessionRecord]:
        """Live sessions, newest first: those whose `(created_at, id)` is less than `before`, at most `limit`."""
        ...

    async def purge(self, expired_before: float) -> int:
        """Forget the sessions of all tenants that expired before then. Returns: how many."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of the files."""
        ...
