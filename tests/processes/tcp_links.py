"""A TCP proxy per ordered pair of peers, so that the network between real processes can lose what it carries.

Nothing is refused or closed where a way is cut: what is sent waits, as on a line whose packets are lost, until the way
is mended or an end gives up. TLS passes through; nothing here can read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from itertools import product

_CHUNK_BYTES = 65_536
_HOST = "127.0.0.1"


class Links:
    """Every way between named peers; `cut(sources, targets)` loses all that the ones send to the others."""

    def __init__(self) -> None:
        self._ways: dict[tuple[str, str], asyncio.Event] = {}
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self, source: str, target: str, port: int) -> int:
        """The port at which `source` reaches what `target` serves at `port`; one link carries both ways."""
        there, back = self._way(source, target), self._way(target, source)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._connect(reader, writer, port, there, back)

        server = await asyncio.start_server(serve, _HOST, 0, limit=_CHUNK_BYTES)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def cut(self, sources: Collection[str], targets: Collection[str]) -> None:
        """One way; for a partition, cut the other way too."""
        for way in product(sources, targets):
            self._ways[way].clear()

    def heal(self) -> None:
        for way in self._ways.values():
            way.set()

    async def close(self) -> None:
        self.heal()
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.close()
        for server in self._servers:
            await server.wait_closed()

    def _way(self, source: str, target: str) -> asyncio.Event:
        way = self._ways.get((source, target))
        if way is None:
            way = self._ways[source, target] = asyncio.Event()
            way.set()
        return way

    async def _connect(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        port: int,
        there: asyncio.Event,
        back: asyncio.Event,
    ) -> None:
        self._writers.add(writer)
        try:
            await there.wait()
            await back.wait()
            far_reader, far_writer = await asyncio.open_connection(_HOST, port, limit=_CHUNK_BYTES)
        except OSError:  # the other process has gone: so does this connection
            self._drop(writer)
            return
        self._writers.add(far_writer)
        async with asyncio.TaskGroup() as pumps:
            pumps.create_task(self._pump(reader, far_writer, there))
            pumps.create_task(self._pump(far_reader, writer, back))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: asyncio.Event) -> None:
        """Carry bytes one way, and the end of them."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await way.wait()
                writer.write(data)
                await writer.drain()
        await way.wait()
        self._drop(writer)

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()
