"""PBFT on one chain instance: what the state machine asks for, put into the node's actions.

The state machine (`consensus.pbft.replica`) knows blocks by hash. The `ChainNode` builds, checks and stores them: that
is what `BlockService` describes.
"""

from __future__ import annotations

from typing import Protocol, assert_never

from consensus.pbft import effects as asked
from consensus.pbft.messages import Ballot, decode_message, encode_message
from consensus.pbft.record import PbftRecord
from consensus.pbft.replica import Pbft
from consensus.pbft.validators import DoubleBallot
from consensus.quorum import DoubleVote, QuorumCertificate, Vote
from ledger.sealers import ValidatorSet
from node.chain import messages as wire
from node.chain.events import Action, Broadcast, PeerId, PenalisePeer, Send, SetTimer
from node.chain.results import check_shown

AGREEMENT = "agreement"


class BlockService(Protocol):
    """What agreeing on blocks takes of a node. Every method returns what is to be done, or what is known."""

    def remember(self, record: PbftRecord) -> list[Action]: ...
    def propose_block(self, now_ms: int) -> tuple[bytes, list[Action]] | None: ...
    def show_block(self, block_hash: bytes) -> list[Action] | None: ...
    def fetch_block(self, block_hash: bytes, peers: tuple[PeerId, ...], now_ms: int) -> list[Action]: ...
    def decide(self, certificate: QuorumCertificate, now_ms: int) -> list[Action]: ...
    def result_of(self, block_hash: bytes) -> bytes: ...
    def tell_result(self, vote: Vote) -> list[Action]: ...
    def request_status(self) -> list[Action]: ...
    def convict(self, evidence: DoubleVote | DoubleBallot) -> list[Action]: ...


class Agreement:
    """One replica at work. Events go in as to `Pbft`, actions come out."""

    def __init__(self, pbft: Pbft, chamber: BlockService) -> None:
        self._pbft = pbft
        self._chamber = chamber
        self._lead: asked.Propose | None = None  # what this replica was asked to propose, and has not yet

    def start(self, height: int, voters: ValidatorSet, now_ms: int, *, last: QuorumCertificate | None) -> list[Action]:
        """Agree on the block at a height."""
        self._lead = None
        effects = self._pbft.start(height, voters.keys, now_ms, since_slot=voters.since_slot, last=last)
        return self._perform(effects, now_ms)

    def receive(self, peer: PeerId, raw: bytes, now_ms: int) -> list[Action]:
        """A peer's message. Raises the `Malformed` family, `DuplicateSigner` or `ResultNotShown`."""
        message = decode_message(raw)
        if isinstance(message, Vote):
            check_shown(message)
        return self._perform(self._pbft.receive(peer, message, now_ms), now_ms)

    def receive_vote(self, peer: PeerId, vote: Vote, now_ms: int) -> list[Action]:
        """A commit that came with the result that it is to."""
        return self._perform(self._pbft.receive(peer, vote, now_ms), now_ms)

    def on_timer(self, now_ms: int) -> list[Action]:
        return self._perform(self._pbft.on_timer(now_ms), now_ms)

    def on_block(self, block_hash: bytes, now_ms: int, *, is_valid: bool, is_late: bool = False) -> list[Action]:
        """A block on the head has been executed or condemned; `is_late`, where it came too late for its gate."""
        if is_valid:
            result = self._chamber.result_of(block_hash)
            effects = self._pbft.accept(block_hash, now_ms, result=result, is_late=is_late)
        else:
            effects = self._pbft.refuse(block_hash, now_ms)
        return [*self._perform(effects, now_ms), *self._try_to_lead(now_ms)]

    def on_work(self, now_ms: int, *, is_pending: bool) -> list[Action]:
        """Say whether there is something to put into a block, and propose one where it is this replica's turn."""
        actions = self._perform(self._pbft.wait_for(is_pending, now_ms), now_ms)
        return [*actions, *self._try_to_lead(now_ms)]

    def fall_silent(self) -> None:
        """Sign nothing until it is allowed again."""
        self._lead = None
        self._pbft.fall_silent()

    def allow(self, now_ms: int) -> list[Action]:
        """Sign from now on."""
        return self._perform(self._pbft.allow(now_ms), now_ms)

    def said_by(self, signer: bytes) -> tuple[Ballot, ...]:
        """The ballots that are held of a validator."""
        return self._pbft.said_by(signer)

    @property
    def height(self) -> int:
        return self._pbft.height

    @property
    def view(self) -> int:
        return self._pbft.view

    def waiting_for(self) -> tuple[bytes, ...]:
        """Whose message the current step has lacked for longer than it should."""
        return self._pbft.waiting_for()

    def _try_to_lead(self, now_ms: int) -> list[Action]:
        lead = self._lead
        if lead is None:
            return []
        if lead.block_hash is None:
            proposal = self._chamber.propose_block(now_ms)
            if proposal is None:
                return []
            block_hash, actions = proposal
        else:
            block_hash, shown = lead.block_hash, self._chamber.show_block(lead.block_hash)
            if shown is None:
                return []
            actions = shown
        self._lead = None
        result = self._chamber.result_of(block_hash)
        return [*actions, *self._perform(self._pbft.propose(lead.view, block_hash, now_ms, result=result), now_ms)]

    def _perform(self, effects: list[asked.Effect], now_ms: int) -> list[Action]:
        """The effects in their order, but a decision last: it begins the next height."""
        actions: list[Action] = []
        decided: QuorumCertificate | None = None
        is_asked_to_lead = False
        for effect in effects:
            match effect:
                case asked.PersistRecord(record=record):
                    actions += self._chamber.remember(record)
                case asked.Broadcast(message=Vote() as vote) if vote.statement.result:
                    actions += self._chamber.tell_result(vote)
                case asked.Broadcast(message=message):
                    actions.append(Broadcast(message=wire.Agreement(raw=encode_message(message))))
                case asked.Send(peer=peer, message=message):
                    actions.append(Send(peer=peer, message=wire.Agreement(raw=encode_message(message))))
                case asked.FetchBlock(block_hash=block_hash, peers=peers):
                    actions += self._chamber.fetch_block(block_hash, peers, now_ms)
                case asked.Propose(block_hash=wanted, peers=peers):
                    self._lead, is_asked_to_lead = effect, True
                    if wanted is not None:
                        actions += self._chamber.fetch_block(wanted, peers, now_ms)
                case asked.Decide(certificate=certificate):
                    decided = certificate
                case asked.Behind():
                    actions += self._chamber.request_status()
                case asked.SetTimer(at_ms=at_ms):
                    actions.append(SetTimer(name=AGREEMENT, at_ms=at_ms))
                case asked.ReportFault(peer=peer, error=error):
                    actions.append(PenalisePeer(peer=peer, error=error))
                case asked.ReportEvidence(evidence=evidence):
                    actions += self._chamber.convict(evidence)
                case _:
                    assert_never(effect)
        if decided is not None:
            return [*actions, *self._chamber.decide(decided, now_ms)]
        return [*actions, *self._try_to_lead(now_ms)] if is_asked_to_lead else actions
