"""Everything a peer may get wrong: a named fault, the state root unchanged, the node goes on."""

from dataclasses import replace
from typing import get_args, get_type_hints

import pytest

from consensus.contracts import EQUIVOCATION
from consensus.poca.credit_target import compute_target
from consensus.poca.engine import PocaEngine
from consensus.quorum import Statement, sign_statement
from consensus.seal import search
from ledger.block import Block, compute_tx_root
from ledger.codec import encode
from ledger.steps import take_all
from ledger.transaction import Transaction, make_transaction
from node.chain import messages as wire
from node.chain.candidate import build_candidate
from node.chain.events import Broadcast, MessageReceived, PenalisePeer, Persist, SetTimer, TimerFired
from node.chain.rule_sets import RuleBook
from node.chain.serving import BURST_US
from simulation.world.networks import key_of, make_network
from simulation.world.world import World

LIAR = "n0"


@pytest.fixture
def network():
    return make_network()


@pytest.fixture
def world(network):
    return make_world(network)


def make_world(network):
    """The same every time, event by event."""
    world = World(network.genesis, network.keys, seed=1)
    world.run_for(5_000)
    world.run_until(lambda: len(world.heads()) == 1, limit_ms=5_000)
    world.partition({"n1"}, {"n0", "n2", "n3"})  # what n1 hears now, the test says
    world.run_for(100)
    return world


def fault_of(world, network, message):
    """The code of the fault that n1 finds in a message from the liar, None where it finds none."""
    node = world.node("n1")
    before = node.chain.head
    world.peers["n1"].faults.clear()
    world.inject("n1", network.keys[LIAR].public_key, message)
    assert node.chain.head.hash == before.hash
    assert node.chain.head.state.root == before.state.root
    faults = world.peers["n1"].faults
    assert len(faults) <= 1
    return faults[0][1].code if faults else None


def good_block(world, network, *, now_ms=None, transactions=(), key=None):
    key = key or network.keys[LIAR]
    chain = world.node("n1").chain
    proposal = PocaEngine(world.genesis).propose(
        key.public_key, chain.head, chain, world.now_ms if now_ms is None else now_ms
    )
    return take_all(
        build_candidate(
            key,
            proposal,
            chain.head,
            genesis=world.genesis,
            rules=RuleBook(world.genesis).at(chain.head.state, chain.head.height + 1),
            producers=(),
            pending=transactions,
        )
    )


def seal(candidate_header, network, key):
    header = candidate_header
    tau = network.genesis.params.consensus.tau_upt
    target = compute_target(header.n_diff, header.credit_upt, tau)
    return header.sealed(search(header.root, target, count=10**9), key)


def altered(world, network, **changes):
    """A block announcement whose header is well sealed and signed but lies in one field."""
    key = network.keys[LIAR]
    header = replace(good_block(world, network).header, **changes)
    return wire.NewBlock(header=encode(seal(header, network, key).to_value()), ids=())


def test_an_honest_block_is_taken_in(world, network):
    header = seal(good_block(world, network).header, network, network.keys[LIAR])
    world.inject("n1", network.keys[LIAR].public_key, wire.NewBlock(header=encode(header.to_value()), ids=()))
    assert world.peers["n1"].faults == []
    assert world.node("n1").chain.head.hash == header.hash


@pytest.mark.parametrize(
    ("field", "lie", "code"),
    [
        ("height", lambda header: header.height + 1, "WrongHeight"),
        ("timestamp_ms", lambda header: header.timestamp_ms - 60_000, "TimestampTooEarly"),
        ("timestamp_ms", lambda header: header.timestamp_ms + 60_000, "TimestampTooFarAhead"),
        ("period", lambda header: header.period + 1, "WrongPeriod"),
        ("credit_upt", lambda header: 100_000_000, "WrongCredit"),
        ("n_diff", lambda header: header.n_diff * 2, "WrongDifficulty"),
        ("state_root", lambda header: bytes(32), "WrongStateRoot"),
        ("receipt_root", lambda header: bytes(32), "WrongReceiptRoot"),
        ("chain_id", lambda header: bytes(32), "WrongChain"),
    ],
)
def test_a_sealed_header_that_lies_in_one_field(world, network, field, lie, code):
    header = good_block(world, network).header
    assert fault_of(world, network, altered(world, network, **{field: lie(header)})) == code
    world.run_for(1_000)
    assert world.is_up("n1")


def test_a_nonce_that_misses_the_target(world, network):
    header = good_block(world, network).header
    tau = network.genesis.params.consensus.tau_upt
    target = compute_target(header.n_diff, header.credit_upt, tau)
    unsealed = next(
        candidate
        for nonce in range(1_000)
        if int.from_bytes((candidate := header.sealed(nonce, network.keys[LIAR])).hash) > target
    )
    message = wire.NewBlock(header=encode(unsealed.to_value()), ids=())
    assert fault_of(world, network, message) == "TargetMissed"


def test_a_header_signed_by_another_member(world, network):
    header = seal(good_block(world, network).header, network, network.keys["n2"])
    message = wire.NewBlock(header=encode(header.to_value()), ids=())
    assert fault_of(world, network, message) == "InvalidSignature"


def test_a_stranger_cannot_seal(world, network):
    stranger = key_of("stranger")
    header = replace(good_block(world, network).header, producer=stranger.public_key)
    message = wire.NewBlock(header=encode(seal(header, network, stranger).to_value()), ids=())
    assert fault_of(world, network, message) == "NotASealer"


def body_message(world, network, block):
    """Make n1 want the block's body, then hand it over."""
    ids = (b"\x07" * 32,)  # a transaction that n1 does not have
    header = encode(block.header.to_value())
    assert fault_of(world, network, wire.NewBlock(header=header, ids=ids)) is None
    return wire.Blocks(raw=(block.raw,))


def test_a_forged_body_under_a_good_header_does_not_condemn_the_header(world, network):
    key = network.keys[LIAR]
    header = seal(good_block(world, network).header, network, key)
    stranger = transfer(world, network, key_of("stranger"))
    forged = Block(header=header, transactions=(stranger,))
    assert fault_of(world, network, body_message(world, network, forged)) == "WrongTransactionRoot"
    world.inject("n1", key.public_key, wire.NewBlock(header=encode(header.to_value()), ids=()))
    assert world.node("n1").chain.head.hash == header.hash


def transfer(world, network, key, *, sequence=0, chain_id=None, expiry=100, kind="transfer", amount=1):
    return make_transaction(
        key,
        chain_id=chain_id or world.genesis.chain_id,
        sequence=sequence,
        expiry_height=expiry,
        kind=kind,
        payload=(network.keys["n2"].address, amount),
    )


def with_transaction(world, network, transaction):
    """A block whose body holds a transaction that cannot stand in it, all roots made to fit."""
    header = replace(good_block(world, network).header, tx_root=compute_tx_root((transaction,)))
    return Block(header=seal(header, network, network.keys[LIAR]), transactions=(transaction,))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda w, n: transfer(w, n, n.keys["n2"], sequence=3), "InvalidBody"),
        (lambda w, n: transfer(w, n, n.keys["n2"], expiry=1), "InvalidBody"),
        (lambda w, n: transfer(w, n, n.keys["n2"], chain_id=bytes(32)), "WrongChain"),
        (lambda w, n: transfer(w, n, n.keys["n2"], kind=EQUIVOCATION), "InvalidBody"),
    ],
)
def test_a_body_with_a_transaction_that_cannot_stand_in_it(world, network, make, code):
    block = with_transaction(world, network, make(world, network))
    assert fault_of(world, network, body_message(world, network, block)) == code
    # Known bad now: the same block is not even looked at again.
    assert fault_of(world, network, wire.NewBlock(header=encode(block.header.to_value()), ids=())) is None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (wire.NewBlock(header=b"\xc1", ids=()), "NonCanonical"),
        (wire.NewBlock(header=encode((1, 2, 3)), ids=()), "WrongShape"),
        (wire.NewBlock(header=bytes(5_000), ids=()), "TooLarge"),
        (wire.Certificate(raw=b"\x93\x01\x02\x03"), "WrongShape"),
        (wire.Votes(raw=(b"\x00",)), "WrongShape"),
        (wire.Evidence(kind="gossip", raw=b"\x00"), "UnknownMessage"),
        (wire.Evidence(kind="equivocation", raw=b"\x00"), "WrongShape"),
        (wire.Blocks(raw=(b"\x92\xc0\xc0",)), "WrongShape"),
        (wire.Transactions(raw=(b"\x90",)), "WrongShape"),
        (wire.Relay(raw=b"\xc1"), "NonCanonical"),
        (wire.Relay(raw=encode((1, 2, 3))), "WrongShape"),
        (wire.Relay(raw=bytes(2_000_001)), "TooLarge"),
    ],
)
def test_bytes_that_mean_nothing(world, network, message, code):
    assert fault_of(world, network, message) == code


# --- one bad item among good ones ------------------------------------------------------------------


def good_transaction(world, network):
    good = transfer(world, network, network.keys["n2"])
    assert fault_of(world, network, wire.TransactionIds(ids=(good.id,))) is None
    return (good.raw,)


def good_body(world, network):
    header = seal(good_block(world, network).header, network, network.keys[LIAR])
    return body_message(world, network, Block(header=header, transactions=())).raw


def deciding_votes(world, network):
    """Those of the other three members on the slot's checkpoint: with its own vote n1 holds a certificate then."""
    node = world.node("n1")
    world.run_until(lambda: node._finality.list_due() != (), limit_ms=60_000)
    return tuple(
        encode(sign_statement(node._finality.list_due()[-1], network.keys[name]).to_value())
        for name in ("n0", "n2", "n3")
    )


BATCHES = {
    wire.Transactions: (good_transaction, b"\x90", SetTimer),
    wire.Blocks: (good_body, b"\xc1", Persist),
    wire.Votes: (deciding_votes, b"\x00", Persist),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_what_came_before_a_bad_item_is_done_in_full(world, network, kind):
    """A step that has changed the node must say so: what is not persisted would be missing on disk for good."""
    make, junk, effect = BATCHES[kind]
    liar, twin = network.keys[LIAR].public_key, make_world(network)
    good = [make(each, network) for each in (world, twin)]
    assert good[0] == good[1]
    alone = hear(twin, liar, kind(raw=good[0]))
    assert any(isinstance(action, effect) for action in alone)
    among = hear(world, liar, kind(raw=(*good[0], junk)))
    blame = [action for action in among if isinstance(action, PenalisePeer)]
    assert [action.peer for action in blame] == [liar]
    assert [action for action in among if action not in blame] == alone


def hear(world, sender, message):
    return world.node("n1").step(MessageReceived(peer=sender, message=message), world.now_ms)


def test_no_kind_of_batch_is_missing_above():
    batches = {kind for kind in get_args(wire.Message) if get_type_hints(kind).get("raw") == tuple[bytes, ...]}
    elsewhere = {
        wire.Contacts,  # for the machine, not for a chain: `tests/node/peer/test_records.py`
        wire.TradeResult,  # `test_what_came_before_a_bad_vote_for_a_result_is_done`
        wire.Signed,  # heard after a start alone: `tests/simulation/world/test_restored_copy.py`
        wire.Ancestors,  # heard after a snapshot alone: `tests/simulation/world/test_snapshot_join.py`
        wire.Bodies,  # the same: `tests/simulation/world/test_lower_bodies.py`
    }
    assert batches - set(BATCHES) == {wire.Headers} | elsewhere


def test_headers_are_taken_in_together_or_not_at_all(world, network):
    node, liar = world.node("n1"), network.keys[LIAR].public_key
    header = seal(good_block(world, network).header, network, network.keys[LIAR])
    assert node._gossip.ask_headers(liar, world.now_ms) != []
    assert fault_of(world, network, wire.Headers(raw=(encode(header.to_value()), b"\xc1"))) == "NonCanonical"
    assert node._gossip.sync.skeleton is None
    assert node._gossip.ask_headers(liar, world.now_ms) != []
    assert fault_of(world, network, wire.Headers(raw=(encode(header.to_value()),))) is None
    assert node._gossip.sync.skeleton.headers == (header,)


@pytest.mark.parametrize("make", [good_body, deciding_votes])
def test_a_node_starts_again_after_good_news_with_junk_behind_it(world, network, make):
    kind = wire.Blocks if make is good_body else wire.Votes
    world.inject("n1", network.keys[LIAR].public_key, kind(raw=(*make(world, network), b"\xc1")))
    chain = world.node("n1").chain
    world.run_for(3_000)
    world.crash("n1")
    world.start("n1")
    again = world.node("n1").chain
    assert (again.head.hash, again.final_height) == (chain.head.hash, chain.final_height)


# --- votes, certificates, evidence -----------------------------------------------------------------


def test_votes_in_two_views_turn_nobody_against_those_who_pass_them_on(world, network):
    world.heal()
    liar, slot = network.keys[LIAR], 3
    one = Statement(chain_id=world.chain_id, slot=slot, block_hash=b"\x01" * 32)
    votes = [sign_statement(item, liar) for item in (one, replace(one, block_hash=b"\x02" * 32, view=1))]
    honest = ("n1", "n2", "n3")
    for name in honest:
        world.inject(name, liar.public_key, wire.Votes(raw=tuple(encode(vote.to_value()) for vote in votes)))
    world.run_for(1_000)
    faults = [(culprit, error.code) for name in honest for culprit, error in world.peers[name].faults]
    assert faults == [(LIAR, "UnexpectedView")] * 3


def test_a_certificate_of_what_is_final_already_says_nothing_new(world, network):
    world.heal()
    world.run_until(lambda: world.node("n1").final_certificate is not None, limit_ms=60_000)
    old = world.node("n1").final_certificate
    world.run_until(lambda: world.node("n1").final_certificate.statement.slot > old.statement.slot, limit_ms=60_000)
    world.crash("n1")
    world.start("n1")  # what it knew of certificates it has forgotten
    world.run_for(1)
    liar = network.keys[LIAR].public_key
    assert hear(world, liar, wire.Certificate(raw=encode(old.to_value()))) == []


def equivocation(world, key):
    """Evidence that `key` has sealed two blocks on n1's head."""
    header = replace(
        world.node("n1").chain.head.header, parent=world.node("n1").chain.head.hash, producer=key.public_key
    )
    first, second = sorted((header.sealed(nonce, key) for nonce in (0, 1)), key=lambda one: one.hash)
    return wire.Evidence(kind=EQUIVOCATION, raw=encode((first.to_value(), second.to_value())))


def test_evidence_against_strangers_is_its_senders_fault(world, network):
    assert fault_of(world, network, equivocation(world, key_of("stranger"))) == "UnknownSigner"
    assert fault_of(world, network, equivocation(world, network.grid)) == "UnknownSigner", "a member that never seals"


def test_evidence_is_news_until_it_is_on_the_chain(world, network):
    liar, evidence = network.keys[LIAR].public_key, equivocation(world, network.keys["n3"])
    assert hear(world, liar, evidence) == [Broadcast(message=evidence, but=liar)]
    assert hear(world, liar, evidence) == []
    height = world.node("n1").chain.head.height
    world.run_until(lambda: world.node("n1").chain.head.height > height + 1, limit_ms=60_000)
    world.crash("n1")
    world.start("n1")
    world.run_for(1)
    assert hear(world, liar, evidence) == []


def test_evidence_without_end_is_refused_once_it_has_had_its_share_and_takes_nothing_from_others(world, network):
    """Of one offence its author can make as many proofs as there are nonces, and none of them is a fault."""
    liar, other = (network.keys[name].public_key for name in (LIAR, "n2"))
    evidence = equivocation(world, network.keys["n3"])
    hear(world, liar, evidence)  # then it is no news any more
    told = (hear(world, liar, evidence) for _ in range(BURST_US // 100))
    count, refused = next((count, actions) for count, actions in enumerate(told) if actions)
    assert [action.error.code for action in refused] == ["ServedTooMuch"]
    assert count > BURST_US // 1_000, "it is of some hundred µs"
    assert hear(world, other, evidence) == []


def test_votes_by_strangers_and_for_other_chains(world, network):
    statement = Statement(chain_id=world.genesis.chain_id, slot=0, block_hash=bytes(32))
    stranger = sign_statement(statement, key_of("stranger"))
    assert fault_of(world, network, wire.Votes(raw=(encode(stranger.to_value()),))) == "UnknownSigner"
    other = Statement(chain_id=bytes(32), slot=0, block_hash=bytes(32))
    foreign = sign_statement(other, network.keys["n2"])
    assert fault_of(world, network, wire.Votes(raw=(encode(foreign.to_value()),))) == "WrongChain"


def test_transactions_with_bad_signatures_are_the_senders_fault_but_stale_ones_are_not(world, network):
    good = transfer(world, network, network.keys["n2"])
    forged = good.raw[:-1] + bytes([good.raw[-1] ^ 1])
    assert offer(world, network, forged) == "InvalidSignature"
    assert offer(world, network, transfer(world, network, network.keys["n2"], expiry=1).raw) is None
    assert offer(world, network, good.raw) is None
    assert good.id in world.node("n1").mempool


def offer(world, network, raw):
    """Announce a transaction and hand it over when asked for."""
    identity = Transaction.from_bytes(raw, max_bytes=10_000).id
    assert fault_of(world, network, wire.TransactionIds(ids=(identity,))) is None
    return fault_of(world, network, wire.Transactions(raw=(raw,)))


def test_unsolicited_blocks_and_headers_are_ignored(world, network):
    block = Block(header=seal(good_block(world, network).header, network, network.keys[LIAR]), transactions=())
    assert fault_of(world, network, wire.Blocks(raw=(block.raw,))) is None
    assert fault_of(world, network, wire.Headers(raw=(encode(block.header.to_value()),))) is None
    assert world.node("n1").chain.get_header(block.hash) is None


def test_unsolicited_transactions_are_judged_like_any_and_passed_on_once(world, network):
    good = transfer(world, network, network.keys["n2"])
    forged = good.raw[:-1] + bytes([good.raw[-1] ^ 1])
    assert fault_of(world, network, wire.Transactions(raw=(forged,))) == "InvalidSignature"
    liar = network.keys[LIAR].public_key
    (timer,) = hear(world, liar, wire.Transactions(raw=(good.raw,)))
    assert hear(world, liar, wire.Transactions(raw=(good.raw,))) == []
    passed_on = world.node("n1").step(TimerFired(name=timer.name), timer.at_ms)
    assert passed_on == [Broadcast(message=wire.TransactionIds(ids=(good.id,)), but=liar)]
    assert world.node("n1").step(TimerFired(name=timer.name), timer.at_ms) == []


def test_a_flood_of_announcements_stays_within_its_bounds(world, network):
    node = world.node("n1")
    for start in range(0, 40_000, wire.MAX_ITEMS):
        ids = tuple((start + index).to_bytes(32, "big") for index in range(wire.MAX_ITEMS))
        assert fault_of(world, network, wire.TransactionIds(ids=ids)) is None
    assert len(node._gossip._transactions) <= 20_000
