"""Hours and prices: what is taken for one, and what is refused by name."""

from __future__ import annotations

import subprocess
import sys
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from market.errors import BadHour, BadProfile, NoSupplyMargin, PriceOutOfBounds
from market.game import ants, best_response
from market.game.day import Roles, cast, make_hours
from market.game.hour import Hour, Prices
from market.game.merit_order import trade
from market.game.regret import compute_regret, compute_regrets
from market.profile import parse_profile

PROFILE = Path(__file__).parents[3] / "configs/profiles/rts_gmlc_day.csv"
FIELDS: dict[str, Any] = {"surplus_wh": 600_000, "shortage_wh": 0, "user_load_wh": [180_000, 240_000]}
PRICES = {"g_to_u": 0.6, "g_to_c": 0.5, "c_to_u": 0.5, "c_to_g": 0.4}
LISTED = {"surplus_wh": [600_000], "shortage_wh": [0], "bureau_capacity_wh": [420_000]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mu": 0.019}, r"with mu 0\.019, want a number from 0\.02 to 0\.2"),
        ({"mu": 0.21}, "with mu"),
        ({"mu": nan}, "with mu nan"),
        ({"mu": "0.05"}, "with mu '0.05'"),
        ({"phi": -0.1}, "with phi"),
        ({"phi": 1.1}, "with phi"),
        ({"subsidy": -0.01}, "with subsidy"),
        ({"feed_in": inf}, "with feed_in inf"),
        ({"surplus_wh": -1}, "with surplus_wh -1, want whole Wh from 0"),
        ({"surplus_wh": nan}, "with surplus_wh nan"),
        ({"surplus_wh": 0.5}, "with surplus_wh 0.5"),
        ({"surplus_wh": True}, "with surplus_wh True"),
        ({"surplus_wh": None}, "with surplus_wh None"),
        ({"shortage_wh": 10**16}, "with shortage_wh"),
        ({"shortage_wh": [0]}, "with shortage_wh .*, want a number or a list, as surplus_wh is"),
        ({"surplus_wh": [1, 2], "shortage_wh": [0]}, "with shortage_wh 1 values, want 2, one for each"),
        ({"user_load_wh": [1, -1]}, "with user_load_wh -1"),
        ({"user_load_wh": [1, nan]}, "with user_load_wh nan"),
        ({"user_load_wh": 1}, "with user_load_wh"),
        ({"user_load_wh": 1, "bureau_capacity_wh": 5}, "with user_load_wh 1, want a list"),
        ({"bureau_capacity_wh": -5}, "with bureau_capacity_wh -5"),
        ({"bureau_cost": nan}, "with bureau_cost nan, want a number from 0 to 10"),
        ({"bureau_cost": [0.4, 0.4]}, "with bureau_cost 2 values, want 1"),
        ({"value_user": [0.5]}, "with value_user 1 values, want 2"),
        ({"value_company": 11}, "with value_company 11"),
        ({"bounds": {"g_to_u": (0.5, 0.7)}}, "with bounds .*, want a pair for each of g_to_u, g_to_c, c_to_u, c_to_g"),
        ({"bounds": dict.fromkeys(PRICES, (0.7, 0.5))}, "with bounds of g_to_u"),
        ({"bounds": dict.fromkeys(PRICES, (nan, 0.5))}, "with bounds of g_to_u nan"),
        ({"bounds": dict.fromkeys(PRICES, (0.1, 0.2, 0.3))}, "with bounds of g_to_u"),
    ],
)
def test_an_hour_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadHour, match=message):
        Hour(**FIELDS | fields)


@pytest.mark.parametrize(
    "price",
    [nan, inf, -0.1, 0.49999, 0.70001, (0.6, 0.6), ()],
    ids=["nan", "inf", "negative", "low", "high", "two", "none"],
)
def test_prices_out_of_bounds_are_refused(price: Any) -> None:
    prices = Prices(**PRICES | {"g_to_u": price})
    for use in (compute_regret, trade):
        with pytest.raises(PriceOutOfBounds, match=r"g_to_u has .* for a price, want yuan/kWh from 0\.5 to 0\.7"):
            use(Hour(**FIELDS), prices)


def test_an_hour_nobody_can_serve_is_refused_by_every_solver() -> None:
    hour = Hour(surplus_wh=0, shortage_wh=0, user_load_wh=[100_000], bureau_capacity_wh=70_000)
    for use in (best_response.solve, lambda hour: ants.solve(hour, seed=1), lambda hour: compute_regret(hour, LOW)):
        with pytest.raises(NoSupplyMargin, match=r"70\.000 kWh are for sale to users who take 70\.000 kWh"):
            use(hour)


def test_users_who_would_do_without_are_not_served_by_nobody_either() -> None:
    hour = Hour(surplus_wh=0, shortage_wh=0, user_load_wh=[100_000], bureau_capacity_wh=0, phi=1.0)
    for use in (best_response.solve, lambda hour: ants.solve(hour, seed=1), lambda hour: trade(hour, LOW)):
        with pytest.raises(NoSupplyMargin, match=r"0\.000 kWh are for sale"):
            use(hour)


LOW = Prices(g_to_u=0.5, g_to_c=0.5, c_to_u=0.4, c_to_g=0.4)


@pytest.mark.parametrize(
    "fields",
    [
        {"surplus_wh": 0, "user_load_wh": [0, 0]},
        {"surplus_wh": 0, "user_load_wh": []},
        {"surplus_wh": 0, "user_load_wh": [], "bureau_capacity_wh": 5},
        {"surplus_wh": 0, "user_load_wh": [0], "bureau_capacity_wh": 5},
    ],
)
def test_an_hour_without_trade_has_the_lower_bounds_for_prices(fields: dict[str, Any]) -> None:
    hour = Hour(**FIELDS | fields)
    assert best_response.solve(hour) == ants.solve(hour, seed=1) == LOW
    assert compute_regret(hour, LOW) == 0
    volumes = trade(hour, LOW)
    assert volumes.clearing_price is None
    assert sum(map(sum, (*volumes.g_to_u, *volumes.c_to_u, *volumes.g_to_c, *volumes.c_to_g))) == 0


def test_hours_equations_and_the_integer_rule_need_no_numpy() -> None:
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "import market.game.day, market.game.hour, market.game.payoffs, market.trading.clearing_rules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=PROFILE.parents[2], check=True)


def test_no_hours_give_no_prices() -> None:
    assert best_response.solve_hours([]) == ants.solve_hours([], seed=1) == compute_regrets([], []) == []


def test_prices_have_the_form_of_their_hour() -> None:
    one, listed = Hour(**FIELDS), Hour(**FIELDS | LISTED)
    assert best_response.solve(listed).of("c_to_u") == best_response.solve(one).of("c_to_u")
    assert isinstance(best_response.solve(one).g_to_u, float)
    assert best_response.solve(listed).g_to_u == (best_response.solve(one).g_to_u,)


@pytest.mark.parametrize("users", [[], [0]])
def test_an_hour_without_sellers_has_no_prices(users: list[int]) -> None:
    hour = Hour(surplus_wh=[], shortage_wh=[], user_load_wh=users, bureau_capacity_wh=[])
    prices = best_response.solve(hour)
    assert prices == ants.solve(hour, seed=1) == Prices(g_to_u=(), g_to_c=(), c_to_u=(), c_to_g=())
    assert compute_regret(hour, prices) == 0
    volumes = trade(hour, prices)
    assert (volumes.clearing_price, volumes.flexible_users) == (None, tuple(0.0 for _ in users))


def test_nobody_on_a_side_is_no_fault() -> None:
    """Bureaus alone, companies alone, and players with nothing to sell."""
    bureaus = Hour(surplus_wh=[], shortage_wh=[], user_load_wh=[1_000], bureau_capacity_wh=[900, 900])
    assert best_response.solve(bureaus).g_to_u == ()
    companies = Hour(surplus_wh=[2_000, 0], shortage_wh=[0, 5], user_load_wh=[1_000], bureau_capacity_wh=[])
    prices = best_response.solve(companies)
    assert prices.c_to_u == ()
    assert prices.of("g_to_u")[1] == 0.5
    assert prices.of("g_to_c") == (0.5, 0.5)
    for hour in (bureaus, companies):
        assert compute_regret(hour, best_response.solve(hour)) < 1e-12
        assert compute_regret(hour, ants.solve(hour, seed=1)) < 1e-6


def test_hours_of_other_players_are_not_solved_together() -> None:
    two = Hour(**FIELDS | {"surplus_wh": [1, 2], "shortage_wh": [0, 0]})
    with pytest.raises(BadHour, match=r"with players 2 companies and 1 bureaus, want 1 companies and 1 bureaus"):
        best_response.solve_hours([Hour(**FIELDS), two])


def test_a_profile_without_an_hour_or_a_player_is_refused() -> None:
    text = PROFILE.read_text()
    gap = "".join(line for line in text.splitlines(keepends=True) if "T05:00" not in line)
    with pytest.raises(BadProfile, match="a gap between the hours"):
        parse_profile(gap)
    profile = parse_profile(text)
    for roles in (Roles(("homes-9",), ()), Roles((), (("homes-3", "pv-101"),))):
        with pytest.raises(BadHour, match=r"with player '(homes-9|pv-101)', want a consumer of the profile"):
            make_hours(profile, "actual", roles=roles)


@pytest.mark.parametrize(
    ("players", "message"),
    [
        ("sun,producer anna,consumer bert,consumer", "with players 2 consumers, want 3: two users and an own load"),
        ("anna,consumer bert,consumer carl,consumer", "with players no producer, want one, the company's plant"),
    ],
)
def test_a_profile_that_is_too_small_for_the_game_is_refused(players: str, message: str) -> None:
    lines = [f"2020-07-15T00:00:00Z,{player},5,5" for player in players.split()]
    profile = parse_profile("\n".join(["hour,player,role,forecast_wh,actual_wh", *lines]))
    with pytest.raises(BadHour, match=message):
        make_hours(profile, "actual")


def test_a_quarter_of_the_consumers_is_the_companys_load_and_the_rest_two_users() -> None:
    assert cast(parse_profile(PROFILE.read_text())) == Roles(
        ("homes-1", "homes-2"), (("homes-3", "homes-4", "homes-5"), ("homes-6", "homes-7", "homes-8"))
    )
