"""Seals that are found at once, block after block: each is a step of its own, in the pure core and in virtual time.

A node that sealed the next block within the step that took the last one in would nest as deep as the chain grows.
"""

from __future__ import annotations

import sys
from collections import deque

import pytest

from consensus.seal import search
from ledger.params import ConsensusParams
from ledger.store import MemoryStore
from ledger.transaction import make_transaction
from node.chain.events import (
    Action,
    Event,
    Persist,
    SealFound,
    SetTimer,
    Started,
    StartSealing,
    TimerFired,
    TransactionsSubmitted,
)
from node.chain.node import ChainNode
from simulation.world.networks import GENESIS_TIME_MS, make_network
from simulation.world.world import World

BLOCKS = sys.getrecursionlimit() + 100  # more than can nest
EASIEST = {"poca": 2**240, "work": 2**256 - 1, "stake": 2**240}  # one nonce or so; every millisecond


def make_easy(eligibility: str) -> ConsensusParams:
    """The easiest difficulty of a rule, for good."""
    n_diff = EASIEST[eligibility]
    return ConsensusParams(
        eligibility=eligibility,
        tau_upt=10_000_000,
        n_diff_initial=n_diff,
        n_diff_min=n_diff,
        n_diff_max=n_diff,
        block_interval_ms=1_000,
    )


@pytest.mark.parametrize("eligibility", ["poca", "work", "stake"])
def test_the_core_seals_each_block_in_a_step_of_its_own(eligibility: str) -> None:
    network = make_network(("solo",), period_ms=3_600_000, consensus=make_easy(eligibility))
    store = MemoryStore()
    node = ChainNode(network.genesis, store, key=network.keys["solo"], is_sure=True)
    now_ms, events = GENESIS_TIME_MS + 60_000, deque[Event]([Started()])
    while node.chain.head.height < BLOCKS:
        now_ms += 1
        height = node.chain.head.height
        actions = node.step(events.popleft(), now_ms)
        for action in actions:
            if isinstance(action, Persist):
                store.write(action.changes)
        assert node.chain.head.height <= height + 1, "one block a step"
        events += _find_seals(actions, now_ms)
    assert node.chain.head.header.timestamp_ms <= now_ms


def _find_seals(actions: list[Action], now_ms: int) -> list[Event]:
    """The events that a driver brings back at once."""
    found: list[Event] = []
    for action in actions:
        match action:
            case StartSealing(job=job, root=root, target=target):
                nonce = search(root, target, count=10_000)
                assert nonce is not None
                found.append(SealFound(job=job, nonce=nonce))
            case SetTimer(name=name, at_ms=at_ms) if at_ms <= now_ms:
                found.append(TimerFired(name=name))
    return found


def test_a_lone_validator_decides_each_block_in_a_step_of_its_own() -> None:
    consensus = ConsensusParams(engine="pbft", block_interval_ms=1_000)
    network = make_network(("solo",), period_ms=3_600_000, consensus=consensus)
    small = network.genesis.params.ledger.model_copy(update={"max_block_transactions": 1})
    genesis = network.genesis.model_copy(update={"params": network.genesis.params.model_copy(update={"ledger": small})})
    node = ChainNode(genesis, MemoryStore(), key=network.keys["solo"], is_sure=True)
    paid = tuple(
        make_transaction(
            network.keys["solo"],
            chain_id=genesis.chain_id,
            sequence=sequence,
            expiry_height=9_000,
            kind="transfer",
            payload=(network.grid.address, 1),
        )
        for sequence in range(500)
    )
    now_ms = GENESIS_TIME_MS + 60_000
    events = deque[Event]([Started(), TransactionsSubmitted(transactions=paid)])
    while events:
        height = node.chain.head.height
        events += _find_seals(node.step(events.popleft(), now_ms), now_ms)
        assert node.chain.head.height <= height + 1, "one block a step"
    assert node.chain.head.height == len(paid), "without waiting for any timer"


@pytest.mark.parametrize("sealing", ["real", "drawn"])
@pytest.mark.parametrize("eligibility", ["poca", "work", "stake"])
def test_a_world_goes_on_where_every_seal_is_found_at_once(eligibility: str, sealing: str) -> None:
    network = make_network(("solo",), period_ms=3_600_000, consensus=make_easy(eligibility))
    world = World(network.genesis, network.keys, seed=3, hash_rate=1_000_000, sealing=sealing)
    world.run_until(lambda: world.node("solo").chain.head.height >= BLOCKS, limit_ms=60_000)


def test_members_with_stakes_share_the_blocks_of_a_world_by_balance() -> None:
    # Eq. (9): a block per interval where N_diff = 2^256 / (Σ balance · interval in ms). n3 has what the others have.
    network = make_network(period_ms=3_600_000, consensus=ConsensusParams(eligibility="stake"))
    balances = {"n0": 1_000_000_000, "n1": 1_000_000_000, "n2": 1_000_000_000, "n3": 3_000_000_000}
    n_diff = 2**256 // (sum(balances.values()) * 1_000)
    consensus = ConsensusParams(eligibility="stake", n_diff_initial=n_diff, block_interval_ms=1_000, max_ahead_ms=2_000)
    params = network.genesis.params.model_copy(update={"consensus": consensus})
    members = tuple(
        member.model_copy(update={"balance_uyuan": balances.get(member.name, 0)}) for member in network.genesis.members
    )
    genesis = network.genesis.model_copy(update={"params": params, "members": members})
    world = World(genesis, network.keys, seed=5)
    world.run_for(200_000)
    world.run_until(lambda: len(world.heads()) == 1, limit_ms=20_000)
    chain = world.node("n0").chain
    assert 133 < chain.head.height < 267, "about one a second"
    producers = [entry.header.producer for entry in chain.ancestors(chain.head) if entry.height]
    share = producers.count(network.keys["n3"].public_key) / len(producers)
    assert share == pytest.approx(0.5, abs=0.1)
    assert all(peer.faults == [] for peer in world.peers.values())
