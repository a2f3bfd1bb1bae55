"""A writable view over an immutable `State`: what a block or one transaction changes before it is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgpack

from ledger.codec import Value, encode
from ledger.state import State

Event = tuple[Value, ...]

_REMEMBERED = 100_000  # reads, from which on absent keys are not remembered, of which there is no end


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The changes of a block to the state: new and old value by key (None: absent)."""

    changes: Mapping[bytes, bytes | None]
    undo: Mapping[bytes, bytes | None]


class Overlay:
    """Reads fall through to the state; writes are kept per transaction until `commit` or `rollback`."""

    __slots__ = ("_block", "_events", "_kept", "_read", "_state", "_transaction")

    def __init__(self, state: State) -> None:
        self._state = state
        self._read: dict[bytes, tuple[bytes | None, Value]] = {}  # what the state has under a key, and that decoded
        self._block: dict[bytes, Value] = {}  # None where it is deleted; encoded once, by `finish`
        self._transaction: dict[bytes, Value] = {}
        self._events: list[Event] = []
        self._kept = 0

    def get(self, key: bytes) -> Value:
        """The value under `key`, None where there is none."""
        for layer in (self._transaction, self._block):
            if key in layer:
                return layer[key]
        found = self._read.get(key)
        if found is None:
            raw = self._state.get(key)
            found = raw, _decode(raw)
            if raw is not None or len(self._read) < _REMEMBERED:
                self._read[key] = found
        return found[1]

    def put(self, key: bytes, value: Value) -> None:
        """Write a value that is not None. What has no canonical encoding is our bug, which `finish` shows."""
        assert value is not None, key
        self._transaction[key] = value

    def delete(self, key: bytes) -> None:
        self._transaction[key] = None

    def emit(self, *event: Value) -> None:
        """Record something that subscribers want to hear of once the block is committed."""
        self._events.append(event)

    def commit(self) -> None:
        """Keep what was written and emitted since the last commit or rollback."""
        self._block.update(self._transaction)
        self._transaction.clear()
        self._kept = len(self._events)

    def rollback(self) -> None:
        """Forget what was written and emitted since the last commit or rollback."""
        self._transaction.clear()
        del self._events[self._kept :]

    @property
    def events(self) -> tuple[Event, ...]:
        return tuple(self._events[: self._kept])

    def finish(self) -> tuple[State, Delta]:
        """The state with everything committed, and the delta that leads there and back."""
        assert not self._transaction, "finish() with an open transaction"
        state, read = self._state, self._read
        undo = {key: read[key][0] if key in read else state.get(key) for key in self._block}
        after = {key: None if value is None else encode(value) for key, value in self._block.items()}
        changes = {key: raw for key, raw in after.items() if raw != undo[key]}
        undo = {key: undo[key] for key in changes}
        return state.apply(changes), Delta(changes=changes, undo=undo)


def _decode(raw: bytes | None) -> Value:
    """Our own bytes, written by `put`: no canonical check on the way back."""
    return None if raw is None else msgpack.unpackb(raw, use_list=False)
