"""Words about a node whose member was revoked: its own, as its peers put it, and those of a network with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gridmerit.commands.net_tables import render_states
from gridmerit.commands.status import render
from gridmerit.network.layout import Network, NodeEntry
from gridmerit.network.processes import NodeState, is_healthy
from gridmerit.network.silences import find_exclusion
from node.queries.answers import NodeStatus
from node.queries.chain import ChainQueries

NAMES = ("pv-101", "wind-122", "homes-1")
ENTRIES = tuple(NodeEntry(name=name, directory="", key=name, peer_url="", api_url="") for name in NAMES)


def row(name: str, **changes: object) -> dict[str, object]:
    known = {"name": name, "key": name, "chains": ["jy1"], "connected": True, "has_ended": False, "refusal": None}
    return {**known, "refusal_detail": None, "score": 0, **changes}


def refusing(name: str, error: str = "MembershipEnded") -> dict[str, object]:
    return row(name, connected=False, refusal=error, refusal_detail="homes-1 was revoked: …")


@pytest.fixture
def status_of(world):
    """A node's status with these rows of peers, and a chain that waits for somebody."""
    chain = ChainQueries(world.node).get_status(world.now_ms)

    def make(*peers: dict[str, object]) -> NodeStatus:
        fields = {"version": "0", "member": "homes-1", "address": None, "uptime_ms": 0, "sealing": {"jobs": 0}}
        return NodeStatus(chains=(chain,), peers=peers, **fields)

    return make


def test_a_revoked_node_says_who_says_so_and_what_to_do(status_of):
    exclusion = find_exclusion(status_of(refusing("pv-101"), row("wind-122")))
    assert (exclusion.state, exclusion.detail) == ("its membership has ended, say pv-101", "homes-1 was revoked: …")
    text = render(status_of(refusing("pv-101"), refusing("wind-122")), "there")
    assert "its membership has ended, say pv-101, wind-122: homes-1 was revoked: …" in text
    assert "ask the network's authority" in text


def test_another_refusal_excludes_nobody(status_of):
    assert find_exclusion(status_of(refusing("pv-101", "NotActive"), row("wind-122"))) is None
    assert "excluded" not in render(status_of(row("pv-101")), "there")


def test_a_revoked_node_does_not_say_that_it_waits_for_others(status_of, world):
    def waiting(status: NodeStatus) -> NodeStatus:
        return replace(status, chains=(replace(status.chains[0], waiting_for=("pv-101",)),))

    assert "waiting for" in render(waiting(status_of(row("pv-101"))), "there")
    assert "waiting for" not in render(waiting(status_of(refusing("pv-101"))), "there")


def test_a_network_is_whole_without_those_who_are_gone(status_of):
    network = Network(directory=Path(), chains=("jy1",), kinds=("trading",), genesis="", nodes=ENTRIES, players=())

    def look(entry: NodeEntry, *peers: dict[str, object]) -> NodeState:
        return NodeState(entry=entry, pid=1, status=status_of(*peers))

    lost = {"connected": False}
    assert is_healthy(network, look(ENTRIES[0], row("wind-122"), row("homes-1", has_ended=True, **lost)))
    assert is_healthy(network, look(ENTRIES[2], refusing("pv-101"), refusing("wind-122")))
    assert not is_healthy(network, look(ENTRIES[0], row("wind-122"), row("homes-1", **lost)))
    assert not is_healthy(network, look(ENTRIES[2], refusing("pv-101", "NotActive")))
    shown = render_states([look(ENTRIES[2], refusing("pv-101"), refusing("wind-122"))], {})
    assert "its membership has ended, say pv-101, wind-122" in shown
