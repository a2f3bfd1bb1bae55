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
from itertools import pairwise

import numpy as np

from market.game.hour import Hour, Prices
from market.game.incomes import UsersMarket, earn_from_rest, earn_from_shortages
from market.game.merit_order import Array, Market, Quotes, check_alike

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
    """The ants of every price: places, pheromone and best, with the axes prices, hours, ants.

    The places and the steps tried from them lie beside each other, so that both are weighed at once.
    """

    def __init__(self, market: Market, seed: int, ants: int) -> None:
        self._market = market
        companies, bureaus = market.companies, len(market.share)
        ends = (0, companies, 2 * companies, 2 * companies + bureaus, 2 * (companies + bureaus))
        self._sides = [slice(*pair) for pair in pairwise(ends)]
        self._low, self._high = (np.concatenate([*side])[..., None] for side in (market.low, market.high))
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._ants = ants
        places = self._low + (self._high - self._low) * (self._draw() + 1) / 2
        self._both = np.concatenate([places, places], axis=-1)
        self._pheromone = np.zeros_like(places)
        self._quality = np.empty_like(places)
        self._evaporation = np.ones_like(self._low)
        self._best = places[..., :1].copy()
        self._income = np.empty_like(self._both)
        self._weigh_apart(places, self._income[..., :ants])
        self._sellers = [*range(companies), *range(2 * companies, 2 * companies + bureaus)]
        self._near: Array | None = None  # where users' markets cleared when ants were weighed last
        self._rows = np.ogrid[: places.shape[0], : places.shape[1], :1][:2]

    def _draw(self) -> Array:
        """Numbers in [-1, 1], the same for every hour."""
        return self._generator.uniform(-1, 1, (len(self._low), 1, self._ants))

    def step(self, elapsed: float) -> None:
        """One iteration, after this part of them: each ant tries a step, and the pheromone follows."""
        places, tried = self._both[..., : self._ants], self._both[..., self._ants :]
        width = self._high - self._low
        most = self._pheromone.max(axis=-1, keepdims=True)
        is_local = self._pheromone > (1 - LOCAL_BELOW) * most
        np.multiply(np.where(is_local, LOCAL_STEP * (1 - elapsed) ** 3 * width, 0.5 * width), self._draw(), out=tried)
        tried += places
        np.maximum(np.minimum(tried, self._high, out=tried), self._low, out=tried)
        self._weigh(tried)
        here, there = self._income[..., : self._ants], self._income[..., self._ants :]
        np.copyto(places, tried, where=there > here)
        np.maximum(here, there, out=here)
        self._follow(places, here)

    def _follow(self, places: Array, income: Array) -> None:
        best, worst = ((*self._rows, ant[..., None]) for ant in (income.argmax(axis=-1), income.argmin(axis=-1)))
        top, least = income[best], income[worst]
        self._pheromone *= 1 - self._evaporation
        flat = (top == least).astype(float)
        quality = np.subtract(income, least, out=self._quality)
        quality += flat
        quality /= top - least + flat
        self._pheromone += quality
        found = places[best]
        fallen = np.maximum(EVAPORATION_FALLS * self._evaporation, LEAST_EVAPORATION)
        self._evaporation = np.where(found == self._best, fallen, self._evaporation)
        self._best = found
        places[worst], income[worst] = found, top

    def _weigh(self, tried: Array) -> None:
        """Count what each place on the users' market, and each step tried, brings, all other prices at their best."""
        market, best = self._market, self.best_quotes()
        g_to_u, _, c_to_u, _ = self._sides
        sellers = UsersMarket.of(market, best.g_to_c)
        to_users, near = sellers.weigh(best.to_users(), self._both[self._sellers], self._near)
        near[..., self._ants :] = near[..., : self._ants]
        self._near = near
        self._income[g_to_u], self._income[c_to_u] = to_users[: market.companies], to_users[market.companies :]
        self._weigh_apart(tried, self._income[..., self._ants :])

    def _weigh_apart(self, places: Array, income: Array) -> None:
        """The same for the prices that depend on nobody else's: what a place brings does not change."""
        _, g_to_c, _, c_to_g = self._sides
        income[g_to_c] = earn_from_rest(self._market, places[g_to_c])[0]
        income[c_to_g] = earn_from_shortages(self._market, places[c_to_g])[0]

    def best_quotes(self) -> Quotes:
        """The best prices found."""
        return Quotes(*(self._best[side, :, 0] for side in self._sides))
