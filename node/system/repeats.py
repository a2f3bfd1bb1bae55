"""Lines of a log that come again and again: one at once, and then, once a minute, the last of them with their number.

Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

PAUSE_MS = 60_000
_MAX_KINDS = 1_024

T = TypeVar("T")


@dataclass(slots=True)
class _Kind(Generic[T]):
    due_ms: int
    last: T
    count: int = 0  # that are held back, `last` among them


class Repeats(Generic[T]):
    """Lines by their kind; beyond `max_kinds` the one that was written first is told of and forgotten.

    `merge` makes one of the last line that is held back and the next.
    """

    def __init__(self, merge: Callable[[T, T], T], *, pause_ms: int = PAUSE_MS, max_kinds: int = _MAX_KINDS) -> None:
        self._merge = merge
        self._pause_ms = pause_ms
        self._max_kinds = max_kinds
        self._known: dict[Hashable, _Kind[T]] = {}  # in the order in which they are due

    @property
    def due_ms(self) -> int | None:
        """The time at which `take_due` may have something to say."""
        return next((kind.due_ms for kind in self._known.values()), None)

    def is_new(self, key: Hashable, line: T, now_ms: int) -> bool:
        """Return True for a line to be written now; else it is held back, to be told of later."""
        if (kind := self._known.get(key)) is not None:
            kind.last = self._merge(kind.last, line) if kind.count else line
            kind.count += 1
            return False
        self._known[key] = _Kind(due_ms=now_ms + self._pause_ms, last=line)
        return True

    def take_due(self, now_ms: int) -> Iterator[tuple[T, int]]:
        """Lines to be written by now: the last of each kind, with how many it stands for."""
        while (first := next(iter(self._known), None)) is not None:
            kind = self._known[first]
            if kind.due_ms > now_ms and len(self._known) <= self._max_kinds:
                return
            del self._known[first]
            if not kind.count:
                continue
            if kind.due_ms <= now_ms:
                self._known[first] = _Kind(due_ms=now_ms + self._pause_ms, last=kind.last)
            yield kind.last, kind.count

    def take_all(self) -> Iterator[tuple[T, int]]:
        """The same of all that is held back; nothing is known afterwards."""
        known = list(self._known.values())
        self._known.clear()
        yield from ((kind.last, kind.count) for kind in known if kind.count)
