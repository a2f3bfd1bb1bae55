"""The ballots of one height: of each validator the newest prepare, commit and view change, and no more."""

from __future__ import annotations

from collections.abc import Mapping

from consensus.pbft.messages import Ballot, Prepare, ViewChange, content_of, view_of
from consensus.pbft.validators import DoubleBallot, build_double_ballot
from consensus.quorum import DoubleVote, Statement, Vote, conflict_order


class Ballots:
    """Ask `is_news` before a signature is checked, `add` after it."""

    def __init__(self) -> None:
        self._prepares: dict[bytes, Prepare] = {}
        self._votes: dict[bytes, Vote] = {}
        self._view_changes: dict[bytes, ViewChange] = {}
        self._views: dict[bytes, int] = {}
        self._convicted: set[tuple[type, bytes]] = set()

    def is_news(self, ballot: Ballot) -> bool:
        """Return True if the ballot is its signer's first in that phase, is of a later view, or convicts its signer."""
        held = self._held(ballot)
        if held is None or view_of(ballot) > view_of(held):
            return True
        if view_of(ballot) < view_of(held) or content_of(ballot) == content_of(held):
            return False
        return (type(ballot), ballot.signer) not in self._convicted

    def add(self, ballot: Ballot) -> DoubleVote | DoubleBallot | None:
        """Keep a ballot that is news; evidence (once per signer and phase) if another of the same view is held."""
        held = self._held(ballot)
        if held is not None and view_of(held) == view_of(ballot):
            self._convicted.add((type(ballot), ballot.signer))
            return _build_evidence(held, ballot)
        self._views[ballot.signer] = max(self._views.get(ballot.signer, 0), view_of(ballot))
        match ballot:
            case Prepare():
                self._prepares[ballot.signer] = ballot
            case Vote():
                self._votes[ballot.signer] = ballot
            case ViewChange():
                self._view_changes[ballot.signer] = ballot
        return None

    def prepares(self, view: int, block_hash: bytes) -> list[Prepare]:
        return [one for one in self._prepares.values() if one.view == view and one.block_hash == block_hash]

    def votes(self, statement: Statement) -> list[Vote]:
        return [vote for vote in self._votes.values() if vote.statement == statement]

    def view_changes(self, view: int) -> list[ViewChange]:
        return [message for message in self._view_changes.values() if message.view == view]

    def said_by(self, signer: bytes) -> list[Ballot]:
        held = (self._prepares.get(signer), self._votes.get(signer), self._view_changes.get(signer))
        return [ballot for ballot in held if ballot is not None]

    def has_claim(self) -> bool:
        """Return True if a view change holds proof that a block was prepared."""
        return any(message.prepared is not None for message in self._view_changes.values())

    @property
    def views(self) -> Mapping[bytes, int]:
        """The highest view that each validator is known to have come to."""
        return self._views

    def _held(self, ballot: Ballot) -> Ballot | None:
        match ballot:
            case Prepare():
                return self._prepares.get(ballot.signer)
            case Vote():
                return self._votes.get(ballot.signer)
            case ViewChange():
                return self._view_changes.get(ballot.signer)


def _build_evidence(held: Ballot, other: Ballot) -> DoubleVote | DoubleBallot:
    if isinstance(held, Vote):
        assert isinstance(other, Vote)
        first, second = sorted((held, other), key=conflict_order)
        return DoubleVote(first=first, second=second)
    assert not isinstance(other, Vote)
    return build_double_ballot(held, other)
