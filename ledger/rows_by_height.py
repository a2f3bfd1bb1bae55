"""The step of a store from version 2 to 3: blocks, receipts and undo rows stand by height, no longer by block hash.

Undo rows of final blocks, which nothing reads, are not carried over; a row says what is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from ledger import rows
from ledger.errors import StoreCorrupt
from ledger.hashing import HASH_SIZE
from ledger.store import Changes, KeyValue, in_batches

_PREFIXES = (rows.BLOCK, rows.RECEIPTS, rows.UNDO)


def build(store: KeyValue) -> Iterator[Changes]:
    """Write every block's rows by its height, then what is kept. Raises `StoreCorrupt` where one is missing."""
    hashes = [block_hash for _, block_hash in store.scan(rows.HASH)]
    final = _read_final_height(store)
    new = chain.from_iterable(
        _by_height(store, block_hash, height, is_final=height <= final) for height, block_hash in enumerate(hashes)
    )
    yield from in_batches(new)
    yield [(rows.KEPT, rows.write_kept(rows.Kept(undo=final + 1, bodies=1)))]


def clear(store: KeyValue) -> Iterator[Changes]:
    """Delete the rows by block hash."""
    old = (key for prefix in _PREFIXES for key, _ in store.scan(prefix) if len(key) == len(prefix) + HASH_SIZE)
    yield from in_batches((key, None) for key in old)


def _read_final_height(store: KeyValue) -> int:
    raw = store.get(rows.FINAL)
    if raw is None:
        raise StoreCorrupt(detail="the final block is not recorded")
    return rows.read_place(raw)[1]


def _by_height(store: KeyValue, block_hash: bytes, height: int, *, is_final: bool) -> Iterator[rows.Row]:
    keys = [(rows.BLOCK, rows.block_key(height)), (rows.RECEIPTS, rows.receipts_key(height))]
    if not is_final:
        keys.append((rows.UNDO, rows.undo_key(height)))
    for prefix, key in keys:
        value = store.get(prefix + block_hash)
        if value is None:
            raise StoreCorrupt(detail=f"block {height} is missing")
        yield key, value
