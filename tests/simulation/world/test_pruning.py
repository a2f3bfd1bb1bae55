"""Nodes that prune beside one that keeps all: one chain, one truth, and nobody is blamed for what he no longer has."""

from dataclasses import replace

import pytest

from ledger import rows
from ledger.chain import WINDOW, Chain
from ledger.errors import WrongShape
from ledger.params import ConsensusParams, MarketParams
from ledger.store import MemoryStore
from ledger.transaction import make_transaction
from node.chain import messages as wire
from node.chain.catching_up import BODIES_MISSING
from node.chain.events import MessageReceived, PeerConnected, PeerLost, PenalisePeer, Persist, Send
from node.chain.messages import message_from_bytes, message_to_bytes
from node.chain.pruning import STEP_ROWS, Keep, compute_least_periods
from node.errors import BlockPruned, TransactionNotKept
from node.proofs.documents import describe_proof, prove_account, prove_transaction, verify_document
from node.queries.chain import ChainQueries
from simulation.world.invariants import Invariants
from simulation.world.networks import key_of, make_network
from simulation.world.world import World
from tests.support.far_behind import PEER, Behind, FarAhead

PBFT = ConsensusParams(engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000)
SHORT = MarketParams(open_ppm=1_500_000, gate_ppm=1_000_000, settle_ppm=1_500_000)
ONE_PERIOD = Keep("periods", 1)
PRUNERS = ("n1", "n2", "n3")
DEEP = WINDOW + 60


def make_world(consensus=None, *, pruners=PRUNERS, keep=ONE_PERIOD, seed=1, sealing="drawn"):
    network = make_network(consensus=consensus, period_ms=20_000, market=SHORT)
    keeps = dict.fromkeys(pruners, keep)
    return World(network.genesis, network.keys, seed=seed, sealing=sealing, keep=keeps)


def submit_some(world, count):
    """Transfers by n0's member, one every few seconds."""
    key, sent = key_of("n0"), []
    for number in range(count):
        payload = (key_of("n1").address, number + 1)
        transfer = make_transaction(
            key, chain_id=world.chain_id, sequence=number, expiry_height=9_000, kind="transfer", payload=payload
        )
        sent.append(transfer)
        world.submit("n0", transfer)
        world.run_for(4_000)
    return sent


def run_to(world, height, name="n0"):
    world.run_until(lambda: world.node(name).chain.head.height >= height, limit_ms=100_000_000)


def settle(world):
    """Let all peers come to one head and to the end of a pruning."""
    world.run_until(
        lambda: len({peer.node.chain.final_hash for peer in world.peers.values()}) == 1, limit_ms=10_000_000
    )


def list_scored(world):
    """Faults of the peers that cost them points."""
    return [fault for peer in world.peers.values() for fault in peer.faults if fault[1].penalty]


@pytest.mark.parametrize("consensus", [None, PBFT], ids=["poca", "pbft"])
def test_what_is_kept_and_what_was_pruned_make_up_all_that_an_archive_has(consensus):
    world = make_world(consensus, sealing="real")  # for proofs, seals must be
    Invariants([world], command="again", deep_every_ms=0)
    sent = submit_some(world, 30)
    run_to(world, DEEP)
    archive, pruned = world.node("n0").chain, world.node("n1").chain
    settle(world)
    horizon, top = pruned.bodies_from, pruned.final_height
    assert 1 < horizon <= pruned.head.height - WINDOW
    assert archive.bodies_from == 1
    mine, theirs = dict(world.peers["n1"].store.scan(b"")), dict(world.peers["n0"].store.scan(b""))
    for height in range(1, top + 1):
        block_hash = archive.hash_at(height)
        keys = [rows.block_key(height), rows.receipts_key(height)]
        keys += [rows.TRANSACTION + one.id for one in archive.get_block(block_hash).transactions]
        assert (
            {mine.get(key) for key in keys} == {None}
            if height < horizon
            else all(mine[key] == theirs[key] for key in keys)
        )
        assert pruned.get_header(block_hash) == archive.get_header(block_hash)
        assert pruned.get_raw_headers(range(height, height + 1)) == archive.get_raw_headers(range(height, height + 1))
        assert rows.undo_key(height) not in mine
        assert rows.undo_key(height) not in theirs
    assert {key for key in theirs if key[:1] == b"c"} == {key for key in mine if key[:1] == b"c"}, "certificates stay"
    check_answers(world, sent)


def check_answers(world, sent):
    """Proofs of all that is kept hold, and what is gone is named."""
    pruned, archive = world.node("n1"), world.node("n0")
    queries = ChainQueries(pruned)
    bodies_from = pruned.chain.bodies_from
    kept = gone = 0
    for transfer in sent:
        place = archive.chain.find_transaction(transfer.id)
        assert verify_document(describe_proof(prove_transaction(archive, transfer.id), archive), world.genesis)
        if archive.chain.get_header(place[0]).height >= bodies_from:
            kept += 1
            assert queries.get_transaction(transfer.id.hex()).final
            assert verify_document(describe_proof(prove_transaction(pruned, transfer.id), pruned), world.genesis)
            continue
        gone += 1
        said = (
            f"transaction {transfer.id.hex()} is in no block from {bodies_from} on; what is older has been pruned here"
        )
        for ask in (
            lambda one=transfer: queries.get_transaction(one.id.hex()),
            lambda one=transfer: prove_transaction(pruned, one.id),
        ):
            with pytest.raises(TransactionNotKept) as caught:
                ask()
            assert str(caught.value) == said
    assert gone
    assert verify_document(
        describe_proof(prove_account(pruned, key_of("n1").address, at_final=True), pruned), world.genesis
    )
    with pytest.raises(BlockPruned) as refused:
        queries.get_block("1")
    assert str(refused.value) == f"block 1 has been pruned here: bodies are kept from block {bodies_from} on"
    with pytest.raises(BlockPruned):
        queries.get_block(archive.chain.hash_at(bodies_from - 1).hex())
    assert queries.get_block("0").height == 0
    assert queries.get_block(str(bodies_from)).height == bodies_from
    assert queries.get_summary(1).tx_count is None
    assert queries.get_summary(bodies_from).tx_count is not None


@pytest.mark.parametrize("consensus", [None, PBFT], ids=["poca", "pbft"])
def test_a_new_node_takes_bodies_from_whoever_has_them_and_blames_nobody(consensus):
    world = make_world(consensus, pruners=("n1", "n2"))
    world.run_for(4_000)
    world.crash("n3")
    run_to(world, DEEP)
    assert min(world.node(name).chain.bodies_from for name in ("n1", "n2")) > 1
    archive, asked = world.node("n0").chain, []

    def look(_now_ms, name, _event, actions):
        for action in actions if name == "n3" else ():
            if isinstance(action, Send) and isinstance(action.message, wire.GetBlocks):
                lowest = min(archive.get_header(identity).height for identity in action.message.ids)
                asked.append((action.peer, lowest))
                assert lowest >= world.node("n3").peers[action.peer].bodies_from

    world.watch(look)
    for peer in world.peers.values():
        peer.faults.clear()
    world.start("n3")
    run_to(world, DEEP, "n3")
    first = min(world.node(name).chain.bodies_from for name in ("n1", "n2"))
    assert {peer for peer, lowest in asked if lowest < first} == {key_of("n0").public_key}
    assert len({peer for peer, _ in asked}) == 3, "of what all have, each gives its share"
    assert list_scored(world) == []
    assert world.node("n3").chain.hash_at(DEEP - 40) == archive.hash_at(DEEP - 40)


def test_without_an_archive_a_new_node_says_what_is_missing_and_goes_on_when_one_is_back():
    world = make_world(pruners=("n1", "n2"))
    world.run_for(4_000)
    world.crash("n3")
    run_to(world, DEEP)
    lowest = min(world.node(name).chain.bodies_from for name in ("n1", "n2"))
    assert lowest > 1
    world.crash("n0")
    peer = world.peers["n3"]
    peer.published.clear()
    world.start("n3")
    world.run_for(60_000)
    height = world.node("n3").chain.head.height
    assert height < lowest - 1
    said = [event for event in peer.published if event[0] == BODIES_MISSING]
    assert said[0] == (BODIES_MISSING, height + 1, lowest)
    assert len(said) == 1, "not again and again"
    assert list_scored(world) == []
    world.start("n0")
    run_to(world, DEEP, "n3")


def test_a_peer_that_asks_for_what_is_pruned_is_told_from_where_it_may_ask():
    world = make_world()
    run_to(world, DEEP)
    settle(world)
    node, asker = world.node("n1"), key_of("n2").public_key
    bodies_from = node.chain.bodies_from
    ids = (node.chain.hash_at(1), node.chain.hash_at(bodies_from), bytes(32))
    given = node.step(MessageReceived(peer=asker, message=wire.GetBlocks(ids=ids)), world.now_ms)
    blocks, status, refusal = given
    assert blocks == Send(peer=asker, message=wire.Blocks(raw=(node.chain.get_block(ids[1]).raw,)))
    assert status.message.bodies_from == bodies_from
    assert isinstance(refusal, PenalisePeer)
    assert (refusal.error.code, refusal.error.penalty) == ("BlockPruned", 0)
    assert message_from_bytes(message_to_bytes(status.message)) == status.message


def test_a_peer_may_come_to_hold_more_than_it_did():
    world = make_world(pruners=())
    world.run_for(30_000)
    node, peer = world.node("n0"), key_of("n1").public_key
    for bodies_from in (3, 2, 4):
        status = replace(node.peers[peer], final_height=9, bodies_from=bodies_from)
        node.step(MessageReceived(peer=peer, message=status), world.now_ms)
        assert node.peers[peer].bodies_from == bodies_from


def test_one_that_has_dropped_what_its_skeleton_needs_does_not_get_it_back():
    behind = Behind(FarAhead((4, 4)))
    node, status = behind.node, behind.ahead.greet()
    (headers,) = [ask for ask in behind.hear(status) if isinstance(ask, wire.GetHeaders)]
    behind.hear(*behind.ahead.answer(headers))
    assert node.sync_target > 0
    for bodies_from, known in ((2, 2), (1, 2), (3, 3)):
        behind.hear(replace(status, bodies_from=bodies_from))
        assert (node.peers[PEER].bodies_from, node.sync_target) == (known, 0), "nor is it followed again"
    behind.step(PeerLost(peer=PEER))
    behind.step(PeerConnected(peer=PEER))
    behind.hear(status)
    assert node.peers[PEER].bodies_from == 1, "once it meets anew, it is believed"


def test_pruning_goes_on_after_a_crash_at_any_write(monkeypatch):
    """Every batch of a pruning leaves a store that opens, with all of a body or nothing of it."""
    monkeypatch.setattr("node.chain.pruning.STEP_ROWS", 3)
    world = make_world(pruners=("n1",))
    stores, archive = [], world.node("n0")

    def look(_now_ms, name, _event, actions):
        if name == "n1" and any(
            isinstance(one, Persist) and any(key == rows.KEPT for key, _ in one.changes) for one in actions
        ):
            stores.append(dict(world.peers["n1"].store.scan(b"")))

    world.watch(look)
    submit_some(world, 10)
    run_to(world, DEEP - 20)
    world.crash("n1")
    world.run_for(5_000)
    world.start("n1")
    run_to(world, DEEP)
    settle(world)
    horizons = set()
    for content in stores[-80:]:
        store = MemoryStore()
        store.write(list(content.items()))
        chain = Chain(world.genesis, store)
        horizons.add(chain.bodies_from)
        for height in range(1, chain.final_height + 1):
            block = archive.chain.get_block(archive.chain.hash_at(height))
            has = [store.get(rows.block_key(height)), store.get(rows.receipts_key(height))]
            has += [store.get(rows.TRANSACTION + one.id) for one in block.transactions]
            assert all(has) if height >= chain.bodies_from else not any(has)
    assert len(horizons) > 5


def test_the_horizon_stays_below_what_the_network_needs():
    world = make_world(pruners=("n1", "n2"))
    least = compute_least_periods(world.genesis.params)
    assert least == 4
    for _ in range(12):
        world.run_for(20_000)
        for name in ("n1", "n2"):
            chain = world.node(name).chain
            if chain.bodies_from == 1:
                continue
            final = chain.get_header(chain.final_hash)
            first_kept = chain.get_header(chain.hash_at(chain.bodies_from))
            last_gone = chain.get_header(chain.hash_at(chain.bodies_from - 1))
            assert last_gone.period <= final.period - least
            assert chain.bodies_from <= min(chain.final_height, chain.head.height - WINDOW)
            assert first_kept.period >= last_gone.period
    assert STEP_ROWS == 512


@pytest.mark.parametrize("bodies_from", [0, 11])  # 10 says one that was taken up from its final block
def test_nobody_has_pruned_what_is_not_final(bodies_from):
    status = wire.Status(head=bytes(32), height=20, work=bytes(40), final_height=9, bodies_from=bodies_from)
    with pytest.raises(WrongShape):
        message_from_bytes(message_to_bytes(status))
