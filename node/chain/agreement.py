"""Progress by agreement: members agree on each block before it is one, as under PBFT, and it is final at once.

The state machine (`consensus.pbft.replica`) knows blocks by hash and returns effects. Here blocks are built, shown,
fetched and kept until they are decided, and effects become actions, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from consensus.contracts import DOUBLE_BALLOT, DOUBLE_VOTE
from consensus.errors import UnknownMessage
from consensus.pbft import effects as asked
from consensus.pbft.messages import Ballot, Message, decode_message, encode_message, height_of
from consensus.pbft.replica import Pbft, Timeouts
from consensus.quorum import QuorumCertificate, Vote
from ledger.block import Header
from ledger.chain import BlockNode
from ledger.overlay import Overlay
from ledger.sealers import get_voters
from ledger.steps import Run
from ledger.store import as_stored
from node.chain import messages as wire
from node.chain.announcements import Announcement, Announcements
from node.chain.candidate import Candidate
from node.chain.events import Action, Broadcast, PeerId, PenalisePeer, Persist, Send, SetTimer
from node.chain.gossip import announce_block
from node.chain.header_proofs import prove_headers, read_header_proof
from node.chain.parts import Parts
from node.chain.progress import (
    BUILDING,
    RESEAL,
    AgreementStep,
    BetterHead,
    Certified,
    Perform,
    ProposalHere,
    Reaction,
    Refresh,
    Step,
    TakeUpProposals,
    TryToPropose,
    WorkPending,
)
from node.chain.results import check_shown

AGREEMENT, NEXT_HEIGHT = "agreement", "next-height"
_MAX_PROPOSALS = 16  # undecided blocks; the replica remembers as many verdicts
_PROPOSAL_ROW = b"P"


@dataclass(slots=True)
class _Building:
    """A block that is being built for a view's leader."""

    asked: asked.Propose
    head: BlockNode
    run: Run[Candidate]


class Agreement:
    """One replica at work, and the blocks that are not decided yet."""

    offences = frozenset({DOUBLE_VOTE, DOUBLE_BALLOT})

    def __init__(self, parts: Parts) -> None:
        self._instance = parts.instance
        self._chain = parts.instance.chain
        self._trusted_branch = parts.trusted_branch
        self._importer = parts.importer
        self._signing = parts.signing
        self._gossip = parts.gossip
        self._finality = parts.finality
        self._filling = parts.filling
        self._pool = parts.pool
        self._gates = parts.gates
        params = parts.instance.params.consensus
        self._pbft = Pbft(
            chain_id=parts.instance.chain_id,
            key=parts.instance.key,
            timeouts=Timeouts(base_ms=params.view_timeout_ms, max_ms=params.view_timeout_max_ms),
            record=parts.signing.record.agreement,
            is_silent=True,
        )
        self._asked_to_propose: asked.Propose | None = None  # and has not yet
        self._building: _Building | None = None  # a new block for that, where it takes several steps
        self._proposals: dict[bytes, Header] = {}  # undecided blocks
        self._announced = Announcements()
        self._height_began_ms = 0
        self._rests = params.empty_blocks == "due"
        self._leeway_ms = min(params.max_ahead_ms, params.empty_after_ms)  # by which a leader's clock may be behind
        self._next_due = (b"", 0)  # by the head for which it was found

    @staticmethod
    def slot_of(head: BlockNode) -> int:
        """The slot that a chain has come to: every height is one."""
        return head.height

    # --- what happens ----------------------------------------------------------------------------

    def load(self) -> list[Action]:
        """Undecided blocks from before a restart: what was prepared must be at hand to be proposed again."""
        with as_stored("an undecided block"):
            blocks = [self._importer.read_block(raw) for _, raw in self._instance.store.scan(_PROPOSAL_ROW)]
        stale = []
        for block in sorted(blocks, key=lambda one: one.header.height):
            parent = self._chain.get(block.header.parent)
            is_ahead = block.header.height > self._chain.head.height and not self._trusted_branch.is_awaited
            if parent is not None and is_ahead and not self._instance.knows_rules_on(parent):
                continue  # for a release that does
            if parent is not None and is_ahead:
                self._proposals[self._importer.execute(block, parent).hash] = block.header
            else:
                stale.append(block.hash)  # the end came between a decision and the clearing away
        return [Persist(changes=[(_PROPOSAL_ROW + key, None) for key in stale])] if stale else []

    def on_started(self, now_ms: int) -> Reaction:
        return self._begin_height(now_ms)

    def on_timer(self, name: str, now_ms: int) -> Reaction:
        match name:
            case "agreement":
                return _list_steps(self._pbft.on_timer(now_ms))
            case "next-height":
                return self._begin_height(now_ms)
            case "reseal":
                return self.refresh(now_ms)
            case "building":
                return self._go_on_building(now_ms) if self._is_building() else []
        raise AssertionError(f"unknown timer {name}")

    def on_seal(self, job: int, nonce: int, now_ms: int) -> Reaction:
        return []  # nothing is searched for

    def on_announcement(self, peer: PeerId, message: wire.NewBlock, header: Header, now_ms: int) -> Reaction:
        """A member shows a block that is, or may be, proposed for a height to come: keep it until it is asked for."""
        parent = self._chain.get(header.parent) if self._chain.is_recent(header.parent) else None
        is_late = header.height <= self._chain.head.height
        if parent is None or self._importer.is_known(header.hash) or is_late:
            return []
        self._importer.check_header(header, parent, self._chain)
        self._gates.note(header, self._instance.date(now_ms))
        self._announced.keep(Announcement(peer, message, header))
        return []

    def on_votes(self, peer: PeerId, message: wire.Votes, now_ms: int) -> Reaction:
        raise UnknownMessage(kind=message.code)  # votes come as messages of the agreement

    def on_vote_shown(self, peer: PeerId, vote: Vote, now_ms: int) -> Reaction:
        """A commit that came with the result that it is to."""
        if vote.statement.slot < self._pbft.height and vote.signer != peer:
            return []  # whoever passes on what is decided need not be told of it
        return self._hear(peer, vote, now_ms)

    def on_agreement(self, peer: PeerId, message: wire.Agreement, now_ms: int) -> Reaction:
        """Raises the `Malformed` family, `DuplicateSigner` or `ResultNotShown`."""
        ballot = decode_message(message.raw)
        if isinstance(ballot, Vote):
            check_shown(ballot)
        return self._hear(peer, ballot, now_ms)

    def is_settled(self, header: Header) -> bool:
        return header.height <= self._chain.final_height  # a proposal that comes late

    def observe(self, header: Header) -> Reaction:
        return []  # a member may lead several views, and what it must not sign twice are votes

    def on_block(self, block: BlockNode, now_ms: int, *, source: PeerId, is_certified: bool, is_late: bool) -> Reaction:
        """A valid block that no certificate names: one of those below a certified one, or a proposal.

        Below a certified one there may be a proposal that was here already, and is decided with it.
        """
        if is_certified and self._chain.fork_point(block).hash == self._chain.head.hash:
            return [BetterHead(block, source)]
        keep = self._keep_proposal(block)
        if block.header.parent != self._chain.head.hash or block.height != self._pbft.height:
            return [keep]
        return [keep, *self._accept(block.hash, now_ms, is_late=is_late)]

    def on_invalid(self, header: Header, now_ms: int) -> Reaction:
        if header.parent != self._chain.head.hash:
            return []
        return [*_list_steps(self._pbft.refuse(header.hash, now_ms)), TryToPropose()]

    def account_for(self, block: BlockNode, source: PeerId | None) -> tuple[list[Action], list[Action]]:
        return [], []  # the record holds ballots, and they are kept as they are made

    def announce(self, block: BlockNode, source: PeerId | None) -> list[Action]:
        return []  # it was shown as a proposal

    def on_head(self, now_ms: int) -> Reaction:
        self._finality.list_due()
        return [Refresh()]

    def on_final(self, certificate: QuorumCertificate, now_ms: int) -> Reaction:
        """The next height; where one validator decides alone, and as soon as it proposes, in a step of its own."""
        is_lone = len(certificate.signatures) == 1
        return [SetTimer(name=NEXT_HEIGHT, at_ms=now_ms)] if is_lone else self._begin_height(now_ms)

    def on_step(self, step: AgreementStep, now_ms: int) -> Reaction:
        match step:
            case Perform(effect=effect):
                return self._perform(effect, now_ms)
            case TryToPropose():
                return self._try_to_propose(now_ms)
            case TakeUpProposals(head=head):
                on_head = [block_hash for block_hash, header in self._proposals.items() if header.parent == head]
                return [ProposalHere(block_hash) for block_hash in on_head]
            case ProposalHere(block_hash=block_hash):
                return self._accept(block_hash, now_ms)
            case _:
                assert_never(step)

    def on_work(self, now_ms: int) -> Reaction:
        """Tell the replica whether the next block has anything to hold."""
        if self._gossip.is_syncing or self._instance.is_halted:
            return []
        is_pending = self._pool.has_executable() or self._is_empty_block_due(now_ms, self._leeway_ms)
        is_pending = is_pending or (self._rests and self._filling.has_relay(now_ms))
        return [*_list_steps(self._pbft.wait_for(is_pending, now_ms)), TryToPropose()]

    def refresh(self, now_ms: int) -> Reaction:
        return [SetTimer(name=RESEAL, at_ms=now_ms + self._filling.renew_ms), WorkPending()]

    def on_allowed(self, now_ms: int) -> Reaction:
        return [] if self._instance.is_halted else _list_steps(self._pbft.allow(now_ms))

    def on_silenced(self) -> None:
        self._asked_to_propose = self._building = None
        self._pbft.fall_silent()

    def on_peer_lost(self, peer: PeerId) -> None:
        """Nothing is held of a peer."""

    # --- one height ------------------------------------------------------------------------------

    def _begin_height(self, now_ms: int) -> Reaction:
        """Agree on the block after the head; blocks for it may have come already."""
        head = self._chain.head
        if self._pbft.height > head.height or self._instance.is_halted:
            return []
        self._height_began_ms = now_ms
        stale = [block_hash for block_hash, header in self._proposals.items() if header.height <= head.height]
        for block_hash in stale:
            del self._proposals[block_hash]
        self._announced.forget_up_to(head.height)
        cleared: list[Step] = [Persist(changes=[(_PROPOSAL_ROW + key, None) for key in stale])] if stale else []
        certificate = self._finality.final_certificate
        last = certificate if certificate and certificate.statement.block_hash == head.hash else None
        voters = get_voters(Overlay(head.state), head.height + 1)
        self._asked_to_propose = None
        effects = self._pbft.start(head.height + 1, voters.keys, now_ms, since_slot=voters.since_slot, last=last)
        return [*cleared, *_list_steps(effects), TakeUpProposals(head.hash), Refresh()]

    def _hear(self, peer: PeerId, ballot: Message, now_ms: int) -> Reaction:
        """Hand a message to the replica; before rules that are not known it agrees on nothing, and may not run."""
        return [] if self._instance.is_halted else _list_steps(self._pbft.receive(peer, ballot, now_ms))

    def _accept(self, block_hash: bytes, now_ms: int, *, is_late: bool = False) -> Reaction:
        """Tell the replica of a valid block on the head; `is_late`, where it came too late for its gate."""
        result = self._finality.results.result_of(block_hash)
        return [*_list_steps(self._pbft.accept(block_hash, now_ms, result=result, is_late=is_late)), TryToPropose()]

    def _perform(self, effect: asked.Effect, now_ms: int) -> Reaction:
        """One effect of the replica."""
        match effect:
            case asked.PersistRecord(record=record):
                self._signing.record = replace(self._signing.record, agreement=record)
                return [self._signing.persist()]
            case asked.Broadcast(message=Vote() as vote) if vote.statement.result:
                return self._finality.results.tell(vote)
            case asked.Broadcast(message=message):
                return [Broadcast(message=wire.Agreement(raw=encode_message(message)))]
            case asked.Send(peer=peer, message=message):
                return [Send(peer=peer, message=wire.Agreement(raw=encode_message(message)))]
            case asked.FetchBlock(block_hash=block_hash, peers=peers):
                return self._fetch(block_hash, peers, now_ms)
            case asked.Propose(block_hash=wanted, peers=peers):
                self._asked_to_propose = effect
                return [] if wanted is None else self._fetch(wanted, peers, now_ms)
            case asked.Decide(certificate=certificate):
                self._finality.checkpoints.keep_certificate(certificate)
                signers = tuple(signer for signer, _ in certificate.signatures)
                fetch = self._fetch(certificate.statement.block_hash, signers, now_ms)
                return [*fetch, Certified(certificate, None)]
            case asked.Behind():  # one that is ahead answers with its final certificate
                return [Broadcast(message=self._gossip.status())]
            case asked.SetTimer(at_ms=at_ms):
                return [SetTimer(name=AGREEMENT, at_ms=at_ms)]
            case asked.ReportFault(peer=peer, error=error):
                return [PenalisePeer(peer=peer, error=error)]
            case asked.ReportEvidence(evidence=evidence):
                return self._finality.convict(evidence)
            case _:
                assert_never(effect)

    # --- blocks ----------------------------------------------------------------------------------

    def _try_to_propose(self, now_ms: int) -> Reaction:
        """Propose a new block on the head, or show again the one that was asked for, where that can be done now."""
        wanted = self._asked_to_propose
        if wanted is None:
            return []
        if wanted.block_hash is None:
            if self._is_building():
                return []  # its own timer goes on with it
            self._building = self._begin_building(wanted, now_ms)
            return self._go_on_building(now_ms)
        kept = self._chain.get(wanted.block_hash) if wanted.block_hash in self._proposals else None
        if kept is None:
            return []
        return self._propose(kept, [Broadcast(message=announce_block(kept))], wanted.view, now_ms)

    def _propose(self, block: BlockNode, shown: list[Step], view: int, now_ms: int) -> Reaction:
        self._asked_to_propose = None
        result = self._finality.results.result_of(block.hash)
        return [*shown, *_list_steps(self._pbft.propose(view, block.hash, now_ms, result=result))]

    def _is_building(self) -> bool:
        """Tell if the block that is being built is the one that is asked for: else it is of no use, and given up."""
        building = self._building
        if building is None:
            return False
        is_asked = building.asked is self._asked_to_propose and building.asked.view == self._pbft.view
        if is_asked and self._may_build() and building.head.hash == self._chain.head.hash:
            return True
        self._building = None
        return False

    def _may_build(self) -> bool:
        """Tell if a block on the head would be proposed.

        While the head moves up below a certified block, it is not the replica's height that it would be for.
        """
        is_next = self._pbft.height == self._chain.head.height + 1
        return self._signing.may_sign and is_next and not self._gossip.is_syncing

    def _begin_building(self, wanted: asked.Propose, now_ms: int) -> _Building | None:
        """Begin with a new block on the head, if there is anything for it to hold."""
        head, key = self._chain.head, self._instance.key
        assert key is not None, "only a validator is asked to propose"
        if not self._may_build():
            return None
        if not self._has_anything(now_ms):
            return None  # else an empty block would be built every few seconds, and left
        proposal = self._instance.engine.propose(key.public_key, head, self._chain, self._instance.date(now_ms))
        if proposal is None:
            return None
        return _Building(wanted, head, Run(self._filling.fill(key, proposal)))

    def _go_on_building(self, now_ms: int) -> Reaction:
        """The next step of building a block, which is proposed once it is complete. Cause: the one before is over."""
        building, key = self._building, self._instance.key
        if building is None or key is None:
            return []
        building.run.go_on()
        candidate = building.run.result
        if candidate is None:
            return [SetTimer(name=BUILDING, at_ms=now_ms)] if self._is_building() else []
        self._building = None
        if not candidate.transactions and not self._is_empty_block_due(now_ms):
            return []
        block = candidate.sealed(0, key)
        if self._gates.is_late(block.header, self._instance.date(now_ms)):
            return [SetTimer(name=RESEAL, at_ms=now_ms)]  # a gate has passed meanwhile: nobody would prepare it
        placed = self._importer.place_own(candidate, block, building.head)
        shown: list[Step] = [self._keep_proposal(placed), Broadcast(message=announce_block(placed))]
        return self._propose(placed, shown, building.asked.view, now_ms)

    def _fetch(self, block_hash: bytes, peers: tuple[PeerId, ...], now_ms: int) -> Reaction:
        if self._importer.is_known(block_hash):
            return []
        if (announced := self._announced.take(block_hash)) is not None:
            return self._gossip.take_announced(*announced, now_ms)
        for peer in peers:
            if peer in self._gossip.peers:
                self._gossip.want_block(peer, block_hash)
        return self._gossip.fetch(now_ms)

    def _keep_proposal(self, block: BlockNode) -> Persist:
        """Keep an undecided block; the oldest goes, but for what this member has prepared."""
        assert block.block is not None
        self._proposals[block.hash] = block.header
        record = self._signing.record.agreement
        bound = {record.block_hash, None if record.prepared is None else record.prepared.block_hash}
        free = [block_hash for block_hash in self._proposals if block_hash not in bound]
        gone = free[: max(0, len(self._proposals) - _MAX_PROPOSALS)]
        for block_hash in gone:
            del self._proposals[block_hash]
        rows = [(_PROPOSAL_ROW + block_hash, None) for block_hash in gone]
        return Persist(changes=[*rows, (_PROPOSAL_ROW + block.hash, block.block.raw)])

    def _has_anything(self, now_ms: int) -> bool:
        return self._pool.has_executable() or self._is_empty_block_due(now_ms) or self._filling.has_producers()

    def _is_empty_block_due(self, now_ms: int, leeway_ms: int = 0) -> bool:
        """By the head's date or by how long it has been the head here: that may be dated ahead of a wrong clock.

        Where the chain rests in between, only once it has something to do by the wall clock, or where what is pending
        has not come into a block for so long: it may be that it cannot.
        """
        after_ms = self._instance.params.consensus.empty_after_ms
        date_ms = self._instance.date(now_ms)
        elapsed_ms = max(date_ms - self._chain.head.header.timestamp_ms, now_ms - self._height_began_ms)
        if not elapsed_ms >= after_ms > 0:
            return False
        return not self._rests or date_ms >= self._find_next_due(now_ms) + leeway_ms or self._pool.has_executable()

    def _find_next_due(self, now_ms: int) -> int:
        """From when on a block on the head has something to do, by the wall clock: found once for each head."""
        head = self._chain.head
        if self._next_due[0] != head.hash:
            self._next_due = head.hash, self._instance.find_next_due(now_ms)
        return self._next_due[1]

    # --- votes and what they prove ---------------------------------------------------------------

    def tell_certificate(self, certificate: QuorumCertificate, source: PeerId | None) -> list[Action]:
        """To those who may not see it by themselves: whoever signed it hears the other signers, too."""
        message = wire.Certificate(raw=certificate.raw)
        told = {source, *(signer for signer, _ in certificate.signatures)}
        return [Send(peer=peer, message=message) for peer in self._gossip.peers if peer not in told]

    def find_strange(self, ballot: Ballot) -> int | None:
        return None if self._signing.record.agreement.knows(ballot) else height_of(ballot)

    def ballots_of(self, signer: bytes) -> tuple[Ballot, ...]:
        return self._pbft.said_by(signer)

    def prove_headers(self, heights: range) -> tuple[range, bytes]:
        """As many as lead to one that a quorum has certified."""
        changes = self._finality.set_changes.heights
        return prove_headers(heights, self._chain, self._finality.get_certificate, changes=changes)

    def check_proof(self, headers: tuple[Header, ...], raw: bytes) -> QuorumCertificate | None:
        certificate = read_header_proof(headers, raw)
        self._finality.checkpoints.check_certificate(certificate)
        return certificate

    def are_all(self, count: int) -> bool:
        return False  # they may be all that can be proven

    def certificates_above(self, height: int) -> list[QuorumCertificate]:
        return self._finality.set_changes.certificates_above(height)

    def note_unproven(self, peer: PeerId, block_hash: bytes) -> None:
        """Headers come with what proves them: they are asked for."""

    def list_unproven(self) -> tuple[bytes, ...]:
        return ()

    # --- views -----------------------------------------------------------------------------------

    def count_age(self, beats: int) -> int:
        return beats  # there may be no block before the others hear of it

    def waiting_for(self) -> tuple[bytes, ...]:
        return self._pbft.waiting_for()

    def rests_until(self, wall_ms: int) -> int:
        now_ms = wall_ms - self._instance.wall_ahead_ms
        if not self._rests or self._gossip.is_syncing or self._instance.is_halted or self._has_anything(now_ms):
            return 0
        due_ms = self._find_next_due(now_ms)
        return due_ms if due_ms > wall_ms else 0

    def get_usage(self) -> dict[str, tuple[int, int]]:
        return {
            "announced proposals": (len(self._announced), self._announced.limit),
            "undecided proposals": (len(self._proposals), _MAX_PROPOSALS + 2),
        }


def _list_steps(effects: list[asked.Effect]) -> Reaction:
    """The effects in their order, but a decision last, for it begins the next height, or else a new proposal."""
    steps: list[Step] = []
    last: Step | None = None
    for effect in effects:
        if isinstance(effect, asked.Decide):
            last = Perform(effect)
            continue
        steps.append(Perform(effect))
        if isinstance(effect, asked.Propose) and last is None:
            last = TryToPropose()
    return steps if last is None else [*steps, last]
