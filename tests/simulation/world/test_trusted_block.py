"""A node with an anchor: which chain it follows from genesis on, what it refuses, and what it says of it."""

import pytest

from node.chain.trusted_block import TrustedBlock
from node.errors import AnchorContradicted, OffAnchor
from node.queries.chain import ChainQueries
from simulation.scenarios.networks import INTERVAL_MS, make_attack_network, open_world, run_while

TWO_SIDES = ("a0", "a1", "b0", "b1")
SHARES = {"a0": 0.2, "a1": 0.2, "b0": 0.3, "b1": 0.3, "fresh": 0.0}


def open_split(intervals):
    """Two sides that never meet, b the faster; `fresh` sees both, and is down at first."""
    names = list(SHARES)
    network = make_attack_network(names, sealers=TWO_SIDES)
    sides = {"a0": ("a1", "fresh"), "a1": ("a0", "fresh"), "b0": ("b1", "fresh"), "b1": ("b0", "fresh")}
    world = open_world(network, SHARES, seed=5, neighbours={**sides, "fresh": TWO_SIDES})
    world.crash("fresh")
    world.run_for(intervals * INTERVAL_MS)
    assert world.node("b0").chain.head.work > world.node("a0").chain.head.work
    return world


def anchor_at(world, name, height):
    return TrustedBlock(height, world.node(name).chain.hash_at(height))


def is_on_chain_of(world, name):
    fresh, other = world.node("fresh").chain, world.node(name).chain
    return fresh.head.height > 0 and other.hash_at(fresh.head.height) == fresh.head.hash


def anchor_status(world):
    return ChainQueries(world.node("fresh")).get_status(world.now_ms).anchor


def test_an_anchor_outweighs_work_and_its_block_is_never_left():
    world = open_split(40)
    anchor = anchor_at(world, "a0", 8)
    world.start("fresh", anchor=anchor)
    world.run_for(20 * INTERVAL_MS)
    assert is_on_chain_of(world, "a0")
    node = world.node("fresh")
    assert (node.chain.final_height, node.trusted_branch.settled_height, node.is_syncing) == (0, 8, False)
    status = anchor_status(world)
    assert (status.height, status.hash, status.reached) == (8, anchor.block_hash.hex(), True)
    world.crash("fresh")
    world.start("fresh", anchor=anchor)
    world.run_for(5 * INTERVAL_MS)
    assert is_on_chain_of(world, "a0")


def test_without_an_anchor_the_heavier_side_is_followed():
    world = open_split(40)
    world.start("fresh")
    world.run_for(10 * INTERVAL_MS)
    assert is_on_chain_of(world, "b0")
    assert anchor_status(world) is None


def test_a_node_led_astray_below_its_anchor_stops_short_of_it_and_comes_back():
    world = open_split(30)
    height = world.node("b0").chain.head.height + 3
    for name in ("b0", "b1"):
        world.crash(name)
    run_while(world, lambda: world.node("a0").chain.head.height < height, 200)
    world.partition(("a0", "a1"), ("b0", "b1", "fresh"))
    for name in ("b0", "b1"):
        world.start(name, is_sure=True)
    world.start("fresh", anchor=anchor_at(world, "a0", height))
    run_while(world, lambda: world.node("b0").chain.head.height < height + 3, 200)
    fresh = world.node("fresh")
    assert fresh.chain.head.height == height - 1
    assert is_on_chain_of(world, "b0")
    assert fresh.is_syncing, "so it would neither seal nor vote"
    world.heal()
    world.run_for(5 * INTERVAL_MS)
    assert is_on_chain_of(world, "a0")
    assert not fresh.is_syncing


def test_with_a_wrong_anchor_a_node_follows_nobody_bans_nobody_and_says_why():
    world = open_split(30)
    world.start("fresh", anchor=TrustedBlock(5, b"\x05" * 32))
    world.run_for(10 * INTERVAL_MS)
    assert world.node("fresh").chain.head.height < 5
    faults = [error for _, error in world.peers["fresh"].faults]
    assert {name for name, _ in world.peers["fresh"].faults} == set(TWO_SIDES)
    assert all(isinstance(error, OffAnchor) and error.penalty == 0 for error in faults)
    status = anchor_status(world)
    assert (status.reached, status.refused) == (False, len(faults))


def test_a_store_that_contradicts_the_anchor_is_refused_when_opened():
    world = open_split(30)
    wrong = anchor_at(world, "a0", 5)  # before `fresh` brings side a over to side b
    world.start("fresh")
    world.run_for(10 * INTERVAL_MS)
    world.crash("fresh")
    with pytest.raises(AnchorContradicted, match="another block at height 5 than the anchor") as caught:
        world.start("fresh", anchor=wrong)
    assert caught.value.values["actual"] == world.node("b0").chain.hash_at(5).hex()
    world.start("fresh", anchor=anchor_at(world, "b0", 5))
