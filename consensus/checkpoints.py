"""Checkpoints: which of them to sign, when enough have signed, and what a producer must put on the chain.

Step 5 of the credit matching algorithm (text 000 section 4.2) as a pure state machine over votes and head states.
"""

from __future__ import annotations

from collections.abc import Iterator

from consensus.contracts import (
    CERTIFICATE,
    Evidence,
    author_of,
    compute_quorum,
    is_about,
    is_recorded,
    kind_of,
    slot_of,
)
from consensus.errors import UnexpectedView, VoteTooFarAhead
from consensus.quorum import DoubleVote, QuorumCertificate, Statement, Vote, VoteTally, verify_certificate
from consensus.signing_record import VOID, SigningRecord
from ledger.checkpoints import Checkpoint, get_checkpoints, get_undecided
from ledger.codec import Value
from ledger.overlay import Overlay
from ledger.params import ConsensusParams
from ledger.sealers import ValidatorSet, are_voters_known, get_voters
from ledger.state import State

_KEPT = 64  # certificates and pieces of evidence that wait for a block
_KEPT_PER_AUTHOR = 4
_SLOTS_AHEAD = 16


class Checkpoints:
    """The votes, certificates and evidence that one node knows of its chain."""

    def __init__(self, params: ConsensusParams, chain_id: bytes) -> None:
        self._params = params
        self._chain_id = chain_id
        self._view = Overlay(State.empty())  # of the head
        self._certificates: dict[int, QuorumCertificate] = {}
        self._evidence: dict[bytes, Evidence] = {}
        self._tally = VoteTally(
            chain_id=chain_id,
            voters_at=self.get_voters,
            quorum_of=lambda count: compute_quorum(params, count),
            slots_ahead=_SLOTS_AHEAD + params.checkpoint_lifetime,  # one's own votes are never too far ahead
        )

    def on_head(self, state: State, *, height: int) -> tuple[Statement, ...]:
        """The statements on checkpoints that are deep enough under a head at `height` to be signed.

        Call it once before anything else: it is how the members with the sealing right become known.
        """
        self._view = view = Overlay(state)
        undecided = get_undecided(view)
        recent = get_checkpoints(view)
        newest = recent[-1].slot if recent else 0
        self._tally.forget_before(min((item.slot for item in undecided), default=newest))
        return tuple(
            self._state(item, voters)
            for item in undecided
            if item.block_hash
            and height >= item.height + self._params.checkpoint_depth
            and (voters := get_voters(view, item.slot)).keys
        )

    def is_locked(self, state: State, statement: Statement, record: SigningRecord) -> bool:
        """Return True if what was signed for another slot forbids this statement on that state's branch.

        A member that has signed a checkpoint stays with its branch for `checkpoint_lifetime` slots, in which it is
        certified or given up: else one member's two votes could make checkpoints of two branches final. It is
        certified, too, where the slot is one before any whose voters the state knows: they have certified their
        successors.
        """
        view = Overlay(state)
        recent = get_checkpoints(view)
        known = {item.slot: item for item in recent}
        given_up = recent[-1].slot - self._params.checkpoint_lifetime if recent else -1
        for slot, digest in record.votes:
            voters = get_voters(view, slot)
            if digest == VOID or slot <= given_up or slot == statement.slot or slot < voters.since_slot:
                continue
            checkpoint = known.get(slot)
            if checkpoint is None or not checkpoint.block_hash or self._state(checkpoint, voters).digest() != digest:
                return True
        return False

    def add_vote(self, vote: Vote) -> QuorumCertificate | DoubleVote | None:
        """Count a vote.

        Raises `UnexpectedView`, `VoteTooFarAhead` too where its voters may still change, or as `VoteTally.add` does.
        """
        if vote.statement.view:
            raise UnexpectedView(view=vote.statement.view)  # two of one slot would convict no member
        outcome = self._tally.add(vote)
        match outcome:
            case QuorumCertificate():
                self.keep_certificate(outcome)
            case DoubleVote():
                self.add_evidence(outcome)
        return outcome

    def votes(self, slot: int) -> tuple[Vote, ...]:
        """The votes held for a slot."""
        return self._tally.votes(slot)

    def count_votes(self, slot: int) -> int:
        """Number of votes held for a slot."""
        return self._tally.count(slot)

    def find_missing(self, state: State, height: int) -> tuple[bytes, ...]:
        """The voters a checkpoint at or above `height` still lacks, for the checkpoint that lacks fewest.

        Empty where a state has no such checkpoint that is undecided and named.
        """
        view = Overlay(state)
        found = []
        for checkpoint in get_undecided(view):
            if checkpoint.height >= height and checkpoint.block_hash:
                votes = self.votes(checkpoint.slot)
                signers = {vote.signer for vote in votes if vote.statement.block_hash == checkpoint.block_hash}
                voters = get_voters(view, checkpoint.slot).keys
                found.append(tuple(key for key in voters if key not in signers))
        return min(found, key=len, default=())

    def add_certificate(self, certificate: QuorumCertificate, state: State | None = None) -> bool:
        """Take in a certificate from a peer; False where one for its slot is known, or it is too old to be kept.

        `state` is that after the certified block, and says who its voters are; without it, the head does.
        Raises `VoteTooFarAhead` where its voters are not known yet, and as `verify_certificate` does.
        """
        slot = certificate.statement.slot
        is_old = len(self._certificates) >= _KEPT and slot < min(self._certificates)
        if slot in self._certificates or is_old:
            return False
        self.check_certificate(certificate, state)
        self.keep_certificate(certificate)
        return True

    def check_certificate(self, certificate: QuorumCertificate, state: State | None = None) -> None:
        """Raise unless a quorum stands behind it: `VoteTooFarAhead`, or as `verify_certificate` does."""
        voters = self._voters_of(certificate.statement.slot, self._view if state is None else Overlay(state))
        quorum = compute_quorum(self._params, len(voters.keys))
        verify_certificate(certificate, voters.keys, quorum, since_slot=voters.since_slot, chain_id=self._chain_id)

    def keep_certificate(self, certificate: QuorumCertificate) -> None:
        """Take in one that has been verified."""
        self._certificates.setdefault(certificate.statement.slot, certificate)
        if len(self._certificates) > _KEPT:
            del self._certificates[min(self._certificates)]

    def get_certificate(self, slot: int) -> QuorumCertificate | None:
        return self._certificates.get(slot)

    @property
    def certified(self) -> tuple[bytes, ...]:
        """Hashes of the blocks whose certificates are held."""
        return tuple(certificate.statement.block_hash for certificate in self._certificates.values())

    def certificate_of(self, block_hash: bytes) -> QuorumCertificate | None:
        """The certificate of a checkpoint, by its hash."""
        for certificate in self._certificates.values():
            if certificate.statement.block_hash == block_hash:
                return certificate
        return None

    def add_evidence(self, evidence: Evidence) -> bool:
        """Keep checked evidence until a block has recorded it; whether it was news."""
        key = slot_of(evidence)
        author = author_of(evidence)
        waiting = (other for other in self._evidence.values() if author_of(other) == author)
        of_author = sum(not is_recorded(self._view, other) for other in waiting)
        if key in self._evidence or of_author >= _KEPT_PER_AUTHOR:
            return False  # a few offences take all the credit there is
        self._evidence[key] = evidence
        if len(self._evidence) > _KEPT:
            del self._evidence[next(iter(self._evidence))]
        return True

    def for_the_next_block(self, state: State) -> Iterator[tuple[str, Value]]:
        """(kind, payload item) of the producer's transactions that would take effect on `state`."""
        view = Overlay(state)
        for checkpoint in reversed(get_undecided(view)):  # a certificate covers all before it
            certificate = self._certificates.get(checkpoint.slot)
            if certificate is not None and is_about(certificate.statement, checkpoint):
                yield CERTIFICATE, certificate.to_value()
                break
        for evidence in self._evidence.values():
            if not is_recorded(view, evidence):
                yield kind_of(evidence), evidence.to_value()

    def get_voters(self, slot: int) -> ValidatorSet:
        """The validator set that certifies a slot, as far as the head tells. Raises `VoteTooFarAhead`."""
        return self._voters_of(slot, self._view)

    def _voters_of(self, slot: int, view: Overlay) -> ValidatorSet:
        """The validator set that certifies a slot, as far as a state tells. Raises `VoteTooFarAhead`."""
        voters = get_voters(view, slot)
        if not voters.keys or not are_voters_known(view, slot, self._params):
            recent = get_checkpoints(view)
            raise VoteTooFarAhead(slot=slot, last=min(recent[-1].slot if recent else 0, slot - 1))
        return voters

    def _state(self, checkpoint: Checkpoint, voters: ValidatorSet) -> Statement:
        return Statement(
            chain_id=self._chain_id,
            slot=checkpoint.slot,
            block_hash=checkpoint.block_hash,
            since_slot=voters.since_slot,
            result=checkpoint.result,
        )
