"""A fresh node of real processes joins by a snapshot, is killed while it does, and goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gridmerit.network.layout import load_network
from gridmerit.network.make import find_free_ports
from tests.processes.test_joining import Cli
from tests.processes.test_joining import running as running
from tests.support.patience import until

pytestmark = pytest.mark.live

_DISTANCE = 8


def test_a_newcomer_takes_a_state_from_the_others_and_follows(
    running: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli, mine, told = Cli(capsys), tmp_path / "mine", tmp_path / "mine.log"
    nodes = load_network(running).nodes
    peer_port, api_port = find_free_ports(2)
    listen = ["--peer-listen", f"127.0.0.1:{peer_port}", "--api-listen", f"127.0.0.1:{api_port}"]
    entry = f"{nodes[0].name}={nodes[0].peer_url}={nodes[0].key}"
    cli("init", mine, "--genesis", running / "genesis.json", "--peer", entry, *listen)
    cli("member", "apply", "--name", "homes-9", "--role", "prosumer", "--seals", "all", "-o", mine)
    cli("member", "admit", mine / "application.json", "--node", running)
    settings = mine / "node.toml"
    settings.write_text(settings.read_text() + f"\n[sync]\nsnapshot_distance = {_DISTANCE}\n")

    def height(home: Path) -> int:
        return int(cli("status", "--node", home)["chains"][0]["height"])

    first = running / "nodes" / nodes[0].name
    while height(first) <= 3 * _DISTANCE:  # a chain on which nothing happens rests
        cli("tx", "send", "transfer", nodes[1].name, "0.01", "--key", nodes[0].name, "--node", running)
    with told.open("w") as log:
        command = [sys.executable, "-m", "gridmerit", "start", str(mine)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: "snapshot-begun" in told.read_text())
            process.kill()
            process.wait(10)
            process = subprocess.Popen(command, stdout=log, stderr=log)
            until(lambda: "snapshot-taken" in told.read_text())
            until(lambda: height(mine) >= height(first))
            until(lambda: cli("status", "--node", mine)["chains"][0]["signing"] == "signs")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    assert process.returncode == 0
