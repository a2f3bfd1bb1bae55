"""Bans, rations, reminders and uptime run on whatever is done to the wall clock, and dates are what it shows.

A node with a wall clock and a steady one that the test moves, each by itself; the test speaks for its peer.
"""

import json
import logging
import time
from dataclasses import replace
from types import SimpleNamespace

import aiohttp
import pytest

from node.api import readers
from node.config import Limits
from node.errors import BlocksWithheld, ServedTooMuch
from node.peer.peer_clocks import ClockView
from node.system.clock import now_ms
from tests.support.local_network import PEER_HEAD

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
SET_BY_MS = (DAY_MS, -DAY_MS)


class Clocks:
    """By how much this node's clocks are ahead of the machine's."""

    def __init__(self):
        self.wall_ms = self.steady_ms = 0

    def install(self, monkeypatch):
        clocks = SimpleNamespace(
            time_ns=lambda: time.time_ns() + 1_000_000 * self.wall_ms,
            monotonic_ns=lambda: time.monotonic_ns() + 1_000_000 * self.steady_ms,
            thread_time_ns=time.thread_time_ns,
        )
        monkeypatch.setattr("node.system.clock.time", clocks)


@pytest.fixture
def clocks(monkeypatch):
    clocks = Clocks()
    clocks.install(monkeypatch)
    return clocks


@pytest.fixture
def local(make_local):
    return make_local(2, seals=False, secure=False)


class Speaker:
    """Speaks for n1 to n0."""

    def __init__(self, local, runtime, session):
        self._url = f"http://127.0.0.1:{runtime.peer_port}/p2p/{local.genesis.chain_id.hex()}"
        self._batches = local.batches(1)
        self._session = session

    async def say(self):
        """Send a batch of nothing; the name of the error in the answer, if any."""
        async with self._session.post(self._url, data=self._batches.seal(), headers=PEER_HEAD) as answer:
            said = await answer.read()
        if answer.status == 409:  # the first time, it learns the session
            self._batches.go_on(json.loads(said)["values"])
            return await self.say()
        return json.loads(said)["error"] if said else None


async def test_a_ban_takes_its_time_whatever_the_clock_shows(local, clocks, caplog):
    peer = local.keys[1].public_key
    async with local.running(0) as [runtime], aiohttp.ClientSession() as session:
        speaker = Speaker(local, runtime, session)
        assert await speaker.say() is None
        with caplog.at_level(logging.WARNING, logger="gridmerit"):
            runtime.penalise(local.host(runtime), peer, BlocksWithheld(count=1))
        (told,) = [record.fields for record in caplog.records if record.getMessage() == "peer-banned"]
        assert 0 < told["for_ms"] <= MINUTE_MS
        for clocks.wall_ms in SET_BY_MS:
            (view,) = runtime.peer_views()
            assert 0 < view.banned_until_ms - now_ms() <= MINUTE_MS
            assert not runtime._may_talk("jy1", peer)
            assert await speaker.say() == "PeerBanned"
        clocks.steady_ms = MINUTE_MS
        (view,) = runtime.peer_views()
        assert (view.score, view.banned_until_ms) == (0, None)
        assert runtime._may_talk("jy1", peer)
        assert await speaker.say() is None


@pytest.mark.parametrize("ahead_ms", SET_BY_MS)
async def test_uptime_is_steady_and_a_certificates_days_are_the_walls(make_local, clocks, ahead_ms):
    local = make_local(2, seals=False)
    async with local.running(0) as [runtime]:
        days, clocks.wall_ms = runtime.certificate_view().days_left, ahead_ms
        assert runtime.certificate_view().days_left == days - ahead_ms // DAY_MS
        assert 0 <= runtime.uptime_ms < HOUR_MS
        clocks.steady_ms = HOUR_MS
        assert HOUR_MS <= runtime.uptime_ms < 2 * HOUR_MS


@pytest.mark.parametrize("ahead_ms", SET_BY_MS)
async def test_a_clock_that_is_set_is_held_against_what_peers_have_shown(local, clocks, ahead_ms):
    async with local.running(0) as [runtime], aiohttp.ClientSession() as session:
        assert await Speaker(local, runtime, session).say() is None  # and dates it 0
        clocks.wall_ms = ahead_ms
        assert abs(runtime.clock_view().offset_ms - now_ms()) < HOUR_MS
        clocks.steady_ms = 2 * MINUTE_MS
        assert runtime.clock_view() is None, "it has said nothing of late"


class Client:
    """Asks n0 for its status."""

    def __init__(self, runtime, session):
        self._url = f"http://127.0.0.1:{runtime.api_port}/v1/status"
        self._session = session

    async def count_answers(self, what):
        """The number that it gets before there is too much of something."""
        for count in range(10_000):
            async with self._session.get(self._url) as answer:
                if answer.status == 429:
                    assert (await answer.json())["values"]["what"] == what
                    return count
        raise AssertionError("never refused")


async def check_rations(local, clocks, what):
    """They come with time, and with no clock that is set; those of the time that the test takes are few."""
    async with local.running(0) as [runtime], aiohttp.ClientSession() as session:
        client = Client(runtime, session)
        burst = await client.count_answers(what)
        for clocks.wall_ms in SET_BY_MS:
            assert await client.count_answers(what) < burst / 2
        clocks.steady_ms = HOUR_MS
        assert await client.count_answers(what) > burst / 2


async def test_a_clients_requests_are_given_out_by_time_and_not_by_the_clock(local, clocks):
    limits = Limits(api_requests_per_s=1, api_burst=60)
    local = replace(local, configs=tuple(config.model_copy(update={"limits": limits}) for config in local.configs))
    await check_rations(local, clocks, "requests")


async def test_and_so_is_the_work_that_they_may_cause(local, clocks, monkeypatch):
    monkeypatch.setattr(readers, "BURST_MS", 30)
    monkeypatch.setattr(readers, "SHARE_MS_PER_S", 1)
    await check_rations(local, clocks, "milliseconds of work")


@pytest.mark.parametrize("ahead_ms", SET_BY_MS)
async def test_what_has_been_said_is_said_again_after_its_time_and_not_before(local, clocks, caplog, ahead_ms):
    off = ClockView(offset_ms=DAY_MS, peers=1, is_off=True)
    async with local.running(0) as [runtime]:

        def say():
            caplog.clear()
            runtime._tell_clock(off)
            runtime.penalise(local.host(runtime), local.keys[1].public_key, ServedTooMuch(limit=1))
            return [record.getMessage() for record in caplog.records]

        with caplog.at_level(logging.WARNING, logger="gridmerit"):
            assert say() == ["clock-off", "peer-fault"]
            clocks.wall_ms = ahead_ms
            assert say() == []
            clocks.steady_ms = DAY_MS
            assert say() == ["clock-off", "peer-fault"]
