"""The only reader of the clocks in `node`."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Wall clock: ms since the Unix epoch, UTC."""
    return time.time_ns() // 1_000_000


def monotonic_ns() -> int:
    """For measuring durations: never goes back."""
    return time.monotonic_ns()


def thread_cpu_ns() -> int:
    """CPU time this thread has used."""
    return time.thread_time_ns()
