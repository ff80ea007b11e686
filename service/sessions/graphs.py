"""Graphs of a tenant: compiled once by a worker, kept by their content."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from service import errors
from service.link.messages import NO_SESSION, GraphInfo, SessionNames
from service.stores.base import GraphRecord, Store
from service.workers.pool import Pool

GRAPHS_IN_MEMORY = 256


@dataclass(frozen=True, slots=True)
class RegisteredGraph:
    """A graph in memory: what it is, and its model."""

    info: GraphInfo
    model: bytes


class Graphs:
    """The registered graphs; the latest that were used are in memory.

    Args:
        store: where they are kept.
        pool: who compiles them.
    """

    def __init__(self, store: Store, pool: Pool) -> None:
        self._store = store
        self._pool = pool
        self._recent: OrderedDict[tuple[str, str], RegisteredGraph] = OrderedDict()

    async def register(
        self, tenant: str, source: Mapping[str, Any], names: SessionNames = NO_SESSION
    ) -> tuple[GraphInfo, bool]:
        """Compile a graph and keep it.

        Args:
            tenant: whose it is.
            source: one of the contract's forms but `ref`.
            names: what the session that it is for says by name.

        Returns:
            What the graph is, and whether it was new.

        Raises:
            Problem: the graph is not valid or not supported; pointers are relative to it.
        """
        compiled = await self._pool.compile(source, names)
        record = GraphRecord(compiled.info.graph_id, compiled.model, msgspec.json.encode(compiled.info))
        created = await self._store.put_graph(tenant, record)
        return compiled.info, created

    async def get(self, tenant: str, graph_id: str) -> RegisteredGraph:
        """A graph. Raises: NotFound."""
        key = (tenant, graph_id)
        found = self._recent.get(key)
        if found is None:
            record = await self._store.get_graph(tenant, graph_id)
            if record is None:
                raise errors.NotFound(f"there is no graph {graph_id}; register it, or give the graph itself")
            info = msgspec.json.decode(record.info, type=GraphInfo)
            found = self._recent[key] = RegisteredGraph(info, record.model)
        self._recent.move_to_end(key)
        while len(self._recent) > GRAPHS_IN_MEMORY:
            self._recent.popitem(last=False)
        return found

    async def info(self, tenant: str, graph_id: str) -> GraphInfo:
        """What a graph is. Raises: NotFound."""
        return (await self.get(tenant, graph_id)).info

    async def model(self, tenant: str, graph_id: str) -> bytes:
        """A graph's ONNX model. Raises: NotFound."""
        return (await self.get(tenant, graph_id)).model
