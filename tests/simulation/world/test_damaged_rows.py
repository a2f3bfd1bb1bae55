"""A node's own rows that are damaged are its store's fault, whatever they hold: no peer's, and no bug."""

import pytest

from ledger.errors import StoreError
from ledger.params import ConsensusParams
from ledger.store import MemoryStore
from node.chain.events import Started
from node.chain.node import ChainNode
from simulation.world.networks import make_network
from simulation.world.world import World

PBFT = ConsensusParams(engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000)
SPOILS = (lambda raw: raw[:-1], lambda raw: b"", lambda raw: b"\xc1" + raw[1:], lambda raw: raw + b"\x00")
PROPOSAL = b"P"
PER_KIND = 5


def open_and_look(network, name, store, guard):
    """Everything that reads rows: opening, starting, and the certificates of slots."""
    node = ChainNode(network.genesis, store, key=network.keys[name], signing_record=guard)
    node.step(Started(), 10**13)
    for slot in range(1, node.chain.head.height + 1):
        node.get_certificate(slot)


@pytest.mark.parametrize("consensus", [PBFT, None], ids=["pbft", "poca"])
def test_each_kind_of_row_damaged_is_a_damaged_store(consensus):
    network = make_network(consensus=consensus)
    world = World(network.genesis, network.keys, seed=4)
    world.run_until(lambda: world.node("n0").chain.final_height > 12, limit_ms=600_000)
    peer = world.peers["n0"]
    if consensus is PBFT:
        world.run_until(lambda: next(peer.store.scan(PROPOSAL), None) is not None, limit_ms=600_000)
    rows = dict(peer.store.scan(b""))
    by_kind = {}
    for key in rows:
        by_kind.setdefault(key[:1], []).append(key)
    said = set()
    for keys in by_kind.values():
        for key in keys[-PER_KIND:]:
            for spoil in SPOILS:
                store = MemoryStore()
                store.write([*rows.items(), (key, spoil(rows[key]))])
                try:
                    open_and_look(network, "n0", store, peer.signing_record)
                except StoreError as error:
                    said.add(str(error).split(": ")[1])
    assert "a certificate" in said
    assert ("an undecided block" in said) == (consensus is PBFT)
