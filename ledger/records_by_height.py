"""The step of a store from version 3 to 4: a block's record stands by height, and by block hash its height alone.

Before, a record stood by hash and the header, as peers are served it, once more by height.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from ledger import rows
from ledger.block import Header
from ledger.codec import decode, expect_array, expect_bytes
from ledger.store import Changes, KeyValue, as_stored, in_batches

_OLD = (b"e", b"n")  # the prefixes of records by hash, and of headers: no later form may use them
_MAX_BYTES = 1 << 16


def build(store: KeyValue) -> Iterator[Changes]:
    """Write every record by its height, and the height. Raises `StoreCorrupt` where one cannot be read."""
    yield from _delete(store, rows.RECORD, rows.HEIGHT)
    yield from in_batches(chain.from_iterable(_rows_of_record(raw) for _, raw in store.scan(_OLD[0])))


def clear(store: KeyValue) -> Iterator[Changes]:
    """Delete the records by hash, and the headers."""
    yield from _delete(store, *_OLD)


def _delete(store: KeyValue, *prefixes: bytes) -> Iterator[Changes]:
    yield from in_batches((key, None) for prefix in prefixes for key, _ in store.scan(prefix))


def _rows_of_record(raw: bytes) -> list[rows.Row]:
    with as_stored("a block's record"):
        header, work, base_n_diff = expect_array(decode(raw, max_bytes=_MAX_BYTES), 3, "record")
        return rows.rows_of_header(
            Header.from_value(header),
            work=int.from_bytes(expect_bytes(work, "work", size=40), "big"),
            base_n_diff=int.from_bytes(expect_bytes(base_n_diff, "base N_diff", size=32), "big"),
        )
