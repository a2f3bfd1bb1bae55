"""Virtual time: a heap of (time, order) events, jumping from one to the next, and a hash over all that has happened.

Full-node worlds and the gossip-only network run on the same loop. What falls on one millisecond happens in the order
in which it was scheduled, so that nothing depends on how Python compares or hashes.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from typing import Any

_Event = tuple[int, int, Callable[..., object], tuple[Any, ...]]


class VirtualTime:
    """The clock of a simulation."""

    def __init__(self, start_ms: int) -> None:
        self.now_ms = start_ms
        self.happened = 0
        self._heap: list[_Event] = []
        self._order = 0
        self._log = hashlib.sha256()

    def at(self, time_ms: int, callback: Callable[..., object], *arguments: Any) -> None:
        """Call back at that time, at once where it has passed."""
        self._order += 1
        heapq.heappush(self._heap, (max(time_ms, self.now_ms), self._order, callback, arguments))

    def step(self) -> bool:
        """Let the next event happen, if there is one; whether there was."""
        if not self._heap:
            return False
        self.now_ms, _, callback, arguments = heapq.heappop(self._heap)
        self.happened += 1
        callback(*arguments)
        return True

    def run_for(self, duration_ms: int) -> None:
        """Let virtual time pass."""
        end_ms = self.now_ms + duration_ms
        while self._heap and self._heap[0][0] <= end_ms:
            self.step()
        self.now_ms = end_ms

    def run_until(self, condition: Callable[[], bool], *, limit_ms: int, seed: int = 0) -> None:
        """Let virtual time pass until the condition holds; an AssertionError names the seed where it never does."""
        end_ms = self.now_ms + limit_ms
        while not condition():
            in_time = bool(self._heap) and self._heap[0][0] <= end_ms
            assert in_time, f"seed {seed}: not within {limit_ms} ms"
            self.step()

    def log(self, record: bytes) -> None:
        """Write what happens now into the event log, of which only the hash is kept."""
        self._log.update(b"%d %b\n" % (self.now_ms, record))

    def log_hash(self) -> str:
        """SHA-256 over the event log so far: the same for the same seed on every machine."""
        return self._log.hexdigest()
