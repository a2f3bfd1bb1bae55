"""The trades that a gate closure produced: one state value per period, and the Merkle leaves members certify.

Owns `TradeRecord`, its leaf bytes, the result root over a period's leaves, and what the scheduling chain has cut off
the trades that its lines cannot carry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int
from ledger.errors import WrongShape
from ledger.hashing import ADDRESS_SIZE, Address
from ledger.merkle import merkle_root
from ledger.overlay import Overlay
from market.credit import PPM
from market.matching_weight import Parameters

_TRADES = b"market/trades/"
_CURTAILMENTS = b"market/curtailed/"
_MAX_LEAF_BYTES = 256


class MatchWeights(NamedTuple):
    """What made a match, where merit decided: what each parameter of Table 1 (text 000) added to either side's weight.

    The bid's weight said when it had its turn, and the offer's that it was chosen. In step 4 of §4.2 it is the node
    that looks for a partner that computes and chooses, so the paper's w, "the weight of successful matching", is the
    chosen offer's.
    """

    bid: Parameters
    offer: Parameters

    @property
    def bid_ppm(self) -> int:
        return sum(self.bid)

    @property
    def w_ppm(self) -> int:
        return sum(self.offer)

    def to_value(self) -> Value:
        return (tuple(self.bid), tuple(self.offer))

    @classmethod
    def from_value(cls, value: Value) -> MatchWeights:
        """Raises `WrongShape`."""
        bid, offer = expect_array(value, 2, "match weights")
        return cls(_parse_parameters(bid), _parse_parameters(offer))


class TradeRecord(NamedTuple):
    """Trade `trade_index` of a delivery period, in the order the matching produced it: the paper's TradeResult."""

    period: int
    trade_index: int
    buyer: Address
    seller: Address
    price_uyuan_per_kwh: int
    volume_wh: int
    weights: MatchWeights | None = None  # under "credit-weighted" alone

    def to_value(self) -> tuple[Value, ...]:
        """The first six fields, and the weights where there are any."""
        return self[:6] if self.weights is None else (*self[:6], self.weights.to_value())


class Curtailment(NamedTuple):
    """A trade that is executed in part or not at all, and the line whose capacity is the reason."""

    trade_index: int
    accepted_wh: int
    line: str


def encode_trade_leaf(record: TradeRecord) -> bytes:
    """The canonical bytes that stand as leaf `record.trade_index` under the period's result root."""
    return encode(record.to_value())


def decode_trade_leaf(raw: bytes) -> TradeRecord:
    """Read what `encode_trade_leaf` wrote. Raises the `Malformed` family."""
    fields = expect_array(decode(raw, max_bytes=_MAX_LEAF_BYTES), None, "trade leaf")
    if len(fields) not in (6, 7):
        raise WrongShape(what="trade leaf", detail=f"expected an array of 6 or 7, got one of {len(fields)}")
    period, trade_index, buyer, seller, price_uyuan_per_kwh, volume_wh, *weights = fields
    return TradeRecord(
        period=expect_int(period, "trade period"),
        trade_index=expect_int(trade_index, "trade index"),
        buyer=expect_bytes(buyer, "trade buyer", size=ADDRESS_SIZE),
        seller=expect_bytes(seller, "trade seller", size=ADDRESS_SIZE),
        price_uyuan_per_kwh=expect_int(price_uyuan_per_kwh, "trade price"),
        volume_wh=expect_int(volume_wh, "trade volume"),
        weights=MatchWeights.from_value(weights[0]) if weights else None,
    )


def compute_result_root(records: Sequence[TradeRecord]) -> bytes:
    """RFC 6962 root over the leaves; the root of the empty tree where nothing was traded."""
    return merkle_root([encode_trade_leaf(record) for record in records])


def put_trades(view: Overlay, period: int, records: Sequence[TradeRecord]) -> None:
    """Store a period's trades; their indexes are their places."""
    assert all(record[:2] == (period, index) for index, record in enumerate(records)), period
    view.put(_trades_key(period), tuple([record.to_value()[2:] for record in records]))


def get_trades(view: Overlay, period: int) -> list[TradeRecord]:
    """A period's trades by index, void ones included; none before its gate."""
    rows = cast(tuple[tuple[Any, ...], ...], view.get(_trades_key(period)) or ())
    return [_read_row(period, index, row) for index, row in enumerate(rows)]


def put_curtailments(view: Overlay, period: int, curtailments: Sequence[Curtailment]) -> None:
    """Store what was cut off a period's trades; nothing where they all stand whole."""
    if curtailments:
        view.put(_curtailments_key(period), tuple([tuple(item) for item in curtailments]))


def get_curtailments(view: Overlay, period: int) -> list[Curtailment]:
    """The trades of a period that were cut, by index; none before the verdict."""
    rows = cast(tuple[tuple[int, int, str], ...], view.get(_curtailments_key(period)) or ())
    return [Curtailment._make(row) for row in rows]


def curtail(records: Iterable[TradeRecord], curtailments: Iterable[Curtailment]) -> list[TradeRecord]:
    """The trades at the volumes accepted; those of which nothing is left are gone, the others keep their indexes."""
    accepted_wh = {item.trade_index: item.accepted_wh for item in curtailments}
    if not accepted_wh:
        return list(records)
    kept = (record._replace(volume_wh=accepted_wh.get(record.trade_index, record.volume_wh)) for record in records)
    return [record for record in kept if record.volume_wh]


def get_binding_trades(view: Overlay, period: int) -> list[TradeRecord]:
    """A period's trades as far as its verdict lets them stand; whether they bind at all is the gate's status."""
    return curtail(get_trades(view, period), get_curtailments(view, period))


def drop_trades(view: Overlay, period: int) -> None:
    """Forget a period's trades, and what was cut off them."""
    view.delete(_trades_key(period))
    view.delete(_curtailments_key(period))


def _read_row(period: int, index: int, row: tuple[Any, ...]) -> TradeRecord:
    buyer, seller, price, volume_wh, *weights = row
    parsed = MatchWeights.from_value(weights[0]) if weights else None
    return TradeRecord(period, index, buyer, seller, price, volume_wh, parsed)


def _parse_parameters(value: Value) -> Parameters:
    fields = expect_array(value, len(Parameters._fields), "parameters of a weight")
    return Parameters._make(expect_int(field, "parameter of a weight", high=PPM) for field in fields)


def _trades_key(period: int) -> bytes:
    return _TRADES + period.to_bytes(8, "big")


def _curtailments_key(period: int) -> bytes:
    return _CURTAILMENTS + period.to_bytes(8, "big")
