"""Connections are bounded in number, in all and per host, and in the time they may stay without a complete request."""

import asyncio
import gc
import socket
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from node.api.server import answer_errors
from node.system.addresses import ListenAddress
from node.system.descriptors import count_open
from node.system.http_listener import Listener
from node.system.logs import get_logger
from node.system.ports import take_port
from tests.support.patience import PATIENCE_S


@asynccontextmanager
async def listening(handler=None, *, middlewares=(), **limits):
    async def hello(request):
        return web.Response(text="hello")

    app = web.Application(middlewares=middlewares)
    app.router.add_route("POST" if handler is read_body else "GET", "/", handler or hello)
    listener = Listener(app, take_port(ListenAddress("127.0.0.1", 0), "api_listen"), **limits)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def connect(listener):
    return await asyncio.open_connection("127.0.0.1", listener.port)


async def is_closed(reader):
    """True where the other side closes the connection without a word."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_whoever_goes_before_the_end_of_its_body_leaves_nothing_that_only_the_collector_frees(no_collector):
    """A thousand of them kept nine thousand frames, and freeing those held up the loop for 100 ms."""
    async with listening(read_body) as listener:
        for _ in range(20):
            _, writer = await connect(listener)
            writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx")
            async with asyncio.timeout(PATIENCE_S):
                while not listener.connections:  # noqa: ASYNC110 - of the listener
                    await asyncio.sleep(0)
            writer.close()
            async with asyncio.timeout(PATIENCE_S):
                while listener.connections:  # noqa: ASYNC110 - of the listener
                    await asyncio.sleep(0)
        await asyncio.sleep(0)
        kept = [one for one in gc.get_objects() if isinstance(one, RequestHandler)]
        assert len(kept) < 20


async def test_requests_are_served_one_after_another_on_one_connection():
    async with listening(max_connections=1) as listener, aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(f"http://127.0.0.1:{listener.port}/") as answer:
                assert await answer.text() == "hello"


async def is_closed_after(reader, said):
    """The same, after what it has said before."""
    async with asyncio.timeout(PATIENCE_S):
        return await reader.read() == said


async def read_status(reader):
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1])


async def ask(reader, writer):
    writer.write(HEAD)
    return await read_status(reader)


class Slow:
    """A handler that answers when it is let."""

    def __init__(self):
        self.asked = 0
        self._release = asyncio.Event()

    async def answer(self, request):
        self.asked += 1
        await self._release.wait()
        return web.Response(text="at last")

    def release(self):
        self._release.set()


HEAD = b"GET / HTTP/1.1\r\nHost: n0\r\n\r\n"
LIMITS = [{"max_connections": 3}, {"max_per_remote": 3}]


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("limits", LIMITS)
async def test_where_all_are_at_work_one_more_is_refused_and_a_freed_place_is_given_again(limits):
    slow = Slow()
    async with listening(slow.answer, **limits) as listener:
        opened = [await connect(listener) for _ in range(3)]
        for _, writer in opened:
            writer.write(HEAD)
        await until(lambda: slow.asked == 3)
        reader, writer = await connect(listener)
        assert await ask(reader, writer) == 503
        writer.close()
        opened.pop(0)[1].close()
        await until(lambda: len(listener.connections) == 2)
        slow.release()
        opened.append(await connect(listener))
        assert await ask(*opened[-1]) == 200
        for _, writer in opened:
            writer.close()


@pytest.mark.parametrize("limits", LIMITS)
async def test_one_that_has_been_answered_makes_room_for_one_that_asks(limits):
    async with listening(**limits) as listener:
        opened = [await connect(listener) for _ in range(4)]
        assert [await ask(*connection) for connection in opened] == [200] * 4
        assert await is_closed_after(opened[0][0], b"hello")
        assert [await ask(*connection) for connection in opened[1:]] == [200] * 3
        for _, writer in opened:
            writer.close()


async def send_slowly(listener):
    """A request whose body never comes to its end."""
    reader, writer = await connect(listener)
    writer.write(b"POST / HTTP/1.1\r\nHost: n0\r\nContent-Length: 100\r\n\r\nbegin")
    await writer.drain()
    return reader, writer


async def read_body(request):
    await request.read()
    return web.Response(text="hello")


@pytest.mark.parametrize("limits", [*LIMITS, {"max_bodies": 3}, {"max_bodies_per_remote": 3}])
async def test_slow_bodies_keep_no_place_from_others_of_their_host(limits):
    async with listening(read_body, **limits) as listener:
        slow = [await send_slowly(listener) for _ in range(12)]
        for _ in range(12):
            reader, writer = await connect(listener)
            writer.write(b"POST / HTTP/1.1\r\nHost: n0\r\nContent-Length: 5\r\n\r\nquick")
            assert await read_status(reader) == 200
            writer.close()
            slow.append(await send_slowly(listener))
        assert all([await is_closed(reader) for reader, _ in slow[:9]]), "those that have been slow for longest"
        for _, writer in slow:
            writer.close()


async def test_a_body_that_comes_in_parts_is_answered_while_there_is_room():
    async with listening(read_body, max_bodies=2) as listener:
        reader, writer = await send_slowly(listener)
        writer.write(bytes(95))
        assert await read_status(reader) == 200
        assert await ask(reader, writer) == 405, "on the same connection"
        writer.close()


# --- readers that do not read ------------------------------------------------------------------------


def deaf_connection(listener):
    """A socket that asks, and takes next to nothing of the answer."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    plain.connect(("127.0.0.1", listener.port))
    plain.sendall(HEAD)
    return plain


async def answer_at_length(request):
    return web.Response(body=bytes(8_000_000))


async def test_an_answer_that_is_not_taken_is_cut_off():
    async with listening(answer_at_length, max_write_s=0.1) as listener:
        with deaf_connection(listener):
            await until(lambda: listener.connections)
            await until(lambda: not listener.connections)


@pytest.mark.parametrize("limits", LIMITS)
async def test_a_reader_that_does_not_read_makes_room_for_one_that_asks(limits):
    async with listening(answer_at_length, **limits) as listener:
        deaf = [deaf_connection(listener) for _ in range(3)]
        await until(lambda: len(listener.connections) == 3)
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{listener.port}/") as answer:
            assert len(await answer.read()) == 8_000_000
        for plain in deaf:
            plain.close()


async def begin_stream(listener):
    """Connections until one is served: while the buffers of the deaf one fill, it is not known to be deaf."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            reader, writer = await connect(listener)
            if await ask(reader, writer) == 200:
                return reader, writer
            writer.close()


@pytest.mark.parametrize("limits", LIMITS)
async def test_a_stream_that_is_not_read_makes_room_and_one_that_is_read_does_not(limits):
    begun = []

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        begun.append(response)
        with suppress(ConnectionError):
            while True:
                await response.write(bytes(100_000))
                await asyncio.sleep(0)
        return response

    async def read(reader):
        while await reader.read(1_000_000):
            pass

    async with listening(stream, **limits) as listener, asyncio.TaskGroup() as group:
        deaf = deaf_connection(listener)
        await until(lambda: len(begun) == 1)
        reading = []
        for count in (2, 3, 4):
            reader, writer = await begin_stream(listener)
            assert len(begun) == count
            reading.append((group.create_task(read(reader)), writer))
        assert [task.done() for task, _ in reading] == [False] * 3
        deaf.close()
        for task, writer in reading:
            task.cancel()
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


async def test_a_connection_whose_file_is_one_of_the_last_is_closed():
    async with listening(max_descriptor=2) as listener:
        reader, writer = await connect(listener)
        writer.write(HEAD)
        assert await is_closed(reader)
        assert listener.silent_count == len(listener.connections) == 0
        writer.close()


async def test_of_a_crowd_no_more_come_in_at_once_than_may(monkeypatch):
    """Else all of it would have files open at once, whatever the limits."""
    opened, enter = [], Listener.enter

    def count(self, *details):
        opened.append(count_open())
        enter(self, *details)

    monkeypatch.setattr(Listener, "enter", count)
    async with listening(max_silent=3, max_at_once=2) as listener:
        crowd = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(50)]
        before = count_open()
        await until(lambda: len(opened) == 50)
        assert max(opened) <= before + 3 + 2 * 2, "the silent, those that came, and those on their way out"
        for plain in crowd:
            plain.close()


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


@pytest.fixture
def errors_logged(caplog):
    """The errors that the node's log has had since the test began, when called."""
    log = get_logger()
    log.addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    log.removeHandler(caplog.handler)


@pytest.mark.parametrize("middlewares", [[], [answer_errors]], ids=["peer port", "API"])
async def test_whoever_goes_in_the_middle_of_a_body_leaves_no_bug_in_the_log(errors_logged, middlewares):
    """Any client can do so as often as it likes."""
    at_work, gone = asyncio.Event(), asyncio.Event()

    async def read(request):
        at_work.set()
        try:
            return web.Response(text=str(len(await request.read())))
        finally:
            gone.set()

    async with listening(read, middlewares=middlewares) as listener:
        _, writer = await connect(listener)
        writer.write(b"GET / HTTP/1.1\r\nHost: n0\r\nContent-Length: 100\r\n\r\nhalf of it")
        async with asyncio.timeout(PATIENCE_S):
            await at_work.wait()
            writer.transport.abort()
            await gone.wait()
        assert await ask(*await connect(listener)) == 200, "by now all has been said"
    assert errors_logged() == []


@pytest.mark.parametrize("middlewares", [[], [answer_errors]], ids=["peer port", "API"])
async def test_whoever_goes_while_its_answer_waits_for_it_leaves_no_bug_in_the_log(errors_logged, middlewares):
    at_work, gone = asyncio.Event(), asyncio.Event()

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        at_work.set()
        try:
            while True:
                await response.write(bytes(1_000_000))
        finally:
            gone.set()

    async with listening(stream, middlewares=middlewares) as listener:
        _, writer = await connect(listener)
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\nHost: n0\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            await at_work.wait()
            writer.transport.abort()
            await gone.wait()
    assert errors_logged() == []


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
