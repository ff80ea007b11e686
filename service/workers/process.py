"""One worker process, seen from the serving process: started, spoken to, ended."""

import asyncio
import dataclasses
import json
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from service.link import messages
from service.link.channel import ServerChannel
from service.link.messages import Limits, Message

SOCKET_BUFFER = 4 << 20

Answer: TypeAlias = tuple[Message, list[np.ndarray]]


class Lost(Exception):
    """The worker ended before it had answered."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What every worker of a pool is started with.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        memory_bytes: the most data memory, on a CPU.
        resident_bytes: models and points that it holds.
        limits: what graphs may be at most.
        log_level: the least that it logs.
    """

    device: str
    memory_bytes: int
    resident_bytes: int
    limits: Limits
    log_level: str


class Call:
    """A request that a worker holds: its answers, as they come."""

    def __init__(self) -> None:
        self._answers: asyncio.Queue[Answer | None] = asyncio.Queue()

    async def answer(self) -> Answer:
        """The next answer. Raises: Lost, once the worker has ended."""
        got = await self._answers.get()
        if got is None:
            raise Lost
        return got

    def put(self, answer: Answer | None) -> None:
        """Give it an answer, or None where there will be none."""
        self._answers.put_nowait(answer)


class WorkerProcess:
    """A worker from its start to its end.

    Attributes:
        device: what it computes on, once it is ready.
        ready: done when it is ready, or lost before it was.
        lost: done when its end has come.
        holds: points that it was sent and has not been found to miss.
    """

    def __init__(self, index: int, options: WorkerOptions) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        command = [sys.executable, "-m", "service.engine", "--socket", str(theirs.fileno())]
        command += ["--device", options.device, "--index", str(index)]
        command += ["--memory-bytes", str(options.memory_bytes), "--resident-bytes", str(options.resident_bytes)]
        command += ["--limits", json.dumps(dataclasses.asdict(options.limits)), "--log-level", options.log_level]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        loop = asyncio.get_running_loop()
        self.device = "cpu"
        self.ready: asyncio.Future[bool] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.holds: set[messages.Point] = set()
        self._calls: dict[int, Call] = {}
        self._next = 1
        self._heard = self._progress = time.monotonic()
        self._channel = ServerChannel(ours, self._receive, self._end)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def load(self) -> int:
        """How many requests it holds."""
        return len(self._calls)

    def ask(self, message: Message, arrays: Sequence[np.ndarray] = ()) -> tuple[int, Call]:
        """Send a request. Returns: its number, and where its answers come."""
        number, self._next = self._next, self._next + 1
        call = self._calls[number] = Call()
        if self.load == 1:
            self._progress = time.monotonic()
        self._channel.send(number, message, arrays)
        return number, call

    def finish(self, number: int, cancel: bool) -> None:
        """Forget a request; where `cancel`, the worker is told that nobody waits for it."""
        self._calls.pop(number, None)
        if cancel and not self.lost.done():
            self._channel.send(0, messages.Cancel(number))

    def stuck(self, silence: float, stall: float) -> str | None:
        """Why it must be replaced: no sign of life, or no progress with what it holds; None where all is well."""
        now = time.monotonic()
        if now - self._heard > silence and self.ready.done():
            return f"no sign of life for {now - self._heard:.0f} s"
        if self._calls and now - self._progress > stall:
            return f"no progress for {now - self._progress:.0f} s"
        return None

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()

    async def stop(self) -> None:
        """End the process, which goes by itself once its socket is closed, and wait for it."""
        self._end()
        try:
            await asyncio.to_thread(self._process.wait, 2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    def _receive(self, number: int, message: Message, arrays: list[np.ndarray]) -> None:
        self._heard = time.monotonic()
        match message:
            case messages.Beat():
                return
            case messages.Ready(device):
                self.device = device
                self.ready.set_result(True)
            case _:
                self._progress = self._heard
                call = self._calls.get(number)
                if call is not None:
                    call.put((message, arrays))

    def _end(self) -> None:
        if self.lost.done():
            return
        self._channel.close()
        self.lost.set_result(None)
        if not self.ready.done():
            self.ready.set_result(False)
        for call in self._calls.values():
            call.put(None)
        self._calls.clear()
