"""`gridmerit agents --strategy`: players with strategies of their own, at a real node."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from gridmerit.main import run
from gridmerit.network.parameters import load_packaged_profile
from tests.support.patience import PATIENCE_S, until

pytestmark = pytest.mark.live

PERIOD_MS = 10_000
MINE = """
from gridmerit.players import Quote, Side, Storage, Strategy

class Mine(Strategy):
    def answer(self, view, random):
        return [Quote(Side.BID, 555_555, 1_000), Quote(Side.BID, 544_444, 10**9), Quote(Side.OFFER, 1, 1_000)]

class Raises(Strategy):
    def answer(self, view, random):
        return [Quote(Side.BID, 1 // 0, 1_000)]

class Loops(Strategy):
    def answer(self, view, random):
        while True: pass

class Aims(Strategy):
    def answer(self, view, random):
        return [Quote(Side.BID, view.target_uyuan_per_kwh, 1_000)] if view.target_uyuan_per_kwh else []

class Shifts(Strategy):
    storage = Storage(capacity_wh=10**6, power_wh=10**6, efficiency_ppm=900_000)
    def answer(self, view, random):
        more_wh = 5_000 if view.storage.charge_wh < 10_000 else -2_000
        return [Quote(Side.BID, view.tariffs.ceiling_uyuan_per_kwh, max(1, view.load_wh + more_wh))]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A network of one node that hosts all three chains, and clears by knn."""
    home = tmp_path_factory.mktemp("strategies") / "net"
    options = ["--base-port", "0", "--nodes", "1", "--period-ms", str(PERIOD_MS), "--rule", "knn"]
    assert run(["net", "new", str(home), *options]) == 0
    try:
        assert run(["net", "up", str(home)]) == 0
        yield home
    finally:
        run(["net", "down", str(home)])


@contextmanager
def play(home: Path, out: Path, chosen: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The agents with these strategies, built in or of `MINE`; what they say on stderr is in `out/said`."""
    (out / "mine.py").write_text(MINE)
    named = {name: what if what.islower() else f"{out / 'mine.py'}:{what}" for name, what in chosen.items()}
    options = [word for name, what in named.items() for word in ("--strategy", f"{name}={what}")]
    agents = [sys.executable, "-P", "-m", "gridmerit", "agents", str(home), "--json", *options]
    with (
        (out / "said").open("w") as said,
        subprocess.Popen(agents, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def test_strategies_order_at_a_node_and_one_that_fails_costs_its_player_alone(home: Path, tmp_path: Path) -> None:
    chosen = {"homes-1": "Mine", "homes-2": "Raises", "homes-6": "Loops", "homes-7": "Aims"}
    chosen |= {"wind-122": "best-response", "homes-4": "storage-arbitrage", "homes-5": "truthful"}
    others = set(chosen) - {"homes-2", "homes-6"} | {"homes-3"}
    with play(home, tmp_path, chosen) as process:
        sent = _wait_for_orders(process, others)
        until(lambda: "ZeroDivisionError" in (tmp_path / "said").read_text())
        until(lambda: "StrategyOverdue" in (tmp_path / "said").read_text())
        sent += _wait_for_orders(process, others)  # and they go on
    err, code = (tmp_path / "said").read_text(), process.returncode
    assert "problem: homes-2: StrategyFailed: homes-2 has no orders in period" in err
    assert "its strategy Raises raised ZeroDivisionError" in err
    overdue = [line for line in err.splitlines() if "StrategyOverdue" in line]
    assert all(
        line.startswith("problem: homes-6: StrategyOverdue: homes-6 has no orders in period") for line in overdue
    )
    assert len(overdue) == len(set(overdue)), "it is said once"
    assert (code, err.splitlines()[-1]) == (0, "stopped")
    assert not {name for name, _ in sent} & {"homes-2", "homes-6"}
    for name, wanted in (
        ("homes-1", (0, 555_555, 1_000)),
        ("homes-7", (0, _find_target(home, sent, "homes-7"), 1_000)),
    ):
        side, _, price, volume_wh = _show_order(home, sent, name)
        assert (side, price, volume_wh) == wanted


def test_a_battery_keeps_its_owner_at_what_was_agreed_across_a_restart(home: Path, tmp_path: Path) -> None:
    kept = _Kept(home / "batteries" / "homes-3.json")
    with play(home, tmp_path, {"homes-3": "Shifts"}) as process:
        until(lambda: len(kept.read()) >= 2)
        process.kill()
    left = [*kept.read()]
    with play(home, tmp_path, {"homes-3": "Shifts"}):
        until(lambda: sum(_is_settled_by_reading(home, period) for period in kept.read() if period not in left) >= 2)
    profile = load_packaged_profile()
    charge_wh = 0
    for period, reading_wh in kept.read().items():
        actual_wh = profile.readings["homes-3", profile.hours_ms[period % 24]].actual_wh
        more_wh = reading_wh - actual_wh
        charge_wh += more_wh * 9 // 10 if more_wh > 0 else more_wh
        if _is_settled_by_reading(home, period):
            delivered_wh = sum(trade["consumption_wh"] for trade in _list_purchases(home, period))
            agreed_wh = _find_agreed(home, period, "homes-3")
            assert delivered_wh == reading_wh
            assert agreed_wh > 0
            assert abs(delivered_wh - agreed_wh) <= agreed_wh // 100, (period, kept.read())
    assert charge_wh == kept.charge_wh > 0, "nothing is had for nothing"


class _Kept:
    """All that the file of a battery has said so far: it holds the latest readings alone."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._reading_wh: dict[int, int] = {}
        self.charge_wh = 0

    def read(self) -> dict[int, int]:
        """The readings (Wh) by period; none that was there is ever another."""
        found = json.loads(self._file.read_text()) if self._file.exists() else {"readings": [], "charge_wh": 0}
        self.charge_wh = found["charge_wh"]
        for period, reading_wh in found["readings"]:
            assert self._reading_wh.setdefault(period, reading_wh) == reading_wh
        return self._reading_wh


def _is_settled_by_reading(home: Path, period: int) -> bool:
    """On a busy machine an order may miss its gate, so that nothing was agreed, and a reading the metering's end."""
    purchases = _list_purchases(home, period)
    return bool(purchases) and not any(trade["is_consumption_imputed"] for trade in purchases)


def _list_purchases(home: Path, period: int) -> list[dict[str, Any]]:
    """The purchases of homes-3 that are settled."""
    if _ask(home, "market", "settlement")["period"] < period:
        return []
    settled = _ask(home, "market", "settlement", "--period", str(period))["trades"]
    return [trade for trade in settled if trade["buyer_name"] == "homes-3"]


def _show_order(home: Path, sent: list[tuple[str, str]], name: str) -> list[int]:
    """Side, period, price and volume of a player's first order, as a block has it."""
    identity = next(identity for player, identity in sent if player == name)
    placed = _ask(home, "tx", "wait", identity)
    assert placed["code"] == ""
    rows = _ask(home, "block", "show", str(placed["height"]))["transactions"]
    return [int(part) for row in rows if row["id"] == identity for part in row["payload"]]


def _find_target(home: Path, sent: list[tuple[str, str]], name: str) -> int:
    """The target of the period that a player's first order is for."""
    _, period, *_ = _show_order(home, sent, name)
    return int(_ask(home, "market", "book", "--period", str(period))["book"]["target"]["g_to_u_uyuan_per_kwh"])


def _find_agreed(home: Path, period: int, buyer: str) -> int:
    """The purchases of a buyer that bind, Wh."""
    found = _ask(home, "market", "trades", "--period", str(period))
    cut_wh = {cut["index"]: cut["accepted_wh"] for cut in found["curtailments"]}
    own = [trade for trade in found["trades"] if trade["buyer_name"] == buyer]
    return sum(cut_wh.get(trade["index"], trade["volume_wh"]) for trade in own)


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
    """The one document that a command prints."""
    printed = StringIO()
    with redirect_stdout(printed):
        assert run([*words, "--node", str(home), "--json"]) == 0
    return json.loads(printed.getvalue())
