"""The values that clearing works on: orders in, trades out. Pure data, no rules."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from ledger.hashing import Address


class Side(IntEnum):
    """The side of the book that an order stands on."""

    BID = 0
    OFFER = 1


class Order(NamedTuple):
    """A limit order for one period. A named tuple: books hold many, a frozen dataclass is slower to make."""

    order_id: int  # unique in the book
    owner: Address
    side: Side | int
    price_uyuan_per_kwh: int
    volume_wh: int
    placed_at: int  # a position, not a time: every node must sort alike


class Trade(NamedTuple):
    """One bid and one offer that met: the agreed volume and the price both pay or get for it."""

    bid_id: int
    offer_id: int
    buyer: Address
    seller: Address
    price_uyuan_per_kwh: int
    volume_wh: int
