"""Work that ends with the connection of who asked for it."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")

PATIENCE = 0.05
"""Seconds that work takes before anyone looks whether its client is still there."""


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """Wait for work that nobody needs once the client has left; then it is cancelled.

    Args:
        receive: of a request whose body is read, or does not matter.
        work: is awaited in the caller's own task.

    Raises:
        ClientDisconnect: the client has left.
    """
    loop = asyncio.get_running_loop()
    caller = asyncio.current_task()
    watches: list[asyncio.Task[None]] = []
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        if caller is not None:
            caller.cancel()

    timer = loop.call_later(PATIENCE, lambda: watches.append(loop.create_task(watch())))
    try:
        return await work
    except asyncio.CancelledError:
        if left and caller is not None and caller.uncancel() == 0:
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        for task in watches:
            task.cancel()
