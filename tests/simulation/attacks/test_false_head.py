"""A peer's mere claims change nothing a member does: liars of each sort among honest nodes, both engines."""

from dataclasses import replace

import pytest

from consensus.contracts import EQUIVOCATION
from ledger.block import Block, compute_tx_root
from ledger.codec import encode
from ledger.params import ConsensusParams
from node.chain import messages as wire
from node.chain.events import Broadcast, MessageReceived, PeerConnected, PenalisePeer, Send
from node.chain.sync import FAR_BEHIND
from node.queries.chain import ChainQueries
from simulation.attacks.policy import Policy
from simulation.scenarios.false_head import FalseHeadWorld, run
from simulation.world.links import Constant, Links
from simulation.world.networks import make_consensus, make_network
from simulation.world.world import World

KINDS = ("headers", "silence", "parents", "certificates", "dated-ahead", "proposals")
LIAR = "n3"
SLOW_SEED = 6  # of a world in which honest nodes called one another liars


@pytest.fixture(scope="module")
def honest():
    """The same network's outcome without a liar, by engine."""
    return {engine: run(FalseHeadWorld(kind="none", engine=engine, blocks=14), 1).row for engine in ("poca", "pbft")}


@pytest.mark.parametrize("engine", ["poca", "pbft"])
@pytest.mark.parametrize("kind", KINDS)
def test_honest_members_commit_as_ever(kind, engine, honest):
    row = run(FalseHeadWorld(kind=kind, engine=engine, blocks=14, count=12), 1).row
    for column in ("committed", "blocks", "final_height"):
        assert row[column] >= 0.8 * honest[engine][column], column
    assert row["syncing"] == 0, "nobody stops sealing and voting"
    assert row["honest_points"] == 0
    assert row["sent"] > 0


@pytest.mark.parametrize("engine", ["poca", "pbft"])
def test_made_up_headers_cost_a_ban(engine):
    row = run(FalseHeadWorld(kind="headers", engine=engine, blocks=10, count=12), 2).row
    assert row["liar_points"] >= 100


# --- one node, and what a member can make it hold --------------------------------------------------


@pytest.fixture(scope="module")
def network():
    return make_network()


def open_world(network, **options):
    world = World(network.genesis, network.keys, seed=5, **options)
    world.run_for(5_000)
    return world


def claim(world, network, name="n0", on=None, **changes):
    """A header on a node's head, or another block, that claims what it may, by a member that did no work for it."""
    node, key = world.node(name), network.keys[LIAR]
    head = on or node.chain.head
    proposal = node.engine.propose(key.public_key, head, node.chain, world.now_ms)
    fields = {
        "height": head.height + 1,
        "parent": head.hash,
        "producer": key.public_key,
        "timestamp_ms": proposal.timestamp_ms,
        "credit_upt": proposal.credit_upt,
        "n_diff": proposal.n_diff,
        "period": proposal.period,
        "tx_root": compute_tx_root(()),
        **changes,
    }
    return lambda nonce: replace(head.header, **fields).sealed(nonce, key)


def show(world, network, header, *, to="n0", ids=(bytes(32),)):
    message = wire.NewBlock(header=encode(header.to_value()), ids=ids)
    event = MessageReceived(peer=network.keys[LIAR].public_key, message=message)
    return world.node(to).step(event, world.now_ms)


def test_blocks_that_nobody_sealed_take_no_place_among_those_that_wait_for_the_clock(network):
    world = open_world(network)
    node = world.node("n0")
    ahead = claim(world, network, timestamp_ms=world.now_ms + 1_000)
    for nonce in range(100):
        show(world, network, ahead(nonce), ids=())
    assert node.get_usage()["deferred blocks"][0] == 0
    assert node.get_usage()["wanted blocks"][0] == 0


def test_nor_do_they_where_a_body_was_asked_for(network):
    world = open_world(network)
    node, liar = world.node("n0"), network.keys[LIAR].public_key
    block = Block(header=claim(world, network, timestamp_ms=world.now_ms + 1_000)(1), transactions=())
    node._gossip.want_block(liar, block.hash)
    actions = node.step(MessageReceived(peer=liar, message=wire.Blocks(raw=(block.raw,))), world.now_ms)
    assert [one.error.code for one in actions if isinstance(one, PenalisePeer)] == ["TargetMissed"]
    assert node.get_usage()["deferred blocks"][0] == 0


def test_one_producer_has_few_of_those_places(network):
    """With seals drawn, every nonce is one: the most that a member with all the hash power could do."""
    world = open_world(network, sealing="drawn")
    node = world.node("n0")
    ahead = claim(world, network, timestamp_ms=world.now_ms + 1_000)
    for nonce in range(20):
        show(world, network, ahead(nonce), ids=())
    held, limit = node.get_usage()["deferred blocks"]
    assert held == 4 < limit


def test_headers_on_parents_that_nobody_has_do_not_hide_an_equivocation(network):
    world = open_world(network, sealing="drawn")
    first, second = claim(world, network)(1), claim(world, network)(2)
    assert not evidence_in(show(world, network, first))
    for number in range(4_200):
        show(world, network, replace(first, parent=number.to_bytes(32, "big")))
    assert evidence_in(show(world, network, second))


def evidence_in(actions):
    sent = [action.message for action in actions if isinstance(action, Broadcast)]
    return [one for one in sent if isinstance(one, wire.Evidence) and one.kind == EQUIVOCATION]


PBFT = ConsensusParams(engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000)


def test_proposals_are_neither_fetched_nor_executed_because_they_were_shown():
    network = make_network(consensus=PBFT)
    world = open_world(network)
    node = world.node("n0")
    held = node.chain.held_count
    actions = [action for nonce in range(256) for action in show(world, network, claim(world, network)(nonce))]
    assert actions == []
    loads = node.get_usage()
    assert loads["announced proposals"][0] <= 2
    assert loads["undecided proposals"][0] <= 1
    assert loads["wanted blocks"][0] == 0
    assert node.chain.held_count == held


def test_under_pbft_no_headers_are_followed_that_no_certificate_proves():
    network = make_network(consensus=PBFT)
    world = open_world(network)
    node, liar = world.node("n0"), network.keys[LIAR].public_key
    header = claim(world, network)(1)
    node.step(PeerConnected(peer=liar), world.now_ms)
    assert node._gossip.ask_headers(liar, world.now_ms)
    event = MessageReceived(peer=liar, message=wire.Headers(raw=(encode(header.to_value()),)))
    (action,) = node.step(event, world.now_ms)
    assert action.error.code == "UnprovenHeaders"
    assert node._gossip.sync.skeleton is None


def test_whoever_has_shown_less_than_it_claimed_is_not_asked_again_for_the_same_claim(network):
    world = open_world(network)
    node, liar = world.node("n0"), network.keys[LIAR].public_key
    claimed = wire.Status(head=bytes(32), height=10_000, work=(2**200).to_bytes(40, "big"), final_height=0)
    asked = node.step(MessageReceived(peer=liar, message=claimed), world.now_ms)
    assert [type(one.message) for one in asked if isinstance(one, Send)] == [wire.GetHeaders]
    known = wire.Headers(raw=(node.chain.head.header.raw,))
    actions = node.step(MessageReceived(peer=liar, message=known), world.now_ms)
    assert [one.error.code for one in actions if isinstance(one, PenalisePeer)] == ["FalseHead"]
    assert node._gossip.ask_one_ahead(world.now_ms) == []


def test_whoever_may_have_left_its_head_for_what_is_final_by_now_is_no_liar(network):
    world = open_world(network)
    node, peer = world.node("n0"), network.keys[LIAR].public_key
    before = node.chain.final_height
    said = wire.Status(head=bytes(32), height=10_000, work=(2**200).to_bytes(40, "big"), final_height=before)
    assert node.step(MessageReceived(peer=peer, message=said), world.now_ms), "it is asked"
    world.run_until(lambda: node.chain.final_height > before, limit_ms=60_000)
    known = wire.Headers(raw=(node.chain.head.header.raw,))
    assert node.step(MessageReceived(peer=peer, message=known), world.now_ms) == []
    assert node.peers[peer] is None, "it is not believed either"


def test_whoever_does_not_know_yet_what_is_final_is_shown_it_and_not_asked_for_its_head(network):
    world = open_world(network)
    node, peer = world.node("n0"), network.keys[LIAR].public_key
    world.run_until(lambda: node.chain.final_height > 0, limit_ms=60_000)
    said = wire.Status(head=bytes(32), height=10_000, work=(2**200).to_bytes(40, "big"), final_height=0)
    actions = node.step(MessageReceived(peer=peer, message=said), world.now_ms)
    assert [type(one.message) for one in actions] == [wire.Certificate]


def test_honest_nodes_that_leave_their_heads_for_a_certified_branch_call_nobody_a_liar():
    """A network too slow for its blocks: each node seals on a branch of its own, often up to a checkpoint."""
    consensus = make_consensus(4_000, 50_000_000)  # as for members of less credit than they have
    hasty = consensus.model_copy(update={"checkpoint_depth": 1})
    network = make_network(period_ms=8_000, consensus=hasty)
    links = Links(latency=Constant(300))  # one after the other, as a connection keeps them
    world = World(network.genesis, network.keys, seed=SLOW_SEED, sealing="drawn", links=links)
    world.run_for(60_000)
    faults = {error.code for peer in world.peers.values() for _, error in peer.faults}
    assert faults <= {"LeavesCheckpoint"}, "which costs nothing"
    assert all(world.node(name).chain.counters.reorgs > 10 for name in world.peers)
    assert all(world.node(name).chain.final_height > 20 for name in world.peers)


def test_nor_whoever_has_shown_headers_that_hold_and_lead_to_less(network):
    world = open_world(network, sealing="drawn")
    node, liar = world.node("n0"), network.keys[LIAR].public_key
    below = node.chain.ancestor_at(node.chain.head, node.chain.head.height - 2)
    claimed = wire.Status(head=bytes(32), height=10_000, work=(2**200).to_bytes(40, "big"), final_height=0)
    node.step(MessageReceived(peer=liar, message=claimed), world.now_ms)
    lighter = wire.Headers(raw=(claim(world, network, on=below)(1).raw,))
    actions = node.step(MessageReceived(peer=liar, message=lighter), world.now_ms)
    assert [one.error.code for one in actions if isinstance(one, PenalisePeer)] == ["FalseHead"]
    assert node._gossip.ask_one_ahead(world.now_ms) == []


# --- catching up, told as it is --------------------------------------------------------------------


@pytest.mark.parametrize("consensus", [PBFT, None], ids=["pbft", "poca"])
def test_a_node_that_catches_up_says_how_far_it_is_and_counts_no_forks(consensus):
    network = make_network(consensus=consensus)
    world = World(network.genesis, network.keys, seed=8)
    world.crash(LIAR)
    world.run_until(lambda: world.node("n0").chain.head.height > 150, limit_ms=900_000)
    told, at_once = [], []

    def look(now_ms, peer, event, actions):
        if peer == LIAR:
            status = ChainQueries(world.node(LIAR)).get_status(now_ms)
            told.append((status.height, status.syncing, status.sync_target))
            at_once.append(told[-1][0] - (told[-2][0] if len(told) > 1 else 0))

    world.watch(look)
    world.start(LIAR)
    target = world.node("n0").chain.head.height
    world.run_until(lambda: world.node(LIAR).chain.head.height >= target, limit_ms=60_000)
    world.run_for(5_000)
    assert max(at_once) <= 8, "blocks in one step: others have their turn in between"
    begun = next(index for index, (_, syncing, _) in enumerate(told) if syncing)
    heights = [height for height, _, _ in told[begun:]]
    assert heights == sorted(heights)
    midway = [(syncing, to) for height, syncing, to in told[begun:] if height < target - 2 * FAR_BEHIND]
    assert len(midway) > 10
    assert [one for one in midway if not (one[0] and one[1] >= target)] == []
    status = ChainQueries(world.node(LIAR)).get_status(world.now_ms)
    assert not status.syncing
    own = network.keys[LIAR].public_key
    mine = sum(entry.header.producer == own for entry in world.node(LIAR).chain.ancestors(world.node(LIAR).chain.head))
    assert status.forks.side_blocks <= 2 + mine
    assert status.forks.deepest_reorg <= 2
    assert [error.code for _, error in world.peers[LIAR].faults if error.penalty] == []


@pytest.mark.parametrize("consensus", [PBFT, None], ids=["pbft", "poca"])
def test_a_node_whose_peers_are_gone_while_it_catches_up_does_not_say_that_it_has(consensus):
    """It may seal again, for what does not come must keep nobody from it."""
    network = make_network(consensus=consensus, period_ms=600_000)
    world = World(network.genesis, network.keys, seed=8)
    world.crash(LIAR)
    world.run_until(lambda: world.node("n0").chain.head.height > 150, limit_ms=900_000)
    target = world.node("n0").chain.head.height
    world.start(LIAR)
    node = world.node(LIAR)
    world.run_until(lambda: 30 < node.chain.head.height < target - 30, limit_ms=60_000)
    world.partition({LIAR}, {"n0", "n1", "n2"})
    world.run_until(lambda: not node.is_syncing, limit_ms=10_000)
    status = ChainQueries(node).get_status(world.now_ms)
    assert status.syncing
    assert status.height < target - 2 * FAR_BEHIND < status.sync_target


class Withholder(Policy):
    """Seals real blocks, shows them and their headers, and gives nobody a body."""

    def step(self, event, now_ms):
        return [
            action
            for action in self.node.step(event, now_ms)
            if not (isinstance(action, Send) and isinstance(action.message, wire.Blocks))
            and not (isinstance(action, Broadcast) and isinstance(action.message, wire.NewBlock))
        ]


def test_headers_whose_bodies_never_come_cost_a_ban_and_stop_nobody(network):
    rates = {LIAR: 3_000, **dict.fromkeys(("n0", "n1", "n2"), 1_000)}
    world = World(network.genesis, network.keys, seed=8, policies={LIAR: Withholder}, hash_rate=rates)
    honest = ("n0", "n1", "n2")
    world.run_until(
        lambda: all("BlocksWithheld" in {error.code for _, error in world.peers[name].faults} for name in honest),
        limit_ms=600_000,
    )
    faults = [(culprit, error.code) for name in honest for culprit, error in world.peers[name].faults]
    assert {culprit for culprit, _ in faults} == {LIAR}
    before = world.node("n0").chain.head.height
    world.run_for(30_000)
    assert world.node("n0").chain.head.height > before
    assert not any(world.node(name).is_syncing for name in honest)


class Miser(Policy):
    """Behaves, but gives nobody a body that is asked for."""

    def step(self, event, now_ms):
        actions = self.node.step(event, now_ms)
        return [one for one in actions if not (isinstance(one, Send) and isinstance(one.message, wire.Blocks))]


def catch_up(consensus, policies):
    """Simulated ms that a member takes to have what the others had when it started."""
    network = make_network(consensus=consensus)
    world = World(network.genesis, network.keys, seed=8, policies=policies)
    world.crash(LIAR)
    world.run_until(lambda: world.node("n0").chain.head.height > 400, limit_ms=2_400_000)
    world.start(LIAR)
    begin, target = world.now_ms, world.node("n0").chain.head.height
    world.run_until(lambda: world.node(LIAR).chain.head.height >= target, limit_ms=60_000)
    return world.now_ms - begin


@pytest.mark.parametrize("consensus", [PBFT, None], ids=["pbft", "poca"])
def test_one_that_withholds_bodies_holds_up_who_catches_up_once(consensus):
    """Not once per window: it is found out at the first timeout, and what is wanted waits for those who answer."""
    alone, beside = catch_up(consensus, {}), catch_up(consensus, {"n1": Miser})
    assert beside <= alone + 2 * 2_000
