"""The record of what a replica has signed at its height: enough to say it all again, and nothing else, after any crash.

The node fsyncs the record before anything that was signed under it leaves the machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from consensus.pbft.messages import (
    MAX_VIEW,
    Ballot,
    Prepare,
    PreparedCertificate,
    ViewChange,
    height_of,
    read_new_view,
    view_of,
)
from consensus.quorum import Vote
from ledger.codec import Value, expect_array, expect_bytes, expect_int
from ledger.errors import WrongShape
from ledger.hashing import HASH_SIZE
from ledger.results import NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class PbftRecord:
    """Nothing is signed below `height`, nor at it below `view`.

    `block_hash` is what was prepared in `view` (None: nothing yet), `new_view` what the proposal of it carried if this
    replica made it. `prepared` is the highest prepared certificate of the height, and a commit has been signed in its
    view, to `result` beside the block. Of phases, view and record everything signed follows: signatures are
    deterministic.
    """

    height: int = 0
    view: int = 0
    block_hash: bytes | None = None
    new_view: tuple[ViewChange, ...] = ()
    prepared: PreparedCertificate | None = None
    result: bytes = NOTHING

    @property
    def has_committed(self) -> bool:
        """True if a commit has been signed in `view`."""
        return self.prepared is not None and self.prepared.view == self.view

    def knows(self, ballot: Ballot) -> bool:
        """True for a ballot of this replica's that this record accounts for, or is too old to be in it."""
        there, here = (height_of(ballot), view_of(ballot)), (self.height, self.view)
        if there != here:
            return there < here
        match ballot:
            case Prepare(block_hash=block_hash):
                return block_hash == self.block_hash
            case Vote(statement=statement):
                said = (statement.block_hash, statement.result)
                return self.has_committed and said == (self.block_hash, self.result)
            case ViewChange():
                return True  # to come to a view is what it says, and so does the record

    def said_by(self, signer: bytes) -> tuple[Ballot, ...]:
        """The ballots of another validator that stand in it as proof: they outlast a restart of all that heard them."""
        prepares = () if self.prepared is None else self.prepared.prepares
        ballots: tuple[Ballot, ...] = (*prepares, *(message.without_proof() for message in self.new_view))
        return tuple(ballot for ballot in ballots if ballot.signer == signer)

    def at_height(self, height: int) -> PbftRecord:
        """The record to begin (or to go on) with at a height: never a lower one."""
        assert height >= self.height, (height, self.height)
        return self if height == self.height else PbftRecord(height=height)

    def after_view_change(self, view: int) -> PbftRecord:
        assert view > self.view, "a view left is never entered again"
        return replace(self, view=view, block_hash=None, new_view=())

    def after_prepare(self, view: int, block_hash: bytes, new_view: tuple[ViewChange, ...] = ()) -> PbftRecord:
        assert view > self.view or (view == self.view and self.block_hash is None), "a second prepare in one view"
        return replace(self, view=view, block_hash=block_hash, new_view=new_view)

    def after_commit(self, prepared: PreparedCertificate, result: bytes = NOTHING) -> PbftRecord:
        signed = (self.height, self.view, self.block_hash)
        assert (prepared.height, prepared.view, prepared.block_hash) == signed, "a commit to what was not prepared"
        assert not self.has_committed, "a second commit in one view"
        return replace(self, prepared=prepared, result=result)

    def to_value(self) -> Value:
        prepared = None if self.prepared is None else self.prepared.to_value()
        new_view = tuple(message.to_value() for message in self.new_view)
        return (self.height, self.view, self.block_hash, new_view, prepared, self.result)

    @classmethod
    def from_value(cls, value: Value) -> PbftRecord:
        """Raises the `Malformed` family or `DuplicateSigner`."""
        height, view, block_hash, new_view, prepared, result = expect_array(value, 6, "PBFT record")
        record = cls(
            height=expect_int(height, "height"),
            view=expect_int(view, "view", high=MAX_VIEW),
            block_hash=None if block_hash is None else expect_bytes(block_hash, "block hash", size=HASH_SIZE),
            new_view=read_new_view(new_view),
            prepared=None if prepared is None else PreparedCertificate.from_value(prepared),
            result=result if result == NOTHING else expect_bytes(result, "result", size=HASH_SIZE),
        )
        _check_consistent(record)
        return record


def _check_consistent(record: PbftRecord) -> None:
    prepared, here = record.prepared, (record.height, record.view)
    if prepared is not None and (prepared.height != record.height or prepared.view > record.view):
        raise WrongShape(what="PBFT record", detail="prepared at another height or in a later view")
    if record.has_committed and prepared is not None and prepared.block_hash != record.block_hash:
        raise WrongShape(what="PBFT record", detail="two blocks in one view")
    if record.new_view and record.block_hash is None:
        raise WrongShape(what="PBFT record", detail="a new view without a proposal")
    if any((message.height, message.view) != here for message in record.new_view):
        raise WrongShape(what="PBFT record", detail="a view change of another height or view")
