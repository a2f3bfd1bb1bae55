"""The messages between PBFT replicas, and their canonical bytes; `validators.py` has what they must prove.

A pre-prepare is its leader's prepare with the reason why it may lead; a commit is a `quorum.Vote`, so that a quorum of
them is the one certificate that proves a decision to any reader. Castro and Liskov, "Practical Byzantine Fault
Tolerance" (OSDI 1999), one instance of agreement per height; text 001 section II-A names the algorithm for this market.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

from consensus.errors import UnknownMessage, UnprovenClaim
from consensus.quorum import MAX_SIGNERS, QuorumCertificate, Vote
from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_list
from ledger.errors import DuplicateSigner, NonCanonical
from ledger.hashing import HASH_SIZE
from ledger.signatures import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, SigningKey, signing_digest

MAX_VIEW = 2**32 - 1
MAX_MESSAGE_BYTES = 512_000  # a proposal with the view changes of `MAX_SIGNERS` and one proof

Signatures: TypeAlias = tuple[tuple[bytes, bytes], ...]  # public key and signature, ascending by key


# --- the messages --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Its signer found the block that `view` proposes for `height` valid, and prepares no other in that view."""

    height: int
    view: int
    block_hash: bytes
    signer: bytes
    signature: bytes

    def digest(self, chain_id: bytes) -> bytes:
        return prepare_digest(chain_id, self.height, self.view, self.block_hash)

    def to_value(self) -> Value:
        return (self.height, self.view, self.block_hash, self.signer, self.signature)

    @classmethod
    def from_value(cls, value: Value) -> Prepare:
        """Raises `WrongShape`."""
        height, view, block_hash, signer, signature = expect_array(value, 5, "prepare")
        return cls(
            height=expect_int(height, "height"),
            view=_read_view(view),
            block_hash=_read_hash(block_hash),
            signer=expect_bytes(signer, "signer", size=PUBLIC_KEY_SIZE),
            signature=expect_bytes(signature, "signature", size=SIGNATURE_SIZE),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCertificate:
    """The prepares of a quorum: no other block can have been prepared in that view.

    The next leader must propose this one. Without signatures it is a mere claim.
    """

    height: int
    view: int
    block_hash: bytes
    signatures: Signatures

    @property
    def prepares(self) -> tuple[Prepare, ...]:
        """The prepares that it was made of."""
        return tuple(
            Prepare(height=self.height, view=self.view, block_hash=self.block_hash, signer=signer, signature=signature)
            for signer, signature in self.signatures
        )

    def to_value(self) -> Value:
        return (self.height, self.view, self.block_hash, self.signatures)

    @classmethod
    def from_value(cls, value: Value) -> PreparedCertificate:
        """Raises the `Malformed` family or `DuplicateSigner`."""
        height, view, block_hash, signatures = expect_array(value, 4, "prepared certificate")
        certificate = cls(
            height=expect_int(height, "height"),
            view=_read_view(view),
            block_hash=_read_hash(block_hash),
            signatures=_read_signatures(signatures),
        )
        check_ascending([signer for signer, _ in certificate.signatures])
        return certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewChange:
    """Its signer has left every view below `view`, and says what it had prepared last, if anything.

    The signature covers the claim (view and hash of `prepared`), not the proof of it.
    """

    height: int
    view: int
    prepared: PreparedCertificate | None
    signer: bytes
    signature: bytes

    def digest(self, chain_id: bytes) -> bytes:
        return view_change_digest(chain_id, self.height, self.view, self.prepared)

    def without_proof(self) -> ViewChange:
        if self.prepared is None:
            return self
        return replace(self, prepared=replace(self.prepared, signatures=()))

    def to_value(self) -> Value:
        prepared = None if self.prepared is None else self.prepared.to_value()
        return (self.height, self.view, prepared, self.signer, self.signature)

    @classmethod
    def from_value(cls, value: Value) -> ViewChange:
        """Raises the `Malformed` family or `DuplicateSigner`."""
        height, view, prepared, signer, signature = expect_array(value, 5, "view change")
        message = cls(
            height=expect_int(height, "height"),
            view=_read_view(view, low=1),
            prepared=None if prepared is None else PreparedCertificate.from_value(prepared),
            signer=expect_bytes(signer, "signer", size=PUBLIC_KEY_SIZE),
            signature=expect_bytes(signature, "signature", size=SIGNATURE_SIZE),
        )
        check_claim(message)
        return message


@dataclass(frozen=True, slots=True, kw_only=True)
class PrePrepare:
    """The leader's proposal, which is its prepare.

    In a view above 0 it carries the new view: a quorum of view changes, ascending by signer, with the proof of the
    highest claim among them and of no other.
    """

    height: int
    view: int
    block_hash: bytes
    new_view: tuple[ViewChange, ...]
    signer: bytes
    signature: bytes

    @property
    def prepare(self) -> Prepare:
        return Prepare(
            height=self.height,
            view=self.view,
            block_hash=self.block_hash,
            signer=self.signer,
            signature=self.signature,
        )

    def to_value(self) -> Value:
        new_view = tuple(message.to_value() for message in self.new_view)
        return (self.height, self.view, self.block_hash, new_view, self.signer, self.signature)

    @classmethod
    def from_value(cls, value: Value) -> PrePrepare:
        """Raises the `Malformed` family or `DuplicateSigner`."""
        height, view, block_hash, new_view, signer, signature = expect_array(value, 6, "pre-prepare")
        return cls(
            height=expect_int(height, "height"),
            view=_read_view(view),
            block_hash=_read_hash(block_hash),
            new_view=read_new_view(new_view),
            signer=expect_bytes(signer, "signer", size=PUBLIC_KEY_SIZE),
            signature=expect_bytes(signature, "signature", size=SIGNATURE_SIZE),
        )


Ballot: TypeAlias = Prepare | Vote | ViewChange  # what may be signed once per height, view and phase
Message: TypeAlias = PrePrepare | Ballot | QuorumCertificate  # the certificate answers late peers

_READERS: tuple[Callable[[Value], Message], ...] = (
    PrePrepare.from_value,
    Prepare.from_value,
    lambda body: _read_vote(body),
    ViewChange.from_value,
    QuorumCertificate.from_value,
)
_CODES: dict[type, int] = {PrePrepare: 0, Prepare: 1, Vote: 2, ViewChange: 3, QuorumCertificate: 4}


def encode_message(message: Message) -> bytes:
    return encode((_CODES[type(message)], message.to_value()))


def decode_message(data: bytes) -> Message:
    """Raises the `Malformed` family or `DuplicateSigner`; nothing is known of the signatures yet."""
    code, body = expect_array(decode(data, max_bytes=MAX_MESSAGE_BYTES), 2, "agreement message")
    number = expect_int(code, "agreement message code")
    if number >= len(_READERS):
        raise UnknownMessage(kind=number)
    return _READERS[number](body)


def height_of(message: Message) -> int:
    return message.statement.slot if isinstance(message, Vote | QuorumCertificate) else message.height


def view_of(message: Message) -> int:
    return message.statement.view if isinstance(message, Vote | QuorumCertificate) else message.view


def content_of(ballot: Ballot) -> tuple[int, bytes]:
    """The content of the ballot beyond its phase, height and view: two that differ in this convict their signer."""
    match ballot:
        case Vote():
            return ballot.statement.view, ballot.statement.block_hash + ballot.statement.result
        case Prepare():
            return ballot.view, ballot.block_hash
        case ViewChange(prepared=None):
            return -1, b""
        case ViewChange(prepared=prepared):
            assert prepared is not None
            return prepared.view, prepared.block_hash


# --- making them ---------------------------------------------------------------------------------


def prepare_digest(chain_id: bytes, height: int, view: int, block_hash: bytes) -> bytes:
    return signing_digest("pbft-prepare", chain_id, encode((height, view, block_hash)))


def view_change_digest(chain_id: bytes, height: int, view: int, prepared: PreparedCertificate | None) -> bytes:
    claim = None if prepared is None else (prepared.view, prepared.block_hash)
    return signing_digest("pbft-view-change", chain_id, encode((height, view, claim)))


def sign_prepare(key: SigningKey, chain_id: bytes, *, height: int, view: int, block_hash: bytes) -> Prepare:
    signature = key.sign(prepare_digest(chain_id, height, view, block_hash))
    return Prepare(height=height, view=view, block_hash=block_hash, signer=key.public_key, signature=signature)


def sign_pre_prepare(
    key: SigningKey, chain_id: bytes, *, height: int, view: int, block_hash: bytes, new_view: tuple[ViewChange, ...]
) -> PrePrepare:
    return PrePrepare(
        height=height,
        view=view,
        block_hash=block_hash,
        new_view=new_view,
        signer=key.public_key,
        signature=key.sign(prepare_digest(chain_id, height, view, block_hash)),
    )


def sign_view_change(
    key: SigningKey, chain_id: bytes, *, height: int, view: int, prepared: PreparedCertificate | None
) -> ViewChange:
    signature = key.sign(view_change_digest(chain_id, height, view, prepared))
    return ViewChange(height=height, view=view, prepared=prepared, signer=key.public_key, signature=signature)


def build_prepared(prepares: Sequence[Prepare]) -> PreparedCertificate:
    """The certificate that prepares of one block in one view form."""
    first = prepares[0]
    return PreparedCertificate(
        height=first.height,
        view=first.view,
        block_hash=first.block_hash,
        signatures=tuple(sorted((prepare.signer, prepare.signature) for prepare in prepares)),
    )


def build_certificate(votes: Sequence[Vote]) -> QuorumCertificate:
    """The certificate that votes for one statement form."""
    signatures = tuple(sorted((vote.signer, vote.signature) for vote in votes))
    return QuorumCertificate(statement=votes[0].statement, signatures=signatures)


def build_new_view(view_changes: Sequence[ViewChange]) -> tuple[ViewChange, ...]:
    """The view changes as a proposal carries them: all proofs left out but that of the highest claim."""
    ordered = sorted(view_changes, key=lambda message: message.signer)
    highest = max(ordered, key=content_of)
    return tuple(message if message is highest else message.without_proof() for message in ordered)


def get_prepared(new_view: Sequence[ViewChange]) -> PreparedCertificate | None:
    """The highest claim among view changes, whose block must be proposed again; None leaves the leader free."""
    return max(new_view, key=content_of).prepared if new_view else None


# --- reading -------------------------------------------------------------------------------------


def read_new_view(value: Value) -> tuple[ViewChange, ...]:
    items = expect_list(value, "new view", max_items=MAX_SIGNERS)
    new_view = tuple(ViewChange.from_value(item) for item in items)
    check_ascending([message.signer for message in new_view])
    return new_view


def check_claim(message: ViewChange) -> None:
    prepared = message.prepared
    if prepared is not None and not (prepared.height == message.height and prepared.view < message.view):
        raise UnprovenClaim(height=message.height, view=message.view, detail="prepared at another height or later")


def _read_vote(value: Value) -> Vote:
    vote = Vote.from_value(value)
    _read_view(vote.statement.view)
    return vote


def _read_view(value: Value, *, low: int = 0) -> int:
    return expect_int(value, "view", low=low, high=MAX_VIEW)


def _read_hash(value: Value) -> bytes:
    return expect_bytes(value, "block hash", size=HASH_SIZE)


def _read_signatures(value: Value) -> Signatures:
    pairs = [expect_array(pair, 2, "signature") for pair in expect_list(value, "signatures", max_items=MAX_SIGNERS)]
    return tuple(
        (
            expect_bytes(signer, "signer", size=PUBLIC_KEY_SIZE),
            expect_bytes(signature, "signature", size=SIGNATURE_SIZE),
        )
        for signer, signature in pairs
    )


def check_ascending(signers: Sequence[bytes]) -> None:
    for left, right in pairwise(signers):
        if left == right:
            raise DuplicateSigner(signer=_show(left))
        if left > right:
            raise NonCanonical(detail="signers are not ascending")


def _show(raw: bytes) -> str:
    return raw.hex()[:16]
