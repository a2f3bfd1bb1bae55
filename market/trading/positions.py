"""Positions: what each member has bought and sold in a session, in ledger state, where a period is traded twice.

They count once the session's trades bind. What a member trades in the intraday session is the change of its position.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

from ledger.hashing import Address
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.trading.gates import get_gate
from market.trading.sessions import list_earlier_gates
from market.trading.trades import TradeRecord

_POSITION = b"market/position/"


class Position(NamedTuple):
    """The energy that a member has bought and sold in one session."""

    bought_wh: int = 0
    sold_wh: int = 0

    @property
    def net_wh(self) -> int:
        return self.bought_wh - self.sold_wh

    def plus(self, bought_wh: int, sold_wh: int) -> Position:
        return Position(self.bought_wh + bought_wh, self.sold_wh + sold_wh)


def sum_up(records: Iterable[TradeRecord]) -> dict[Address, Position]:
    """The position that these trades come to, of each of their members."""
    positions: dict[Address, Position] = {}
    for record in records:
        positions[record.buyer] = positions.get(record.buyer, Position()).plus(record.volume_wh, 0)
        positions[record.seller] = positions.get(record.seller, Position()).plus(0, record.volume_wh)
    return positions


def add_positions(view: Overlay, gate: int, records: Iterable[TradeRecord]) -> None:
    """Count more trades of a session; what was cut off some has negative volumes."""
    for member, position in sum_up(records).items():
        view.put(position_key(gate, member), tuple(get_position(view, gate, member).plus(*position)))


def get_position(view: Overlay, gate: int, member: Address) -> Position:
    """A member's position of one session, whether or not it binds."""
    value = view.get(position_key(gate, member))
    return Position() if value is None else Position._make(cast(tuple[int, int], value))


def get_position_before(view: Overlay, market: MarketParams, gate: int, member: Address) -> int:
    """The Wh that bind a member by the sessions before this one of a period: bought less sold."""
    earlier = list_earlier_gates(market, gate)
    return sum(get_position(view, other, member).net_wh for other in earlier if _binds(view, other))


def drop_positions(view: Overlay, gate: int, records: Iterable[TradeRecord]) -> None:
    """Forget the positions of a session with these trades."""
    for member in sum_up(records):
        view.delete(position_key(gate, member))


def position_key(gate: int, member: Address) -> bytes:
    """The state key of a position, for proofs."""
    return _POSITION + gate.to_bytes(8, "big") + member


def _binds(view: Overlay, gate: int) -> bool:
    record = get_gate(view, gate)
    return record is not None and record.binds
