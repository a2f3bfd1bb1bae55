"""The races against the closed forms, to within their own chance; and the same checks catch what is off by one."""

import sys

import pytest

from simulation.errors import BadSetting, MissingExtra, UnknownSetting
from simulation.experiments.scenario import SCENARIOS, load_scenario, parse_settings
from simulation.theory.formulas import (
    double_spend_exact,
    double_spend_give_up,
    double_spend_nakamoto,
    double_spend_strict,
    naive_work_revert,
    poca_shares,
    selfish_revenue,
    stale_fraction_of_miners,
    stale_probability,
)
from simulation.theory.montecarlo import (
    Count,
    Weighted,
    mine_selfishly,
    race_double_spend,
    race_naive_work,
    race_poca,
    race_stale,
    sample_double_spend,
)
from simulation.theory.statistics import exact_p, mean_p

SEED = 20_240_101
LEAST_P = 1e-4  # about a hundred comparisons with fixed seeds: all above it unless something is wrong
RACES = 40_000
TRIALS = 8
QZ = [(q, z) for q in (0.1, 0.3) for z in range(1, 7)]
RACE_SCENARIOS = [name for name, place in SCENARIOS.items() if "scenarios.races" in place]


def agrees(count: Count, chance: float) -> bool:
    return exact_p(count.successes, count.trials, chance) > LEAST_P


# --- double spend --------------------------------------------------------------------------------


@pytest.mark.parametrize(("q", "z"), QZ)
def test_drawing_level_is_the_exact_form_and_no_other(q: float, z: int) -> None:
    count = race_double_spend(q, z, RACES, SEED)
    assert agrees(count, double_spend_exact(q, z))
    for planted in (
        double_spend_exact(q, z - 1),
        double_spend_exact(q, z + 1),
        double_spend_strict(q, z),
    ):
        assert not agrees(count, planted)


@pytest.mark.parametrize(("q", "z"), QZ)
def test_getting_ahead_is_the_strict_form(q: float, z: int) -> None:
    count = race_double_spend(q, z, RACES, SEED, lead=1)
    assert agrees(count, double_spend_strict(q, z))
    assert not agrees(count, double_spend_exact(q, z))


def test_the_races_tell_nakamoto_s_form_from_the_exact_one() -> None:
    assert not agrees(race_double_spend(0.3, 6, RACES, SEED), double_spend_nakamoto(0.3, 6))


@pytest.mark.parametrize(("q", "z", "give_up"), [(0.3, 2, 1), (0.3, 6, 3), (0.4, 6, 6), (0.4, 3, 5), (0.6, 6, 4)])
def test_giving_up(q: float, z: int, give_up: int) -> None:
    count = race_double_spend(q, z, RACES, SEED, give_up=give_up)
    assert agrees(count, double_spend_give_up(q, z, give_up))
    assert not agrees(count, double_spend_give_up(q, z, give_up + 1))


def deviations(sample: Weighted, chance: float) -> float:
    return abs(sample.value - chance) / sample.variance**0.5


@pytest.mark.parametrize(("q", "z"), [(0.3, 50), (0.1, 10), (0.1, 60), (0.45, 300), (0.3, 0)])
@pytest.mark.parametrize(("lead", "formula"), [(0, double_spend_exact), (1, double_spend_strict)])
def test_small_chances_by_tilting(q: float, z: int, lead: int, formula) -> None:
    sample = sample_double_spend(q, z, RACES, SEED, lead=lead)
    chance = formula(q, z)
    assert sample.value == pytest.approx(chance, rel=0.05, abs=0)
    if z:
        assert sample.variance**0.5 < 0.02 * chance
        assert deviations(sample, chance) < 4
        assert deviations(sample, formula(q, z + 10)) > 4


def test_tilting_and_counting_agree_where_both_can() -> None:
    sample, count = sample_double_spend(0.3, 4, RACES, SEED), race_double_spend(0.3, 4, RACES, SEED)
    assert agrees(count, sample.value)


@pytest.mark.parametrize(("z", "weight"), [(0, 1), (3, 1), (0, 20), (6, 20), (30, 20), (6, 1_000), (2_500, 1_000)])
def test_a_low_credit_fork_under_the_naive_rule(z: int, weight: int) -> None:
    count = race_naive_work(0.3, z, weight, RACES, SEED)
    assert agrees(count, naive_work_revert(0.3, z, weight))
    assert not agrees(count, naive_work_revert(0.3, z + weight, weight))


def test_credit_cancels_out_so_that_the_chance_tends_to_the_ratio_of_hash_rates() -> None:
    assert agrees(race_naive_work(0.3, 6, 100_000, RACES, SEED), 3 / 7)
    assert not agrees(race_naive_work(0.3, 6, 10, RACES, SEED), 3 / 7)


# --- selfish mining, stale blocks, credit --------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.33, 0.45])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_selfish_revenue(alpha: float, gamma: float) -> None:
    counts = [mine_selfishly(alpha, gamma, 20_000, SEED + trial) for trial in range(TRIALS)]
    revenues = [count.pool / (count.pool + count.others) for count in counts]
    assert mean_p(revenues, selfish_revenue(alpha, gamma)) > LEAST_P
    assert mean_p(revenues, selfish_revenue(alpha + 0.02, gamma)) < LEAST_P


def test_a_state_machine_that_forgets_one_block_in_twenty_is_caught() -> None:
    counts = [mine_selfishly(0.33, 0.5, 20_000, SEED + trial) for trial in range(TRIALS)]
    forgetful = [(count.pool - count.pool // 20) / (count.pool + count.others) for count in counts]
    assert mean_p(forgetful, selfish_revenue(0.33, 0.5)) < LEAST_P


@pytest.mark.parametrize("ratio", [0.15, 0.4, 1.0])
def test_stale_blocks_of_many_miners(ratio: float) -> None:
    counts = [race_stale(ratio, 1.0, 5_000, 20_000, SEED + trial) for trial in range(TRIALS)]
    fractions = [count.stale / count.blocks for count in counts]
    assert mean_p(fractions, stale_fraction_of_miners(ratio, 1.0, 5_000)) > LEAST_P
    assert mean_p(fractions, stale_probability(ratio, 1.0)) < LEAST_P  # per block found, not among all of them


def test_no_delay_and_no_other_miner_leave_nothing_stale() -> None:
    assert race_stale(0.0, 1.0, 10, 1_000, SEED).stale == 0
    assert race_stale(5.0, 1.0, 1, 1_000, SEED).stale == 0


@pytest.mark.parametrize("tau", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("hash_rates", [(), (4.0, 2.0, 1.0)])
def test_blocks_go_by_credit_and_hash_rate(tau: float, hash_rates: tuple[float, ...]) -> None:
    credits = (90.0, 93.0, 95.0)
    wins = race_poca(credits, tau, RACES, SEED, hash_rates)
    assert sum(wins) == RACES
    for won, share in zip(wins, poca_shares(credits, tau, hash_rates), strict=True):
        assert exact_p(won, RACES, share) > LEAST_P
    planted = poca_shares((91.0, 93.0, 95.0), tau, hash_rates)  # one point too many
    assert min(exact_p(won, RACES, share) for won, share in zip(wins, planted, strict=True)) < LEAST_P


def test_a_race_of_extreme_credits_and_of_one_who_does_not_search() -> None:
    assert race_poca((0.0, 100.0), 0.1, 500, SEED) == (0, 500)
    assert race_poca((0.0, 100.0), 0.1, 500, SEED, (1.0, 0.0)) == (500, 0)


# --- seeds and scenarios -------------------------------------------------------------------------


def test_a_seed_gives_the_same_race_and_another_one_another() -> None:
    assert race_double_spend(0.3, 3, 1_000, 7) == race_double_spend(0.3, 3, 1_000, 7)
    assert mine_selfishly(0.3, 0.5, 1_000, 7) != mine_selfishly(0.3, 0.5, 1_000, 8)
    assert race_double_spend(0.3, 3, 1_000, 7) == Count(successes=340, trials=1_000)  # on every machine


@pytest.mark.parametrize("name", RACE_SCENARIOS)
def test_every_race_is_a_scenario_whose_metrics_meet_their_theory(name: str) -> None:
    scenario = load_scenario(name)
    settings = parse_settings(scenario, {})
    rows = [scenario.run(settings, seed).row for seed in range(8)]
    assert scenario.run(settings, 0).row == rows[0]
    for metric in scenario.metrics:
        theory = metric.theory(settings) if metric.theory else None
        values = [float(row[metric.column]) for row in rows]
        if theory is None:
            continue
        if metric.kind == "share":
            assert exact_p(int(sum(values)), sum(int(row[metric.out_of]) for row in rows), theory.value) > LEAST_P
        else:
            assert mean_p(values, theory.value) > LEAST_P


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [
        ("double-spend-race", {"q": "1"}, BadSetting),
        ("double-spend-race", {"z": "-1"}, BadSetting),
        ("double-spend-tail", {"q": "0"}, BadSetting),
        ("naive-work-race", {"weight": "0"}, BadSetting),
        ("selfish-race", {"gamma": "1.1"}, BadSetting),
        ("stale-race", {"delay_s": "-1"}, BadSetting),
        ("poca-race", {"tau": "0"}, BadSetting),
        ("poca-race", {"lowest": "99", "highest": "90"}, BadSetting),
        ("poca-race", {"credit": "99"}, UnknownSetting),
    ],
)
def test_impossible_settings_are_named(name: str, given: dict[str, str], error) -> None:
    with pytest.raises(error):
        parse_settings(load_scenario(name), given)


def test_without_numpy_a_race_says_what_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.delitem(sys.modules, "simulation.theory.montecarlo")
    scenario = load_scenario("poca-race")
    with pytest.raises(MissingExtra, match="a race needs numpy"):
        scenario.run(parse_settings(scenario, {}), 0)


def test_each_race_is_held_against_its_own_theory() -> None:
    scenario = load_scenario("double-spend-race")
    (metric,) = scenario.metrics
    assert metric.theory is not None

    def name(**given: object) -> str | None:
        theory = metric.theory(parse_settings(scenario, given))
        return theory and theory.name

    assert name(goal="tie") == "double_spend_exact"
    assert name(goal="ahead") == "double_spend_strict"
    assert name(give_up=5) == "double_spend_give_up"
    assert name(give_up=5, goal="ahead") == "double_spend_strict_give_up"
