"""Rate limits in integers. Pure: time is an argument, and of a clock that is never set."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


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


class Accounts(Generic[K, V]):
    """An account for each key, opened when first asked for; of too many, the one asked for longest ago is closed."""

    def __init__(self, open_account: Callable[[], V], *, limit: int) -> None:
        self._open_account = open_account
        self._limit = limit
        self._accounts: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accounts)

    def find(self, key: K) -> V:
        """The account of `key`, a new one where there is none."""
        if key not in self._accounts:
            self._accounts[key] = self._open_account()
            if len(self._accounts) > self._limit:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(key)
        return self._accounts[key]
