"""The moves of the head and of the final block: one batch on disk, then all that are to hear of it.

Three ways lead here: a block in the tree becomes the head, a certificate makes a block of the chain final, and a state
that peers have handed out takes the place of the chain. Each says in which order what stands on the chain learns of it.
"""

from __future__ import annotations

from consensus.contracts import CERTIFICATE
from consensus.quorum import QuorumCertificate
from ledger.chain import BlockNode, Changes
from node.chain.events import Action, Persist, Publish
from node.chain.parts import Parts
from node.chain.progress import BetterHead, CatchUp, Progress, Reaction, Step
from node.chain.relays import Relays
from node.chain.release_watch import ReleaseWatch
from node.chain.snapshot_join import TAKEN, SnapshotJoin
from node.chain.snapshots import Snapshots


class HeadMoves:
    """The one part that moves the chain's head, and brings up to it what stands on the chain."""

    def __init__(
        self,
        parts: Parts,
        *,
        progress: Progress,
        relays: Relays,
        snapshots: Snapshots,
        joining: SnapshotJoin,
        release_watch: ReleaseWatch,
    ) -> None:
        self._chain = parts.instance.chain
        self._gossip = parts.gossip
        self._finality = parts.finality
        self._acknowledgements = parts.pool.acknowledgements
        self._progress = progress
        self._relays = relays
        self._snapshots = snapshots
        self._joining = joining
        self._release_watch = release_watch

    def on_better_head(self, better: BetterHead, now_ms: int) -> Reaction:
        """Make a block the head: one batch on disk first, then peers, subscribers, votes and the next block.

        Causes: a better branch, a certificate, a decision, a seal of this node's own.
        """
        block, source = better.block, better.source
        move = self._chain.move_head(block)
        settled = self._acknowledgements.on_head(move.removed, move.added)
        certified = _list_certificates(move.added)
        self._relays.waiting.on_head(block.height)
        final_before = self._chain.final_height
        rows: Changes = [*move.changes, *settled.changes]
        for certificate in certified:
            rows += self._finality.finalise(certificate)
        noticed = [item for one in certified for item in self._finality.notice_own(one, self._progress)]
        first, then = self._progress.account_for(block, source)
        reaction: list[Step] = [*noticed, *first, Persist(changes=rows), *then]  # records in the order they were made
        reaction += self._progress.announce(block, source)
        reaction += [Publish(event=event) for event in (*move.events, *settled.events)]
        if block.execution is not None and not self._gossip.is_syncing:  # else the votes have long been forgotten
            told = self._finality.missing_votes.on_head(block.execution.events, block.state)
            reaction += [Publish(event=event) for event in told]
        if move.removed:
            reaction.append(Publish(event=("reorg", len(move.removed), len(move.added))))
        reaction.append(_tell_head(block))
        reaction += self._release_watch.review()
        self._finality.on_head(block)
        reaction += self._tell_final(final_before)
        return [*reaction, *self._progress.on_head(now_ms)]

    def on_final(self, certificate: QuorumCertificate, now_ms: int) -> Reaction:
        """Keep a certificate, and tell others what it makes final. Cause: its block is on the chain."""
        statement, final_before = certificate.statement, self._chain.final_height
        block = self._chain.get_header(statement.block_hash)
        assert block is not None, "it is on the chain"
        rows = self._finality.finalise(certificate)
        event = ("certificate", statement.slot, block.height, statement.block_hash, len(certificate.signatures))
        reaction: list[Step] = [Persist(changes=rows), Publish(event=event), *self._tell_final(final_before)]
        return [*reaction, *self._progress.on_final(certificate, now_ms)]

    def on_snapshot_here(self, now_ms: int) -> Reaction:
        """Take the chain up from a snapshot: one batch on disk, and then as after any final block.

        Cause: all of its chunks have come.
        """
        taken = self._joining.take()
        if taken is None:
            return self._joining.replay()
        changes = self._chain.adopt(taken.below, taken.base)
        changes += [*self._finality.adopt(taken.certificate, taken.handovers), *taken.changes]
        settled = self._acknowledgements.on_head((), ())
        head = self._chain.head
        self._relays.waiting.on_head(head.height)
        self._finality.on_head(head)
        self._snapshots.on_final(taken.certificate)
        told = (TAKEN, head.height, head.hash, len(head.state))
        reaction: list[Step] = [Persist(changes=[*changes, *settled.changes])]
        reaction += [Publish(event=event) for event in (*settled.events, told)]
        reaction += [_tell_head(head), *self._release_watch.review()]
        following = [*self._progress.on_final(taken.certificate, now_ms), *self._progress.on_head(now_ms)]
        return [*reaction, *following, CatchUp()]

    def _tell_final(self, final_before: int) -> list[Action]:
        """Pass on what has become final since that height, and keep its state for those that join."""
        if self._chain.final_height == final_before:
            return []
        delivered = self._relays.deliver_above(final_before)
        self._snapshots.on_final(self._finality.final_certificate)
        return delivered


def _tell_head(head: BlockNode) -> Publish:
    return Publish(event=("head", head.height, head.hash, head.header.producer_address))


def _list_certificates(blocks: tuple[BlockNode, ...]) -> list[QuorumCertificate]:
    """The certificates that blocks put on the chain."""
    bodies = [block.block.transactions for block in blocks if block.block is not None]
    return [QuorumCertificate.from_value(tx.payload[0]) for body in bodies for tx in body if tx.kind == CERTIFICATE]
