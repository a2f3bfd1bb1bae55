"""The health check of a container: a node that answers, a file that is fresh."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from node.system.health import is_answering, is_fresh


async def test_a_node_is_well_when_it_answers_with_200() -> None:
    for status, expected in (("200 OK", True), ("500 Internal Server Error", False)):

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str = status) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.0 {line}\r\n\r\n{{}}".encode())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            assert await asyncio.to_thread(is_answering, address) is expected
    assert not await asyncio.to_thread(is_answering, address)


def test_a_node_that_says_nothing_is_not_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not is_answering(silent.getsockname(), patience_s=0.05)


def test_a_file_is_fresh_for_a_while(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    assert not is_fresh(str(file))
    file.touch()
    assert is_fresh(str(file))
    os.utime(file, (1, 1))
    assert not is_fresh(str(file))
    os.utime(file, (2**32, 2**32))
    assert not is_fresh(str(file)), "touched under a clock that has been set back since"
