"""A bounded HTTP listener: connections in all and per remote host, headers, and idle time have limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ledger.errors import AddressInUse

MAX_CONNECTIONS = 512
MAX_PER_REMOTE = 128
MAX_IDLE_S = 30.0  # without a complete head of a request, from the connection's start or the last answer
_CLOSE_TIMEOUT_S = 1.0


class Listener:
    """Serves an aiohttp application on one address."""

    def __init__(
        self,
        app: web.Application,
        host: str,
        port: int,
        *,
        max_connections: int = MAX_CONNECTIONS,
        max_per_remote: int = MAX_PER_REMOTE,
        max_idle_s: float = MAX_IDLE_S,
    ) -> None:
        self._host = host
        self._port = port
        self._max_connections = max_connections
        self._max_per_remote = max_per_remote
        self._connections: dict[_Bounded, str] = {}
        self._remotes: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=max_idle_s,
            shutdown_timeout=_CLOSE_TIMEOUT_S,
            max_line_size=4_096,
            max_field_size=4_096,
            max_headers=64,
        )

    @property
    def port(self) -> int:
        """The port listened on, also where the system chose it."""
        assert self._server is not None
        return cast(int, self._server.sockets[0].getsockname()[1])

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
        for connection in list(self._connections):
            connection.transport.abort()

    def admit(self, connection: _Bounded, remote: str) -> bool:
        """Count a new connection; whether it may stay."""
        if len(self._connections) >= self._max_connections or self._remotes[remote] >= self._max_per_remote:
            return False
        self._connections[connection] = remote
        self._remotes[remote] += 1
        return True

    def leave(self, connection: _Bounded) -> None:
        remote = self._connections.pop(connection, None)
        if remote is not None:
            self._remotes[remote] -= 1
            if not self._remotes[remote]:
                del self._remotes[remote]

    def _accept(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return _Bounded(self, self._runner.server())


class _Bounded(asyncio.Protocol):
    """Stands between a connection and aiohttp's own protocol, which never hears of a connection too many."""

    transport: asyncio.Transport

    def __init__(self, listener: Listener, inner: RequestHandler) -> None:
        self._listener = listener
        self._inner: RequestHandler | None = inner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        remote = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._listener.admit(self, remote):
            self._inner = None
            self.transport.abort()
        elif self._inner is not None:
            self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._listener.leave(self)
        if self._inner is not None:
            self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> None:
        if self._inner is not None:
            self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()
