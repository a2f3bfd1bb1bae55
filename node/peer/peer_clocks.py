"""The distance of this node's clock from its peers', by the time that stands in the batches they sign.

The owner of the node is told, and nothing else changes: no clock is set at the word of others. Pure: times are given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from node.chain.events import PeerId

_KEPT = 16  # batches of a peer; what travels comes late and never early, so that the least late of them says most
_FRESH_MS = 60_000  # a peer that has been silent for longer says nothing of now


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockView:
    """This node's clock is ahead of the median of so many peers' by `offset_ms`, behind it where that is negative.

    `is_off` where blocks that are due elsewhere would have to wait here, or the other way round.
    """

    offset_ms: int
    peers: int
    is_off: bool


class PeerClocks:
    """The clocks of peers as shown of late, against a steady one that is never set. `limit_ms` is when ours is off."""

    def __init__(self, limit_ms: int) -> None:
        self._limit_ms = limit_ms
        self._shown: dict[PeerId, deque[tuple[int, int]]] = {}  # when it was heard, and by how much it led

    def note(self, peer: PeerId, *, sent_ms: int, steady_ms: int) -> None:
        """A batch that a peer dates `sent_ms` has come; its signature is good, and it is new."""
        shown = self._shown.setdefault(peer, deque(maxlen=_KEPT))
        shown.append((steady_ms, sent_ms - steady_ms))

    def compare(self, now_ms: int, *, steady_ms: int) -> ClockView | None:
        """Hold the wall clock, which shows `now_ms`, against the peers'; None where none has been heard of late."""
        for peer in [peer for peer, shown in self._shown.items() if steady_ms - shown[-1][0] > _FRESH_MS]:
            del self._shown[peer]
        if not self._shown:
            return None
        lead_ms = now_ms - steady_ms
        offset_ms = find_offset([lead_ms - max(lead for _, lead in shown) for shown in self._shown.values()])
        return ClockView(offset_ms=offset_ms, peers=len(self._shown), is_off=abs(offset_ms) > self._limit_ms)


def find_offset(differences_ms: Sequence[int]) -> int:
    """The median of one or more differences; of an even number the middle one that is nearer to none at all.

    So what less than half of them say can move it to no value that the others do not span, and half cannot raise alarm.
    """
    ordered = sorted(differences_ms)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low if low > 0 else min(high, 0)
