"""The progress of a chain: the port of its two ways, and all that a part of an instance may ask of the core.

A part does not call another to make something happen: it returns a `Reaction`, actions for the driver and
consequences for the core, in their order. The core sees to each consequence where it stands, before what comes after
it, so that a reaction reads as what will happen (`node.chain.node.ChainNode._settle`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from consensus.pbft.effects import Effect
from consensus.pbft.messages import Ballot
from consensus.quorum import QuorumCertificate, Vote
from ledger.block import Block, Header
from ledger.chain import BlockNode
from node.chain import messages as wire
from node.chain.events import Action, PeerId
from node.chain.results import Claim

# --- consequences ----------------------------------------------------------------------------------


class Followed:
    """Base of all consequences: one check tells them from actions."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class BodyReceived(Followed):
    """A block came in answer to a request, or unasked."""

    block: Block
    peer: PeerId


@dataclass(frozen=True, slots=True)
class BlockReceived(Followed):
    """A peer's block is whole: judge it, and follow it where it leads to a better head."""

    block: Block
    peer: PeerId


@dataclass(frozen=True, slots=True)
class BetterHead(Followed):
    """A block in the tree is to be the head; `source` is the peer that brought it, None where it is of this node."""

    block: BlockNode
    source: PeerId | None


@dataclass(frozen=True, slots=True)
class VotesReceived(Followed):
    """Votes on checkpoints, none of them counted yet."""

    peer: PeerId
    raw: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ClaimsReceived(Followed):
    """Votes came with the results that they sign; those that the iterator still gives are to be counted."""

    peer: PeerId
    claims: Iterator[Claim]


@dataclass(frozen=True, slots=True)
class Certified(Followed):
    """A certificate is held and has been verified; `peer` brought it, None where it formed here."""

    certificate: QuorumCertificate
    peer: PeerId | None


@dataclass(frozen=True, slots=True)
class Final(Followed):
    """The certificate's block is on the chain: it is final."""

    certificate: QuorumCertificate


@dataclass(frozen=True, slots=True)
class WorkPending(Followed):
    """There may be something to put into a block that was not there before."""


@dataclass(frozen=True, slots=True)
class Refresh(Followed):
    """Build anew what stands on an old head, pool or time."""


@dataclass(frozen=True, slots=True)
class Silenced(Followed):
    """This node must not sign any more for now."""


@dataclass(frozen=True, slots=True)
class Allowed(Followed):
    """This node may sign from now on."""


@dataclass(frozen=True, slots=True)
class CatchUp(Followed):
    """Go on with the skeleton; without one that makes progress, look for a peer that is ahead."""


@dataclass(frozen=True, slots=True)
class ImportBodies(Followed):
    """Import the bodies of the skeleton whose turn has come, at most so many and for so many bytes in this step."""

    blocks: int
    room_bytes: int
    was_syncing: bool


@dataclass(frozen=True, slots=True)
class LookAhead(Followed):
    """Ask a peer that says it is ahead, where the skeleton makes no progress."""


@dataclass(frozen=True, slots=True)
class SnapshotHere(Followed):
    """All chunks of a final block's state are on disk: take the chain up from there."""


class AgreementFollowed(Followed):
    """Base of the consequences that only an agreement has: one check tells them from the others."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Perform(AgreementFollowed):
    """One effect of the agreement."""

    effect: Effect


@dataclass(frozen=True, slots=True)
class TryToPropose(AgreementFollowed):
    """Propose a block, where that is this replica's turn and there is one."""


@dataclass(frozen=True, slots=True)
class TakeUpProposals(AgreementFollowed):
    """A height begins: tell the agreement of blocks on this head that came before."""

    head: bytes


@dataclass(frozen=True, slots=True)
class ProposalHere(AgreementFollowed):
    """A valid block on the head is here that the agreement may be about."""

    block_hash: bytes


AgreementStep: TypeAlias = Perform | TryToPropose | TakeUpProposals | ProposalHere
Consequence: TypeAlias = (
    BodyReceived
    | BlockReceived
    | BetterHead
    | VotesReceived
    | ClaimsReceived
    | Certified
    | Final
    | WorkPending
    | Refresh
    | Silenced
    | Allowed
    | CatchUp
    | ImportBodies
    | LookAhead
    | SnapshotHere
    | Perform
    | TryToPropose
    | TakeUpProposals
    | ProposalHere
)
Step: TypeAlias = Action | Consequence
Reaction: TypeAlias = Sequence[Step]

RESEAL = "reseal"  # the timer of `Progress.refresh`
BUILDING = "building"  # and that of the next step of a block that it builds


# --- the port --------------------------------------------------------------------------------------


class Progress(Protocol):
    """One way in which a chain gets its next block, and a block becomes final.

    `ForkChoice` seals blocks and follows the best branch, and members sign checkpoints of it; `Agreement` has the
    members agree on each block before it is one. Each `on_…` is headed by what leads to it.
    """

    offences: frozenset[str]
    """Kinds of evidence that count on such a chain."""

    def load(self) -> list[Action]:
        """Take up what was undecided before a restart. Cause: the start."""
        ...

    def on_started(self, now_ms: int) -> Reaction:
        """Cause: the driver is ready."""
        ...

    def on_timer(self, name: str, now_ms: int) -> Reaction:
        """Cause: a timer that this part has set."""
        ...

    def on_seal(self, job: int, nonce: int, now_ms: int) -> Reaction:
        """Cause: the driver's search has found a nonce."""
        ...

    def on_announcement(self, peer: PeerId, message: wire.NewBlock, header: Header, now_ms: int) -> Reaction:
        """Cause: a peer announces a block. Raises the `InvalidBlock` family."""
        ...

    def on_votes(self, peer: PeerId, message: wire.Votes, now_ms: int) -> Reaction:
        """Cause: a peer's votes, without results. Raises `UnknownMessage` where votes come in another way."""
        ...

    def on_vote_shown(self, peer: PeerId, vote: Vote, now_ms: int) -> Reaction:
        """Cause: a peer's vote, with the results that it signs. Raises what is wrong with it."""
        ...

    def on_agreement(self, peer: PeerId, message: wire.Agreement, now_ms: int) -> Reaction:
        """Cause: a peer's message of the agreement. Raises `UnknownMessage` where nothing is agreed on."""
        ...

    def is_settled(self, header: Header) -> bool:
        """True where a block of that height need not be looked at any more."""
        ...

    def observe(self, header: Header) -> Reaction:
        """Notice what a header convicts its producer of. Cause: it has been judged."""
        ...

    def on_block(self, block: BlockNode, now_ms: int, *, source: PeerId, is_certified: bool, is_late: bool) -> Reaction:
        """Cause: a peer's block is in the tree, and no certificate names it.

        `is_certified`: one names a block above it. `is_late`: it came too late for its gate.
        """
        ...

    def on_invalid(self, header: Header, now_ms: int) -> Reaction:
        """Cause: a peer's block has been refused."""
        ...

    def account_for(self, block: BlockNode, source: PeerId | None) -> tuple[list[Action], list[Action]]:
        """Bring the signing record up to a new head: what is to be on disk before the head is, and after."""
        ...

    def announce(self, block: BlockNode, source: PeerId | None) -> list[Action]:
        """Tell peers of a new head that they cannot know of."""
        ...

    def on_head(self, now_ms: int) -> Reaction:
        """Cause: the head has moved."""
        ...

    def tell_certificate(self, certificate: QuorumCertificate, source: PeerId | None) -> list[Action]:
        """Tell peers of a certificate that they cannot know of."""
        ...

    def on_final(self, certificate: QuorumCertificate, now_ms: int) -> Reaction:
        """Cause: a block has become final."""
        ...

    def on_step(self, step: AgreementStep, now_ms: int) -> Reaction:
        """Cause: what this part has put on the agenda itself."""
        ...

    def on_work(self, now_ms: int) -> Reaction:
        """Cause: there may be something to put into a block."""
        ...

    def refresh(self, now_ms: int) -> Reaction:
        """Build anew on the head. Causes: a new head, the clock, the end of catching up, a timer."""
        ...

    def on_allowed(self, now_ms: int) -> Reaction:
        """Cause: this node may sign from now on."""
        ...

    def on_silenced(self) -> None:
        """Cause: this node must not sign for now."""
        ...

    def on_peer_lost(self, peer: PeerId) -> None:
        """Cause: a peer is not connected any more."""
        ...

    def find_strange(self, ballot: Ballot) -> int | None:
        """Find what a ballot of this node's key means for it: None where the signing record accounts for it.

        Else the height that must be final before the key signs again, 0 where the head's is enough.
        """
        ...

    def ballots_of(self, signer: bytes) -> tuple[Ballot, ...]:
        """The ballots that are held of a member."""
        ...

    def prove_headers(self, heights: range) -> tuple[range, bytes]:
        """Those of the heights whose headers a peer can be given, and the certificate that proves them, if any."""
        ...

    def check_proof(self, headers: tuple[Header, ...], raw: bytes) -> QuorumCertificate | None:
        """The verified certificate that came with headers; None where headers prove themselves.

        Raises `UnprovenHeaders`, `VoteTooFarAhead`, `WrongVoters`, or as `verify_certificate` does.
        """
        ...

    def are_all(self, count: int) -> bool:
        """True where so many headers are all that a peer has."""
        ...

    def certificates_above(self, height: int) -> list[QuorumCertificate]:
        """The certificates that a peer of that final height needs before it can judge that of the final block."""
        ...

    def note_unproven(self, peer: PeerId, block_hash: bytes) -> None:
        """Note that a peer has shown a certificate by members who are not known here."""
        ...

    def list_unproven(self) -> tuple[bytes, ...]:
        """The blocks said to be certified by members who are not known here."""
        ...

    def count_age(self, beats: int) -> int:
        """The age of the chain in what pending transactions wait for: blocks, or heartbeats."""
        ...

    def waiting_for(self) -> tuple[bytes, ...]:
        """The members whose message the current step has lacked for longer than it should."""
        ...

    def rests_until(self, wall_ms: int) -> int:
        """The time at which the chain, which has nothing to do, makes its next block; 0 where it does not rest."""
        ...

    def get_usage(self) -> dict[str, tuple[int, int]]:
        """The amounts of what peers can make this part hold, and the most that may be."""
        ...
