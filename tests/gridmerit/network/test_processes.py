"""A network that counts as up: at two looks running, every node answers and is connected with all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gridmerit.errors import NodeFailed
from gridmerit.network import processes
from gridmerit.network.layout import Network, NodeEntry
from gridmerit.network.processes import NodeState, start_network
from node.queries.answers import NodeStatus

NAMES = ("pv-101", "wind-122")
ENTRIES = tuple(NodeEntry(name=name, directory=name, key=name, peer_url="", api_url="") for name in NAMES)
NETWORK = Network(directory=Path("net"), chains=("jy1",), kinds=("trading",), genesis="", nodes=ENTRIES, players=())


def see(entry: NodeEntry, is_connected: bool | None) -> NodeState:
    """A node that is connected to the other or is not; None: it does not answer."""
    if is_connected is None:
        return NodeState(entry=entry, pid=1, status=None, problem="no answer")
    peers = tuple(
        {"name": other.name, "key": other.key, "connected": is_connected, "has_ended": False, "refusal": None}
        for other in ENTRIES
        if other is not entry
    )
    fields = {"version": "0", "member": entry.name, "address": None, "uptime_ms": 0, "sealing": {}}
    return NodeState(entry=entry, pid=1, status=NodeStatus(chains=(), peers=peers, **fields))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[bool | None, ...]]]:
    """Both nodes run, and what is seen of them at each look is this, the last for ever."""

    def script(*seen: tuple[bool | None, ...]) -> list[tuple[bool | None, ...]]:
        left = list(seen)

        async def get_state(_network: Network, entry: NodeEntry) -> NodeState:
            state = see(entry, left[0][ENTRIES.index(entry)])
            if entry is ENTRIES[-1] and len(left) > 1:
                left.pop(0)
            return state

        monkeypatch.setattr(processes, "get_state", get_state)
        monkeypatch.setattr(processes, "start_node", lambda _network, _node: False)
        monkeypatch.setattr(processes, "_POLL_S", 0)
        return left

    return script


async def test_a_connection_seen_at_an_earlier_look_does_not_count(looks):
    """wind-122 first believes in that to the process of before, which has been stopped."""
    left = looks((None, True), (True, False), (False, True), (True, True), (True, True), (False, False))
    await start_network(NETWORK)
    assert left == [(False, False)], "up at the fourth look and the fifth, and not before"


async def test_one_look_is_not_enough_for_it_is_no_instant(looks):
    """pv-101 is asked before it hears that wind-122 has started anew, wind-122 once it has reached pv-101."""
    left = looks((True, True), (False, True), (True, True), (True, True), (False, False))
    await start_network(NETWORK)
    assert left == [(False, False)]


async def test_who_is_connected_now_and_then_but_never_with_the_other_is_not_up(looks):
    looks((True, False))
    with pytest.raises(NodeFailed, match=r"wind-122 .*is not healthy in time"):
        await start_network(NETWORK, within_ms=0)
