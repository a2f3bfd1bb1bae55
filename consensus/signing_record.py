"""The record of what a key has already signed, so that no crash makes it sign twice.

The node fsyncs the record to a file of its own before anything it guards leaves the machine. A copy of that file may be
put back, or used twice: whether it is the whole truth, only others can tell (`node.chain.signing`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from consensus.pbft.record import PbftRecord
from consensus.quorum import Statement
from ledger.block import Header
from ledger.codec import Value, expect_array, expect_bytes, expect_int, expect_list
from ledger.errors import WrongShape

_KEPT = 256  # slots remembered; the chain moves on by far more than this before one could come back
_MARGIN = 8  # heights by which the chain leaves a strange signature behind: another process with the key shows itself
VOID = bytes(32)  # in the place of a statement's digest
_UNKNOWN = 2**63 - 1  # in the place of a height: no number says how far the key has gone


_NOTHING_AGREED = PbftRecord()


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRecord:
    """Height of the last block sealed, parents sealed on, and (slot, digest) of statements signed, ascending.

    The height falls only where the head does; a store whose head is below it has been rolled back. A slot whose
    statement is `VOID` is never signed for again, and binds to nothing. Under PBFT the record of the agreement stands
    for all that. `silent_until` is the height that must be final before the key signs again: something has been seen
    under it that this record does not know, or may be there, where the record was restored (`is_restored`).
    """

    height: int = 0
    parents: tuple[bytes, ...] = ()
    votes: tuple[tuple[int, bytes], ...] = ()
    agreement: PbftRecord = _NOTHING_AGREED
    silent_until: int = 0

    @property
    def is_restored(self) -> bool:
        """True where it comes from a backup, or its ledger was thrown away: what was signed since, it cannot know."""
        return self.silent_until == _UNKNOWN

    @property
    def signed_height(self) -> int:
        """The height at which a chain must stand at least, for the key has signed there."""
        return max(self.height, self.agreement.height - 1)

    def may_seal_on(self, parent: bytes) -> bool:
        return parent not in self.parents

    def may_sign(self, statement: Statement) -> bool:
        """Return True if signing keeps to one statement per slot. A slot older than all kept ones is refused."""
        signed = dict(self.votes)
        if statement.slot in signed:
            return signed[statement.slot] == statement.digest()
        return len(self.votes) < _KEPT or statement.slot > self.votes[0][0]

    def knows_seal(self, header: Header) -> bool:
        """True for a block of this key's that this record accounts for, or is too old to be in it."""
        return header.height <= self.height or header.parent in self.parents

    def knows_statement(self, statement: Statement) -> bool:
        """True for a vote of this key's that this record accounts for, or is too old to be in it."""
        signed = dict(self.votes)
        if statement.slot in signed:
            return signed[statement.slot] in (statement.digest(), VOID)  # of a void one something is known to be signed
        return len(self.votes) == _KEPT and statement.slot < self.votes[0][0]

    def after_seal(self, *, height: int, parent: bytes) -> SigningRecord:
        assert self.may_seal_on(parent), "a second block on one parent"
        return replace(self, height=height, parents=(*self.parents, parent)[-_KEPT:])

    def after_vote(self, statement: Statement) -> SigningRecord:
        assert self.may_sign(statement), "a second statement for one slot"
        votes = {**dict(self.votes), statement.slot: statement.digest()}
        return replace(self, votes=tuple(sorted(votes.items()))[-_KEPT:])

    def after_clock(self, latest_slot: int) -> SigningRecord:
        """Statements of later slots are void: the clock was ahead when they were signed, and has been set back.

        They are for blocks that no node with a right clock lets in. A node with a wrong clock is one of the f faulty;
        kept to its word, it would sign nothing until those slots had come.
        """
        if not any(slot > latest_slot and digest != VOID for slot, digest in self.votes):
            return self
        votes = tuple((slot, VOID if slot > latest_slot else digest) for slot, digest in self.votes)
        return replace(self, votes=votes)

    def after_head(self, height: int) -> SigningRecord:
        """A reorg may lead to a heavier but shorter branch; only then does the height fall."""
        return replace(self, height=min(self.height, height))

    def after_stranger(self, height: int) -> SigningRecord:
        """Something was signed elsewhere while the chain was at that height."""
        return replace(self, silent_until=max(self.silent_until, height + _MARGIN))

    def after_restore(self) -> SigningRecord:
        """The same, to be told from the newest one wherever it turns up."""
        return replace(self, silent_until=_UNKNOWN)

    def after_proof(self, height: int) -> SigningRecord:
        """A quorum has certified, since the restored record was taken up, all that there was: the chain is at `height`.

        It is left behind as a stranger's signature is, for a clock may have been ahead.
        """
        return replace(self, silent_until=height + _MARGIN)

    def to_value(self) -> Value:
        return (self.height, self.parents, self.votes, self.agreement.to_value(), self.silent_until)

    @classmethod
    def from_value(cls, value: Value) -> SigningRecord:
        """Raises `WrongShape` or `TooLarge`."""
        height, parents, votes, agreement, silent_until = expect_array(value, 5, "guard record")
        pairs = [expect_array(pair, 2, "guard vote") for pair in expect_list(votes, "votes", max_items=_KEPT)]
        record = cls(
            height=expect_int(height, "guard height"),
            parents=tuple(
                expect_bytes(parent, "parent", size=32) for parent in expect_list(parents, "parents", max_items=_KEPT)
            ),
            votes=tuple((expect_int(slot, "slot"), expect_bytes(digest, "digest", size=32)) for slot, digest in pairs),
            agreement=PbftRecord.from_value(agreement),
            silent_until=expect_int(silent_until, "silent until"),
        )
        if any(one >= next_one for (one, _), (next_one, _) in pairwise(record.votes)):
            raise WrongShape(what="guard votes", detail="expected them ascending by slot")
        return record
