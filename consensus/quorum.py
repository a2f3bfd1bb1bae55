"""Statements on a slot's checkpoint, the votes that sign them and the certificates that votes form.

This is step 5 of the credit matching algorithm (text 000, §4.2): more than m members have signed the same block and,
beside it, the same digest of what was resolved up to it. A `QuorumCertificate` with a Merkle proof is the only
cross-chain proof. A member is its 32-byte public key, a voter one that holds the sealing right in the slot.

Members come and go, so a statement says as one of which voters it is signed: too few votes of today's would else be
enough for a reader that knows only a smaller set of former ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise

from consensus.errors import NotADoubleVote, ShortCertificate, UnknownSigner, VoteTooFarAhead, WrongVoters
from ledger.accounts import MAX_SEALERS
from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_list
from ledger.errors import DuplicateSigner, NonCanonical, WrongChain
from ledger.hashing import HASH_SIZE
from ledger.results import NOTHING
from ledger.sealers import ValidatorSet
from ledger.signatures import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, SigningKey, signing_digest, verify

MAX_SIGNERS = MAX_SEALERS
MAX_SLOTS_AHEAD = 4
_MAX_VOTE_BYTES = 1_024
_MAX_CERTIFICATE_BYTES = 1_000_000


def max_faulty(n: int) -> int:
    """f = ⌊(n − 1)/3⌋, the most Byzantine members among `n` ≥ 1 that a quorum can survive."""
    assert n >= 1, n
    return (n - 1) // 3


def checkpoint_quorum(n: int) -> int:
    """The least count q = m + 1, "more than m", with 2q > n + f: two quorums share an honest member."""
    return (n + max_faulty(n)) // 2 + 1


def pbft_quorum(n: int) -> int:
    """⌈(n + f + 1)/2⌉, as the PBFT literature writes the same number: 2f + 1 at n = 3f + 1."""
    return -(-(n + max_faulty(n) + 1) // 2)


# --- what is signed ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A voter's statement on a slot: the block that is its checkpoint, and the result it has computed.

    Under PBFT every height is a slot, and `view` the view in which the block was agreed on; checkpoints have none.
    `since_slot` names the voters: those in force since then, the founders by default. `result` is the digest of what
    waits for a certificate in the state after the block, 32 bytes or none (`ledger.results`).
    """

    chain_id: bytes
    slot: int
    block_hash: bytes
    view: int = 0
    since_slot: int = 0
    result: bytes = NOTHING

    def __post_init__(self) -> None:
        assert len(self.chain_id) == len(self.block_hash) == HASH_SIZE, self
        assert len(self.result) in (0, HASH_SIZE), self
        assert self.since_slot <= self.slot, self

    def to_value(self) -> Value:
        return (self.chain_id, self.slot, self.view, self.since_slot, self.block_hash, self.result)

    @classmethod
    def from_value(cls, value: Value) -> Statement:
        """Raises `WrongShape`."""
        chain_id, number, view, since_slot, block_hash, result = expect_array(value, 6, "statement")
        slot = expect_int(number, "slot")
        return cls(
            chain_id=expect_bytes(chain_id, "chain id", size=HASH_SIZE),
            slot=slot,
            view=expect_int(view, "view"),
            since_slot=expect_int(since_slot, "since slot", high=slot),
            block_hash=expect_bytes(block_hash, "checkpoint hash", size=HASH_SIZE),
            result=result if result == NOTHING else expect_bytes(result, "result", size=HASH_SIZE),
        )

    def digest(self) -> bytes:
        """The 32 bytes that a voter signs."""
        return signing_digest("statement", self.chain_id, encode(self.to_value()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A statement signed by one member; nothing is known of the signature before `check_vote`."""

    statement: Statement
    signer: bytes
    signature: bytes

    def to_value(self) -> Value:
        return (self.statement.to_value(), self.signer, self.signature)

    @classmethod
    def from_value(cls, value: Value) -> Vote:
        """Raises `WrongShape`."""
        statement, signer, signature = expect_array(value, 3, "vote")
        return cls(
            statement=Statement.from_value(statement),
            signer=expect_bytes(signer, "signer", size=PUBLIC_KEY_SIZE),
            signature=expect_bytes(signature, "vote signature", size=SIGNATURE_SIZE),
        )


@lru_cache(maxsize=1_024)
def read_vote(raw: bytes) -> Vote:
    """The vote of these bytes; the latest are remembered, for a vote comes from many neighbours.

    Raises the `Malformed` family.
    """
    return Vote.from_value(decode(raw, max_bytes=_MAX_VOTE_BYTES))


def sign_statement(statement: Statement, key: SigningKey) -> Vote:
    """The vote of `key`, which its holder must first have recorded durably that it signs no other for the slot."""
    return Vote(statement=statement, signer=key.public_key, signature=key.sign(statement.digest()))


def check_vote(vote: Vote, members: Collection[bytes], *, since_slot: int = 0, chain_id: bytes | None = None) -> None:
    """Raise unless the vote is by one of `members`, the voters since `since_slot`, as such, and properly signed.

    Members may hold the same key on several chains: pass `chain_id` unless it has been compared already.
    Raises `WrongChain`, `WrongVoters`, `UnknownSigner`, `InvalidKey` or `InvalidSignature`.
    """
    check_voters(vote.statement, since_slot)
    _check_signed(vote, members, chain_id)


def check_voters(statement: Statement, since_slot: int) -> None:
    """Raise `WrongVoters` unless it is a statement of the voters since that slot."""
    if statement.since_slot != since_slot:
        raise WrongVoters(expected=since_slot, actual=statement.since_slot)


def _check_signed(vote: Vote, members: Collection[bytes], chain_id: bytes | None) -> None:
    _check_chain(vote.statement, chain_id)
    if vote.signer not in members:
        raise UnknownSigner(signer=_show(vote.signer))
    verify(vote.signer, vote.statement.digest(), vote.signature, what="vote")


# --- what a quorum proves ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class QuorumCertificate:
    """One statement and the signatures of a quorum: pairs of public key and signature, ascending by key.

    Different quorums certify the same statement with different bytes: compare statements, never certificates.
    """

    statement: Statement
    signatures: tuple[tuple[bytes, bytes], ...]

    @cached_property
    def raw(self) -> bytes:
        """Canonical bytes."""
        return encode(self.to_value())

    def to_value(self) -> Value:
        return (self.statement.to_value(), self.signatures)

    @classmethod
    def from_bytes(cls, raw: bytes) -> QuorumCertificate:
        """Raises as `from_value` does."""
        return cls.from_value(decode(raw, max_bytes=_MAX_CERTIFICATE_BYTES))

    @classmethod
    def from_value(cls, value: Value) -> QuorumCertificate:
        """Raises the `Malformed` family or `DuplicateSigner`; proves nothing before `verify_certificate`."""
        statement, signatures = expect_array(value, 2, "certificate")
        pairs = expect_list(signatures, "certificate signatures", max_items=MAX_SIGNERS)
        certificate = cls(
            statement=Statement.from_value(statement),
            signatures=tuple(_read_signature(pair) for pair in pairs),
        )
        _check_ascending(certificate)
        return certificate


def verify_certificate(
    certificate: QuorumCertificate,
    members: Collection[bytes],
    quorum: int,
    *,
    since_slot: int = 0,
    chain_id: bytes | None = None,
) -> None:
    """Raise unless at least `quorum` of `members`, the voters since `since_slot`, signed the statement as such.

    A certificate with one bad signature is refused whole, even if the rest would do. Pass `chain_id` unless
    it has been compared already. Raises `WrongChain`, `WrongVoters`, `DuplicateSigner`, `NonCanonical`,
    `UnknownSigner`, `ShortCertificate`, `InvalidKey` or `InvalidSignature`: the cheap checks first.
    """
    voters = frozenset(members)
    assert 2 * quorum > len(voters), (quorum, len(voters))
    _check_chain(certificate.statement, chain_id)
    check_voters(certificate.statement, since_slot)
    _check_ascending(certificate)
    for signer, _ in certificate.signatures:
        if signer not in voters:
            raise UnknownSigner(signer=_show(signer))
    if len(certificate.signatures) < quorum:
        raise ShortCertificate(actual=len(certificate.signatures), quorum=quorum)
    verify_signatures(certificate.statement.digest(), certificate.signatures)


# --- what convicts a voter -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleVote:
    """Evidence: two statements for one slot and view, both signed by one member, that differ in whatever it be.

    So do those that name the same block but another result, or other voters: an honest member's guard lets it sign one
    statement per slot, even where on one branch a change of members takes effect that on another is given up. They
    stand in `conflict_order`, so that every witness of the same two votes shows the same bytes.
    """

    first: Vote
    second: Vote

    @property
    def signer(self) -> bytes:
        return self.first.signer

    def to_value(self) -> Value:
        return (self.first.to_value(), self.second.to_value())

    @classmethod
    def from_value(cls, value: Value) -> DoubleVote:
        """Read evidence; it convicts no member before `check_double_vote`. Raises `WrongShape`."""
        first, second = expect_array(value, 2, "double vote")
        return cls(first=Vote.from_value(first), second=Vote.from_value(second))


def check_double_vote(evidence: DoubleVote, members: Collection[bytes], *, chain_id: bytes | None = None) -> None:
    """Raise unless the evidence convicts one of `members`, whichever voters the two statements name.

    Raises `NotADoubleVote`, and whatever `check_vote` raises of either vote but `WrongVoters`.
    """
    first, second = evidence.first, evidence.second
    if first.signer != second.signer:
        raise NotADoubleVote(detail="two signers")
    if first.statement.chain_id != second.statement.chain_id:
        raise NotADoubleVote(detail="two chains")
    if (first.statement.slot, first.statement.view) != (second.statement.slot, second.statement.view):
        raise NotADoubleVote(detail="two slots or views")
    if conflict_order(first) >= conflict_order(second):
        raise NotADoubleVote(detail="the same statement twice, or the higher one first")
    _check_signed(first, members, chain_id)
    _check_signed(second, members, chain_id)


# --- the collector -------------------------------------------------------------------------------


@dataclass(slots=True)
class _SlotTally:
    votes: dict[bytes, Vote] = field(default_factory=dict)  # the first of each signer
    convicted: set[bytes] = field(default_factory=set)
    is_certified: bool = False


class VoteTally:
    """Collects the votes of one chain, slot by slot, until they form a certificate.

    `voters_at(slot)` gives the set that votes in a slot, and `quorum_of(n)` how many of n must agree. Holds at
    most one vote per member in each of `slots_ahead` + 1 slots, the first of them being the last one passed to
    `forget_before`.
    """

    def __init__(
        self,
        *,
        chain_id: bytes,
        voters_at: Callable[[int], ValidatorSet],
        quorum_of: Callable[[int], int] = checkpoint_quorum,
        slots_ahead: int = MAX_SLOTS_AHEAD,
    ) -> None:
        self._chain_id = chain_id
        self._voters_at = voters_at
        self._quorum_of = quorum_of
        self._slots_ahead = slots_ahead
        self._first_slot = 0
        self._tallies: dict[int, _SlotTally] = {}

    def add(self, vote: Vote) -> QuorumCertificate | DoubleVote | None:
        """Count a vote: a certificate once per slot, evidence once per culprit and slot, else None.

        A vote that can change nothing (late, or a repetition) is dropped before its signature is looked at.
        Raises `WrongChain`, `VoteTooFarAhead`, `WrongVoters`, `UnknownSigner`, `InvalidKey` or `InvalidSignature`.
        """
        _check_chain(vote.statement, self._chain_id)
        slot = vote.statement.slot
        if slot < self._first_slot:
            return None
        if slot > self._first_slot + self._slots_ahead:
            raise VoteTooFarAhead(slot=slot, last=self._first_slot + self._slots_ahead)
        tally = self._tallies.get(slot) or _SlotTally()
        earlier = tally.votes.get(vote.signer)
        if earlier is not None and (earlier.statement == vote.statement or vote.signer in tally.convicted):
            return None
        voters = self._voters_at(slot)
        check_vote(vote, voters.keys, since_slot=voters.since_slot)
        if earlier is not None:
            tally.convicted.add(vote.signer)
            first, second = sorted((earlier, vote), key=conflict_order)
            return DoubleVote(first=first, second=second)
        self._tallies[slot] = tally
        tally.votes[vote.signer] = vote
        return self._certify(tally, vote.statement, voters.keys)

    def votes(self, slot: int) -> tuple[Vote, ...]:
        """The votes held for a slot, ascending by signer, for a peer that missed them."""
        tally = self._tallies.get(slot, _SlotTally())
        return tuple(tally.votes[signer] for signer in sorted(tally.votes))

    def count(self, slot: int) -> int:
        """Number of votes held for a slot."""
        tally = self._tallies.get(slot)
        return 0 if tally is None else len(tally.votes)

    def forget_before(self, slot: int) -> None:
        """Drop every earlier slot, and collect from `slot` on. Never steps back."""
        self._first_slot = max(self._first_slot, slot)
        for old in [known for known in self._tallies if known < self._first_slot]:
            del self._tallies[old]

    def _certify(self, tally: _SlotTally, statement: Statement, members: Collection[bytes]) -> QuorumCertificate | None:
        quorum = self._quorum_of(len(members))
        assert quorum >= checkpoint_quorum(len(members)), (quorum, len(members))
        # Members may have lost their right since they voted: only present ones count.
        agreeing = [vote for vote in tally.votes.values() if vote.statement == statement and vote.signer in members]
        if tally.is_certified or len(agreeing) < quorum:
            return None
        tally.is_certified = True
        return _build_certificate(statement, agreeing)


@lru_cache(maxsize=1_024)
def verify_signatures(digest: bytes, signatures: tuple[tuple[bytes, bytes], ...]) -> None:
    """Remembered, for a certificate is looked at in every candidate block and with every proof that stands on it."""
    for signer, signature in signatures:
        verify(signer, digest, signature, what="certificate")


def _build_certificate(statement: Statement, votes: Iterable[Vote]) -> QuorumCertificate:
    signatures = tuple(sorted((vote.signer, vote.signature) for vote in votes))
    return QuorumCertificate(statement=statement, signatures=signatures)


def _check_chain(statement: Statement, chain_id: bytes | None) -> None:
    if chain_id is not None and statement.chain_id != chain_id:
        raise WrongChain(expected=_show(chain_id), actual=_show(statement.chain_id))


def _check_ascending(certificate: QuorumCertificate) -> None:
    signers = [signer for signer, _ in certificate.signatures]
    for left, right in pairwise(signers):
        if left == right:
            raise DuplicateSigner(signer=_show(left))
        if left > right:
            raise NonCanonical(detail="certificate signatures are not ascending by key")


def _read_signature(value: Value) -> tuple[bytes, bytes]:
    signer, signature = expect_array(value, 2, "certificate signature")
    return (
        expect_bytes(signer, "signer", size=PUBLIC_KEY_SIZE),
        expect_bytes(signature, "signature", size=SIGNATURE_SIZE),
    )


def conflict_order(vote: Vote) -> tuple[bytes, bytes, int]:
    """Block hash, result, voters: two votes of one slot and view that differ in this convict their signer."""
    return vote.statement.block_hash, vote.statement.result, vote.statement.since_slot


def _show(raw: bytes) -> str:
    return raw.hex()[:16]
