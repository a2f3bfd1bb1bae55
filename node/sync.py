"""Catching up, headers first: one peer's headers, screened and linked, then bodies from all peers in parallel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from ledger.block import Block, Header
from ledger.errors import BrokenHeaders
from node.events import PeerId
from node.fetcher import Fetcher

FAR_BEHIND = 6  # blocks; whoever lags by no more than a few goes on sealing and voting
BODY_WINDOW = 64  # bodies wanted or held ahead of the next one to import
MAX_SKELETON = 20_000
HEADERS_TIMEOUT_MS = 5_000
STALL_MS = 15_000  # without a body in its turn for so long, the skeleton was made up or its peers are gone


class Sync:
    """The skeleton of headers that leads from a known block to a better peer's head, and the bodies for it."""

    def __init__(self, bodies: Fetcher) -> None:
        self._bodies = bodies
        self._skeleton: list[Header] = []
        self._wanted: dict[bytes, int] = {}  # hash -> height of every header in the skeleton
        self._held: dict[bytes, tuple[Block, PeerId]] = {}
        self._asked: PeerId | None = None
        self._deadline_ms = 0
        self._skipped_to = 0  # height up to which the headers of this round were known
        self._source: PeerId | None = None  # who sent the skeleton
        self._progress_ms = 0

    @property
    def is_active(self) -> bool:
        return bool(self._skeleton)

    @property
    def is_far_behind(self) -> bool:
        """Whether so much is left to import that it is no use to build on the head of now."""
        return len(self._skeleton) > FAR_BEHIND

    @property
    def target_height(self) -> int:
        return self._skeleton[-1].height if self._skeleton else 0

    @property
    def headers(self) -> tuple[Header, ...]:
        """The headers that are still to be imported."""
        return tuple(self._skeleton)

    @property
    def source(self) -> PeerId | None:
        """Who sent the skeleton."""
        return self._source

    def give_up_stalled(self, now_ms: int) -> PeerId | None:
        """Drop a skeleton that makes no progress; the peer that sent it, None where all is well."""
        if not self._skeleton or now_ms < self._progress_ms + STALL_MS:
            return None
        source = self._source
        self.reset()
        return source

    def may_ask(self, peer: PeerId, now_ms: int) -> bool:
        """Claim the one header request for `peer`, unless another peer is still in time to answer one."""
        if self._asked is not None and now_ms < self._deadline_ms:
            return False
        self._asked, self._deadline_ms = peer, now_ms + HEADERS_TIMEOUT_MS
        return True

    def begin_round(self) -> None:
        """The headers asked for next start where this chain and the peer's may part."""
        self._skipped_to = 0

    def expects(self, peer: PeerId) -> bool:
        return self._asked == peer

    def on_headers(
        self, peer: PeerId, headers: tuple[Header, ...], now_ms: int, *, is_known: Callable[[bytes], bool]
    ) -> tuple[bytes, ...]:
        """Extend the skeleton with screened headers; returns the hash to continue after, or nothing.

        Where all are known already, the fork lies further up: continue there, as long as that leads up.

        Raises `BrokenHeaders` where they do not link to each other and to a known block.
        """
        self._asked = None
        fresh = [header for header in headers if not is_known(header.hash) and header.hash not in self._wanted]
        if headers and is_known(headers[-1].hash) and headers[-1].height > self._skipped_to:
            self._skipped_to = headers[-1].height
            return (headers[-1].hash,)
        if not fresh or len(self._skeleton) + len(fresh) > MAX_SKELETON:
            return ()
        if fresh[0].parent in self._wanted:
            self._cut_after(fresh[0].parent)  # the peer may have left the branch that it told of before
        elif is_known(fresh[0].parent):
            self.reset()  # another branch: the bodies held so far were for the old one
        else:
            raise BrokenHeaders(detail="the first header's parent is unknown")
        for parent, child in pairwise(fresh):
            if child.parent != parent.hash or child.height != parent.height + 1:
                raise BrokenHeaders(detail=f"no link at height {child.height}")
        self._skeleton += fresh
        self._source, self._progress_ms = peer, now_ms
        self._wanted.update((header.hash, header.height) for header in fresh)
        return (fresh[-1].hash,)

    def want_bodies(self, sources: list[PeerId]) -> None:
        """Offer the next bodies to the fetcher, spread over all sources."""
        for index, header in enumerate(self._skeleton[:BODY_WINDOW]):
            if header.hash in self._held or header.hash in self._bodies:
                continue
            for turn in range(len(sources)):
                self._bodies.offer(header.hash, sources[(index + turn) % len(sources)])

    def on_block(self, block: Block, peer: PeerId) -> bool:
        """Hold a body of the skeleton until its turn; whether it is one."""
        if block.hash not in self._wanted:
            return False
        self._held[block.hash] = (block, peer)
        return True

    def next_block(self, now_ms: int) -> tuple[Block, PeerId] | None:
        """Take the next body to import, in the order of the chain."""
        if not self._skeleton or self._skeleton[0].hash not in self._held:
            return None
        header = self._skeleton.pop(0)
        del self._wanted[header.hash]
        self._progress_ms = now_ms
        return self._held.pop(header.hash)

    def skip_known(self, is_known: Callable[[bytes], bool]) -> None:
        """Drop headers from the front that arrived by another way."""
        while self._skeleton and is_known(self._skeleton[0].hash):
            header = self._skeleton.pop(0)
            del self._wanted[header.hash]
            self._held.pop(header.hash, None)
            self._bodies.arrived(header.hash)

    def lost(self, peer: PeerId) -> None:
        if self._asked == peer:
            self._asked = None

    def _cut_after(self, block_hash: bytes) -> None:
        while self._skeleton[-1].hash != block_hash:
            header = self._skeleton.pop()
            del self._wanted[header.hash]
            self._held.pop(header.hash, None)
            self._bodies.arrived(header.hash)

    def reset(self) -> None:
        """Give up the skeleton and everything held for it."""
        for block_hash in self._wanted:
            self._bodies.arrived(block_hash)
        self._skeleton.clear()
        self._wanted.clear()
        self._held.clear()
