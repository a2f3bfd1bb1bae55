"""Certificates and evidence on the chain: what they change, once, and why each other one is refused."""

from dataclasses import replace

import pytest

from consensus.contracts import CERTIFICATE, DOUBLE_VOTE, EQUIVOCATION, compute_quorum, is_recorded
from consensus.evidence import Equivocation
from consensus.quorum import DoubleVote
from ledger.block import MAX_CREDIT_UPT, Block, compute_tx_root
from ledger.errors import (
    AlreadyRecorded,
    DuplicateSigner,
    InvalidBody,
    InvalidSignature,
    NotADoubleVote,
    NotAnEquivocation,
    NothingToTake,
    ProducersOnly,
    ShortCertificate,
    StaleCertificate,
    TooLarge,
    UnknownSigner,
    WrongChain,
    WrongShape,
)
from ledger.execution import EnvelopeCache, execute_block
from ledger.gates import CERTIFIED, VOID, get_gate, get_undecided, put_gate
from ledger.overlay import Overlay
from ledger.params import ConsensusParams

POINT = 1_000_000
SEALERS = ("anna", "bert", "cleo", "dora")  # n = 4: f = 1, quorum 3
A_ROOT, B_ROOT = b"\x11" * 32, b"\x22" * 32


@pytest.fixture
def gated(sealed):
    """genesis ── g (the gate of period 5 closes) ── h   <- head; `gated.gate` is the statement on it."""
    g = sealed.extend("anna", sealed.close_gate("anna", 5, A_ROOT))
    sealed.extend("bert")
    sealed.gate = sealed.statement(5, g.hash, A_ROOT)
    return sealed


def submit(sealed, kind, *payload, producer="anna", parent=None):
    """The block with a producer's transaction on the head, executed but not added."""
    parent = parent or sealed.chain.head
    return sealed.lab.build(parent, sealed.lab.sign(producer, kind, *payload), producer=producer)[1]


def record(sealed, kind, evidence, producer="anna"):
    """A block that records evidence, as the new head."""
    entry = sealed.lab.extend(sealed.lab.sign(producer, kind, evidence.to_value()), producer=producer)
    return entry.execution


def gate_of(execution, period=5):
    return get_gate(Overlay(execution.state), period)


# --- certificates ----------------------------------------------------------------------------------


def test_a_certificate_by_a_quorum_marks_the_gate(gated):
    certificate = gated.certify(gated.gate, "anna", "cleo", "dora")
    execution = submit(gated, CERTIFICATE, certificate.to_value(), producer="bert")
    assert gate_of(execution) == get_gate(Overlay(gated.chain.head.state), 5)._replace(status=CERTIFIED)
    assert get_undecided(Overlay(execution.state)) == ()
    assert execution.events == (("certified", 5, gated.gate.block_hash, 3),)
    assert [receipt.code for receipt in execution.receipts] == [""]


def test_all_may_sign(gated):
    certificate = gated.certify(gated.gate, *SEALERS)
    assert gate_of(submit(gated, CERTIFICATE, certificate.to_value())).status == CERTIFIED


@pytest.mark.parametrize(
    ("statement", "detail"),
    [
        (lambda g: replace(g.gate, period=6), "no open gate"),
        (lambda g: replace(g.gate, block_hash=b"\x99" * 32), "for another gate block or result"),
        (lambda g: replace(g.gate, result_root=B_ROOT), "for another gate block or result"),
    ],
)
def test_a_certificate_for_another_gate_is_stale(gated, statement, detail):
    wrong = statement(gated)
    with pytest.raises(StaleCertificate) as caught:
        submit(gated, CERTIFICATE, gated.certify(wrong, *SEALERS).to_value())
    assert caught.value.values == {"period": wrong.period, "detail": detail}
    assert str(caught.value) == f"certificate for period {wrong.period}: {detail}"


def test_a_gate_cannot_be_certified_in_the_block_that_closes_it(sealed):
    """Its hash is not known before the next block, and an empty hash matches no statement."""
    block, _ = sealed.lab.build(sealed.root, sealed.close_gate("anna", 5))
    g = sealed.extend("anna", sealed.close_gate("anna", 5))
    assert gate_of(g.execution).block_hash == b""
    statement = sealed.statement(5, block.hash)
    with pytest.raises(StaleCertificate, match="for another gate block"):
        sealed.lab.build(
            sealed.root,
            sealed.close_gate("anna", 5),
            sealed.lab.sign("anna", CERTIFICATE, sealed.certify(statement, *SEALERS).to_value()),
        )


@pytest.mark.parametrize("status", [CERTIFIED, VOID])
def test_a_decided_gate_takes_no_certificate(gated, status):
    view = Overlay(gated.chain.head.state)
    put_gate(view, 5, get_gate(view, 5)._replace(status=status))
    view.commit()
    parent = replace(gated.chain.head, state=view.finish()[0])
    with pytest.raises(StaleCertificate, match="certificate for period 5: no open gate"):
        submit(gated, CERTIFICATE, gated.certify(gated.gate, *SEALERS).to_value(), parent=parent)


def test_a_certificate_takes_effect_once(gated):
    first = gated.certify(gated.gate, "anna", "bert", "cleo")
    gated.lab.extend(gated.lab.sign("anna", CERTIFICATE, first.to_value()))
    for again in (first, gated.certify(gated.gate, *SEALERS)):
        with pytest.raises(StaleCertificate):
            submit(gated, CERTIFICATE, again.to_value())


def test_what_proves_nothing_is_refused(gated):
    good = gated.certify(gated.gate, "anna", "bert", "cleo")
    foreign = replace(gated.gate, chain_id=b"\xee" * 32)
    twice = replace(good, signatures=(good.signatures[0], *good.signatures))
    signer, signature = good.signatures[0]
    forged = replace(good, signatures=((signer, bytes([signature[0] ^ 1]) + signature[1:]), *good.signatures[1:]))
    cases = [
        (ShortCertificate, gated.certify(gated.gate, "anna", "bert")),
        (UnknownSigner, gated.certify(gated.gate, "anna", "bert", "grid")),
        (UnknownSigner, gated.certify(gated.gate, *SEALERS, "eve")),
        (WrongChain, gated.certify(foreign, *SEALERS)),
        (DuplicateSigner, twice),
        (InvalidSignature, forged),
    ]
    for error, certificate in cases:
        with pytest.raises(error):
            submit(gated, CERTIFICATE, certificate.to_value())
    assert gate_of(submit(gated, CERTIFICATE, good.to_value())).status == CERTIFIED


@pytest.mark.parametrize("kind", [CERTIFICATE, EQUIVOCATION, DOUBLE_VOTE])
@pytest.mark.parametrize("payload", [(), (1, 2), (None,), (b"",), ((),), ((1, 2),), (((), ()),)])
def test_a_payload_of_the_wrong_shape_is_refused(gated, kind, payload):
    with pytest.raises(WrongShape):
        submit(gated, kind, *payload)


def test_too_many_signatures_are_refused_before_they_are_looked_at(gated):
    with pytest.raises(TooLarge):
        submit(gated, CERTIFICATE, (gated.gate.to_value(), ((bytes(32), bytes(64)),) * 1_025))


def test_a_quorum_is_more_than_m_but_never_less_than_intersection_needs(make_chain):
    assert [compute_quorum(ConsensusParams(), n) for n in (1, 2, 3, 4, 7, 10)] == [1, 2, 2, 3, 5, 7]
    assert [compute_quorum(ConsensusParams(checkpoint_m=m), 4) for m in (1, 2, 3)] == [3, 3, 4]
    strict = make_chain(consensus={"checkpoint_m": 3})
    g = strict.extend("anna", strict.close_gate("anna", 5))
    strict.extend("bert")
    statement = strict.statement(5, g.hash)
    with pytest.raises(ShortCertificate) as caught:
        submit(strict, CERTIFICATE, strict.certify(statement, "anna", "bert", "cleo").to_value())
    assert caught.value.values == {"actual": 3, "quorum": 4}
    assert gate_of(submit(strict, CERTIFICATE, strict.certify(statement, *SEALERS).to_value())).status == CERTIFIED


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


def double_vote(sealed, name="dora", period=5, hashes=(b"\xaa" * 32, b"\xbb" * 32)):
    first, second = (sealed.vote(name, sealed.statement(period, block_hash)) for block_hash in hashes)
    return DoubleVote(first=first, second=second)


def test_a_double_vote_costs_credit_exactly_once_per_period(sealed):
    evidence = double_vote(sealed)
    record(sealed, DOUBLE_VOTE, evidence)
    assert sealed.lab.account("dora").credit_upt == 70 * POINT
    assert is_recorded(Overlay(sealed.chain.head.state), evidence)
    for again in (evidence, double_vote(sealed, hashes=(b"\xaa" * 32, b"\xcc" * 32))):
        with pytest.raises(AlreadyRecorded):
            submit(sealed, DOUBLE_VOTE, again.to_value())
    record(sealed, DOUBLE_VOTE, double_vote(sealed, period=6))
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


# --- producer's kinds ------------------------------------------------------------------------------


def producers_transactions(gated):
    return [
        (CERTIFICATE, gated.certify(gated.gate, *SEALERS).to_value()),
        (EQUIVOCATION, equivocation(gated).to_value()),
        (DOUBLE_VOTE, double_vote(gated).to_value()),
    ]


def test_only_the_blocks_producer_may_put_them_in(gated):
    for kind, item in producers_transactions(gated):
        for sender, sequence in (("bert", 0), ("eve", 0), ("anna", 1)):
            with pytest.raises(ProducersOnly) as caught:
                gated.lab.build(gated.chain.head, gated.lab.sign(sender, kind, item, sequence=sequence))
            assert caught.value.values == {"kind": kind}


def test_a_block_that_replays_one_is_invalid(gated):
    head = gated.chain.head
    for kind, item in producers_transactions(gated):
        transaction = gated.lab.sign("anna", kind, item)
        gated.lab.extend(transaction)
        parent = gated.chain.head
        empty, _ = gated.lab.build(parent)
        header = replace(empty.header, tx_root=compute_tx_root([transaction]))
        replay = Block(header=header, transactions=(transaction,))
        with pytest.raises(InvalidBody) as caught:
            execute_block(parent.state, replay, gated.lab.context(parent), gated.lab.contracts, EnvelopeCache())
        assert caught.value.values["code"] == ("StaleCertificate" if kind == CERTIFICATE else "AlreadyRecorded")
    assert gated.lab.account("anna").sequence == gated.lab.account("anna", head).sequence


def test_the_bounds_of_genesis_leave_room_for_certificates_and_evidence(gated):
    """512 bytes and 101 per signature for a certificate, 1024 for evidence: what the parameters assume."""
    far = replace(gated.gate, period=2**63 - 1)
    for count in range(1, 5):
        certificate = gated.certify(far, *SEALERS[:count])
        transaction = gated.lab.sign("anna", CERTIFICATE, certificate.to_value(), expiry=2**63 - 1)
        assert len(transaction.raw) <= 512 + 101 * count
    numbers = {"height": 2**63 - 1, "timestamp_ms": 2**63 - 1, "period": 2**63 - 1, "nonce": 2**64 - 1}
    largest = replace(header_of(gated, "dora", gated.root, 0), credit_upt=MAX_CREDIT_UPT, n_diff=2**256 - 1, **numbers)
    evidence = Equivocation(first=largest, second=largest)
    assert len(gated.lab.sign("anna", EQUIVOCATION, evidence.to_value(), expiry=2**63 - 1).raw) <= 1_024
    assert len(gated.lab.sign("anna", DOUBLE_VOTE, double_vote(gated, period=2**63 - 1).to_value()).raw) <= 1_024
