"""Rate limits in integers. Pure: time is an argument, and of a clock that is never set."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """A rate limit in integers: `capacity` at once, `per_s` refilled per second."""

    capacity: int
    per_s: int
    _level_milli: int = field(init=False)
    _updated_ms: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._level_milli = self.capacity * 1_000

    def take(self, amount: int, now_ms: int) -> bool:
        """Take `amount` if it is there; whether it was."""
        self._refill(now_ms)
        if self._level_milli < amount * 1_000:
            return False
        self._level_milli -= amount * 1_000
        return True

    def spend(self, amount: int, now_ms: int) -> None:
        """Take `amount` whether it is there or not: a debt keeps the bucket empty for longer."""
        self._refill(now_ms)
        self._level_milli -= amount * 1_000

    def is_empty(self, now_ms: int) -> bool:
        self._refill(now_ms)
        return self._level_milli <= 0

    def _refill(self, now_ms: int) -> None:
        elapsed_ms = max(0, now_ms - (now_ms if self._updated_ms is None else self._updated_ms))
        self._updated_ms = now_ms
        self._level_milli = min(self.capacity * 1_000, self._level_milli + elapsed_ms * self.per_s)
