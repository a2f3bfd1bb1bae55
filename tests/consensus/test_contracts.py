"""Certificates and evidence on the chain: what they change, once, and why each other one is refused."""

from dataclasses import replace

import pytest

from consensus.contracts import (
    _RETAINED_OFFENCES,
    CERTIFICATE,
    DOUBLE_VOTE,
    EQUIVOCATION,
    compute_quorum,
    is_recorded,
    slot_of,
)
from consensus.errors import (
    NotADoubleVote,
    NotAnEquivocation,
    NothingToTake,
    ShortCertificate,
    StaleCertificate,
    UnknownSigner,
)
from consensus.evidence import Equivocation
from consensus.quorum import DoubleVote
from ledger.block import MAX_CREDIT_UPT, Block, compute_tx_root
from ledger.checkpoints import Checkpoint, get_certified_height, get_checkpoints, get_undecided
from ledger.errors import (
    AlreadyRecorded,
    DuplicateSigner,
    InvalidBody,
    InvalidSignature,
    ProducersOnly,
    TooLarge,
    WrongChain,
    WrongShape,
)
from ledger.execution import EnvelopeCache, execute_block
from ledger.inbox import receive
from ledger.outbox import get_entries, outbox_key
from ledger.overlay import Overlay
from ledger.params import Area, ChainParams, ConsensusParams, LedgerParams, Line, SchedulingParams
from ledger.state import State

POINT = 1_000_000
SEALERS = ("anna", "bert", "cleo", "dora")  # n = 4: f = 1, quorum 3


@pytest.fixture
def slotted(sealed):
    """genesis ── g (opens slot 1) ── h   <- head; `slotted.checkpoint` is the statement on g."""
    g = sealed.open_slot("anna", 1)
    sealed.extend("bert")
    sealed.checkpoint = sealed.statement(1, g.hash)
    return sealed


def submit(sealed, kind, *payload, producer="anna", parent=None):
    """The block with a producer's transaction on the head, executed but not added."""
    parent = parent or sealed.chain.head
    return sealed.lab.build(parent, sealed.lab.sign(producer, kind, *payload), producer=producer)[1]


def record(sealed, kind, evidence, producer="anna"):
    """A block that records evidence, as the new head."""
    entry = sealed.lab.extend(sealed.lab.sign(producer, kind, evidence.to_value()), producer=producer)
    return entry.execution


def certified_height(execution):
    return get_certified_height(Overlay(execution.state))


# --- certificates ----------------------------------------------------------------------------------


def test_a_certificate_by_a_quorum_marks_the_checkpoint(slotted):
    block_hash = slotted.checkpoint.block_hash
    certificate = slotted.certify(slotted.checkpoint, "anna", "cleo", "dora")
    execution = submit(slotted, CERTIFICATE, certificate.to_value(), producer="bert")
    view = Overlay(execution.state)
    assert get_checkpoints(view) == (Checkpoint(slot=1, height=1, block_hash=block_hash, is_certified=True),)
    assert (get_certified_height(view), get_undecided(view)) == (1, ())
    assert execution.events == (("certified", 1, 1, block_hash, 3),)
    assert [receipt.code for receipt in execution.receipts] == [""]


def test_a_certificate_of_another_result_of_that_block_is_not_taken(slotted):
    """By a quorum that lies: the chain has computed its own."""
    wrong = replace(slotted.checkpoint, result=b"\x07" * 32)
    with pytest.raises(StaleCertificate, match="it says another result of the block"):
        submit(slotted, CERTIFICATE, slotted.certify(wrong, *SEALERS).to_value())


def test_a_certificate_covers_everything_before_its_checkpoint(slotted):
    """Slot 1 has no certificate of its own, and takes none any more."""
    g2 = slotted.open_slot("anna", 2)
    g3 = slotted.open_slot("bert", 3)
    slotted.extend("cleo")
    second = slotted.certify(slotted.statement(2, g2.hash), *SEALERS)
    head = slotted.lab.extend(slotted.lab.sign("anna", CERTIFICATE, second.to_value()))
    view = Overlay(head.state)
    assert [(item.slot, item.is_certified) for item in get_checkpoints(view)] == [(1, False), (2, True), (3, False)]
    assert get_certified_height(view) == g2.height
    assert [item.block_hash for item in get_undecided(view)] == [g3.hash]
    with pytest.raises(StaleCertificate, match="certificate for slot 1: its checkpoint is not open"):
        submit(slotted, CERTIFICATE, slotted.certify(slotted.checkpoint, *SEALERS).to_value())
    third = slotted.certify(slotted.statement(3, g3.hash), *SEALERS)
    assert certified_height(submit(slotted, CERTIFICATE, third.to_value())) == g3.height


def test_all_may_sign(slotted):
    certificate = slotted.certify(slotted.checkpoint, *SEALERS)
    assert certified_height(submit(slotted, CERTIFICATE, certificate.to_value())) == 1


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"slot": 0}, "its checkpoint is not open"),
        ({"slot": 2}, "its checkpoint is not open"),
        ({"block_hash": b"\x99" * 32}, "it is for another block"),
    ],
)
def test_a_certificate_for_another_checkpoint_is_stale(slotted, change, detail):
    wrong = replace(slotted.checkpoint, **change)
    with pytest.raises(StaleCertificate) as caught:
        submit(slotted, CERTIFICATE, slotted.certify(wrong, *SEALERS).to_value())
    assert caught.value.values == {"slot": wrong.slot, "detail": detail}
    assert str(caught.value) == f"certificate for slot {wrong.slot}: {detail}"


def test_a_certificate_of_the_slots_second_block_is_stale(slotted):
    second = slotted.statement(1, slotted.chain.head.hash)
    slotted.extend("cleo")
    with pytest.raises(StaleCertificate, match="it is for another block"):
        submit(slotted, CERTIFICATE, slotted.certify(second, *SEALERS).to_value())


def test_a_checkpoint_cannot_be_certified_in_its_own_block(sealed):
    """Its hash is not known before the next block, and an empty hash matches no statement."""
    at = sealed.time(sealed.begin_of(1))
    block, execution = sealed.lab.build(sealed.root, timestamp_ms=at)
    assert get_undecided(Overlay(execution.state)) == (Checkpoint(slot=1, height=1, block_hash=b""),)
    certificate = sealed.certify(sealed.statement(1, block.hash), *SEALERS)
    with pytest.raises(StaleCertificate, match="it is for another block"):
        sealed.lab.build(sealed.root, sealed.lab.sign("anna", CERTIFICATE, certificate.to_value()), timestamp_ms=at)


@pytest.mark.parametrize(("slot", "is_late"), [(4, False), (5, True)])
def test_a_certificate_that_comes_late_is_refused(slotted, slot, is_late):
    """A checkpoint lives for `checkpoint_lifetime` slots, by default 4: slot 5 gives up that of slot 1."""
    certificate = slotted.certify(slotted.checkpoint, *SEALERS).to_value()
    slotted.open_slot("anna", slot)
    if not is_late:
        assert certified_height(submit(slotted, CERTIFICATE, certificate)) == 1
        return
    with pytest.raises(StaleCertificate, match="certificate for slot 1: its checkpoint is not open"):
        submit(slotted, CERTIFICATE, certificate)
    later = slotted.statement(slot, slotted.chain.head.hash)
    slotted.extend("bert")
    assert certified_height(submit(slotted, CERTIFICATE, slotted.certify(later, *SEALERS).to_value())) == 3


def test_a_certificate_takes_effect_once(slotted):
    first = slotted.certify(slotted.checkpoint, "anna", "bert", "cleo")
    slotted.lab.extend(slotted.lab.sign("anna", CERTIFICATE, first.to_value()))
    for again in (first, slotted.certify(slotted.checkpoint, *SEALERS)):
        with pytest.raises(StaleCertificate):
            submit(slotted, CERTIFICATE, again.to_value())


def test_what_proves_nothing_is_refused(slotted):
    good = slotted.certify(slotted.checkpoint, "anna", "bert", "cleo")
    foreign = replace(slotted.checkpoint, chain_id=b"\xee" * 32)
    twice = replace(good, signatures=(good.signatures[0], *good.signatures))
    signer, signature = good.signatures[0]
    forged = replace(good, signatures=((signer, bytes([signature[0] ^ 1]) + signature[1:]), *good.signatures[1:]))
    cases = [
        (ShortCertificate, slotted.certify(slotted.checkpoint, "anna", "bert")),
        (UnknownSigner, slotted.certify(slotted.checkpoint, "anna", "bert", "grid")),
        (UnknownSigner, slotted.certify(slotted.checkpoint, *SEALERS, "eve")),
        (WrongChain, slotted.certify(foreign, *SEALERS)),
        (DuplicateSigner, twice),
        (InvalidSignature, forged),
    ]
    for error, certificate in cases:
        with pytest.raises(error):
            submit(slotted, CERTIFICATE, certificate.to_value())
    assert certified_height(submit(slotted, CERTIFICATE, good.to_value())) == 1


@pytest.mark.parametrize("kind", [CERTIFICATE, EQUIVOCATION, DOUBLE_VOTE])
@pytest.mark.parametrize("payload", [(), (1, 2), (None,), (b"",), ((),), ((1, 2),), (((), ()),)])
def test_a_payload_of_the_wrong_shape_is_refused(slotted, kind, payload):
    with pytest.raises(WrongShape):
        submit(slotted, kind, *payload)


def test_too_many_signatures_are_refused_before_they_are_looked_at(slotted):
    with pytest.raises(TooLarge):
        submit(slotted, CERTIFICATE, (slotted.checkpoint.to_value(), ((bytes(32), bytes(64)),) * 1_025))


def test_a_quorum_is_more_than_m_but_never_less_than_intersection_needs(make_chain):
    assert [compute_quorum(ConsensusParams(), n) for n in (1, 2, 3, 4, 7, 10)] == [1, 2, 2, 3, 5, 7]
    assert [compute_quorum(ConsensusParams(checkpoint_m=m), 4) for m in (1, 2, 3)] == [3, 3, 4]
    strict = make_chain(consensus={"checkpoint_m": 3})
    g = strict.open_slot("anna", 1)
    strict.extend("bert")
    statement = strict.statement(1, g.hash)
    with pytest.raises(ShortCertificate) as caught:
        submit(strict, CERTIFICATE, strict.certify(statement, "anna", "bert", "cleo").to_value())
    assert caught.value.values == {"actual": 3, "quorum": 4}
    assert certified_height(submit(strict, CERTIFICATE, strict.certify(statement, *SEALERS).to_value())) == 1


# --- equivocation ----------------------------------------------------------------------------------


def header_of(sealed, name, parent, nonce):
    entry = sealed.lab.build(parent, producer=name)[0].header
    return entry.sealed(nonce, sealed.key(name))


def equivocation(sealed, name="dora", parent=None, nonces=(0, 1)):
    headers = [header_of(sealed, name, parent or sealed.root, nonce) for nonce in nonces]
    first, second = sorted(headers, key=lambda header: header.hash)
    return Equivocation(first=first, second=second)


def test_an_equivocation_costs_credit_exactly_once(sealed):
    evidence = equivocation(sealed)
    execution = record(sealed, EQUIVOCATION, evidence)
    assert execution.events == (("punished", sealed.lab.address("dora"), 70 * POINT),)
    account = sealed.lab.account("dora")
    assert (account.credit_upt, account.penalty_upt) == (70 * POINT, 20 * POINT)
    assert (account.sequence, account.balance_uyuan) == (0, 1_000)
    assert is_recorded(Overlay(sealed.chain.head.state), evidence)
    others = [evidence, equivocation(sealed, nonces=(1, 2)), equivocation(sealed, nonces=(7, 8))]
    for again in others:
        for producer in ("anna", "bert"):
            with pytest.raises(AlreadyRecorded, match="this evidence is on the chain already"):
                submit(sealed, EQUIVOCATION, again.to_value(), producer=producer)


def test_each_parent_is_an_offence_of_its_own_and_credit_stops_at_zero(sealed):
    parents = [sealed.root, *(sealed.lab.extend() for _ in range(4))]
    expected = [70, 50, 30, 10, 0]
    for parent, points in zip(parents, expected, strict=True):
        record(sealed, EQUIVOCATION, equivocation(sealed, parent=parent))
        assert sealed.lab.account("dora").credit_upt == points * POINT
    assert sealed.lab.account("dora").penalty_upt == 100 * POINT
    one_more = equivocation(sealed, parent=sealed.lab.extend())
    assert is_recorded(Overlay(sealed.lab.chain.head.state), one_more), "no producer would offer it"
    with pytest.raises(NothingToTake):
        record(sealed, EQUIVOCATION, one_more)
    assert sealed.lab.account("anna").credit_upt == 90 * POINT


def test_a_punishment_reaches_the_target_with_the_next_snapshot(sealed):
    evidence = equivocation(sealed)
    transaction = sealed.lab.sign("anna", EQUIVOCATION, evidence.to_value())
    sealed.extend("anna", transaction, at=1_000)
    assert sealed.propose(sealed.chain.head, "dora", 2_000).credit_upt == 90 * POINT
    sealed.extend("anna", at=20_000)
    assert sealed.propose(sealed.chain.head, "dora", 21_000).credit_upt == 70 * POINT


def test_nobody_is_punished_without_proof(sealed):
    good = equivocation(sealed)
    forged = replace(good, second=replace(good.second, signature=bytes(64)))
    swapped = Equivocation(first=good.second, second=good.first)
    strangers = equivocation(sealed, name="grid")
    foreign = [replace(header, chain_id=b"\xee" * 32) for header in (good.first, good.second)]
    cases = [
        (InvalidSignature, forged),
        (NotAnEquivocation, swapped),
        (NotAnEquivocation, Equivocation(first=good.first, second=good.first)),
        (UnknownSigner, strangers),
        (WrongChain, Equivocation(first=foreign[0], second=foreign[1])),
    ]
    for error, evidence in cases:
        with pytest.raises(error):
            submit(sealed, EQUIVOCATION, evidence.to_value())


# --- double votes ----------------------------------------------------------------------------------


def double_vote(sealed, name="dora", slot=5, hashes=(b"\xaa" * 32, b"\xbb" * 32)):
    first, second = (sealed.vote(name, sealed.statement(slot, block_hash)) for block_hash in hashes)
    return DoubleVote(first=first, second=second)


def test_a_double_vote_costs_credit_exactly_once_per_slot(sealed):
    evidence = double_vote(sealed)
    record(sealed, DOUBLE_VOTE, evidence)
    assert sealed.lab.account("dora").credit_upt == 70 * POINT
    assert is_recorded(Overlay(sealed.chain.head.state), evidence)
    for again in (evidence, double_vote(sealed, hashes=(b"\xaa" * 32, b"\xcc" * 32))):
        with pytest.raises(AlreadyRecorded):
            submit(sealed, DOUBLE_VOTE, again.to_value())
    record(sealed, DOUBLE_VOTE, double_vote(sealed, slot=6))
    record(sealed, EQUIVOCATION, equivocation(sealed))
    assert sealed.lab.account("dora").credit_upt == 30 * POINT


def test_two_honest_votes_are_no_double_vote(sealed):
    vote = sealed.vote("dora", sealed.statement(5, b"\xaa" * 32))
    later = sealed.vote("dora", sealed.statement(6, b"\xbb" * 32))
    other = sealed.vote("cleo", sealed.statement(5, b"\xbb" * 32))
    forged = replace(sealed.vote("dora", sealed.statement(5, b"\xbb" * 32)), signature=vote.signature)
    cases = [
        (NotADoubleVote, vote, vote),
        (NotADoubleVote, vote, later),
        (NotADoubleVote, vote, other),
        (NotADoubleVote, double_vote(sealed).second, double_vote(sealed).first),
        (InvalidSignature, vote, forged),
    ]
    for error, first, second in cases:
        with pytest.raises(error):
            submit(sealed, DOUBLE_VOTE, DoubleVote(first=first, second=second).to_value())
    with pytest.raises(UnknownSigner):
        submit(sealed, DOUBLE_VOTE, double_vote(sealed, name="grid").to_value())


# --- offences where another chain keeps the credit -------------------------------------------------


@pytest.fixture
def with_credit_chain(make_chain):
    """A trading chain whose network has a credit chain."""
    return make_chain(siblings=(ChainParams(name="LH1", kind="credit", ledger=LedgerParams(period_ms=20_000)),))


def offences_of(chain):
    """(number, rows) of every offence in the outbox."""
    view = Overlay(chain.chain.head.state)
    entries = [entry for entry in get_entries(view) if entry.kind == "offence"]
    return [(entry.number, view.get(outbox_key("offence", entry.number, 0))[1]) for entry in entries]


def test_an_offence_is_told_to_the_credit_chain_which_keeps_the_penalty(with_credit_chain):
    chain, dora = with_credit_chain, with_credit_chain.lab.address("dora")
    evidence = equivocation(chain)
    execution = record(chain, EQUIVOCATION, evidence)
    assert execution.events == (("punished", dora, 70 * POINT),)
    account = chain.lab.account("dora")
    assert (account.credit_upt, account.penalty_upt) == (70 * POINT, 0), "until the next snapshot says what it is"
    assert offences_of(chain) == [(0, ((slot_of(evidence), dora, 20 * POINT),))]
    assert is_recorded(Overlay(chain.chain.head.state), evidence)


def test_offences_are_numbered_and_each_is_told_once(with_credit_chain):
    chain = with_credit_chain
    first, second = equivocation(chain), double_vote(chain, name="cleo")
    record(chain, EQUIVOCATION, first)
    record(chain, DOUBLE_VOTE, second, producer="bert")
    for kind, again in ((EQUIVOCATION, equivocation(chain, nonces=(1, 2))), (DOUBLE_VOTE, second)):
        with pytest.raises(AlreadyRecorded):
            submit(chain, kind, again.to_value())
    assert [(number, rows[0][:2]) for number, rows in offences_of(chain)] == [
        (0, (slot_of(first), chain.lab.address("dora"))),
        (1, (slot_of(second), chain.lab.address("cleo"))),
    ]


def test_every_offence_that_is_still_told_is_taken_in_whatever_comes_first():
    view = Overlay(State.empty())
    for number in reversed(range(_RETAINED_OFFENCES)):
        assert receive(view, "JY1", "offence", number, 0, 1), number


def test_whoever_has_no_credit_left_cannot_fill_the_outbox(with_credit_chain):
    chain = with_credit_chain
    chain.lab.extend(chain.earn("anna", "dora", 0))
    with pytest.raises(NothingToTake):
        submit(chain, EQUIVOCATION, equivocation(chain).to_value())
    assert offences_of(chain) == []


def test_a_network_without_a_credit_chain_takes_credit_at_once(make_chain):
    lines = SchedulingParams(
        areas=(Area(name="A", wheeling_uyuan_per_kwh=0),), lines=(Line(name="L", area="A", capacity_wh=1),)
    )
    sibling = ChainParams(name="DU1", kind="scheduling", ledger=LedgerParams(period_ms=20_000), scheduling=lines)
    chain = make_chain(siblings=(sibling,))
    record(chain, EQUIVOCATION, equivocation(chain))
    assert chain.lab.account("dora").credit_upt == 70 * POINT
    assert offences_of(chain) == []


# --- producer's kinds ------------------------------------------------------------------------------


def producers_transactions(slotted):
    return [
        (CERTIFICATE, slotted.certify(slotted.checkpoint, *SEALERS).to_value()),
        (EQUIVOCATION, equivocation(slotted).to_value()),
        (DOUBLE_VOTE, double_vote(slotted).to_value()),
    ]


def test_only_the_blocks_producer_may_put_them_in(slotted):
    for kind, item in producers_transactions(slotted):
        for sender, sequence in (("bert", 0), ("eve", 0), ("anna", 1)):
            with pytest.raises(ProducersOnly) as caught:
                slotted.lab.build(slotted.chain.head, slotted.lab.sign(sender, kind, item, sequence=sequence))
            assert caught.value.values == {"kind": kind}


def test_a_block_that_replays_one_is_invalid(slotted):
    head = slotted.chain.head
    for kind, item in producers_transactions(slotted):
        transaction = slotted.lab.sign("anna", kind, item)
        slotted.lab.extend(transaction)
        parent = slotted.chain.head
        empty, _ = slotted.lab.build(parent)
        header = replace(empty.header, tx_root=compute_tx_root([transaction]))
        replay = Block(header=header, transactions=(transaction,))
        with pytest.raises(InvalidBody) as caught:
            execute_block(parent.state, replay, slotted.lab.context(parent), slotted.lab.contracts, EnvelopeCache())
        assert caught.value.values["code"] == ("StaleCertificate" if kind == CERTIFICATE else "AlreadyRecorded")
    assert slotted.lab.account("anna").sequence == slotted.lab.account("anna", head).sequence


def test_the_bounds_of_genesis_leave_room_for_certificates_and_evidence(slotted):
    """512 bytes and 101 per signature for a certificate, 1024 for evidence: what the parameters assume."""
    far = replace(slotted.checkpoint, slot=2**63 - 1)
    for count in range(1, 5):
        certificate = slotted.certify(far, *SEALERS[:count])
        transaction = slotted.lab.sign("anna", CERTIFICATE, certificate.to_value(), expiry=2**63 - 1)
        assert len(transaction.raw) <= 512 + 101 * count
    numbers = {"height": 2**63 - 1, "timestamp_ms": 2**63 - 1, "period": 2**63 - 1, "nonce": 2**64 - 1}
    largest = replace(
        header_of(slotted, "dora", slotted.root, 0), credit_upt=MAX_CREDIT_UPT, n_diff=2**256 - 1, **numbers
    )
    evidence = Equivocation(first=largest, second=largest)
    assert len(slotted.lab.sign("anna", EQUIVOCATION, evidence.to_value(), expiry=2**63 - 1).raw) <= 1_024
    assert len(slotted.lab.sign("anna", DOUBLE_VOTE, double_vote(slotted, slot=2**63 - 1).to_value()).raw) <= 1_024
