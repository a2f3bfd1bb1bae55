"""`gridmerit net new --engine pbft`: a network of four real processes, of which one is killed."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridmerit.main import run
from gridmerit.network.layout import load_network
from gridmerit.network.parameters import load_params_set, scale_params
from gridmerit.network.processes import find_pid
from node.config import load_genesis
from tests.support.patience import until

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def agreed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Four nodes that run, with the trading chain alone."""
    home = tmp_path_factory.mktemp("agreed") / "net"
    options = ["--engine", "pbft", "--nodes", "4", "--chains", "jy1", "--period-ms", "24000", "--seed", "3"]
    assert run(["net", "new", str(home), "--base-port", "0", *options]) == 0
    try:
        assert run(["net", "up", str(home)]) == 0
        yield home
    finally:
        run(["net", "down", str(home)])


def ask(home: Path, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, object]:
    capsys.readouterr()
    code = run([*args, "--node", str(home), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_it_commits_loses_a_node_and_goes_on(agreed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, sent = ask(agreed, capsys, "tx", "send", "transfer", "homes-3", "12.50", "--key", "homes-4")
    assert (code, sent["code"]) == (0, "")
    _, shown = ask(agreed, capsys, "tx", "show", sent["id"])
    assert shown["final"], "final with its block"
    proof = tmp_path / "proof.json"
    assert ask(agreed, capsys, "proof", "get", "account", "homes-3", "-o", str(proof))[0] == 0
    capsys.readouterr()
    assert run(["proof", "verify", str(proof), "--genesis", str(agreed / "genesis.json"), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["final"]

    network = load_network(agreed)
    victim = network.nodes[-1]
    os.kill(find_pid(network, victim), signal.SIGKILL)
    for turn in range(5):  # each of the four leads once at least
        code, sent = ask(agreed, capsys, "tx", "send", "transfer", "homes-3", f"{turn + 1}", "--key", "homes-4")
        assert (code, sent["code"]) == (0, ""), turn

    assert run(["net", "up", str(agreed)]) == 0
    home = agreed / "nodes" / victim.name
    assert run(["tx", "wait", sent["id"], "--node", str(home)]) == 0
    _, status = ask(home, capsys, "status")
    (chain,) = status["chains"]
    assert chain["final_height"] >= sent["height"]
    assert isinstance(chain["waiting_for"], list)


def test_nodes_that_are_too_few_say_whom_they_wait_for(agreed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = load_network(agreed)
    lost = network.nodes[2:]
    for victim in lost:
        os.kill(find_pid(network, victim), signal.SIGKILL)
    code, _ = ask(agreed, capsys, "tx", "send", "transfer", "homes-3", "1", "--key", "homes-4", "--no-wait")
    assert code == 0, "a chain that rests waits for nobody"
    names = {node.name for node in lost}
    until(lambda: set(ask(agreed, capsys, "status")[1]["chains"][0]["waiting_for"]) == names)
    capsys.readouterr()
    assert run(["status", "--node", str(agreed)]) == 0
    assert re.search(r"^waiting for +\S", capsys.readouterr().out, re.MULTILINE)
    assert run(["net", "up", str(agreed)]) == 0
    code, sent = ask(agreed, capsys, "tx", "send", "transfer", "homes-3", "1", "--key", "homes-4")
    assert (code, sent["code"]) == (0, "")


def test_the_genesis_says_pbft(agreed: Path) -> None:
    consensus = load_genesis(agreed / "genesis.json").params.consensus
    assert consensus.engine == "pbft"
    assert consensus.n_diff_initial == load_params_set("bft")[1].consensus.n_diff_initial, "nothing is calibrated"
    assert consensus.empty_after_ms == consensus.block_interval_ms == 1_000
    assert consensus.empty_blocks == "due"


def test_an_engine_that_the_parameters_do_not_have_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["net", "new", str(tmp_path / "net"), "--engine", "pbft", "--set", "paper"]) == 2
    assert "--engine pbft: the chains of paper have another one" in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("period_ms", [800, 6_000, 60_000, 3_600_000])
def test_timeouts_scale_with_the_period(period_ms: int) -> None:
    for chain in load_params_set("bft"):
        consensus = scale_params(chain, period_ms).consensus
        assert 1_000 <= consensus.view_timeout_ms <= consensus.view_timeout_max_ms
        assert 0 < consensus.empty_after_ms <= period_ms // 4
