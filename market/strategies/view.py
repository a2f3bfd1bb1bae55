"""A player's view of a period that it is asked about: its own affairs, and what the market has made public.

Energy in Wh, prices in µ¥ per kWh, money in µ¥, all whole numbers. Nothing of it is another player's secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ledger.params import MarketParams
from market.orders import Side
from market.strategies.storage import Storage


class Tariffs(NamedTuple):
    """The grid company's prices: what it sells for, what it buys for, and what comes on top of a trade's price."""

    retail_uyuan_per_kwh: int
    feed_in_uyuan_per_kwh: int
    wheeling_uyuan_per_kwh: int

    @classmethod
    def of(cls, market: MarketParams, wheeling_uyuan_per_kwh: int | None = None) -> Tariffs:
        """Those of a chain, with its own wheeling where none is given."""
        wheeling = market.wheeling_uyuan_per_kwh if wheeling_uyuan_per_kwh is None else wheeling_uyuan_per_kwh
        return cls(market.retail_uyuan_per_kwh, market.feed_in_uyuan_per_kwh, wheeling)

    @property
    def ceiling_uyuan_per_kwh(self) -> int:
        """The price above which a buyer is better off with the grid company."""
        return self.retail_uyuan_per_kwh - self.wheeling_uyuan_per_kwh

    def clamp(self, price_uyuan_per_kwh: int) -> int:
        """The nearest price in the interest of both sides: from feed-in to the ceiling."""
        return max(self.feed_in_uyuan_per_kwh, min(price_uyuan_per_kwh, self.ceiling_uyuan_per_kwh))


class PublicTrade(NamedTuple):
    """A trade as all know it; its parties are addresses or names."""

    buyer: bytes | str | None
    seller: bytes | str | None
    price_uyuan_per_kwh: int
    volume_wh: int


class Outcome(NamedTuple):
    """The public outcome of an earlier gate: its mean price by volume, None without trades, and its volume."""

    period: int
    price_uyuan_per_kwh: int | None
    volume_wh: int

    @classmethod
    def of(cls, period: int, trades: Iterable[PublicTrade]) -> Outcome:
        """The outcome of these trades; the mean is rounded down."""
        value = volume_wh = 0
        for trade in trades:
            value += trade.price_uyuan_per_kwh * trade.volume_wh
            volume_wh += trade.volume_wh
        return cls(period, value // volume_wh if volume_wh else None, volume_wh)


class OwnOrder(NamedTuple):
    """An order of one's own that stands on the book."""

    order_id: int
    side: Side
    price_uyuan_per_kwh: int
    volume_wh: int


class OwnTrade(NamedTuple):
    """A trade of one's own, and on which side of it."""

    period: int
    side: Side
    price_uyuan_per_kwh: int
    volume_wh: int


def list_own_trades(period: int, trades: Iterable[PublicTrade], player: bytes | str) -> list[OwnTrade]:
    """The trades of one party, a purchase before a sale where it is both."""
    return [
        OwnTrade(period, side, trade.price_uyuan_per_kwh, trade.volume_wh)
        for trade in trades
        for side, party in ((Side.BID, trade.buyer), (Side.OFFER, trade.seller))
        if party == player
    ]


class Depth(NamedTuple):
    """One side of a book as it stands: its best price, None where it is empty, and the volume of all its orders."""

    best_uyuan_per_kwh: int | None = None
    volume_wh: int = 0


NO_ORDERS = Depth()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One period in the eyes of one player, at the time when it may order."""

    player: str
    period: int
    generation_wh: int
    """One's own forecast."""
    load_wh: int
    tariffs: Tariffs
    bid_limit_wh: int
    """The most that one may buy: 0 where one's role forbids it, else what line and registration allow."""
    offer_limit_wh: int
    place: int
    """One's own place among the players, from 0, and their number: who orders by it has a price of its own."""
    players: int
    position_wh: int = 0
    """The Wh that one has bought less those one has sold in an earlier session of the period."""
    balance_uyuan: int = 0
    credit_upt: int = 0
    storage: Storage | None = None
    """One's battery as it will stand when the period begins."""
    target_uyuan_per_kwh: int | None = None
    """The price that a dispatcher has committed to for the period, where one has."""
    bids: Depth = NO_ORDERS
    offers: Depth = NO_ORDERS
    earlier: tuple[Outcome, ...] = ()
    """The latest gates, as many as the strategy looks back on, oldest first."""
    own_orders: tuple[OwnOrder, ...] = ()
    own_trades: tuple[OwnTrade, ...] = ()
    """One's trades of the same gates."""

    @property
    def surplus_wh(self) -> int:
        """The rest of one's own generation, and of what one has bought."""
        return max(0, self.generation_wh - self.load_wh + self.position_wh)

    @property
    def shortage_wh(self) -> int:
        """The part of one's load, and of what one has sold, that it does not cover."""
        return max(0, self.load_wh - self.generation_wh - self.position_wh)

    @property
    def prices(self) -> tuple[int, ...]:
        """The mean prices of earlier gates that have traded, oldest first."""
        return tuple(one.price_uyuan_per_kwh for one in self.earlier if one.price_uyuan_per_kwh is not None)
