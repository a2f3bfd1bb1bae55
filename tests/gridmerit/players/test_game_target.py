"""The dispatcher's target: the game of an hour by its forecasts, between the grid company's tariffs."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from gridmerit.network.parameters import load_packaged_profile
from gridmerit.output import format_error
from gridmerit.players.game_target import expect, load_solver
from ledger.params import MarketParams
from market.errors import BadHour
from market.game.hour import Prices
from market.game.regret import compute_regret
from market.game.target import compute_target, make_hour
from simulation.errors import MissingExtra

PROFILE, MARKET = load_packaged_profile(), MarketParams()
NOON = 12


def test_an_hour_has_the_plants_of_one_company_and_every_consumer_for_a_user() -> None:
    hour = make_hour(expect(PROFILE, NOON), MARKET)
    forecast = {p.name: PROFILE.readings[p.name, PROFILE.hours_ms[NOON]].forecast_wh for p in PROFILE.players}
    plants = [player.name for player in PROFILE.players if player.role == "producer"]
    assert hour.surplus_wh == sum(forecast[name] for name in plants)
    assert sorted(hour.user_load_wh) == sorted(wh for name, wh in forecast.items() if name not in plants)
    assert set(hour.bounds.values()) == {(0.41, 0.615)}
    assert (hour.companies, hour.bureaus) == (1, 1)


def test_nobody_gains_by_another_price_than_the_target() -> None:
    solve = load_solver()
    hour, target = make_hour(expect(PROFILE, NOON), MARKET), compute_target(expect(PROFILE, NOON), MARKET, solve)
    assert compute_regret(hour, Prices(**{way: price / 1e6 for way, price in target._asdict().items()})) < 1e-6
    assert target == compute_target(expect(PROFILE, NOON), MARKET, solve), "the same for every dispatcher"
    assert 410_000 < target.g_to_u < 615_000


@pytest.mark.parametrize("hour", [0, 6, NOON, 23])
def test_every_hours_prices_lie_between_the_tariffs(hour: int) -> None:
    target = compute_target(expect(PROFILE, hour), MARKET, load_solver())
    assert all(410_000 <= price <= 615_000 for price in target)


def test_an_hour_in_which_nobody_needs_anything_has_a_target_too() -> None:
    idle = {key: reading._replace(forecast_wh=0) for key, reading in PROFILE.readings.items()}
    target = compute_target(expect(replace(PROFILE, readings=idle), NOON), MARKET, load_solver())
    assert all(410_000 <= price <= 615_000 for price in target)


def test_tariffs_that_leave_no_room_are_refused_by_name() -> None:
    market = MARKET.model_copy(update={"feed_in_uyuan_per_kwh": 700_000})
    with pytest.raises(BadHour, match="bounds of g_to_u"):
        compute_target(expect(PROFILE, NOON), market, load_solver())


def test_without_numpy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "market.game.best_response", None)
    with pytest.raises(MissingExtra) as caught:
        load_solver()
    text = format_error(caught.value)
    assert "the target of a period needs numpy, which is not installed" in text
    assert 'pip install "gridmerit[lab]"' in text
