"""Finality: votes and certificates of checkpoints, evidence, and the results that members sign beside them.

A certificate makes its block final whatever the branch. Who must sign what, and when, is the way of progress to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from consensus.checkpoints import Checkpoints
from consensus.contracts import (
    DOUBLE_BALLOT,
    DOUBLE_VOTE,
    EQUIVOCATION,
    Evidence,
    check_ballot_evidence,
    is_recorded,
    kind_of,
)
from consensus.errors import UnknownMessage, UnknownSigner, VoteTooFarAhead, WrongVoters
from consensus.evidence import Equivocation, check_equivocation
from consensus.pbft.messages import Ballot, encode_message
from consensus.pbft.validators import DoubleBallot
from consensus.quorum import DoubleVote, QuorumCertificate, Statement, Vote, check_double_vote, read_vote
from consensus.relays import Relay
from ledger.block import MAX_HEADER_BYTES
from ledger.chain import WINDOW, BlockNode, Changes
from ledger.codec import decode, encode
from ledger.errors import GridmeritError, StoreError
from ledger.hashing import address_of
from ledger.overlay import Overlay
from ledger.results import compute_digest, get_results
from ledger.sealers import get_known_sealers
from ledger.store import as_stored
from node.chain import messages as wire
from node.chain.events import Action, Broadcast, PeerId, PenalisePeer, Persist, Publish
from node.chain.gossip import Gossip
from node.chain.instance import Instance
from node.chain.missing_votes import MissingVotes
from node.chain.progress import BetterHead, Certified, ClaimsReceived, Final, Progress, Reaction, Step, VotesReceived
from node.chain.results import Results, announce_claims, check_shown
from node.chain.set_changes import SetChanges
from node.chain.signing import Signing, read_own_ballot
from node.chain.trusted_block import TrustedBranch

MAX_FINAL_DEPTH = 4 * WINDOW  # blocks below the head down to which a state is brought back
_ROWS_PER_EVIDENCE = 50  # what it costs to check its two signatures, in rows of `node.chain.serving`
_CERTIFICATE_ROW, _FINAL_CERTIFICATE_ROW = b"c", b"C"


class Finality:
    """The votes, certificates and evidence that one node knows, and what is final. Raises `StoreCorrupt`.

    `slot_of` says which slot a chain has come to with a head.
    """

    def __init__(
        self,
        instance: Instance,
        trusted_branch: TrustedBranch,
        signing: Signing,
        gossip: Gossip,
        *,
        slot_of: Callable[[BlockNode], int],
    ) -> None:
        self.checkpoints = Checkpoints(instance.params.consensus, instance.chain_id)
        self.missing_votes = MissingVotes(self.checkpoints)
        self.set_changes = SetChanges(instance.genesis, instance.store)
        self.results = Results(instance.chain, instance.store, self.checkpoints, self.get_certificate, slot_of=slot_of)
        self._instance = instance
        self._chain = instance.chain
        self._trusted_branch = trusted_branch
        self._signing = signing
        self._gossip = gossip
        self._sealers = get_known_sealers(Overlay(self._chain.head.state))
        self.final_certificate = self._load_certificate(_FINAL_CERTIFICATE_ROW)
        self.list_due()

    # --- what is due, known and final ------------------------------------------------------------

    def list_due(self) -> tuple[Statement, ...]:
        """The statements that are deep enough under the head to be signed."""
        head = self._chain.head
        self.results.on_head(head)
        return self.checkpoints.on_head(head.state, height=head.height)

    def on_head(self, head: BlockNode) -> None:
        """Cause: the head has moved."""
        self._sealers = get_known_sealers(Overlay(head.state))

    def get_certificate(self, slot: int) -> QuorumCertificate | None:
        """The certificate of a slot's checkpoint, from memory or store."""
        known = self.checkpoints.get_certificate(slot)
        return known or self._load_certificate(_CERTIFICATE_ROW + slot.to_bytes(8, "big"))

    def finalise(self, certificate: QuorumCertificate) -> Changes:
        """Make the certificate's block final, where it is on the chain and above the final one; the rows of both."""
        block = self._chain.get(certificate.statement.block_hash)
        rows: Changes = []
        if block is not None and block.height > self._chain.final_height and self._chain.is_canonical(block.header):
            self.final_certificate = certificate
            changes = self.set_changes.keep(certificate, block)
            results = self.results.keep(certificate, block)
            rows = [*self._chain.finalise(block), (_FINAL_CERTIFICATE_ROW, certificate.raw), *changes, *results]
        return [*rows, certificate_row(certificate)]

    def adopt(self, certificate: QuorumCertificate, handovers: Iterable[Relay]) -> Changes:
        """Rows of what makes the block final that the chain is taken up from, all of it verified."""
        self.final_certificate = certificate
        self.checkpoints.keep_certificate(certificate)
        kept = [(_FINAL_CERTIFICATE_ROW, certificate.raw), certificate_row(certificate)]
        return [*kept, *self.set_changes.adopt(handovers)]

    def _load_certificate(self, row: bytes) -> QuorumCertificate | None:
        raw = self._instance.store.get(row)
        if raw is None:
            return None
        with as_stored("a certificate"):
            return QuorumCertificate.from_bytes(raw)

    # --- votes -----------------------------------------------------------------------------------

    def on_votes(self, votes: VotesReceived, progress: Progress) -> Reaction:
        """Count votes up to the first that something follows from, and then the rest. Cause: a peer's votes."""
        for index, raw in enumerate(votes.raw, 1):
            try:
                vote = read_vote(raw)
                check_shown(vote)
                counted = self.add_vote(vote, progress)
            except StoreError:
                raise
            except GridmeritError as error:
                return [PenalisePeer(peer=votes.peer, error=error)]  # what came before it has been done
            if counted:
                rest = votes.raw[index:]
                return [*counted, VotesReceived(votes.peer, rest)] if rest else counted
        return []

    def on_claims(self, received: ClaimsReceived, now_ms: int, progress: Progress) -> Reaction:
        """Keep the first of some claims and count its vote, and then the rest.

        Cause: members have computed and signed results.
        """
        reaction: list[Step] = []
        try:
            claim = next(received.claims, None)
            if claim is None:
                return []
            reaction += self.results.take(claim, received.peer)
            reaction += progress.on_vote_shown(received.peer, claim.vote, now_ms)
        except StoreError:
            raise
        except GridmeritError as error:
            return [*reaction, PenalisePeer(peer=received.peer, error=error)]  # what came before it has been done
        return [*reaction, received]

    def add_vote(self, vote: Vote, progress: Progress) -> Reaction:
        """Count a vote and pass it on where it was news; one for results is passed on with them.

        Raises as `Checkpoints.add_vote` does.
        """
        before = self.checkpoints.count_votes(vote.statement.slot)
        outcome = self.checkpoints.add_vote(vote)
        reaction: list[Step] = []
        if self.checkpoints.count_votes(vote.statement.slot) > before:
            reaction += self.notice(vote, progress)
            if not vote.statement.result:
                reaction.append(Broadcast(message=wire.Votes(raw=(encode(vote.to_value()),))))
        match outcome:
            case QuorumCertificate():
                reaction.append(Certified(outcome, None))
            case DoubleVote():
                reaction += self.notice(vote, progress)
                raw = encode(outcome.to_value())
                reaction.append(Broadcast(message=wire.Evidence(kind=DOUBLE_VOTE, raw=raw)))
        return reaction

    def repeat_votes(self) -> list[Action]:
        """Votes on checkpoints that are still open, said again for whoever missed them. Cause: a heartbeat."""
        slots = [statement.slot for statement in self.list_due()]
        held = [vote for slot in slots for vote in self.checkpoints.votes(slot) if not vote.statement.result]
        votes = tuple(encode(vote.to_value()) for vote in held[: wire.MAX_ITEMS])
        results = announce_claims([claim for slot in slots for claim in self.results.claims(slot)])
        plain = [Broadcast(message=wire.Votes(raw=votes))] if votes else []
        return [*plain, *(Broadcast(message=message) for message in results)]

    # --- this node's own -------------------------------------------------------------------------

    def notice(self, ballot: Ballot, progress: Progress) -> Reaction:
        """Fall silent at a checked ballot that is this node's, and of which its record does not know."""
        if not self._instance.is_own(ballot.signer):
            return []
        height = progress.find_strange(ballot)
        return [] if height is None else self._signing.fall_silent(height)

    def notice_own(self, certificate: QuorumCertificate, progress: Progress) -> Reaction:
        """Notice this node's own vote in a certificate that has been checked."""
        key = self._instance.key
        own = None if key is None else dict(certificate.signatures).get(key.public_key)
        if key is None or own is None:
            return []
        vote = Vote(statement=certificate.statement, signer=key.public_key, signature=own)
        return self.notice(vote, progress)

    def give_signed(self, peer: PeerId, now_ms: int, progress: Progress) -> list[Action]:
        """Tell a peer what is held under its key; later, where the blocks that tell are still to come.

        Cause: a peer asks before it signs again. Raises `ServedTooMuch`.
        """
        self._gossip.serving.check(peer, now_ms)
        if self._gossip.is_syncing:
            return []
        raw = tuple(encode_message(ballot) for ballot in progress.ballots_of(peer))
        return self._gossip.give_signed(peer, raw[: wire.MAX_ITEMS], now_ms)

    def on_signed(self, peer: PeerId, message: wire.Signed, progress: Progress) -> Reaction:
        """Cause: a peer says where it stands, and what it holds under this node's key. Raises what is wrong with it."""
        key = self._instance.key
        if key is None or not self._signing.is_waiting:
            return []
        ballots = [read_own_ballot(raw, key.public_key, self._instance.chain_id) for raw in message.raw]
        self._signing.hear(peer, message)
        return [step for ballot in ballots for step in self.notice(ballot, progress)]

    # --- certificates ----------------------------------------------------------------------------

    def on_certificate(self, peer: PeerId, raw: bytes, now_ms: int, progress: Progress) -> Reaction:
        """Cause: a peer shows a certificate. Raises what is wrong with it."""
        certificate = QuorumCertificate.from_bytes(raw)
        block_hash = certificate.statement.block_hash
        header = self._chain.get_header(block_hash)
        if header is not None and header.height <= self._chain.final_height and self._chain.is_canonical(header):
            return []  # it says nothing new
        block = self._chain.get(block_hash) if self._chain.is_recent(block_hash) else None
        try:
            if self.checkpoints.add_certificate(certificate, None if block is None else block.state):
                return [Certified(certificate, peer)]
        except (VoteTooFarAhead, WrongVoters):
            if block is not None:
                raise
            progress.note_unproven(peer, block_hash)  # the members may have changed: the blocks up to it will tell
        if header is None:
            return self._gossip.ask_headers(peer, now_ms)
        return []

    def on_certified(self, certified: Certified, now_ms: int, progress: Progress) -> Reaction:
        """The checkpoint is final, at once and whatever the branch: follow the best branch that holds it.

        Causes: enough votes, a peer's certificate, one that came with headers, a decision of the agreement.
        """
        certificate, peer = certified.certificate, certified.peer
        statement = certificate.statement
        reaction: list[Step] = [
            *self.notice_own(certificate, progress),
            *progress.tell_certificate(certificate, peer),
            *self.results.review(statement.slot),
        ]
        block, header = self._chain.get(statement.block_hash), self._chain.get_header(statement.block_hash)
        if header is None:
            return [*reaction, *(self._gossip.ask_headers(peer, now_ms) if peer is not None else [])]
        if block is None:
            return [*reaction, Final(certificate)]  # it was final before the restart: nothing is left to compare
        if self._chain.fork_point(block).height < min(block.height, self._trusted_branch.settled_height):
            conflict = ("finality-conflict", statement.slot, statement.block_hash)
            # More than f members lied, or votes took longer than a deadline.
            return [*reaction, Publish(event=conflict)]
        if compute_digest(get_results(Overlay(block.state))) != statement.result:
            unlike = ("result-conflict", statement.slot, statement.block_hash, statement.result)
            return [*reaction, Publish(event=unlike)]  # more than f members lied
        if block.height > self._chain.final_height and not self._chain.is_canonical(block.header):
            best = self._chain.best_descendant(block, self._instance.engine.is_better)
            reaction.append(BetterHead(best, peer))
        return [*reaction, Final(certificate)]

    def give_records(self, peer: PeerId, question: wire.GetTradeRecords, now_ms: int) -> list[Action]:
        """Cause: a peer asks what stands behind a period's result. Raises `ServedTooMuch`."""
        self._gossip.serving.check(peer, now_ms)
        answer, looked_up = self.results.answer(question)
        return self._gossip.give_records(peer, answer, now_ms, looked_up=looked_up)

    def on_records(self, peer: PeerId, message: wire.TradeRecords) -> list[Action]:
        """Cause: a peer gives the certificate of a result that was missed here. Raises what is wrong with it."""
        try:
            found = self.results.accept(peer, message)
        except (VoteTooFarAhead, WrongVoters):
            return []  # the members have changed since
        if found is None:
            return []
        certificate, rows = found
        self.checkpoints.keep_certificate(certificate)
        return [Persist(changes=[*rows, certificate_row(certificate)])]

    # --- evidence --------------------------------------------------------------------------------

    def on_evidence(self, peer: PeerId, message: wire.Evidence, now_ms: int, progress: Progress) -> list[Action]:
        """Cause: a peer accuses a member. Raises what is wrong with it.

        Of one offence there are as many proofs as its author makes, all of them good. They are paid for as answers are,
        and beyond the peer's share raise `ServedTooMuch`.
        """
        self._gossip.serving.check(peer, now_ms)
        self._gossip.serving.charge(peer, now_ms, rows=_ROWS_PER_EVIDENCE, size_bytes=len(message.raw))
        value = decode(message.raw, max_bytes=4 * MAX_HEADER_BYTES)
        evidence: Evidence
        if message.kind not in progress.offences:
            raise UnknownMessage(kind=message.kind)
        if message.kind == EQUIVOCATION:
            evidence = Equivocation.from_value(value)
            if evidence.producer not in self._sealers:
                raise UnknownSigner(signer=evidence.producer.hex()[:16])
            check_equivocation(evidence, self._instance.chain_id)
        elif message.kind == DOUBLE_VOTE:
            evidence = DoubleVote.from_value(value)
            check_double_vote(evidence, self._sealers, chain_id=self._instance.chain_id)
        else:
            assert message.kind == DOUBLE_BALLOT
            evidence = DoubleBallot.from_value(value)
            check_ballot_evidence(evidence, self._sealers, chain_id=self._instance.chain_id)
        return [Broadcast(message=message, but=peer)] if self._is_news(evidence) else []

    def convict(self, evidence: DoubleVote | DoubleBallot) -> list[Action]:
        """Keep and tell what the agreement has noticed."""
        if not self._is_news(evidence):
            return []
        message = wire.Evidence(kind=kind_of(evidence), raw=encode(evidence.to_value()))
        return [Publish(event=("equivocation", address_of(evidence.signer))), Broadcast(message=message)]

    def _is_news(self, evidence: Evidence) -> bool:
        """Keep evidence for the next block; whether it is in none and was not kept."""
        return not is_recorded(Overlay(self._chain.head.state), evidence) and self.checkpoints.add_evidence(evidence)


def certificate_row(certificate: QuorumCertificate) -> tuple[bytes, bytes]:
    """The row under which a certificate is kept, by its slot."""
    return _CERTIFICATE_ROW + certificate.statement.slot.to_bytes(8, "big"), certificate.raw
