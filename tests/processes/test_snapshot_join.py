"""A fresh node of real processes joins by a snapshot and fetches what is older, is killed in both, and goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from gridmerit.network.layout import Network, load_network
from gridmerit.network.make import find_free_ports
from ledger.transaction import make_transaction
from node.api.client import Client
from node.credentials.keystore import load_key, load_passphrase
from tests.processes.test_joining import Cli
from tests.processes.test_joining import running as running
from tests.support.patience import until

pytestmark = pytest.mark.live

_DISTANCE = 8
_PAYMENTS = 150  # in a block: two fill an answer, so that all bodies take a dozen, a tenth of a second each


async def write_history(network: Network) -> int:
    """Have blocks made, each with many payments: a chain on which nothing happens rests. The first one's height."""
    node = network.nodes[0]
    home = network.directory_of(node)
    key = load_key(home / "key.pem", load_passphrase(home / "passphrase"))
    async with Client(node.api_url, "jy1") as client:
        chain_id = bytes.fromhex((await client.status()).chain_id)
        sequences, heights = count((await client.account(key.address)).sequence), list[int]()
        while (await client.status()).height <= 3 * _DISTANCE:
            payments = [
                make_transaction(
                    key,
                    chain_id=chain_id,
                    sequence=next(sequences),
                    expiry_height=1_000,
                    kind="transfer",
                    payload=(key.address, 1),
                )
                for _ in range(_PAYMENTS)
            ]
            assert set(await client.submit(payments)) == {None}
            heights.append((await client.wait_for(payments[-1].id)).height or 0)
    return heights[0]


def count_blocks(verified: Any) -> tuple[int, int]:
    """The blocks that a sound store holds, and those that there are, the genesis block among them."""
    (chain,) = verified["chains"]
    assert verified["sound"], chain["damage"]
    return chain["rows"]["block"]["count"], chain["height"] + 1


def test_a_newcomer_takes_a_state_from_the_others_follows_and_comes_to_hold_what_is_older(
    running: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli, mine, told = Cli(capsys), tmp_path / "mine", tmp_path / "mine.log"
    network = load_network(running)
    nodes = network.nodes
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

    def bodies_from() -> int:
        with urlopen(f"http://127.0.0.1:{api_port}/v1/jy1/status", timeout=10) as answer:
            return int(json.load(answer)["bodies_from_height"])

    def snapshot_height() -> int:
        (line,) = (line for line in told.read_text().splitlines() if "snapshot-taken" in line)
        return int(json.loads(line)["height"])

    first = running / "nodes" / nodes[0].name
    old = asyncio.run(write_history(network))
    with told.open("w") as log:
        command = [sys.executable, "-m", "gridmerit", "start", str(mine)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: "snapshot-begun" in told.read_text())
            process.kill()
            process.wait(10)
            process = subprocess.Popen(command, stdout=log, stderr=log)
            until(lambda: "snapshot-taken" in told.read_text())
            until(lambda: bodies_from() <= snapshot_height())
            process.kill()
            process.wait(10)
            midway = count_blocks(cli("node", "verify", mine))
            process = subprocess.Popen(command, stdout=log, stderr=log)
            until(lambda: told.read_text().count("API at") == 3)
            until(lambda: height(mine) >= height(first))
            until(lambda: cli("status", "--node", mine)["chains"][0]["signing"] == "signs")
            until(lambda: bodies_from() == 1)
            shown = [cli("block", "show", old, "--node", home) for home in (mine, first)]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    assert process.returncode == 0
    (held, made), (held_then, made_then) = count_blocks(cli("node", "verify", mine)), midway
    assert held_then < made_then, "it was killed before all had come"
    assert held == made
    assert [{**block, "depth": 0} for block in shown] == [{**shown[0], "depth": 0}] * 2
    assert shown[0]["transactions"]
