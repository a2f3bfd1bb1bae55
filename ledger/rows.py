"""The rows of a chain in the store: the meaning of each key, and every value's bytes, written and read.

By height, so that what is dropped first lies together: a canonical block, its receipts and what it undid; and its hash
and its record (header, work, base N_diff), which stay. By block hash, its height alone: such a key falls anywhere among
the others, so all that stands under it is written anew wherever LevelDB merges. By id: a transaction's place. The
head's state stands under its own keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias, TypeVar

from ledger.block import Block, Header, read_header
from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_str
from ledger.execution import Execution, Receipt
from ledger.params import LedgerParams
from ledger.store import as_stored

Row: TypeAlias = tuple[bytes, bytes | None]
T = TypeVar("T")

BLOCK, RECEIPTS, UNDO, RECORD = b"b", b"r", b"u", b"w"
STATE, TRANSACTION, HASH, HEIGHT = b"s", b"t", b"h", b"i"
HEAD, FINAL, GENESIS, KEPT, LOWEST = b"H", b"F", b"G", b"p", b"B"
TAKEN = b"D"  # the height of the snapshot that the chain was taken up from
SNAPSHOT, CHUNK = b"S", b"Y"  # that is being taken, and the chunks of its state

KINDS = {
    "blocks": BLOCK,
    "receipts": RECEIPTS,
    "undo": UNDO,
    "records": RECORD,
    "hashes": HASH,
    "heights": HEIGHT,
    "places": TRANSACTION,
    "state": STATE,
    "chunks": CHUNK,
}  # of the rows that are many, for whoever measures them
LAST = b"\xff" * 33  # behind a prefix: above every key with it

_TRUSTED_BYTES = 1 << 30  # our own records: bounded when they were written


class Kept(NamedTuple):
    """The lowest heights of which rows are kept that do not stay for good: all below has been dropped."""

    undo: int
    bodies: int  # with receipts and the places of transactions; the genesis block's own stay


def height_key(height: int) -> bytes:
    """The key of the canonical hash at a height."""
    return HASH + height.to_bytes(8, "big")


def block_key(height: int) -> bytes:
    """The key of the canonical block at a height."""
    return BLOCK + height.to_bytes(8, "big")


def receipts_key(height: int) -> bytes:
    """The key of the receipts of the canonical block at a height."""
    return RECEIPTS + height.to_bytes(8, "big")


def undo_key(height: int) -> bytes:
    """The key of what the canonical block at a height undid."""
    return UNDO + height.to_bytes(8, "big")


def record_key(height: int) -> bytes:
    """The key of the record of the canonical block at a height."""
    return RECORD + height.to_bytes(8, "big")


def rows_of_block(block: Block, execution: Execution, *, work: int, base_n_diff: int) -> list[Row]:
    """Everything but the state that a canonical block has in the store."""
    height = block.header.height
    rows: list[Row] = [
        *rows_of_body(block, execution.receipts),
        *rows_of_header(block.header, work=work, base_n_diff=base_n_diff),
    ]
    if height:
        rows.append((undo_key(height), encode(tuple(execution.delta.undo.items()))))
    return rows


def rows_of_body(block: Block, receipts: Iterable[Receipt]) -> list[Row]:
    """The rows of a canonical block that may be dropped, and may come later: itself, its receipts, its places."""
    height = block.header.height
    outcomes = tuple((receipt.transaction_id, receipt.code) for receipt in receipts)
    rows: list[Row] = [(block_key(height), block.raw), (receipts_key(height), encode(outcomes))]
    for index, transaction in enumerate(block.transactions):
        rows.append((TRANSACTION + transaction.id, write_place(block.hash, index)))
    return rows


def rows_of_header(header: Header, *, work: int, base_n_diff: int) -> list[Row]:
    """The rows of a canonical block that stay for good, or come alone."""
    record = encode((header.raw, work.to_bytes(40, "big"), base_n_diff.to_bytes(32, "big")))
    return [*rows_of_place(header), (record_key(header.height), record)]


def rows_of_place(header: Header) -> list[Row]:
    """The hash of a canonical block by its height, and the height by its hash."""
    return [(HEIGHT + header.hash, write_height(header.height)), (height_key(header.height), header.hash)]


def rows_to_delete(block: Block) -> list[Row]:
    """The deletion of all that `rows_of_block` wrote."""
    rows: list[Row] = [(TRANSACTION + transaction.id, None) for transaction in block.transactions]
    rows.append((HEIGHT + block.hash, None))
    rows += [(key(block.header.height), None) for key in (block_key, receipts_key, undo_key, height_key, record_key)]
    return rows


def write_place(block_hash: bytes, number: int) -> bytes:
    """A block and a number: the index of a transaction in it, or its own height."""
    return encode((block_hash, number))


def spans_of_bodies(first: int, end: int) -> tuple[tuple[bytes, bytes], ...]:
    """The ranges of keys that hold blocks and receipts from one height up to, but not with, another."""
    return ((block_key(first), block_key(end)), (receipts_key(first), receipts_key(end)))


def write_height(height: int) -> bytes:
    """A height that stands alone: a block's, a snapshot's, or the one from which on headers are held."""
    return encode((height,))


def write_kept(kept: Kept) -> bytes:
    return encode(tuple(kept))


# --- reading: each raises `StoreCorrupt` where the bytes cannot be ours ----------------------------


def read_block(raw: bytes, params: LedgerParams) -> Block:
    return _read(
        raw,
        lambda value: Block.from_value(
            value,
            max_transactions=params.max_block_transactions,
            max_transaction_bytes=params.max_transaction_bytes,
        ),
        "a block",
    )


def read_raw_header(raw: bytes) -> bytes:
    """The header's bytes in a block's record; nothing is looked into."""
    with as_stored("a block's record"):
        return expect_bytes(expect_array(decode(raw, max_bytes=_TRUSTED_BYTES), 3, "record")[0], "header")


def read_record(raw: bytes) -> tuple[Header, int, int]:
    """Header, work of the branch up to the block, base N_diff."""
    return _read(raw, _record_from_value, "a block's record")


def read_height(raw: bytes) -> int:
    """A height that stands alone."""
    return _read(raw, _height_from_value, "a height")


def read_undo(raw: bytes) -> dict[bytes, bytes | None]:
    return _read(raw, _undo_from_value, "what a block undid")


def read_receipts(raw: bytes) -> tuple[Receipt, ...]:
    return _read(raw, _receipts_from_value, "a block's receipts")


def read_place(raw: bytes) -> tuple[bytes, int]:
    return _read(raw, _place_from_value, "a place on the chain")


def read_kept(raw: bytes) -> Kept:
    return _read(raw, _kept_from_value, "what is kept")


def _read(raw: bytes, from_value: Callable[[Value], T], what: str) -> T:
    with as_stored(what):
        return from_value(decode(raw, max_bytes=_TRUSTED_BYTES, max_items=_TRUSTED_BYTES))


def _record_from_value(value: Value) -> tuple[Header, int, int]:
    header, work, base_n_diff = expect_array(value, 3, "record")
    return (
        read_header(expect_bytes(header, "header")),
        int.from_bytes(expect_bytes(work, "work", size=40), "big"),
        int.from_bytes(expect_bytes(base_n_diff, "base N_diff", size=32), "big"),
    )


def _height_from_value(value: Value) -> int:
    (height,) = expect_array(value, 1, "height")
    return expect_int(height, "height")


def _undo_from_value(value: Value) -> dict[bytes, bytes | None]:
    pairs = [expect_array(pair, 2, "undo") for pair in expect_array(value, None, "undo")]
    return {expect_bytes(key, "key"): None if old is None else expect_bytes(old, "value") for key, old in pairs}


def _receipts_from_value(value: Value) -> tuple[Receipt, ...]:
    pairs = [expect_array(pair, 2, "receipt") for pair in expect_array(value, None, "receipts")]
    return tuple(
        Receipt(transaction_id=expect_bytes(identity, "transaction id", size=32), code=expect_str(code, "code"))
        for identity, code in pairs
    )


def _kept_from_value(value: Value) -> Kept:
    undo, bodies = expect_array(value, 2, "kept")
    return Kept(undo=expect_int(undo, "height", low=1), bodies=expect_int(bodies, "height", low=1))


def _place_from_value(value: Value) -> tuple[bytes, int]:
    block_hash, number = expect_array(value, 2, "place")
    return expect_bytes(block_hash, "block hash", size=32), expect_int(number, "number")
