"""Progress by fork choice, as under proof of credit assessment: seal on the best branch, sign its checkpoints.

`POCA` members search for a seal on the head, follow the branch with the most work, and vote on what lies deep enough.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from consensus.contracts import DOUBLE_BALLOT, DOUBLE_VOTE, EQUIVOCATION
from consensus.engine import Proposal
from consensus.errors import UnknownMessage
from consensus.evidence import EquivocationWatch
from consensus.pbft.messages import Ballot
from consensus.quorum import QuorumCertificate, Vote, sign_statement
from ledger.accounts import get_sealers
from ledger.block import Header
from ledger.chain import BlockNode
from ledger.checkpoints import compute_slot, get_checkpoints
from ledger.codec import encode
from ledger.overlay import Overlay
from ledger.steps import Run
from node.chain import messages as wire
from node.chain.candidate import Candidate
from node.chain.events import Action, Broadcast, PeerId, Publish, SetTimer, StartSealing, StopSealing
from node.chain.finality import MAX_FINAL_DEPTH
from node.chain.gossip import announce_block
from node.chain.parts import Parts
from node.chain.progress import BUILDING, RESEAL, AgreementStep, BetterHead, Reaction, Refresh, Step, VotesReceived

SEAL = "seal"
_MAX_UNPROVEN = 4  # of one peer


@dataclass(slots=True)
class _Building:
    """A candidate that is being built on a head."""

    head: bytes
    proposal: Proposal
    gate_ms: int | None  # the first after it was begun: what is sealed after that must not be dated before
    run: Run[Candidate]
    has_rested: bool = False


class ForkChoice:
    """The candidate that is being sealed, and the rules by which one branch is left for another."""

    offences = frozenset({EQUIVOCATION, DOUBLE_VOTE, DOUBLE_BALLOT})

    def __init__(self, parts: Parts) -> None:
        self._instance = parts.instance
        self._chain = parts.instance.chain
        self._trusted_branch = parts.trusted_branch
        self._importer = parts.importer
        self._signing = parts.signing
        self._gossip = parts.gossip
        self._finality = parts.finality
        self._filling = parts.filling
        self._gates = parts.gates
        self._watch = EquivocationWatch()
        self._candidate: Candidate | None = None
        self._gate_ms: int | None = None  # the first after it was begun
        self._building: _Building | None = None  # the next candidate, where that takes several steps
        self._job = 0
        self._unproven: dict[PeerId, deque[bytes]] = {}  # blocks said to be certified, by members not known here

    @staticmethod
    def slot_of(head: BlockNode) -> int:
        """The slot that a chain has come to: that of its newest checkpoint."""
        recent = get_checkpoints(Overlay(head.state))
        return recent[-1].slot if recent else 0

    # --- what happens ----------------------------------------------------------------------------

    def load(self) -> list[Action]:
        return []

    def on_started(self, now_ms: int) -> Reaction:
        return [*self._sign_due(now_ms), Refresh()]

    def on_timer(self, name: str, now_ms: int) -> Reaction:
        if name == SEAL:
            return self.on_seal(self._job, 0, now_ms)
        if name == BUILDING:
            return self._go_on_building(now_ms)
        assert name == RESEAL, f"unknown timer {name}"
        return self.refresh(now_ms)

    def on_announcement(self, peer: PeerId, message: wire.NewBlock, header: Header, now_ms: int) -> Reaction:
        """Judge the header; then put the block together, or ask for it, or for what lies below it."""
        if self._importer.is_known(header.hash):
            return []
        parent = self._chain.get(header.parent) if self._chain.is_recent(header.parent) else None
        if parent is None:  # unknown, or so old that its branch must first show its work
            return [] if self._instance.is_halted else self._gossip.ask_headers(peer, now_ms)
        self._importer.check_clock(header, now_ms)
        self._importer.check_header(header, parent, self._chain)
        self._gates.note(header, self._instance.date(now_ms))
        noticed = self.observe(header)  # also where a branch from here cannot be followed any more
        if self._gossip.is_stray(peer, header):
            return noticed
        return [*noticed, *self._gossip.take_announced(peer, message, header, now_ms)]

    def on_votes(self, peer: PeerId, message: wire.Votes, now_ms: int) -> Reaction:
        return [VotesReceived(peer, message.raw)]

    def on_vote_shown(self, peer: PeerId, vote: Vote, now_ms: int) -> Reaction:
        return self._finality.add_vote(vote, self)

    def on_agreement(self, peer: PeerId, message: wire.Agreement, now_ms: int) -> Reaction:
        raise UnknownMessage(kind=message.code)

    def is_settled(self, header: Header) -> bool:
        return False

    def observe(self, header: Header) -> Reaction:
        """Notice a producer's second block on one parent; the header has been judged on it."""
        evidence = self._watch.observe(header)
        reaction = self._signing.notice_seal(header, is_second=evidence is not None)
        if evidence is None or not self._finality.checkpoints.add_evidence(evidence):
            return reaction
        message = wire.Evidence(kind=EQUIVOCATION, raw=encode(evidence.to_value()))
        return [*reaction, Publish(event=("equivocation", header.producer_address)), Broadcast(message=message)]

    def on_block(self, block: BlockNode, now_ms: int, *, source: PeerId, is_certified: bool, is_late: bool) -> Reaction:
        """Follow the block where its branch is better and may be followed; one that is late, once another is on it."""
        if is_late:
            return []
        engine, head = self._instance.engine, self._chain.head
        is_better = self._trusted_branch.leads_to((block.header,)) or engine.is_better(block, head)
        may_follow = is_better and self._chain.fork_point(block).height >= self._trusted_branch.settled_height
        return [BetterHead(block, source)] if may_follow else []

    def on_invalid(self, header: Header, now_ms: int) -> Reaction:
        return []

    def on_head(self, now_ms: int) -> Reaction:
        return [*self._sign_due(now_ms), Refresh()]

    def on_final(self, certificate: QuorumCertificate, now_ms: int) -> Reaction:
        return []

    def on_work(self, now_ms: int) -> Reaction:
        return []

    def on_step(self, step: AgreementStep, now_ms: int) -> Reaction:
        raise AssertionError("nothing is agreed on")

    def on_allowed(self, now_ms: int) -> Reaction:
        return [*self._sign_due(now_ms), Refresh()]

    def on_silenced(self) -> None:
        """No more than what is being built: every signature asks the record again."""
        self._building = None

    def on_peer_lost(self, peer: PeerId) -> None:
        self._unproven.pop(peer, None)

    # --- sealing ---------------------------------------------------------------------------------

    def refresh(self, now_ms: int) -> Reaction:
        """Build a fresh candidate on the head and search for its seal; again soon, for time and mempool move on.

        A candidate that needs no search is sealed in a step of its own: each may be followed by the next at once. One
        that takes several steps to build is built to its end, and renewed after a block's interval.
        """
        head, key = self._chain.head, self._instance.key
        may_seal = self._signing.may_sign and self._signing.record.may_seal_on(head.hash)
        if key is None or not may_seal or self._instance.is_halted:
            self._candidate = self._building = None
            return [StopSealing()]
        is_behind = self._gossip.is_syncing
        date_ms = self._instance.date(now_ms)
        again = self._renew_after(self._filling.renew_ms, now_ms)
        if not is_behind and self._is_building(now_ms):
            return [again]
        engine = self._instance.engine
        proposal = None if is_behind else engine.propose(key.public_key, head, self._chain, date_ms)
        if proposal is None:
            self._candidate = self._building = None
            return [StopSealing(), again]
        gate_ms = self._gates.find_next_ms(date_ms)
        self._building = _Building(head.hash, proposal, gate_ms, Run(self._filling.fill(key, proposal)))
        return [*self._go_on_building(now_ms), again]

    def _go_on_building(self, now_ms: int) -> Reaction:
        """The next step of building a candidate, whose seal is searched for once it is complete.

        Until then the search for that of the last one goes on, where it may still be sealed.
        """
        building, last = self._building, self._candidate
        if building is None or not self._is_building(now_ms):
            return []
        building.run.go_on()
        candidate, target = building.run.result, building.proposal.target
        if candidate is None:
            building.has_rested = True
            going_on = SetTimer(name=BUILDING, at_ms=now_ms)
            if last is not None and self._may_stand(last.header.parent, self._gate_ms, now_ms):
                return [going_on]
            self._candidate = None
            return [StopSealing(), going_on]
        self._candidate, self._gate_ms, self._building = candidate, building.gate_ms, None
        self._job += 1
        search = StartSealing(job=self._job, root=candidate.header.root, target=target) if target is not None else None
        interval_ms = self._instance.params.consensus.block_interval_ms
        again = [self._renew_after(interval_ms, now_ms)] if building.has_rested else []
        return [SetTimer(name=SEAL, at_ms=now_ms) if search is None else search, *again]

    def _is_building(self, now_ms: int) -> bool:
        """Tell if the candidate that is being built may still be sealed; else it is given up."""
        building = self._building
        if building is not None and not self._may_stand(building.head, building.gate_ms, now_ms):
            self._building = None
        return self._building is not None

    def _may_stand(self, parent: bytes, gate_ms: int | None, now_ms: int) -> bool:
        """Tell if a block of this node on that parent may come now, where it was begun before that gate."""
        is_in_time = gate_ms is None or self._instance.date(now_ms) < gate_ms
        return parent == self._chain.head.hash and is_in_time

    def _renew_after(self, wait_ms: int, now_ms: int) -> SetTimer:
        date_ms = self._instance.date(now_ms)
        gate_ms = self._gates.find_next_ms(date_ms)  # what is found after it must not be dated before it
        return SetTimer(name=RESEAL, at_ms=now_ms + (wait_ms if gate_ms is None else min(wait_ms, gate_ms - date_ms)))

    def on_seal(self, job: int, nonce: int, now_ms: int) -> Reaction:
        """Put the sealed block on the chain, where it still stands on a block that this node may seal on."""
        candidate, key = self._candidate, self._instance.key
        if job != self._job or candidate is None or key is None:
            return []
        self._candidate = None
        block = candidate.sealed(nonce, key)
        parent = self._chain.get(block.header.parent)
        if parent is None or not self._signing.may_sign or not self._signing.record.may_seal_on(parent.hash):
            return []
        sealed = self._importer.place_own(candidate, block, parent)
        self._watch.observe(block.header)
        return [BetterHead(sealed, None)]

    def account_for(self, block: BlockNode, source: PeerId | None) -> tuple[list[Action], list[Action]]:
        """The record of an own seal follows the block; that the head is lower than before is recorded first.

        Else a crash between the two would look like a rollback. An own block that a certificate led back to is no new
        one.
        """
        signing = self._signing
        parent = block.header.parent
        if source is None and self._instance.is_own(block.header.producer) and signing.record.may_seal_on(parent):
            signing.record = signing.record.after_seal(height=block.height, parent=parent)
            return [], [signing.persist()]
        if block.height < signing.record.height:
            signing.record = signing.record.after_head(block.height)
            return [signing.persist()], []
        return [], []

    def announce(self, block: BlockNode, source: PeerId | None) -> list[Action]:
        return [] if self._gossip.is_syncing else [Broadcast(message=announce_block(block), but=source)]

    # --- checkpoints -----------------------------------------------------------------------------

    def _sign_due(self, now_ms: int) -> Reaction:
        """Sign the statements that are due, each durably recorded before it leaves."""
        head, key, signing = self._chain.head, self._instance.key, self._signing
        due = self._finality.list_due()
        voters = get_sealers(Overlay(head.state))
        if key is None or not signing.may_sign or key.public_key not in voters or self._gossip.is_syncing:
            return []
        checkpoints = self._finality.checkpoints
        reaction: list[Step] = [*self._void_early_votes(now_ms)]
        for statement in due:
            has_signed = any(vote.signer == key.public_key for vote in checkpoints.votes(statement.slot))
            if has_signed or not signing.record.may_sign(statement):
                continue
            if checkpoints.is_locked(head.state, statement, signing.record):
                continue
            if self._stands_on_late(statement.block_hash, now_ms):
                continue
            if statement.result and not self._can_show(statement.block_hash):
                continue
            signing.record = signing.record.after_vote(statement)
            vote = sign_statement(statement, key)
            reaction.append(signing.persist())
            reaction += self._finality.results.tell(vote) if statement.result else []
            reaction += self._finality.add_vote(vote, self)
        return reaction

    def _void_early_votes(self, now_ms: int) -> list[Action]:
        """Give up what was signed for slots that no clock but a wrong one has come to."""
        params, signing = self._instance.params, self._signing
        latest_ms = self._instance.date(now_ms) + params.consensus.max_ahead_ms
        elapsed_ms = latest_ms - self._instance.genesis.time_ms
        record = signing.record.after_clock(compute_slot(max(0, elapsed_ms), params))
        if record is signing.record:
            return []
        signing.record = record
        return [signing.persist()]

    def _can_show(self, block_hash: bytes) -> bool:
        """Tell if the results of a checkpoint can be shown: it may lie so deep that its state is not brought back."""
        header = self._chain.get_header(block_hash)
        is_near = header is not None and self._chain.head.height - header.height <= MAX_FINAL_DEPTH
        return is_near and self._chain.get(block_hash) is not None

    def _stands_on_late(self, block_hash: bytes, now_ms: int) -> bool:
        """Tell if a checkpoint of this chain is a block that came too late for its gate, or above one."""
        header = self._chain.get_header(block_hash)
        return header is not None and any(
            height <= header.height and self._chain.hash_at(height) == late_hash
            for late_hash, height in self._gates.list_late(self._instance.date(now_ms))
        )

    def tell_certificate(self, certificate: QuorumCertificate, source: PeerId | None) -> list[Action]:
        return [Broadcast(message=wire.Certificate(raw=certificate.raw), but=source)]

    def find_strange(self, ballot: Ballot) -> int | None:
        assert isinstance(ballot, Vote), "nothing else is voted on"
        return None if self._signing.record.knows_statement(ballot.statement) else 0

    def ballots_of(self, signer: bytes) -> tuple[Ballot, ...]:
        slots = [statement.slot for statement in self._finality.list_due()]
        held = [vote for slot in slots for vote in self._finality.checkpoints.votes(slot)]
        return tuple(vote for vote in held if vote.signer == signer)

    # --- headers and what proves them ------------------------------------------------------------

    def prove_headers(self, heights: range) -> tuple[range, bytes]:
        return heights, b""

    def check_proof(self, headers: tuple[Header, ...], raw: bytes) -> QuorumCertificate | None:
        return None

    def are_all(self, count: int) -> bool:
        return count < wire.MAX_ITEMS

    def certificates_above(self, height: int) -> list[QuorumCertificate]:
        return []  # they are on the chain

    def note_unproven(self, peer: PeerId, block_hash: bytes) -> None:
        self._unproven.setdefault(peer, deque(maxlen=_MAX_UNPROVEN)).append(block_hash)

    def list_unproven(self) -> tuple[bytes, ...]:
        return tuple(block_hash for said in self._unproven.values() for block_hash in said)

    # --- views -----------------------------------------------------------------------------------

    def count_age(self, beats: int) -> int:
        return self._chain.head.height

    def waiting_for(self) -> tuple[bytes, ...]:
        return ()

    def rests_until(self, wall_ms: int) -> int:
        return 0  # there is always a nonce to search for

    def get_usage(self) -> dict[str, tuple[int, int]]:
        peers = max(1, len(self._gossip.peers))
        return {"unproven certificates": (len(self.list_unproven()), _MAX_UNPROVEN * peers)}
