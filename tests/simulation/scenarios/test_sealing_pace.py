"""A limit on the nonces of an interval keeps Eq. (11) among unequal machines, and the retarget settles with it."""

from functools import cache

from simulation.experiments.scenario import load_scenario, parse_settings
from simulation.scenarios.networks import INTERVAL_MS
from simulation.theory.formulas import poca_shares
from simulation.theory.statistics import clopper_pearson

CONFIDENCE = 0.99
SCENARIO = load_scenario("sealing-pace")


@cache
def run(**given):
    settings = parse_settings(SCENARIO, {"members": 4, "blocks": 150, **given})
    return settings, SCENARIO.run(settings, 1).row


def interval_of(row, column):
    return clopper_pearson(row[column], row["blocks"], CONFIDENCE)


def get_shares(settings, paces=()):
    shares = poca_shares(settings.credits, settings.tau, paces)
    return shares[0], shares[-1]


def test_without_a_limit_the_fastest_machine_takes_what_credit_would_not_give_it():
    settings, row = run(limit=0)
    fair, _ = get_shares(settings)
    low, high = interval_of(row, "fastest")
    assert low <= get_shares(settings, settings.speeds)[0] <= high
    assert low > 2 * fair


def test_with_a_limit_that_all_can_keep_shares_are_those_of_equation_11():
    settings, row = run()
    for column, expected in zip(("fastest", "best"), get_shares(settings), strict=True):
        low, high = interval_of(row, column)
        assert low <= expected <= high, column


def test_who_takes_more_gets_more_in_proportion_and_no_rule_stops_it():
    settings, row = run(cheater=8)
    low, high = interval_of(row, "fastest")
    assert low <= get_shares(settings, settings.paces)[0] <= high
    assert low > get_shares(settings)[0]


def test_the_difficulty_settles_from_full_speed_to_the_limit():
    _, row = run()
    assert 0.75 < row["interval_s"] * 1_000 / INTERVAL_MS < 1.33
    assert row["settling_intervals"] < 3 * 48, "a few dozen blocks are slow"
