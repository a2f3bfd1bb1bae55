"""A small network of real processes that clears by `knn`: a dispatcher commits a target, and it prices the trades."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gridmerit.main import run
from gridmerit.network.parameters import load_packaged_profile
from gridmerit.players.game_target import expect, load_solver
from gridmerit.players.plans import plan_orders
from ledger.genesis import Genesis
from market.game.target import compute_target
from node.config import load_genesis
from tests.support.patience import until

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
SEED = 1


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """An hour of the demo on two nodes, which run on; the network, and the report."""
    out = tmp_path_factory.mktemp("knn") / "demo"
    options = ("--rule", "knn", "--hours", 1, "--peers", 2, "--period-ms", 6_000, "--seed", SEED, "--keep", "--json")
    command = [sys.executable, "-m", "gridmerit", "demo", "--out", out, *options]
    try:
        ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, check=False)
        assert ended.stdout, ended.stderr
        yield out / "network", json.loads(ended.stdout)
    finally:
        run(["net", "down", str(out / "network")])


@pytest.fixture
def ask(day: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """A command on the network with --json: exit code and the one document it prints."""

    def call(*args: object) -> tuple[int, Any]:
        code = run([*map(str, args), "--node", str(day[0]), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def find_chain(network: Path, kind: str) -> Genesis:
    genesis = load_genesis(network / "genesis.json")
    return genesis.open(next(chain.name for chain in genesis.chains if chain.kind == kind))


def test_trades_are_priced_by_the_target_that_the_dispatcher_has_committed(day, ask) -> None:
    network, document = day
    assert [check["name"] for check in document["checks"] if not check["passed"]] == []
    period, profile = document["first_period"], load_packaged_profile()
    genesis = find_chain(network, "trading")
    market = genesis.params.market
    assert market.clearing_rule == "knn"

    target = ask("market", "book", "--period", period)[1]["book"]["target"]
    computed = compute_target(expect(profile, 0), market, load_solver())
    assert target["sender_name"] == "dispatch"
    assert {way: target[f"{way}_uyuan_per_kwh"] for way in computed._fields} == computed._asdict()

    areas = find_chain(network, "scheduling").params.scheduling.areas
    wheeling = max(area.wheeling_uyuan_per_kwh for area in areas)
    limits = {
        player.name: order.price_uyuan_per_kwh
        for player in profile.players
        for order in plan_orders(profile, player.name, SEED, market, 1, wheeling_uyuan_per_kwh=wheeling)
    }
    assert document["trades"]
    for trade in document["trades"]:
        ask_price, bid_price = limits[trade["seller"]], limits[trade["buyer"]]
        assert trade["price_uyuan_per_kwh"] == min(max(computed.g_to_u, ask_price), bid_price)


def test_a_second_target_is_refused_and_heard_of(ask) -> None:
    """A period far enough ahead that its book has not opened, however long it takes to get here."""
    period = max(entry["period"] for entry in ask("market", "book")[1]["periods"]["periods"]) + 20
    send = ("tx", "send", "game-target", period)
    code, sent = ask(*send, "0.5", "0.45", "0.5", "0.42", "--key", "dispatch")
    assert (code, sent["code"]) == (0, "")
    code, again = ask(*send, "0.51", "0.45", "0.5", "0.42", "--key", "dispatch")
    assert (code, again["error"]) == (6, "TargetTwice")
    assert "stands in block" in again["message"], "so that it is on record"
    assert ask("market", "book", "--period", period)[1]["book"]["target"]["g_to_u_uyuan_per_kwh"] == 500_000
    until(lambda: ask("credit", "report", "dispatch")[1]["counts"]["second_target"])
    newest = ask("credit", "report", "dispatch")[1]["newest"]
    assert [(item["period"], item["index"], item["kind"]) for item in newest] == [(period, None, "second-target")]
    code, refused = ask(*send, "0.5", "0.45", "0.5", "0.42", "--key", "homes-3")
    assert (code, refused["error"]) == (6, "TargetNotAllowed")
