"""A bounded HTTP listener, with TLS or without: connections, handshakes, headers, bodies and idle time have limits.

Whoever has said nothing complete yet has the least claim on a place: where too many of those wait, the one that has
waited longest goes. So silent connections cost no place that a talking one needs.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections import Counter
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler

from ledger.errors import AddressInUse, CompressedBody, GridmeritError, TooManyConnections
from node.clock import steady_ms
from node.logs import LimitedLog, get_logger
from node.tasks import Tasks

MAX_CONNECTIONS = 512  # that have sent a request
MAX_PER_REMOTE = 128  # of those, from one host; with TLS, with one certificate
MAX_SILENT = 256  # that have not
MAX_SILENT_PER_REMOTE = 64
MAX_IDLE_S = 30.0  # without a complete head of a request since the last answer
FIRST_HEAD_S = 5.0  # from the connection's start to the first complete head, handshake included
_CLOSE_TIMEOUT_S = 1.0
_LINGER_S = 0.5  # for a body that nobody wants, so that its sender sees the answer
_PLAIN_ENCODINGS = ("", "identity")


class Listener:
    """Serves an aiohttp application on one address."""

    def __init__(
        self,
        app: web.Application,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int = MAX_CONNECTIONS,
        max_per_remote: int = MAX_PER_REMOTE,
        max_silent: int = MAX_SILENT,
        max_silent_per_remote: int = MAX_SILENT_PER_REMOTE,
        max_idle_s: float = MAX_IDLE_S,
        first_head_s: float = FIRST_HEAD_S,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._max_connections = max_connections
        self._max_per_remote = max_per_remote
        self._max_silent = max_silent
        self._max_silent_per_remote = max_silent_per_remote
        self._first_head_s = first_head_s
        self._silent: dict[_Connection, str] = {}  # by remote host; those that wait longest come first
        self._talking: dict[_Connection, str] = {}  # by remote host or certificate
        self._silent_of: Counter[str] = Counter()
        self._talking_of: Counter[str] = Counter()
        self._by_handler: dict[object, _Connection] = {}
        self._server: asyncio.Server | None = None
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
        assert self._server is not None
        return cast(int, self._server.sockets[0].getsockname()[1])

    @property
    def connections(self) -> tuple[asyncio.Transport, ...]:
        """Those that have sent a request."""
        return tuple(connection.transport for connection in self._talking)

    @property
    def silent_count(self) -> int:
        return len(self._silent)

    async def start(self) -> None:
        """Raises `AddressInUse`."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._accept, self._host, self._port, reuse_address=True)
        except OSError as error:
            await self._runner.cleanup()
            address = f"{self._host}:{self._port}"
            raise AddressInUse(address=address, detail=error.strerror or str(error)) from None

    async def stop(self) -> None:
        """Give requests at work a moment to end, and close every connection."""
        if self._server is not None:
            self._server.close()
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
        if self._silent_of[remote] >= self._max_silent_per_remote:
            self._drop_silent(next(other for other, host in self._silent.items() if host == remote))
        elif len(self._silent) >= self._max_silent:
            self._drop_silent(next(iter(self._silent)))
        self._silent[connection] = remote
        self._silent_of[remote] += 1
        self._by_handler[handler] = connection
        if self._tls is not None:
            self._tasks.start(connection.secure(self._tls), name="handshake")

    def leave(self, connection: _Connection, handler: RequestHandler) -> None:
        _remove(connection, self._silent, self._silent_of)
        _remove(connection, self._talking, self._talking_of)
        self._by_handler.pop(handler, None)

    def note_failure(self, remote: str, error: Exception) -> None:
        """A handshake that came to nothing."""
        detail = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        self._log.event(logging.INFO, "tls-refused", steady_ms(), remote=remote, detail=detail or type(error).__name__)

    @property
    def first_head_s(self) -> float:
        return self._first_head_s

    # --- inside ----------------------------------------------------------------------------------

    def _accept(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return _Connection(self, self._runner.server(), is_secure=self._tls is not None)

    def _drop_silent(self, connection: _Connection) -> None:
        _remove(connection, self._silent, self._silent_of)
        connection.transport.abort()

    def _begin_request(self, handler: object) -> bool:
        """A complete head has come: whether its connection may stay among those that talk."""
        connection = self._by_handler.get(handler)
        if connection is None or connection in self._talking:
            return connection is not None
        remote = self._silent.get(connection)
        if remote is None:
            return False  # dropped a moment ago
        owner = connection.owner(remote)
        if len(self._talking) >= self._max_connections or self._talking_of[owner] >= self._max_per_remote:
            return False
        _remove(connection, self._silent, self._silent_of)
        self._talking[connection] = owner
        self._talking_of[owner] += 1
        connection.begin()
        return True

    def _make_middleware(self) -> Middleware:
        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not self._begin_request(request.protocol):
                return _refuse(503, TooManyConnections(open=len(self._talking)))
            encoding = request.headers.get("Content-Encoding", "")
            if encoding.lower() not in _PLAIN_ENCODINGS:
                return _refuse(415, CompressedBody(encoding=encoding[:50]))
            return await handler(request)

        return admit


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

    def begin(self) -> None:
        """The first complete head has come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def owner(self, remote: str) -> str:
        """Whose the connection is, for counting: the certificate's holder, else the remote host."""
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
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _open(self) -> None:
        self._is_open = True
        self._inner.connection_made(self.transport)
        for data in self._early:
            self._inner.data_received(data)
        self._early.clear()

    def _end(self, error: Exception | None) -> None:
        self.begin()
        self._listener.leave(self, self._inner)
        if self._is_open:
            self._is_open = False
            self._inner.connection_lost(error)


def _remove(connection: _Connection, places: dict[_Connection, str], counts: Counter[str]) -> None:
    owner = places.pop(connection, None)
    if owner is not None:
        counts[owner] -= 1
        if not counts[owner]:
            del counts[owner]


def _refuse(status: int, error: GridmeritError) -> web.Response:
    response = web.json_response({"error": error.code, "message": str(error), "values": error.values}, status=status)
    response.force_close()
    return response


def _get_http_logger() -> logging.Logger:
    """For aiohttp: it tells of our bugs there, and of whatever anybody sends that is not HTTP, which nobody wants."""
    log = get_logger("http")
    if not log.filters:
        log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
    return log


def _raise(error: BaseException) -> None:
    raise error
