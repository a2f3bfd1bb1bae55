"""Regret, best response and ants beyond the reference cases: searched by hand, by others, and for any players."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import differential_evolution

from market.errors import NoSupplyMargin, NotSettled
from market.game import ants, best_response
from market.game.hour import DIRECTIONS, Hour, Prices
from market.game.merit_order import trade
from market.game.payoffs import compute_payoffs
from market.game.regret import SETTLED, compute_regret, compute_regrets
from tests.support.game_hours import hours, prices_of

NOON = Hour(surplus_wh=726_563, shortage_wh=0, user_load_wh=[257_399, 342_143])
PAPER = Prices(g_to_u=0.687799, g_to_c=0.595725, c_to_u=0.555435, c_to_g=0.420585)


def search_regret(hour: Hour, prices: Prices, points: int = 7) -> float:
    """The regret by trying pairs of prices, with the payoffs in full. One company and one bureau."""

    def earn(asked: Prices) -> tuple[float, float]:
        payoffs = compute_payoffs(hour, asked, trade(hour, asked))
        return payoffs.companies[0], payoffs.bureaus[0]

    now, most = earn(prices), list(earn(prices))
    for player, directions in enumerate((("g_to_u", "g_to_c"), ("c_to_u", "c_to_g"))):
        for pair in product(*(np.linspace(*hour.bounds[name], points) for name in directions)):
            tried = replace(prices, **dict(zip(directions, map(float, pair), strict=True)))
            most[player] = max(most[player], earn(tried)[player])
    return max((best - had) / max(abs(had), 1e-9) for best, had in zip(most, now, strict=True))


# --- regret ----------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_the_regret_is_the_most_that_a_search_finds_and_hardly_more(data: st.DataObject) -> None:
    hour = data.draw(hours(alone=True, least_users=1))
    prices = data.draw(prices_of(hour))
    found, regret = search_regret(hour, prices), compute_regret(hour, prices)
    assert found <= regret * (1 + 1e-9) + 1e-9
    assert regret >= 0


def test_the_regret_of_the_papers_prices_and_of_the_printed_games_corner() -> None:
    corner = Prices(g_to_u=0.7, g_to_c=0.7, c_to_u=0.6, c_to_g=0.6)
    assert compute_regret(NOON, PAPER) == pytest.approx(0.1434, abs=1e-4)
    assert compute_regret(NOON, corner) == pytest.approx(0.1068, abs=1e-4)
    assert search_regret(NOON, PAPER, 21) == pytest.approx(compute_regret(NOON, PAPER), rel=0.02)


def test_differential_evolution_finds_no_less_regret_and_the_same_prices() -> None:
    def measure(population: np.ndarray) -> np.ndarray:
        asked = [Prices(**dict(zip(DIRECTIONS, map(float, column), strict=True))) for column in population.T]
        return np.array(compute_regrets([NOON] * len(asked), asked))

    prices = best_response.solve(NOON)
    bounds = [NOON.bounds[name] for name in DIRECTIONS]
    found = differential_evolution(
        measure, bounds, rng=1, maxiter=60, vectorized=True, updating="deferred", polish=False
    )
    assert found.fun >= compute_regret(NOON, prices)
    assert found.fun < 1e-3
    for name, price in zip(DIRECTIONS[:3], found.x, strict=False):
        assert price == pytest.approx(getattr(prices, name), abs=0.01)


# --- any players -------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_best_response_leaves_nobody_a_gain(data: st.DataObject) -> None:
    hour = data.draw(hours())
    assert compute_regret(hour, best_response.solve(hour)) < 1e-9


@given(st.data())
@settings(max_examples=5, deadline=None)
def test_ants_leave_nobody_a_gain(data: st.DataObject) -> None:
    hour = data.draw(hours())
    found = ants.solve(hour, seed=data.draw(st.integers(0, 2**32)))
    assert compute_regret(hour, found) < 1e-6


def make_crowd(companies: int = 10, bureaus: int = 3, users: int = 1000) -> Hour:
    """Players of all sizes, each user with a value of its own."""
    loads = [500 + 37 * number % 1_900 for number in range(users)]
    return Hour(
        surplus_wh=[(0 if number % 4 == 3 else 60_000 + 9_000 * number) for number in range(companies)],
        shortage_wh=[(20_000 if number % 4 == 3 else 0) for number in range(companies)],
        user_load_wh=loads,
        bureau_capacity_wh=[sum(loads) // (2 + number) for number in range(bureaus)],
        value_user=[0.4 + 0.2 * (number * 617 % users) / users for number in range(users)],
    )


def test_ten_companies_three_bureaus_and_a_thousand_users_settle() -> None:
    crowd = make_crowd()
    prices = best_response.solve(crowd)
    assert compute_regret(crowd, prices) < 1e-12
    assert len(set(prices.of("g_to_u"))) > 5, "who has more asks less"


def test_ants_of_several_players_settle_too() -> None:
    crowd = make_crowd(3, 2, 20)
    found, wanted = ants.solve(crowd, seed=5), best_response.solve(crowd)
    for name in DIRECTIONS:
        assert found.of(name) == pytest.approx(wanted.of(name), abs=1e-5)


# --- seeds, batches, progress ------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_prices_whatever_else_is_solved() -> None:
    others = [replace(NOON, surplus_wh=surplus) for surplus in (1, 100_000, 5_000_000)]
    alone = ants.solve(NOON, seed=7, iterations=20)
    assert ants.solve(NOON, seed=7, iterations=20) == alone
    together = ants.solve_hours([*others, NOON], seed=7, iterations=20)[-1]
    for name in DIRECTIONS:
        assert getattr(together, name) == pytest.approx(getattr(alone, name), abs=1e-6)
    assert ants.solve(NOON, seed=8, iterations=20) != alone


def test_long_runs_say_how_far_they_are() -> None:
    heard: list[tuple[int, int]] = []
    ants.solve_hours([NOON], seed=1, iterations=5, progress=lambda done, all_of: heard.append((done, all_of)))
    assert heard == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    heard.clear()
    best_response.solve_hours([NOON, NOON], progress=lambda done, all_of: heard.append((done, all_of)))
    assert heard[-1] == (2, 2)


@pytest.mark.parametrize("mu", [0.02, 0.05])
@pytest.mark.parametrize(
    ("surplus_wh", "load_wh", "bureau_capacity_wh"),
    [(300_000, 300_000, 1), (10**15, 1, 1), (1, 10**15, 10**15)],
)
@pytest.mark.filterwarnings("error")
def test_bounds_as_wide_as_they_may_be_are_searched_without_a_flaw(
    surplus_wh: int, load_wh: int, bureau_capacity_wh: int, mu: float
) -> None:
    hour = Hour(
        surplus_wh=surplus_wh,
        shortage_wh=0,
        user_load_wh=[load_wh],
        bureau_capacity_wh=bureau_capacity_wh,
        mu=mu,
        subsidy=1.0,
        bounds=dict.fromkeys(DIRECTIONS, (0.0, 10.0)),
    )
    assert compute_regret(hour, best_response.solve(hour)) < 1e-9
    for seed in (1, 2, 3):
        assert compute_regret(hour, ants.solve(hour, seed=seed)) < 1e-6


WIDEST = dict.fromkeys(DIRECTIONS, (0.0, 10.0))


def list_extremes(**fields: Any) -> list[Hour]:
    """Hours in which somebody has nothing, a Wh, or all that may be, at any price; those that can be served."""
    energy = (0, 1, 10**15)
    hours = []
    for surplus_wh, load_wh, capacity_wh, phi in product(energy, energy[1:], energy, (0.3, 1.0)):
        hour = Hour(
            surplus_wh=surplus_wh,
            shortage_wh=0,
            user_load_wh=[load_wh],
            bureau_capacity_wh=capacity_wh,
            phi=phi,
            **fields,
        )
        with suppress(NoSupplyMargin):
            hour.check_margin()
            hours.append(hour)
    return hours


@pytest.mark.filterwarnings("error")
def test_what_a_solver_calls_solved_leaves_nobody_a_gain_in_extreme_hours_either() -> None:
    """A bureau that must pay more subsidies than it earns, beside a company: mostly there is an equilibrium."""
    extremes = list_extremes(mu=0.2, subsidy=1.0, bounds=WIDEST)
    found = best_response.search_hours(extremes)
    regrets = compute_regrets(extremes, [one.prices for one in found])
    assert [one.regret for one in found] == pytest.approx(regrets, rel=1e-6, abs=1e-9)
    assert max(regret for one, regret in zip(found, regrets, strict=True) if one.is_settled) < SETTLED
    assert all(one.is_settled == (one.step <= best_response.PRECISION) for one in found)
    assert {one.is_settled for one in found} == {True, False}


@pytest.mark.parametrize("load_wh", [10**12, 10**15])
def test_one_wh_is_sold_at_its_price_beside_users_who_could_take_any_amount_and_hardly_take_any(load_wh: int) -> None:
    """All demand is flexible, and the bureau asks so much that users take 10^-50 of it: that, too, clears exactly."""
    hour = Hour(
        surplus_wh=1,
        shortage_wh=0,
        user_load_wh=[load_wh],
        bureau_capacity_wh=load_wh,
        phi=1.0,
        subsidy=1.0,
        bounds=WIDEST,
    )
    prices = best_response.solve(hour)
    assert compute_regret(hour, prices) < SETTLED
    found = ants.solve(hour, seed=1)
    assert compute_regret(hour, found) < SETTLED
    assert found.g_to_u == pytest.approx(prices.g_to_u, abs=1e-5)


def test_a_game_without_an_equilibrium_says_so_with_the_least_regret() -> None:
    """Just where the company would be content, the bureau stops to compete and asks all it may."""
    hour = Hour(surplus_wh=135_876, shortage_wh=0, user_load_wh=[165_504, 219_993], mu=0.02)
    message = (
        r"after 200 sweeps of best response the prices of hour 1 still move by 0\.0.* yuan/kWh; somebody gains 0\.0"
    )
    with pytest.raises(NotSettled, match=message) as raised:
        best_response.solve_hours([NOON, hour])
    assert 1e-3 < raised.value.values["regret"] < 0.05
    assert compute_regret(hour, ants.solve(hour, seed=1)) > 1e-3, "nor do ants find one"
    settled, other = best_response.search_hours([NOON, hour])
    assert settled.prices.of("g_to_u") == pytest.approx(best_response.solve(NOON).of("g_to_u"), abs=1e-9)
    assert (settled.step, settled.regret) == (0, pytest.approx(0, abs=1e-12))
    assert other.step > best_response.PRECISION
    assert other.regret == raised.value.values["regret"] == pytest.approx(compute_regret(hour, other.prices))
    assert compute_regret(replace(hour, mu=0.03), best_response.solve(replace(hour, mu=0.03))) < 1e-12
