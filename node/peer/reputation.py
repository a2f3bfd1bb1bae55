"""The standing of a node's peers: scores that decay, bans that expire, rate limits.

Pure: time is an argument, and of a clock that is never set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from node.chain.events import PeerId
from node.chain.messages import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES
from node.chain.rates import TokenBucket
from node.errors import NotAPeer, PeerBanned, RateLimited

BAN_POINTS = 100
FIRST_BAN_MS = 60_000
LONGEST_BAN_MS = 3_600_000
FORGIVEN_AFTER_MS = 6 * LONGEST_BAN_MS  # since the last ban's end; then the next one is short again
DECAY_MS_PER_POINT = 6_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """Limits on one peer: sustained rates, and how much of it at once."""

    bytes_per_s: int = 16_000_000
    burst_bytes: int = 4 * MAX_BATCH_BYTES
    messages_per_s: int = 2_000
    burst_messages: int = 16 * MAX_BATCH_MESSAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerScore:
    """A peer's score in points, and how much is left of its ban where it has one."""

    score: int
    ban_left_ms: int | None


@dataclass(slots=True)
class _Record:
    bytes_in: TokenBucket
    messages_in: TokenBucket
    clean_at_ms: int = 0  # when the score will have decayed to nothing
    bans: int = 0
    banned_until_ms: int = 0


class PeerBook:
    """Every peer this node knows, and no other: an unknown key raises `NotAPeer`.

    Members that are not in the configuration are added as they prove their keys, or are heard of.
    """

    def __init__(self, keys: Iterable[PeerId], limits: PeerLimits | None = None) -> None:
        self._limits = limits or PeerLimits()
        self._records = {key: self._new_record() for key in keys}

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._records

    def __iter__(self) -> Iterator[PeerId]:
        return iter(tuple(self._records))

    def add(self, peer: PeerId) -> None:
        """Know a peer from now on; of one that is known already nothing is forgotten."""
        if peer not in self._records:
            self._records[peer] = self._new_record()

    def check(self, peer: PeerId, now_ms: int) -> None:
        """Raise `NotAPeer` or `PeerBanned` unless the peer may talk to us."""
        record = self._get(peer)
        if now_ms < record.banned_until_ms:
            raise PeerBanned(left_ms=record.banned_until_ms - now_ms)

    def charge_bytes(self, peer: PeerId, count: int, now_ms: int) -> None:
        """Raise `RateLimited` where the peer sends more than its share."""
        if not self._get(peer).bytes_in.take(count, now_ms):
            raise RateLimited(what="bytes", limit=self._limits.bytes_per_s)

    def check_messages(self, peer: PeerId, now_ms: int) -> None:
        """Raise `RateLimited` while the peer has sent more than its share: before a batch is read, which costs most."""
        if self._get(peer).messages_in.is_empty(now_ms):
            raise RateLimited(what="messages", limit=self._limits.messages_per_s)

    def charge_messages(self, peer: PeerId, count: int, now_ms: int) -> None:
        """Charge all messages that came, even where they are more than the peer's share."""
        self._get(peer).messages_in.spend(count, now_ms)

    def penalise(self, peer: PeerId, points: int, now_ms: int) -> bool:
        """Add fault points; whether that bans the peer, each time for twice as long as before."""
        record = self._get(peer)
        if now_ms < record.banned_until_ms:
            return False
        record.clean_at_ms = max(now_ms, record.clean_at_ms) + points * DECAY_MS_PER_POINT
        if record.clean_at_ms - now_ms < BAN_POINTS * DECAY_MS_PER_POINT:
            return False
        if now_ms - record.banned_until_ms > FORGIVEN_AFTER_MS:
            record.bans = 0
        record.banned_until_ms = now_ms + min(LONGEST_BAN_MS, FIRST_BAN_MS << min(record.bans, 16))
        record.bans += 1
        record.clean_at_ms = now_ms
        return True

    def is_banned(self, peer: PeerId, now_ms: int) -> bool:
        return now_ms < self._get(peer).banned_until_ms

    def get_standing(self, peer: PeerId, now_ms: int) -> PeerScore:
        record = self._get(peer)
        if now_ms < record.banned_until_ms:
            return PeerScore(score=BAN_POINTS, ban_left_ms=record.banned_until_ms - now_ms)
        score = -(-max(0, record.clean_at_ms - now_ms) // DECAY_MS_PER_POINT)
        return PeerScore(score=score, ban_left_ms=None)

    def _get(self, peer: PeerId) -> _Record:
        record = self._records.get(peer)
        if record is None:
            raise NotAPeer(key=peer.hex()[:16])
        return record

    def _new_record(self) -> _Record:
        limits = self._limits
        return _Record(
            bytes_in=TokenBucket(limits.burst_bytes, limits.bytes_per_s),
            messages_in=TokenBucket(limits.burst_messages, limits.messages_per_s),
        )
