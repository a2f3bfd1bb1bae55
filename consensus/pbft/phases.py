"""The life of one height in a replica, as a table: its phases, what leads from one to the next, and which method does.

The replica derives its phase from what it has seen and signed; the tests hold all that it does in seeded worlds against
`LIFE`, in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import NamedTuple


@unique
class Phase(StrEnum):
    """A phase of the agreement on a height, for one replica."""

    WATCHING = "watching"  # it signs nothing: no validator, silent, or behind its own record
    WAITING = "waiting"  # in view 0, for a proposal or, if it leads, for its node's block
    CHANGING = "changing"  # has asked the others to come to its view, and waits for the proposal
    LEADING = "leading"  # leads a view to which a quorum has come, and waits for its node's block
    PROPOSED = "proposed"  # has the leader's proposal, and not the word of its node on that block
    PREPARED = "prepared"  # has signed a prepare of the proposal
    COMMITTED = "committed"  # has signed a commit to the block, and the result, that a quorum has prepared
    DECIDED = "decided"  # has a certificate


@unique
class Cause(StrEnum):
    """The cause being dealt with: a message, the timer, or a call of the node."""

    START = "start"
    ALLOW = "allow"
    FALL_SILENT = "fall silent"
    PROPOSE = "propose"
    ACCEPT = "accept"
    REFUSE = "refuse"
    PRE_PREPARE = "pre-prepare"
    PREPARE = "prepare"
    COMMIT = "commit"
    VIEW_CHANGE = "view change"
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"


class Row(NamedTuple):
    """From any phase of `before`, while dealing with any of `causes`, where `guard` holds: `action` enters `after`.

    `action` is the method of the replica. One cause may lead through several rows.
    """

    before: tuple[Phase, ...]
    causes: tuple[Cause, ...]
    guard: str
    after: Phase
    action: str

    def expand(self) -> Iterator[tuple[Phase, Cause, Phase, str]]:
        for before in self.before:
            for cause in self.causes:
                yield before, cause, self.after, self.action


_VOTING = (Phase.WAITING, Phase.CHANGING, Phase.LEADING, Phase.PROPOSED, Phase.PREPARED, Phase.COMMITTED)
_JUDGED = (Cause.PRE_PREPARE, Cause.ACCEPT, Cause.PROPOSE)
_RESUMED = (Cause.START, Cause.ALLOW)  # goes on from its record, whatever it had heard beside

LIFE: tuple[Row, ...] = (
    Row(tuple(Phase), (Cause.START,), "it has signed nothing here", Phase.WAITING, "resume"),
    Row(tuple(Phase), (Cause.START,), "its key is no validator's, or must not sign yet", Phase.WATCHING, "start"),
    Row(_VOTING, (Cause.FALL_SILENT,), "", Phase.WATCHING, "fall_silent"),
    Row((Phase.WATCHING, Phase.PROPOSED), (Cause.ALLOW,), "it has signed nothing here", Phase.WAITING, "resume"),
    Row((Phase.PROPOSED, Phase.LEADING), (Cause.ALLOW,), "it has signed a view change last", Phase.CHANGING, "resume"),
    Row((Phase.WATCHING,), _RESUMED, "it has signed a view change last", Phase.CHANGING, "resume"),
    Row((Phase.WATCHING,), _RESUMED, "it has signed a prepare last", Phase.PREPARED, "resume"),
    Row((Phase.WATCHING,), _RESUMED, "it has signed a commit last", Phase.COMMITTED, "resume"),
    Row((Phase.WAITING, Phase.LEADING), (Cause.PROPOSE,), "it leads the view", Phase.PROPOSED, "propose"),
    Row(
        _VOTING,
        (Cause.PRE_PREPARE,),
        "the leader's first in this view, or in a later one to which a quorum has come",
        Phase.PROPOSED,
        "on_pre_prepare",
    ),
    Row(
        (Phase.PROPOSED,),
        _JUDGED,
        "its block is valid, and in time or prepared by a quorum before",
        Phase.PREPARED,
        "prepare",
    ),
    Row(
        (Phase.PROPOSED,),
        (Cause.PRE_PREPARE, Cause.ACCEPT, Cause.REFUSE),
        "its block breaks a rule, or came late",
        Phase.CHANGING,
        "move_to",
    ),
    Row(
        (Phase.PREPARED,),
        (*_JUDGED, Cause.PREPARE),
        "a quorum has prepared the block, and it is here",
        Phase.COMMITTED,
        "try_to_commit",
    ),
    Row(
        (Phase.COMMITTED,),
        (*_JUDGED, Cause.PREPARE, *_RESUMED),
        "a quorum has committed, this replica last",
        Phase.DECIDED,
        "decide",
    ),
    Row((Phase.WATCHING, *_VOTING), (Cause.COMMIT, Cause.CERTIFICATE), "they are of a quorum", Phase.DECIDED, "decide"),
    Row(_VOTING, (Cause.TIMEOUT,), "the view's time is up", Phase.CHANGING, "move_to"),
    Row(
        _VOTING,
        (Cause.PREPARE, Cause.COMMIT, Cause.VIEW_CHANGE),
        "f + 1 others have come to a later view",
        Phase.CHANGING,
        "move_to",
    ),
    Row(
        (Phase.CHANGING, Phase.PROPOSED, Phase.PREPARED, Phase.COMMITTED),
        (Cause.PRE_PREPARE,),
        "f + 1 others came to a later view while it was silent",
        Phase.CHANGING,
        "move_to",
    ),
    Row(
        (Phase.CHANGING,),
        (Cause.VIEW_CHANGE, Cause.TIMEOUT),
        "it leads the view, and a quorum has come to it",
        Phase.LEADING,
        "try_to_lead",
    ),
)
