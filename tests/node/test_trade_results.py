"""TradeResults among real processes: computed by each, signed, gossiped, agreed on, with weights, and proved."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gridmerit.commands.authority import check_root
from gridmerit.main import run
from gridmerit.network.layout import load_network
from node.queries.answers import TradesInfo, from_json

pytestmark = pytest.mark.live

PATIENCE_S = 100.0


def ask(capsys: pytest.CaptureFixture[str], home: Path, *args: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*args, "--node", str(home), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("options", [["--set", "recommended"], ["--engine", "pbft"]], ids=["poca", "pbft"])
def test_four_processes_agree_on_a_result(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "net"
    new = ["net", "new", str(home), "--nodes", "4", "--chains", "jy1", "--period-ms", "20000", "--seed", "3"]
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

        (root,) = {found["gate"]["result_root"] for found in told.values()}
        for found in told.values():
            result = found["result"]
            counted = [item for item in result["signed"] if item["counted"]]
            assert {(item["root"], item["opinion"]) for item in counted} == {(root, "agrees")}
            assert len(counted) >= result["quorum"] == 3
            assert "other-result" not in {item["opinion"] for item in result["signed"]}
            assert check_root(from_json(TradesInfo, json.dumps(found))).hex() == root, "anybody can recompute it"
            (trade,) = found["trades"]
            assert trade["weights"]["w_ppm"] == sum(trade["weights"]["offer"].values()) > 0
            assert (trade["bid"]["position"], trade["offer"]["node_type"]) != ("", "")

        document = tmp_path / "trade.json"
        assert ask(capsys, home, "proof", "get", "trade", period, "0", "-o", str(document))[0] == 0
        code = run(["proof", "verify", str(document), "--genesis", str(home / "genesis.json"), "--json"])
        verdict = json.loads(capsys.readouterr().out)
        assert code == 0
        assert len(verdict["claims"]["result"]["signers"]) >= 3
        metrics = urllib.request.urlopen(f"{load_network(home).nodes[0].api_url}/metrics", timeout=20).read().decode()
        assert 'gridmerit_results_differing_total{chain="jy1"} 0' in metrics
    finally:
        run(["net", "down", str(home)])


def wait_for_all(capsys: pytest.CaptureFixture[str], node: Path, period: str) -> Any:
    """The trades of a period once a node has the certificate of their result."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        code, found = ask(capsys, node, "market", "trades", "--period", period)
        if code == 0 and found["result"]["slot"] is not None:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
