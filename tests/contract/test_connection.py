"""Work ends with the connection of who asked for it, and offers of HTTP/2 are passed over."""

import asyncio
import http.client

import httpx
import orjson
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.api.connection import while_connected
from tests.conftest import Server


async def _stays() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def _leaves() -> Message:
    return {"type": "http.disconnect"}


async def _works(seconds: float, cancelled: list[bool]) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.append(True)
        raise
    return "done"


@pytest.mark.parametrize("seconds", [0, 0.2], ids=["before-anyone-looks", "after"])
def test_work_is_done(seconds: float) -> None:
    assert asyncio.run(while_connected(_stays, _works(seconds, []))) == "done"


def test_work_ends_with_its_client() -> None:
    cancelled: list[bool] = []

    async def serve() -> None:
        with pytest.raises(ClientDisconnect):
            await while_connected(_leaves, _works(30, cancelled))
        await asyncio.sleep(0)

    asyncio.run(serve())
    assert cancelled


def test_a_fault_of_the_work_passes_through() -> None:
    async def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        asyncio.run(while_connected(_leaves, fails()))


def test_a_cancellation_from_outside_stays_one() -> None:
    async def serve() -> None:
        task = asyncio.create_task(while_connected(_stays, _works(30, [])))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(serve())


@pytest.mark.parametrize("header", ["Upgrade", "upgrade", "UPGRADE"])
def test_an_offer_of_http_2_is_passed_over(server: Server, header: str) -> None:
    """As Java's HttpClient and curl make it: the body is read, and the connection stays."""
    connection = http.client.HTTPConnection(httpx.URL(server.url).netloc.decode(), timeout=30)
    offer = {"Connection": "Upgrade, HTTP2-Settings", header: "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAAAAMAAAAA"}
    body = orjson.dumps({"format": "expression", "outputs": {"y": "exp(x)"}})
    for _ in range(2):
        connection.request("POST", "/v1/graphs", body, {"Content-Type": "application/json", **offer})
        answer = connection.getresponse()
        assert answer.status in {200, 201}
        assert orjson.loads(answer.read())["operators"] == {"Exp": 1}
    connection.close()
