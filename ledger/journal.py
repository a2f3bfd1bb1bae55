"""Acknowledged transactions: kept in the store until they are buried or expired, so that no crash loses one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ledger.chain import Changes
from ledger.errors import Malformed, StoreCorrupt
from ledger.store import KeyValue
from ledger.transaction import Transaction

_PENDING = b"m"
BURIED_DEPTH = 32  # blocks on top of a transaction after which its acknowledgement is forgotten


def rows_to_keep(transactions: Iterable[Transaction]) -> Changes:
    """The batch to persist before the transactions are acknowledged."""
    return [(_PENDING + transaction.id, transaction.raw) for transaction in transactions]


def rows_to_forget(transaction_ids: Iterable[bytes]) -> Changes:
    return [(_PENDING + transaction_id, None) for transaction_id in transaction_ids]


def load(store: KeyValue, *, max_bytes: int) -> Iterator[Transaction]:
    """Every acknowledged transaction that is not known to be buried. Raises `StoreCorrupt`."""
    for _, raw in store.scan(_PENDING):
        try:
            yield Transaction.from_bytes(raw, max_bytes=max_bytes)
        except Malformed as error:
            raise StoreCorrupt(detail=f"acknowledged transaction: {error}") from error
