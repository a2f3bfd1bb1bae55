"""The printed equations by meaning: what they move, where their only equilibrium is, and what a subsidy does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import PriceOutOfBounds
from market.game import payoffs
from market.game.hour import DIRECTIONS, Hour, Prices
from market.game.merit_order import trade
from market.game.payoffs import Volumes, compute_payoffs, compute_printed_objectives, compute_printed_regret
from tests.support.game_hours import hours, prices_of

# a company sells 100 kWh to two users and 20 to the bureau, another lacks 10; the bureau sells the users 50
VOLUMES = Volumes(g_to_u=((60, 40), (0, 0)), g_to_c=((20,), (0,)), c_to_u=((30, 20),), c_to_g=((0, 10),))
PRICES = Prices(g_to_u=(0.6, 0.7), g_to_c=(0.5, 0.5), c_to_u=0.5, c_to_g=0.4)
PAPER = Prices(g_to_u=0.687799, g_to_c=0.595725, c_to_u=0.555435, c_to_g=0.420585)
CORNER = Prices(g_to_u=0.7, g_to_c=0.7, c_to_u=0.6, c_to_g=0.6)
NOON = Hour(surplus_wh=726_563, shortage_wh=0, user_load_wh=[257_399, 342_143])


@pytest.mark.parametrize(
    ("equation", "yuan"),
    [
        (payoffs.compute_company_sales, (70, 0)),  # (1)
        (payoffs.compute_company_purchases, (0, 4)),  # (2)
        (payoffs.compute_company_subsidies, (0, 0.08)),  # (3)
        (payoffs.compute_bureau_sales, (29,)),  # (4)
        (payoffs.compute_bureau_purchases, (10,)),  # (5)
        (payoffs.compute_bureau_subsidies, (0.705,)),  # (6)
        (payoffs.compute_user_purchases, (51, 34)),  # (7)
        (payoffs.compute_user_subsidies, (0.375, 0.25)),  # (8)
    ],
)
def test_equations_1_to_8_by_hand(equation, yuan: tuple[float, ...]) -> None:
    assert equation(PRICES, VOLUMES) == pytest.approx(yuan)


def test_objectives_10_to_12_by_hand() -> None:
    objectives = compute_printed_objectives(PRICES, VOLUMES)
    assert objectives.companies == pytest.approx((70, -3.92))
    assert objectives.bureaus == pytest.approx((18.295,))
    assert objectives.users == pytest.approx((50.625, 33.75))


@given(st.data())
def test_the_printed_game_only_moves_money(data: st.DataObject) -> None:
    """Profits are what users pay, for all prices and volumes: an equally weighted sum of objectives is constant."""
    count = st.integers(1, 3)
    companies, bureaus, users = data.draw(count), data.draw(count), data.draw(count)

    def draw(rows: int, columns: int) -> tuple[tuple[float, ...], ...]:
        row = st.tuples(*[st.floats(0, 1e4)] * columns)
        return data.draw(st.tuples(*[row] * rows))

    volumes = Volumes(
        g_to_u=draw(companies, users),
        g_to_c=draw(companies, bureaus),
        c_to_u=draw(bureaus, users),
        c_to_g=draw(bureaus, companies),
    )
    prices = Prices(
        **{name: data.draw(st.tuples(*[st.floats(0, 10)] * len(getattr(volumes, name)))) for name in DIRECTIONS}
    )
    objectives = compute_printed_objectives(prices, volumes)
    assert sum(objectives.companies) + sum(objectives.bureaus) - sum(objectives.users) == pytest.approx(0, abs=1e-6)


def test_the_corner_is_the_only_equilibrium_of_the_printed_game() -> None:
    """And the paper's prices at 12:00 are none: somebody gains a tenth."""
    volumes = replace(trade(NOON, CORNER), c_to_g=((10.0,),))
    assert compute_printed_regret(NOON, CORNER, volumes) == 0
    assert compute_printed_regret(NOON, PAPER, trade(NOON, PAPER)) == pytest.approx(0.1032, abs=1e-4)
    for direction in DIRECTIONS:
        assert compute_printed_regret(NOON, replace(CORNER, **{direction: 0.55}), volumes) > 0, direction


def test_a_subsidy_that_eats_the_price_moves_the_corner() -> None:
    hour = replace(NOON, subsidy=1.0)  # P - P² is highest at ½
    volumes = trade(hour, CORNER)
    assert compute_printed_regret(hour, replace(CORNER, c_to_u=0.5), volumes) == 0
    assert compute_printed_regret(hour, CORNER, volumes) > 0


def test_the_printed_regret_is_of_prices_within_bounds() -> None:
    with pytest.raises(PriceOutOfBounds):
        compute_printed_regret(NOON, replace(CORNER, g_to_u=0.71), trade(NOON, CORNER))


@given(st.data())
@settings(max_examples=40)
def test_a_higher_subsidy_never_lowers_a_companys_income_nor_raises_a_users_cost(data: st.DataObject) -> None:
    hour = data.draw(hours())
    prices = data.draw(prices_of(hour))
    higher = replace(hour, subsidy=hour.subsidy + data.draw(st.floats(0, 0.5)))
    before, after = (compute_payoffs(one, prices, trade(one, prices)) for one in (hour, higher))
    for players in ("companies", "users"):
        for less, more in zip(getattr(before, players), getattr(after, players), strict=True):
            assert more >= less - 1e-9 * abs(less)


@given(st.data())
@settings(max_examples=40)
def test_what_players_have_is_what_energy_is_worth_less_what_it_costs(data: st.DataObject) -> None:
    """Money between players cancels out: what is left is the grid's feed-in, the values and the generation."""
    hour = data.draw(hours())
    prices = data.draw(prices_of(hour))
    volumes = trade(hour, prices)
    have = compute_payoffs(hour, prices, volumes)
    worth = sum(hour.feed_in * energy for energy in volumes.feed_in)
    worth += sum(v * e for v, e in zip(hour.per_player("value_user"), volumes.flexible_users, strict=True))
    worth += sum(v * e for v, e in zip(hour.per_player("value_company"), volumes.flexible_companies, strict=True))
    for index, (value, cost) in enumerate(
        zip(hour.per_player("value_bureau"), hour.per_player("bureau_cost"), strict=True)
    ):
        worth += value * sum(row[index] for row in volumes.g_to_c)
        worth -= cost * (sum(volumes.c_to_u[index]) + sum(volumes.c_to_g[index]))
    assert sum(have.companies) + sum(have.bureaus) + sum(have.users) == pytest.approx(worth, rel=1e-9, abs=1e-6)
