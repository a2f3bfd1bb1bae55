"""A sealing, trading node killed a hundred times with SIGKILL: what it said before, it stands by afterwards.

n0 lives in processes of its own, forked by sigkill_nursery.py; n1 lives in this one and never stops. Each time n0
must find its chain intact (opening checks the state root of the head and of the blocks below it) and go on.
"""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from market.orders import Side
from market.trading.contract import TradeIntention
from node.config import save_config
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.live

KILLS = 100
SEED = 20_261_120
SHORT_LIFE_MS, LONG_LIFE_MS = 200, 1_500  # every tenth is a long one, in which n0 catches up and votes
DEPTH = 10  # blocks below the lower head at which two nodes must agree
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def nursery(config_file, diary_file):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.processes.sigkill_nursery",
        config_file,
        diary_file,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), **os.environ},
    )
    try:
        yield process
    finally:
        process.stdin.close()
        await process.wait()


async def read_line(process):
    async with asyncio.timeout(PATIENCE_S):
        return (await process.stdout.readline()).decode().strip()


async def live_and_die(process, life_ms, diary_file, *, is_long):
    """Start n0 and kill it after so long, in whatever it is doing; after a long life only once it has sealed."""
    count = diary_file.read_text().count("block") if is_long else 0
    process.stdin.write(b"start\n")
    child = int(await read_line(process))
    try:
        await asyncio.sleep(life_ms / 1_000)
        async with asyncio.timeout(PATIENCE_S):
            while is_long and diary_file.read_text().count("block") == count:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)
    finally:  # else whoever waits for the nursery's end would wait for ever
        with suppress(ProcessLookupError):  # it ended by itself, and has written down why
            os.kill(child, signal.SIGKILL)
    assert await read_line(process) == "ended"


def said_twice(entries, kind):
    """Own blocks by parent, or own votes by period, of which n0 has let go of two different ones."""
    said = {(words[1], words[2]) for words in entries if words[0] == kind}
    return [slot for slot, count in Counter(slot for slot, _ in said).items() if count > 1]


async def place_offers(local, survivor, equivocations):
    """n1 offers something for every period that opens, so that every gate has a book and must be signed.

    Should it see two blocks of n0's on one parent, it says so.
    """
    host, sequence, last = local.host(survivor), 0, 0
    async for event in local.events(survivor):
        if event["event"] == "equivocation":
            equivocations.append(event)
        opening = host.node.chain.head.header.period + 3
        if opening > last:
            last, sequence = opening, sequence + 1
            offer = TradeIntention(Side.OFFER, opening, 400_000, 1)
            await host.submit([local.transaction(1, sequence - 1, "intention", *offer.to_payload())])


def share_a_branch(one, other):
    """True where chains agree but for their last blocks: at 25 a second no two heads need be equal at any instant."""
    low, high = sorted((one.head.height, other.head.height))
    return high - low <= DEPTH and one.hash_at(low - DEPTH) == other.hash_at(low - DEPTH)


async def test_a_hundred_kills_lose_and_double_nothing(make_local, tmp_path):
    local = make_local(2, interval_ms=40, period_ms=400)
    moments = random.Random(SEED)
    config_file, diary_file = tmp_path / "node.toml", tmp_path / "diary"
    diary_file.touch()
    save_config(local.configs[0], config_file)
    async with local.running(1) as [survivor], nursery(config_file, diary_file) as process:
        equivocations = []
        offering = asyncio.ensure_future(place_offers(local, survivor, equivocations))
        for turn in range(KILLS):
            life_ms = moments.uniform(1, SHORT_LIFE_MS if turn % 10 else LONG_LIFE_MS)
            await live_and_die(process, life_ms, diary_file, is_long=turn % 10 == 0)

        entries = [line.split() for line in diary_file.read_text().splitlines()]
        count = Counter(words[0] for words in entries)
        assert [words for words in entries if words[0] == "failed"] == []
        assert said_twice(entries, "block") == []
        assert said_twice(entries, "vote") == []
        assert equivocations == []
        assert min(count["started"], count["acknowledged"], count["block"]) >= KILLS // 10, count
        assert count["vote"], "no gate was signed: this run has shown nothing about votes"

        acknowledged = {bytes.fromhex(words[1]) for words in entries if words[0] == "acknowledged"}
        async with local.running(0) as [n0]:
            chain = local.host(n0).node.chain
            await local.until(lambda: all(chain.find_transaction(identity) for identity in acknowledged))
            await local.until(lambda: share_a_branch(chain, local.host(survivor).node.chain))
        assert not offering.done()
        offering.cancel()
