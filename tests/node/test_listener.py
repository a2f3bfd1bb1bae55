"""Connections are bounded in number, in all and per host, and in the time they may stay without a complete request."""

import asyncio
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from ledger.errors import AddressInUse
from node.api import answer_errors
from node.listener import Listener
from node.logs import get_logger

PATIENCE_S = 30


@asynccontextmanager
async def listening(handler=None, *, middlewares=(), **limits):
    async def hello(request):
        return web.Response(text="hello")

    app = web.Application(middlewares=middlewares)
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


async def ask(reader, writer):
    writer.write(b"GET / HTTP/1.1\r\nHost: n0\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])


@pytest.mark.parametrize("limits", [{"max_connections": 3}, {"max_per_remote": 3}])
async def test_one_connection_too_many_is_refused_and_a_freed_place_is_given_again(limits):
    async with listening(**limits) as listener:
        opened = [await connect(listener) for _ in range(3)]
        assert [await ask(*connection) for connection in opened] == [200] * 3
        reader, writer = await connect(listener)
        assert await ask(reader, writer) == 503
        writer.close()
        opened[0][1].close()
        async with asyncio.timeout(PATIENCE_S):
            while len(listener.connections) > 2:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.001)
        opened.append(await connect(listener))
        assert await ask(*opened[-1]) == 200
        for _, writer in opened:
            writer.close()


@pytest.mark.parametrize("limits", [{"max_silent": 3}, {"max_silent_per_remote": 3}])
async def test_a_silent_connection_makes_room_for_a_later_one(limits):
    async with listening(**limits) as listener:
        opened = [await connect(listener) for _ in range(3)]
        opened.append(await connect(listener))
        assert await is_closed(opened[0][0]), "the one that has said nothing for longest"
        assert [await ask(*connection) for connection in opened[1:]] == [200] * 3
        assert listener.silent_count == 0
        for _, writer in opened:
            writer.close()


async def test_connections_that_talk_are_not_counted_among_the_silent():
    async with listening(max_silent=1) as listener:
        opened = []
        for _ in range(5):
            opened.append(await connect(listener))
            assert await ask(*opened[-1]) == 200
        assert [await ask(*connection) for connection in opened] == [200] * 5
        for _, writer in opened:
            writer.close()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: n0"])
async def test_the_first_request_must_come_soon(said):
    async with listening(first_head_s=0.05) as listener:
        reader, writer = await connect(listener)
        writer.write(said)
        assert await is_closed(reader)
        writer.close()


async def test_a_client_that_sends_its_head_byte_by_byte_wins_no_time():
    async with listening(first_head_s=0.3) as listener:
        reader, writer = await connect(listener)
        async with asyncio.timeout(PATIENCE_S):
            while not reader.at_eof():
                writer.write(b"G")
                await asyncio.sleep(0.02)
                with suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(0.001):
                        await reader.read(100)
                if writer.is_closing():
                    break
        writer.close()


async def test_compressed_bodies_are_refused():
    async with listening() as listener:
        reader, writer = await connect(listener)
        writer.write(b"GET / HTTP/1.1\r\nHost: n0\r\nContent-Encoding: gzip\r\nContent-Length: 99999999\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 415")
        assert b"CompressedBody" in answer
        writer.close()


@pytest.mark.parametrize("middlewares", [[], [answer_errors]], ids=["peer port", "API"])
async def test_whoever_goes_in_the_middle_of_a_body_leaves_no_bug_in_the_log(caplog, middlewares):
    """Anybody can do so as often as it likes."""
    at_work, gone = asyncio.Event(), asyncio.Event()

    async def read(request):
        at_work.set()
        try:
            return web.Response(text=str(len(await request.read())))
        finally:
            gone.set()

    log = get_logger()
    log.addHandler(caplog.handler)
    async with listening(read, middlewares=middlewares) as listener:
        _, writer = await connect(listener)
        writer.write(b"GET / HTTP/1.1\r\nHost: n0\r\nContent-Length: 100\r\n\r\nhalf of it")
        async with asyncio.timeout(PATIENCE_S):
            await at_work.wait()
            writer.transport.abort()
            await gone.wait()
        assert await ask(*await connect(listener)) == 200, "by now all has been said"
    log.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


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
