"""Catching up with peers that are ahead: their word, their headers, their blocks, and what wasting time costs them."""

from __future__ import annotations

from consensus.errors import VoteTooFarAhead, WrongVoters
from ledger.block import Block, Header, read_header
from ledger.chain import BlockNode
from ledger.errors import GridmeritError, StoreError
from node.chain import messages as wire
from node.chain.events import Action, PeerId, PenalisePeer, Publish, SetTimer
from node.chain.parts import Parts
from node.chain.progress import (
    BlockReceived,
    BodyReceived,
    CatchUp,
    ImportBodies,
    LookAhead,
    Progress,
    Reaction,
    Refresh,
    Step,
)
from node.chain.skeleton import NO_CLAIM, Claim, Skeleton
from node.errors import BlocksWithheld, BrokenHeaders, FalseHead, SyncStalled

CATCH_UP = "catch-up"
BODIES_MISSING = "bodies-missing"
STEP_BLOCKS = 8  # imported in one step of catching up, which share a write, and fewer
STEP_BYTES = 1 << 16  # where they have more in their bodies and in what they change of the state: then at least one
_BEGIN = {was_syncing: ImportBodies(STEP_BLOCKS, STEP_BYTES, was_syncing) for was_syncing in (False, True)}


class CatchingUp:
    """The skeleton of a better branch, followed block by block."""

    def __init__(self, parts: Parts, progress: Progress) -> None:
        self._instance = parts.instance
        self._chain = parts.instance.chain
        self._trusted_branch = parts.trusted_branch
        self._importer = parts.importer
        self._gossip = parts.gossip
        self._sync = parts.gossip.sync
        self._finality = parts.finality
        self._progress = progress
        self._told_gap: int | None = None  # height of the head when no peer had the bodies that come next

    # --- what peers say --------------------------------------------------------------------------

    def on_status(self, peer: PeerId, status: wire.Status, now_ms: int) -> Reaction:
        """Note where a peer stands, and show one that has not heard of our final block its certificate.

        Where certificates are not on the chain, it is shown those that lead to the members of now, too. Cause: a peer's
        heartbeat.
        """
        self._gossip.note_status(peer, status)
        final = self._finality.final_certificate
        reaction: list[Step] = []
        is_behind = status.final_height < self._chain.final_height
        if is_behind and final is not None and not self._gossip.serving.is_spent(peer, now_ms):
            before = self._progress.certificates_above(status.final_height)
            reaction += self._gossip.give_certificates(peer, (*before, final), now_ms)
        return [*reaction, CatchUp()]

    def give_headers(self, peer: PeerId, locator: tuple[bytes, ...], now_ms: int) -> list[Action]:
        """Cause: a peer asks for headers. Raises `ServedTooMuch`."""
        self._gossip.serving.check(peer, now_ms)
        wanted = self._chain.heights_after(locator, wire.MAX_ITEMS)
        provable, certificate = self._progress.prove_headers(wanted)
        looked_up = len(locator) + len(wanted) - len(provable)
        return self._gossip.give_headers(peer, provable, certificate, now_ms, looked_up=looked_up)

    def on_headers(self, peer: PeerId, message: wire.Headers, now_ms: int) -> Reaction:
        """Judge headers, and follow them where they lead to more. Cause: a peer answers with headers.

        Raises what is wrong with them, `FalseHead` where they lead to less than the peer claimed.
        """
        asked = self._sync.answered(peer)
        if asked is None:
            return []
        headers = tuple(read_header(item) for item in message.raw)
        is_all = self._progress.are_all(len(headers))
        fork = next((header for header in headers if not self._chain.is_canonical(header)), None)
        if fork is None and len(headers) < wire.MAX_ITEMS:
            if is_all:
                self._check_claim(peer, asked.claim, self._chain.head.work)
            return []
        if self._sync.is_out_of_place(peer, asked, headers):
            return []
        if fork is not None and (
            self._gossip.is_stray(peer, fork) or self._gossip.lacks_body(peer, fork) or self._is_beyond_rules(fork)
        ):
            return []
        for header in headers:
            self._trusted_branch.check(header)
            if self._importer.is_bad(header.hash):
                raise BrokenHeaders(detail=f"the block at height {header.height} has been condemned")
        try:
            certificate = self._progress.check_proof(headers, message.certificate)
        except (VoteTooFarAhead, WrongVoters):
            return []  # the members change before: once those blocks are here, the peer is asked again
        after = self._sync.on_headers(
            peer,
            headers,
            self._instance.date(now_ms),
            check=self._importer.check_header,
            certificate=certificate,
            claim=asked.claim if is_all else NO_CLAIM,
        )
        more = [] if is_all else self._gossip.ask_more_headers(peer, after, now_ms)
        return [*more, self.begin_step()]

    def on_blocks(self, peer: PeerId, raw: tuple[bytes, ...], now_ms: int) -> Reaction:
        """Cause: a peer gives blocks."""
        reaction: list[Step] = []
        for item in raw:
            try:
                reaction.append(BodyReceived(self._importer.read_block(item), peer))
            except StoreError:
                raise
            except GridmeritError as error:
                reaction.append(PenalisePeer(peer=peer, error=error))  # what came before it has been done
                break
        is_much = sum(map(len, raw)) > STEP_BYTES  # to read them was a step's work
        return [*reaction, SetTimer(name=CATCH_UP, at_ms=now_ms) if is_much else CatchUp()]

    def on_body(self, body: BodyReceived) -> Reaction:
        """Hold a block until its turn, or have it judged at once. Cause: a peer gave it."""
        if not self._gossip.took_block(body.block.hash) or self._importer.is_known(body.block.hash):
            return []
        return [] if self._sync.on_block(body.block, body.peer) else [BlockReceived(body.block, body.peer)]

    # --- going on --------------------------------------------------------------------------------

    def begin_step(self) -> ImportBodies:
        """The most that one step imports: others have their turn in between."""
        return _BEGIN[self._gossip.is_syncing]

    def catch_up(self, now_ms: int) -> Reaction:
        """Import what has come, then look for a peer that is ahead. Causes: bodies, a heartbeat, a peer's status."""
        imported = self.go_on(self.begin_step(), now_ms)
        return [*imported, LookAhead()] if imported else self.look_ahead(now_ms)

    def go_on(self, step: ImportBodies, now_ms: int) -> Reaction:
        """Import the next body whose turn has come; when there is none, or room for none, ask for more.

        A large one has a step to itself, and those before it to check its signatures. Seal again once the skeleton is
        done. Causes: headers, bodies, a heartbeat, the end of the step before.
        """
        self._sync.skip_known()
        skeleton = self._sync.skeleton
        if skeleton is not None and not self._instance.knows_rules_on(skeleton.base):
            self._sync.reset()
        room_bytes = self._find_room(step)
        is_over = room_bytes <= 0
        ready = None if is_over else self._sync.peek_block()
        if ready is not None and self._importer.is_under_way(ready[0].hash):
            ready = None  # it goes on by itself, and this after it
        if ready is not None:
            left = ImportBodies(step.blocks - 1, room_bytes - _size_of(ready[0]), step.was_syncing)
            if left.room_bytes >= 0 or (_is_first(step) and self._importer.prepare(ready[0])):
                self._sync.next_block()
                return [BlockReceived(*ready), left]
            is_over = True
        reaction: list[Step] = [SetTimer(name=CATCH_UP, at_ms=now_ms)] if is_over else []
        reaction += [*self._judge_skeleton(now_ms), *self._gossip.want_bodies(now_ms)]
        return [*reaction, Refresh()] if step.was_syncing and not self._gossip.is_syncing else reaction

    def look_ahead(self, now_ms: int) -> list[Action]:
        """Without a skeleton that makes progress, ask a peer that says it is ahead, or say that none has the bodies.

        Where the rules that come next are not known here there is no way to follow.
        """
        if self._sync.is_moving or self._instance.is_halted:
            return []
        gap = self._gossip.find_gap()
        if gap is None:
            return self._gossip.ask_one_ahead(now_ms)
        told, self._told_gap = self._told_gap, self._chain.head.height
        return [] if told == self._told_gap else [Publish(event=(BODIES_MISSING, self._told_gap + 1, gap))]

    def give_up_stalled(self) -> list[Action]:
        """Drop a skeleton that made no progress for too many heartbeats, and blame its source. Cause: a heartbeat.

        Not where what is left waits for the clock: none of its blocks has been asked for, and it may be ours that is
        wrong.
        """
        stalled = self._sync.on_beat()
        if stalled is None or not (stalled.was_asked_for and stalled.sound_count):
            return []
        if stalled.source not in self._gossip.peers:
            return []
        error = (
            SyncStalled(imported=stalled.imported) if stalled.imported else BlocksWithheld(count=stalled.sound_count)
        )
        return [PenalisePeer(peer=stalled.source, error=error)]

    def _find_room(self, step: ImportBodies) -> int:
        """The bytes that a step may still import: what the block before has changed in the state is known by now."""
        skeleton = self._sync.skeleton
        written = 0 if _is_first(step) or skeleton is None else _count_written(skeleton.base)
        return step.room_bytes - written if step.blocks else 0

    def _is_beyond_rules(self, header: Header) -> bool:
        """Tell if a header follows a block on which this release knows no rules."""
        parent = self._chain.get(header.parent) if self._chain.is_recent(header.parent) else None
        return parent is not None and not self._instance.knows_rules_on(parent)

    def give_up(self, block_hash: bytes) -> None:
        """Drop a skeleton that is built on an invalid block."""
        if self._sync.skeleton is not None and block_hash in self._sync.skeleton:
            self._sync.reset()

    def _judge_skeleton(self, now_ms: int) -> list[Action]:
        """Judge on as far as the state allows now, and give up what breaks a rule or leads to less than it claimed."""
        skeleton = self._sync.skeleton
        if skeleton is None:
            return []
        try:
            self._sync.judge(self._importer.check_header, self._instance.date(now_ms))
            if self._is_worth_following(skeleton):
                return []
            self._sync.reset()
            self._check_claim(skeleton.source, skeleton.claim, skeleton.work)
        except StoreError:
            raise
        except GridmeritError as error:
            self._sync.reset()
            return [PenalisePeer(peer=skeleton.source, error=error)]
        return []

    def _check_claim(self, peer: PeerId, claim: Claim, work: int) -> None:
        """Forget what a peer has said of its head where its headers lead to less.

        Raises `FalseHead`; not where more is final here than the peer knew of then: it may have left its head for that.
        """
        if claim.work <= work:
            return
        self._gossip.disbelieve(peer)
        if claim.final_height >= self._chain.final_height:
            raise FalseHead(claimed=claim.work, actual=work)

    def _is_worth_following(self, skeleton: Skeleton) -> bool:
        """Tell if a skeleton has more work than our head, or may have, or holds the anchor or what is certified."""
        if skeleton.sound_count < len(skeleton) or skeleton.work > self._chain.head.work:
            return True
        if self._trusted_branch.leads_to(skeleton.headers):
            return True
        certified = (*self._finality.checkpoints.certified, *self._progress.list_unproven())
        return any(block_hash in skeleton for block_hash in certified)


def _is_first(step: ImportBodies) -> bool:
    """Tell if nothing has been imported in this step yet."""
    return step.blocks == STEP_BLOCKS


def _size_of(block: Block) -> int:
    return sum(len(transaction.raw) for transaction in block.transactions)


def _count_written(entry: BlockNode) -> int:
    """Bytes of the state's entries that a block has changed; 0 where it was not executed here."""
    changes = {} if entry.execution is None else entry.execution.delta.changes
    return sum(len(key) + len(value or b"") for key, value in changes.items())
