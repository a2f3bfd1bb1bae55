"""A member joins a running network of real processes and leaves it: nobody else edits a file or restarts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from gridmerit.main import run
from gridmerit.network.layout import load_network
from gridmerit.network.make import find_free_ports
from tests.support.patience import PATIENCE_S, until

pytestmark = pytest.mark.live

NAME = "homes-9"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """Three nodes with the trading chain alone, under PBFT: there everybody's turn to lead comes soon."""
    home = tmp_path / "net"
    options = ["--set", "bft", "--nodes", "3", "--chains", "jy1", "--period-ms", "2000", "--seed", "5"]
    assert run(["net", "new", str(home), "--base-port", "0", *options]) == 0
    try:
        assert run(["net", "up", str(home)]) == 0
        yield home
    finally:
        run(["net", "down", str(home)])


class Cli:
    """Commands with --json, and their documents."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *args: object) -> Any:
        self._capsys.readouterr()
        code = run([*map(str, args), "--json"])
        said = self._capsys.readouterr()
        assert code == 0, said.err
        return json.loads(said.out)

    def peers(self, home: Path) -> dict[str, bool]:
        """The peers that a node knows, and whether it reaches them."""
        return {peer["name"]: peer["connected"] for peer in self("status", "--node", home)["peers"]}

    def finding(self, what: str, home: Path) -> str:
        """The finding of doctor about something."""
        return next(str(item["detail"]) for item in self("doctor", "--node", home) if item["what"] == what)


def producers(api_url: str) -> set[str | None]:
    """Names of those who have sealed the latest blocks of the trading chain."""
    with urlopen(f"{api_url}/v1/jy1/status", timeout=PATIENCE_S) as answer:
        height = json.load(answer)["height"]
    with urlopen(f"{api_url}/v1/jy1/blocks?from={max(0, height - 50)}&to={height}", timeout=PATIENCE_S) as answer:
        return {block["producer_name"] for block in json.load(answer)}


def test_a_newcomer_with_one_peer_entry_is_found_by_all_seals_and_is_let_go(
    running: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli, mine = Cli(capsys), tmp_path / "mine"
    nodes = load_network(running).nodes
    homes, seed = [running / "nodes" / node.name for node in nodes], nodes[0]
    before = [(home / "node.toml").read_bytes() for home in homes]
    peer_port, api_port = find_free_ports(2)
    listen = ["--peer-listen", f"127.0.0.1:{peer_port}", "--api-listen", f"127.0.0.1:{api_port}"]
    entry = f"{seed.name}={seed.peer_url}={seed.key}"
    key = cli("init", mine, "--genesis", running / "genesis.json", "--peer", entry, *listen)["public_key"]
    cli("member", "apply", "--name", NAME, "--role", "prosumer", "--seals", "all", "-o", mine)
    admitted = cli("member", "admit", mine / "application.json", "--node", running)
    assert (admitted["status"], list(admitted["chains"])) == ("active", ["jy1"])

    log = (tmp_path / "mine.log").open("w")
    process = subprocess.Popen([sys.executable, "-m", "gridmerit", "start", str(mine)], stdout=log, stderr=log)
    try:
        until(lambda: (mine / "data" / "jy1").exists() and "node-started" in (tmp_path / "mine.log").read_text())
        until(lambda: all(cli.peers(home).get(NAME) for home in homes))
        until(lambda: cli.peers(mine) == {node.name: True for node in nodes})
        me = {member["name"]: member for member in cli("member", "list", "--node", running)}[NAME]
        assert (me["status"], me["seals"], me["key"]) == ("active", True, key)

        until(lambda: NAME in producers(nodes[1].api_url))
        assert cli("status", "--node", mine)["certificate"]["days_left"] == 364
        process.send_signal(signal.SIGHUP)
        until(lambda: "certificates-reloaded" in (tmp_path / "mine.log").read_text())
        until(lambda: all(cli.peers(mine).values()) and all(cli.peers(home).get(NAME) for home in homes))

        cli("member", "revoke", NAME, "--node", running)
        until(lambda: not any(NAME in cli.peers(home) for home in homes))
        until(lambda: not any(cli.peers(mine).values()))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        log.close()
    assert [(home / "node.toml").read_bytes() for home in homes] == before
    assert process.returncode == 0
    assert NAME in cli.finding("key", mine), "its own store tells, too"
