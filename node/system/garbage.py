"""Garbage collection whose pauses do not grow with what a node holds: survivors of one full collection are set aside.

A full collection of CPython walks over every object there is, at 10 to 40 ms for 100 000 of them, in whichever turn
of the event loop it falls. Nearly all of them are the state of chains, and freed by count. What a cycle among those set
aside holds comes back when they are all looked at again: each time that their number has doubled.
"""

from __future__ import annotations

import gc
from typing import Any


class Collector:
    """The collector of this process, from now on; `close` gives it back as it was."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        gc.collect()  # of nothing: the next full one comes once a quarter of what this one leaves is new
        self._looked_at = gc.get_freeze_count()  # objects, when all were
        self._is_complete = False
        gc.callbacks.append(self._on_phase)

    def close(self) -> None:
        gc.callbacks.remove(self._on_phase)
        gc.unfreeze()

    def _on_phase(self, phase: str, info: dict[str, Any]) -> None:
        if phase != "stop" or info["generation"] != 2:
            return
        if not self._is_complete and gc.get_freeze_count() > 2 * self._looked_at:
            gc.unfreeze()
            self._is_complete = True
            return
        gc.freeze()
        if self._is_complete:
            self._looked_at, self._is_complete = gc.get_freeze_count(), False
