"""All that a node acknowledged is executed or told of, over restarts and reorgs, and what it remembers is bounded."""

from collections import Counter

import pytest

from ledger import journal
from ledger.accounts import get_account
from ledger.overlay import Overlay
from ledger.transaction import make_transaction
from node.chain import acknowledgements
from node.chain.acknowledgements import EXECUTABLE_AGAIN, NOT_EXECUTED
from simulation.world.networks import make_network
from simulation.world.world import World


@pytest.fixture
def network():
    return make_network(period_ms=20_000)


def pay(world, key, amount, sequence, *, expiry=5_000, kind="transfer", to="n3"):
    payload = (world.peers[to].key.address, amount) if kind == "transfer" else ()
    return make_transaction(
        key, chain_id=world.genesis.chain_id, sequence=sequence, expiry_height=expiry, kind=kind, payload=payload
    )


def send(world, peer, key, amount):
    """A transaction numbered by the node, as its API tells; None where the node refuses it."""
    sender = key.address
    node = world.node(peer)
    spent = get_account(Overlay(node.chain.head.state), sender).sequence
    transaction = pay(world, key, amount, node.mempool.next_sequence(sender, spent))
    return transaction if world.submit(peer, transaction) == (None,) else None


def told(world, peer, name=NOT_EXECUTED):
    return [event for event in world.peers[peer].published if event[0] == name]


def ending(world, peer, transaction):
    return world.node(peer).acknowledgements.get_ending(transaction.id)


def is_executed(world, peer, transaction):
    return world.node(peer).chain.find_transaction(transaction.id) is not None


def settle(world):
    world.run_until(
        lambda: len(world.heads()) == 1 and not any(len(world.node(name).mempool) for name in world.peers),
        limit_ms=600_000,
    )


# --- superseded ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_of_what_two_nodes_number_under_one_key_each_is_executed_or_told_of(network, seed):
    world = World(network.genesis, network.keys, seed=seed, latency_ms=(200, 900))
    key, sent = network.keys["n0"], {"n1": [], "n2": []}
    for amount in range(1, 200):
        for peer in sent:
            if (transaction := send(world, peer, key, 2 * amount + (peer == "n2"))) is not None:
                sent[peer].append(transaction)
        world.run_for(300)
    settle(world)
    lost = 0
    for peer, transactions in sent.items():
        assert len(transactions) > 50
        ended = [one for one in transactions if not is_executed(world, peer, one)]
        for transaction in ended:
            found = ending(world, peer, transaction)
            assert found.code == "Superseded"
            block, index = world.node(peer).chain.find_transaction(found.by)
            rival = world.node(peer).chain.get_block(block).transactions[index]
            assert (rival.sender, rival.sequence) == (transaction.sender, transaction.sequence)
        balance = Counter(event[1] for event in told(world, peer))
        balance.subtract(event[1] for event in told(world, peer, EXECUTABLE_AGAIN))
        assert +balance == Counter(one.id for one in ended), "each once, and nothing else"
        assert world.node(peer).acknowledgements.told == len(told(world, peer))
        lost += len(ended)
    assert lost, "nothing conflicted: this run has shown nothing"
    assert not told(world, "n3"), "what others acknowledged is theirs to tell"


def superseded(network):
    """n1 has acknowledged a payment that n2's superseded while they were apart."""
    world = World(network.genesis, network.keys, seed=3, hash_rate={"n0": 1_000, "n2": 1_000, "n3": 1_000})
    world.run_for(3_000)
    world.partition({"n1"}, {"n0", "n2", "n3"})
    mine, theirs = pay(world, network.keys["n0"], 5, 0), pay(world, network.keys["n0"], 6, 0)
    assert world.submit("n1", mine) == world.submit("n2", theirs) == (None,)
    world.run_until(lambda: is_executed(world, "n0", theirs), limit_ms=60_000)
    world.heal()
    world.run_until(lambda: ending(world, "n1", mine) is not None, limit_ms=60_000)
    return world, mine, theirs


def test_an_ending_outlives_a_restart_and_is_told_once(network):
    world, mine, theirs = superseded(network)
    assert ending(world, "n1", mine).by == theirs.id
    for _ in range(2):
        world.crash("n1")
        world.start("n1")
        world.run_for(2_000)
        assert ending(world, "n1", mine).by == theirs.id
    assert len(told(world, "n1")) == 1
    world.run_until(lambda: not list(world.peers["n1"].store.scan(b"m")), limit_ms=200_000)
    world.crash("n1")
    world.start("n1")
    world.run_for(1)
    assert ending(world, "n1", mine).by == theirs.id, "why it ended is known when its bytes are not kept any more"


def start_alone(world, *names):
    """Peers that will be cut off before they have heard from others, and seal all the same."""
    for name in names:
        world.crash(name)
        world.start(name, is_sure=True)


def supersede_by_reorg(network, seed):
    """A world, and two transactions of one number: n1 has followed `mine` and then `theirs`; None where it has not."""
    world = World(network.genesis, network.keys, seed=seed, hash_rate={"n0": 3_000, "n1": 10, "n2": 500, "n3": 0})
    start_alone(world, "n0", "n1", "n2")
    world.crash("n3")  # without it there is no quorum, and nothing final
    world.partition({"n0", "n1"}, {"n2"})
    mine, theirs = pay(world, network.keys["n0"], 5, 0), pay(world, network.keys["n0"], 6, 0)
    assert world.submit("n1", mine) == world.submit("n2", theirs) == (None,)
    world.run_until(lambda: is_executed(world, "n0", mine) and is_executed(world, "n1", mine), limit_ms=60_000)
    world.pause("n0")
    world.cut("n0", "n1")
    world.run_until(lambda: world.node("n2").chain.head.work > world.node("n1").chain.head.work, limit_ms=900_000)
    world.heal()
    world.partition({"n0"}, {"n1", "n2"})
    world.run_until(lambda: is_executed(world, "n1", theirs), limit_ms=60_000)
    return (world, mine, theirs) if ending(world, "n1", mine) is not None else None


def test_a_reorg_that_brings_it_back_undoes_its_ending(network):
    # genesis ─┬─ … mine … ──────────────── … <- head in the end
    #          └─ … theirs … <- n1's head in between
    world, mine, theirs = next(filter(None, (supersede_by_reorg(network, seed) for seed in range(30))))
    assert ending(world, "n1", mine).by == theirs.id
    assert [event[1] for event in told(world, "n1")] == [mine.id]
    world.resume("n0")
    world.run_until(
        lambda: world.node("n0").chain.head.work > world.node("n2").chain.head.work * 11 // 10, limit_ms=900_000
    )
    world.heal()
    world.run_until(lambda: is_executed(world, "n1", mine), limit_ms=60_000)
    assert ending(world, "n1", mine) is None
    assert [event[1] for event in told(world, "n1", EXECUTABLE_AGAIN)] == [mine.id]
    assert ending(world, "n2", theirs).by == mine.id
    world.crash("n1")
    world.start("n1")
    world.run_for(1)
    assert ending(world, "n1", mine) is None
    assert mine.id in world.node("n1").acknowledgements


def free_by_reorg(network, seed, height):
    """A world in which n1 has followed `theirs`, and n0's branch without it has that height, heavier; else None."""
    world = World(network.genesis, network.keys, seed=seed, hash_rate={"n0": 3_000, "n2": 500})
    start_alone(world, "n0", "n1", "n2")
    world.crash("n3")
    world.partition({"n0"}, {"n1"}, {"n2"})
    mine, theirs = pay(world, network.keys["n0"], 5, 0), pay(world, network.keys["n0"], 6, 0, expiry=3)
    assert world.submit("n1", mine) == world.submit("n2", theirs) == (None,)
    world.run_until(lambda: is_executed(world, "n2", theirs), limit_ms=60_000)
    world.pause("n0")
    world.heal()
    world.partition({"n0"}, {"n1", "n2"})
    world.run_until(lambda: is_executed(world, "n1", theirs), limit_ms=60_000)
    assert ending(world, "n1", mine).by == theirs.id
    if world.node("n0").chain.head.height > height:
        return None
    world.resume("n0")
    world.run_until(lambda: world.node("n0").chain.head.height == height, limit_ms=900_000)
    if world.node("n0").chain.head.work <= world.node("n2").chain.head.work:
        return None
    return world, mine, theirs


@pytest.mark.parametrize("height", [2, 6])  # of the head that the reorg leads to: `theirs` is pending again, or expired
def test_a_reorg_that_leaves_its_place_free_has_it_executed_after_all(network, height):
    # genesis ─┬─ … ─────── … <- head in the end, on which `theirs` has expired
    #          └─ theirs … <- n1's head in between
    world, mine, theirs = next(filter(None, (free_by_reorg(network, seed, height) for seed in range(30))))
    world.heal()
    world.run_until(lambda: is_executed(world, "n0", mine), limit_ms=60_000)
    assert ending(world, "n1", mine) is None
    assert [event[1] for event in told(world, "n1", EXECUTABLE_AGAIN)] == [mine.id]
    assert ending(world, "n2", theirs).code in ("Expired", "Superseded")


# --- other ways to end -----------------------------------------------------------------------------


def test_one_that_expires_while_it_waits_for_an_earlier_sequence(network):
    world = World(network.genesis, network.keys, seed=1)
    waiting = pay(world, network.keys["n1"], 5, 7, expiry=6)
    assert world.submit("n1", waiting) == (None,)
    world.run_until(lambda: world.node("n1").chain.head.height >= 5, limit_ms=60_000)
    assert not told(world, "n1")
    world.run_until(lambda: world.node("n1").chain.head.height >= 6, limit_ms=60_000)
    assert [event[1:] for event in told(world, "n1")] == [(waiting.id, waiting.sender, "Expired", 6, b"")]
    assert ending(world, "n1", waiting).code == "Expired"


def test_one_whose_sender_leaves(network):
    world = World(network.genesis, network.keys, seed=1)
    sender = network.devices["n1"]
    leave, waiting = pay(world, sender, 0, 0, kind="exit"), pay(world, sender, 5, 7)
    assert world.submit("n1", waiting, leave) == (None, None)
    world.run_until(lambda: told(world, "n1"), limit_ms=60_000)
    assert ending(world, "n1", waiting).code == "MemberLeft"
    assert waiting.id not in world.node("n1").mempool
    assert is_executed(world, "n1", leave)
    assert len(told(world, "n1")) == 1


def test_one_that_the_rules_refuse_after_a_restart(network):
    world = World(network.genesis, network.keys, seed=1)
    executed, lost = pay(world, network.keys["n0"], 5, 0), pay(world, network.keys["n0"], 6, 0)
    unknown = pay(world, network.keys["n0"], 7, 9, kind="no-such-kind")
    assert world.submit("n1", executed) == (None,)
    world.run_until(lambda: is_executed(world, "n1", executed), limit_ms=60_000)
    world.crash("n1")
    world.peers["n1"].store.write(journal.rows_to_keep([lost, unknown]))
    world.start("n1")
    world.run_for(1)
    assert ending(world, "n1", lost).by == executed.id
    assert ending(world, "n1", unknown).code == "UnknownKind"
    assert {event[1] for event in told(world, "n1")} == {lost.id, unknown.id}


# --- bounds ----------------------------------------------------------------------------------------


def test_the_oldest_endings_are_forgotten(network, monkeypatch):
    monkeypatch.setattr(acknowledgements, "MAX_ENDINGS", 3)
    world = World(network.genesis, network.keys, seed=1)
    waiting = [pay(world, network.keys["n1"], 5, 1 + index, expiry=4 + index) for index in range(5)]
    assert world.submit("n1", *waiting) == (None,) * 5
    world.run_until(lambda: world.node("n1").chain.head.height >= 9, limit_ms=60_000)
    for _ in range(2):
        assert [ending(world, "n1", one) is None for one in waiting] == [True, True, False, False, False]
        assert len(list(world.peers["n1"].store.scan(b"M"))) == 3
        assert len(list(world.peers["n1"].store.scan(b"m"))) == 3
        world.crash("n1")
        world.start("n1")
        world.run_for(1)
    assert [event[1] for event in told(world, "n1")] == [one.id for one in waiting]
    loads = world.node("n1").get_usage()
    assert loads["endings of acknowledged transactions"][0] == 3


def test_what_is_buried_is_forgotten(network):
    world = World(network.genesis, network.keys, seed=1)
    transaction = pay(world, network.keys["n0"], 5, 0)
    assert world.submit("n1", transaction) == (None,)
    world.run_until(lambda: is_executed(world, "n1", transaction), limit_ms=60_000)
    assert transaction.id in world.node("n1").acknowledgements
    world.run_until(lambda: transaction.id not in world.node("n1").acknowledgements, limit_ms=120_000)
    assert not list(world.peers["n1"].store.scan(b"m"))
    assert not told(world, "n1")
