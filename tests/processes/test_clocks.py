"""Four real processes over mutual TLS, of which one's wall clock is set at a time: down or running, back or forth."""

import asyncio
import json
from contextlib import nullcontext

import pytest

from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_packaged_profile, scale_params
from gridmerit.network.processes import get_state, is_healthy, start_node, stop_network, stop_nodes
from ledger.params import ChainParams
from node.api.client import Client
from tests.processes.wall_clock import WallClock
from tests.support.patience import PATIENCE_S

MINUTE_MS, DAY_MS = 60_000, 86_400_000
GOES_ON_BLOCKS = 8


class Clocks:
    """A network each of whose nodes but the last has a wall clock of its own."""

    def __init__(self, network):
        self.network = network
        self.nodes = {node.name: node for node in network.nodes}
        self.names = list(self.nodes)
        self._clocks = {name: WallClock(network.directory_of(self.nodes[name]) / "clock") for name in self.names[:-1]}

    def set(self, name, ahead_ms):
        self._clocks[name].set(ahead_ms)

    def start(self, name):
        """Start a node, by its own clock where that is to be set: such a process is many times slower."""
        with self._clocks[name].followed() if name in self._clocks else nullcontext():
            start_node(self.network, self.nodes[name])

    def stop(self, name):
        stop_nodes(self.network, [self.nodes[name]])

    def log(self, name):
        file = self.network.directory_of(self.nodes[name]) / "node.log"
        return [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]

    async def until_logged(self, name, *events):
        async def are_there():
            return set(events) <= {line["event"] for line in self.log(name)}

        await self.until(f"the log of {name} has {events}", are_there)

    async def ask(self, name):
        async with Client(self.nodes[name].api_url, "jy1") as client:
            return await client.node_status()

    async def height(self, name):
        return (await self.ask(name)).chains[0].height

    async def until(self, what, condition):
        """Wait for a condition."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await condition():  # noqa: ASYNC110 - of other processes
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {PATIENCE_S} s: {what}") from None

    async def until_healthy(self):
        for name, node in self.nodes.items():

            async def is_up(node=node):
                return is_healthy(self.network, await get_state(self.network, node))

            await self.until(f"{name} is connected", is_up)

    async def until_goes_on(self, name):
        before = await self.height(name)

        async def has_gone_on():
            return await self.height(name) >= before + GOES_ON_BLOCKS

        await self.until(f"{name} goes on", has_gone_on)

    async def until_told(self, name, ahead_ms):
        """The node says by how much it is off."""

        async def is_told():
            clock = (await self.ask(name)).clock
            is_off = abs(ahead_ms) > 0
            return clock is not None and clock["is_off"] == is_off and abs(clock["offset_ms"] - ahead_ms) < 5_000

        await self.until(f"{name} says that its clock is {ahead_ms} ms ahead", is_told)

    async def until_back(self, name, other):
        """The node follows the others and seals blocks that they take; how many blocks it took to have their head."""
        begin = await self.height(other)
        async with Client(self.nodes[name].api_url, "jy1") as here, Client(self.nodes[other].api_url, "jy1") as there:
            blocks = 0

            async def has_head():
                nonlocal blocks
                status = await there.status()
                blocks = status.height - begin
                return (await here.status()).height >= status.height and (
                    await here.block(status.height)
                ).hash == status.head

            await self.until(f"{name} has the head of {other}", has_head)

            async def has_sealed():
                status = await there.status()
                summaries = await there.blocks(max(1, begin), status.height)
                return name in {summary.producer_name for summary in summaries}

            await self.until(f"{name} seals", has_sealed)
        return blocks

    async def check_nobody_is_blamed(self):
        for name in self.names:
            for peer in (await self.ask(name)).peers:
                assert (peer["score"], peer["banned_until_ms"]) == (0, None), f"{name} blames {peer['name']}"
            blamed = [line for line in self.log(name) if line.get("points") or line["event"] == "peer-banned"]
            assert not blamed, f"{name} blames: {blamed}"


@pytest.fixture
def clocks(tmp_path):
    params = [scale_params(ChainParams(name="jy1"), 24_000)]
    network = new_network(tmp_path / "net", nodes=4, params=params, profile=load_packaged_profile())
    clocks = Clocks(network)
    for name in clocks.names:
        clocks.start(name)
    yield clocks
    stop_network(network)


@pytest.mark.live
async def test_whoever_has_a_wrong_clock_says_so_is_not_blamed_and_is_back_once_it_is_right(clocks):
    restarted, corrected, jumped, witness = clocks.names
    await clocks.until_healthy()
    await clocks.until_goes_on(witness)

    clocks.stop(restarted)
    clocks.set(restarted, -5 * MINUTE_MS)
    clocks.start(restarted)
    await clocks.until_healthy()
    await clocks.until_told(restarted, -5 * MINUTE_MS)
    await clocks.until_goes_on(witness)
    took = {}
    clocks.set(restarted, 0)
    took[restarted] = await clocks.until_back(restarted, witness)
    await clocks.until_told(restarted, 0)

    for name, ahead_ms in ((corrected, 10 * MINUTE_MS), (jumped, DAY_MS)):
        clocks.set(name, ahead_ms)
        await clocks.until_told(name, ahead_ms)
        await clocks.until_goes_on(witness)
        clocks.set(name, 0)
        took[name] = await clocks.until_back(name, witness)
        await clocks.until_told(name, 0)
        assert (await clocks.ask(name)).uptime_ms < DAY_MS
        await clocks.until_logged(name, "clock-set", "clock-off", "clock-right")

    await clocks.until_healthy()
    await clocks.check_nobody_is_blamed()
    print(f"blocks until they had the others' head: {took}")
