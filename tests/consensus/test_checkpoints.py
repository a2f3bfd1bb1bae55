"""Checkpoints: which gates are due for signing, when votes certify one, and what waits for the next block."""

from dataclasses import replace

import pytest

from consensus.checkpoints import Checkpoints
from consensus.contracts import CERTIFICATE, DOUBLE_VOTE, EQUIVOCATION
from consensus.evidence import Equivocation
from consensus.guard import GuardRecord
from consensus.quorum import DoubleVote, QuorumCertificate
from ledger.errors import InvalidSignature, ShortCertificate, UnknownSigner, VoteTooFarAhead, WrongChain
from ledger.gates import CERTIFIED, VOID, get_gate, put_gate
from ledger.overlay import Overlay

A_ROOT, B_ROOT = b"\x11" * 32, b"\x22" * 32


class Watcher:
    """Checkpoints of one node that follows a chain."""

    def __init__(self, sealed):
        self.sealed = sealed
        self.checkpoints = Checkpoints(sealed.params, sealed.chain_id)
        self.look(sealed.chain.head)

    def look(self, entry=None):
        """What is due under a head, the chain's unless another is given."""
        entry = entry or self.sealed.chain.head
        return self.checkpoints.on_head(entry.state, height=entry.height, period=entry.header.period)

    def vote(self, name, statement):
        return self.checkpoints.add_vote(self.sealed.vote(name, statement))

    def waiting(self, entry=None):
        """Kinds of what the next block ought to hold."""
        return [kind for kind, _ in self.checkpoints.for_the_next_block((entry or self.sealed.chain.head).state)]


@pytest.fixture
def gated(make_chain):
    """genesis ── g (the gate of period 5 closes) ── h   <- head; depth 2; `gated.gate` is the statement on it."""
    chain = make_chain(consensus={"checkpoint_depth": 2})
    g = chain.extend("anna", chain.close_gate("anna", 5, A_ROOT))
    chain.extend("bert")
    chain.gate = chain.statement(5, g.hash, A_ROOT)
    return chain


def decided(entry, period, status):
    view = Overlay(entry.state)
    put_gate(view, period, get_gate(view, period)._replace(status=status))
    view.commit()
    return replace(entry, state=view.finish()[0])


# --- what is due -----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_a_gate_is_due_at_the_configured_depth(make_chain, depth):
    chain = make_chain(consensus={"checkpoint_depth": depth})
    g = chain.extend("anna", chain.close_gate("anna", 5))
    watcher = Watcher(chain)
    assert watcher.look() == ()  # nobody knows the block's hash in its own state
    for height in range(2, 8):
        chain.extend("bert")
        due = (chain.statement(5, g.hash),) if height >= 1 + depth else ()
        assert watcher.look() == due


def test_gates_are_due_until_they_are_decided_in_order_of_their_periods(gated):
    chain = gated
    g2 = chain.extend("anna", chain.close_gate("anna", 4, B_ROOT, sequence=1))
    for name in ("bert", "cleo"):
        chain.extend(name)
    watcher = Watcher(chain)
    assert watcher.look() == (chain.statement(4, g2.hash, B_ROOT), chain.gate)
    head = chain.chain.head
    assert watcher.look(decided(head, 4, VOID)) == (chain.gate,)
    assert watcher.look(decided(decided(head, 4, VOID), 5, CERTIFIED)) == ()


def test_a_signer_with_a_guard_signs_once_per_period_across_reorgs_and_restarts(make_chain):
    # genesis ── g ── a2 ── a3         the gate of 5 over A_ROOT
    #         └─ h ── b2 ── b3 ── b4   the gate of 5 over B_ROOT
    chain = make_chain(consensus={"checkpoint_depth": 1})
    branches = []
    for name, root, length in (("anna", A_ROOT, 2), ("bert", B_ROOT, 3)):
        entry = chain.add(chain.root, name, chain.close_gate("anna", 5, root))
        branch = [entry]
        for _ in range(length):
            branch.append(chain.add(branch[-1], name))
        branches.append(branch)
    guard, signed = GuardRecord(), []
    for entry in (branches[0][1], branches[0][2], branches[1][2], branches[1][3], branches[0][2]):
        watcher = Watcher(chain)  # a restart before every head
        for statement in watcher.look(entry):
            if guard.may_sign(statement):
                guard = GuardRecord.from_value(guard.after_vote(statement).to_value())
                signed.append(statement)
    assert set(signed) == {chain.statement(5, branches[0][0].hash, A_ROOT)}


# --- votes and certificates ------------------------------------------------------------------------


def test_more_than_m_identical_statements_certify_the_gate(gated):
    watcher = Watcher(gated)
    assert watcher.vote("anna", gated.gate) is None
    assert watcher.vote("anna", gated.gate) is None  # said again
    assert watcher.vote("bert", replace(gated.gate, result_root=B_ROOT)) is None  # not identical
    assert watcher.vote("cleo", gated.gate) is None
    assert watcher.checkpoints.get_certificate(5) is None
    certificate = watcher.vote("dora", gated.gate)
    assert isinstance(certificate, QuorumCertificate)
    assert certificate == gated.certify(gated.gate, "anna", "cleo", "dora")
    assert watcher.checkpoints.get_certificate(5) == certificate
    assert watcher.checkpoints.certificate_of(gated.gate.block_hash) == certificate
    assert watcher.checkpoints.certificate_of(b"?" * 32) is None
    assert len(watcher.checkpoints.votes(5)) == 4
    assert watcher.checkpoints.votes(6) == ()


def test_votes_that_count_for_nothing_are_named(gated):
    watcher = Watcher(gated)
    with pytest.raises(UnknownSigner):
        watcher.vote("grid", gated.gate)
    with pytest.raises(WrongChain):
        watcher.vote("anna", replace(gated.gate, chain_id=b"\xee" * 32))
    with pytest.raises(InvalidSignature):
        watcher.checkpoints.add_vote(replace(gated.vote("anna", gated.gate), signature=bytes(64)))
    with pytest.raises(VoteTooFarAhead) as caught:
        watcher.vote("anna", replace(gated.gate, period=22))
    assert caught.value.values == {"period": 22, "last": 21}
    assert watcher.checkpoints.votes(5) == ()


def test_votes_for_periods_gone_by_are_dropped(gated):
    watcher = Watcher(gated)
    watcher.vote("anna", gated.gate)
    watcher.vote("anna", replace(gated.gate, period=7))
    assert watcher.vote("bert", replace(gated.gate, period=4)) is None
    assert watcher.checkpoints.votes(4) == ()
    head = decided(gated.chain.head, 5, CERTIFIED)
    later = replace(head, header=replace(head.header, period=6))
    watcher.look(later)
    assert watcher.checkpoints.votes(5) == ()
    assert len(watcher.checkpoints.votes(7)) == 1


def test_a_certificate_from_a_peer_is_verified_and_taken_once(gated):
    watcher = Watcher(gated)
    cases = [
        (ShortCertificate, gated.certify(gated.gate, "anna", "bert")),
        (UnknownSigner, gated.certify(gated.gate, "anna", "bert", "eve")),
        (WrongChain, gated.certify(replace(gated.gate, chain_id=b"\xee" * 32), "anna", "bert", "cleo")),
    ]
    for error, certificate in cases:
        with pytest.raises(error):
            watcher.checkpoints.add_certificate(certificate)
    good = gated.certify(gated.gate, "anna", "bert", "cleo")
    assert watcher.checkpoints.add_certificate(good)
    assert not watcher.checkpoints.add_certificate(good)
    assert not watcher.checkpoints.add_certificate(gated.certify(gated.gate, "anna", "bert", "cleo", "dora"))
    assert watcher.checkpoints.get_certificate(5) == good


def test_certificates_are_bounded_and_the_oldest_periods_go_first(gated):
    watcher = Watcher(gated)
    for period in range(1, 71):
        statement = replace(gated.gate, period=period)
        assert watcher.checkpoints.add_certificate(gated.certify(statement, "anna", "bert", "cleo"))
    held = [period for period in range(1, 71) if watcher.checkpoints.get_certificate(period)]
    assert held == list(range(7, 71))


# --- what waits for a block ------------------------------------------------------------------------


def test_a_certificate_waits_until_its_gate_is_certified_on_the_branch(gated):
    watcher = Watcher(gated)
    certificate = gated.certify(gated.gate, "anna", "bert", "cleo")
    assert watcher.waiting() == []
    watcher.checkpoints.add_certificate(certificate)
    assert watcher.waiting(gated.root) == []
    ((kind, item),) = watcher.checkpoints.for_the_next_block(gated.chain.head.state)
    assert (kind, item) == (CERTIFICATE, certificate.to_value())
    recorded = gated.extend("cleo", gated.lab.sign("cleo", kind, item))
    assert get_gate(Overlay(recorded.state), 5).status == CERTIFIED
    assert watcher.waiting() == []


def test_a_certificate_for_another_branchs_gate_does_not_wait_here(gated):
    watcher = Watcher(gated)
    other = replace(gated.gate, block_hash=b"\x99" * 32)
    watcher.checkpoints.add_certificate(gated.certify(other, "anna", "bert", "cleo"))
    assert watcher.waiting() == []


def equivocation(chain, name, number):
    parent = number.to_bytes(32, "big")
    block = chain.lab.build(chain.root, producer=name)[0]
    headers = [replace(block.header, parent=parent).sealed(nonce, chain.key(name)) for nonce in (0, 1)]
    first, second = sorted(headers, key=lambda header: header.hash)
    return Equivocation(first=first, second=second)


def test_two_statements_by_one_member_become_evidence_once(gated):
    watcher = Watcher(gated)
    watcher.vote("dora", gated.gate)
    evidence = watcher.vote("dora", replace(gated.gate, result_root=B_ROOT))
    assert isinstance(evidence, DoubleVote)
    assert watcher.vote("dora", replace(gated.gate, result_root=b"\x33" * 32)) is None
    assert not watcher.checkpoints.add_evidence(evidence)
    ((kind, item),) = watcher.checkpoints.for_the_next_block(gated.chain.head.state)
    assert (kind, item) == (DOUBLE_VOTE, evidence.to_value())
    gated.extend("anna", gated.lab.sign("anna", kind, item))
    assert watcher.waiting() == []


def test_evidence_waits_until_it_is_recorded_on_the_branch(gated):
    watcher = Watcher(gated)
    evidence = equivocation(gated, "dora", 1)
    assert watcher.checkpoints.add_evidence(evidence)
    assert not watcher.checkpoints.add_evidence(evidence)
    assert not watcher.checkpoints.add_evidence(replace(evidence, second=evidence.first))  # the same offence
    assert watcher.waiting() == [EQUIVOCATION]
    fork = gated.chain.head
    recorded = gated.extend("anna", gated.lab.sign("anna", EQUIVOCATION, evidence.to_value()))
    assert watcher.waiting(recorded) == []
    assert watcher.waiting(fork) == [EQUIVOCATION]  # after a reorg it waits again


def test_evidence_is_bounded(gated):
    watcher = Watcher(gated)
    for number in range(70):
        assert watcher.checkpoints.add_evidence(equivocation(gated, "dora", number))
    assert watcher.waiting() == [EQUIVOCATION] * 64


# --- locks -----------------------------------------------------------------------------------------


def test_whoever_signed_a_gate_stays_with_its_branch_until_its_delivery_begins(gated):
    checkpoints, head, root = Watcher(gated).checkpoints, gated.chain.head, gated.root
    signed = GuardRecord().after_vote(gated.gate)
    later = gated.statement(6, b"\x06" * 32, B_ROOT)
    assert not checkpoints.is_locked(head.state, later, signed, period=4), "the signed gate is on this branch"
    assert checkpoints.is_locked(root.state, later, signed, period=4), "it is not on this one"
    assert not checkpoints.is_locked(root.state, later, signed, period=5), "delivery has begun"
    assert not checkpoints.is_locked(root.state, gated.gate, signed, period=4), "the same period is the guard's matter"

    elsewhere = GuardRecord().after_vote(gated.statement(5, b"\x07" * 32, A_ROOT))
    assert checkpoints.is_locked(head.state, later, elsewhere, period=4), "another gate block for the same period"
