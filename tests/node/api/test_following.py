"""Readers of events that do not read hold up neither the node nor other readers, and are told what they missed."""

import asyncio
import json
import socket
from dataclasses import replace
from http.client import HTTPResponse, IncompleteRead

import pytest

from node.api import server as api
from node.api.client import Client
from node.config import Limits
from tests.support.patience import PATIENCE_S

STALLED = 20
BACKLOG_BYTES = 250_000  # more than the events of one block, less than those of all
TRANSFERS = 1_000  # in each of as many rounds
ROUNDS = 4


@pytest.fixture
def small_sockets(monkeypatch):
    monkeypatch.setattr(api, "_SOCKET_BYTES", 4_096)


class Stalled:
    """A reader that has heard it is subscribed, and reads no further until told to."""

    def __init__(self, port):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(("127.0.0.1", port))
        self._socket.sendall(b"GET /v1/jy1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self._answer = HTTPResponse(self._socket)
        self._answer.begin()
        assert json.loads(self._answer.readline())["event"] == "subscribed"

    def read_to_the_end(self):
        """All further lines; `IncompleteRead` where the stream is cut off instead of ended."""
        lines, idle = [], 0
        with self._socket:
            while raw := self._answer.readline():
                idle = 0 if raw.strip() else idle + 1
                assert idle < 3, "nothing happens any more, and nothing was said of an end"
                lines += [json.loads(raw)] if raw.strip() else []
            self._answer.read()
        return lines


class Watcher:
    """A reader that reads, and counts transfers."""

    def __init__(self, client):
        self._client = client
        self.transfers = 0
        self.is_subscribed = asyncio.Event()

    async def run(self):
        async for event in self._client.events():
            self.is_subscribed.set()
            self.transfers += event["event"] == "transfer"


async def test_stalled_readers_hold_up_nobody_and_are_told_what_they_missed(make_local, small_sockets):
    local = make_local(2)
    limits = Limits(event_backlog_bytes=BACKLOG_BYTES)
    local = replace(local, configs=tuple(config.model_copy(update={"limits": limits}) for config in local.configs))
    async with local.running(0) as [node], Client(f"http://127.0.0.1:{node.api_port}", "jy1") as client:
        watcher = Watcher(client)
        watching = asyncio.ensure_future(watcher.run())
        await watcher.is_subscribed.wait()
        first = local.host(node)._subscribers.published
        stalled = await asyncio.gather(*(asyncio.to_thread(Stalled, node.api_port) for _ in range(STALLED)))
        for sent in range(0, ROUNDS * TRANSFERS, TRANSFERS):
            transfers = [local.transfer(sent + number) for number in range(TRANSFERS)]
            assert await client.submit(transfers) == [None] * TRANSFERS
            while (await client.account("n0")).sequence < sent + TRANSFERS:
                assert (await client.node_status()).chains[0].height >= 0
        await local.until(lambda: watcher.transfers == ROUNDS * TRANSFERS)
        told = await asyncio.gather(*(asyncio.to_thread(reader.read_to_the_end) for reader in stalled))
        published = local.host(node)._subscribers.published
        for lines in told:
            *read, last = lines
            assert last["event"] == "dropped"
            assert f"{last['missed']} events are lost" in last["message"]
            assert last["missed"] > 0
            assert len(read) + last["missed"] <= published - first, "none is counted twice"
            assert sum(line["event"] == "transfer" for line in read) + last["missed"] >= ROUNDS * TRANSFERS
        assert not watching.done()
        watching.cancel()


async def test_a_reader_that_stalls_while_the_node_stops_sees_that_it_was_cut_off(make_local, small_sockets):
    local = make_local(2)
    async with local.running(0) as [node], Client(f"http://127.0.0.1:{node.api_port}", "jy1") as client:
        quick, stalled = await asyncio.gather(*(asyncio.to_thread(Stalled, node.api_port) for _ in range(2)))
        reading = asyncio.ensure_future(asyncio.to_thread(quick.read_to_the_end))
        transfers = [local.transfer(number) for number in range(TRANSFERS)]
        assert await client.submit(transfers) == [None] * TRANSFERS
        while (await client.account("n0")).sequence < TRANSFERS:
            pass
    assert (await reading)[-1] == {"event": "closed"}
    with pytest.raises((IncompleteRead, ConnectionError)):
        await asyncio.to_thread(stalled.read_to_the_end)
