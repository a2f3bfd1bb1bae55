"""The requests of the state machine to its node, to be performed strictly in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from consensus.pbft.messages import Message
from consensus.pbft.record import PbftRecord
from consensus.pbft.validators import DoubleBallot
from consensus.quorum import DoubleVote, QuorumCertificate
from ledger.errors import GridmeritError

Peer: TypeAlias = bytes  # a public key; validators that are to be asked are named by theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistRecord:
    """Make the record durable before performing anything that follows; and with `record.prepared` its block.

    Else all who could decide the block might forget it, and the certificate would bind all nodes to a block that none
    has.
    """

    record: PbftRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """To every validator but this one."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    peer: Peer
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchBlock:
    """Get the block, whose keepers should be among `peers`, and `accept` or `refuse` it. Asked again while it lacks."""

    block_hash: bytes
    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose:
    """This replica leads `view`: `propose` the block `block_hash`, which `peers` have, again, or any where it is None.

    A node with nothing to put into a block may wait until it has; until then no timer runs.
    """

    view: int
    block_hash: bytes | None
    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide:
    """The certificate's block is final. Get it if it is not here, store both, then `start` the next height."""

    certificate: QuorumCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """The others are agreeing on `height`: everything below is decided, and can be had with certificates."""

    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTimer:
    """Call `on_timer` at `at_ms` or soon after. There is one timer: a new time replaces the old one."""

    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFault:
    """A named fault of a peer; `error.penalty` points against it."""

    peer: Peer
    error: GridmeritError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportEvidence:
    """Evidence that a validator signed twice what it may sign once."""

    evidence: DoubleVote | DoubleBallot


Effect: TypeAlias = (
    PersistRecord | Broadcast | Send | FetchBlock | Propose | Decide | Behind | SetTimer | ReportFault | ReportEvidence
)
