"""The target of a period (text 001, step 8): the game's prices by the forecasts that a dispatcher has, in whole µ¥.

All that is left of generation is one company's, whoever lacks energy is a user, and the grid company is the bureau,
which can serve them all. So its tariffs are the bounds of every price: nobody sells for less or buys for more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from ledger.params import MarketParams
from market.game.hour import DIRECTIONS, Hour, Prices
from market.trading.targets import GamePrices

_UYUAN_PER_YUAN = 1_000_000

Solver: TypeAlias = Callable[[Hour], Prices]


class Expected(NamedTuple):
    """A period as a dispatcher expects it, Wh: what is left of all generation, and what each user lacks."""

    surplus_wh: int
    loads_wh: tuple[int, ...]


def make_hour(expected: Expected, market: MarketParams) -> Hour:
    """The game of a period, within the tariffs of the market. Raises `BadHour`."""
    low, high = market.feed_in_uyuan_per_kwh / _UYUAN_PER_YUAN, market.retail_uyuan_per_kwh / _UYUAN_PER_YUAN
    middle = (low + high) / 2
    return Hour(
        surplus_wh=expected.surplus_wh,
        shortage_wh=0,
        user_load_wh=expected.loads_wh,
        bureau_cost=low,
        value_company=middle,
        value_bureau=middle,
        value_user=middle,
        feed_in=low,
        bounds=dict.fromkeys(DIRECTIONS, (low, high)),
    )


def compute_target(expected: Expected, market: MarketParams, solve: Solver) -> GamePrices:
    """The prices that nobody can gain by changing. Raises `BadHour`, `NoSupplyMargin` or `NotSettled`."""
    prices = solve(make_hour(expected, market))
    low, high = market.feed_in_uyuan_per_kwh, market.retail_uyuan_per_kwh
    return GamePrices(*(min(max(round(prices.of(way)[0] * _UYUAN_PER_YUAN), low), high) for way in DIRECTIONS))
