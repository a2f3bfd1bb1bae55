"""A network of processes whose chain was grown in virtual time: hundreds of blocks that nobody has waited for.

Most hold a few payments, some as many as the packaged limits allow.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from unittest.mock import patch

from gridmerit.network.layout import Network
from ledger.genesis import Genesis
from ledger.signatures import SigningKey
from ledger.store import LevelStore
from ledger.transaction import make_transaction
from node.config import load_genesis
from node.credentials.keystore import load_key, load_passphrase
from node.driver.signing_file import SigningFile
from node.system.clock import now_ms
from simulation.world.peer import Peer
from simulation.world.world import World
from tests.processes.stage import CHAIN, build_network

_PAYMENTS, _MANY = 5, 1_500  # in a block, and in every hundredth


def build_grown_network(directory: Path, *, honest: int, blocks: int) -> Network:
    """Honest nodes under PBFT that have so many blocks on disk, and signed them; the genesis is old enough for that."""
    age_ms = 2_000 * blocks  # of a block a second
    with patch("gridmerit.network.founders.now_ms", lambda: now_ms() - age_ms):
        network = build_network(directory, engine="pbft", honest=honest, liar_votes=False, liar_seals=False)
    genesis = load_genesis(network.genesis_path)
    homes = {node.name: network.directory_of(node) for node in network.nodes[:honest]}
    keys = {name: load_key(home / "key.pem", load_passphrase(home / "passphrase")) for name, home in homes.items()}
    world = _grow(genesis, keys, blocks)
    for name, home in homes.items():
        _write(world.peers[name], home / "data" / CHAIN, genesis.chain_id)
    return network


def _grow(genesis: Genesis, keys: dict[str, SigningKey], blocks: int) -> World:
    world = World(genesis, keys, seed=1, sealing="drawn")
    world.run_for(1_000)
    (payer, *_), sequences = keys, {name: count() for name in keys}
    node = world.node(payer)
    for number in count():
        if node.chain.head.height >= blocks:
            break
        payers = keys if number % 100 == 50 else [payer]
        size = _MANY // len(keys) if number % 100 == 50 else _PAYMENTS
        for name in payers:
            payments = [
                make_transaction(
                    keys[name],
                    chain_id=genesis.chain_id,
                    sequence=next(sequences[name]),
                    expiry_height=2 * blocks,
                    kind="transfer",
                    payload=(keys[payer].address, 1),
                )
                for _ in range(size)
            ]
            assert set(world.submit(name, *payments)) == {None}
        world.run_for(1_000)
    world.run_until(lambda: len(world.heads()) == 1, limit_ms=10_000)
    return world


def _write(peer: Peer, directory: Path, chain_id: bytes) -> None:
    """As if that peer's process had ended."""
    with SigningFile(directory, chain_id) as file:
        file.save(peer.signing_record)
    store = LevelStore(directory / "ledger")
    store.write(list(peer.store.scan(b"")))
    store.close()
