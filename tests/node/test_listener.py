"""Connections are bounded in number, in all and per host, and in the time they may stay without a complete request."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from ledger.errors import AddressInUse
from node.listener import Listener

PATIENCE_S = 30


@asynccontextmanager
async def listening(handler=None, **limits):
    async def hello(request):
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", handler or hello)
    listener = Listener(app, "127.0.0.1", 0, **limits)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def connect(listener):
    return await asyncio.open_connection("127.0.0.1", listener.port)


async def is_closed(reader):
    """Whether the other side closes the connection without a word."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


async def test_requests_are_served_one_after_another_on_one_connection():
    async with listening(max_connections=1) as listener, aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(f"http://127.0.0.1:{listener.port}/") as answer:
                assert await answer.text() == "hello"


@pytest.mark.parametrize("limits", [{"max_connections": 3}, {"max_per_remote": 3}])
async def test_one_connection_too_many_is_closed_and_a_freed_place_is_given_again(limits):
    async with listening(**limits) as listener:
        opened = [await connect(listener) for _ in range(3)]
        reader, writer = await connect(listener)
        assert await is_closed(reader)
        writer.close()
        opened[0][1].write(b"GET / HTTP/1.0\r\n\r\n")  # answered, and closed by the server
        async with asyncio.timeout(PATIENCE_S):
            assert b"hello" in await opened[0][0].read()
        opened[0][1].close()
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{listener.port}/") as answer:
            assert answer.status == 200
        for _, writer in opened:
            writer.close()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: n0", b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_connection_without_a_complete_request_is_closed(said):
    """Silent, with half a request, or idle after a whole one."""
    async with listening(max_idle_s=0.05) as listener:
        reader, writer = await connect(listener)
        writer.write(said)
        async with asyncio.timeout(PATIENCE_S):
            while not reader.at_eof():
                await reader.read(10_000)
        writer.close()


async def test_a_request_at_work_is_not_taken_for_an_idle_connection():
    release = asyncio.Event()

    async def slow(request):
        await release.wait()
        return web.Response(text="at last")

    async with listening(slow, max_idle_s=0.05) as listener:
        reader, writer = await connect(listener)
        working = aiohttp.ClientSession()
        async with working:
            answer = asyncio.ensure_future(working.get(f"http://127.0.0.1:{listener.port}/"))
            assert await is_closed(reader)  # the idle one beside it has been closed meanwhile
            release.set()
            assert await (await answer).text() == "at last"
        writer.close()


async def test_a_port_in_use_is_an_error_with_a_name():
    async with listening() as listener:
        second = Listener(web.Application(), "127.0.0.1", listener.port)
        with pytest.raises(AddressInUse, match=str(listener.port)):
            await second.start()
        await second.stop()
