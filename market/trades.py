"""The trades that a gate closure produced: one state value per period, and the Merkle leaves members certify.

Owns `TradeRecord`, its leaf bytes, the result root over a period's leaves, and what buyers hold in reserve
for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from ledger.codec import decode, encode, expect_array, expect_bytes, expect_int
from ledger.hashing import ADDRESS_SIZE, Address
from ledger.merkle import merkle_root
from ledger.overlay import Overlay

_TRADES = b"market/trades/"
_MAX_LEAF_BYTES = 128


class TradeRecord(NamedTuple):
    """Trade `trade_index` of a delivery period, in the order the matching produced it."""

    period: int
    trade_index: int
    buyer: Address
    seller: Address
    price_uyuan_per_kwh: int
    volume_wh: int


def encode_trade_leaf(record: TradeRecord) -> bytes:
    """The canonical bytes that stand as leaf `record.trade_index` under the period's result root."""
    return encode(tuple(record))


def decode_trade_leaf(raw: bytes) -> TradeRecord:
    """Read what `encode_trade_leaf` wrote. Raises the `Malformed` family."""
    fields = expect_array(decode(raw, max_bytes=_MAX_LEAF_BYTES), len(TradeRecord._fields), "trade leaf")
    period, trade_index, buyer, seller, price_uyuan_per_kwh, volume_wh = fields
    return TradeRecord(
        period=expect_int(period, "trade period"),
        trade_index=expect_int(trade_index, "trade index"),
        buyer=expect_bytes(buyer, "trade buyer", size=ADDRESS_SIZE),
        seller=expect_bytes(seller, "trade seller", size=ADDRESS_SIZE),
        price_uyuan_per_kwh=expect_int(price_uyuan_per_kwh, "trade price"),
        volume_wh=expect_int(volume_wh, "trade volume"),
    )


def compute_result_root(records: Sequence[TradeRecord]) -> bytes:
    """RFC 6962 root over the leaves; the root of the empty tree where nothing was traded."""
    return merkle_root([encode_trade_leaf(record) for record in records])


def put_trades(view: Overlay, period: int, records: Sequence[TradeRecord]) -> None:
    """Store a period's trades; their indexes are their places."""
    assert all(record[:2] == (period, index) for index, record in enumerate(records)), period
    view.put(_trades_key(period), tuple([record[2:] for record in records]))


def get_trades(view: Overlay, period: int) -> list[TradeRecord]:
    """A period's trades by index, void ones included; none before its gate."""
    rows = cast(tuple[tuple[bytes, bytes, int, int], ...], view.get(_trades_key(period)) or ())
    return [TradeRecord(period, index, *row) for index, row in enumerate(rows)]


def _trades_key(period: int) -> bytes:
    return _TRADES + period.to_bytes(8, "big")
