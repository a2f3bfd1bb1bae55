"""Prices that nobody can gain by changing, found by ants: the colonies of text 001, Eqs (14) and (15), one for each.

Every price has a colony of its own. An ant is a place between the price's bounds; a better one brings its own player
more, while all others keep the best prices that their ants have found. (One colony for the whole vector, as the paper
draws it, has no objective: summed over the players, prices only move money.) In an iteration each ant tries one step,

    X + rand · λ                      local, λ = 0.1 · (upper - lower) · (1 - t/T)³, where p < p_0 = 0.2
    X + rand · (upper - lower)/2      global, else                                                            Eq. (15)

rand in [-1, 1], and keeps the better of the two places. p = (τ_max - τ)/τ_max; τ ← (1 - ρ)·τ + quality, which is 0 for
the worst ant and 1 for the best one. ρ is 1 at first and 0.8 of what it was while the best does not improve, at least
0.1: Eq. (14). Then the worst ant restarts where the best one is.

All hours draw the same numbers, so that an hour's prices do not depend on what it is solved with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from market.game.hour import Hour, Prices
from market.game.incomes import UsersMarket, earn_from_rest, earn_from_shortages
from market.game.merit_order import Array, Market, Quotes, Scratch, check_alike

LOCAL_BELOW = 0.2  # p_0
LOCAL_STEP = 0.1
EVAPORATION_FALLS = 0.8
LEAST_EVAPORATION = 0.1

_HOURS_AT_ONCE = 168


def solve(hour: Hour, *, seed: int, ants: int = 35, iterations: int = 200) -> Prices:
    """The prices of one hour. Raises `NoSupplyMargin`."""
    return solve_hours([hour], seed=seed, ants=ants, iterations=iterations)[0]


def solve_hours(
    hours: Sequence[Hour],
    *,
    seed: int,
    ants: int = 35,
    iterations: int = 200,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prices]:
    """The prices of each hour, the same for the same seed; `progress` hears the iteration, and how many there are.

    A week at a time, so that what a call costs is shared out. The regret of what comes out says whether it is solved.
    Raises `NoSupplyMargin`, and `BadHour` where hours have not equally many companies and bureaus.
    """
    assert ants > 0, "a colony without ants finds nothing"
    check_alike(hours)
    found: list[Prices] = []
    starts = range(0, len(hours), _HOURS_AT_ONCE)
    for done, start in enumerate(starts):
        some = hours[start : start + _HOURS_AT_ONCE]
        colonies = _Colonies(Market.of(some), seed, ants)
        for iteration in range(iterations):
            colonies.step(iteration / iterations)
            if progress:
                progress(done * iterations + iteration + 1, len(starts) * iterations)
        found += colonies.best_quotes().split(some)
    return found


class _Colonies:
    """The ants of every price: places, what they bring, pheromone and best, with the axes prices, hours, ants.

    The prices for users come first: they alone depend on others'. What a place of theirs brings is counted again only
    in hours in which a best price has moved since: after the first iterations, in one of ten.
    """

    def __init__(self, market: Market, seed: int, ants: int) -> None:
        companies, bureaus = market.companies, len(market.share)
        self._market, self._ants = market, ants
        self._to_users = companies + bureaus
        self._to_bureaus = self._to_users + companies
        g_to_u, g_to_c, c_to_u, c_to_g = np.split(
            np.arange(2 * self._to_users), [companies, 2 * companies, 2 * companies + bureaus]
        )
        self._draws = np.concatenate([g_to_u, c_to_u, g_to_c, c_to_g])
        self._low, self._high = (np.concatenate([*side])[self._draws, :, None] for side in (market.low, market.high))
        self._width = self._high - self._low
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._places = self._low + self._width * (self._draw() + 1) / 2
        self._income = np.empty_like(self._places)
        self._pheromone = np.zeros_like(self._places)
        self._evaporation = np.ones_like(self._low[..., 0])
        self._best = self._places[..., 0].copy()
        self._firsts = np.arange(0, self._places.size, ants).reshape(self._best.shape)  # of all ants in a row
        self._weigh_apart(self._places, self._income)
        self._hours = self._moved = np.arange(len(market.mu))
        self._sellers = UsersMarket.of(market, self.best_quotes().g_to_c)
        self._cleared: Array | None = None  # where users' markets cleared at each place, in x
        self._scratch = Scratch()

    def _draw(self) -> Array:
        """Numbers in [-1, 1], the same for every hour."""
        drawn: Array = self._generator.uniform(-1, 1, (len(self._draws), 1, self._ants))[self._draws]
        return drawn

    def step(self, elapsed: float) -> None:
        """One iteration, after this part of them: each ant tries a step, and the pheromone follows."""
        most = self._pheromone.max(axis=-1, keepdims=True)
        is_local = self._pheromone > (1 - LOCAL_BELOW) * most
        tried = np.where(is_local, LOCAL_STEP * (1 - elapsed) ** 3 * self._width, 0.5 * self._width)
        tried *= self._draw()
        tried += self._places
        np.maximum(np.minimum(tried, self._high, out=tried), self._low, out=tried)
        brings = np.empty_like(tried)
        self._weigh_for_users(tried, brings)
        self._weigh_apart(tried, brings)
        is_better = brings > self._income
        np.copyto(self._places, tried, where=is_better)
        np.copyto(self._income, brings, where=is_better)
        self._follow()

    def _follow(self) -> None:
        places, income = self._places.reshape(-1), self._income.reshape(-1)
        best, worst = (self._firsts + ant for ant in (self._income.argmax(axis=-1), self._income.argmin(axis=-1)))
        top, least, found = income[best], income[worst], places[best]
        flat = top == least
        quality = self._income - (least - flat)[..., None]
        quality /= (top - least + flat)[..., None]
        self._pheromone *= (1 - self._evaporation)[..., None]
        self._pheromone += quality
        stays = found == self._best
        fallen = np.maximum(EVAPORATION_FALLS * self._evaporation, LEAST_EVAPORATION)
        self._evaporation = np.where(stays, fallen, self._evaporation)
        self._best = found
        places[worst], income[worst] = found, top
        self._moved = np.flatnonzero(~stays[: self._to_bureaus].all(axis=0))
        if not stays[self._to_users : self._to_bureaus].all():
            self._sellers = UsersMarket.of(self._market, self.best_quotes().g_to_c)

    def _weigh_for_users(self, tried: Array, brings: Array) -> None:
        """Count what each step tried brings, all other prices at their best, and each place in hours that have moved.

        A market clears near where it did at the place before the step.
        """
        mine, moved, count = slice(self._to_users), self._moved, len(self._hours)
        hours = np.concatenate([self._hours, moved])
        own = np.concatenate([tried[mine], self._places[mine, moved]], axis=1)
        near = None if self._cleared is None else self._cleared[:, hours]
        income, cleared = self._sellers.take(hours).weigh(self._best[mine, hours], own, near, self._scratch)
        brings[mine], self._income[mine, moved] = income[:, :count], income[:, count:]
        if self._cleared is None:
            self._cleared = np.empty_like(tried[mine])
        self._cleared[:, moved] = cleared[:, count:]
        np.copyto(self._cleared, cleared[:, :count], where=brings[mine] > self._income[mine])

    def _weigh_apart(self, places: Array, income: Array) -> None:
        """The same for the prices that depend on nobody else's."""
        for_rest, for_shortages = slice(self._to_users, self._to_bureaus), slice(self._to_bureaus, None)
        income[for_rest] = earn_from_rest(self._market, places[for_rest])[0]
        income[for_shortages] = earn_from_shortages(self._market, places[for_shortages])[0]

    def best_quotes(self) -> Quotes:
        """The best prices found."""
        ends = [self._market.companies, self._to_users, self._to_bureaus]
        g_to_u, c_to_u, g_to_c, c_to_g = np.split(self._best, ends)
        return Quotes(g_to_u, g_to_c, c_to_u, c_to_g)
