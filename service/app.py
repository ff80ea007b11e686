"""The one place that wires: settings to store, pool, registry and API. Loads neither torch nor onnx."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI

from service.api.application import create_api
from service.api.operations import Services
from service.api.reading import ApiLimits
from service.lazy.rows import RowCache
from service.link.messages import Limits
from service.sessions.derivatives import Derivatives
from service.sessions.evaluations import Evaluations
from service.sessions.graphs import Graphs
from service.sessions.registry import SessionPolicy, Sessions
from service.settings import Settings
from service.stores.sqlite import SQLiteStore
from service.workers.pool import Pool
from service.workers.process import WorkerOptions

PURGE_SECONDS = 60.0

_LOG = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The application of a server; its workers start, and its store closes, with its lifespan.

    Raises:
        StoreUnusable: the data directory belongs to another server, or cannot be used.
    """
    store = SQLiteStore.open(settings.data_dir, settings.durability)
    limits = Limits(
        graph_nodes=settings.graph_nodes,
        graph_depth=settings.graph_depth,
        expression_length=settings.expression_length,
        tensor_elements=settings.tensor_elements,
        tensor_rank=settings.tensor_rank,
    )
    pool = Pool(
        settings.workers or max(1, _gpus()),
        WorkerOptions(
            settings.device,
            settings.worker_memory_bytes or _usual_memory(),
            settings.resident_bytes,
            limits,
            settings.log_level,
        ),
        queue_length=settings.queue_length,
        wait=settings.wait_seconds,
        silence=settings.silence_seconds,
        stall=settings.stall_seconds,
    )
    graphs = Graphs(store, pool)
    cache = RowCache(settings.cache_bytes)
    policy = SessionPolicy(settings.session_ttl_seconds, settings.session_ttl_limit_seconds)
    sessions = Sessions(store, graphs, pool, cache, policy)
    derivatives = Derivatives(pool, cache, settings.slice_bytes)
    evaluations = Evaluations(sessions, derivatives)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await pool.start()
        purging = asyncio.create_task(_purge(sessions))
        try:
            yield
        finally:
            purging.cancel()
            await evaluations.stop()
            await pool.stop()
            await store.close()

    api_limits = ApiLimits(settings.body_bytes, settings.tensor_elements, settings.tensor_rank)
    services = Services(graphs, sessions, derivatives, evaluations, api_limits, lambda: pool.ready)
    return create_api(services, lifespan)


async def _purge(sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(PURGE_SECONDS)
        try:
            await sessions.purge()
        except Exception:
            _LOG.exception("expired sessions could not be purged; tried again in %.0f s", PURGE_SECONDS)


def _gpus() -> int:
    """How many GPUs the workers will see, without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return present if visible is None else min(present, len([v for v in visible.split(",") if v.strip()]))


def _usual_memory() -> int:
    """Nine tenths of the memory of the container, or of the machine."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total * 9 // 10
