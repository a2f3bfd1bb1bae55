"""Statements on a period's gate block, the votes that sign them and the certificates that votes form.

This is step 5 of the credit matching algorithm (text 000, §4.2). A `QuorumCertificate` with a Merkle proof is
the only cross-chain proof. A member is its 32-byte public key, a voter one that holds the sealing right in
the period.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from ledger.codec import Value, encode, expect_array, expect_bytes, expect_int, expect_list
from ledger.errors import (
    DuplicateSigner,
    NonCanonical,
    NotADoubleVote,
    ShortCertificate,
    UnknownSigner,
    VoteTooFarAhead,
    WrongChain,
)
from ledger.hashing import HASH_SIZE
from ledger.signatures import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, SigningKey, signing_digest, verify

MAX_SIGNERS = 1_024
MAX_PERIODS_AHEAD = 4


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
    """What a voter says of a period: its gate block, and the root of the result that block carries."""

    chain_id: bytes
    period: int
    block_hash: bytes
    result_root: bytes

    def __post_init__(self) -> None:
        assert len(self.chain_id) == len(self.block_hash) == len(self.result_root) == HASH_SIZE, self

    def to_value(self) -> Value:
        return (self.chain_id, self.period, self.block_hash, self.result_root)

    @classmethod
    def from_value(cls, value: Value) -> Statement:
        """Raises `WrongShape`."""
        chain_id, period, block_hash, result_root = expect_array(value, 4, "statement")
        return cls(
            chain_id=expect_bytes(chain_id, "chain id", size=HASH_SIZE),
            period=expect_int(period, "period"),
            block_hash=expect_bytes(block_hash, "gate block hash", size=HASH_SIZE),
            result_root=expect_bytes(result_root, "result root", size=HASH_SIZE),
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


def sign_statement(statement: Statement, key: SigningKey) -> Vote:
    """The vote of `key`, whose holder must first have recorded durably that it signs no other for the period."""
    return Vote(statement=statement, signer=key.public_key, signature=key.sign(statement.digest()))


def check_vote(vote: Vote, members: Collection[bytes], *, chain_id: bytes | None = None) -> None:
    """Raise unless the vote is by one of `members`, the voters of its period, and properly signed.

    Members may hold the same key on several chains: pass `chain_id` unless it has been compared already.
    Raises `WrongChain`, `UnknownSigner`, `InvalidKey` or `InvalidSignature`.
    """
    _check_chain(vote.statement, chain_id)
    if vote.signer not in members:
        raise UnknownSigner(signer=_show(vote.signer))
    verify(vote.signer, vote.statement.digest(), vote.signature, what="vote")


# --- what a quorum proves ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumCertificate:
    """One statement and the signatures of a quorum: pairs of public key and signature, ascending by key.

    Different quorums certify the same statement with different bytes: compare statements, never certificates.
    """

    statement: Statement
    signatures: tuple[tuple[bytes, bytes], ...]

    def to_value(self) -> Value:
        return (self.statement.to_value(), self.signatures)

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
    certificate: QuorumCertificate, members: Collection[bytes], quorum: int, *, chain_id: bytes | None = None
) -> None:
    """Raise unless at least `quorum` of `members`, the voters of the period, signed the statement.

    A certificate with one bad signature is refused whole, even if the rest would do. Pass `chain_id` unless
    it has been compared already. Raises `WrongChain`, `DuplicateSigner`, `NonCanonical`, `UnknownSigner`,
    `ShortCertificate`, `InvalidKey` or `InvalidSignature`: the cheap checks first.
    """
    voters = frozenset(members)
    assert 2 * quorum > len(voters), (quorum, len(voters))
    _check_chain(certificate.statement, chain_id)
    _check_ascending(certificate)
    for signer, _ in certificate.signatures:
        if signer not in voters:
            raise UnknownSigner(signer=_show(signer))
    if len(certificate.signatures) < quorum:
        raise ShortCertificate(actual=len(certificate.signatures), quorum=quorum)
    digest = certificate.statement.digest()
    for signer, signature in certificate.signatures:
        verify(signer, digest, signature, what="certificate")


# --- what convicts a voter -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleVote:
    """Evidence: two different statements for one period, both signed by one member.

    The lower (block hash, result root) comes first, so that every witness of the same two votes shows the
    same bytes.
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
        """Raises `WrongShape`; convicts nobody before `check_double_vote`."""
        first, second = expect_array(value, 2, "double vote")
        return cls(first=Vote.from_value(first), second=Vote.from_value(second))


def check_double_vote(evidence: DoubleVote, members: Collection[bytes], *, chain_id: bytes | None = None) -> None:
    """Raise unless the evidence convicts one of `members`, the voters of its period.

    Raises `NotADoubleVote`, and whatever `check_vote` raises of either vote.
    """
    first, second = evidence.first, evidence.second
    if first.signer != second.signer:
        raise NotADoubleVote(detail="two signers")
    if first.statement.chain_id != second.statement.chain_id:
        raise NotADoubleVote(detail="two chains")
    if first.statement.period != second.statement.period:
        raise NotADoubleVote(detail="two periods")
    if _conflict_order(first) >= _conflict_order(second):
        raise NotADoubleVote(detail="the same statement twice, or the higher one first")
    check_vote(first, members, chain_id=chain_id)
    check_vote(second, members, chain_id=chain_id)


# --- the collector -------------------------------------------------------------------------------


@dataclass(slots=True)
class _PeriodTally:
    votes: dict[bytes, Vote] = field(default_factory=dict)  # the first of each signer
    convicted: set[bytes] = field(default_factory=set)
    is_certified: bool = False


class VoteTally:
    """Collects the votes of one chain, period by period, until they form a certificate.

    `members_at(period)` gives the public keys with the sealing right in a period, and `quorum_of(n)` how many
    of n must agree. Holds at most one vote per member in each of `periods_ahead` + 1 periods, the first of
    them being the last one passed to `forget_before`.
    """

    def __init__(
        self,
        *,
        chain_id: bytes,
        members_at: Callable[[int], Collection[bytes]],
        quorum_of: Callable[[int], int] = checkpoint_quorum,
        periods_ahead: int = MAX_PERIODS_AHEAD,
    ) -> None:
        self._chain_id = chain_id
        self._members_at = members_at
        self._quorum_of = quorum_of
        self._periods_ahead = periods_ahead
        self._first_period = 0
        self._tallies: dict[int, _PeriodTally] = {}

    def add(self, vote: Vote) -> QuorumCertificate | DoubleVote | None:
        """Count a vote: a certificate once per period, evidence once per culprit and period, else None.

        A vote that can change nothing (late, or a repetition) is dropped before its signature is looked at.
        Raises `WrongChain`, `VoteTooFarAhead`, `UnknownSigner`, `InvalidKey` or `InvalidSignature`.
        """
        _check_chain(vote.statement, self._chain_id)
        period = vote.statement.period
        if period < self._first_period:
            return None
        if period > self._first_period + self._periods_ahead:
            raise VoteTooFarAhead(period=period, last=self._first_period + self._periods_ahead)
        tally = self._tallies.get(period, _PeriodTally())
        earlier = tally.votes.get(vote.signer)
        if earlier is not None and (earlier.statement == vote.statement or vote.signer in tally.convicted):
            return None
        members = frozenset(self._members_at(period))
        check_vote(vote, members)
        if earlier is not None:
            tally.convicted.add(vote.signer)
            first, second = sorted((earlier, vote), key=_conflict_order)
            return DoubleVote(first=first, second=second)
        self._tallies[period] = tally
        tally.votes[vote.signer] = vote
        return self._certify(tally, vote.statement, members)

    def votes(self, period: int) -> tuple[Vote, ...]:
        """The votes held for a period, ascending by signer, for a peer that missed them."""
        tally = self._tallies.get(period, _PeriodTally())
        return tuple(tally.votes[signer] for signer in sorted(tally.votes))

    def forget_before(self, period: int) -> None:
        """Drop every earlier period, and collect from `period` on. Never steps back."""
        self._first_period = max(self._first_period, period)
        for old in [known for known in self._tallies if known < self._first_period]:
            del self._tallies[old]

    def _certify(
        self, tally: _PeriodTally, statement: Statement, members: frozenset[bytes]
    ) -> QuorumCertificate | None:
        quorum = self._quorum_of(len(members))
        assert quorum >= checkpoint_quorum(len(members)), (quorum, len(members))
        # Members may have lost their right since they voted: only present ones count.
        agreeing = [vote for vote in tally.votes.values() if vote.statement == statement and vote.signer in members]
        if tally.is_certified or len(agreeing) < quorum:
            return None
        tally.is_certified = True
        return _build_certificate(statement, agreeing)


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


def _conflict_order(vote: Vote) -> tuple[bytes, bytes]:
    return (vote.statement.block_hash, vote.statement.result_root)


def _show(raw: bytes) -> str:
    return raw.hex()[:16]
