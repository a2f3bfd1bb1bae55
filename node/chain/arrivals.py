"""The way of a peer's block into the tree: it is announced, judged, and followed as the outcome says.

The rules are `node.chain.importer`'s. One that is early, or whose execution takes several steps, is judged again.
"""

from __future__ import annotations

from consensus.quorum import QuorumCertificate
from ledger.block import Header, read_header
from ledger.chain import BlockNode
from node.chain import messages as wire
from node.chain.catching_up import CATCH_UP, CatchingUp
from node.chain.events import PeerId, PenalisePeer, Publish, SetTimer
from node.chain.importer import BeyondRules, Deferred, Invalid, Known, MissingParent, Placed, Unfinished
from node.chain.parts import Parts
from node.chain.progress import BlockReceived, Certified, Progress, Reaction

EXECUTION = "execution"


class Arrivals:
    """The blocks that peers bring, each in steps of its own until there is an outcome."""

    def __init__(self, parts: Parts, *, progress: Progress, catching_up: CatchingUp) -> None:
        self._instance = parts.instance
        self._trusted_branch = parts.trusted_branch
        self._importer = parts.importer
        self._gossip = parts.gossip
        self._finality = parts.finality
        self._gates = parts.gates
        self._progress = progress
        self._catching_up = catching_up

    def on_announcement(self, peer: PeerId, message: wire.NewBlock, now_ms: int) -> Reaction:
        """Cause: a peer announces a block. Raises the `InvalidBlock` family."""
        header = read_header(message.header)
        if self._gossip.is_wanted(header.hash):
            self._gossip.want_block(peer, header.hash)
            return []
        return self._progress.on_announcement(peer, message, header, now_ms)

    def on_block(self, received: BlockReceived, now_ms: int) -> Reaction:
        """Judge a peer's block, and say what follows from that.

        Causes: an announcement of what is pending here, a body that was asked for, one whose time has come.
        """
        block, peer, header = received.block, received.peer, received.block.header
        if self._progress.is_settled(header):
            self._importer.give_up(header.hash)
            return []
        certificate = self._find_certificate(header)
        is_due = certificate is not None or self._is_certified(header)
        match self._importer.judge(block, peer, now_ms, is_due=is_due):
            case Known() | BeyondRules():
                return []
            case MissingParent():
                return self._gossip.ask_headers(peer, now_ms)
            case Deferred(timer=timer):
                return [] if timer is None else [timer]
            case Unfinished():
                self._gates.note(header, self._instance.date(now_ms))
                self._gossip.sync.on_block(block, peer)  # its turn has not passed
                return [SetTimer(name=EXECUTION, at_ms=now_ms)]
            case Invalid(error=error):
                self._catching_up.give_up(header.hash)
                refused = Publish(event=("block-refused", header.hash, error.code))
                return [refused, PenalisePeer(peer=peer, error=error), *self._progress.on_invalid(header, now_ms)]
            case Placed(block=placed):
                return self._follow(placed, peer, certificate, now_ms)

    def import_deferred(self, now_ms: int) -> Reaction:
        """Judge a block that was early. Causes: its time has come, the clock was set."""
        due, timers = self._importer.take_due(now_ms)
        return timers if due is None else [BlockReceived(*due), *timers]

    def go_on_executing(self, now_ms: int) -> Reaction:
        """Judge a block that is under way again, as if it had come now. Cause: a step of its execution is over."""
        under_way = self._importer.list_under_way()
        if not under_way:
            return []
        names = [*([EXECUTION] if under_way[1:] else []), *([CATCH_UP] if self._gossip.sync.skeleton else [])]
        return [BlockReceived(*under_way[0]), *(SetTimer(name=name, at_ms=now_ms) for name in names)]

    def _follow(self, placed: BlockNode, peer: PeerId, certificate: QuorumCertificate | None, now_ms: int) -> Reaction:
        """Go where a block that holds leads: to its own certificate, or to what the way of progress makes of it."""
        header = placed.header
        noticed = [*self._progress.observe(header), *self._finality.results.on_block(placed.hash)]
        if certificate is not None:
            return [*noticed, Certified(certificate, peer)]
        is_certified = self._is_certified(header)
        is_away = self._trusted_branch.is_awaited or self._gossip.sync.was_away
        is_news = not is_certified and not is_away  # else it is we who are late
        is_late = is_news and self._gates.is_late(header, self._instance.date(now_ms))
        late = ("late-block", header.height, header.hash, header.producer_address)
        told = [Publish(event=late)] if is_late else []
        following = self._progress.on_block(placed, now_ms, source=peer, is_certified=is_certified, is_late=is_late)
        return [*noticed, *told, *following]

    def _find_certificate(self, header: Header) -> QuorumCertificate | None:
        """The certificate that names a block, held or come with its header."""
        skeleton = self._gossip.sync.skeleton
        certificate = self._finality.checkpoints.certificate_of(header.hash)
        return skeleton.certificate_of(header.hash) if certificate is None and skeleton is not None else certificate

    def _is_certified(self, header: Header) -> bool:
        """Tell if a certificate that came with headers names a block or one above it."""
        skeleton = self._gossip.sync.skeleton
        return skeleton is not None and skeleton.is_certified(header.hash)
