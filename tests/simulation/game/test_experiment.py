"""The experiment of text 001: who plays with what energy, what is solved, and the paper's 12:00."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.game.day import cast, list_energy, make_hours
from market.game.hour import DIRECTIONS, as_tuple
from market.game.regret import compute_regret
from market.profile import Profile, parse_profile
from simulation.game.experiment import PAPER_NOON, Experiment, Plan, make_players, run_experiment, share_out

PROFILE = Path(__file__).parents[3] / "configs/profiles/rts_gmlc_day.csv"


@pytest.fixture(scope="module")
def day() -> Profile:
    return parse_profile(PROFILE.read_text())


@pytest.fixture(scope="module")
def result(day: Profile) -> Experiment:
    return run_experiment(day, Plan())


def cut(day: Profile, first: int, last: int) -> Profile:
    return replace(day, hours_ms=day.hours_ms[first:last])


# --- the shipped day -------------------------------------------------------------------------------


def test_every_hour_of_the_shipped_day_is_solved_and_its_regret_is_the_one_that_is_reckoned_anew(
    result: Experiment,
) -> None:
    assert len(result.hours) == 24
    assert result.unsettled == []
    for one in result.hours:
        assert one.regret == pytest.approx(compute_regret(one.hour, one.prices), abs=1e-12)
        assert one.regret < 1e-12


def test_one_company_one_bureau_and_two_users_are_the_profiles_own(day: Profile, result: Experiment) -> None:
    assert [one.hour for one in result.hours] == make_hours(day, "forecast")


def test_the_papers_noon_stands_beside_ours(result: Experiment) -> None:
    noon = result.noon
    assert noon is not None
    assert noon.solved is result.hours[12]
    assert noon.regret == pytest.approx(compute_regret(noon.solved.hour, PAPER_NOON)) == pytest.approx(0.143, abs=1e-3)
    assert noon.printed_regret == pytest.approx(0.103, abs=1e-3)
    assert noon.our_printed_regret > 0.1, "no equilibrium of ours is one of the printed game"


def test_a_profile_without_noon_has_no_noon(day: Profile) -> None:
    assert run_experiment(cut(day, 0, 3), Plan()).noon is None


def test_ants_find_what_best_response_finds(day: Profile, result: Experiment) -> None:
    heard: list[tuple[int, int]] = []
    found = run_experiment(cut(day, 11, 13), Plan(solver="ants", seed=3), lambda *pair: heard.append(pair))
    for ours, theirs in zip(found.hours, result.hours[11:13], strict=True):
        for name in DIRECTIONS:
            assert ours.prices.of(name) == pytest.approx(theirs.prices.of(name), abs=1e-5)
    assert heard[-1] == (2, 2)
    assert heard == sorted(heard)


def test_an_hour_that_does_not_settle_is_marked_and_the_others_are_solved(day: Profile) -> None:
    found = run_experiment(cut(day, 0, 2), Plan(series="actual", mu=0.02))
    assert [one.is_settled for one in found.hours] == [False, True]
    assert 1e-3 < found.hours[0].regret < 0.1


def test_days_are_solved_one_by_one(day: Profile, result: Experiment) -> None:
    hour_ms = day.hours_ms[-1] + 3_600_000
    longer = replace(
        day,
        hours_ms=(*day.hours_ms, hour_ms),
        readings={**day.readings, **{(p.name, hour_ms): day.readings[p.name, day.hours_ms[0]] for p in day.players}},
    )
    heard: list[int] = []
    found = run_experiment(longer, Plan(), lambda done, _total: heard.append(done))
    assert heard == sorted(heard)
    assert heard[-1] == 25
    for name in DIRECTIONS:
        assert found.hours[24].mean_price(name) == pytest.approx(result.hours[0].mean_price(name), abs=1e-9)


# --- more players ----------------------------------------------------------------------------------


@given(st.integers(0, 10**12), st.lists(st.floats(1, 3), min_size=1, max_size=40))
def test_what_is_shared_out_sums_to_the_whole(whole: int, weights: list[float]) -> None:
    parts = share_out(whole, weights)
    assert sum(parts) == whole
    assert min(parts) >= 0
    for part, weight in zip(parts, weights, strict=True):
        assert part == pytest.approx(whole * weight / sum(weights), abs=1.01)


def test_more_players_share_the_same_energy(day: Profile) -> None:
    energies = list_energy(day, "actual", cast(day))
    hours = make_players(energies, Plan(companies=7, bureaus=3, users=50))
    for energy, hour in zip(energies, hours, strict=True):
        assert (hour.companies, hour.bureaus, hour.users) == (7, 3, 50)
        balance = sum(as_tuple(hour.surplus_wh)) - sum(as_tuple(hour.shortage_wh))
        assert balance == energy.plants_wh - energy.own_load_wh
        assert sum(hour.user_load_wh) == sum(energy.user_load_wh) == sum(as_tuple(hour.bureau_capacity_wh or 0))
        assert 0.4 <= min(hour.per_player("value_user")) < max(hour.per_player("value_user")) <= 0.6
    assert any(sum(as_tuple(one.surplus_wh)) and sum(as_tuple(one.shortage_wh)) for one in hours), (
        "some lack, some have"
    )


def test_the_same_seed_gives_the_same_players(day: Profile) -> None:
    energies = list_energy(day, "forecast", cast(day))[:1]
    plan = Plan(companies=3, users=5, seed=4)
    assert make_players(energies, plan) == make_players(energies, plan)
    assert make_players(energies, plan) != make_players(energies, replace(plan, seed=5))


def test_a_mean_price_is_by_volume(day: Profile) -> None:
    (one,) = run_experiment(cut(day, 12, 13), Plan(companies=3, bureaus=2, users=5)).hours
    volumes = [sum(row) for row in one.volumes.g_to_u]
    paid = sum(price * kwh for price, kwh in zip(one.prices.of("g_to_u"), volumes, strict=True))
    assert one.mean_price("g_to_u") == pytest.approx(paid / one.sum_volume("g_to_u"))
