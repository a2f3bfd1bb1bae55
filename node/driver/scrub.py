"""A slow walk through all rows of a store, so that damage shows while others still have what was lost.

LevelDB reads the checksum of a row with the row, and old rows nobody reads. A slice is read between two steps.
"""

from __future__ import annotations

from ledger.errors import StoreError
from ledger.store import KeyValue

SLICE_BYTES = 1 << 18
PERIOD_MS = 10_000  # from slice to slice: two gigabytes a day, for a millisecond of CPU each


class Scrub:
    """The walk of one chain: from the first row to the last, and again."""

    def __init__(self) -> None:
        self.passes = 0  # whole ones since the start
        self.damage = ""  # found in this pass or the last one
        self._next = b""
        self._is_clean = True

    def read_slice(self, store: KeyValue) -> StoreError | None:
        """Read on. The damage that is found, if any, once a pass: the walk goes on behind its kind of rows."""
        key, size = self._next, 0
        try:
            for key, value in store.scan_from(self._next):
                size += len(key) + len(value)
                if size >= SLICE_BYTES:
                    self._next = key + b"\x00"
                    return None
        except StoreError as error:
            is_told = not self._is_clean and str(error) == self.damage
            self.damage, self._is_clean = str(error), False
            kind = key[0] if key else 0
            self._go_to(bytes([kind + 1]) if kind < 255 else b"")
            return None if is_told else error
        self._go_to(b"")
        return None

    def _go_to(self, key: bytes) -> None:
        self._next = key
        if not key:
            self.damage = "" if self._is_clean else self.damage
            self.passes, self._is_clean = self.passes + 1, True
