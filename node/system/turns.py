"""The CPU time that one turn of the event loop keeps all else waiting.

A turn is all that runs between two looks at the sockets; what waits meanwhile is every peer, every client and every
timer. CPU time, for then a busy machine makes no node look slow. Costs two readings of a clock a turn.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from itertools import accumulate
from selectors import EpollSelector, SelectorKey

from node.queries.answers import LoopStatus, TurnsWithin
from node.system.clock import thread_cpu_ns

BOUNDS_MS = (5, 10, 25, 50, 75, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
_NS_PER_MS = 1_000_000


class Turns:
    """The turns of one loop, by how long they took."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_MS) + 1)
        self._cpu_ns = 0
        self._longest_ns = 0
        self._begin_ns: int | None = None

    def begin(self, cpu_ns: int) -> None:
        self._begin_ns = cpu_ns

    def end(self, cpu_ns: int) -> None:
        """The turn that has begun is over; nothing where none has."""
        if self._begin_ns is None:
            return
        took_ns = cpu_ns - self._begin_ns
        self._counts[bisect_left(BOUNDS_MS, took_ns / _NS_PER_MS)] += 1
        self._cpu_ns += took_ns
        self._longest_ns = max(self._longest_ns, took_ns)
        self._begin_ns = None

    def describe(self) -> LoopStatus:
        return LoopStatus(
            turns=sum(self._counts),
            cpu_ms=self._cpu_ns // _NS_PER_MS,
            longest_ms=-(-self._longest_ns // _NS_PER_MS),
            within=tuple(
                TurnsWithin(limit_ms=limit_ms, turns=turns)
                for limit_ms, turns in zip(BOUNDS_MS, accumulate(self._counts[:-1]), strict=True)
            ),
        )


class _TimedSelector(EpollSelector):
    """Waits as its base does, and takes the time between two waits."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns()

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        self.turns.end(thread_cpu_ns())
        try:
            return super().select(timeout)
        finally:
            self.turns.begin(thread_cpu_ns())


class TimedLoop(asyncio.SelectorEventLoop):
    """An event loop that knows how long its turns take."""

    def __init__(self) -> None:
        self._timed = _TimedSelector()
        super().__init__(self._timed)

    def describe_turns(self) -> LoopStatus:
        return self._timed.turns.describe()

    def restart_turns(self) -> None:
        """Count from now on: what it takes to open a node is no stall, for none is let in before."""
        self._timed.turns = Turns()


def describe_turns() -> LoopStatus | None:
    """Those of the running loop; None where it does not take the time."""
    loop = asyncio.get_running_loop()
    return loop.describe_turns() if isinstance(loop, TimedLoop) else None
