"""The same hour in four markets: energy and money are conserved, and payoffs are those of the game."""

from __future__ import annotations

from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.game import best_response
from market.game.hour import Hour, Prices
from market.game.merit_order import trade
from market.game.payoffs import compute_payoffs
from simulation.game.accounts import RETAIL, Account, HourAccounts, add_up, sum_hours
from simulation.game.markets import MARKETS, Market, find_corner, trade_in
from tests.support.game_hours import hours, prices_of

NOON = Hour(surplus_wh=726_563, shortage_wh=0, user_load_wh=[257_399, 342_143])
NIGHT = Hour(surplus_wh=0, shortage_wh=61_000, user_load_wh=[150_000, 190_000])
OWN_USE_WH = 100_000


def trade_noon(market: Market) -> HourAccounts:
    return trade_in(market, NOON, best_response.solve(NOON), OWN_USE_WH)


@pytest.mark.parametrize("market", MARKETS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_energy_and_money_are_conserved(market: Market, data: st.DataObject) -> None:
    hour = data.draw(hours())
    accounts = trade_in(market, hour, data.draw(prices_of(hour)), OWN_USE_WH)
    everybody = add_up(accounts.everybody)
    size = 1e-9 * (1 + everybody.sold_kwh)
    assert everybody.sold_kwh == pytest.approx(everybody.bought_kwh, abs=size)
    assert everybody.income == pytest.approx(everybody.cost, abs=size)
    assert everybody.subsidy == pytest.approx(0, abs=size)
    assert min(min(one.sold_kwh, one.bought_kwh, one.income, one.cost) for one in accounts.everybody) >= -size
    assert (len(accounts.companies), len(accounts.bureaus)) == (hour.companies, hour.bureaus)
    green = accounts.green
    assert green.made == pytest.approx(OWN_USE_WH / 1_000 + sum(hour.kwh("surplus_wh")), abs=size)
    assert green.sold + green.resold + green.fed_in == pytest.approx(
        sum(one.sold_kwh for one in accounts.companies), abs=size
    )
    for load, account in zip(hour.kwh("user_load_wh"), accounts.users, strict=True):
        assert (1 - hour.phi) * load - 0.001 <= account.bought_kwh <= load + 0.001


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_what_players_keep_in_the_game_is_their_payoff(data: st.DataObject) -> None:
    hour = data.draw(hours())
    prices = data.draw(prices_of(hour))
    accounts, payoffs = trade_in("game", hour, prices, 0), compute_payoffs(hour, prices, trade(hour, prices))
    for side in ("companies", "bureaus", "users"):
        kept = [one.payoff for one in getattr(accounts, side)]
        assert kept == pytest.approx(list(getattr(payoffs, side)), rel=1e-9, abs=1e-9), side


def test_the_corner_is_the_upper_bounds() -> None:
    assert find_corner(NOON) == Prices(g_to_u=0.7, g_to_c=0.7, c_to_u=0.6, c_to_g=0.6)
    assert trade_noon("corner") == trade_in("game", NOON, find_corner(NOON), OWN_USE_WH)


def test_by_tariffs_all_is_the_grid_companys() -> None:
    accounts = trade_noon("tariffs")
    (company,) = accounts.companies
    assert company == Account(726.563, 0.41 * 726.563, worth=0.0)
    flexible = 0.3 / (1 + exp((RETAIL - 0.5) / 0.05))
    assert accounts.users[0].bought_kwh == pytest.approx(257.399 * (0.7 + flexible))
    assert accounts.users[0].cost == pytest.approx(RETAIL * accounts.users[0].bought_kwh)
    assert add_up(accounts.bureaus).sold_kwh == 0, "the green energy suffices"
    night = trade_in("tariffs", NIGHT, best_response.solve(NIGHT), 0)
    used = add_up([*night.companies, *night.users]).bought_kwh
    assert night.bureaus[0].sold_kwh == pytest.approx(used)
    assert night.bureaus[0].payoff == pytest.approx(0.01 * used)


def test_truthful_orders_meet_at_the_middle_and_the_cheaper_kwh_first() -> None:
    """Users pay half of 0.615 and 0.4 for what they need; a bureau resells what the company asks 0.41 for."""
    accounts = trade_noon("auction")
    (company,), (bureau,) = accounts.companies, accounts.bureaus
    assert accounts.green.sold == 0
    used = add_up(accounts.users)
    firm = 0.7 * 599.542
    assert used.bought_kwh > firm
    assert used.cost / used.bought_kwh == pytest.approx((0.4 + RETAIL) / 2, abs=0.03)
    assert bureau.sold_kwh == pytest.approx(used.bought_kwh)
    assert accounts.green.resold == bureau.bought_kwh == pytest.approx(0.9 * 726.563, abs=0.001)
    assert company.income / company.sold_kwh > 0.41


def test_a_company_that_lacks_energy_buys_it_in_every_market() -> None:
    for market in MARKETS:
        (company,) = trade_in(market, NIGHT, best_response.solve(NIGHT), 0).companies
        assert 0.7 * 61 - 0.001 <= company.bought_kwh <= 61
        assert company.money < 0


def test_users_consume_less_where_a_kwh_costs_more() -> None:
    users = [add_up(trade_noon(market).users) for market in MARKETS]
    by_price = sorted(users, key=lambda one: (one.cost - one.subsidy) / one.bought_kwh)
    assert [one.bought_kwh for one in by_price] == sorted((one.bought_kwh for one in users), reverse=True)


def test_hours_add_up_player_by_player() -> None:
    one = trade_noon("game")
    both = sum_hours([one, one])
    assert both.users[1].bought_kwh == 2 * one.users[1].bought_kwh
    assert both.green.made == 2 * one.green.made
    assert both.grid.cost == 2 * one.grid.cost
