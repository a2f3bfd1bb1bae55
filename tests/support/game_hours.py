"""Hours of the game and prices within their bounds, drawn."""

from __future__ import annotations

from hypothesis import strategies as st

from market.game.hour import DIRECTIONS, Hour, Prices

ENERGY = st.one_of(st.just(0), st.integers(1, 2_000_000))


@st.composite
def hours(draw: st.DrawFn, *, least_users: int = 0, alone: bool = False) -> Hour:
    """Hours that can be served: up to three companies and bureaus, or one of each given as numbers."""
    companies, bureaus = (1, 1) if alone else (draw(st.integers(0, 3)), draw(st.integers(1, 3)))
    surplus, shortage = [0] * companies, [0] * companies
    for index in range(companies):
        draw(st.sampled_from([surplus, shortage]))[index] = draw(ENERGY)
    loads = draw(st.lists(ENERGY, min_size=least_users, max_size=4))
    capacity = draw(st.lists(ENERGY, min_size=bureaus, max_size=bureaus))
    capacity[0] += sum(loads) + draw(st.integers(0, 1000))
    values = st.floats(0.3, 0.8)
    return Hour(
        surplus_wh=surplus[0] if alone else surplus,
        shortage_wh=shortage[0] if alone else shortage,
        user_load_wh=loads,
        bureau_capacity_wh=capacity[0] if alone else capacity,
        mu=draw(st.sampled_from([0.02, 0.05, 0.1, 0.2])),
        phi=draw(st.sampled_from([0.1, 0.3, 1.0])),
        value_user=draw(st.one_of(values, st.lists(values, min_size=len(loads), max_size=len(loads)))),
        subsidy=draw(st.sampled_from([0.0, 0.05, 0.3])),
    )


@st.composite
def prices_of(draw: st.DrawFn, hour: Hour) -> Prices:
    """Prices within an hour's bounds."""
    quotes = {}
    for direction in DIRECTIONS:
        low, high = hour.bounds[direction]
        count = hour.companies if direction.startswith("g") else hour.bureaus
        quotes[direction] = draw(st.lists(st.floats(low, high), min_size=count, max_size=count))
    return hour.make_prices(**quotes)
