"""A node that may open few files lives, whoever connects to it, and keeps those that its stores and guards need."""

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from node.api.client import Client
from node.config import save_config
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
STREAMS = 80
SILENT = 200


@asynccontextmanager
async def starting(config, directory, limit):
    """`gridmerit start` in a process of its own that may have so many files open."""
    directory.mkdir()
    save_config(config, directory / "node.toml")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gridmerit", "start", str(directory), "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_node_that_could_answer_nobody_says_so(make_local, tmp_path):
    local = make_local(2, siblings=("du1", "lh1"))
    async with starting(local.configs[0], tmp_path / "home", 44) as process, asyncio.timeout(PATIENCE_S):
        _, said = await process.communicate()
    assert process.returncode == 3
    assert b"error[TooFewDescriptors] this process may have 44 files open, and this node needs" in said
    assert b"ulimit -n" in said


async def open_stream(session, url, held):
    """The answer to a stream of events: a status, and an event's name or an error's code."""
    response = await session.get(f"{url}/v1/jy1/events")
    held.append(response)
    if response.status == 200:
        return 200, json.loads(await response.content.readline())["event"]
    return response.status, (await response.json())["error"]


async def test_streams_and_silent_connections_take_no_file_that_the_guard_needs(make_local, tmp_path):
    local = make_local(2, siblings=("du1", "lh1"))
    url = local.configs[0].api_listen.url
    async with (
        starting(local.configs[0], tmp_path / "home", 64) as process,
        local.running(1) as [other],
        Client(url, "jy1") as client,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        async with asyncio.timeout(PATIENCE_S):
            await process.stdout.readuntil(b"}")
        await local.until(lambda: all(view.connected for view in other.peer_views()))
        guard = local.configs[0].data_dir / "jy1" / "guard"
        held = []
        answers = [await open_stream(session, url, held) for _ in range(STREAMS)]
        assert (200, "subscribed") in answers
        refused = {answer for answer in answers if answer[0] != 200}
        assert refused <= {(503, "TooManySubscribers"), (503, "TooManyConnections")}, refused
        assert sum(answer[0] == 503 for answer in answers) > STREAMS // 2
        ports = local.configs[0].peer_listen.port, local.configs[0].api_listen.port
        silent = [connect(port) for port in ports for _ in range(SILENT)]
        for _ in range(5):  # while all these hold what they can
            before, height = guard.read_bytes(), (await client.status()).height
            async with asyncio.timeout(PATIENCE_S):
                while guard.read_bytes() == before or (await client.status()).height == height:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await local.until(lambda: all(view.connected for view in other.peer_views()))
        assert process.returncode is None
        for one in silent:
            one.close()
        process.terminate()
        _, log = await process.communicate()
        assert b"node-failed" not in log, log


def connect(port):
    plain = socket.socket()
    plain.setblocking(False)
    with suppress(BlockingIOError):
        plain.connect(("127.0.0.1", port))
    return plain
