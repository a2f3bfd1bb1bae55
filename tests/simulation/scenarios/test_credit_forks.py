"""Attacks that only credit-scaled difficulty has: each works with its mitigation off, and is held with it on.

An estimate agrees with theory when its own interval holds it, and two differ when their intervals are apart.
"""

from math import exp, inf

import pytest

from simulation.errors import BadSetting
from simulation.experiments.estimates import make_estimates
from simulation.experiments.scenario import load_scenario, parse_settings
from simulation.experiments.sweep import make_sweep
from simulation.report.document import show_cut_off, show_estimate
from simulation.scenarios.credit_forks import compute_stall, compute_wait
from simulation.theory.statistics import clopper_pearson, mean_interval

CONFIDENCE = 0.99


def run(name, trials, **settings):
    """The rows of so many trials, seeds 0, 1, …"""
    scenario = load_scenario(name)
    given = parse_settings(scenario, settings)
    return [scenario.run(given, seed).row for seed in range(trials)]


def share(rows, column, out_of):
    """The interval of a share over all rows."""
    return clopper_pearson(sum(row[column] for row in rows), sum(row[out_of] for row in rows), CONFIDENCE)


def theory(name, metric, **settings):
    scenario = load_scenario(name)
    found = next(each for each in scenario.metrics if each.name == metric)
    return found.theory(parse_settings(scenario, settings)).value


def assert_agrees(interval, expected):
    low, high = interval
    assert low <= expected <= high, (interval, expected)


# --- low-credit forks ------------------------------------------------------------------------------


def test_under_the_naive_rule_a_low_credit_fork_wins_as_often_as_its_hash_power_has_it():
    # 40 % of the hash power at an eighth of the others' target, four blocks behind
    naive = run("credit-fork", 24, work="naive")
    interval = share(naive, "heavier", "attempts")
    assert_agrees(interval, theory("credit-fork", "fork became heavier", work="naive"))
    assert interval[0] > 0.2
    assert sum(row["reverted"] for row in naive) > 0


def test_a_fork_of_rare_blocks_gives_up_before_it_has_found_one():
    settings = {"work": "naive", "weight": 100, "z": 1, "give_up": 10, "honest": 1}
    expected = theory("credit-fork", "fork became heavier", **settings)
    assert_agrees(share(run("credit-fork", 40, **settings), "heavier", "attempts"), expected)
    assert expected < 0.1  # and with all the time in the world 0.66


def test_where_work_is_free_of_credit_it_does_not():
    rows = run("credit-fork", 24)
    assert_agrees(share(rows, "heavier", "attempts"), theory("credit-fork", "fork became heavier"))
    assert sum(row["reverted"] for row in rows) == 0


def test_checkpoints_bound_even_the_naive_rule():
    free, held = (run("credit-fork", 16, work="naive", slot_blocks=blocks) for blocks in (0, 3))
    assert sum(row["reverted"] for row in held) < sum(row["reverted"] for row in free)
    assert max(row["deepest_reorg"] for row in held) < max(row["deepest_reorg"] for row in free)


def test_one_member_s_own_fork_is_held_by_diversity():
    majority = {"q": 0.6, "weight": 1, "z": 6}
    off = run("credit-fork", 6, **majority)
    on = run("credit-fork", 6, **majority, diversity_window=12, diversity_limit=6)
    assert share(off, "heavier", "attempts")[0] > share(on, "heavier", "attempts")[0]
    assert sum(row["reverted"] for row in off) > 3
    assert [row["reverted"] for row in on] == [0] * 6


# --- loss of the best member -----------------------------------------------------------------------


def test_without_relief_the_loss_of_the_best_member_stops_the_chain_and_with_it_not():
    never = run("best-member-lost", 4, relief_after=0, patience=200)
    assert [row["stalled"] for row in never] == [1] * 4
    relieved = [row["waited"] for row in run("best-member-lost", 20)]
    assert_agrees(mean_interval(relieved, CONFIDENCE), theory("best-member-lost", "wait for the next block"))


def test_the_wait_is_counted_from_the_loss_to_the_very_next_block():
    settings = {"best": 90.0}  # no better than the others, which go on at three quarters of the rate
    waited = [row["waited"] for row in run("best-member-lost", 60, **settings)]
    expected = theory("best-member-lost", "wait for the next block", **settings)
    assert expected == pytest.approx(4 / 3, rel=1e-3)
    assert_agrees(mean_interval(waited, CONFIDENCE), expected)


def test_the_wait_has_its_closed_form():
    assert (compute_wait(0.5, 0), compute_stall(0.5, 0, 10_000)) == (2.0, pytest.approx(0.0))
    assert compute_stall(1e-3, 0, 100) == pytest.approx(0.9048374)  # e^−0.1
    assert compute_stall(1e-3, 98, 100) == pytest.approx(exp(-0.101))  # 98 intervals, one as fast, one twice
    assert 12 < compute_wait(1e-6, 12) < 12 + 21  # 2^20 is a million
    assert compute_wait(1e-3, 10**6) == pytest.approx(1_000)


def test_a_wait_that_is_cut_off_is_a_lower_bound_beside_the_mean_of_all_waits():
    scenario = load_scenario("best-member-lost")
    settings = {"relief_after": 0, "patience": 200}
    rows = run("best-member-lost", 4, **settings)
    sweep = make_sweep(scenario, {key: [str(value)] for key, value in settings.items()}, reps=4, seed=1)
    columns = {name: [row[name] for row in rows] for name in rows[0]} | {"point": [0] * 4}
    wait = make_estimates(scenario, sweep, columns)[0]
    assert (wait.cut_off, wait.cut_off_at, wait.high) == (4, "patience 200", inf)
    assert (show_estimate(wait), show_cut_off(wait)) == ("≥ 200", "4 of 4 trials at patience 200")
    assert wait.theory.value == pytest.approx(7_343, rel=1e-3)
    assert (wait.agrees, wait.z, wait.p) == (True, None, None)


# --- coalitions and grinding -----------------------------------------------------------------------


@pytest.mark.parametrize(("tau", "coalition"), [(1.0, 1), (10.0, 1), (10.0, 3), (10.0, 7)])
def test_a_coalition_has_the_share_of_eq_11_and_rewrites_accordingly(tau, coalition):
    settings = {"tau": tau, "coalition": coalition, "blocks": 2_000}
    rows = run("credit-coalition", 3, **settings)
    assert_agrees(share(rows, "own", "blocks"), theory("credit-coalition", "coalition's blocks", **settings))
    assert_agrees(share(rows, "reverted", "races"), theory("credit-coalition", "payment reversed", **settings))


@pytest.mark.parametrize(
    ("eligibility", "low", "high"), [("poca", 0.15, 0.35), ("work", 0.15, 0.35), ("stake", 0.4, 1)]
)
def test_grinding_pays_where_a_form_of_a_block_costs_nothing(eligibility, low, high):
    settings = {"eligibility": eligibility, "blocks": 150}
    rows = run("credit-grinding", 8, **settings)
    interval = mean_interval([row["share"] for row in rows], CONFIDENCE)
    assert low < interval[0] < interval[1] < high
    assert_agrees(interval, theory("credit-grinding", "grinder's blocks", **settings))


def test_a_grinder_s_blocks_come_in_runs_so_that_each_is_no_trial_of_its_own():
    scenario = load_scenario("credit-grinding")
    assert [metric.kind for metric in scenario.metrics] == ["mean"]
    settings = {"eligibility": "stake", "blocks": 20}
    rows, expected = run("credit-grinding", 120, **settings), theory("credit-grinding", "grinder's blocks", **settings)
    values = [row["share"] for row in rows]
    assert_agrees(mean_interval(values, CONFIDENCE), expected)  # 0.65; 0.71 would be a long chain's
    variance = sum((value - expected) ** 2 for value in values) / len(values)
    assert variance > 2 * expected * (1 - expected) / 20


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("credit-fork", {"q": 1.0}),
        ("credit-fork", {"diversity_window": 6, "diversity_limit": 6}),
        ("best-member-lost", {"tau": 0.5}),
        ("credit-grinding", {"forms": 0}),
        ("new-keys", {"keys": 17}),
    ],
)
def test_impossible_settings_are_refused(name, settings):
    with pytest.raises(BadSetting):
        parse_settings(load_scenario(name), settings)
