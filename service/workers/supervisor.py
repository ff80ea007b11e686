"""Keeps one worker running: starts it, watches it, replaces it when it dies or hangs."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from service.workers.process import WorkerOptions, WorkerProcess

WATCH_SECONDS = 0.5
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
"""Seconds before a worker that died before it was ready is started again; doubled each time."""
START_SECONDS = 300.0

_LOG = logging.getLogger(__name__)


class Supervisor:
    """One worker's place in the pool.

    Args:
        index: the place's number.
        options: what a worker is started with.
        silence: seconds without a sign of life that end a worker.
        stall: seconds without progress on what it holds that end a worker.
        changed: called when the worker becomes ready or is lost.
    """

    def __init__(
        self, index: int, options: WorkerOptions, silence: float, stall: float, changed: Callable[[], None]
    ) -> None:
        self._index = index
        self._options = options
        self._silence = silence
        self._stall = stall
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self.current: WorkerProcess | None = None

    def start(self) -> None:
        """Start the worker, and keep one running from now on."""
        self._task = asyncio.create_task(self._run(), name=f"worker {self._index}")

    async def stop(self) -> None:
        """End the worker and start no other."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            process = WorkerProcess(self._index, self._options)
            try:
                watch = asyncio.create_task(self._watch(process, began))
                if await process.ready:
                    _LOG.info(
                        "worker %d is ready on %s after %.1f s", self._index, process.device, time.monotonic() - began
                    )
                    pause = FIRST_PAUSE
                    self.current = process
                    self._changed()
                    await process.lost
                _LOG.warning("worker %d (process %d) was lost; another is started", self._index, process.pid)
                pause = 0 if process.ready.result() else min(pause * 2, LONGEST_PAUSE)
            finally:
                self.current = None
                watch.cancel()
                self._changed()
                await process.stop()
            await asyncio.sleep(pause)

    async def _watch(self, process: WorkerProcess, began: float) -> None:
        while not process.lost.done():
            await asyncio.sleep(WATCH_SECONDS)
            reason = process.stuck(self._silence, self._stall)
            if not process.ready.done() and time.monotonic() - began > START_SECONDS:
                reason = f"not ready after {START_SECONDS:.0f} s"
            if reason is not None:
                _LOG.warning("worker %d is ended: %s", self._index, reason)
                process.kill()
                return
