"""The regret of prices: what a player could gain by another price of its own, while the others keep theirs.

    ε(x) = max over players i of [max over y_i within bounds of u_i(y_i, x_-i) - u_i(x)] / max(|u_i(x)|, 10^-9)

(Nikaido and Isoda 1955). It is 0 where nobody can gain: at a Nash equilibrium, and nowhere else. Users take prices as
they are. A weighted sum of the objectives says nothing of the kind: prices only move money.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from market.game.hour import Hour, Prices
from market.game.incomes import (
    UsersMarket,
    ask_for_rest,
    ask_for_shortages,
    earn_from_shortages,
)
from market.game.merit_order import Array, Market, Quotes, choose
from market.game.payoffs import LEAST_INCOME

SETTLED = 1e-6  # the regret up to which an hour counts as solved


class Gains(NamedTuple):
    """Incomes in yuan and what each player could gain (players, hours): companies, then bureaus."""

    income: Array
    gain: Array

    def regret(self) -> Array:
        """ε of each hour."""
        most: Array = (self.gain / np.maximum(abs(self.income), LEAST_INCOME)).max(axis=0, initial=0.0)
        return most


def compute_regret(hour: Hour, prices: Prices) -> float:
    """The regret ε of one hour's prices, relative to each player's own income. Raises as `compute_regrets`."""
    return compute_regrets([hour], [prices])[0]


def is_solved(hour: Hour, prices: Prices) -> bool:
    """Return True if nobody gains by another price. Raises as `compute_regrets`."""
    return compute_regret(hour, prices) <= SETTLED


def compute_regrets(hours: Sequence[Hour], prices: Sequence[Prices]) -> list[float]:
    """The regret of each hour's prices. Raises `PriceOutOfBounds`, `NoSupplyMargin` and `BadHour`."""
    if not hours:
        return []
    return [float(one) for one in compute_gains(Market.of(hours), Quotes.of(hours, prices)).regret()]


def compute_gains(market: Market, quotes: Quotes) -> Gains:
    """The income of each company and each bureau, and what it could earn more by prices of its own.

    A company's two prices part: whatever users leave it brings most at one price G→C. So do a bureau's.
    """
    companies, asked = market.companies, quotes.to_users()
    now = UsersMarket.of(market, quotes.g_to_c)
    at_best = UsersMarket.of(market, ask_for_rest(market).price)
    surplus = market.capacity[:companies]
    sales = now.earn(asked, asked[..., None])[0][..., 0]
    shortage = earn_from_shortages(market, quotes.c_to_g[..., None])[0][..., 0]
    income = np.concatenate(
        [
            sales[:companies] + now.cost[:companies] * surplus + _value_purchases(market, quotes.c_to_g),
            sales[companies:] + (now.spill * surplus[:, None]).sum(axis=0) + shortage,
        ]
    )
    low, high = market.low.to_users(), market.high.to_users()
    by_company = at_best.respond(asked, low, high).income[:companies] - sales[:companies]
    by_bureau = now.respond(asked, low, high).income[companies:] - sales[companies:]
    gain = np.concatenate(
        [
            by_company + (at_best.cost - now.cost)[:companies] * surplus,
            by_bureau + ask_for_shortages(market).income - shortage,
        ]
    )
    return Gains(income, np.maximum(gain, 0.0))


def _value_purchases(market: Market, c_to_g: Array) -> Array:
    """The worth of a company's purchases of bureaus, less what they cost (companies, hours)."""
    needed = market.shortage[:, None] * market.share  # (companies, bureaus, hours)
    flexible = market.phi * needed * choose(market.value_company[:, None] - c_to_g, market.mu)
    price = c_to_g - market.subsidy * c_to_g * c_to_g
    worth = flexible * market.value_company[:, None] - ((1 - market.phi) * needed + flexible) * price
    total: Array = worth.sum(axis=1)
    return total
