"""Credit: the scores of Table 2 of text 000, Eq. (12), and the running mean."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.accounts import Account
from ledger.params import MarketParams
from market.credit.score import (
    FULL_CREDIT_UPT,
    CreditRecord,
    add_score,
    assess_delivery,
    running_credit,
    weigh_delivery,
)
from market.errors import EmptyContract

POINT = 1_000_000  # micro-points
AGREED = 200  # kWh, in every row of Table 2

# (row, consumption, output, printed buyer and seller credit, ours); energies in kWh, credits in points.
# Each is its own account's single delivery. The printed seller of row 6 and both of row 7 follow from no
# equation: 190/200 gives 95, and 240 and 220 of 200 are deliveries in full.
TABLE_2 = [
    (1, 220, 200, (100, 100), (100, 100)),
    (2, 200, 200, (100, 100), (100, 100)),
    (3, 180, 200, (90, 100), (90, 100)),
    (4, 250, 250, (100, 100), (100, 100)),
    (5, 180, 180, (90, 90), (90, 90)),
    (6, 190, 190, (95, 90), (95, 95)),
    (7, 240, 220, (90, 85), (100, 100)),
]


@pytest.mark.parametrize(("row", "consumption", "output", "printed", "ours"), TABLE_2)
def test_the_credit_of_table_2(row, consumption, output, printed, ours):
    scores = (assess_delivery(consumption, AGREED), assess_delivery(output, AGREED))
    assert scores == tuple(points * POINT for points in ours)
    assert (ours == printed) == (row not in (6, 7))


@pytest.mark.parametrize(
    ("natural_factor_ppm", "seller_points"),
    [
        (0, (100, 100, 100, 100, 90, 95, 100)),
        (100_000, (100, 100, 100, 100, 99, 100, 100)),
        (200_000, (100, 100, 100, 100, 100, 100, 100)),
        (300_000, (100, 100, 100, 100, 100, 100, 100)),
    ],
)
def test_the_sellers_of_table_2_with_the_natural_factor(natural_factor_ppm, seller_points):
    """Eq. (12). Row 6 would score 104.5 at α = 0.1 were it not capped."""
    scores = [assess_delivery(row[2], AGREED, natural_factor_ppm=natural_factor_ppm) for row in TABLE_2]
    assert scores == [points * POINT for points in seller_points]


@pytest.mark.parametrize(
    ("natural_factor_ppm", "score_upt"),
    [(0, 50_000_000), (100_000, 55_000_000), (200_000, 60_000_000), (300_000, 65_000_000)],
)
def test_half_a_delivery_with_the_natural_factor(natural_factor_ppm, score_upt):
    assert assess_delivery(100, 200, natural_factor_ppm=natural_factor_ppm) == score_upt


def test_a_score_is_rounded_half_up():
    assert assess_delivery(1, 3) == 33_333_333
    assert assess_delivery(2, 3) == 66_666_667
    assert assess_delivery(1, 64_000_000) == 2  # 1.5625
    assert assess_delivery(1, 200_000_000) == 1  # exactly a half
    assert assess_delivery(1, 200_000_001) == 0


@pytest.mark.parametrize("agreed_wh", [0, -5])
def test_nothing_agreed_is_nothing_to_assess(agreed_wh):
    with pytest.raises(EmptyContract, match=f"the agreed volume is {agreed_wh / 1_000:.3f} kWh"):
        assess_delivery(10, agreed_wh)


@pytest.mark.parametrize("natural_factor_ppm", [-1, 300_001])
def test_a_natural_factor_out_of_range_is_a_bug_of_the_caller(natural_factor_ppm):
    with pytest.raises(AssertionError):
        assess_delivery(10, 10, natural_factor_ppm=natural_factor_ppm)


def test_credit_is_the_mean_of_the_scores():
    assert running_credit([100 * POINT, 90 * POINT]) == 95 * POINT
    assert running_credit([1, 0]) == 1  # a half goes up
    assert running_credit([1, 0, 0]) == 0
    with pytest.raises(AssertionError):
        running_credit([])


def test_a_record_without_scores_has_its_initial_credit_which_then_carries_no_weight():
    record = CreditRecord(initial_upt=60 * POINT)
    assert record.credit_upt == 60 * POINT
    assert record.add(90 * POINT).credit_upt == 90 * POINT
    assert record.score_count == 0


def test_an_initial_credit_with_weight_counts_as_so_many_scores():
    record = CreditRecord(initial_upt=60 * POINT, initial_weight=3)
    assert record.credit_upt == 60 * POINT
    assert record.add(100 * POINT).credit_upt == 70 * POINT
    assert record.add(100 * POINT).add(100 * POINT, 6).credit_upt == 88 * POINT


def test_without_a_unit_every_delivery_weighs_the_same_and_with_one_what_was_agreed():
    assert [weigh_delivery(agreed_wh, 0) for agreed_wh in (1, 10**9)] == [1, 1]
    assert [weigh_delivery(agreed_wh, 1_000) for agreed_wh in (999, 1_000, 1_999, 10**6)] == [0, 1, 1, 1_000]


def test_with_a_unit_a_breach_takes_as_much_energy_to_make_up_for():
    # 1 MWh not delivered, then 24 deliveries of 1 Wh each
    by_params = {}
    for unit_wh in (0, 1_000):
        params = MarketParams(score_unit_wh=unit_wh)
        account = add_score(Account(), 0, agreed_wh=10**6, params=params)
        for _ in range(24):
            account = add_score(account, FULL_CREDIT_UPT, agreed_wh=1, params=params)
        assert account.score_count == 25
        by_params[unit_wh] = account.credit_upt
    assert by_params == {0: 96 * POINT, 1_000: 0}  # 24 of 25 scores, and nothing for less than a kWh


energies = st.integers(0, 10**12)
agreements = st.integers(1, 10**12)
factors = st.integers(0, 300_000)
scores = st.integers(0, FULL_CREDIT_UPT)


@given(energies, agreements, factors)
def test_a_score_is_the_fraction_delivered_to_half_a_micro_point(actual, agreed, factor):
    exact = Fraction(actual, agreed) * 100 * POINT
    if actual < agreed:
        exact *= 1 + Fraction(factor, 10**6)
    exact = min(exact, Fraction(FULL_CREDIT_UPT))
    error = assess_delivery(actual, agreed, natural_factor_ppm=factor) - exact
    assert -Fraction(1, 2) < error <= Fraction(1, 2)


@given(energies, energies, agreements, factors, factors)
def test_delivering_more_or_a_larger_factor_never_scores_less(one, other, agreed, alpha, beta):
    less, more = sorted((one, other))
    small, large = sorted((alpha, beta))
    low = assess_delivery(less, agreed, natural_factor_ppm=small)
    assert low <= assess_delivery(more, agreed, natural_factor_ppm=small)
    assert low <= assess_delivery(less, agreed, natural_factor_ppm=large)
    assert 0 <= low <= FULL_CREDIT_UPT


@given(energies, agreements, agreements, factors)
def test_promising_more_never_scores_more(actual, one, other, factor):
    less, more = sorted((one, other))
    assert assess_delivery(actual, less, natural_factor_ppm=factor) >= assess_delivery(
        actual, more, natural_factor_ppm=factor
    )


@given(st.lists(scores, min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_the_record_equals_the_mean_whatever_the_order(values, rng):
    record = CreditRecord(initial_upt=0)
    shuffled = list(values)
    rng.shuffle(shuffled)
    for value in shuffled:
        record = record.add(value)
    assert record.credit_upt == running_credit(values)
    assert -Fraction(1, 2) < record.credit_upt - Fraction(sum(values), len(values)) <= Fraction(1, 2)


@given(st.lists(scores, max_size=20), scores, scores)
def test_a_better_score_never_makes_a_worse_credit(before, one, other):
    worse, better = sorted((one, other))
    assert running_credit([*before, worse]) <= running_credit([*before, better])
