"""The only reader of the clocks in `node`: the wall clock for dates, the steady one for everything that lasts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LEAST_STEP_MS = 50  # by which the wall clock has to be off the steady one to count as set
_LONGEST_LOOK_MS = 10  # between the two readings of a comparison; one that took longer says nothing


def now_ms() -> int:
    """Wall clock: ms since the Unix epoch, UTC. It may be set at any moment, back or forth."""
    return time.time_ns() // 1_000_000


def monotonic_ns() -> int:
    """For measuring durations: never goes back."""
    return time.monotonic_ns()


def steady_ms() -> int:
    """For bans, rates and deadlines: runs on whatever is done to the wall clock, and has no date."""
    return time.monotonic_ns() // 1_000_000


class ChainClock:
    """The time of one chain's steps: the wall clock as it was when this was made, counted on without jumps.

    Deadlines are in this time. What is dated adds `ahead_ms`, by which the wall clock has been set forward since, or
    back where it is negative.
    """

    def __init__(self) -> None:
        self._origin_ms = now_ms() - steady_ms()
        self.ahead_ms = 0

    def now_ms(self) -> int:
        """The steady time."""
        return self._origin_ms + steady_ms()

    def find_step(self) -> int | None:
        """The new `ahead_ms` where the wall clock has been set since the last call, else None."""
        begin_ms = self.now_ms()
        wall_ms = now_ms()
        end_ms = self.now_ms()
        ahead_ms = wall_ms - end_ms
        if end_ms - begin_ms > _LONGEST_LOOK_MS or abs(ahead_ms - self.ahead_ms) < LEAST_STEP_MS:
            return None
        self.ahead_ms = ahead_ms
        return ahead_ms


def thread_cpu_ns() -> int:
    """CPU time this thread has used."""
    return time.thread_time_ns()


class CpuMeter:
    """The CPU time of one call, which is made in another thread than that which wants to know; 0 until it is over."""

    def __init__(self) -> None:
        self.spent_ns = 0

    def run(self, call: Callable[[], T]) -> T:
        """Run `call`, counting its CPU time; returns or raises what it does."""
        started_ns = thread_cpu_ns()
        try:
            return call()
        finally:
            self.spent_ns = thread_cpu_ns() - started_ns
