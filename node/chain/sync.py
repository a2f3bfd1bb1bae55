"""Catching up, headers first: one peer's skeleton, and the bodies for it from all peers in parallel.

What a peer claims moves nothing: a skeleton takes the place of another where more work of it holds, blocks are asked
for as far as headers hold, and only blocks that have been executed are progress.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from consensus.quorum import QuorumCertificate
from ledger.block import Block, Header
from ledger.chain import Chain
from node.chain.downloads import Downloads
from node.chain.events import PeerId
from node.chain.skeleton import NO_CLAIM, Claim, HeaderCheck, Skeleton
from node.errors import BrokenHeaders

FAR_BEHIND = 6  # blocks; a node that lags by no more than a few goes on sealing and voting
BODY_WINDOW = 64  # bodies wanted or held ahead of the next one to import
MAX_SKELETON = 20_000
HEADERS_TIMEOUT_MS = 5_000
_MOVING_BEATS = 2  # heartbeats within which one more block must come for a node to count as catching up
_MAX_LOOKING = 2  # peers asked for headers at one time because they say that they are ahead


class Asked(NamedTuple):
    """A request for headers: until when a peer is in time to answer it, and what is known of what it was asked."""

    deadline_ms: int
    claim: Claim  # as it said before
    goes_on: bool  # where its skeleton ended, which may have been given up meanwhile


class Sync:
    """The skeleton that is being followed, its bodies, and which peers have been asked for headers.

    `stall_beats` heartbeats without a block of the skeleton that could be executed, and it is given up. They are
    counted, not timed: a node that slept itself has heard nothing in that time, and blames no peer.
    """

    def __init__(self, chain: Chain, bodies: Downloads, *, stall_beats: int) -> None:
        self._chain = chain
        self._bodies = bodies
        self._stall_beats = stall_beats
        self._skeleton: Skeleton | None = None
        self._held: dict[bytes, tuple[Block, PeerId]] = {}
        self._asked: dict[PeerId, Asked] = {}  # the one request that a peer may have open
        self._skipped_to: dict[PeerId, int] = {}  # height up to which the headers of its round were known
        self._beats = 0  # without progress; another skeleton from the same peer is none
        self._has_moved = False  # whether blocks of the skeleton have become the head
        self.is_held = False  # while the chain is taken up from a snapshot, nobody is followed

    # --- views -----------------------------------------------------------------------------------

    @property
    def skeleton(self) -> Skeleton | None:
        return self._skeleton

    @property
    def is_far_behind(self) -> bool:
        """True while better blocks keep coming, and so many are left that it is no use to build on the head of now."""
        return self._skeleton is not None and self.is_moving and len(self._skeleton) > FAR_BEHIND

    @property
    def was_away(self) -> bool:
        """True while more than a few blocks with valid seals are to come: any member may have kept back one or two."""
        return self._skeleton is not None and self._skeleton.sound_count > FAR_BEHIND

    @property
    def is_moving(self) -> bool:
        """True while blocks of the skeleton keep becoming the head."""
        return self._has_moved and self._beats < _MOVING_BEATS

    @property
    def target_height(self) -> int:
        return 0 if self._skeleton is None else self._skeleton.target_height

    # --- asking for headers ----------------------------------------------------------------------

    def may_ask(self, peer: PeerId, now_ms: int, *, claim: Claim = NO_CLAIM, goes_on: bool = False) -> bool:
        """Claim the one header request that a peer may have open; not while it is still in time to answer another.

        `claim` is what the peer says of its head; `goes_on` says that its skeleton is to be continued.
        """
        asked = self._asked.get(peer)
        if self.is_held or (asked is not None and now_ms < asked.deadline_ms):
            return False
        self._asked[peer] = Asked(now_ms + HEADERS_TIMEOUT_MS, claim, goes_on)
        return True

    def may_look(self, now_ms: int) -> bool:
        """True where one more peer that says it is ahead may be asked."""
        return sum(now_ms < asked.deadline_ms for asked in self._asked.values()) < _MAX_LOOKING

    def begin_round(self, peer: PeerId) -> None:
        """The headers asked for next start where this chain and the peer's may part."""
        self._skipped_to.pop(peer, None)

    def answered(self, peer: PeerId) -> Asked | None:
        """Note that headers came from a peer; what it was asked, None where it was not."""
        return self._asked.pop(peer, None)

    def is_out_of_place(self, peer: PeerId, asked: Asked, headers: tuple[Header, ...]) -> bool:
        """True for an answer that continues a skeleton given up since: no fault of the peer's."""
        parent, mine = headers[0].parent, self._find_skeleton_of(peer)
        return asked.goes_on and not self._is_known(parent) and (mine is None or parent not in mine)

    def lost(self, peer: PeerId) -> None:
        self._asked.pop(peer, None)
        self._skipped_to.pop(peer, None)

    # --- headers ---------------------------------------------------------------------------------

    def on_headers(
        self,
        peer: PeerId,
        headers: tuple[Header, ...],
        date_ms: int,
        *,
        check: HeaderCheck,
        certificate: QuorumCertificate | None = None,
        claim: Claim = NO_CLAIM,
    ) -> tuple[bytes, ...]:
        """Take in one or more headers; the hash to continue after, or nothing.

        `certificate` is that of the last one, `claim` what they should lead to, where they are all that the peer has.
        Where all are known already, the fork lies further up: continue there, as long as that leads up. Raises
        `BrokenHeaders` where they do not link to each other and to a known block, and what `check` raises.
        Cause: a peer answers with headers.
        """
        _check_links(headers)  # before a block is looked for below them: one deep down takes long to bring back
        mine = self._find_skeleton_of(peer)
        held = mine or ()
        fresh = tuple(header for header in headers if header.hash not in held and not self._is_known(header.hash))
        if not fresh:
            return self._skip(peer, headers[-1])
        if mine is None or fresh[0].parent not in mine:
            base = self._chain.get(fresh[0].parent)
            if base is None:
                raise BrokenHeaders(detail="the first header's parent is unknown")
            candidate = Skeleton(peer, base, self._chain)
        else:
            candidate = mine
        if len(candidate) + len(fresh) > MAX_SKELETON:
            return ()
        candidate.extend(fresh)
        candidate.claim = claim
        if certificate is not None:
            candidate.certify(certificate, headers[-1].height)
        candidate.judge(check, date_ms)
        if candidate is not mine:
            candidate.was_asked_for = mine is not None and mine.was_asked_for  # its time runs on
            if mine is None and self._skeleton is not None and candidate.work <= self._skeleton.work:
                return ()
            self._beats = self._beats if mine is not None else 0
            self._follow(candidate)
        return (fresh[-1].hash,)

    def judge(self, check: HeaderCheck, date_ms: int) -> None:
        """Judge on, as far as the state and the clock of now allow.

        Raises what `check` raises; the peer to blame is the skeleton's source.
        """
        if self._skeleton is not None:
            self._skeleton.judge(check, date_ms)

    def on_beat(self) -> Skeleton | None:
        """Give up, and return, a skeleton that has made no progress for too many beats. Cause: a heartbeat."""
        skeleton = self._skeleton
        self._beats += 1
        if skeleton is None or self._beats < self._stall_beats:
            return None
        self.reset()
        return skeleton

    def reset(self) -> None:
        """Give up the skeleton and everything held for it."""
        self._follow(None)

    def hold(self) -> None:
        """Follow nobody for now, whatever has been asked already."""
        self.reset()
        self._asked.clear()
        self.is_held = True

    def go_on(self) -> None:
        """Follow others again."""
        self.is_held = False

    # --- bodies ----------------------------------------------------------------------------------

    def want_bodies(self, held: dict[PeerId, range]) -> None:
        """Offer the next bodies to the fetcher, each spread over all peers that say they have bodies of such heights.

        Of a branch that forks off below our head, over those alone that are as high as what holds of it: a peer no
        higher than we are may be on our own.
        """
        skeleton = self._skeleton
        if skeleton is None:
            return
        sound, own_height = skeleton.sound(BODY_WINDOW), self._chain.head.height
        for index, header in enumerate(sound):
            if header.hash in self._held or header.hash in self._bodies:
                continue
            least = header.height if header.height > own_height else sound[-1].height
            sources = [
                peer
                for peer, heights in held.items()
                if heights.start <= header.height and (least < heights.stop or peer == skeleton.source)
            ]
            if skeleton.source in sources and not skeleton.was_asked_for:
                skeleton.was_asked_for, self._beats = True, 0  # headers may have waited for the clock before that
            for turn in range(len(sources)):
                self._bodies.offer(header.hash, sources[(index + turn) % len(sources)])

    def on_block(self, block: Block, peer: PeerId) -> bool:
        """Hold a body of the skeleton until its turn; whether it is one. Cause: a peer gave the block."""
        if self._skeleton is None or block.hash not in self._skeleton:
            return False
        self._held[block.hash] = (block, peer)
        return True

    def peek_block(self) -> tuple[Block, PeerId] | None:
        """The next body to import, which stays held."""
        first = None if self._skeleton is None else self._skeleton.first
        return None if first is None else self._held.get(first.hash)

    def next_block(self) -> tuple[Block, PeerId] | None:
        """The next body to import, in the order of the chain; `skip_known` must follow."""
        first = None if self._skeleton is None else self._skeleton.first
        return None if first is None else self._held.pop(first.hash, None)

    def skip_known(self) -> None:
        """Move on past blocks that are in the tree."""
        skeleton = self._skeleton
        while skeleton is not None and (first := skeleton.first) is not None:
            entry = self._chain.get(first.hash) if self._chain.is_recent(first.hash) else None
            if entry is None:
                return
            skeleton.advance(entry)
            self._held.pop(first.hash, None)
            self._bodies.forget(first.hash)
            self._beats = 0
            self._has_moved |= self._chain.is_canonical(entry.header)
        if skeleton is not None:
            self.reset()  # nothing is left of it

    # --- inside ----------------------------------------------------------------------------------

    def _follow(self, skeleton: Skeleton | None) -> None:
        """Follow another skeleton, or none; what is held, or on its way, of the same blocks stays.

        One that starts with the same block goes on where the last one was.
        """
        kept, left = skeleton or (), self._skeleton or ()
        self._has_moved &= skeleton is not None and skeleton.first is not None and skeleton.first.hash in left
        for header in () if self._skeleton is None else self._skeleton.headers:
            if header.hash not in kept:
                self._bodies.forget(header.hash)
        self._held = {block_hash: held for block_hash, held in self._held.items() if block_hash in kept}
        self._skeleton = skeleton

    def _is_known(self, block_hash: bytes) -> bool:
        return self._chain.get_header(block_hash) is not None

    def _find_skeleton_of(self, peer: PeerId) -> Skeleton | None:
        return self._skeleton if self._skeleton is not None and self._skeleton.source == peer else None

    def _skip(self, peer: PeerId, last: Header) -> tuple[bytes, ...]:
        if last.height <= self._skipped_to.get(peer, 0) or not self._is_known(last.hash):
            return ()
        self._skipped_to[peer] = last.height
        return (last.hash,)


def _check_links(headers: tuple[Header, ...]) -> None:
    for parent, child in pairwise(headers):
        if child.parent != parent.hash or child.height != parent.height + 1:
            raise BrokenHeaders(detail=f"no link at height {child.height}")
