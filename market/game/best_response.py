"""Prices that nobody can gain by changing, by best response: all sellers take the best price against the last ones.

The prices G→C and C→G depend on nobody else's and are found once. That an equilibrium exists is measured, not proved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from market.errors import NotSettled
from market.game.hour import Hour, Prices
from market.game.incomes import UsersMarket, ask_for_rest, ask_for_shortages
from market.game.merit_order import Array, Market, Quotes
from market.game.regret import compute_gains

PRECISION = 1e-11  # yuan/kWh: prices that move by less have settled
_MAX_SWEEPS = 200  # 40 are the rule
_LAST_LOOKED_AT = 20  # sweeps: a cycle is shorter


def solve(hour: Hour) -> Prices:
    """The equilibrium of one hour. Raises as `solve_hours`."""
    return solve_hours([hour])[0]


def solve_hours(hours: Sequence[Hour], *, progress: Callable[[int, int], None] | None = None) -> list[Prices]:
    """The equilibrium of each hour; `progress` hears how many have settled, and of how many.

    Hours do not see each other: each gets the prices that it would get alone. Raises `NotSettled`, `NoSupplyMargin`,
    and `BadHour` where they have not equally many companies and bureaus.
    """
    if not hours:
        return []
    market = Market.of(hours)
    rest, shortages = ask_for_rest(market).price, ask_for_shortages(market).price
    sellers = UsersMarket.of(market, rest)
    trail = [market.low.to_users()]
    moves = np.full(len(hours), np.inf)
    for _ in range(_MAX_SWEEPS):
        best = np.where(moves <= PRECISION, trail[-1], sellers.respond(trail[-1]).price)
        moves = abs(best - trail[-1]).max(axis=0, initial=0.0)
        trail = [*trail[1 - _LAST_LOOKED_AT :], best]
        if progress:
            progress(int((moves <= PRECISION).sum()), len(hours))
        if (moves <= PRECISION).all():
            return _join(market, best, rest, shortages).split(hours)
    regrets = np.array([compute_gains(market, _join(market, prices, rest, shortages)).regret() for prices in trail])
    index = int(moves.argmax())
    raise NotSettled(index=index, sweeps=_MAX_SWEEPS, step=moves[index], regret=regrets[:, index].min())


def _join(market: Market, to_users: Array, rest: Array, shortages: Array) -> Quotes:
    return Quotes(to_users[: market.companies], rest, to_users[market.companies :], shortages)
