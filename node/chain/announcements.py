"""Proposals that members have shown, under PBFT, and that agreeing may come to ask for: a few of each producer.

Nothing is executed, and no peer asked for a body, because a block was announced: a member could show any number. What
asks is the agreement, for the one block of a view's leader, or for what a quorum has prepared or decided.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.block import Header
from node.chain.events import PeerId
from node.chain.messages import NewBlock

_KEPT_PER_PRODUCER = 2
_MAX_KEPT = 256


class Announcement(NamedTuple):
    """A block as it was shown, and by which peer."""

    peer: PeerId
    message: NewBlock
    header: Header


class Announcements:
    """Announced blocks, bounded by producer (there are as many of those as sealing members) and in all."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Announcement] = {}  # by block hash, oldest first

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def limit(self) -> int:
        return _MAX_KEPT

    def keep(self, announcement: Announcement) -> None:
        """Keep one whose header's signature has been checked; the producer's oldest makes room."""
        producer = announcement.header.producer
        self._kept.setdefault(announcement.header.hash, announcement)
        mine = [block_hash for block_hash, other in self._kept.items() if other.header.producer == producer]
        for block_hash in mine[:-_KEPT_PER_PRODUCER]:
            del self._kept[block_hash]
        if len(self._kept) > _MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def take(self, block_hash: bytes) -> Announcement | None:
        """The announcement of a block that is wanted now."""
        return self._kept.pop(block_hash, None)

    def forget_up_to(self, height: int) -> None:
        """Drop those of heights that are decided."""
        for block_hash in [key for key, other in self._kept.items() if other.header.height <= height]:
            del self._kept[block_hash]
