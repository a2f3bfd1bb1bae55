"""Rules announced by the authority, among real processes of which one runs a release that does not know them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gridmerit.commands.status import render
from gridmerit.main import run
from gridmerit.network.layout import Network, load_network
from gridmerit.network.processes import read_log_tail, stop_nodes
from ledger.upgrades import NOTICE_BLOCKS
from node.api.client import Client
from node.chain.rule_sets import RULE_SETS
from node.config import load_genesis
from node.queries.answers import ChainStatus
from node.system.tasks import Tasks
from tests.processes.mishaps import until
from tests.processes.payers import Payer, open_payers
from tests.processes.stage import run_script
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.live

NEXT_RELEASE = run_script("next_release")
NEW_RULES = 2
BEYOND = 4  # blocks, so that each member's turn to lead has come


async def test_who_misses_an_upgrade_stops_before_it_with_a_word_and_catches_up_with_the_release(
    tmp_path: Path,
) -> None:
    assert NEW_RULES not in RULE_SETS, "else this release would know what it is not to know"
    home = tmp_path / "net"
    options = ["--engine", "pbft", "--nodes", "4", "--chains", "jy1", "--period-ms", "24000", "--seed", "3"]
    assert await asyncio.to_thread(run, ["net", "new", str(home), "--base-port", "0", *options]) == 0
    network = load_network(home)
    *knowing, missing = network.nodes
    reach = partial(_reach, network)
    try:
        for node in knowing:
            NEXT_RELEASE.start(network, node)
        assert await asyncio.to_thread(run, ["net", "up", str(home)]) == 0, "the one that is left, by this release"
        async with AsyncExitStack() as stack:
            witness, behind = [
                await stack.enter_async_context(Client(node.api_url, network.chain)) for node in (knowing[0], missing)
            ]
            height = (await witness.status()).height + NOTICE_BLOCKS + BEYOND
            announce = ["authority", "upgrade", f"{NEW_RULES}", f"{height}", "--node", str(home)]
            assert await asyncio.to_thread(run, announce) == 0
            await reach("it is told in time to do something", _says(behind, "this node will stop before it"))

            *_, payer, other = open_payers(network, load_genesis(network.genesis_path), {})
            async with _paying(payer, witness, other.address):
                await reach("the others go on", _is(witness, lambda status: status.final_height >= height + BEYOND))
                told = await witness.status()
                assert (told.rules, told.upgrade) == (NEW_RULES, None)

                remedy = f"HALTED before it, it needs a release that knows rules {NEW_RULES} (docs/upgrades.md)"
                await reach("it stops with a word", _says(behind, remedy))
                halted = await behind.status()
                assert (halted.height, halted.rules) == (height - 1, 1)
                log = (network.directory_of(missing) / "node.log").read_text(encoding="utf-8")
                assert '"event": "release-needed"' in log
                assert '"event": "chain-halted"' in log

                await asyncio.to_thread(stop_nodes, network, [missing])
                NEXT_RELEASE.start(network, missing)
                reached = (await witness.status()).height
                await reach("it catches up", _is(behind, lambda status: status.final_height >= reached))
            assert (await behind.status()).rules == NEW_RULES
            assert (await behind.block(reached)).hash == (await witness.block(reached)).hash
    finally:
        await asyncio.to_thread(run, ["net", "down", str(home)])


async def _reach(network: Network, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
    if not await until(condition, PATIENCE_S):
        logs = [f"{node.name}: {read_log_tail(network.directory_of(node))}" for node in network.nodes]
        raise AssertionError("\n".join([f"not in time: {what}", *logs]))


def _is(client: Client, condition: Callable[[ChainStatus], bool]) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return condition(await client.status())

    return holds


def _says(client: Client, words: str) -> Callable[[], Awaitable[bool]]:
    """The words of `gridmerit status` about the node."""

    async def says() -> bool:
        return words in render(await client.node_status(), "its API")

    return says


@asynccontextmanager
async def _paying(payer: Payer, client: Client, receiver: bytes) -> AsyncIterator[None]:
    """Blocks come for as long as this lasts: a chain without anything to do rests."""
    failures: list[BaseException] = []
    tasks = Tasks(failures.append)
    tasks.start(payer.pay([client], receiver), name=payer.name)
    try:
        yield
    finally:
        await tasks.stop()
    assert failures == []
