"""Each outcome of judging a peer's block, and that none of them moves anything but the tree."""

from dataclasses import replace

import pytest

from ledger.block import Block
from node.chain.importer import Deferred, Invalid, Known, MissingParent, Placed
from simulation.world.networks import make_network
from simulation.world.world import World


@pytest.fixture
def world():
    """Four peers, one of them cut off, so that it lacks what the others have built since."""
    network = make_network()
    world = World(network.genesis, network.keys, seed=5, sealing="drawn")
    world.run_for(3_000)
    world.partition({"n3"}, {"n0", "n1", "n2"})
    base = world.node("n3").chain.head.height
    world.run_until(lambda: world.node("n0").chain.head.height > base + 2, limit_ms=60_000)
    return world


def fresh_blocks(world):
    """The blocks that the cut-off peer lacks, lowest first."""
    chain, here = world.node("n0").chain, world.node("n3").chain
    blocks = [node.block for node in chain.ancestors(chain.head) if here.get_header(node.hash) is None]
    return blocks[::-1]


def judge(world, block, *, is_due=True):
    return world.node("n3")._importer.judge(block, b"peer", world.now_ms, is_due=is_due)


def test_a_block_on_a_known_one_is_placed_and_the_head_stays(world):
    first, head = fresh_blocks(world)[0], world.node("n3").chain.head
    match judge(world, first):
        case Placed(block=placed):
            assert placed.hash == first.hash
        case other:
            pytest.fail(f"{other}")
    assert world.node("n3").chain.head is head
    assert judge(world, first) == Known()


def test_a_block_whose_parent_is_not_here_leaves_nothing_behind(world):
    second = fresh_blocks(world)[1]
    assert judge(world, second) == MissingParent()
    assert not world.node("n3")._importer.is_known(second.hash)


def test_a_block_that_breaks_a_rule_is_known_from_then_on(world):
    first = fresh_blocks(world)[0]
    wrong = Block(header=replace(first.header, n_diff=first.header.n_diff + 1), transactions=first.transactions)
    match judge(world, wrong):
        case Invalid(error=error):
            assert error.code == "WrongDifficulty"
        case other:
            pytest.fail(f"{other}")
    assert world.node("n3")._importer.is_bad(wrong.hash)
    assert judge(world, wrong) == Known()


def test_a_block_dated_ahead_waits_for_its_time_unless_a_quorum_has_said_that_it_is_due(world):
    first, node = fresh_blocks(world)[0], world.node("n3")
    early_ms = first.header.timestamp_ms - 500
    waiting = node._importer.judge(first, b"peer", early_ms, is_due=False)
    assert isinstance(waiting, Deferred)
    assert waiting.timer.at_ms == first.header.timestamp_ms
    assert node._importer.take_due(early_ms) == (None, [waiting.timer])
    assert node._importer.take_due(first.header.timestamp_ms) == ((first, b"peer"), [])
    assert isinstance(node._importer.judge(first, b"peer", early_ms, is_due=True), Placed)


def test_of_blocks_that_have_waited_each_has_a_step_of_its_own(world):
    first, node = fresh_blocks(world)[0], world.node("n3")
    producer = next(key for key in world.peers.values() if key.key.public_key == first.header.producer).key
    later = replace(first, header=replace(first.header, timestamp_ms=first.header.timestamp_ms + 1).sealed(1, producer))
    for block in (later, first):
        assert isinstance(node._importer.judge(block, b"peer", first.header.timestamp_ms - 500, is_due=False), Deferred)
    due_ms = later.header.timestamp_ms
    taken, timers = [], [None]
    while timers:
        block, timers = node._importer.take_due(due_ms)
        taken.append(block)
    assert {block.hash for block, _ in taken} == {first.hash, later.hash}
    assert len(taken) == 2
