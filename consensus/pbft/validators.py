"""The validators of a height, the proofs that each message must hold, and the offences that convict one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from consensus.errors import NotADoubleVote, ShortCertificate, UnjustifiedProposal, UnknownSigner, WrongLeader
from consensus.pbft.messages import (
    Message,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ViewChange,
    check_ascending,
    check_claim,
    content_of,
    get_prepared,
    prepare_digest,
)
from consensus.quorum import (
    QuorumCertificate,
    Statement,
    Vote,
    check_voters,
    max_faulty,
    pbft_quorum,
    verify_certificate,
)
from ledger.codec import Value, expect_array, expect_int
from ledger.errors import WrongChain
from ledger.signatures import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Committee:
    """The validators of one height, in the order in which they lead."""

    chain_id: bytes
    validators: tuple[bytes, ...]
    since_slot: int = 0  # the first height that is theirs; a commit names it

    @property
    def faulty(self) -> int:
        """f: how many of them may be Byzantine."""
        return max_faulty(len(self.validators))

    @property
    def quorum(self) -> int:
        return pbft_quorum(len(self.validators))

    def leader(self, height: int, view: int) -> bytes:
        return self.validators[(height + view) % len(self.validators)]

    def check_signature(self, signer: bytes, digest: bytes, signature: bytes, what: str) -> None:
        """Raises `UnknownSigner`, `InvalidKey` or `InvalidSignature`."""
        if signer not in self.validators:
            raise UnknownSigner(signer=_show(signer))
        _verify(signer, digest, signature, what)


def check_message(message: Message, committee: Committee) -> None:
    """Raise unless the message proves what it says to a reader that knows the validators.

    Raises `WrongChain`, `WrongVoters`, `WrongLeader`, `UnjustifiedProposal`, `UnprovenClaim`, `UnknownSigner`,
    `DuplicateSigner`, `ShortCertificate`, `NonCanonical`, `InvalidKey` or `InvalidSignature`.
    """
    match message:
        case PrePrepare():
            check_pre_prepare(message, committee)
        case Prepare():
            committee.check_signature(message.signer, message.digest(committee.chain_id), message.signature, "prepare")
        case Vote():
            _check_chain(message.statement, committee)
            check_voters(message.statement, committee.since_slot)
            committee.check_signature(message.signer, message.statement.digest(), message.signature, "vote")
        case ViewChange():
            check_view_change(message, committee)
        case QuorumCertificate():
            verify_certificate(
                message,
                committee.validators,
                committee.quorum,
                since_slot=committee.since_slot,
                chain_id=committee.chain_id,
            )


def check_view_change(message: ViewChange, committee: Committee) -> None:
    """A view change as its signer sends it: with the proof of its claim."""
    check_claim(message)
    if message.prepared is not None:
        check_prepared(message.prepared, committee)
    _check_view_change_signature(message, committee)


def check_prepared(certificate: PreparedCertificate, committee: Committee) -> None:
    if len(certificate.signatures) < committee.quorum:
        raise ShortCertificate(actual=len(certificate.signatures), quorum=committee.quorum)
    check_ascending([signer for signer, _ in certificate.signatures])
    digest = prepare_digest(committee.chain_id, certificate.height, certificate.view, certificate.block_hash)
    for signer, signature in certificate.signatures:
        committee.check_signature(signer, digest, signature, "prepared certificate")


def check_pre_prepare(message: PrePrepare, committee: Committee) -> None:
    """Check that the proposal is its leader's, and that a view above 0 leaves it free to propose this block.

    A quorum must have come to such a view, and the block be the one prepared last, if any was.
    """
    leader = committee.leader(message.height, message.view)
    if message.signer != leader:
        raise WrongLeader(
            height=message.height, view=message.view, expected=_show(leader), actual=_show(message.signer)
        )
    if message.view == 0:
        if message.new_view:
            raise _unjustified(message, "view 0 needs no view changes")
    else:
        _check_new_view(message, committee)
    committee.check_signature(
        message.signer, message.prepare.digest(committee.chain_id), message.signature, "pre-prepare"
    )


def _check_new_view(message: PrePrepare, committee: Committee) -> None:
    check_ascending([view_change.signer for view_change in message.new_view])
    if len(message.new_view) < committee.quorum:
        raise ShortCertificate(actual=len(message.new_view), quorum=committee.quorum)
    for view_change in message.new_view:
        if (view_change.height, view_change.view) != (message.height, message.view):
            raise _unjustified(message, "a view change is for another height or view")
        check_claim(view_change)
    prepared = get_prepared(message.new_view)
    if prepared is not None:
        if prepared.block_hash != message.block_hash:
            raise _unjustified(message, f"view {prepared.view} prepared another block")
        check_prepared(prepared, committee)
    proofs = sum(1 for one in message.new_view if one.prepared is not None and one.prepared.signatures)
    if proofs != (prepared is not None):
        raise _unjustified(message, f"{proofs} claims come with a proof, only the highest may")
    for view_change in message.new_view:
        _check_view_change_signature(view_change, committee)


def _check_view_change_signature(message: ViewChange, committee: Committee) -> None:
    digest = message.digest(committee.chain_id)
    committee.check_signature(message.signer, digest, message.signature, "view change")


def _check_chain(statement: Statement, committee: Committee) -> None:
    if statement.chain_id != committee.chain_id:
        raise WrongChain(expected=_show(committee.chain_id), actual=_show(statement.chain_id))


@lru_cache(maxsize=8_192)
def _verify(signer: bytes, digest: bytes, signature: bytes, what: str) -> None:
    """Remembered, for the same prepares and view changes come alone, in certificates and in every new view."""
    verify(signer, digest, signature, what=what)


# --- what convicts a validator -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleBallot:
    """Evidence: two prepares, or two view changes, of one validator for one height and view that differ.

    Ascending by content and without proofs, so that every witness shows the same bytes. (`quorum.DoubleVote` is the
    same for commits.)
    """

    first: Prepare | ViewChange
    second: Prepare | ViewChange

    @property
    def signer(self) -> bytes:
        return self.first.signer

    def to_value(self) -> Value:
        return (int(isinstance(self.first, ViewChange)), self.first.to_value(), self.second.to_value())

    @classmethod
    def from_value(cls, value: Value) -> DoubleBallot:
        """Read evidence; it convicts no member before `check_double_ballot`. Raises the `Malformed` family."""
        code, first, second = expect_array(value, 3, "double ballot")
        if expect_int(code, "whether of view changes", high=1):
            return cls(first=ViewChange.from_value(first), second=ViewChange.from_value(second))
        return cls(first=Prepare.from_value(first), second=Prepare.from_value(second))


def build_double_ballot(one: Prepare | ViewChange, other: Prepare | ViewChange) -> DoubleBallot:
    plain = [ballot.without_proof() if isinstance(ballot, ViewChange) else ballot for ballot in (one, other)]
    first, second = sorted(plain, key=content_of)
    return DoubleBallot(first=first, second=second)


def check_double_ballot(evidence: DoubleBallot, committee: Committee) -> None:
    """Raise unless the evidence convicts a validator: `NotADoubleVote`, `UnknownSigner`, `InvalidSignature` …"""
    first, second = evidence.first, evidence.second
    if type(first) is not type(second):
        raise NotADoubleVote(detail="two phases")
    if (first.signer, first.height, first.view) != (second.signer, second.height, second.view):
        raise NotADoubleVote(detail="two signers, heights or views")
    if content_of(first) >= content_of(second):
        raise NotADoubleVote(detail="the same ballot twice, or the higher one first")
    for ballot in (first, second):
        committee.check_signature(ballot.signer, ballot.digest(committee.chain_id), ballot.signature, "ballot")


def _unjustified(message: PrePrepare, detail: str) -> UnjustifiedProposal:
    return UnjustifiedProposal(height=message.height, view=message.view, detail=detail)


def _show(raw: bytes) -> str:
    return raw.hex()[:16]
