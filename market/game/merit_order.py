"""The merit order of an hour: who sells how much to whom at given prices, a smooth form of "the cheapest first".

Each kWh demanded picks among the kWh on offer; a cheaper one is likelier, and none is sold twice. With σ(z) = 1/(1 +
e^-z) and the clearing price λ

    seller i has q_i = capacity_i · σ((λ - P_i)/μ) for users: of a company's surplus, of what a bureau can generate
    user k takes d_k = D_k · [(1 - φ) + φ·σ((v_U - λ)/μ)], and λ makes both sides equal.

A company offers the rest y to the bureaus by their shares: each buys σ((v_C - P_GC)/μ) of its part, the grid takes what
is left at the feed-in tariff. A shortage is divided alike, and of each part (1 - φ) + φ·σ((v_G - P_CG)/μ) is bought.

λ is found in x = e^(λ/μ). There σ((λ - P)/μ) is x/(x + b) with b = e^(P/μ), supply is concave and demand convex, so
that Newton's method climbs from any x below the solution to it and never past it: no bracket, no clipping.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, hypot, log, prod
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from market.errors import BadHour
from market.game.hour import DIRECTIONS, Hour, Prices
from market.game.payoffs import Volumes

Array: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.intp]

_RESIDUAL = 1e-14  # of what users take: both sides are equal when they differ by less
_SMALL = 1e-8  # of x: after such a step the next one, its square, is none
_MAX_STEPS = 200  # seven are the rule; supply that exceeds the firm demand by 10^-12 of it takes forty
_DIGITS = 36  # e^-36 is 2e-16
_TINY = 1e-300
_LOST = -0.999  # of what is to spare: so far above the clearing price nearly all is lost in a float, and 0 is nearer


class Quotes(NamedTuple):
    """The prices of several hours, yuan/kWh, or their bounds: (companies, hours) and (bureaus, hours)."""

    g_to_u: Array
    g_to_c: Array
    c_to_u: Array
    c_to_g: Array

    @classmethod
    def of(cls, hours: Sequence[Hour], prices: Sequence[Prices]) -> Quotes:
        """Raises `PriceOutOfBounds`."""
        for hour, asked in zip(hours, prices, strict=True):
            hour.check_prices(asked)
        return cls(*(_stack(asked.of(name) for asked in prices) for name in DIRECTIONS))

    def to_users(self) -> Array:
        """Those of all sellers on the users' market: (sellers, hours)."""
        return np.concatenate([self.g_to_u, self.c_to_u])

    def split(self, hours: Sequence[Hour]) -> list[Prices]:
        """Each hour's prices."""
        return [
            hour.make_prices(**{name: side[:, index].tolist() for name, side in zip(DIRECTIONS, self, strict=True)})
            for index, hour in enumerate(hours)
        ]


class Scratch:
    """Arrays that are used again: what is large and new each time costs more in pages of memory than in arithmetic."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}

    def take(self, name: str, *shape: int) -> Array:
        """An array of this shape, with anything in it; the memory is this name's, whatever shape it had."""
        size = prod(shape)
        if name not in self._arrays or len(self._arrays[name]) < size:
            self._arrays[name] = np.empty(size)
        return self._arrays[name][:size].reshape(shape)


class Cleared(NamedTuple):
    """A users' market that has cleared: sellers along the first axis, hours and any candidates behind it."""

    scale: Array  # e^(P/μ)
    x: Array  # e^(λ/μ); 0 where users need nothing
    sold: Array  # kWh

    def at_own_prices(self, part: Array) -> Array:
        """Of what each seller has in each deviation, what it has in its own."""
        own: Array = np.einsum("ii...->i...", part)
        return own


class Sides(NamedTuple):
    """The sellers and users of users' markets, with the hours along the last axis."""

    mu: Array  # (hours,)
    capacity: Array  # (sellers, hours), kWh
    firm: Array  # (hours,), kWh
    flexible: Array  # (values, hours), kWh
    worth: Array  # e^(v/μ)

    def take(self, hours: Indices) -> Sides:
        """Those of these hours, any of them several times."""
        return Sides(*(part[..., hours] for part in self))

    def clear(self, prices: Array) -> Cleared:
        """Clear at the sellers' prices (sellers, hours)."""
        scale = np.exp(prices / self.mu)
        return self._sell(np.concatenate([scale, self.worth]), None, Scratch())

    def deviate(self, prices: Array, own: Array, near: Array | None = None, scratch: Scratch | None = None) -> Cleared:
        """Clear once for each candidate (sellers, hours, candidates) that one seller sets while the others stay.

        The results have the axes sellers, who deviates, hours, candidates; `near` is where x may be, if that is known.
        """
        scratch = scratch or Scratch()
        sellers = len(prices)
        middle = scratch.take("middle", sellers + len(self.worth), *own.shape)
        middle[:sellers] = np.exp(prices / self.mu)[:, None, :, None]
        np.exp(own / self.mu[:, None], out=np.einsum("ii...->i...", middle[:sellers]))
        middle[sellers:] = self.worth[:, None, :, None]
        return self._sell(middle, near, scratch)

    def _sell(self, middle: Array, near: Array | None, scratch: Scratch) -> Cleared:
        """`middle` is where half is taken, in x: e^(P/μ) and then e^(v/μ), with axes for deviations or without."""
        capacity, firm, flexible = self._shape(middle.ndim)
        scale = middle[: len(capacity)]
        x = find_clearing(capacity, firm, flexible, middle, near, scratch)
        sold = scale + x
        np.divide(x, sold, out=sold)
        sold *= capacity
        return Cleared(scale, x, sold)

    def _shape(self, axes: int) -> tuple[Array, Array, Array]:
        """Capacities, firm and flexible loads with the axes of what has cleared."""
        parts = (self.capacity, self.firm[None], self.flexible)
        capacity, firm, flexible = (part[:, None, :, None] if axes > 2 else part for part in parts)
        return capacity, firm[0], flexible

    def differentiate(self, cleared: Cleared) -> tuple[Array, Array]:
        """Compute capacity · σ'((λ - P)/μ), by which a seller sells more as λ rises, and dλ/dP of its own price."""
        _, _, flexible = self._shape(cleared.scale.ndim)
        worth = self.worth[:, None, :, None] if cleared.scale.ndim > 2 else self.worth
        slope = cleared.sold * (cleared.scale / (cleared.scale + cleared.x))
        choice = 1 / (worth + cleared.x)
        bend = add_up(slope) + cleared.x * add_up(flexible * worth * choice * choice)
        return slope, np.divide(slope, bend, out=np.zeros_like(slope), where=bend > 0)


@dataclass(frozen=True)
class Market:
    """Hours side by side, as arrays with the hours along the last axis: sellers are companies, then bureaus.

    Hours of one market have equally many companies and bureaus. Users who value a kWh alike are one. A price at which
    nothing is sold, whatever it is, has its lower bound for the upper one too.
    """

    companies: int
    mu: Array  # (hours,)
    phi: Array
    subsidy: Array
    feed_in: Array
    capacity: Array  # (sellers, hours), kWh
    user_load: Array  # (values, hours), kWh
    user_value: Array
    shortage: Array  # (companies, hours), kWh
    value_company: Array
    share: Array  # (bureaus, hours)
    cost: Array
    value_bureau: Array
    low: Quotes
    high: Quotes

    @classmethod
    def of(cls, hours: Sequence[Hour]) -> Market:
        """Raises as `check_alike`."""
        check_alike(hours)
        surplus = _stack(hour.kwh("surplus_wh") for hour in hours)
        shortage = _stack(hour.kwh("shortage_wh") for hour in hours)
        capacity = np.concatenate([surplus, _stack(hour.kwh("bureau_capacity_wh") for hour in hours)])
        loads, values = _stack_users(hours)
        share = _stack(hour.shares() for hour in hours)
        sells_to_users = (capacity > 0) & (loads.sum(axis=0) > 0)
        has_volume = (
            sells_to_users[: len(surplus)],
            (surplus > 0) & (len(share) > 0),
            sells_to_users[len(surplus) :],
            share * shortage.sum(axis=0) > 0,
        )
        low, high = _stack_bounds(hours, 0), _stack_bounds(hours, 1)
        return cls(
            companies=len(surplus),
            mu=np.array([hour.mu for hour in hours]),
            phi=np.array([hour.phi for hour in hours]),
            subsidy=np.array([hour.subsidy for hour in hours]),
            feed_in=np.array([hour.feed_in for hour in hours]),
            capacity=capacity,
            user_load=loads,
            user_value=values,
            shortage=shortage,
            value_company=_stack(hour.per_player("value_company") for hour in hours),
            share=share,
            cost=_stack(hour.per_player("bureau_cost") for hour in hours),
            value_bureau=_stack(hour.per_player("value_bureau") for hour in hours),
            low=low,
            high=Quotes(
                *(np.where(has, above, below) for has, above, below in zip(has_volume, high, low, strict=True))
            ),
        )

    @cached_property
    def sides(self) -> Sides:
        """Both sides of the users' markets."""
        return Sides(
            mu=self.mu,
            capacity=self.capacity,
            firm=(1 - self.phi) * self.user_load.sum(axis=0),
            flexible=self.phi * self.user_load,
            worth=np.exp(self.user_value / self.mu),
        )


def find_clearing(
    capacity: Array, firm: Array, flexible: Array, middle: Array, near: Array | None, scratch: Scratch
) -> Array:
    """The x at which Σ capacity·x/(x + middle) = firm + Σ flexible·middle/(x + middle), of sellers and then users.

    Were all prices and values equal to the lowest, x would be that times demand / (supply - firm): no more than it is.
    From there Newton's method climbs; from `near` it may step back once, and climbs then. It solves 1/g = 1/spare,
    where g = spare + lack is a sum of a/(x + middle): 1/g is concave and nearly a line, so that its steps are fewer.
    All energy is counted in what is to spare. Works in place: this is where ants spend their time.
    """
    sellers, demand, spare = len(capacity), firm + flexible.sum(axis=0), capacity.sum(axis=0) - firm
    per_spare = 1 / np.where(spare > 0, spare, 1.0)
    firm, demand = firm * per_spare, demand * per_spare
    if near is None:
        near = np.multiply(middle.min(axis=0, initial=np.inf), demand, out=np.zeros(middle.shape[1:]), where=demand > 0)
    x = near.copy()
    take = scratch.take
    most, share, part = (take(name, *middle.shape) for name in ("most", "share", "part"))
    lack, step, more, enough = (take(name, *x.shape) for name in ("lack", "step", "more", "enough"))
    most[:sellers] = capacity * per_spare
    most[sellers:] = flexible * per_spare * middle[sellers:]
    for count in range(_MAX_STEPS):
        np.divide(1.0, np.add(middle, x, out=share), out=share)
        np.multiply(most, share, out=part)
        np.multiply(x, add_up(part[:sellers], out=lack), out=lack)
        taken = np.add(add_up(part[sellers:], out=step), firm, out=step)
        np.multiply(taken, _RESIDUAL, out=enough)
        np.subtract(taken, lack, out=lack)
        part[:sellers] *= middle[:sellers]
        part *= share
        np.divide(lack, np.add(add_up(part, out=step), _TINY, out=step), out=step)
        step *= np.add(lack, 1.0, out=more)
        x += step
        if not count:
            np.copyto(x, 0.0, where=(x < 0) | (lack < _LOST))
        elif count > 1 and not ((step > np.multiply(x, _SMALL, out=more)) & (lack > enough)).any():
            return x
    raise AssertionError("Newton's method climbs to the clearing price")


def add_up(parts: Array, *, out: Array | None = None) -> Array:
    """The sum over the first axis; of a few rows faster than `sum`."""
    if not 0 < len(parts) < 5:
        return np.asarray(parts.sum(axis=0, out=out))
    if out is None:
        out = np.empty_like(parts[0])
    if len(parts) == 1:
        np.copyto(out, parts[0])
        return out
    np.add(parts[0], parts[1], out=out)
    for part in parts[2:]:
        out += part
    return out


def choose(gain: Array, mu: Array | float) -> Array:
    """σ(gain/μ): how likely a kWh is taken that is worth so much more than it costs."""
    chance: Array = 1 / (1 + np.exp(-gain / mu))
    return chance


# --- one hour, in full ---------------------------------------------------------------------------


def trade(hour: Hour, prices: Prices) -> Volumes:
    """The energy that is sold at these prices. Raises `PriceOutOfBounds` and `NoSupplyMargin`."""
    quotes, market = Quotes.of([hour], [prices]), Market.of([hour])
    cleared = market.sides.clear(quotes.to_users())
    x, sold, companies = float(cleared.x[0]), cleared.sold[:, 0], hour.companies
    loads = np.array(hour.kwh("user_load_wh"))
    worth = np.exp(np.array(hour.per_player("value_user")) / hour.mu)
    flexible = hour.phi * loads * worth / (worth + x)
    taken = (1 - hour.phi) * loads + flexible
    parts = np.outer(sold, taken / (taken.sum() or 1.0))
    share = market.share[:, 0]
    rest = market.capacity[:companies, 0] - sold[:companies]
    resold = np.outer(rest, share) * choose(market.value_bureau[:, 0] - quotes.g_to_c, hour.mu)
    lacked = np.outer(share, market.shortage[:, 0])
    bought = hour.phi * lacked * choose(market.value_company[:, 0] - quotes.c_to_g, hour.mu)
    return Volumes(
        clearing_price=hour.mu * log(x) if x else None,
        g_to_u=_list_rows(parts[:companies]),
        g_to_c=_list_rows(resold),
        c_to_u=_list_rows(parts[companies:]),
        c_to_g=_list_rows((1 - hour.phi) * lacked + bought),
        feed_in=tuple(map(float, rest - resold.sum(axis=1))),
        flexible_users=tuple(map(float, flexible)),
        flexible_companies=tuple(map(float, bought.sum(axis=0))),
    )


def _list_rows(matrix: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in matrix)


# --- hours as arrays -------------------------------------------------------------------------------


def check_alike(hours: Sequence[Hour]) -> None:
    """Raises `NoSupplyMargin`, or `BadHour` where one hour has other players than the first."""
    for hour in hours:
        hour.check_margin()
        if (hour.companies, hour.bureaus) != (hours[0].companies, hours[0].bureaus):
            have, want = (f"{one.companies} companies and {one.bureaus} bureaus" for one in (hour, hours[0]))
            raise BadHour(field="players", have=have, want=f"{want}, as in the first hour")


def _stack(rows: Iterable[Sequence[float]]) -> Array:
    """Per-player values of every hour, players first."""
    return np.array([*rows], dtype=np.float64).T


def _stack_bounds(hours: Sequence[Hour], end: int) -> Quotes:
    count = {"g": hours[0].companies, "c": hours[0].bureaus}
    return Quotes(*(_stack([hour.bounds[name][end]] * count[name[0]] for hour in hours) for name in DIRECTIONS))


def _stack_users(hours: Sequence[Hour]) -> tuple[Array, Array]:
    """Loads and values, padded with users who need nothing to equally many in every hour."""
    gathered = [gather_users(hour) for hour in hours]
    most = max(len(loads) for loads, _ in gathered)
    loads, values = np.zeros((most, len(hours))), np.ones((most, len(hours)))
    for index, (load, value) in enumerate(gathered):
        loads[: len(load), index] = load
        values[: len(load), index] = value
    return loads, values


def gather_users(hour: Hour) -> tuple[Array, Array]:
    """The loads of an hour's users by what they value a kWh at, in as few values as take the same energy at any price.

    Users of one value are one. Many values are replaced by Chebyshev's points between them, and the loads shared out so
    that polynomials are met exactly. σ is analytic up to ±iπμ, so that the error falls geometrically: to 2e-16 here.
    """
    values: Array
    values, places = np.unique(np.array(hour.per_player("value_user"), dtype=np.float64), return_inverse=True)
    loads = np.bincount(places, weights=np.array(hour.kwh("user_load_wh")), minlength=len(values)).astype(np.float64)
    if len(values) < 3:
        return loads, values
    centre, radius = (values[0] + values[-1]) / 2, (values[-1] - values[0]) / 2
    height = np.pi * hour.mu / radius
    count = ceil(_DIGITS / log(height + hypot(1, height)))
    if len(values) <= count:
        return loads, values
    points = np.polynomial.chebyshev.chebpts1(count)
    moments = loads @ np.polynomial.chebyshev.chebvander((values - centre) / radius, count - 1)
    moments[0] /= 2
    shared = np.polynomial.chebyshev.chebvander(points, count - 1) @ moments * 2 / count
    return shared, centre + radius * points
