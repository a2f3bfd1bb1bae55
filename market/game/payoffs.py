"""The money of an hour: Eqs (1)-(13) of text 001 by their meaning, and the payoffs of the game as built. Plain Python.

Volumes fixed, the printed objectives only move money: the companies' and bureaus' profits are what users pay, whatever
the prices, and each rises with its own price below 10 yuan. So only the upper bounds are an equilibrium of theirs;
`compute_payoffs` has what the reading that we build adds (decision 50).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from market.game.hour import Hour, Prices

Matrix: TypeAlias = tuple[tuple[float, ...], ...]

LEAST_INCOME = 1e-9  # yuan: a regret is a part of an income, or of this


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """The energy of an hour in kWh: row per seller, column per buyer."""

    g_to_u: Matrix
    g_to_c: Matrix
    c_to_u: Matrix
    c_to_g: Matrix
    feed_in: tuple[float, ...] = ()
    """What each company sells to the grid."""
    flexible_users: tuple[float, ...] = ()
    """The part of each user's energy that it would go without at a higher price."""
    flexible_companies: tuple[float, ...] = ()
    """The same of what each company buys."""
    clearing_price: float | None = None
    """λ, yuan/kWh; None where users need nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payoffs:
    """The worth of an hour to each player, in yuan."""

    companies: tuple[float, ...]
    bureaus: tuple[float, ...]
    users: tuple[float, ...]


# --- as printed ------------------------------------------------------------------------------------


def compute_company_sales(prices: Prices, volumes: Volumes) -> tuple[float, ...]:
    """Eq. (1), `PT^green`: what each company sells to users and bureaus."""
    return _add(_sales(prices.of("g_to_u"), volumes.g_to_u), _sales(prices.of("g_to_c"), volumes.g_to_c))


def compute_company_purchases(prices: Prices, volumes: Volumes) -> tuple[float, ...]:
    """Eq. (2), `SL^green`: what each company buys of bureaus."""
    return _purchases(prices.of("c_to_g"), volumes.c_to_g)


def compute_company_subsidies(prices: Prices, volumes: Volumes, rate: float = 0.05) -> tuple[float, ...]:
    """Eq. (3), `SE^green`: the subsidy for what each company buys, rate · Q · P²."""
    return _purchases(_subsidise(prices.of("c_to_g"), rate), volumes.c_to_g)


def compute_bureau_sales(prices: Prices, volumes: Volumes) -> tuple[float, ...]:
    """Eq. (4), `PT^Country`: what each bureau sells to users and companies."""
    return _add(_sales(prices.of("c_to_u"), volumes.c_to_u), _sales(prices.of("c_to_g"), volumes.c_to_g))


def compute_bureau_purchases(prices: Prices, volumes: Volumes) -> tuple[float, ...]:
    """Eq. (5), `SL^Country`: what each bureau buys of companies."""
    return _purchases(prices.of("g_to_c"), volumes.g_to_c)


def compute_bureau_subsidies(prices: Prices, volumes: Volumes, rate: float = 0.05) -> tuple[float, ...]:
    """Eq. (6), `SE^Country`: the subsidies that each bureau pays on what it sells."""
    to_users = _sales(_subsidise(prices.of("c_to_u"), rate), volumes.c_to_u)
    return _add(to_users, _sales(_subsidise(prices.of("c_to_g"), rate), volumes.c_to_g))


def compute_user_purchases(prices: Prices, volumes: Volumes) -> tuple[float, ...]:
    """Eq. (7), `SL^User`: what each user buys."""
    return _add(_purchases(prices.of("c_to_u"), volumes.c_to_u), _purchases(prices.of("g_to_u"), volumes.g_to_u))


def compute_user_subsidies(prices: Prices, volumes: Volumes, rate: float = 0.05) -> tuple[float, ...]:
    """Eq. (8), `SE^User`: the subsidy for what each user buys of bureaus."""
    return _purchases(_subsidise(prices.of("c_to_u"), rate), volumes.c_to_u)


def compute_printed_objectives(prices: Prices, volumes: Volumes, rate: float = 0.05) -> Payoffs:
    """One hour's term of Eqs (10), (11) and (12): companies' and bureaus' profits, and the users' *costs*.

    By meaning: a profit is sales less purchases, with the subsidy that a company gets and a bureau pays; a cost is
    purchases less the subsidy. The printed sums take C→U for G→U and so on, and divide where they should subtract.
    """
    return Payoffs(
        companies=_add(
            compute_company_sales(prices, volumes),
            _negate(compute_company_purchases(prices, volumes)),
            compute_company_subsidies(prices, volumes, rate),
        ),
        bureaus=_add(
            compute_bureau_sales(prices, volumes),
            _negate(compute_bureau_purchases(prices, volumes)),
            _negate(compute_bureau_subsidies(prices, volumes, rate)),
        ),
        users=_add(compute_user_purchases(prices, volumes), _negate(compute_user_subsidies(prices, volumes, rate))),
    )


def compute_printed_regret(hour: Hour, prices: Prices, volumes: Volumes) -> float:
    """The most that a seller could gain in the printed game by other prices, as a part of its objective.

    Volumes stay, so that each price is best at its upper bound, or where the subsidy eats what it brings: 1/(2·rate).
    """

    def gain(direction: str, energy: Matrix, rate: float) -> tuple[float, ...]:
        low, high = hour.bounds[direction]
        best = min(high, max(low, 1 / (2 * rate))) if rate else high
        return tuple(
            sum(row) * (best - price - rate * (best * best - price * price))
            for price, row in zip(prices.of(direction), energy, strict=True)
        )

    hour.check_prices(prices)
    objectives = compute_printed_objectives(prices, volumes, hour.subsidy)
    companies = _add(gain("g_to_u", volumes.g_to_u, 0.0), gain("g_to_c", volumes.g_to_c, 0.0))
    bureaus = _add(gain("c_to_u", volumes.c_to_u, hour.subsidy), gain("c_to_g", volumes.c_to_g, hour.subsidy))
    gains = zip((*companies, *bureaus), (*objectives.companies, *objectives.bureaus), strict=True)
    return max((more / max(abs(now), LEAST_INCOME) for more, now in gains), default=0.0)


# --- as built ----------------------------------------------------------------------------------------


def compute_payoffs(hour: Hour, prices: Prices, volumes: Volumes) -> Payoffs:
    """The worth of the hour to its players: the printed money, the grid's, what energy costs to make and is worth.

    A company is paid the feed-in tariff for its rest, a bureau's generation has a cost and what it buys a value to it,
    and the flexible part of a demand is worth what its owner would have paid at most. Users pay alike per kWh.
    """
    printed = compute_printed_objectives(prices, volumes, hour.subsidy)
    fed_in = tuple(hour.feed_in * energy for energy in volumes.feed_in)
    generation = tuple(
        -cost * (sum(to_users) + sum(to_companies))
        for cost, to_users, to_companies in zip(
            hour.per_player("bureau_cost"), volumes.c_to_u, volumes.c_to_g, strict=True
        )
    )
    resold = tuple(
        value * sum(row[bureau] for row in volumes.g_to_c)
        for bureau, value in enumerate(hour.per_player("value_bureau"))
    )
    return Payoffs(
        companies=_add(
            printed.companies, fed_in, _multiply(hour.per_player("value_company"), volumes.flexible_companies)
        ),
        bureaus=_add(printed.bureaus, generation, resold),
        users=_add(_negate(printed.users), _multiply(hour.per_player("value_user"), volumes.flexible_users)),
    )


# --- sums ------------------------------------------------------------------------------------------------


def _sales(prices: Sequence[float], volumes: Matrix) -> tuple[float, ...]:
    """Each seller's price times all that it sells."""
    return tuple(price * sum(row) for price, row in zip(prices, volumes, strict=True))


def _purchases(prices: Sequence[float], volumes: Matrix) -> tuple[float, ...]:
    """Each buyer's energy at its sellers' prices; nothing where there is no seller."""
    paid = [[price * energy for energy in row] for price, row in zip(prices, volumes, strict=True)]
    return tuple(map(sum, zip(*paid, strict=True)))


def _subsidise(prices: Sequence[float], rate: float) -> tuple[float, ...]:
    return tuple(rate * price * price for price in prices)


def _multiply(left: Sequence[float], right: Sequence[float]) -> tuple[float, ...]:
    return tuple(a * b for a, b in zip(left, right, strict=True))


def _negate(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(-value for value in values)


def _add(*terms: Sequence[float]) -> tuple[float, ...]:
    """The sums, player by player; a term without players adds nothing."""
    return tuple(map(sum, zip(*filter(None, terms), strict=True)))
