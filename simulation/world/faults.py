"""Faults of one simulated machine: crash, pause, a wrong clock, a slow or a full disk."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ledger.errors import StoreReadOnly
from node.chain.events import Event

MAX_WAITING = 20_000  # events that a machine keeps while it is paused or its disk is busy; what comes then is lost


@dataclass(slots=True)
class Disk:
    """Each write takes `delay_ms`; one that is full takes none."""

    delay_ms: int = 0
    is_full: bool = False

    def check(self) -> None:
        """Raises `StoreReadOnly`."""
        if self.is_full:
            raise StoreReadOnly(detail="no space left on the simulated disk")


@dataclass(slots=True)
class Condition:
    """The state a machine is in; events that come while it cannot act wait for it in order."""

    skew_ms: int = 0  # its wall clock is ahead of virtual time by this
    began_ms: int = 0  # what `skew_ms` was when its node started: steady time begins there
    is_paused: bool = False
    busy_until_ms: int = 0
    disk: Disk = field(default_factory=Disk)
    waiting: deque[tuple[Event, bytes]] = field(default_factory=deque)  # with their marks in the event log
    lost: int = 0  # events that found no room to wait

    def can_act(self, now_ms: int) -> bool:
        return not self.is_paused and self.busy_until_ms <= now_ms

    def wait(self, event: Event, mark: bytes) -> None:
        if len(self.waiting) < MAX_WAITING:
            self.waiting.append((event, mark))
        else:
            self.lost += 1

    def clear(self) -> None:
        """Forget what a restart forgets: clock and disk stay as they are."""
        self.is_paused = False
        self.busy_until_ms = 0
        self.waiting.clear()
