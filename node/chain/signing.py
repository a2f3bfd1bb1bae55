"""The right of a node to sign: what its record says of its own key is a claim like any other until others bear it out.

A directory may have been put back as it was yesterday, or be in use twice, and neither shows in it. So after every
start a member signs nothing before f + 1 others, at least one of them honest, have said where they stand and which of
its own signatures they hold, and this chain has come to where they stand; or before a block made since the start is
final, for then a quorum has seen all that there was. Whatever turns up under its key meanwhile, or later, that the
record does not know keeps it silent until the chain has left that behind: see `SigningRecord.silent_until`.

A record that is known to be old, for it was restored from a backup, is believed by nobody's word: others may have been
shown less than the key has signed. It takes that final block, and some more, whatever the owner is sure of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from consensus.errors import UnknownSigner
from consensus.pbft.messages import Ballot, Prepare, ViewChange, decode_message
from consensus.quorum import Vote, check_vote, max_faulty
from consensus.signing_record import SigningRecord
from ledger.accounts import get_sealers
from ledger.block import Header
from ledger.chain import Chain
from ledger.errors import StoreReadOnly, WrongShape
from ledger.overlay import Overlay
from ledger.signatures import SigningKey, verify
from node.chain import messages as wire
from node.chain.events import Action, PeerId, PersistSigningRecord, Publish, Send, StopSealing
from node.chain.progress import Allowed, Reaction, Silenced, Step
from node.errors import RolledBack

SigningState: TypeAlias = Literal["read-only", "observer", "restored", "waits", "record-behind", "signs"]


class PeerHead(NamedTuple):
    """The place where a peer said it stood."""

    head: bytes
    work: int
    final_height: int


class Signing:
    """The right of one key to sign on one chain since this start, and the record of what it has signed.

    With `is_sure` its owner answers for the record, but not for a restored one. Raises `RolledBack` where the chain
    ends below what was signed, unless the record says itself that it was restored.
    """

    def __init__(self, chain: Chain, key: SigningKey | None, record: SigningRecord, *, is_sure: bool) -> None:
        check_height(record, chain.head.height)
        self.record = record
        self.is_sure = is_sure and not record.is_restored
        self.refusal: StoreReadOnly | None = None  # why the disk takes no record, in this life of the node
        self.has_met_stranger = False  # since this start, a signature that the record did not know
        self._chain = chain
        self._key = None if key is None else key.public_key
        self._heads: dict[PeerId, PeerHead] = {}  # of each that has answered
        self._is_confirmed = self.is_sure
        self._final_height = chain.final_height
        self._started_ms = 0
        self._told: SigningState | None = None

    def begin(self, now_ms: int, refusal: StoreReadOnly | None) -> None:
        self._started_ms, self.refusal = now_ms, refusal

    # --- the right -------------------------------------------------------------------------------

    @property
    def state(self) -> SigningState:
        """The state of the key: free to sign, or the reason why it may not."""
        if self.refusal is not None:
            return "read-only"
        if self._key is None:
            return "observer"
        if self.record.is_restored:
            return "restored"
        if not self.is_sure and self._chain.final_height < self.record.silent_until:
            return "record-behind"
        return "signs" if self._is_confirmed else "waits"

    @property
    def may_sign(self) -> bool:
        return self.state == "signs"

    @property
    def silent_until(self) -> int:
        """The height that must be final before this node signs, 0 where there is none to wait for."""
        return self.record.silent_until if self.state == "record-behind" else 0

    @property
    def is_waiting(self) -> bool:
        """True while the answers of others are needed."""
        return self._key is not None and not self._is_confirmed and self.refusal is None

    def review(self) -> Reaction:
        """Begin to sign where that has become possible, and say so; say so, too, where it no longer is."""
        reaction: list[Step] = []
        if self._confirm():
            if self.record.is_restored:
                self.record = self.record.after_proof(self._chain.head.height)
                reaction.append(self.persist())
            elif self.has_met_stranger:  # a stranger may have seen all that the others have
                reaction += self.fall_silent(0)
        state = self.state
        if state == self._told or state == "observer":
            return reaction
        self._told = state
        reaction.append(Publish(event=(f"signing-{state}", self._chain.head.height, self.silent_until)))
        return [*reaction, Allowed() if state == "signs" else StopSealing()]

    def fall_silent(self, height: int) -> Reaction:
        """Fall silent: this node's key has signed elsewhere, by an old record or another process."""
        if self.is_sure:
            return []
        self.has_met_stranger = True
        self.record = self.record.after_stranger(max(height, self._chain.head.height))
        return [Silenced(), self.persist()]

    # --- the record ------------------------------------------------------------------------------

    def persist(self) -> PersistSigningRecord:
        """The action that makes the record of now durable."""
        return PersistSigningRecord(record=self.record)

    def notice_seal(self, header: Header, *, is_second: bool) -> Reaction:
        """Fall silent at this node's own block that its record does not account for. A final block binds no more."""
        if header.producer != self._key or header.height <= self._chain.final_height:
            return []
        is_strange = is_second or not self.record.knows_seal(header)
        return self.fall_silent(header.height) if is_strange else []

    # --- what others say of it -------------------------------------------------------------------

    def ask(self, peers: Iterable[PeerId]) -> list[Action]:
        """Ask the peers that have not answered and are still to answer."""
        unasked = [peer for peer in peers if peer not in self._heads] if self.is_waiting else []
        return [Send(peer=peer, message=wire.GetSigned()) for peer in unasked]

    def hear(self, peer: PeerId, message: wire.Signed) -> None:
        """Note a peer's answer. The first one counts, so that no peer can keep moving on."""
        if self.is_waiting:
            work = int.from_bytes(message.work, "big")
            self._heads.setdefault(peer, PeerHead(message.head, work, message.final_height))

    def _confirm(self) -> bool:
        """Take stock; whether all that is needed has just come together.

        A head that is claimed and cannot be had counts for nothing, and against nothing either.
        """
        if not self.is_waiting or not (self._is_fresh_block_final() or self._is_borne_out()):
            return False
        self._is_confirmed = True
        return True

    def _is_borne_out(self) -> bool:
        """Tell whether enough others have said where they stand, and that is here; not enough for a restored record."""
        if self.record.is_restored:
            return False
        sealers = get_sealers(Overlay(self._chain.head.state))
        others = [sealer for sealer in sealers if sealer != self._key]
        needed = min(max_faulty(len(sealers)) + 1, len(others)) if sealers else 0
        return sum(self._has_reached(other) for other in others) >= needed

    def _has_reached(self, peer: PeerId) -> bool:
        """Tell whether this chain has come to where a peer stood, or to as much work and finality on another branch.

        A lighter branch is not fetched, and its peer may have left it: where all start again with their heads apart,
        no node would come to it. What this key sealed on it is on another parent than the head of now.
        """
        told, chain = self._heads.get(peer), self._chain
        if told is None:
            return False
        header = chain.get_header(told.head)
        if header is not None and header.height <= chain.head.height:
            return True
        return chain.head.work >= told.work and chain.final_height >= told.final_height

    def _is_fresh_block_final(self) -> bool:
        if self._chain.final_height <= self._final_height:
            return False
        final = self._chain.get_header(self._chain.final_hash)
        return final is not None and final.timestamp_ms >= self._started_ms


def check_height(record: SigningRecord, height: int) -> None:
    """Raise `RolledBack` where a chain of this height lacks what was signed, and the record does not say why."""
    if height < record.signed_height and not record.is_restored:
        raise RolledBack(expected=record.signed_height, actual=height)


def read_own_ballot(raw: bytes, key: bytes, chain_id: bytes) -> Ballot:
    """A ballot that a peer says is this key's. Raises the `Malformed` family unless it is.

    Raises `UnknownSigner`, `WrongChain`, `InvalidKey` or `InvalidSignature`, too.
    """
    ballot = decode_message(raw)
    if not isinstance(ballot, Prepare | Vote | ViewChange):
        raise WrongShape(what="own ballot", detail="expected a prepare, a vote or a view change")
    if ballot.signer != key:
        raise UnknownSigner(signer=ballot.signer.hex()[:16])
    if isinstance(ballot, Vote):
        check_vote(ballot, (key,), since_slot=ballot.statement.since_slot, chain_id=chain_id)
    else:
        verify(key, ballot.digest(chain_id), ballot.signature, what="own ballot")
    return ballot
