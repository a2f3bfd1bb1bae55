"""`gridmerit agents --strategy`: players with strategies of their own, at a real node."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gridmerit.main import run
from tests.support.patience import PATIENCE_S, until

pytestmark = pytest.mark.live

PERIOD_MS = 10_000
MINE = """
from gridmerit.players import Quote, Side, Strategy

class Mine(Strategy):
    def answer(self, view, random):
        return [Quote(Side.BID, 555_555, 1_000), Quote(Side.BID, 544_444, 10**9), Quote(Side.OFFER, 1, 1_000)]

class Raises(Strategy):
    def answer(self, view, random):
        return [Quote(Side.BID, 1 // 0, 1_000)]
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A network of one node that hosts all three chains."""
    home = tmp_path / "net"
    assert run(["net", "new", str(home), "--base-port", "0", "--nodes", "1", "--period-ms", str(PERIOD_MS)]) == 0
    try:
        assert run(["net", "up", str(home)]) == 0
        yield home
    finally:
        run(["net", "down", str(home)])


def test_strategies_order_at_a_node_and_one_that_raises_costs_its_player_alone(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    chosen = {"homes-1": f"{tmp_path / 'mine.py'}:Mine", "homes-2": f"{tmp_path / 'mine.py'}:Raises"}
    chosen |= {"wind-122": "best-response", "homes-4": "storage-arbitrage", "homes-5": "truthful"}
    options = [word for name, what in chosen.items() for word in ("--strategy", f"{name}={what}")]
    agents = [sys.executable, "-P", "-m", "gridmerit", "agents", str(home), "--json", *options]
    said = (tmp_path / "said").open("w+")
    with subprocess.Popen(agents, stdout=subprocess.PIPE, stderr=said, text=True) as process:
        try:
            sent = _wait_for_orders(process, {"homes-1", "homes-3", "homes-4", "homes-5", "wind-122"})
            until(lambda: "ZeroDivisionError" in (tmp_path / "said").read_text())
        finally:
            process.terminate()
            code = process.wait(PATIENCE_S)
    said.seek(0)
    err = said.read()
    assert "problem: homes-2: StrategyFailed: homes-2 has no orders in period" in err
    assert "its strategy Raises raised ZeroDivisionError" in err
    assert (code, err.splitlines()[-1]) == (0, "stopped")
    assert "homes-2" not in {name for name, _ in sent}
    mine = [identity for name, identity in sent if name == "homes-1"]
    placed = _ask(home, "tx", "wait", mine[0])
    assert placed["code"] == ""
    (row,) = [row for row in _ask(home, "block", "show", str(placed["height"]))["transactions"] if row["id"] == mine[0]]
    side, _, price, volume_wh = map(int, row["payload"])
    assert (side, price, volume_wh) == (0, 555_555, 1_000)


def _wait_for_orders(process: subprocess.Popen[str], names: set[str]) -> list[tuple[str, str]]:
    """The orders (player, id) taken until all of these have placed one; the last line that is read has the last."""
    assert process.stdout is not None
    sent: list[tuple[str, str]] = []
    for line in process.stdout:
        taken = json.loads(line)
        if taken["kind"] == "intention":
            sent.append((taken["name"], taken["transaction_id"]))
        if names <= {name for name, _ in sent}:
            return sent
    raise AssertionError("it ended")


def _ask(home: Path, *words: str) -> Any:
    command = [sys.executable, "-P", "-m", "gridmerit", *words, "--node", str(home), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
