"""Incomes as a seller sees them: what a price of its own brings, the others' given; and the price that brings most.

A company sells what users leave to bureaus and the grid: a kWh sold to a user costs it what that kWh would have brought
there. A bureau has its generation cost and pays the subsidy, and buys the less of a company the more of its surplus
users take. So on the users' market every seller i has, up to what its price does not change,

    (P - cost_i - s_i·P²)·q_i - Σ over companies k of spill_ik·q_k

The prices G→C and C→G depend on nobody else's: a company asks what its rest brings most at, whatever the rest is.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import NamedTuple, TypeAlias

import numpy as np

from market.game.merit_order import Array, Cleared, Indices, Market, Scratch, Sides, choose

Earn: TypeAlias = Callable[[Array], tuple[Array, Array]]  # own prices to incomes and their derivatives

_CELL = 0.3  # of μ: two peaks of an income are further apart
_PRECISION = 1e-13  # yuan/kWh
_MAX_STEPS = 100


class Best(NamedTuple):
    """The price that brings most, and what it brings."""

    price: Array
    income: Array


# --- what a price brings ----------------------------------------------------------------------------


def earn_from_rest(market: Market, price: Array) -> tuple[Array, Array]:
    """Yuan per kWh that users leave a company (companies, hours, candidates), and the derivative by its price G→C."""
    mu, feed_in = market.mu[:, None], market.feed_in[:, None]
    chance = choose(market.value_bureau[:, None, :, None] - price, mu)  # (bureaus, companies, hours, candidates)
    share = market.share[:, None, :, None]
    sold = (share * chance).sum(axis=0)
    bend = (share * chance * (1 - chance)).sum(axis=0) / mu
    return feed_in + (price - feed_in) * sold, sold - (price - feed_in) * bend


def earn_from_shortages(market: Market, price: Array) -> tuple[Array, Array]:
    """Yuan that shortages bring a bureau (bureaus, hours, candidates), and the derivative by its price C→G."""
    mu, phi, subsidy = market.mu[:, None], market.phi[:, None], market.subsidy[:, None]
    lacked = market.shortage[:, None, :, None] * market.share[:, :, None]  # (companies, bureaus, hours, 1)
    chance = choose(market.value_company[:, None, :, None] - price, mu)
    bought = (lacked * (1 - phi + phi * chance)).sum(axis=0)
    bend = (lacked * phi * chance * (1 - chance)).sum(axis=0) / mu
    margin = price - market.cost[:, :, None] - subsidy * price * price
    return margin * bought, (1 - 2 * subsidy * price) * bought - margin * bend


class UsersMarket(NamedTuple):
    """The sellers on the users' market, companies and then bureaus, given what companies ask of bureaus."""

    sides: Sides
    cost: Array  # (sellers, hours)
    subsidy: Array
    spill: Array  # (companies, bureaus, hours)

    @classmethod
    def of(cls, market: Market, g_to_c: Array) -> UsersMarket:
        rest, _ = earn_from_rest(market, g_to_c[..., None])
        gain = market.value_bureau - g_to_c[:, None]
        subsidy = np.zeros_like(market.capacity)
        subsidy[market.companies :] = market.subsidy
        return cls(
            sides=market.sides,
            cost=np.concatenate([rest[..., 0], market.cost]),
            subsidy=subsidy,
            spill=market.share * gain * choose(gain, market.mu),
        )

    def take(self, hours: Indices) -> UsersMarket:
        """That of these hours, any of them several times."""
        sides, *parts = self
        return UsersMarket(sides.take(hours), *(part[..., hours] for part in parts))

    def weigh(self, prices: Array, own: Array, near: Array | None, scratch: Scratch) -> tuple[Array, Array]:
        """Each seller's income by its own candidates (sellers, hours, candidates), and the x at which it clears."""
        cleared = self.sides.deviate(prices, own, near, scratch)
        return self._count(own, cleared), cleared.x

    def earn(self, prices: Array, own: Array) -> tuple[Array, Array]:
        """The same, and the derivative by the seller's own price."""
        mu, companies, subsidy = self.sides.mu[:, None], len(self.spill), self.subsidy[..., None]
        cleared = self.sides.deviate(prices, own)
        slopes, rises = self.sides.differentiate(cleared)
        sold, slope, rise = map(cleared.at_own_prices, (cleared.sold, slopes, rises))
        margin = own - self.cost[..., None] - subsidy * own * own
        derivative = (1 - 2 * subsidy * own) * sold - margin * slope * (1 - rise) / mu
        by_rivals = (self.spill[..., None] * slopes[:companies, companies:]).sum(axis=0)
        derivative[companies:] -= by_rivals * rise[companies:] / mu
        return self._count(own, cleared), derivative

    def _count(self, own: Array, cleared: Cleared) -> Array:
        companies = len(self.spill)
        margin = own - self.cost[..., None] - self.subsidy[..., None] * own * own
        income = margin * cleared.at_own_prices(cleared.sold)
        income[companies:] -= (self.spill[..., None] * cleared.sold[:companies, companies:]).sum(axis=0)
        return income

    def respond(self, prices: Array, low: Array, high: Array) -> Best:
        """Each seller's best price within these bounds while the others stay."""
        return find_best(lambda own: self.earn(prices, own), low, high, self.sides.mu)


# --- the price that brings most ----------------------------------------------------------------------


def ask_for_rest(market: Market) -> Best:
    """The price G→C at which a kWh that users leave brings a company most, and what it brings."""
    return find_best(lambda price: earn_from_rest(market, price), market.low.g_to_c, market.high.g_to_c, market.mu)


def ask_for_shortages(market: Market) -> Best:
    """The price C→G at which shortages bring a bureau most, and what they bring."""
    return find_best(lambda price: earn_from_shortages(market, price), market.low.c_to_g, market.high.c_to_g, market.mu)


def find_best(earn: Earn, low: Array, high: Array, mu: Array) -> Best:
    """The price of most income for each player and hour (players, hours): the lowest of several.

    A grid, so fine that it misses no peak, then the root of the derivative beside its best point, by regula falsi with
    the Illinois rule: differences of incomes would stall at 1e-5.
    """
    if not low.size:
        return Best(low, low)
    cells = max(4, ceil(float(((high - low) / (_CELL * mu)).max())))
    grid = low[..., None] + (high - low)[..., None] * np.linspace(0, 1, cells + 1)
    income, slope = earn(grid)
    place = income.argmax(axis=-1)[..., None]
    peak, rise, top = (np.take_along_axis(part, place, axis=-1) for part in (grid, slope, income))
    beside = np.clip(place + np.where(rise > 0, 1, -1), 0, cells)
    root = _find_root(earn, peak, rise, *(np.take_along_axis(part, beside, axis=-1) for part in (grid, slope)))
    reached, _ = earn(root)
    is_higher = reached > top
    return Best(np.where(is_higher, root, peak)[..., 0], np.where(is_higher, reached, top)[..., 0])


def _find_root(earn: Earn, a: Array, at_a: Array, b: Array, at_b: Array) -> Array:
    """A root of the derivative between a and b; a itself where it has one sign, as at a bound."""
    has_root = at_a * at_b < 0
    for count in range(_MAX_STEPS):
        goes_on = has_root & (abs(b - a) > _PRECISION) & (at_b != 0)
        if not goes_on.any():
            return np.where(has_root, b, a)
        middle = (a + b) / 2
        if count < _MAX_STEPS // 2:
            np.divide(a * at_b - b * at_a, at_b - at_a, out=middle, where=goes_on)
        _, at_middle = earn(middle)
        crosses = at_middle * at_b < 0
        a, at_a = (
            np.where(goes_on & crosses, b, a),
            np.where(goes_on, np.where(crosses, at_b, at_a / 2), at_a),
        )
        b, at_b = np.where(goes_on, middle, b), np.where(goes_on, at_middle, at_b)
    raise AssertionError("regula falsi closes in on the root")
