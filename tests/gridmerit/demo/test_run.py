"""`gridmerit demo` with real processes and three chains: two runs of one seed, of two and of four peers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gridmerit.demo.stage_times import STAGES
from gridmerit.main import run
from gridmerit.network.layout import load_network
from gridmerit.network.parameters import load_packaged_profile, load_params_set, make_demo_params
from gridmerit.network.processes import find_pid
from gridmerit.players.agents import Day
from ledger.genesis import Genesis
from node.config import load_genesis
from tests.support.signals import heard

pytestmark = [pytest.mark.live, pytest.mark.alone]

ROOT = Path(__file__).parents[3]
PERIOD_MS = 4_000


class Run(NamedTuple):
    """A demo that has ended."""

    code: int
    document: dict[str, Any]
    progress: str
    out: Path


def _spawn(out: Path, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gridmerit", "demo", "--out", out, "--period-ms", PERIOD_MS, "--json", *args]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """`small`: 2 hours on 2 peers, kept running; `large`: 3 hours on 4 peers. Both of seed 1."""
    home = tmp_path_factory.mktemp("demo")
    arguments = {"small": ("--hours", 2, "--peers", 2, "--keep"), "large": ("--hours", 3, "--peers", 4)}
    processes = {name: _spawn(home / name, *args) for name, args in arguments.items()}
    try:
        ended = {}
        for name, process in processes.items():
            out, err = process.communicate(timeout=300)
            ended[name] = Run(process.returncode, json.loads(out), err, home / name)
        yield ended
    finally:
        for process in processes.values():
            process.kill()
        for name in arguments:
            run(["net", "down", str(home / name / "network")])


@pytest.mark.parametrize("name", ["small", "large"])
def test_every_check_passes(runs: dict[str, Run], name: str) -> None:
    code, document, progress, _ = runs[name]
    assert [check["name"] for check in document["checks"] if not check["passed"]] == [], progress
    assert document["passed"] is True
    assert code == 0


def test_one_seed_clears_the_same_trades_on_two_peers_and_on_four(runs: dict[str, Run]) -> None:
    def trades(name: str) -> list[tuple[object, ...]]:
        document = runs[name].document
        return [
            (
                trade["period"] - document["first_period"],
                trade["index"],
                trade["seller"],
                trade["buyer"],
                trade["price_uyuan_per_kwh"],
                trade["volume_wh"],
                trade["accepted_wh"],
            )
            for trade in document["trades"]
        ]

    small, large = trades("small"), trades("large")
    assert small
    assert small == [trade for trade in large if trade[0] < 2]  # type: ignore[operator]
    assert len(large) > len(small)


def test_the_report_lies_where_it_was_asked_for(runs: dict[str, Run]) -> None:
    out, document = runs["large"].out, runs["large"].document
    assert {file.name for file in out.iterdir()} == {
        "report.md", "report.json", "day.png", "trade-proof.json", "credit-proof.json", "genesis.json", "network"
    }  # fmt: skip
    stored = json.loads((out / "report.json").read_text())
    assert stored == {key: value for key, value in document.items() if key != "files"}
    assert "## Blocks sealed" in (out / "report.md").read_text()
    assert (out / "day.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize(("file", "says"), [("trade-proof.json", "wind-122 sold"), ("credit-proof.json", "of credit")])
def test_the_proofs_need_no_node(
    runs: dict[str, Run], capsys: pytest.CaptureFixture[str], file: str, says: str
) -> None:
    out = runs["large"].out
    assert run(["proof", "verify", str(out / file), "--genesis", str(out / "genesis.json")]) == 0
    assert says in capsys.readouterr().out
    # Seed 1 makes the same keys for both networks, and yet one chain's proof is nothing to the other.
    other = runs["small"].out / "genesis.json"
    assert run(["proof", "verify", str(out / file), "--genesis", str(other)]) == 7


def test_the_timeline_has_every_stage_of_every_hour(runs: dict[str, Run]) -> None:
    timeline = runs["large"].document["timeline"]
    assert [row["stage"] for row in timeline["stages"]] == [stage.name for stage in STAGES]
    assert [row["hours"] for row in timeline["stages"]] == [3] * len(STAGES)
    causes = [
        "quota",
        "quota received",
        "gate",
        "verdict",
        "accepted",
        "metered",
        "settlement",
        "assessment",
        "snapshot",
    ]
    for hour in timeline["hours"]:
        assert (order := [hour[stage] for stage in causes]) == sorted(order), hour


def test_lh1_holds_digests_of_du1_s_blocks(runs: dict[str, Run]) -> None:
    document = runs["large"].document
    held = {(digest["period"] - document["first_period"], digest["kind"]) for digest in document["digests"]}
    assert held >= {(hour, kind) for hour in range(3) for kind in ("power", "actual", "delivered")}


def test_progress_names_the_hour(runs: dict[str, Run]) -> None:
    assert "hour  3/3" in runs["large"].progress


def test_nothing_is_left_running_unless_it_is_to_be_kept(runs: dict[str, Run]) -> None:
    for name, is_kept in (("small", True), ("large", False)):
        network = load_network(runs[name].out / "network")
        assert [find_pid(network, node) is not None for node in network.nodes] == [is_kept] * len(network.nodes)


def test_a_network_that_is_still_running_is_not_overwritten(runs: dict[str, Run]) -> None:
    process = _spawn(runs["small"].out, "--hours", 1)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 9
    assert json.loads(out)["error"] == "NetworkRunning"
    assert "try: gridmerit net down" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_interrupted_it_stops_its_nodes(tmp_path: Path, number: signal.Signals) -> None:
    with heard(number):
        process = _spawn(tmp_path, "--hours", 1, "--peers", 1, "--set", "paper")
    assert process.stderr is not None
    while "block" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    process.communicate(timeout=300)
    assert process.returncode == 130
    network = load_network(tmp_path / "network")
    assert find_pid(network, network.nodes[0]) is None
    assert load_genesis(network.genesis_path).params.market.clearing_rule == "credit-weighted", "of the set that it has"


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "thesis.txt").write_text("years of work")
    process = _spawn(tmp_path, "--hours", 1)
    out, _ = process.communicate(timeout=300)
    assert (process.returncode, json.loads(out)["error"]) == (3, "BusyDirectory")
    assert (tmp_path / "network" / "thesis.txt").exists()


def test_everything_that_waits_for_a_message_has_periods_to_spare() -> None:
    profile = load_packaged_profile()
    by_kind = {params.kind: params for params in make_demo_params(PERIOD_MS, load_params_set())}
    genesis, scheduling = (
        Genesis.model_construct(params=by_kind[kind], time_ms=0, members=()) for kind in ("trading", "scheduling")
    )
    day = Day(genesis=genesis, scheduling=scheduling, profile=profile, first_period=9, hours=24, seed=1)
    trading, grid = day.times_of(0), day.scheduling_times_of(0)
    assert trading.gate_ms - grid.quota_ms >= 3 * PERIOD_MS
    assert trading.gate_ms - (trading.open_ms + day.share_of_period(150_000)) >= 2 * PERIOD_MS
    assert trading.deadline_ms - trading.gate_ms >= 3 * PERIOD_MS
    assert grid.meter_ms - (grid.delivery_end_ms + day.share_of_period(150_000)) >= 2 * PERIOD_MS
    assert trading.settle_ms - grid.meter_ms >= 2 * PERIOD_MS
    assert day.plan_orders("wind-122")[0].hour == 0
