"""The orders of players and the dispatcher's plans, hour by hour: they follow from a profile and a seed alone.

No two orders of an hour have the same price, so that the trades do not depend on who was first.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from ledger.params import MarketParams
from market.orders import Side
from market.profile import Profile, Reading
from market.strategies.truthful import draw_worth
from market.strategies.view import Tariffs
from node.queries.answers import QuotaInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOrder:
    """The order that a player will place for an hour of the day (0 is the first)."""

    hour: int
    side: Side
    price_uyuan_per_kwh: int
    volume_wh: int


def plan_orders(
    profile: Profile,
    player: str,
    seed: int,
    market: MarketParams,
    hours: int,
    *,
    wheeling_uyuan_per_kwh: int | None = None,
) -> list[PlannedOrder]:
    """One order per hour with a forecast, as the strategy `truthful` has it; wheeling is the market's if none is given.

    Prices are drawn from (seed, player, hour).
    """
    names = [entry.name for entry in profile.players]
    index, count = names.index(player), len(names)
    side = Side.OFFER if profile.players[index].role == "producer" else Side.BID
    tariffs = Tariffs.of(market, wheeling_uyuan_per_kwh)
    plan = []
    for hour in range(hours):
        volume_wh = profile.readings[player, profile.hours_ms[hour]].forecast_wh
        if volume_wh:
            price = draw_worth(make_draws(seed, player, hour), side, tariffs, place=index, players=count)
            plan.append(PlannedOrder(hour=hour, side=side, price_uyuan_per_kwh=price, volume_wh=volume_wh))
    return plan


def refresh_forecast(reading: Reading) -> int:
    """A synthetic forecast of an hour for its intraday session, Wh: half of what the day-ahead one missed is seen.

    No data has it: a profile has one forecast an hour, and what was metered (`configs/profiles/README.md`).
    """
    return (reading.forecast_wh + reading.actual_wh) // 2


def make_draws(seed: int, player: str, hour: int, look: int = 0) -> random.Random:
    """The draws of a player's prices of an hour; seeding with text hashes it the same way everywhere."""
    return random.Random(f"{seed}/{player}/{hour}" + (f"/{look}" if look else ""))


def plan_lines(profile: Profile, positions: Mapping[str, str], hour: int) -> tuple[tuple[str, int, int], ...]:
    """(line, load, output) in Wh: what the players on each line are forecast to use and to make in an hour."""
    planned: dict[str, tuple[int, int]] = {}
    for player in profile.players:
        forecast_wh = profile.readings[player.name, profile.hours_ms[hour]].forecast_wh
        load_wh, output_wh = planned.get(positions[player.name], (0, 0))
        if player.role == "producer":
            output_wh += forecast_wh
        else:
            load_wh += forecast_wh
        planned[positions[player.name]] = load_wh, output_wh
    return tuple((line, load_wh, output_wh) for line, (load_wh, output_wh) in sorted(planned.items()))


def limit_to_quota(order: PlannedOrder, quota: QuotaInfo, line: str) -> int:
    """The part of an order's volume that its line may trade at all on that side, in Wh."""
    for row in quota.lines:
        if row.line == line:
            return min(order.volume_wh, row.demand_wh if order.side == Side.BID else row.supply_wh)
    return 0
