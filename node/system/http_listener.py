"""A bounded HTTP listener, with TLS or without.

Connections, handshakes, headers, bodies, answers and idle time have limits.
A client that keeps this node waiting has the least claim on a place: for a request, for the rest of one, or for what
was sent to be taken. Where places run out, the connection that has done so for longest goes. So silent connections,
slow bodies and readers that do not read cost no place that a request needs.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler

from ledger.errors import GridmeritError
from node.errors import CompressedBody, TooManyConnections
from node.system.clock import steady_ms
from node.system.logs import LimitedLog, get_logger
from node.system.ports import lengthen_queue
from node.system.tasks import Tasks

MAX_CONNECTIONS = 512  # that have sent a request
MAX_PER_REMOTE = 128  # of those, from one host; with TLS, with one certificate
MAX_SILENT = 256  # that have not
MAX_SILENT_PER_REMOTE = 64
MAX_IDLE_S = 30.0  # without a complete head of a request since the last answer
MAX_BODIES = 256  # that have come in part
MAX_BODIES_PER_REMOTE = 64
FIRST_HEAD_S = 5.0  # from the connection's start to the first complete head, handshake included
MAX_WRITE_S = 120.0  # for what has been sent to be taken
MAX_AT_ONCE = 100  # that are accepted before one of them is looked at
_CLOSE_TIMEOUT_S = 1.0
_LINGER_S = 0.5  # for a body that is not wanted, so that its sender sees the answer
_PLAIN_ENCODINGS = ("", "identity")


class Listener:
    """Serves an aiohttp application on one port, whose sockets it is given (`node.system.ports`)."""

    def __init__(
        self,
        app: web.Application,
        sockets: Sequence[socket.socket],
        *,
        tls: ssl.SSLContext | None = None,
        max_descriptor: int | None = None,
        max_connections: int = MAX_CONNECTIONS,
        max_per_remote: int = MAX_PER_REMOTE,
        max_silent: int = MAX_SILENT,
        max_silent_per_remote: int = MAX_SILENT_PER_REMOTE,
        max_at_once: int = MAX_AT_ONCE,
        max_bodies: int = MAX_BODIES,
        max_bodies_per_remote: int = MAX_BODIES_PER_REMOTE,
        max_idle_s: float = MAX_IDLE_S,
        max_write_s: float = MAX_WRITE_S,
        first_head_s: float = FIRST_HEAD_S,
    ) -> None:
        """A connection with a descriptor above `max_descriptor` is closed at once: the rest is for others."""
        self._sockets = sockets
        self._max_descriptor = max_descriptor
        self._max_at_once = max_at_once
        self._tls = tls
        self._silent = _Places(max_silent, max_silent_per_remote)  # by remote host
        self._talking = _Places(max_connections, max_per_remote)  # by remote host or certificate
        self._bodies = _Places(max_bodies, max_bodies_per_remote)  # of those; by the same
        self.first_head_s = first_head_s
        self.max_write_s = max_write_s
        self._by_handler: dict[object, _Connection] = {}
        self._servers: list[asyncio.Server] = []
        self._log = LimitedLog(get_logger())
        self._tasks = Tasks(_raise)
        app.middlewares.insert(0, self._make_middleware())
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_get_http_logger(),
            auto_decompress=False,
            keepalive_timeout=max_idle_s,
            shutdown_timeout=_CLOSE_TIMEOUT_S,
            lingering_time=_LINGER_S,
            max_line_size=4_096,
            max_field_size=4_096,
            max_headers=64,
        )

    @property
    def port(self) -> int:
        """The port listened on, also where the system chose it."""
        return cast(int, self._sockets[0].getsockname()[1])

    @property
    def connections(self) -> tuple[asyncio.Transport, ...]:
        """Those that have sent a request."""
        return tuple(connection.transport for connection in self._talking)

    @property
    def silent_count(self) -> int:
        return len(self._silent)

    async def start(self) -> None:
        """Accept connections, those that have waited first."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            # asyncio takes in as many as its backlog says before a single limit is looked at.
            server = await loop.create_server(self._accept, sock=listening, backlog=self._max_at_once)
            self._servers.append(server)
            lengthen_queue(listening)

    async def stop(self) -> None:
        """Give requests at work a moment to end, and close every connection."""
        for server in self._servers:
            server.close()
        await self._runner.cleanup()
        await self._tasks.stop()
        for connection in [*self._silent, *self._talking]:
            connection.transport.abort()

    def secure_with(self, tls: ssl.SSLContext) -> None:
        """Do handshakes with another context from now on, and close every connection that one before has let in."""
        self._tls = tls
        for connection in [*self._silent, *self._talking]:
            connection.transport.abort()

    # --- what connections tell -------------------------------------------------------------------

    def enter(self, connection: _Connection, handler: RequestHandler, remote: str) -> None:
        """A new connection, silent so far; those that have been so for longest make room for it."""
        if self._max_descriptor is not None and connection.descriptor > self._max_descriptor:
            self._log.event(
                logging.WARNING, "connection-closed", steady_ms(), remote=remote, detail="no files left for it"
            )
            connection.transport.abort()
            return
        self._make_room(self._silent, remote)
        self._silent.add(connection, remote)
        self._silent.wait_for(connection)
        self._by_handler[handler] = connection
        if self._tls is not None:
            self._tasks.start(connection.secure(self._tls), name="handshake")

    def leave(self, connection: _Connection, handler: RequestHandler) -> None:
        self._forget(connection)
        self._by_handler.pop(handler, None)

    def note_waiting(self, connection: _Connection, is_waiting: bool) -> None:
        """Note that this node waits for a connection that has talked, or the other way round."""
        if connection not in self._talking:
            return
        if is_waiting:
            self._talking.wait_for(connection)
        else:
            self._talking.wait_no_more(connection)

    def note_failure(self, remote: str, error: Exception) -> None:
        """A handshake that came to nothing."""
        detail = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        self._log.event(logging.INFO, "tls-refused", steady_ms(), remote=remote, detail=detail or type(error).__name__)

    # --- inside ----------------------------------------------------------------------------------

    def _accept(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return _Connection(self, self._runner.server(), is_secure=self._tls is not None)

    def _make_room(self, places: _Places, owner: str) -> bool:
        """Make room for one more of this owner, if need be in place of one that waits; False if there is none."""
        if places.has_room(owner):
            return True
        longest = places.find_longest_waiting(owner)
        if longest is not None:
            self._forget(longest)
            longest.transport.abort()
        return longest is not None

    def _forget(self, connection: _Connection) -> None:
        for places in (self._silent, self._talking, self._bodies):
            places.remove(connection)

    def _begin_request(self, request: web.Request) -> _Connection | None:
        """The connection of a request whose complete head has come, if it may stay among those that talk."""
        connection = self._by_handler.get(request.protocol)
        if connection is None or not (connection in self._talking or self._promote(connection)):
            return None
        if request.content.is_eof():
            connection.begin_work()
            return connection
        owner = self._talking.owner_of(connection)
        assert owner is not None
        self._make_room(self._bodies, owner)
        self._bodies.add(connection, owner)
        self._bodies.wait_for(connection)
        request.content.on_eof(lambda: self._on_body(connection))
        return connection

    def _on_body(self, connection: _Connection) -> None:
        self._bodies.remove(connection)
        connection.begin_work()

    def _promote(self, connection: _Connection) -> bool:
        remote = self._silent.owner_of(connection)
        if remote is None:
            return False  # dropped a moment ago
        owner = connection.owner(remote)
        if not self._make_room(self._talking, owner):
            return False
        self._silent.remove(connection)
        self._talking.add(connection, owner)
        self._talking.wait_for(connection)
        connection.begin()
        return True

    def _make_middleware(self) -> Middleware:
        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = self._begin_request(request)
            if connection is None:
                return _refuse(503, TooManyConnections(open=len(self._talking)))
            try:
                encoding = request.headers.get("Content-Encoding", "")
                if encoding.lower() not in _PLAIN_ENCODINGS:
                    return _refuse(415, CompressedBody(encoding=encoding[:50]))
                return await handler(request)
            except ConnectionError as error:  # the client has gone, and none hears the answer
                error.__traceback__ = None  # the body keeps the error, and these frames the body: a knot for each
                return web.Response(status=400)
            finally:
                self._bodies.remove(connection)
                connection.end_work()

        return admit


class _Places:
    """Bounded places for connections, in all and per owner, and those of them that this node waits for."""

    def __init__(self, limit: int, limit_per_owner: int) -> None:
        self._limit = limit
        self._limit_per_owner = limit_per_owner
        self._owners: dict[_Connection, str] = {}
        self._counts: Counter[str] = Counter()
        self._waiting: dict[_Connection, None] = {}  # the one that has kept us waiting for longest comes first

    def __len__(self) -> int:
        return len(self._owners)

    def __iter__(self) -> Iterator[_Connection]:
        return iter(tuple(self._owners))

    def __contains__(self, connection: object) -> bool:
        return connection in self._owners

    def owner_of(self, connection: _Connection) -> str | None:
        return self._owners.get(connection)

    def has_room(self, owner: str) -> bool:
        return len(self._owners) < self._limit and self._counts[owner] < self._limit_per_owner

    def find_longest_waiting(self, owner: str) -> _Connection | None:
        """The one of an owner that has all it may have, else of any owner."""
        is_owners_turn = self._counts[owner] >= self._limit_per_owner
        return next((one for one in self._waiting if not is_owners_turn or self._owners[one] == owner), None)

    def add(self, connection: _Connection, owner: str) -> None:
        self._owners[connection] = owner
        self._counts[owner] += 1

    def remove(self, connection: _Connection) -> None:
        self._waiting.pop(connection, None)
        owner = self._owners.pop(connection, None)
        if owner is not None:
            self._counts[owner] -= 1
            if not self._counts[owner]:
                del self._counts[owner]

    def wait_for(self, connection: _Connection) -> None:
        """From now on, unless it has been so for a while."""
        self._waiting.setdefault(connection, None)

    def wait_no_more(self, connection: _Connection) -> None:
        self._waiting.pop(connection, None)


class _Connection(asyncio.Protocol):
    """Stands between a socket and aiohttp's own protocol, which never hears of it before the handshake is done."""

    transport: asyncio.Transport

    def __init__(self, listener: Listener, inner: RequestHandler, *, is_secure: bool) -> None:
        self._listener = listener
        self._inner = inner
        self._is_secure = is_secure
        self._is_open = False  # for aiohttp
        self._early: list[bytes] = []  # what came with the end of the handshake
        self._remote = ""
        self._timer: asyncio.TimerHandle | None = None
        self._is_at_work = False  # a complete request has no answer yet
        self._unread: asyncio.TimerHandle | None = None  # until what was sent must have been taken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._remote = str((transport.get_extra_info("peername") or ("",))[0])
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._listener.first_head_s, self.transport.abort)
        if self._is_secure:
            self.transport.pause_reading()
        else:
            self._open()
        self._listener.enter(self, self._inner, self._remote)

    async def secure(self, context: ssl.SSLContext) -> None:
        """Do the handshake, within the time that the first head of a request may take."""
        socket = self.transport
        if socket.is_closing():
            return
        try:
            secured = await asyncio.get_running_loop().start_tls(
                socket,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._listener.first_head_s,
                ssl_shutdown_timeout=_CLOSE_TIMEOUT_S,
            )
        except (OSError, EOFError) as error:
            self._listener.note_failure(self._remote, error)
            secured = None
        if secured is None or socket.is_closing():
            socket.abort()
            self._end(None)
            return
        self.transport = secured
        self._open()

    def begin_work(self) -> None:
        """A complete request has come."""
        self._is_at_work = True
        self._tell_waiting()

    def end_work(self) -> None:
        """Its answer is written, or at least made."""
        self._is_at_work = False
        self._tell_waiting()

    def begin(self) -> None:
        """The first complete head has come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def descriptor(self) -> int:
        """The number of its file."""
        return cast(int, self.transport.get_extra_info("socket").fileno())

    def owner(self, remote: str) -> str:
        """The owner of the connection, for counting: the certificate's holder, else the remote host."""
        connection = self.transport.get_extra_info("ssl_object")
        der = None if connection is None else connection.getpeercert(binary_form=True)
        return remote if der is None else hashlib.sha256(der).hexdigest()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error)

    def data_received(self, data: bytes) -> None:
        if self._is_open:
            self._inner.data_received(data)
        else:
            self._early.append(data)

    def eof_received(self) -> None:
        if self._is_open:
            self._inner.eof_received()

    def pause_writing(self) -> None:
        """The other side takes less than is sent to it."""
        self._unread = asyncio.get_running_loop().call_later(self._listener.max_write_s, self.transport.abort)
        self._tell_waiting()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._stop_timing()
        self._tell_waiting()
        self._inner.resume_writing()

    def _open(self) -> None:
        self._is_open = True
        self.transport.set_write_buffer_limits(high=1)  # so that `pause_writing` tells of whatever is not taken
        self._inner.connection_made(self.transport)
        for data in self._early:
            self._inner.data_received(data)
        self._early.clear()

    def _tell_waiting(self) -> None:
        self._listener.note_waiting(self, self._unread is not None or not self._is_at_work)

    def _stop_timing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _end(self, error: Exception | None) -> None:
        self.begin()
        self._stop_timing()
        self._listener.leave(self, self._inner)
        if self._is_open:
            self._is_open = False
            self._inner.connection_lost(error)


def _refuse(status: int, error: GridmeritError) -> web.Response:
    values = {name: str(value) for name, value in error.values.items()}
    response = web.json_response({"error": error.code, "message": str(error), "values": values}, status=status)
    response.force_close()
    return response


def _get_http_logger() -> logging.Logger:
    """The logger for aiohttp, which tells of our bugs there, without what clients send that is not HTTP."""
    log = get_logger("http")
    if not log.filters:
        log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
    return log


def _raise(error: BaseException) -> None:
    raise error
