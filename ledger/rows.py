"""The rows of a chain in the store: the meaning of each key, and every value's bytes, written and read.

By block hash: the block, its receipts, what it undid, and its record (header, work, base N_diff). By height: the
canonical hash, and the header as peers are served it. By id: a transaction's place. The head's state stands under its
own keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from ledger.block import Block, Header
from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_str, split
from ledger.execution import Execution, Receipt
from ledger.params import LedgerParams
from ledger.store import as_stored

Row: TypeAlias = tuple[bytes, bytes | None]
T = TypeVar("T")

BLOCK, RECEIPTS, UNDO, RECORD = b"b", b"r", b"u", b"e"
STATE, TRANSACTION, _HEIGHT, _HEADER = b"s", b"t", b"h", b"n"
HEAD, FINAL, GENESIS, BASE = b"H", b"F", b"G", b"B"

_TRUSTED_BYTES = 1 << 30  # our own records: bounded when they were written


def height_key(height: int) -> bytes:
    """The key of the canonical hash at a height."""
    return _HEIGHT + height.to_bytes(8, "big")


def header_key(height: int) -> bytes:
    """The key of the canonical header at a height, in its own bytes."""
    return _HEADER + height.to_bytes(8, "big")


def rows_of_block(block: Block, execution: Execution, *, work: int, base_n_diff: int) -> list[Row]:
    """Everything but the state that a canonical block has in the store."""
    block_hash = block.hash
    receipts = tuple((receipt.transaction_id, receipt.code) for receipt in execution.receipts)
    rows: list[Row] = [
        (BLOCK + block_hash, block.raw),
        (RECEIPTS + block_hash, encode(receipts)),
        (UNDO + block_hash, encode(tuple(execution.delta.undo.items()))),
        *rows_of_header(block.header, work=work, base_n_diff=base_n_diff),
    ]
    for index, transaction in enumerate(block.transactions):
        rows.append((TRANSACTION + transaction.id, write_place(block_hash, index)))
    return rows


def rows_of_header(header: Header, *, work: int, base_n_diff: int) -> list[Row]:
    """The rows of a canonical block of which no more than the header is held."""
    record = (header.to_value(), work.to_bytes(40, "big"), base_n_diff.to_bytes(32, "big"))
    return [
        (RECORD + header.hash, encode(record)),
        (height_key(header.height), header.hash),
        (header_key(header.height), encode((header.raw,))),
    ]


def rows_without_undo(header: Header) -> list[Row]:
    """The row by which a block undoes nothing: a chain was taken up from it."""
    return [(UNDO + header.hash, encode(()))]


def row_of_base(height: int, lowest: int) -> Row:
    """The height of the block that a chain was taken up from, and that from which on headers are held."""
    return BASE, encode((height, lowest))


def rows_to_delete(block: Block) -> list[Row]:
    """The deletion of all that `rows_of_block` wrote."""
    rows: list[Row] = [(TRANSACTION + transaction.id, None) for transaction in block.transactions]
    rows += [(prefix + block.hash, None) for prefix in (BLOCK, RECEIPTS, UNDO, RECORD)]
    rows += [(height_key(block.header.height), None), (header_key(block.header.height), None)]
    return rows


def write_place(block_hash: bytes, number: int) -> bytes:
    """A block and a number: the index of a transaction in it, or its own height."""
    return encode((block_hash, number))


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
    """A header's bytes, which are not looked into."""
    with as_stored("a header"):
        (header,) = expect_array(split(raw, "header", max_items=1), 1, "header")
        return expect_bytes(header, "header")


def read_record(raw: bytes) -> tuple[Header, int, int]:
    """Header, work of the branch up to the block, base N_diff."""
    return _read(raw, _record_from_value, "a block's record")


def read_undo(raw: bytes) -> dict[bytes, bytes | None]:
    return _read(raw, _undo_from_value, "what a block undid")


def read_receipts(raw: bytes) -> tuple[Receipt, ...]:
    return _read(raw, _receipts_from_value, "a block's receipts")


def read_base(raw: bytes) -> tuple[int, int]:
    """Height of the block that the chain was taken up from, and that from which on headers are held."""
    return _read(raw, _base_from_value, "the chain's base")


def read_place(raw: bytes) -> tuple[bytes, int]:
    return _read(raw, _place_from_value, "a place on the chain")


def _read(raw: bytes, from_value: Callable[[Value], T], what: str) -> T:
    with as_stored(what):
        return from_value(decode(raw, max_bytes=_TRUSTED_BYTES, max_items=_TRUSTED_BYTES))


def _record_from_value(value: Value) -> tuple[Header, int, int]:
    header, work, base_n_diff = expect_array(value, 3, "record")
    return (
        Header.from_value(header),
        int.from_bytes(expect_bytes(work, "work", size=40), "big"),
        int.from_bytes(expect_bytes(base_n_diff, "base N_diff", size=32), "big"),
    )


def _undo_from_value(value: Value) -> dict[bytes, bytes | None]:
    pairs = [expect_array(pair, 2, "undo") for pair in expect_array(value, None, "undo")]
    return {expect_bytes(key, "key"): None if old is None else expect_bytes(old, "value") for key, old in pairs}


def _receipts_from_value(value: Value) -> tuple[Receipt, ...]:
    pairs = [expect_array(pair, 2, "receipt") for pair in expect_array(value, None, "receipts")]
    return tuple(
        Receipt(transaction_id=expect_bytes(identity, "transaction id", size=32), code=expect_str(code, "code"))
        for identity, code in pairs
    )


def _place_from_value(value: Value) -> tuple[bytes, int]:
    block_hash, number = expect_array(value, 2, "place")
    return expect_bytes(block_hash, "block hash", size=32), expect_int(number, "number")


def _base_from_value(value: Value) -> tuple[int, int]:
    height, lowest = expect_array(value, 2, "base")
    return expect_int(height, "height"), expect_int(lowest, "lowest height")
