"""The time that a chain's writes take until they are on disk, and a word in the log when one takes long."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

from node.queries.answers import WritesStatus, WritesWithin
from node.system.clock import monotonic_ns
from node.system.logs import log_event

BOUNDS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
_LONG_NS = 1_000_000_000
_REMIND_NS = 60_000_000_000
_NS_PER_MS = 1_000_000


class WriteTimes:
    """Those of one chain since the start; told while its thread goes on writing."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._counts = [0] * (len(BOUNDS_MS) + 1)
        self._all_ns = 0
        self._longest_ns = 0
        self._long_since = 0  # writes since the log last said so
        self._warned_ns: int | None = None

    @contextmanager
    def take(self) -> Iterator[None]:
        """Take the time of a write, whether or not it succeeds."""
        begin_ns = monotonic_ns()
        try:
            yield
        finally:
            self._note(monotonic_ns() - begin_ns)

    def describe(self) -> WritesStatus:
        counts = tuple(self._counts)
        return WritesStatus(
            writes=sum(counts),
            write_ms=self._all_ns // _NS_PER_MS,
            longest_ms=-(-self._longest_ns // _NS_PER_MS),
            within=tuple(
                WritesWithin(limit_ms=limit_ms, writes=writes)
                for limit_ms, writes in zip(BOUNDS_MS, accumulate(counts[:-1]), strict=True)
            ),
        )

    def _note(self, took_ns: int) -> None:
        self._counts[bisect_left(BOUNDS_MS, took_ns / _NS_PER_MS)] += 1
        self._all_ns += took_ns
        self._longest_ns = max(self._longest_ns, took_ns)
        if took_ns < _LONG_NS:
            return
        self._long_since += 1
        now_ns = monotonic_ns()
        if self._warned_ns is None or now_ns - self._warned_ns >= _REMIND_NS:
            fields = {"took_ms": took_ns // _NS_PER_MS, "writes_so_long": self._long_since}
            self._warned_ns, self._long_since = now_ns, 0
            log_event(self._log, logging.WARNING, "disk-slow", **fields)
