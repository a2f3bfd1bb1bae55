"""Checkpoints: which gate blocks to sign, when enough have signed, and what a producer must put on the chain.

Step 5 of the credit matching algorithm (text 000 section 4.2) as a pure state machine over votes and head states.
"""

from __future__ import annotations

from collections.abc import Iterator

from consensus.contracts import (
    CERTIFICATE,
    DOUBLE_VOTE,
    EQUIVOCATION,
    compute_quorum,
    is_recorded,
    slot_of,
)
from consensus.evidence import Equivocation
from consensus.guard import GuardRecord
from consensus.quorum import DoubleVote, QuorumCertificate, Statement, Vote, VoteTally, verify_certificate
from ledger.accounts import get_sealers
from ledger.codec import Value
from ledger.gates import OPEN, Gate, get_gate, get_undecided
from ledger.overlay import Overlay
from ledger.params import ConsensusParams
from ledger.state import State

_KEPT = 64  # certificates and pieces of evidence that wait for a block
_PERIODS_AHEAD = 16


class Checkpoints:
    """The votes, certificates and evidence that one node knows of its chain."""

    def __init__(self, params: ConsensusParams, chain_id: bytes) -> None:
        self._params = params
        self._chain_id = chain_id
        self._sealers: tuple[bytes, ...] = ()
        self._certificates: dict[int, QuorumCertificate] = {}
        self._evidence: dict[bytes, Equivocation | DoubleVote] = {}
        self._tally = VoteTally(
            chain_id=chain_id,
            members_at=lambda period: self._sealers,
            quorum_of=lambda count: compute_quorum(params, count),
            periods_ahead=_PERIODS_AHEAD,
        )

    def on_head(self, state: State, *, height: int, period: int) -> tuple[Statement, ...]:
        """The statements on open gates that are deep enough under a head at `height`, in `period`, to be signed.

        Call it once before anything else: it is how the members with the sealing right become known.
        """
        view = Overlay(state)
        self._sealers = get_sealers(view)
        undecided = get_undecided(view)
        due = []
        for gate_period in undecided:
            gate = get_gate(view, gate_period)
            assert gate is not None
            if gate.block_hash and height >= gate.height + self._params.checkpoint_depth:
                statement = Statement(
                    chain_id=self._chain_id,
                    period=gate_period,
                    block_hash=gate.block_hash,
                    result_root=gate.result_root,
                )
                due.append(statement)
        self._tally.forget_before(min(undecided, default=period))
        return tuple(due)

    def is_locked(self, state: State, statement: Statement, record: GuardRecord, *, period: int) -> bool:
        """Whether what was signed for another period forbids this statement on a head in `period`.

        Whoever has signed a gate block stays with its branch until the delivery of that period begins, when it is
        certified or void: else one member's two votes could make gate blocks of two branches final.
        """
        view = Overlay(state)
        for signed_period, digest in record.votes:
            if signed_period <= period or signed_period == statement.period:
                continue
            gate = get_gate(view, signed_period)
            if gate is None or not gate.block_hash or self._state_gate(signed_period, gate).digest() != digest:
                return True
        return False

    def add_vote(self, vote: Vote) -> QuorumCertificate | DoubleVote | None:
        """Count a vote; raises as `VoteTally.add` does."""
        outcome = self._tally.add(vote)
        match outcome:
            case QuorumCertificate():
                self._keep_certificate(outcome)
            case DoubleVote():
                self.add_evidence(outcome)
        return outcome

    def votes(self, period: int) -> tuple[Vote, ...]:
        """The votes held for a period."""
        return self._tally.votes(period)

    def add_certificate(self, certificate: QuorumCertificate) -> bool:
        """Take in a certificate from a peer; False where one for its period is known.

        Raises as `verify_certificate` does.
        """
        if certificate.statement.period in self._certificates:
            return False
        quorum = compute_quorum(self._params, len(self._sealers))
        verify_certificate(certificate, self._sealers, quorum, chain_id=self._chain_id)
        self._keep_certificate(certificate)
        return True

    def get_certificate(self, period: int) -> QuorumCertificate | None:
        return self._certificates.get(period)

    def certificate_of(self, block_hash: bytes) -> QuorumCertificate | None:
        """The certificate of a gate block, by its hash."""
        for certificate in self._certificates.values():
            if certificate.statement.block_hash == block_hash:
                return certificate
        return None

    def add_evidence(self, evidence: Equivocation | DoubleVote) -> bool:
        """Keep checked evidence until a block has recorded it; whether it was news."""
        key = slot_of(evidence)
        if key in self._evidence:
            return False
        self._evidence[key] = evidence
        if len(self._evidence) > _KEPT:
            del self._evidence[next(iter(self._evidence))]
        return True

    def for_the_next_block(self, state: State) -> Iterator[tuple[str, Value]]:
        """(kind, payload item) of the producer's transactions that would take effect on `state`."""
        view = Overlay(state)
        for period in get_undecided(view):
            gate, certificate = get_gate(view, period), self._certificates.get(period)
            if gate is None or certificate is None or gate.status != OPEN:
                continue
            statement = certificate.statement
            if (gate.block_hash, gate.result_root) == (statement.block_hash, statement.result_root):
                yield CERTIFICATE, certificate.to_value()
        for evidence in self._evidence.values():
            if not is_recorded(view, evidence):
                kind = EQUIVOCATION if isinstance(evidence, Equivocation) else DOUBLE_VOTE
                yield kind, evidence.to_value()

    def _keep_certificate(self, certificate: QuorumCertificate) -> None:
        self._certificates.setdefault(certificate.statement.period, certificate)
        if len(self._certificates) > _KEPT:
            del self._certificates[min(self._certificates)]

    def _state_gate(self, period: int, gate: Gate) -> Statement:
        return Statement(
            chain_id=self._chain_id, period=period, block_hash=gate.block_hash, result_root=gate.result_root
        )
