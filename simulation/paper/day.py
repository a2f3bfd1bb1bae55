"""A market day in plain functions: clear every hour, read the meters, score. What a central operator would compute.

Also holds the one assumption about behaviour by which credit could prevent breaches; nothing applies it unasked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ledger.params import MarketParams
from market.credit.score import FULL_CREDIT_UPT, PPM, CreditRecord, assess_delivery, weigh_delivery
from market.orders import Order, Side
from market.profile import Profile
from market.settlement import spread
from market.trading.clearing import match_price_time
from simulation.world.networks import key_of

SERIOUS_UPT = 95_000_000  # a delivery that scores less is counted as a serious breach


class PlayerOrder(NamedTuple):
    """A player's order for an hour of the day (0 is the first)."""

    player: str
    hour: int
    side: Side
    price_uyuan_per_kwh: int
    volume_wh: int


class DeliveredTrade(NamedTuple):
    """A trade and what the meters showed of it: each side's reading, spread over its trades of the hour (Wh)."""

    hour: int
    buyer: str
    seller: str
    price_uyuan_per_kwh: int
    agreed_wh: int
    consumption_wh: int
    output_wh: int

    @property
    def traded_wh(self) -> int:
        return min(self.consumption_wh, self.output_wh)

    @property
    def shortfalls_wh(self) -> tuple[int, int]:
        """By how much the buyer took and the seller made less than agreed, 0 where they did not."""
        return max(0, self.agreed_wh - self.consumption_wh), max(0, self.agreed_wh - self.output_wh)

    def scores(self, market: MarketParams) -> tuple[tuple[str, int], ...]:
        """(player, micro-points) of the buyer and the seller: Eqs (1), (2) and (12) of text 000."""
        factor_ppm = market.natural_factor_ppm
        return (
            (self.buyer, assess_delivery(self.consumption_wh, self.agreed_wh)),
            (self.seller, assess_delivery(self.output_wh, self.agreed_wh, natural_factor_ppm=factor_ppm)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketDay:
    """All trades of a day. Every trade is two deliveries; one that is short of what was agreed is a breach."""

    hours: int
    trades: tuple[DeliveredTrade, ...]
    serious_breaches: int  # that score less than 95 points
    credits_upt: Mapping[str, int]  # by player, when the last hour is settled

    @property
    def deliveries(self) -> int:
        return 2 * len(self.trades)

    @property
    def breaches(self) -> int:
        return sum(short_wh > 0 for trade in self.trades for short_wh in trade.shortfalls_wh)

    @property
    def agreed_wh(self) -> int:
        return sum(trade.agreed_wh for trade in self.trades)

    @property
    def traded_wh(self) -> int:
        return sum(trade.traded_wh for trade in self.trades)

    @property
    def short_wh(self) -> int:
        """The shortfalls of buyers and sellers together."""
        return sum(sum(trade.shortfalls_wh) for trade in self.trades)

    @property
    def short_ppm(self) -> int:
        """Of what both sides together had promised."""
        return self.short_wh * PPM // (2 * self.agreed_wh) if self.agreed_wh else 0

    def short_wh_by_hour(self) -> list[int]:
        short_wh = [0] * self.hours
        for trade in self.trades:
            short_wh[trade.hour] += sum(trade.shortfalls_wh)
        return short_wh


def run_day(profile: Profile, orders: Iterable[PlayerOrder], market: MarketParams, *, shade: bool = False) -> MarketDay:
    """Clear and deliver every hour of the profile. At most one order per player and hour.

    With `shade` — an assumption, off by default — every player promises, instead of its forecast, the share of it that
    its credit says it has delivered so far: volume · C/100, rounded down, from its first score on. An hour's orders
    know the scores of hours settled by the time its market opens, `compute_lag` hours before.
    """
    by_hour: dict[int, list[PlayerOrder]] = {}
    for order in orders:
        by_hour.setdefault(order.hour, []).append(order)
    lag = compute_lag(market)
    records = {
        player.name: CreditRecord(initial_upt=market.initial_credit_upt, initial_weight=market.initial_weight)
        for player in profile.players
    }
    days: list[list[DeliveredTrade]] = []
    for hour in range(len(profile.hours_ms)):
        if hour >= lag:
            _score(records, days[hour - lag], market)
        placed = [_shade(order, records[order.player]) if shade else order for order in by_hour.get(hour, [])]
        days.append(deliver(profile, hour, clear_hour(profile, placed)))
    for trades in days[-lag:]:
        _score(records, trades, market)
    return summarise(len(profile.hours_ms), [trade for trades in days for trade in trades], records, market)


def compute_lag(market: MarketParams) -> int:
    """The number of hours an hour must lie back for its scores to be known when this one's market opens."""
    return -(-(market.open_ppm + market.settle_ppm) // PPM)


def summarise(
    hours: int, trades: Sequence[DeliveredTrade], records: Mapping[str, CreditRecord], market: MarketParams
) -> MarketDay:
    scores = [score_upt for trade in trades for _, score_upt in trade.scores(market)]
    return MarketDay(
        hours=hours,
        trades=tuple(trades),
        serious_breaches=sum(score_upt < SERIOUS_UPT for score_upt in scores),
        credits_upt={name: record.credit_upt for name, record in records.items()},
    )


class AgreedTrade(NamedTuple):
    """One trade that a gate closure agreed between two players."""

    buyer: str
    seller: str
    price_uyuan_per_kwh: int
    volume_wh: int


def clear_hour(profile: Profile, orders: Iterable[PlayerOrder]) -> list[AgreedTrade]:
    """Match an hour's orders by price and time, as the chain's contract does; orders without volume are dropped."""
    names = [player.name for player in profile.players]
    owners = {key_of(name).address: name for name in names}
    addresses = {name: address for address, name in owners.items()}
    book = [
        Order(
            names.index(order.player),
            addresses[order.player],
            order.side,
            order.price_uyuan_per_kwh,
            order.volume_wh,
            names.index(order.player),
        )
        for order in orders
        if order.volume_wh
    ]
    return [
        AgreedTrade(owners[trade.buyer], owners[trade.seller], trade.price_uyuan_per_kwh, trade.volume_wh)
        for trade in match_price_time(book)
    ]


def deliver(profile: Profile, hour: int, trades: Sequence[AgreedTrade]) -> list[DeliveredTrade]:
    """Spread the hour's metered energy over its trades."""
    actual_wh = {
        player.name: profile.readings[player.name, profile.hours_ms[hour]].actual_wh for player in profile.players
    }
    agreed_wh = [trade.volume_wh for trade in trades]
    consumption_wh = spread(actual_wh, [trade.buyer for trade in trades], agreed_wh)
    output_wh = spread(actual_wh, [trade.seller for trade in trades], agreed_wh)
    return [
        DeliveredTrade(hour, *trade, consumed, produced)
        for trade, consumed, produced in zip(trades, consumption_wh, output_wh, strict=True)
    ]


def _score(records: dict[str, CreditRecord], trades: Iterable[DeliveredTrade], market: MarketParams) -> None:
    for trade in trades:
        for name, score_upt in trade.scores(market):
            records[name] = records[name].add(score_upt, weigh_delivery(trade.agreed_wh, market.score_unit_wh))


def _shade(order: PlayerOrder, record: CreditRecord) -> PlayerOrder:
    if not record.score_count:
        return order
    return order._replace(volume_wh=order.volume_wh * record.credit_upt // FULL_CREDIT_UPT)


# --- the central mode ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralMode:
    """The day with one operator: its messages, and how long after each hour's delivery it is settled, in hours."""

    orders: int
    confirmations: int
    readings: int
    invoices: int
    settled_after_hours: tuple[int, ...]

    @property
    def messages(self) -> int:
        return self.orders + self.confirmations + self.readings + self.invoices


def run_centrally(profile: Profile, orders: Sequence[PlayerOrder]) -> CentralMode:
    """Trade the day at one operator, and count its messages.

    Every order and meter reading is one message to the operator; every order is answered by one that confirms what it
    traded; at the end of the day every player gets one invoice. The operator takes no time to compute.
    """
    hours = len(profile.hours_ms)
    return CentralMode(
        orders=len(orders),
        confirmations=len(orders),
        readings=hours * len(profile.players),
        invoices=len(profile.players),
        settled_after_hours=tuple(hours - 1 - hour for hour in range(hours)),
    )
