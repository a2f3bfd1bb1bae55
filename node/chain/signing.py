"""The right of a node to sign: what its record says of its own key is a claim like any other until others bear it out.

A directory may have been put back as it was yesterday, or be in use twice, and neither shows in it. So after every
start a member signs nothing before f + 1 others, at least one of them honest, have said where they stand and which of
its own signatures they hold, and this chain has come to where they stand; or before a block made since the start is
final, for then a quorum has seen all that there was. Whatever turns up under its key meanwhile, or later, that the
record does not know keeps it silent until the chain has left that behind: see `GuardRecord.silent_until`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from consensus.errors import (
    UnknownSigner,
)
from consensus.pbft.messages import Ballot, Prepare, ViewChange, decode_message
from consensus.quorum import Vote, check_vote, max_faulty
from ledger.chain import Chain
from ledger.errors import (
    WrongShape,
)
from ledger.signatures import verify
from node.chain.events import PeerId

SigningState: TypeAlias = Literal["observer", "waits", "record-behind", "signs"]


class PeerHead(NamedTuple):
    """The place where a peer said it stood."""

    head: bytes
    work: int
    final_height: int


class Signing:
    """The right of one key to sign on one chain since this start. With `is_sure` its owner answers for the record."""

    def __init__(self, chain: Chain, key: bytes | None, *, is_sure: bool) -> None:
        self.is_sure = is_sure
        self.has_met_stranger = False  # since this start, a signature that the record did not know
        self._chain = chain
        self._key = key
        self._told: dict[PeerId, PeerHead] = {}  # of each that has answered
        self._is_confirmed = is_sure
        self._final_height = chain.final_height
        self._started_ms = 0

    def begin(self, now_ms: int) -> None:
        self._started_ms = now_ms

    @property
    def is_waiting(self) -> bool:
        """True while the answers of others are needed."""
        return self._key is not None and not self._is_confirmed

    def unasked(self, peers: Iterable[PeerId]) -> list[PeerId]:
        """Those whose answer is still wanted."""
        return [peer for peer in peers if peer not in self._told] if self.is_waiting else []

    def hear(self, peer: PeerId, standing: PeerHead) -> None:
        """Note a peer's answer. The first one counts, so that nobody can keep moving on."""
        if self.is_waiting:
            self._told.setdefault(peer, standing)

    def confirm(self, sealers: tuple[bytes, ...]) -> bool:
        """Take stock; whether all that is needed has just come together.

        A head that is claimed and cannot be had counts for nothing, and against nothing either.
        """
        if not self.is_waiting or not (self._is_fresh_block_final() or self._have_enough_told(sealers)):
            return False
        self._is_confirmed = True
        return True

    def get_state(self, silent_until: int) -> SigningState:
        """The state of the key, given the height that its record has it silent until."""
        if self._key is None:
            return "observer"
        if not self.is_sure and self._chain.final_height < silent_until:
            return "record-behind"
        return "signs" if self._is_confirmed else "waits"

    def _have_enough_told(self, sealers: tuple[bytes, ...]) -> bool:
        others = [sealer for sealer in sealers if sealer != self._key]
        needed = min(max_faulty(len(sealers)) + 1, len(others)) if sealers else 0
        return sum(self._has_reached(other) for other in others) >= needed

    def _has_reached(self, peer: PeerId) -> bool:
        """Tell whether this chain has come to where a peer stood, or to as much work and finality on another branch.

        A lighter branch is not fetched, and its peer may have left it: where all start again with their heads apart,
        nobody would come to it. What this key sealed on it is on another parent than the head of now.
        """
        told, chain = self._told.get(peer), self._chain
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
