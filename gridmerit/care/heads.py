"""The head that a store names, read without opening its chain."""

from __future__ import annotations

from ledger import rows
from ledger.store import KeyValue


def find_head(store: KeyValue) -> tuple[int, bytes] | None:
    """Height and hash of the head block; None where the store has lost either. Raises the `StoreError` family."""
    head = store.get(rows.HEAD)
    height = None if head is None else store.get(rows.HEIGHT + head)
    return None if head is None or height is None else (rows.read_height(height), head)
