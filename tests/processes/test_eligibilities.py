"""Eqs (9) and (10) on real nodes: networks whose parameters differ in `eligibility` alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridmerit.main import run
from gridmerit.network.make import new_network
from gridmerit.network.parameters import (
    choose_chains,
    get_packaged_params,
    load_packaged_profile,
    load_params_set,
    scale_params,
)
from ledger.params import ConsensusParams
from node.config import load_config, load_genesis
from node.runtime import Runtime

pytestmark = pytest.mark.live

PATIENCE_S = 240.0
MANY = 500  # each within the step of the one before, they would nest deeper than Python goes
RULES = ("poca", "work", "stake")


@pytest.fixture(params=RULES)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Three nodes that run, with the trading chain alone."""
    params, home = tmp_path / "jy1.toml", tmp_path / "net"
    text = get_packaged_params().read_text(encoding="utf-8")
    params.write_text(text.replace('eligibility = "poca"', f'eligibility = "{request.param}"'), encoding="utf-8")
    assert (
        run(["net", "new", str(home), "--set", str(params), "--nodes", "3", "--period-ms", "24000", "--base-port", "0"])
        == 0
    )
    try:
        assert run(["net", "up", str(home)]) == 0
        yield home
    finally:
        run(["net", "down", str(home)])


def ask(home: Path, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict]:
    capsys.readouterr()
    code = run([*args, "--node", str(home), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_nodes_commit_transactions_under_each_eligibility(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for turn in range(3):
        code, sent = ask(home, capsys, "tx", "send", "transfer", "homes-4", f"{turn + 1}", "--key", "homes-5")
        assert (code, sent["code"]) == (0, ""), turn
    network = json.loads((home / "network.json").read_text(encoding="utf-8"))
    for node in network["nodes"]:  # and all of them have it
        there = home / node["directory"]
        assert run(["tx", "wait", sent["id"], "--node", str(there)]) == 0, node["name"]
        _, status = ask(there, capsys, "status")
        assert status["chains"][0]["height"] >= 3, node["name"]
    consensus = load_genesis(home / "genesis.json").params.consensus
    if consensus.eligibility == "stake":
        balances = 3 * 5_000_000_000  # of the three that seal
        assert consensus.n_diff_initial == 2**256 // (balances * consensus.block_interval_ms)


@pytest.mark.parametrize("eligibility", RULES)
async def test_a_node_goes_on_where_every_seal_is_found_at_once(eligibility: str, tmp_path: Path) -> None:
    easiest = 2**240 if eligibility != "work" else 2**256 - 1
    changes = {"eligibility": eligibility, "n_diff_min": easiest, "n_diff_initial": easiest, "n_diff_max": easiest}
    (trading,) = choose_chains(load_params_set(), ["jy1"], "recommended")
    consensus = ConsensusParams.model_validate({**trading.consensus.model_dump(), **changes})
    params = scale_params(trading.model_copy(update={"consensus": consensus}), 800)  # so that checkpoints keep up
    network = new_network(
        tmp_path / "net", nodes=1, params=[params], profile=load_packaged_profile(), core_share_ppm=10**6
    )
    runtime = Runtime(load_config(network.directory_of(network.nodes[0]) / "node.toml"), is_sure=True)
    await runtime.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while runtime.failure is None and runtime.chains["jy1"].node.chain.head.height < MANY:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await runtime.stop()
    assert runtime.failure is None
