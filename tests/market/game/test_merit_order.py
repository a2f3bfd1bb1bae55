"""The merit order: closed forms, the cheapest first, and that energy is conserved in every hour."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import NoSupplyMargin
from market.game.hour import Hour, Prices
from market.game.merit_order import Market, gather_users, trade
from tests.support.game_hours import hours, prices_of

CORNER = Prices(g_to_u=0.7, g_to_c=0.7, c_to_u=0.6, c_to_g=0.6)
WIDE = {"g_to_u": (0, 2), "g_to_c": (0, 2), "c_to_u": (0, 2), "c_to_g": (0, 2)}


def meet(surplus_kwh: int, load_kwh: int, *, ratio: float = 1.0) -> float:
    """The kWh that a company sells to users of a firm load beside a bureau that has as much: `ratio` e^((C - G)/μ)."""
    mu = 0.05
    hour = Hour(surplus_wh=surplus_kwh * 1000, shortage_wh=0, user_load_wh=[load_kwh * 1000], mu=mu, phi=0, bounds=WIDE)
    return trade(hour, Prices(g_to_u=1.0, g_to_c=1.0, c_to_u=1.0 + mu * log(ratio), c_to_g=1.0)).g_to_u[0][0]


# --- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("surplus", "load", "ratio", "sold"), [(100, 100, 1.0, 50), (300, 100, 1.0, 75), (100, 100, 4.0, 200 / 3)]
)
def test_a_company_and_a_bureau_share_a_firm_load(surplus: int, load: int, ratio: float, sold: float) -> None:
    assert meet(surplus, load, ratio=ratio) == pytest.approx(sold, abs=1e-9)


@settings(max_examples=40)
@given(surplus=st.integers(1, 10_000), load=st.integers(1, 10_000), ratio=st.floats(1e-6, 1e6))
def test_what_is_sold_solves_its_quadratic(surplus: int, load: int, ratio: float) -> None:
    sold = meet(surplus, load, ratio=ratio)
    assert 0 < sold < min(surplus, load)
    assert sold * sold == pytest.approx(ratio * (surplus - sold) * (load - sold), rel=1e-6, abs=1e-9)


def test_where_choices_are_sharp_the_cheapest_is_taken_first() -> None:
    hour = Hour(
        surplus_wh=[100_000, 100_000, 100_000],
        shortage_wh=[0, 0, 0],
        bureau_capacity_wh=100_000,
        user_load_wh=[250_000],
        mu=0.02,
        phi=0,
        bounds=WIDE,
    )
    volumes = trade(hour, Prices(g_to_u=(1.0, 0.5, 2.0), g_to_c=(2.0,) * 3, c_to_u=1.5, c_to_g=1))
    assert [sum(row) for row in (*volumes.g_to_u, *volumes.c_to_u)] == pytest.approx([100, 100, 0, 50], abs=1e-6)
    assert volumes.clearing_price == pytest.approx(1.5, abs=1e-6)


def test_at_its_value_a_flexible_user_takes_half() -> None:
    # the bureau has twice the 75 % that is taken at λ = v, and asks v
    hour = Hour(surplus_wh=0, shortage_wh=0, user_load_wh=[80_000], bureau_capacity_wh=120_000, phi=0.5)
    volumes = trade(hour, Prices(g_to_u=0.5, g_to_c=0.5, c_to_u=0.5, c_to_g=0.5))
    assert volumes.clearing_price == pytest.approx(0.5)
    assert volumes.flexible_users == pytest.approx([20])
    assert sum(map(sum, volumes.c_to_u)) == pytest.approx(60)


def test_a_shortage_and_a_rest_meet_the_bureau_at_their_values() -> None:
    lacking = Hour(surplus_wh=0, shortage_wh=100_000, user_load_wh=[1_000], value_company=0.5)
    volumes = trade(lacking, Prices(g_to_u=0.5, g_to_c=0.5, c_to_u=0.5, c_to_g=0.5))
    assert volumes.c_to_g == ((pytest.approx(85),),)
    rich = Hour(surplus_wh=100_000, shortage_wh=0, user_load_wh=[], bureau_capacity_wh=1)
    volumes = trade(rich, Prices(g_to_u=0.5, g_to_c=0.5, c_to_u=0.5, c_to_g=0.5))
    assert volumes.clearing_price is None
    assert (volumes.g_to_c, volumes.feed_in) == (((pytest.approx(50),),), (pytest.approx(50),))


# --- every hour ------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60)
def test_energy_is_conserved(data: st.DataObject) -> None:
    hour = data.draw(hours())
    volumes = trade(hour, data.draw(prices_of(hour)))
    size = 1e-9 * (1 + sum(hour.kwh("surplus_wh")) + sum(hour.kwh("bureau_capacity_wh")))
    for surplus, to_users, to_bureaus, fed_in in zip(
        hour.kwh("surplus_wh"), volumes.g_to_u, volumes.g_to_c, volumes.feed_in, strict=True
    ):
        assert sum(to_users) + sum(to_bureaus) + fed_in == pytest.approx(surplus, abs=size)
        assert min((*to_users, *to_bureaus, fed_in), default=0) >= -size
    for capacity, to_users in zip(hour.kwh("bureau_capacity_wh"), volumes.c_to_u, strict=True):
        assert -size <= sum(to_users) <= capacity + size
    bought = [sum(parts) for parts in zip(*volumes.g_to_u, *volumes.c_to_u, strict=True)]
    for load, energy, flexible in zip(hour.kwh("user_load_wh"), bought, volumes.flexible_users, strict=True):
        assert energy == pytest.approx((1 - hour.phi) * load + flexible, abs=size)
        assert 0 <= flexible <= hour.phi * load + size
    for lack, parts in zip(hour.kwh("shortage_wh"), zip(*volumes.c_to_g, strict=True), strict=True):
        assert (1 - hour.phi) * lack - size <= sum(parts) <= lack + size


@given(st.data())
@settings(max_examples=50)
def test_who_asks_more_sells_less_and_the_others_more(data: st.DataObject) -> None:
    hour = data.draw(hours(least_users=1))
    asked = data.draw(prices_of(hour))
    sides = Market.of([hour]).sides
    prices = np.array([*asked.of("g_to_u"), *asked.of("c_to_u")])[:, None]
    dearer = prices.copy()
    dearer[-1] += 0.01
    before, after = sides.clear(prices), sides.clear(dearer)
    size = 1e-9 * sum(hour.kwh("user_load_wh"))
    assert after.x[0] >= before.x[0] * (1 - 1e-12)
    assert after.sold[-1, 0] <= before.sold[-1, 0] + size
    assert (after.sold[:-1, 0] >= before.sold[:-1, 0] - size).all()


@given(st.data())
@settings(max_examples=50)
def test_two_halves_are_the_whole(data: st.DataObject) -> None:
    hour = data.draw(hours(alone=True))
    asked = data.draw(prices_of(hour))
    surplus, load, capacity = (hour.surplus_wh, hour.user_load_wh, hour.bureau_capacity_wh)
    fields = {name: getattr(hour, name) for name in ("mu", "phi", "subsidy", "feed_in", "bounds")}
    double = Hour(surplus_wh=2 * surplus, shortage_wh=0, user_load_wh=load, bureau_capacity_wh=capacity, **fields)
    halves = Hour(
        surplus_wh=[surplus, surplus], shortage_wh=[0, 0], user_load_wh=load, bureau_capacity_wh=capacity, **fields
    )
    whole = trade(double, asked)
    parts = trade(
        halves, Prices(g_to_u=(asked.g_to_u,) * 2, g_to_c=(asked.g_to_c,) * 2, c_to_u=asked.c_to_u, c_to_g=asked.c_to_g)
    )
    assert sum(map(sum, parts.g_to_u)) == pytest.approx(sum(map(sum, whole.g_to_u)), abs=1e-6)
    assert sum(map(sum, parts.g_to_c)) == pytest.approx(sum(map(sum, whole.g_to_c)), abs=1e-6)


# --- many users, thin supply -------------------------------------------------------------------------


@pytest.mark.parametrize("mu", [0.02, 0.05, 0.2])
def test_a_thousand_values_are_as_few_at_every_price(mu: float) -> None:
    values = [0.4 + 0.2 * (number * 617 % 1000) / 999 for number in range(1000)]
    loads = [500 + number * 331 % 2000 for number in range(1000)]
    hour = Hour(surplus_wh=0, shortage_wh=0, user_load_wh=loads, value_user=values, mu=mu)
    few_loads, few_values = gather_users(hour)
    assert len(few_loads) < 70
    for price in np.linspace(0.2, 0.9, 30):
        taken = sum(load / 1000 / (1 + exp((price - value) / mu)) for load, value in zip(loads, values, strict=True))
        assert float((few_loads / (1 + np.exp((price - few_values) / mu))).sum()) == pytest.approx(taken, rel=1e-12)


@pytest.mark.parametrize("spare_wh", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("phi", [0.0, 0.3, 1.0])
def test_supply_that_hardly_suffices_clears(spare_wh: int, phi: float) -> None:
    load = 500_000_000
    hour = Hour(
        surplus_wh=0, shortage_wh=0, user_load_wh=[load], phi=phi, bureau_capacity_wh=round(load * (1 - phi)) + spare_wh
    )
    volumes = trade(hour, Prices(g_to_u=0.5, g_to_c=0.5, c_to_u=0.5, c_to_g=0.5))
    firm = (1 - phi) * load / 1000
    assert sum(map(sum, volumes.c_to_u)) == pytest.approx(firm + volumes.flexible_users[0], rel=1e-12)


@pytest.mark.parametrize("spare_wh", [0, -1])
def test_supply_that_does_not_suffice_is_named(spare_wh: int) -> None:
    hour = Hour(surplus_wh=0, shortage_wh=0, user_load_wh=[500_000], phi=0.0, bureau_capacity_wh=500_000 + spare_wh)
    with pytest.raises(NoSupplyMargin, match=r"are for sale to users who take 500\.000 kWh at any price"):
        trade(hour, Prices(g_to_u=0.5, g_to_c=0.5, c_to_u=0.5, c_to_g=0.5))
