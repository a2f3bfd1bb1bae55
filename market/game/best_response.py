"""Prices that nobody can gain by changing, by best response: all sellers take the best price against the last ones.

The prices G→C and C→G depend on nobody else's and are found once. That an equilibrium exists is measured, not proved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from market.errors import NotSettled
from market.game.hour import Hour, Prices
from market.game.incomes import UsersMarket, ask_for_rest, ask_for_shortages
from market.game.merit_order import Array, Market, Quotes
from market.game.regret import SETTLED, compute_gains

PRECISION = 1e-11  # yuan/kWh: prices that move by less have settled
_MAX_SWEEPS = 200  # 40 are the rule
_LAST_LOOKED_AT = 20  # sweeps: a cycle is shorter


class Found(NamedTuple):
    """Prices of an hour, by how much the last sweep moved them in yuan/kWh, and their regret."""

    prices: Prices
    step: float
    regret: float

    @property
    def is_settled(self) -> bool:
        """Return True if they stand still, and nobody gains by others."""
        return self.step <= PRECISION and self.regret <= SETTLED


def solve(hour: Hour) -> Prices:
    """The equilibrium of one hour. Raises as `solve_hours`."""
    return solve_hours([hour])[0]


def solve_hours(hours: Sequence[Hour], *, progress: Callable[[int, int], None] | None = None) -> list[Prices]:
    """The equilibrium of each hour; `progress` hears how many have settled, and of how many.

    Hours do not see each other: each gets the prices that it would get alone. Raises `NotSettled`, `NoSupplyMargin`,
    and `BadHour` where they have not equally many companies and bureaus.
    """
    found = search_hours(hours, progress=progress)
    unsettled = [index for index, one in enumerate(found) if not one.is_settled]
    if unsettled:
        index = max(unsettled, key=lambda index: (found[index].step, found[index].regret, -index))
        raise NotSettled(index=index, sweeps=_MAX_SWEEPS, step=found[index].step, regret=found[index].regret)
    return [one.prices for one in found]


def search_hours(hours: Sequence[Hour], *, progress: Callable[[int, int], None] | None = None) -> list[Found]:
    """The same, but where an hour does not settle, the prices of least regret that were found. Else raises as above."""
    if not hours:
        return []
    market = Market.of(hours)
    rest, shortages = ask_for_rest(market).price, ask_for_shortages(market).price
    sellers = UsersMarket.of(market, rest)
    low, high = market.low.to_users(), market.high.to_users()
    trail = [low]
    moves = np.full(len(hours), np.inf)
    for _ in range(_MAX_SWEEPS):
        best = np.where(moves <= PRECISION, trail[-1], sellers.respond(trail[-1], low, high).price)
        moves = abs(best - trail[-1]).max(axis=0, initial=0.0)
        trail = [*trail[1 - _LAST_LOOKED_AT :], best]
        if progress:
            progress(int((moves <= PRECISION).sum()), len(hours))
        if (moves <= PRECISION).all():
            trail = [best]
            break
    quotes = [_join(market, prices, rest, shortages) for prices in trail]
    regrets = np.array([compute_gains(market, one).regret() for one in quotes])
    least = np.where(moves <= PRECISION, len(trail) - 1, regrets.argmin(axis=0))
    prices = [one.split(hours) for one in quotes]
    return [
        Found(prices[place][index], float(moves[index]), float(regrets[place, index]))
        for index, place in enumerate(least)
    ]


def _join(market: Market, to_users: Array, rest: Array, shortages: Array) -> Quotes:
    return Quotes(to_users[: market.companies], rest, to_users[market.companies :], shortages)
