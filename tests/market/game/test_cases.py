"""The reference cases and the shipped day: prices, volumes and payoffs, and that nobody gains by another price."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from market.game import ants, best_response, incomes
from market.game.day import make_hours
from market.game.hour import DIRECTIONS, Hour, Prices
from market.game.merit_order import trade
from market.game.payoffs import compute_payoffs
from market.game.regret import compute_regret, compute_regrets
from market.profile import parse_profile

ROOT = Path(__file__).parents[3]
CASES = json.loads((Path(__file__).parent / "cases.json").read_text())["cases"]
HOURS = [Hour(**case["inputs"]) for case in CASES]
REFERENCES = [Prices(**case["prices"]) for case in CASES]
NAMES = [f"{case['series']}-{case['hour']}-mu-{case['inputs']['mu']}-phi-{case['inputs']['phi']}" for case in CASES]

SEEDS = (1, 2, 3)
TOLERANCE = 1e-5  # yuan/kWh
SOLVED = 1e-6


def find_furthest(found: list[Prices], wanted: list[Prices]) -> float:
    """The largest difference of any price."""
    return max(
        abs(getattr(one, name) - getattr(other, name))
        for one, other in zip(found, wanted, strict=True)
        for name in DIRECTIONS
    )


@pytest.fixture(scope="module", params=["forecast", "actual"])
def day(request: pytest.FixtureRequest) -> list[Hour]:
    profile = parse_profile((ROOT / "configs/profiles/rts_gmlc_day.csv").read_text())
    return make_hours(profile, request.param)


# --- the cases -----------------------------------------------------------------------------------


def test_best_response_finds_the_reference_prices() -> None:
    assert find_furthest(best_response.solve_hours(HOURS), REFERENCES) < 1e-8


@pytest.mark.parametrize("seed", SEEDS)
def test_ants_find_the_reference_prices(seed: int) -> None:
    found = ants.solve_hours(HOURS, seed=seed)
    assert find_furthest(found, REFERENCES) < TOLERANCE
    assert max(compute_regrets(HOURS, found)) < SOLVED


@pytest.mark.parametrize(("case", "hour", "prices"), [*zip(CASES, HOURS, REFERENCES, strict=True)], ids=NAMES)
def test_volumes_and_payoffs_at_the_reference_prices(case: dict, hour: Hour, prices: Prices) -> None:
    volumes = trade(hour, prices)
    wanted = case["volumes_kwh"]
    assert volumes.clearing_price == pytest.approx(case["clearing_lambda"], abs=1e-7)
    for direction in DIRECTIONS:
        assert sum(map(sum, getattr(volumes, direction))) == pytest.approx(wanted[direction], abs=1e-4)
    assert volumes.feed_in == pytest.approx([wanted["feed_in"]], abs=1e-4)
    taken = [sum(parts) for parts in zip(*volumes.g_to_u, *volumes.c_to_u, strict=True)]
    assert taken == pytest.approx(wanted["users"], abs=1e-4)
    payoffs = compute_payoffs(hour, prices, volumes)
    assert payoffs.companies == pytest.approx([case["payoffs_yuan"]["company"]], abs=1e-5)
    assert payoffs.bureaus == pytest.approx([case["payoffs_yuan"]["bureau"]], abs=1e-5)
    assert payoffs.users == pytest.approx(case["payoffs_yuan"]["users"], abs=1e-5)


@pytest.mark.parametrize(("hour", "prices"), [*zip(HOURS, REFERENCES, strict=True)], ids=NAMES)
def test_at_the_reference_prices_nobody_gains(hour: Hour, prices: Prices) -> None:
    assert compute_regret(hour, prices) < 1e-12


def test_a_finer_grid_finds_no_gain_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incomes, "_CELL", 0.02)
    assert max(compute_regrets(HOURS, REFERENCES)) < 1e-12


# --- the shipped day -------------------------------------------------------------------------------


def test_best_response_solves_every_hour_of_the_shipped_day(day: list[Hour]) -> None:
    assert len(day) == 24
    assert max(compute_regrets(day, best_response.solve_hours(day))) < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_ants_solve_every_hour_of_the_shipped_day_alike(day: list[Hour], seed: int) -> None:
    found = ants.solve_hours(day, seed=seed)
    assert max(compute_regrets(day, found)) < SOLVED
    assert find_furthest(found, best_response.solve_hours(day)) < TOLERANCE


def test_the_cases_are_hours_of_the_shipped_day() -> None:
    profile = parse_profile((ROOT / "configs/profiles/rts_gmlc_day.csv").read_text())
    for case, hour in zip(CASES, HOURS, strict=True):
        same = make_hours(profile, case["series"], mu=hour.mu, phi=hour.phi)[case["hour"]]
        assert same == hour
