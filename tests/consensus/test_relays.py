"""Relays between two chains of one network: what is taken in, once, and that nothing forged moves anything.

The credit chain LH1 posts to its outbox and certifies a checkpoint; the trading chain JY1 takes in `note` from there.
"""

import ast
import inspect
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import relays as relays_module
from consensus.errors import ShortCertificate, UnfinalBlock, UnknownSigner, UnknownSource, WrongRoute, WrongVoters
from consensus.quorum import QuorumCertificate, Statement, sign_statement
from consensus.relays import RELAY, Relay, accept_relay, check_relay, is_wanted, make_relays, relay_handler
from ledger.block import Block, compute_tx_root
from ledger.codec import decode, encode
from ledger.contract import Contracts
from ledger.errors import (
    AlreadyRelayed,
    DuplicateSigner,
    GridmeritError,
    InvalidBody,
    InvalidProof,
    InvalidSignature,
    NonCanonical,
    OversizedBlock,
    ProducersOnly,
    Rejected,
    RelayTooOld,
    TooLarge,
    WrongChain,
    WrongShape,
)
from ledger.execution import EnvelopeCache, execute_block, ledger_handlers, select_transactions
from ledger.genesis import Genesis, GenesisMember
from ledger.inbox import REMEMBERED
from ledger.outbox import MAX_PARTS, ROWS_PER_PART, outbox_key, post
from ledger.overlay import Overlay
from ledger.params import ChainParams, ConsensusParams, LedgerParams
from ledger.siblings import get_sibling, put_sibling

GENESIS_MS = 1_700_000_000_000
SLOT_MS = 5_000
SEALERS = ("anna", "bert", "cleo", "dora")  # n = 4: f = 1, quorum 3
ROWS = [(number, b"row") for number in range(70)]  # two parts


class Unwelcome(Rejected):
    message = "note {number} is not wanted"


def process_post(view, block, transaction):
    """`post [kind, number, rows]`: the source's contract."""
    kind, number, rows = transaction.payload
    post(view, kind, number, rows, height=block.height)


def receive_note(view, block, delivery):
    """The destination's contract; it refuses note 666 after it has written and told."""
    view.put(b"note/" + outbox_key("", delivery.number, delivery.part), delivery.rows)
    view.emit("note", delivery.number, delivery.part, int(delivery.is_complete))
    if delivery.number == 666:
        raise Unwelcome(number=666)


ROUTES = {("credit", "note"): receive_note, ("scheduling", "quota"): receive_note}


class Network:
    """LH1 (`source`) and JY1 (`target`). eve seals on JY1 alone."""

    def __init__(self, make_lab, *, checkpoint_m=0, time_ms=GENESIS_MS):
        def chain(name, kind, **consensus):
            return ChainParams(
                name=name,
                kind=kind,
                ledger=LedgerParams(period_ms=4 * SLOT_MS),
                consensus=ConsensusParams(block_interval_ms=1_000, **consensus),
            )

        def member(name, role="prosumer", seals=()):
            return GenesisMember(name=name, role=role, key=make_lab.key(name).public_key, seals=seals)

        genesis = Genesis(
            params=chain("JY1", "trading"),
            siblings=(chain("LH1", "credit", checkpoint_m=checkpoint_m),),
            time_ms=time_ms,
            members=(
                member("grid", "grid-operator"),
                *(member(name, seals=("*",)) for name in SEALERS),
                member("eve", seals=("JY1",)),
                member("frank"),
            ),
        )
        self.source = make_lab(genesis=genesis.open("LH1"), contracts=Contracts(handlers={"post": process_post}))
        contracts = Contracts(handlers=ledger_handlers(), producer_handlers={RELAY: relay_handler(ROUTES)})
        self.target = make_lab(genesis=genesis, contracts=contracts)
        self.key = make_lab.key
        self.slot = 0
        self.sequence = 0

    # --- the source ------------------------------------------------------------------------------

    def post(self, kind, number, rows):
        transaction = self.source.sign("anna", "post", kind, number, tuple(rows), sequence=self.sequence)
        self.sequence += 1
        return transaction

    def checkpoint(self, *messages):
        """The checkpoint of the next slot, in which these are posted, as the source's head."""
        self.slot += 1
        at = GENESIS_MS + self.slot * SLOT_MS
        return self.source.extend(*(self.post(*message) for message in messages), timestamp_ms=at)

    def certify(self, block_hash, *names, slot=None, chain_id=None, since_slot=0):
        statement = Statement(
            chain_id=chain_id or self.source.chain_id,
            slot=self.slot if slot is None else slot,
            block_hash=block_hash,
            since_slot=since_slot,
        )
        votes = sorted((sign_statement(statement, self.key(name)) for name in names), key=lambda vote: vote.signer)
        return QuorumCertificate(statement=statement, signatures=tuple((vote.signer, vote.signature) for vote in votes))

    def relays(self, *messages, signers=SEALERS[:3], above_height=0):
        """Relays of everything in the outbox at the next checkpoint."""
        entry = self.checkpoint(*messages)
        certificate = self.certify(entry.hash, *signers)
        return make_relays(certificate, entry.header, entry.state, above_height=above_height)

    def newest_relay(self):
        """The relay of what was posted last, at the head."""
        entry = self.source.chain.head
        certificate = self.certify(entry.hash, *SEALERS[:3])
        (relay,) = make_relays(certificate, entry.header, entry.state, above_height=entry.height - 1)
        return relay

    # --- the destination -------------------------------------------------------------------------

    def transaction(self, relay, sender="anna"):
        return self.target.sign(sender, RELAY, relay.to_value())

    def take(self, *relays, producer="anna"):
        """A block of the destination that takes them in, as its head."""
        return self.target.extend(*(self.transaction(relay, producer) for relay in relays), producer=producer)

    def with_sibling(self, **changes):
        """The destination's head, but that it knows other things of the source."""
        head = self.target.chain.head
        view = Overlay(head.state)
        put_sibling(view, self.source.chain_id, get_sibling(view, self.source.chain_id)._replace(**changes))
        view.commit()
        return replace(head, state=view.finish()[0])

    def check_refused(self, relay, error, *, parent=None):
        """That a relay is refused by that name, on its own, in a block and in a candidate, and leaves no trace."""
        lab, parent = self.target, parent or self.target.chain.head
        transaction, context = self.transaction(relay), lab.context(parent)
        with pytest.raises(error) as caught:
            lab.build(parent, transaction)
        empty, _ = lab.build(parent)
        header = replace(empty.header, tx_root=compute_tx_root([transaction]))
        block = Block(header=header, transactions=(transaction,))
        with pytest.raises(InvalidBody) as invalid:
            execute_block(parent.state, block, context, lab.contracts, EnvelopeCache())
        assert invalid.value.values["code"] == error.__name__
        taken, execution = select_transactions(
            parent.state, context, [transaction], lab.contracts, max_bytes=100_000_000
        )
        assert (taken, execution.events) == ((), ())
        assert execution.state.root == empty.header.state_root, "something has moved"
        return caught.value


@pytest.fixture
def network(make_lab):
    return Network(make_lab)


@pytest.fixture
def relays(network):
    """The two parts of note 5, certified at slot 1."""
    return network.relays(("note", 5, ROWS))


# --- the good case ---------------------------------------------------------------------------------


def test_a_certified_message_is_taken_in_part_by_part(network, relays):
    checkpoint = network.source.chain.head
    assert [relay.name for relay in relays] == [(network.source.chain_id, "note", 5, part) for part in (0, 1)]
    entry = network.take(relays[1], relays[0])
    assert [receipt.code for receipt in entry.execution.receipts] == ["", ""]
    assert entry.execution.events == (
        ("note", 5, 1, 0),
        ("relayed", "LH1", "note", 5, 1, 2, checkpoint.height),
        ("note", 5, 0, 1),
        ("relayed", "LH1", "note", 5, 0, 2, checkpoint.height),
    )
    view = Overlay(entry.state)
    rows = [view.get(b"note/" + outbox_key("", 5, part)) for part in (0, 1)]
    assert rows == [tuple(ROWS[:ROWS_PER_PART]), tuple(ROWS[ROWS_PER_PART:])]
    assert network.target.account("anna").sequence == 0


def test_the_receiver_sees_what_was_proved(network, relays):
    deliveries = []
    routes = {("credit", "note"): lambda view, block, delivery: deliveries.append(delivery)}
    head = network.target.chain.head
    view = Overlay(head.state)
    for relay in relays:
        accept_relay(view, network.target.context(head), relay, routes)
    checkpoint = network.source.chain.head
    assert [(item.source, item.kind, item.number, item.part, item.parts) for item in deliveries] == [
        ("LH1", "note", 5, 0, 2),
        ("LH1", "note", 5, 1, 2),
    ]
    assert [item.is_complete for item in deliveries] == [False, True]
    assert deliveries[0].rows + deliveries[1].rows == tuple(ROWS)
    assert {(item.block_hash, item.height) for item in deliveries} == {(checkpoint.hash, checkpoint.height)}


def test_a_relay_survives_the_wire(relays):
    for relay in relays:
        assert Relay.from_value(decode(relay.to_bytes(), max_bytes=100_000)) == relay


def test_a_relay_is_wanted_until_it_has_come(network, relays):
    state = network.target.chain.head.state
    assert [is_wanted(Overlay(state), relay.name, ROUTES) for relay in relays] == [True, True]
    state = network.take(relays[0]).state
    assert [is_wanted(Overlay(state), relay.name, ROUTES) for relay in relays] == [False, True]
    assert not is_wanted(Overlay(state), relays[1].name, {("scheduling", "note"): receive_note})
    assert not is_wanted(Overlay(network.source.chain.head.state), relays[1].name, ROUTES)


def test_a_later_checkpoint_proves_what_was_posted_before_it(network):
    network.checkpoint(("note", 5, ROWS))
    first = network.source.chain.head.height
    later = network.relays(("note", 6, []))
    assert [relay.name[2:] for relay in later] == [(5, 0), (5, 1), (6, 0)]
    network.take(*later)
    news = network.relays(("note", 7, []), above_height=first + 1)
    assert [relay.name[2:] for relay in news] == [(7, 0)]


def test_a_certificate_of_another_block_makes_no_relays(network):
    entry = network.checkpoint(("note", 5, []))
    with pytest.raises(AssertionError):
        make_relays(network.certify(b"\x99" * 32, *SEALERS), entry.header, entry.state)


@pytest.mark.parametrize(("checkpoint_m", "quorum"), [(0, 3), (2, 3), (3, 4)])
def test_the_quorum_is_the_sources(make_lab, checkpoint_m, quorum):
    network = Network(make_lab, checkpoint_m=checkpoint_m)
    (short,) = network.relays(("note", 5, []), signers=SEALERS[: quorum - 1])
    error = network.check_refused(short, ShortCertificate)
    assert error.values == {"actual": quorum - 1, "quorum": quorum}
    enough = network.certify(short.header.hash, *SEALERS[:quorum])
    network.take(replace(short, certificate=enough))


# --- forgeries -------------------------------------------------------------------------------------


def forge_signature(network, good):
    (signer, signature), *others = good.certificate.signatures
    signature = bytes([signature[0] ^ 1]) + signature[1:]
    return replace(good, certificate=replace(good.certificate, signatures=((signer, signature), *others)))


def signed_by(*names, **statement):
    def forge(network, good):
        return replace(good, certificate=network.certify(good.header.hash, *names, **statement))

    return forge


def sign_twice(network, good):
    pairs = good.certificate.signatures
    return replace(good, certificate=replace(good.certificate, signatures=(pairs[0], pairs[0], pairs[1])))


def sign_another_block(network, good):
    return replace(good, certificate=network.certify(b"\x99" * 32, *SEALERS))


def change(**fields):
    return lambda network, good: replace(good, **fields)


def prove_absence(network, good):
    """The proof that the source has posted no note 6, shown as one that it has."""
    return replace(good, number=6, proof=network.source.chain.head.state.prove(outbox_key("note", 6, 0)))


def swap_proofs(network, good):
    return replace(good, proof=network.source.chain.head.state.prove(outbox_key("note", 5, 1)))


def fork_source(network):
    """A block beside the certified one, with a note of its own; nobody has signed it."""
    lie = network.source.sign("anna", "post", "note", 5, ((666, b"lie"),))
    entry = network.source.add(network.source.root, lie, timestamp_ms=GENESIS_MS + SLOT_MS)
    return entry, make_relays(network.certify(entry.hash, "eve"), entry.header, entry.state)[0]


def show_another_block(network, good):
    """A good certificate, with a block and a proof that fit each other but not the certificate."""
    _, lie = fork_source(network)
    return replace(lie, certificate=good.certificate)


def show_another_state_root(network, good):
    entry, lie = fork_source(network)
    return replace(lie, certificate=good.certificate, header=replace(good.header, state_root=entry.state.root))


def show_a_child(network, good):
    """The certified block's child is not final yet, though its state holds the message too."""
    child = network.source.extend()
    proof = child.state.prove(outbox_key("note", 5, 0))
    return replace(good, header=child.header, proof=proof)


def show_another_chains_header(network, good):
    """The source's members certify a block as theirs that is another chain's."""
    header = replace(good.header, chain_id=network.target.chain_id)
    return replace(good, header=header, certificate=network.certify(header.hash, *SEALERS))


def come_from_itself(network, good):
    header = replace(good.header, chain_id=network.target.chain_id)
    certificate = network.certify(header.hash, *SEALERS, chain_id=network.target.chain_id)
    return replace(good, header=header, certificate=certificate)


def come_from_another_network(network, good):
    other = Network(type(network.source), time_ms=GENESIS_MS + 1)
    return other.relays(("note", 5, ROWS))[0]


FORGERIES = {
    "bad signature": (forge_signature, InvalidSignature),
    "short": (signed_by("anna", "bert"), ShortCertificate),
    "unsigned": (signed_by(), ShortCertificate),
    "duplicated signer": (sign_twice, DuplicateSigner),
    "signer without any right": (signed_by("anna", "bert", "frank"), UnknownSigner),
    "signer of the other chain": (signed_by("anna", "bert", "eve"), UnknownSigner),
    "enough, and a stranger": (signed_by(*SEALERS, "mallory"), UnknownSigner),
    "certificate of another block": (sign_another_block, UnfinalBlock),
    "another kind": (change(kind="quota"), WrongRoute),
    "another number": (change(number=6), InvalidProof),
    "another part": (change(part=1), InvalidProof),
    "a part too many": (change(part=2), WrongShape),
    "other rows": (change(raw=encode((2, ((666, b"lie"),)))), InvalidProof),
    "fewer parts": (change(raw=encode((1, tuple(ROWS[:ROWS_PER_PART])))), InvalidProof),
    "proof of absence": (prove_absence, InvalidProof),
    "proof of the other part": (swap_proofs, InvalidProof),
    "another block": (show_another_block, UnfinalBlock),
    "another state root": (show_another_state_root, UnfinalBlock),
    "a block that is not final": (show_a_child, UnfinalBlock),
    "a header of another chain": (show_another_chains_header, WrongChain),
    "a relay of its own": (come_from_itself, UnknownSource),
    "another network": (come_from_another_network, UnknownSource),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_relay_is_refused_by_name_and_moves_nothing(network, relays, name):
    forge, error = FORGERIES[name]
    network.check_refused(forge(network, relays[0]), error)
    network.take(*relays)


def test_refusals_say_what_is_wrong(network, relays):
    other = show_another_block(network, relays[0])
    assert str(network.check_refused(other, UnfinalBlock)) == (
        f"the proof is of block {other.header.hash.hex()[:16]}, block {relays[0].header.hash.hex()[:16]} is certified"
    )
    wrong = network.check_refused(replace(relays[0], kind="quota"), WrongRoute)
    assert str(wrong) == "this chain takes no quota from LH1"
    unknown = network.check_refused(come_from_itself(network, relays[0]), UnknownSource)
    assert str(unknown) == f"chain {network.target.chain_id.hex()[:16]} is not of this network"


def test_a_message_for_another_chain_is_refused(network):
    """JY1 takes a `quota` from a scheduling chain and no `receipt` at all."""
    for relay in network.relays(("quota", 1, []), ("receipt", 1, [])):
        assert not is_wanted(Overlay(network.target.chain.head.state), relay.name, ROUTES)
        network.check_refused(relay, WrongRoute)


# --- member sets -----------------------------------------------------------------------------------


def test_a_certificate_from_before_a_change_of_members_is_stale(network, relays):
    parent = network.with_sibling(since_slot=2)
    error = network.check_refused(relays[0], WrongVoters, parent=parent)
    assert error.values == {"expected": 2, "actual": 0}
    as_new = replace(relays[0], certificate=network.certify(relays[0].header.hash, *SEALERS[:3], since_slot=1))
    network.check_refused(as_new, WrongVoters)
    network.target.build(network.with_sibling(since_slot=1), network.transaction(as_new))


def test_old_members_do_not_certify_in_the_slots_of_new_ones(network):
    """dora has left, and eve has come, with slot 2."""
    keys = tuple(sorted(network.key(name).public_key for name in ("anna", "bert", "cleo", "eve")))
    network.checkpoint(("note", 5, []))
    (relay,) = network.relays()

    def certified(*names, **statement):
        return replace(relay, certificate=network.certify(relay.header.hash, *names, **statement))

    good = certified("anna", "bert", "eve", since_slot=2)
    parent = network.with_sibling(since_slot=2, sealers=keys)
    network.target.build(parent, network.transaction(good))
    network.check_refused(good, WrongVoters)
    network.check_refused(certified("anna", "bert", "dora", since_slot=2), UnknownSigner, parent=parent)
    network.check_refused(certified("anna", "bert", "dora"), WrongVoters, parent=parent)
    network.check_refused(certified("anna", "bert", "dora", slot=1), WrongVoters, parent=parent)


def test_votes_of_a_larger_set_are_no_quorum_of_a_smaller_one_before_it(network):
    """Three of five have signed, one too few; whoever has not heard of the fifth takes them for three of four."""
    (relay,) = network.relays(("note", 5, []))
    few = replace(relay, certificate=network.certify(relay.header.hash, *SEALERS[:3], since_slot=1))
    network.check_refused(few, WrongVoters)
    five = tuple(sorted(network.key(name).public_key for name in (*SEALERS, "eve")))
    network.check_refused(few, ShortCertificate, parent=network.with_sibling(since_slot=1, sealers=five))


# --- once ------------------------------------------------------------------------------------------


def test_a_second_copy_is_refused_whatever_proves_it(network, relays):
    network.take(relays[0], producer="bert")
    header = relays[0].header
    again = [
        relays[0],
        replace(relays[0], certificate=network.certify(header.hash, *SEALERS)),
        network.relays(("note", 6, []))[0],  # the same part, under a later checkpoint
    ]
    for copy in again:
        assert copy.name == relays[0].name
        network.check_refused(copy, AlreadyRelayed)
    network.take(relays[1])
    with pytest.raises(AlreadyRelayed):
        network.take(relays[1], producer="cleo")


def test_a_copy_in_the_same_block_is_refused(network, relays):
    twice = [network.transaction(relays[0]), network.target.sign("anna", RELAY, relays[0].to_value(), expiry=900)]
    with pytest.raises(AlreadyRelayed):
        network.target.build(network.target.root, *twice)


def test_what_is_long_past_cannot_be_brought_again(network):
    old = network.relays(("note", 0, []))
    network.take(*old)
    for number in range(1, REMEMBERED + 1):
        network.checkpoint(("note", number, []))
        network.take(network.newest_relay())
    error = network.check_refused(old[0], RelayTooOld)
    assert error.values == {"kind": "note", "number": 0, "oldest": 1}


def test_only_the_blocks_producer_brings_relays(network, relays):
    for sender, sequence in (("bert", 0), ("eve", 0), ("anna", 1)):
        transaction = network.target.sign(sender, RELAY, relays[0].to_value(), sequence=sequence)
        with pytest.raises(ProducersOnly):
            network.target.build(network.target.root, transaction)


# --- receivers that refuse -------------------------------------------------------------------------


def test_a_receiver_that_refuses_leaves_nothing_behind(network):
    unwelcome, welcome = network.relays(("note", 666, []), ("note", 667, []))
    network.check_refused(unwelcome, Unwelcome)
    network.check_refused(unwelcome, Unwelcome)  # it is not even noted that it has come
    state = network.target.chain.head.state
    assert is_wanted(Overlay(state), unwelcome.name, ROUTES)
    transactions = [network.transaction(unwelcome), network.transaction(welcome)]
    lab = network.target
    context = lab.context(lab.root)
    taken, execution = select_transactions(lab.root.state, context, transactions, lab.contracts, max_bytes=10**6)
    alone, expected = select_transactions(lab.root.state, context, transactions[1:], lab.contracts, max_bytes=10**6)
    assert taken == alone == (transactions[1],)
    assert (execution.state.root, execution.events) == (expected.state.root, expected.events)


# --- bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [(), (1, 2), (None,), (b"",), ((),), ((1, 2, 3, 4),)])
def test_a_payload_of_the_wrong_shape_is_refused(network, payload):
    with pytest.raises(WrongShape):
        network.target.build(network.target.root, network.target.sign("anna", RELAY, *payload))


def test_oversized_parts_are_refused(network, relays):
    good = relays[0]
    signature = (bytes(32), bytes(64))
    cases = [
        (TooLarge, replace(good, kind="k" * 33)),
        (WrongShape, replace(good, part=MAX_PARTS)),
        (WrongShape, replace(good, raw=encode((MAX_PARTS + 1, ())))),
        (TooLarge, replace(good, raw=encode((2, (0,) * (ROWS_PER_PART + 1))))),
        (TooLarge, replace(good, raw=bytes(1_000_001))),
        (TooLarge, replace(good, proof=replace(good.proof, siblings=(bytes(32),) * 257))),
        (TooLarge, replace(good, certificate=replace(good.certificate, signatures=(signature,) * 1_025))),
    ]
    for error, relay in cases:
        with pytest.raises(error):
            network.target.build(network.target.root, network.transaction(relay))


def test_a_relay_keeps_to_the_bounds_of_any_transaction(network):
    rows = [(number, bytes(300)) for number in range(ROWS_PER_PART)]
    (large,) = network.relays(("note", 5, rows))
    lab = network.target
    block, _ = lab.build(lab.root, network.transaction(large))
    with pytest.raises(OversizedBlock) as caught:
        execute_block(lab.root.state, block, lab.context(lab.root), lab.contracts, EnvelopeCache())
    assert caught.value.values["what"] == "bytes in one transaction"


@cache
def relayed(lab_type):
    """A network and the bytes of one good relay, the same for every example."""
    network = Network(lab_type)
    (relay,) = network.relays(("note", 5, [(1, b"one"), (2, b"two")]))
    return network, relay, relay.to_bytes()


def judge(network, raw):
    """The relay that these bytes are; raises where it is refused."""
    relay = Relay.from_value(decode(raw, max_bytes=100_000))
    head = network.target.chain.head
    accept_relay(Overlay(head.state), network.target.context(head), relay, ROUTES)
    return relay


def test_every_truncation_is_refused(make_lab):
    network, relay, raw = relayed(make_lab)
    assert judge(network, raw) == relay
    for length in range(len(raw)):
        with pytest.raises(NonCanonical):
            judge(network, raw[:length])
    with pytest.raises(NonCanonical):
        judge(network, raw + b"\x00")


def is_harmless(network, relay, damaged):
    """True where damaged bytes are refused, or say the same.

    The producer's signature stands in a header but under no hash: what it is changes nothing of what is proved.
    """
    try:
        judged = judge(network, damaged)
    except GridmeritError:
        return True
    return judged == replace(relay, header=replace(relay.header, signature=judged.header.signature))


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_a_relay_counts(make_lab, bit):
    network, relay, raw = relayed(make_lab)
    for position in range(len(raw)):
        damaged = raw[:position] + bytes([raw[position] ^ 1 << bit]) + raw[position + 1 :]
        assert is_harmless(network, relay, damaged), position


@given(st.data())
def test_damaged_bytes_never_carry_another_message(make_lab, data):
    network, relay, raw = relayed(make_lab)
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 40)))
    damaged = raw[:start] + data.draw(st.binary(max_size=40)) + raw[end:]
    assert is_harmless(network, relay, damaged)


# --- do these tests see a fault? -------------------------------------------------------------------


def find_accepted(make_lab):
    """Names of the forgeries that a fresh network takes in, and of a stale certificate."""
    accepted = set()
    for name, (forge, _) in FORGERIES.items():
        network = Network(make_lab)
        if takes(network, forge(network, network.relays(("note", 5, ROWS))[0]), network.target.root):
            accepted.add(name)
    network = Network(make_lab)
    if takes(network, network.relays(("note", 5, ROWS))[0], network.with_sibling(since_slot=2)):
        accepted.add("old members")
    return accepted


def takes(network, relay, parent):
    try:
        network.target.build(parent, network.transaction(relay))
    except GridmeritError:
        return False
    return True


def without(statement):
    """`check_relay` without the one of its statements that mentions this."""
    module = ast.parse(inspect.getsource(check_relay))
    (function,) = module.body
    (gone,) = [item for item in function.body[2:] if statement in ast.unparse(item)]
    function.body.remove(gone)
    namespace = dict(vars(relays_module))
    exec(compile(module, "planted", "exec"), namespace)
    return namespace["check_relay"]


@pytest.mark.parametrize(
    ("statement", "seen"),
    [
        (
            "UnfinalBlock",
            {"certificate of another block", "another block", "another state root", "a block that is not final"},
        ),
        ("WrongChain", {"a header of another chain"}),
        (
            "verify_state_proof",
            {
                "another number",
                "another part",
                "other rows",
                "fewer parts",
                "proof of absence",
                "proof of the other part",
            },
        ),
        (
            "verify_certificate",
            {
                "bad signature",
                "short",
                "unsigned",
                "signer without any right",
                "signer of the other chain",
                "enough, and a stranger",
                "old members",
            },
        ),
    ],
)
def test_each_check_left_out_is_noticed(make_lab, monkeypatch, statement, seen):
    assert find_accepted(make_lab) == set()
    monkeypatch.setattr(relays_module, "check_relay", without(statement))
    assert find_accepted(make_lab) == seen
