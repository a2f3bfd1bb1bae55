"""The trades that a gate closure produced: one state value per gate, and the Merkle leaves members certify.

Owns `TradeRecord`, its leaf bytes, the result root over a gate's leaves, and what the scheduling chain has cut off
the trades that its lines cannot carry.

A leaf is a match as text 000 (section 4.2, step 4) has the nodes tell it, ⟨TradeResult, ID, t, q, l, p, w⟩. The text
leaves open to which member these fields belong; "the information about successful matching" is about two, so a record
has both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_str
from ledger.errors import TooLarge, WrongShape
from ledger.hashing import ADDRESS_SIZE, Address
from ledger.merkle import merkle_root
from ledger.overlay import Overlay
from market.credit.score import PPM
from market.trading.matching_weight import WeightInputs
from market.trading.pages import PAGE_ROWS, append_rows, drop_rows, get_rows

_TRADES = b"market/trades/"
_CURTAILMENTS = b"market/curtailed/"
_MAX_LEAF_BYTES = 1_024
_new_tuple = tuple.__new__  # makes a record without its constructor


class Party(NamedTuple):
    """One side of a match as it stood at the gate: the paper's ID, t, q and l, and what made its weight."""

    order_id: int  # ID
    node_type: str  # t: the member's role
    credit_upt: int  # q
    position: str  # l
    contributions: WeightInputs  # what each parameter of Table 1 added to the weight, in the whole book

    @property
    def weight_ppm(self) -> int:
        return sum(self.contributions)

    def to_value(self) -> Value:
        return (*self[:4], self.contributions[:])

    @classmethod
    def from_value(cls, value: Value) -> Party:
        """Raises `WrongShape`."""
        order_id, node_type, credit_upt, position, contributions = expect_array(value, 5, "party to a trade")
        return cls(
            expect_int(order_id, "order id"),
            expect_str(node_type, "node type"),
            expect_int(credit_upt, "credit"),
            expect_str(position, "position"),
            _parse_parameters(contributions),
        )


class Match(NamedTuple):
    """The two sides of a trade.

    Where merit decides, the bid's weight said when it had its turn, and the offer's that it was chosen; under other
    rules weights are computed and decide nothing. In step 4 of §4.2 it is the node that looks for a partner that
    computes and chooses, so the paper's w, "the weight of successful matching", is the chosen offer's.
    """

    bid: Party
    offer: Party

    @property
    def w_ppm(self) -> int:
        return self.offer.weight_ppm

    def to_value(self) -> Value:
        return (self.bid.to_value(), self.offer.to_value())

    @classmethod
    def from_value(cls, value: Value) -> Match:
        """Raises `WrongShape`."""
        bid, offer = expect_array(value, 2, "match")
        return cls(Party.from_value(bid), Party.from_value(offer))


class TradeRecord(NamedTuple):
    """Trade `trade_index` of a gate, in the order the matching produced it: the paper's TradeResult."""

    gate: int
    trade_index: int
    buyer: Address
    seller: Address
    price_uyuan_per_kwh: int
    volume_wh: int
    match: Match | None = None  # None in what a scheduling chain is told of a trade

    @property
    def terms(self) -> tuple[Value, ...]:
        """The trade without what made it."""
        return self[:6]

    def to_value(self) -> tuple[Value, ...]:
        return self[:6] if self.match is None else (*self[:6], self.match.to_value())

    @classmethod
    def from_value(cls, value: Value) -> TradeRecord:
        """Raises `WrongShape`."""
        fields = expect_array(value, None, "trade leaf")
        if len(fields) not in (6, 7):
            raise WrongShape(what="trade leaf", detail=f"expected an array of 6 or 7, got one of {len(fields)}")
        gate, trade_index, buyer, seller, price_uyuan_per_kwh, volume_wh, *match = fields
        return cls(
            gate=expect_int(gate, "trade period"),
            trade_index=expect_int(trade_index, "trade index"),
            buyer=expect_bytes(buyer, "trade buyer", size=ADDRESS_SIZE),
            seller=expect_bytes(seller, "trade seller", size=ADDRESS_SIZE),
            price_uyuan_per_kwh=expect_int(price_uyuan_per_kwh, "trade price"),
            volume_wh=expect_int(volume_wh, "trade volume"),
            match=Match.from_value(match[0]) if match else None,
        )


class Curtailment(NamedTuple):
    """A trade that is executed in part or not at all, and the line whose capacity is the reason."""

    trade_index: int
    accepted_wh: int
    line: str


def encode_trade_leaf(record: TradeRecord) -> bytes:
    """The canonical bytes that stand as leaf `record.trade_index` under the gate's result root."""
    return encode(record.to_value())


def decode_trade_leaf(raw: bytes) -> TradeRecord:
    """Read what `encode_trade_leaf` wrote. Raises the `Malformed` family."""
    return TradeRecord.from_value(decode(raw, max_bytes=_MAX_LEAF_BYTES))


def read_trade(value: Value) -> TradeRecord:
    """Read a trade that a message brings, no larger than its leaf may be. Raises `TooLarge` or `WrongShape`."""
    size = len(encode(value))
    if size > _MAX_LEAF_BYTES:
        raise TooLarge(what="trade leaf", actual=size, limit=_MAX_LEAF_BYTES)
    return TradeRecord.from_value(value)


def compute_result_root(records: Sequence[TradeRecord]) -> bytes:
    """RFC 6962 root over the leaves; the root of the empty tree where nothing was traded."""
    return merkle_root([encode_trade_leaf(record) for record in records])


def put_trades(view: Overlay, gate: int, records: Sequence[TradeRecord]) -> None:
    """Store a gate's trades; their indexes are their places."""
    assert all(record[:2] == (gate, index) for index, record in enumerate(records)), gate
    view.put(_trades_key(gate), tuple([record.to_value()[2:] for record in records]))


def add_trades(view: Overlay, gate: int, records: Sequence[TradeRecord]) -> None:
    """Store some more of a gate's trades, in pages; their indexes go on from those before.

    What made them has pages of its own, so that the terms are soon read.
    """
    count = cast(int, view.get(_trades_key(gate)) or 0)
    rows = [record.to_value()[2:] for record in records]
    append_rows(view, _matches_name(gate), count, [row[4:] for row in rows])
    count = append_rows(view, _terms_name(gate), count, [row[:4] for row in rows])
    view.put(_trades_key(gate), count)


def get_trades(view: Overlay, gate: int) -> list[TradeRecord]:
    """A gate's trades by index, void ones included; none before it is closed."""
    rows: Iterable[tuple[Any, ...]] = _get_rows(view, gate)
    count = view.get(_trades_key(gate))
    if isinstance(count, int):
        matches = get_rows(view, _matches_name(gate), count)
        rows = [(*terms, *match) for terms, match in zip(rows, matches, strict=True)]
    return [_read_row(gate, index, row) for index, row in enumerate(rows)]


def get_terms(view: Overlay, gate: int, *, first_page: int = 0) -> list[TradeRecord]:
    """The same without what made them; where they are in pages, from one of them on."""
    rows = _get_rows(view, gate, first_page)
    first = first_page * PAGE_ROWS
    return [_new_tuple(TradeRecord, (gate, index, *row[:4], None)) for index, row in enumerate(rows, start=first)]


def put_curtailments(view: Overlay, gate: int, curtailments: Sequence[Curtailment]) -> None:
    """Store what was cut off a gate's trades; nothing where they all stand whole."""
    if curtailments:
        view.put(_curtailments_key(gate), tuple([tuple(item) for item in curtailments]))


def get_curtailments(view: Overlay, gate: int) -> list[Curtailment]:
    """The trades of a gate that were cut, by index; none before the verdict."""
    rows = cast(tuple[tuple[int, int, str], ...], view.get(_curtailments_key(gate)) or ())
    return [Curtailment._make(row) for row in rows]


def curtail(records: Iterable[TradeRecord], curtailments: Iterable[Curtailment]) -> list[TradeRecord]:
    """The trades at the volumes accepted; those of which nothing is left are gone, the others keep their indexes."""
    accepted_wh = {item.trade_index: item.accepted_wh for item in curtailments}
    if not accepted_wh:
        return list(records)
    kept = (record._replace(volume_wh=accepted_wh.get(record.trade_index, record.volume_wh)) for record in records)
    return [record for record in kept if record.volume_wh]


def get_binding_trades(view: Overlay, gate: int) -> list[TradeRecord]:
    """A gate's trades as far as its verdict lets them stand; whether they bind at all is its status."""
    return curtail(get_trades(view, gate), get_curtailments(view, gate))


def get_binding_terms(view: Overlay, gate: int) -> list[TradeRecord]:
    """The same without what made them."""
    return curtail(get_terms(view, gate), get_curtailments(view, gate))


def drop_trades(view: Overlay, gate: int) -> None:
    """Forget a gate's trades, and what was cut off them."""
    count = view.get(_trades_key(gate))
    if isinstance(count, int):
        drop_rows(view, _terms_name(gate), count)
        drop_rows(view, _matches_name(gate), count)
    view.delete(_trades_key(gate))
    view.delete(_curtailments_key(gate))


def _get_rows(view: Overlay, gate: int, first_page: int = 0) -> Sequence[tuple[Any, ...]]:
    """The trades' rows: one value, or the terms alone, in pages, of which the value says how many there are."""
    value = cast(tuple[tuple[Any, ...], ...] | int, view.get(_trades_key(gate)) or ())
    return get_rows(view, _terms_name(gate), value, first_page=first_page) if isinstance(value, int) else value


def _read_row(gate: int, index: int, row: tuple[Any, ...]) -> TradeRecord:
    buyer, seller, price, volume_wh, *match = row
    return TradeRecord(gate, index, buyer, seller, price, volume_wh, Match.from_value(match[0]) if match else None)


def _parse_parameters(value: Value) -> WeightInputs:
    fields = expect_array(value, len(WeightInputs._fields), "parameters of a weight")
    return WeightInputs._make(expect_int(field, "parameter of a weight", high=PPM) for field in fields)


def _trades_key(gate: int) -> bytes:
    return _TRADES + gate.to_bytes(8, "big")


def _terms_name(gate: int) -> bytes:
    return b"terms/" + gate.to_bytes(8, "big")


def _matches_name(gate: int) -> bytes:
    return b"matches/" + gate.to_bytes(8, "big")


def _curtailments_key(gate: int) -> bytes:
    return _CURTAILMENTS + gate.to_bytes(8, "big")
