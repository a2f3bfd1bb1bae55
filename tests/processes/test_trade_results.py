"""TradeResults among real processes: computed by each, signed, gossiped, agreed on, with weights, and proved."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gridmerit.commands.authority import check_root
from gridmerit.main import run
from gridmerit.network.layout import Network, NodeEntry, PlayerEntry, load_network
from gridmerit.network.parameters import load_packaged_profile
from gridmerit.network.processes import start_node
from gridmerit.players.plans import plan_orders
from ledger.errors import GridmeritError
from market.trading.gates import VOID
from market.trading.times import compute_times
from node.api.client import Client
from node.config import load_genesis
from node.credentials.keystore import load_key, load_passphrase
from node.errors import RemoteNotFound, RemoteRejected
from node.queries.answers import TradesInfo, from_json
from node.system.clock import now_ms
from tests.processes.stage import run_script
from tests.support.patience import PATIENCE_S, until

pytestmark = pytest.mark.live

FREE_PORTS = ("--base-port", "0")
_PERIODS_TRIED = 8
_HOUR = 12  # of the packaged day: both producers have something to sell


def ask(capsys: pytest.CaptureFixture[str], home: Path, *args: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*args, "--node", str(home), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("options", [["--set", "recommended"], ["--engine", "pbft"]], ids=["poca", "pbft"])
def test_four_processes_agree_on_a_result(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "net"
    new = [
        "net",
        "new",
        str(home),
        "--nodes",
        "4",
        "--chains",
        "jy1",
        "--period-ms",
        "20000",
        "--seed",
        "3",
        *FREE_PORTS,
    ]
    assert run([*new, *options]) == 0
    try:
        assert run(["net", "up", str(home)]) == 0
        code, placed = ask(
            capsys, home, "market", "place", "offer", "--price", "0.5", "--volume", "4", "--key", "pv-101"
        )
        assert (code, placed["code"]) == (0, "")
        period = str(placed["period"])
        bid = ["market", "place", "bid", "--price", "0.52", "--volume", "3", "--period", period, "--key", "homes-3"]
        code, placed = ask(capsys, home, *bid)
        assert (code, placed["code"]) == (0, "")
        nodes = [home / "nodes" / node.name for node in load_network(home).nodes]
        told = {node.name: wait_for_all(capsys, node, period) for node in nodes}

        check_agreement(told)
        for found in told.values():
            assert "other-result" not in {item["opinion"] for item in found["result"]["signed"]}
            (trade,) = found["trades"]
            assert trade["weights"]["w_ppm"] == sum(trade["weights"]["offer"].values()) > 0
            assert (trade["bid"]["position"], trade["offer"]["node_type"]) != ("", "")

        assert len(prove_trade(capsys, nodes[0], period, tmp_path / "trade.json")["result"]["signers"]) >= 3
        metrics = (
            urllib.request.urlopen(f"{load_network(home).nodes[0].api_url}/metrics", timeout=PATIENCE_S).read().decode()
        )
        assert 'gridmerit_results_differing_total{chain="jy1"} 0' in metrics
    finally:
        run(["net", "down", str(home)])


def test_members_of_the_papers_network_agree_on_results_with_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text 000, §4.2, steps 3 to 5: all players of the packaged day trade, merit clears, and w says how.

    One of the four members has wrong books. The others outvote it, and show what it has signed, in a period in which it
    was not too late to sign anything.
    """
    home = tmp_path / "net"
    new = ["net", "new", str(home), "--set", "paper", "--nodes", "4", "--chains", "jy1", "--period-ms", "6000"]
    assert run([*new, "--seed", "3", "--disposable", *FREE_PORTS]) == 0
    network = load_network(home)
    *honest, liar = network.nodes
    try:
        run_script("wrong_book_node").start(network, liar)
        for node in honest:
            start_node(network, node)
        period = asyncio.run(trade_all(network, honest))
        told = {node.name: wait_for_all(capsys, network.directory_of(node), period, signers=4) for node in honest}
        check_agreement(told)
        for found in told.values():
            (other,) = [item for item in found["result"]["signed"] if item["opinion"] != "agrees"]
            assert (other["name"], other["opinion"], other["counted"]) == (liar.name, "other-result", False)
            weights = [trade["weights"] for trade in found["trades"]]
            assert all(one["w_ppm"] == sum(one["offer"].values()) > 0 for one in weights)
            assert len({one["w_ppm"] for one in weights}) > 1, "w tells trades apart"
            types = {(trade["bid"]["node_type"], trade["offer"]["node_type"]) for trade in found["trades"]}
            assert types == {("consumer", "producer")}
        signers = prove_trade(capsys, network.directory_of(honest[0]), period, tmp_path / "trade.json")["result"][
            "signers"
        ]
        assert len(signers) == 3
    finally:
        run(["net", "down", str(home)])


async def trade_all(network: Network, nodes: Sequence[NodeEntry]) -> str:
    """Have every player order what it plans for one hour, by one of the nodes; the period whose trades are certified.

    Where a busy machine was too late for a window of orders, or for a certificate, there is another period.
    """
    genesis, profile = load_genesis(network.genesis_path), load_packaged_profile()
    params = genesis.params
    async with AsyncExitStack() as stack:
        clients = {
            node.name: await stack.enter_async_context(Client(node.api_url, "jy1", timeout_s=20)) for node in nodes
        }

        first = clients[nodes[0].name]

        async def order(player: PlayerEntry, period: int) -> None:
            key = load_key(
                network.directory / player.key_file, load_passphrase(network.directory / player.passphrase_file)
            )
            plan = {one.hour: one for one in plan_orders(profile, player.name, 1, params.market, 24)}
            payload = (int(plan[_HOUR].side), period, plan[_HOUR].price_uyuan_per_kwh, plan[_HOUR].volume_wh)
            with suppress(RemoteRejected):
                await clients.get(player.node, first).send(key, "intention", payload)

        await wait_for_blocks(first)
        for _ in range(_PERIODS_TRIED):
            period = (now_ms() - compute_times(0, params, genesis.time_ms).open_ms) // params.ledger.period_ms + 1
            times = compute_times(period, params, genesis.time_ms)
            await sleep_until(times.open_ms + 100)
            await asyncio.gather(*(order(player, period) for player in network.players))
            if await is_certified(first, period, times.deadline_ms):
                return str(period)
    raise AssertionError(f"{_PERIODS_TRIED} periods came to nothing")


async def wait_for_blocks(client: Client) -> None:
    """Wait until a node that has just been started has a block that is final."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await asyncio.sleep(0.2)
            with suppress(GridmeritError):
                if (await client.status()).final_height:
                    return


async def is_certified(client: Client, period: int, deadline_ms: int) -> bool:
    """True where more than one trade of a period is certified about by its deadline, and all members have signed."""
    while now_ms() < deadline_ms + 1_000:
        await asyncio.sleep(0.2)
        with suppress(RemoteNotFound):
            found = await client.trades(period)
            if found.gate.status == VOID or len(found.trades) < 2:
                return False
            if found.result.slot is not None and not found.result.silent:
                return True
    return False


async def sleep_until(time_ms: int) -> None:
    await asyncio.sleep(max(0, time_ms - now_ms()) / 1_000)


def check_agreement(told: Mapping[str, Any]) -> None:
    """More than m of four members have signed one and the same result, and every node has heard of it."""
    (root,) = {found["gate"]["result_root"] for found in told.values()}
    for found in told.values():
        result = found["result"]
        counted = [item for item in result["signed"] if item["counted"]]
        assert {(item["root"], item["opinion"]) for item in counted} == {(root, "agrees")}
        assert len(counted) >= result["quorum"] == 3
        trades = from_json(TradesInfo, json.dumps(found).encode())
        assert check_root(trades, found["period"]).hex() == root, "anybody can recompute it"


def prove_trade(capsys: pytest.CaptureFixture[str], node: Path, period: str, document: Path) -> Any:
    """The claims of a proof of the period's first trade."""
    assert ask(capsys, node, "proof", "get", "trade", period, "0", "-o", str(document))[0] == 0
    genesis = node.parent.parent / "genesis.json"
    assert run(["proof", "verify", str(document), "--genesis", str(genesis), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["claims"]


def wait_for_all(capsys: pytest.CaptureFixture[str], node: Path, period: str, *, signers: int = 3) -> Any:
    """The trades of a period once a node has the certificate of their result, and so many members' words on it."""

    def look() -> Any:
        code, found = ask(capsys, node, "market", "trades", "--period", period)
        is_there = code == 0 and found["result"]["slot"] is not None and len(found["result"]["signed"]) >= signers
        return found if is_there else None

    return until(look)
