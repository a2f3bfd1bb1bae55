"""A real node whose periods are traded twice: players trade the change by fresh forecasts, and it restarts between."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gridmerit.main import run
from gridmerit.network.parameters import load_packaged_profile
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.live

PERIOD_MS = 10_000


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A network of one node that hosts all three chains."""
    home = tmp_path / "net"
    options = ["--base-port", "0", "--nodes", "1", "--period-ms", str(PERIOD_MS), "--intraday"]
    assert run(["net", "new", str(home), *options]) == 0
    try:
        assert run(["net", "up", str(home)]) == 0
        yield home
    finally:
        run(["net", "down", str(home)])


def test_players_trade_the_change_and_settle_what_lies_beyond_with_the_grid_company(home: Path) -> None:
    agents = [sys.executable, "-P", "-m", "gridmerit", "agents", str(home)]
    with subprocess.Popen(agents, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(process, r"period (\d+), hour \d+ of the day: [1-9]\d* trade")
            assert run(["net", "down", str(home)]) == 0  # between the gates of that period
            assert run(["net", "up", str(home)]) == 0
            period = wait_for(process, r"period (\d+), hour \d+ of the day, intraday: [1-9]\d* trade")
            wait_for(process, rf"period ({period}), hour \d+ of the day: [1-9]\d* trades? settled")
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)
    positions = ask(home, "market", "positions", str(period))["positions"]
    profile = load_packaged_profile()
    hour_ms = profile.hours_ms[period % len(profile.hours_ms)]
    roles = {player.name: player.role for player in profile.players}
    net_wh: dict[str, int] = defaultdict(int)
    traded_wh: dict[str, int] = defaultdict(int)
    for row in positions:
        net_wh[row["member_name"]] += row["bought_wh"] - row["sold_wh"]
        if row["session"] != "real-time":
            traded_wh[row["session"]] += row["bought_wh"] - row["sold_wh"]
    assert dict(traded_wh) == {"day-ahead": 0, "intraday": 0}, "whatever is bought is sold"
    for name, wh in net_wh.items():
        actual_wh = profile.readings[name, hour_ms].actual_wh
        assert wh == (actual_wh if roles[name] == "consumer" else -actual_wh), name


def wait_for(process: subprocess.Popen[str], pattern: str) -> int:
    """The period of the first line that says so."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line):
            return int(found[1])
    raise AssertionError(f"it ended, and never said {pattern}")


def ask(home: Path, *words: str) -> Any:
    command = [sys.executable, "-P", "-m", "gridmerit", *words, "--node", str(home), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
