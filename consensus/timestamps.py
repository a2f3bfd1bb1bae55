"""Rules for a header's timestamp: above its ancestors' median, and not ahead of the local clock.

Only the first is a rule of the chain, alike for every peer. The second compares with one peer's clock, so a
header that fails it is put off, never remembered as invalid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from consensus.errors import TimestampTooEarly, TimestampTooFarAhead

MEDIAN_SPAN = 11


@dataclass(frozen=True, slots=True)
class Due:
    """The header's time has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """The header is ahead of the clock by no more than the network allows: look again after `wait_ms` > 0."""

    wait_ms: int


ClockOutcome: TypeAlias = Due | Ahead


def median_time_past(timestamps: Sequence[int]) -> int:
    """The median of the last 11 (or fewer) of the ancestors' timestamps, in ms; the upper one of an even count.

    It never falls along a chain, and no minority of the last 11 blocks decides it.
    """
    assert timestamps, "genesis has a timestamp, so every other block has an ancestor's"
    last = sorted(timestamps[-MEDIAN_SPAN:])
    return last[len(last) // 2]


def check_timestamp(timestamp_ms: int, past: Sequence[int]) -> None:
    """Raise `TimestampTooEarly` unless it is above the median of `past`, its ancestors', oldest first."""
    median_ms = median_time_past(past)
    if timestamp_ms <= median_ms:
        raise TimestampTooEarly(actual=timestamp_ms, median=median_ms)


def compare_with_clock(timestamp_ms: int, now_ms: int, max_ahead_ms: int) -> ClockOutcome:
    """Compare a header with the clock: due at `now_ms`, or to wait. Raises `TimestampTooFarAhead`."""
    ahead_ms = timestamp_ms - now_ms
    if ahead_ms <= 0:
        return Due()
    if ahead_ms > max_ahead_ms:
        raise TimestampTooFarAhead(ahead=ahead_ms, limit=max_ahead_ms)
    return Ahead(wait_ms=ahead_ms)
