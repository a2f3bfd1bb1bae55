"""Acknowledged transactions: kept in the store until they are buried or expired, so that no crash loses one.

Beside them, how those ended that will never be executed: rows by number, so that the oldest come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ledger.chain import Changes
from ledger.codec import decode, encode, expect_array, expect_bytes, expect_int, expect_str
from ledger.hashing import HASH_SIZE
from ledger.store import KeyValue, as_stored
from ledger.transaction import Transaction

_PENDING, _ENDING = b"m", b"M"
_MAX_ENDING_BYTES = 512
BURIED_DEPTH = 32  # blocks on top of a transaction after which its acknowledgement is forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of an acknowledged transaction that can no longer be executed: an error, and the head's height by then.

    `by` is the transaction of the same sender and sequence that stands in its place, where one is known.
    """

    code: str
    height: int
    by: bytes | None = None


def rows_to_keep(transactions: Iterable[Transaction]) -> Changes:
    """The batch to persist before the transactions are acknowledged."""
    return [(_PENDING + transaction.id, transaction.raw) for transaction in transactions]


def rows_to_forget(transaction_ids: Iterable[bytes]) -> Changes:
    return [(_PENDING + transaction_id, None) for transaction_id in transaction_ids]


def load(store: KeyValue, *, max_bytes: int) -> Iterator[Transaction]:
    """Every acknowledged transaction that is not known to be buried. Raises `StoreCorrupt`."""
    for _, raw in store.scan(_PENDING):
        yield _read(raw, max_bytes)


def find(store: KeyValue, transaction_id: bytes, *, max_bytes: int) -> Transaction | None:
    """One of them by its id. Raises `StoreCorrupt`."""
    raw = store.get(_PENDING + transaction_id)
    return None if raw is None else _read(raw, max_bytes)


def row_of_ending(number: int, transaction_id: bytes, ending: Ending) -> tuple[bytes, bytes]:
    return _ending_key(number), encode((transaction_id, ending.code, ending.height, ending.by or b""))


def row_without_ending(number: int) -> tuple[bytes, None]:
    return _ending_key(number), None


def load_endings(store: KeyValue) -> Iterator[tuple[int, bytes, Ending]]:
    """(number, transaction id, ending), the oldest first. Raises `StoreCorrupt`."""
    for key, raw in store.scan(_ENDING):
        with as_stored("how an acknowledged transaction ended"):
            item, code, height, by = expect_array(decode(raw, max_bytes=_MAX_ENDING_BYTES), 4, "ending")
            ending = Ending(
                code=expect_str(code, "code"), height=expect_int(height, "height"), by=expect_bytes(by, "by") or None
            )
            identity = expect_bytes(item, "id", size=HASH_SIZE)
        yield int.from_bytes(key[len(_ENDING) :], "big"), identity, ending


def _ending_key(number: int) -> bytes:
    return _ENDING + number.to_bytes(8, "big")


def _read(raw: bytes, max_bytes: int) -> Transaction:
    with as_stored("acknowledged transaction"):
        return Transaction.from_bytes(raw, max_bytes=max_bytes)
