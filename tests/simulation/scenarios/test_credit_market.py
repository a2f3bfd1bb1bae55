"""Wash trading, whitewashing and Sybil members, on nodes whose credits are earned through the market's own contract."""

import pytest

from simulation.experiments.scenario import load_scenario, parse_settings
from simulation.theory.statistics import clopper_pearson

CONFIDENCE = 0.99
HELD = {"initial_credit": 50.0, "initial_weight": 1_000, "score_unit_wh": 100}


def run(name, seed=0, **settings):
    """One trial's row, its theory by metric, and the interval of the culprit's share of the blocks."""
    scenario = load_scenario(name)
    given = parse_settings(scenario, settings)
    row = scenario.run(given, seed).row
    theories = {metric.name: metric.theory(given).value for metric in scenario.metrics if metric.theory}
    return row, theories, clopper_pearson(row["own"], row["blocks"], CONFIDENCE)


def test_a_breach_is_washed_away_where_each_delivery_counts_once():
    row, theories, share = run("wash-trading")
    assert row["credit"] == pytest.approx(theories["credit after it"], abs=1e-6) == pytest.approx(100 * 32 / 33)
    assert share[0] <= theories["blocks after it"] <= share[1]
    assert row["own"] > 0


def test_it_stays_where_energy_counts():
    row, theories, share = run("wash-trading", score_unit_wh=100)
    assert row["credit"] == pytest.approx(theories["credit after it"], abs=1e-6) == 0
    assert share[0] <= theories["blocks after it"] <= share[1]
    assert row["own"] == 0


def test_without_credit_there_are_no_blocks_and_a_new_key_brings_them_back():
    old, _, _ = run("new-keys", keys=0, leave=False)
    new, theories, share = run("new-keys", initial_credit=50.0, wash=True)
    assert old["own"] == 0
    assert theories["operator's blocks"] == 0.25, "a single watt-hour has replaced the initial credit"
    assert share[0] <= theories["operator's blocks"] <= share[1]
    assert new["own"] > 0


def test_a_low_initial_credit_with_weight_leaves_whitewashing_worth_little():
    row, theories, share = run("new-keys", wash=True, **HELD)
    assert share[0] <= theories["operator's blocks"] <= share[1]
    assert theories["operator's blocks"] < 0.01
    assert row["own"] < row["blocks"] / 10


def test_sybil_members_share_one_member_s_blocks_and_have_a_vote_each():
    row, theories, share = run("new-keys", keys=6, leave=False, delivered=1.0, blocks=40)
    assert share[0] <= theories["operator's blocks"] <= share[1]
    assert theories["operator's blocks"] < 0.25, "hash power split over keys wins no more blocks"
    assert (row["votes"], row["quorum"], row["rules"]) == (7, 7, 1), "whom to give a vote is the authority's to say"
