"""A writable view over an immutable `State`: what a block or one transaction changes before it is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgpack import unpackb

from ledger.codec import Value, encode
from ledger.state import State

Event = tuple[Value, ...]

_REMEMBERED = 100_000  # reads, from which on absent keys are not remembered, of which there is no end
_UNREAD = object()  # in the place of a value that has been neither read nor written


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The changes of a block to the state: new and old value by key (None: absent)."""

    changes: Mapping[bytes, bytes | None]
    undo: Mapping[bytes, bytes | None]


class Overlay:
    """Reads fall through to the state; writes are kept per transaction until `commit` or `rollback`."""

    __slots__ = ("_before", "_changed", "_events", "_kept", "_now", "_raw", "_state")

    def __init__(self, state: State) -> None:
        self._state = state
        self._raw: dict[bytes, bytes | None] = {}  # what the state has under the keys that were read
        self._now: dict[bytes, object] = {}  # every value as it is read now, None where there is none
        self._changed: dict[bytes, None] = {}  # keys that were written and committed; encoded once, by `finish`
        self._before: dict[bytes, object] = {}  # what the open transaction has written over
        self._events: list[Event] = []
        self._kept = 0

    def get(self, key: bytes) -> Value:
        """The value under `key`, None where there is none."""
        value = self._now.get(key, _UNREAD)
        return self._read(key) if value is _UNREAD else value  # type: ignore[return-value]

    def has(self, key: bytes) -> bool:
        """Return True if there is a value under `key`, whatever it is."""
        value = self._now.get(key, _UNREAD)
        return (self._state.get(key) if value is _UNREAD else value) is not None

    def put(self, key: bytes, value: Value) -> None:
        """Write a value that is not None. What has no canonical encoding is our bug, which `finish` shows."""
        assert value is not None, key
        now, before = self._now, self._before
        if key not in before:
            before[key] = now.get(key, _UNREAD)
        now[key] = value

    def delete(self, key: bytes) -> None:
        before = self._before
        if key not in before:
            before[key] = self._now.get(key, _UNREAD)
        self._now[key] = None

    def emit(self, *event: Value) -> None:
        """Record something that subscribers want to hear of once the block is committed."""
        self._events.append(event)

    def commit(self) -> None:
        """Keep what was written and emitted since the last commit or rollback."""
        self._changed.update(dict.fromkeys(self._before))
        self._before.clear()
        self._kept = len(self._events)

    def rollback(self) -> None:
        """Forget what was written and emitted since the last commit or rollback."""
        for key, value in self._before.items():
            if value is _UNREAD:
                del self._now[key]
            else:
                self._now[key] = value
        self._before.clear()
        del self._events[self._kept :]

    @property
    def events(self) -> tuple[Event, ...]:
        return tuple(self._events[: self._kept])

    def finish(self) -> tuple[State, Delta]:
        """The state with everything committed, and the delta that leads there and back."""
        assert not self._before, "finish() with an open transaction"
        now, raw, get = self._now, self._raw, self._state.get
        changes: dict[bytes, bytes | None] = {}
        undo: dict[bytes, bytes | None] = {}
        for key in self._changed:
            value = now[key]
            after = None if value is None else encode(value)  # type: ignore[arg-type]
            before = raw[key] if key in raw else get(key)
            if after != before:
                changes[key], undo[key] = after, before
        return self._state.apply(changes), Delta(changes=changes, undo=undo)

    def _read(self, key: bytes) -> Value:
        """Our own bytes, written by `put`: no canonical check on the way back."""
        raw = self._state.get(key)
        value: Value = None if raw is None else unpackb(raw, use_list=False)
        if raw is not None or len(self._raw) < _REMEMBERED:
            self._raw[key], self._now[key] = raw, value
        return value
