"""What commands say of a running node that signs nothing for now: one of two members, the other has not started."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from ledger.params import ChainParams
from node.cli import run
from node.network import load_network, load_packaged_profile, new_network
from node.processes import get_state, start_node, stop_network

pytestmark = pytest.mark.live


@pytest.fixture
def lone(tmp_path: Path):
    home = tmp_path / "net"
    network = new_network(home, nodes=2, params=[ChainParams(name="jy1")], profile=load_packaged_profile(), seed=5)
    first = network.nodes[0]
    try:
        start_node(network, first)
        while asyncio.run(get_state(network, first)).status is None:
            pass
        yield home
    finally:
        stop_network(load_network(home))


def test_a_member_alone_says_what_it_waits_for_and_what_to_do(lone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = lone / "nodes" / "pv-101"
    assert run(["status", "--node", str(node)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"signs nothing  until others say .* stop it, then gridmerit start DIR --i-am-sure", out)
    assert re.search(r"wind-122 +no +jy1 +– +0", out)
    assert run(["net", "status", str(lone)]) == 0
    assert "no connection to wind-122, waits to sign" in capsys.readouterr().out
    assert run(["doctor", "--node", str(node)]) == 0
    assert "WARN  signing on jy1: not until others say" in capsys.readouterr().out
    events = [json.loads(line) for line in (node / "node.log").read_text().splitlines() if '"signing-waits"' in line]
    assert [(event["height"], event["silent_until"]) for event in events] == [(0, 0)]
