"""Whole nodes under PBFT in virtual time: every block final at once, through crashes, partitions and liars."""

from dataclasses import replace
from itertools import count, pairwise

import pytest

from consensus.contracts import DOUBLE_BALLOT, EQUIVOCATION, process_equivocation
from consensus.errors import NotAnEquivocation, UnknownMessage
from consensus.evidence import Equivocation
from consensus.pbft.messages import decode_message, encode_message, sign_prepare
from consensus.pbft.validators import build_double_ballot
from consensus.quorum import Statement, Vote, sign_statement, verify_certificate
from consensus.signing_record import SigningRecord
from ledger.accounts import get_account, get_sealers
from ledger.block import Block, compute_tx_root
from ledger.chain import WINDOW
from ledger.codec import encode
from ledger.overlay import Overlay
from ledger.params import ConsensusParams
from ledger.store import MemoryStore
from ledger.transaction import make_transaction
from node.chain import messages as wire
from node.chain.events import Broadcast, PersistSigningRecord
from node.chain.node import ChainNode
from node.errors import RolledBack
from node.proofs.documents import make_document, prove_account, verify_document
from node.proofs.light_client import TrustedState
from node.queries.answers import ChainStatus
from node.queries.chain import ChainQueries
from simulation.world.networks import INITIAL_BALANCE_UYUAN, make_network
from simulation.world.world import World

QUIET = ConsensusParams(
    engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=0, view_timeout_ms=1_000
)
BEATING = QUIET.model_copy(update={"empty_after_ms": 1_000})
NAMES = ("n0", "n1", "n2", "n3")


class Town:
    """A world under PBFT and its grid company, which anybody may ask to pay into."""

    def __init__(self, names=NAMES, consensus=QUIET, **options):
        self.network = make_network(names, consensus=consensus, period_ms=20_000)
        self.world = World(self.network.genesis, self.network.keys, **options)
        self.sequences = {name: count() for name in names}
        self.paid = []  # transactions that a peer has acknowledged
        self.world.run_for(60)  # all are up and connected

    def pay(self, name, amount_uyuan=1, *, to=None, at=None):
        """Submit a transfer by `name`, at its own peer unless another is named."""
        key = self.network.keys[name]
        receiver = self.network.grid.address if to is None else self.network.keys[to].address
        transfer = make_transaction(
            key,
            chain_id=self.world.chain_id,
            sequence=next(self.sequences[name]),
            expiry_height=9_000,
            kind="transfer",
            payload=(receiver, amount_uyuan),
        )
        assert self.world.submit(at or name, transfer) == (None,)
        self.paid.append(transfer)
        return transfer

    def pay_and_wait(self, name, *, limit_ms=20_000):
        transfer = self.pay(name)
        self.world.run_until(lambda: self.has_all(transfer), limit_ms=limit_ms)

    def has_all(self, *transfers):
        """True where every peer that is up has these in final blocks (all acknowledged ones, if none are named)."""
        wanted = transfers or self.paid
        return all(chain.find_transaction(one.id) for chain in self.chains() for one in wanted) and self.agrees()

    def agrees(self):
        return len(self.world.heads()) == 1

    def chains(self):
        return [peer.node.chain for peer in self.world.peers.values() if peer.node is not None]

    def height(self, name="n0"):
        return self.world.node(name).chain.head.height

    def leader(self, height, view=0):
        """The leader there, who proposes."""
        sealers = sorted(key.public_key for key in self.network.keys.values())
        return self.name_of(sealers[(height + view) % len(sealers)])

    def name_of(self, key):
        return next(name for name, one in self.network.keys.items() if one.public_key == key)

    def credit(self, name):
        (state, *_) = [chain.head.state for chain in self.chains()]
        return get_account(Overlay(state), self.network.keys[name].address).credit_upt

    def check(self):
        """One chain, all of it final, and nobody blamed."""
        assert self.agrees()
        for chain in self.chains():
            assert chain.final_height == chain.head.height
            assert chain.counters.reorgs == 0
        assert {name: peer.faults for name, peer in self.world.peers.items() if peer.faults} == {}


def tap(world, watch):
    """Call `watch(peer, action)` before every action; where it answers False the action is lost."""
    perform = world._perform

    def performing(peer, action):
        if watch(peer, action) is not False:
            perform(peer, action)

    world._perform = performing


# --- everyday life -----------------------------------------------------------------------------------


def test_a_transfer_is_final_with_its_block():
    town = Town()
    for name in NAMES * 3:
        town.pay_and_wait(name, limit_ms=1_000)
    assert town.height() == 12
    assert {town.name_of(entry.header.producer) for entry in ancestors(town)} == set(NAMES), "they take turns"
    view = Overlay(town.chains()[0].head.state)
    assert get_account(view, town.network.grid.address).balance_uyuan == 12
    for name in NAMES:
        node = town.world.node(name)
        for height in range(1, 13):
            certificate = node.get_certificate(height)
            assert certificate.statement.block_hash == node.chain.hash_at(height)
            verify_certificate(certificate, get_sealers(view), 3, chain_id=town.world.chain_id)
    town.check()


def ancestors(town):
    chain = town.chains()[0]
    return [entry for entry in chain.ancestors(chain.head) if entry.height]


def test_no_empty_blocks_unless_asked_for():
    town = Town()
    town.world.run_for(120_000)
    assert town.height() == 0
    town.pay_and_wait("n1", limit_ms=1_000)
    town.world.run_for(60_000)
    assert town.height() == 1
    town.check()


def test_empty_blocks_when_asked_for():
    town = Town(consensus=BEATING)
    town.world.run_for(120_000)
    town.world.run_until(town.agrees, limit_ms=1_000)
    assert 60 <= town.height() <= 120
    times = [entry.header.timestamp_ms for entry in ancestors(town)][::-1]
    assert min(later - earlier for earlier, later in pairwise(times)) >= 1_000
    town.check()


@pytest.mark.parametrize("after_ms", [10_000, 120_000])
def test_an_idle_chain_costs_one_empty_block_per_empty_after_whatever_its_pace(after_ms):
    """With the packaged 10 s, 360 an hour: deadlines pass in blocks, and a period is as exact as they are close."""
    town = Town(consensus=QUIET.model_copy(update={"empty_after_ms": after_ms}))
    town.world.run_for(20 * after_ms)
    town.world.run_until(town.agrees, limit_ms=1_000)
    assert 19 <= town.height() <= 20
    blocks = ancestors(town)[::-1]
    assert not any(town.chains()[0].get_block(entry.hash).transactions for entry in blocks)
    gaps = [later.header.timestamp_ms - earlier.header.timestamp_ms for earlier, later in pairwise(blocks)]
    assert all(after_ms <= gap < after_ms + 2_000 for gap in gaps)
    town.check()


def test_many_transfers_share_blocks():
    town = Town()
    for name in NAMES:
        for _ in range(50):
            town.pay(name)
    town.world.run_until(town.has_all, limit_ms=5_000)
    assert town.height() < 20
    town.check()


def test_what_fails_gets_into_a_block_and_holds_nobody_up():
    town = Town()
    town.pay("n0", INITIAL_BALANCE_UYUAN, to="n1")
    town.pay("n0", at="n2")  # which knows nothing of the first yet
    town.world.run_until(town.has_all, limit_ms=2_000)
    height = town.height()
    town.world.run_for(30_000)
    assert town.height() == height
    assert all(town.world.node(name).waiting_for() == () for name in NAMES)
    place = town.chains()[0].find_transaction(town.paid[1].id)
    assert town.chains()[0].get_receipts(place[0])[place[1]].code == "InsufficientBalance"
    town.check()


def test_same_seed_same_trace():
    def trace():
        town = Town(consensus=BEATING, seed=3)
        town.pay("n0")
        town.world.run_for(20_000)
        return town.world.trace_hash()

    assert trace() == trace()


# --- crashes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "f"), [(4, 1), (7, 2)])
def test_f_crashed_are_missed_by_nobody_and_catch_up(n, f):
    names = tuple(f"n{number}" for number in range(n))
    town = Town(names)
    lost = names[-f:]
    town.pay_and_wait("n0")
    for name in lost:
        town.world.crash(name)
    for _ in range(2 * n):
        town.pay_and_wait("n0", limit_ms=20_000)
    for name in lost:
        town.world.start(name)
    town.world.run_until(town.has_all, limit_ms=20_000)
    town.pay_and_wait(lost[0])
    town.check()


def test_one_crashed_more_than_f_stops_and_comes_back():
    town = Town()
    town.pay_and_wait("n0")
    for name in ("n2", "n3"):
        town.world.crash(name)
    transfer = town.pay("n0")
    town.world.run_for(60_000)
    assert town.height() == 1
    assert not town.has_all(transfer)
    waiting = {town.name_of(key) for key in town.world.node("n0").waiting_for()}
    assert {"n2", "n3"} <= waiting
    status = ChainQueries(town.world.node("n0")).get_status(town.world.now_ms)
    assert isinstance(status, ChainStatus)
    assert set(status.waiting_for) == waiting
    town.world.start("n2")
    town.world.run_until(lambda: town.has_all(transfer), limit_ms=30_000)
    town.world.start("n3")
    town.world.run_until(town.has_all, limit_ms=20_000)
    assert town.world.node("n0").waiting_for() == ()
    town.check()


def test_one_that_missed_hundreds_of_blocks_catches_up():
    town = Town(consensus=BEATING)
    town.world.crash("n3")
    town.world.run_for(600_000)
    assert town.height() > 250
    town.world.start("n3")
    town.world.run_until(lambda: town.height("n3") >= town.height() - 1 > 250, limit_ms=30_000)
    certified = len(town.world.peers["n3"].published)
    assert certified > 0
    town.world.crash("n0")  # now n3 must vote, or nothing goes on
    height = town.height("n1")
    town.world.run_until(lambda: town.height("n1") > height + 5, limit_ms=60_000)
    town.world.start("n0")
    town.pay_and_wait("n3")
    town.check()


def test_who_has_the_proposal_that_was_decided_catches_up_block_by_block():
    """No peer sends it again, and all that came after it waits for nothing."""
    town = Town(consensus=BEATING)
    node, seen = town.world.node("n0"), set()

    def has_undecided():
        return any(header.height == node.chain.head.height + 1 for header in node._progress._proposals.values())

    town.world.run_until(has_undecided, limit_ms=60_000)
    town.world.partition(("n0",), NAMES[1:])
    town.world.run_for(200_000)
    assert has_undecided()
    assert town.height("n1") > town.height("n0") + 100
    town.world.watch(lambda now_ms, name, event, actions: seen.add(town.height("n0")))
    town.world.heal()
    town.world.run_until(lambda: town.height("n0") >= town.height("n1") - 1, limit_ms=30_000)
    assert len(seen) > 20
    town.world.run_until(town.agrees, limit_ms=10_000)
    town.check()


def test_a_proposal_on_an_old_block_costs_no_way_back_to_it():
    """Its leader may name any parent: to undo all blocks above it takes as long as the chain is deep."""
    town = Town(consensus=BEATING)
    node, liar = town.world.node("n0"), town.world.peers["n3"].key
    town.world.run_until(lambda: node.chain.head.height > WINDOW + 20, limit_ms=600_000)
    header = replace(
        node.chain.head.header,
        height=node.chain.head.height + 1,
        parent=node.chain.hash_at(0),
        producer=liar.public_key,
        tx_root=compute_tx_root(()),
    ).sealed(0, liar)
    held = node.chain.held_count
    node._progress._fetch(
        header.hash, (liar.public_key,), town.world.now_ms
    )  # as for the pre-prepare of its view's leader
    town.world.inject("n0", liar.public_key, wire.Blocks(raw=(Block(header=header, transactions=()).raw,)))
    assert [error.code for _, error in town.world.peers["n0"].faults] == ["LeavesCheckpoint"]
    assert node.chain.held_count == held


@pytest.mark.parametrize("receivers", [0, 1, 2])
def test_the_leader_crashes_with_a_proposal_half_sent(receivers):
    town = Town()
    leader = town.leader(1)
    others = [name for name in NAMES if name != leader]
    town.world.partition([leader, *others[:receivers]], others[receivers:])
    transfer = town.pay(leader)
    town.world.run_for(100)
    town.world.crash(leader)
    town.world.heal()
    if receivers == 0:
        transfer = town.pay(others[0])  # the leader's own is known to nobody
    town.world.run_until(lambda: town.has_all(transfer), limit_ms=20_000)
    assert town.height(others[0]) == 1
    town.world.start(leader)
    town.world.run_until(town.has_all, limit_ms=30_000)
    town.check()


def crash_with_a_block_prepared(town, transfer):
    """All have prepared a block with a transfer, and nobody has heard a commit to it. Its hash."""
    prepared = set()

    def watch(peer, action):
        if isinstance(action, PersistSigningRecord) and action.record.agreement.prepared is not None:
            prepared.add((peer.name, action.record.agreement.prepared.block_hash))
        message = action.message if isinstance(action, Broadcast) else None
        return not (type(message) is wire.Agreement and type(decode_message(message.raw)) is Vote)

    perform, height = town.world._perform, town.height()
    tap(town.world, watch)  # no commit leaves
    town.world.run_for(500)
    assert {name for name, _ in prepared} == set(NAMES)
    (block_hash,) = {block_hash for _, block_hash in prepared}
    assert town.height() == height
    assert not town.has_all(transfer)
    for name in NAMES:
        town.world.crash(name)
    town.world._perform = perform
    town.world.run_for(5_000)
    return block_hash


def test_all_crash_with_a_block_prepared_and_it_is_the_one_decided():
    town = Town()
    transfer = town.pay("n0")
    block_hash = crash_with_a_block_prepared(town, transfer)
    for name in NAMES:
        town.world.start(name)
    town.world.run_until(lambda: town.has_all(transfer), limit_ms=30_000)
    assert town.chains()[0].hash_at(1) == block_hash
    town.check()


@pytest.mark.parametrize("is_leader", [True, False])
def test_an_old_directory_is_found_out_by_what_peers_have_on_record_though_all_have_ended_since(is_leader):
    """Of what they had heard nothing is left, but for the prepares of the block that they have committed to."""
    town = Town()
    town.pay_and_wait("n0")
    leader = town.leader(2)
    old = leader if is_leader else next(name for name in NAMES if name != leader)
    payer = next(name for name in NAMES if name != old)
    backup = town.world.peers[old].back_up()
    transfer = town.pay(payer)
    block_hash = crash_with_a_block_prepared(town, transfer)
    town.world.peers[old].put_back(backup)
    for name in NAMES:
        town.world.start(name)
    town.world.run_until(lambda: town.has_all(transfer), limit_ms=30_000)
    assert town.chains()[0].hash_at(2) == block_hash
    assert {name: town.world.node(name).signing_state for name in NAMES} == {
        **dict.fromkeys(NAMES, "signs"),
        old: "record-behind",
    }
    while town.world.node(old).signing_state != "signs":
        assert town.height() < town.world.node(old).silent_until
        town.pay_and_wait(payer)
    town.check()


@pytest.mark.parametrize("seed", range(5))
def test_all_crash_again_and_again(seed):
    town = Town(seed=seed)
    for turn in range(8):
        town.pay(NAMES[turn % 4])
        town.world.run_for(40 + 37 * turn + seed)  # somewhere between proposal and commit
        for name in NAMES:
            town.world.crash(name)
        town.world.run_for(1_000)
        for name in NAMES:
            town.world.start(name)
        town.world.run_for(60)
    town.world.run_until(town.has_all, limit_ms=60_000)
    town.check()


def test_a_store_rolled_back_below_what_was_signed_refuses():
    town = Town()
    for _ in range(3):
        town.pay_and_wait("n0")
    peer = town.world.peers["n1"]
    with pytest.raises(RolledBack) as refused:
        ChainNode(town.network.genesis, MemoryStore(), key=peer.key, signing_record=peer.signing_record)
    assert refused.value.values["expected"] >= 2
    ChainNode(town.network.genesis, MemoryStore(), key=peer.key, signing_record=SigningRecord())


# --- the network -------------------------------------------------------------------------------------


def test_halves_stop_and_go_on_when_they_meet():
    town = Town()
    town.pay_and_wait("n0")
    town.world.partition(("n0", "n1"), ("n2", "n3"))
    one, other = town.pay("n0"), town.pay("n2")
    town.world.run_for(120_000)
    assert [town.height(name) for name in NAMES] == [1] * 4
    town.world.heal()
    town.world.run_until(lambda: town.has_all(one, other), limit_ms=30_000)
    town.check()


def test_a_minority_stops_and_the_majority_does_not():
    town = Town(consensus=BEATING)
    town.world.partition({"n0", "n1", "n2"}, {"n3"})
    town.world.run_for(60_000)
    assert town.height("n3") <= 1
    assert town.height("n0") > 15
    town.world.heal()
    town.pay_and_wait("n3")
    town.check()


@pytest.mark.parametrize("seed", range(20))
def test_messages_late_and_out_of_order(seed):
    town = Town(seed=seed, latency_ms=(1, 1_500))
    for turn in range(12):
        town.pay(NAMES[turn % 4])
        town.world.run_for(400)
    town.world.run_until(town.has_all, limit_ms=120_000)
    town.check()


@pytest.mark.parametrize("seed", range(6))
def test_messages_lost(seed):
    town = Town(seed=seed)
    every = count()

    def lose_some(peer, action):
        return not (isinstance(action, Broadcast) and (next(every) * 7 + seed) % 5 == 0)

    tap(town.world, lose_some)
    for turn in range(12):
        town.pay(NAMES[turn % 4])
        town.world.run_for(400)
    town.world.run_until(town.has_all, limit_ms=120_000)
    town.check()


# --- liars -------------------------------------------------------------------------------------------


@pytest.fixture
def seasoned():
    town = Town()
    town.pay_and_wait("n0")
    return town


def inject(town, message, *, victim="n0", sender="n1"):
    """The faults for which a peer that hears it blames the sender."""
    peer = town.world.peers[victim]
    before = len(peer.faults)
    town.world.inject(victim, town.network.keys[sender].public_key, message)
    return [type(error) for _, error in peer.faults[before:]]


def sign_two_prepares(town, name="n2", height=2, view=0):
    return [
        sign_prepare(town.network.keys[name], town.world.chain_id, height=height, view=view, block_hash=bytes([i]) * 32)
        for i in (1, 2)
    ]


def agreement(message):
    return wire.Agreement(raw=encode_message(message))


def test_who_prepares_two_blocks_loses_credit_once(seasoned):
    town = seasoned
    before = town.credit("n2")
    for prepare in sign_two_prepares(town):
        assert inject(town, agreement(prepare), sender="n2") == []
    town.pay_and_wait("n0")
    town.world.run_until(lambda: town.credit("n2") < before, limit_ms=20_000)
    assert town.credit("n2") == before - QUIET.equivocation_cost_upt
    evidence = build_double_ballot(*sign_two_prepares(town))
    assert inject(town, wire.Evidence(kind=DOUBLE_BALLOT, raw=encode(evidence.to_value()))) == []
    town.pay_and_wait("n0")
    assert town.credit("n2") == before - QUIET.equivocation_cost_upt
    assert ("punished", town.network.keys["n2"].address, town.credit("n2")) in town.world.peers["n3"].published
    town.check()


def test_who_commits_to_two_blocks_loses_credit(seasoned):
    town = seasoned
    before = town.credit("n2")
    for byte in (1, 2):
        statement = Statement(chain_id=town.world.chain_id, slot=2, block_hash=bytes([byte]) * 32)
        assert inject(town, agreement(sign_statement(statement, town.network.keys["n2"])), sender="n2") == []
    town.pay_and_wait("n0")
    town.pay_and_wait("n0")  # the first may have been proposed before its proposer heard of the votes
    assert town.credit("n2") == before - QUIET.equivocation_cost_upt
    town.check()


def test_evidence_by_gossip_alone(seasoned):
    town = seasoned
    before = town.credit("n2")
    evidence = build_double_ballot(*sign_two_prepares(town, height=7, view=3))
    assert inject(town, wire.Evidence(kind=DOUBLE_BALLOT, raw=encode(evidence.to_value()))) == []
    forged = replace(evidence, second=replace(evidence.second, signature=bytes(64)))
    assert inject(town, wire.Evidence(kind=DOUBLE_BALLOT, raw=encode(forged.to_value()))) != []
    town.world.run_until(lambda: town.credit("n2") < before, limit_ms=20_000)


def test_two_blocks_by_one_leader_convict_nobody(seasoned):
    town = seasoned
    chain = town.chains()[0]
    header = chain.head.header
    key = town.network.keys[town.name_of(header.producer)]
    other = replace(header, timestamp_ms=header.timestamp_ms + 1).sealed(0, key)
    first, second = sorted((header, other), key=lambda one: one.hash)
    evidence = Equivocation(first=first, second=second)
    message = wire.Evidence(kind=EQUIVOCATION, raw=encode(evidence.to_value()))
    assert inject(town, message) == [UnknownMessage]
    node = town.world.node("n0")
    transaction = make_transaction(
        key, chain_id=node.chain_id, sequence=0, expiry_height=9, kind=EQUIVOCATION, payload=(evidence.to_value(),)
    )
    with pytest.raises(NotAnEquivocation):
        process_equivocation(
            Overlay(chain.head.state), node._instance.make_next_context(town.world.now_ms), transaction
        )


def test_votes_outside_of_the_agreement_are_refused(seasoned):
    town = seasoned
    vote = sign_statement(
        Statement(chain_id=town.world.chain_id, slot=2, block_hash=bytes(32)), town.network.keys["n1"]
    )
    assert inject(town, wire.Votes(raw=(encode(vote.to_value()),))) == [UnknownMessage]


# --- proofs ------------------------------------------------------------------------------------------


def test_a_commit_certificate_proves_an_account_offline():
    town = Town()
    for _ in range(70):  # far from the slots that time would give
        town.pay_and_wait("n0")
    node = town.world.node("n2")
    proof = prove_account(node, town.network.keys["n0"].address)
    document = make_document(proof, TrustedState(town.network.genesis))
    verdict = verify_document(document, town.network.genesis)
    assert verdict.is_final
    assert verdict.claims["account"]["balance_uyuan"] == str(INITIAL_BALANCE_UYUAN - 70)
    assert "3 of 4" in verdict.statement or "4 of 4" in verdict.statement
    assert verdict.claims["height"] == 70
