"""Intervals and tests against mpmath, published tables and exact fractions."""

from fractions import Fraction
from math import inf

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.theory.binomial import compute_band, compute_binomial
from simulation.theory.statistics import (
    binomial_z,
    clopper_pearson,
    exact_p,
    lower_tail,
    mean_interval,
    mean_p,
    rule_of_three,
    student_quantile,
    upper_tail,
)

COUNTS = [(0, 10), (1, 10), (5, 10), (10, 10), (3, 1_000), (500, 1_000), (997, 1_000)]


def incomplete_beta(a: float, b: float, x: float) -> float:
    return float(mpmath.betainc(a, b, 0, x, regularized=True))


@pytest.mark.parametrize(("count", "trials"), [pair for pair in COUNTS if 0 < pair[0] < pair[1]])
def test_tails_are_incomplete_beta_functions_and_an_error_of_one_is_seen(count: int, trials: int) -> None:
    for chance in (count / trials * 0.9, count / trials, min(0.999, count / trials * 1.02)):
        above = incomplete_beta(count, trials - count + 1, chance)
        assert upper_tail(count, trials, chance) == pytest.approx(above, rel=1e-8, abs=0)
        assert lower_tail(count - 1, trials, chance) == pytest.approx(1 - above, abs=1e-8)
        assert upper_tail(count + 1, trials, chance) != pytest.approx(above, rel=1e-8, abs=0)


@given(st.integers(1, 40), st.fractions(0, 1, max_denominator=100), st.data())
def test_p_is_exact(trials: int, chance: Fraction, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, trials))
    weights = compute_binomial(trials, chance)
    p = min(1, 2 * min(sum(weights[: count + 1]), sum(weights[count:])))
    assert exact_p(count, trials, float(chance)) == pytest.approx(float(p), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("count", "trials"), COUNTS)
def test_clopper_and_pearson_leave_two_and_a_half_per_cent_on_either_side(count: int, trials: int) -> None:
    low, high = clopper_pearson(count, trials)
    assert low <= count / trials <= high
    if count:
        assert incomplete_beta(count, trials - count + 1, low) == pytest.approx(0.025, rel=1e-6)
    else:
        assert low == 0
    if count < trials:
        assert incomplete_beta(count + 1, trials - count, high) == pytest.approx(0.975, rel=1e-6)
    else:
        assert high == 1


def test_published_intervals() -> None:
    assert clopper_pearson(0, 10) == (0, pytest.approx(0.3085, abs=5e-5))
    assert clopper_pearson(4, 20) == (pytest.approx(0.0573, abs=5e-5), pytest.approx(0.4366, abs=5e-5))
    assert clopper_pearson(0, 0) == (0, 1)


def test_the_interval_covers_at_least_what_it_says_and_one_of_the_wrong_count_does_not() -> None:
    trials = 30
    intervals = [clopper_pearson(count, trials) for count in range(trials + 1)]

    def least_coverage(intervals: list[tuple[float, float]]) -> Fraction:
        covered = []
        for chance in (Fraction(percent, 100) for percent in range(1, 100, 7)):
            pairs = zip(compute_binomial(trials, chance), intervals, strict=True)
            covered.append(sum((weight for weight, (low, high) in pairs if low <= chance <= high), Fraction(0)))
        return min(covered)

    assert least_coverage(intervals) >= Fraction(95, 100)
    assert least_coverage([*intervals[1:], intervals[-1]]) < Fraction(95, 100)
    assert least_coverage([intervals[0], *intervals[:-1]]) < Fraction(95, 100)


@given(st.integers(1, 300), st.floats(0.01, 0.99), st.data())
def test_p_is_below_five_per_cent_just_outside_the_interval(trials: int, chance: float, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, trials))
    low, high = clopper_pearson(count, trials)
    if min(abs(chance - low), abs(chance - high)) > 1e-9:
        assert (exact_p(count, trials, chance) > 0.05) == (low <= chance <= high)


def test_none_of_many_is_less_than_three_over_n() -> None:
    for trials in (20, 1_000, 10**6):
        one_sided = 1 - 0.05 ** (1 / trials)
        assert one_sided < rule_of_three(trials) < 1.1 * one_sided
        assert clopper_pearson(0, trials, 0.9)[1] == pytest.approx(one_sided)
    assert rule_of_three(2) == 1


def test_standard_deviations_of_a_count() -> None:
    assert binomial_z(60, 100, 0.5) == pytest.approx(2)
    assert binomial_z(40, 100, 0.5) == pytest.approx(-2)
    assert (binomial_z(0, 10, 0), binomial_z(1, 10, 0), binomial_z(9, 10, 1)) == (0, inf, -inf)


@pytest.mark.parametrize(
    ("freedom", "printed"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980)]
)
def test_the_table_of_student_and_an_error_of_one_degree(freedom: int, printed: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(printed, abs=5e-4)
    assert student_quantile(0.025, freedom) == -student_quantile(0.975, freedom)
    if freedom < 30:
        assert student_quantile(0.975, freedom + 1) != pytest.approx(printed, abs=5e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 8, 31, 2_000])
@pytest.mark.parametrize("probability", [0.6, 0.975, 0.9999])
def test_student_s_quantile_inverts_his_distribution(freedom: int, probability: float) -> None:
    t = student_quantile(probability, freedom)
    assert 1 - incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2 == pytest.approx(
        probability, rel=1e-9
    )


def test_the_mean_of_a_sample() -> None:
    values = [9.0, 10.0, 11.0, 14.0]  # mean 11, standard error √(14/3)/2
    low, high = mean_interval(values)
    assert (low + high) / 2 == pytest.approx(11)
    assert high - 11 == pytest.approx(3.182446 * (14 / 3) ** 0.5 / 2, rel=1e-6)
    assert mean_p(values, high) == pytest.approx(0.05)
    assert mean_p(values, 11) == pytest.approx(1)
    assert (mean_interval([5.0]), mean_p([5.0], 4)) == ((-inf, inf), 1)
    assert (mean_interval([5.0, 5.0]), mean_p([5.0, 5.0], 5), mean_p([5.0, 5.0], 4)) == ((5, 5), 1, 0)


def test_the_band_of_exact_fractions_is_that_of_the_tails() -> None:
    trials, chance = 1_500, Fraction(123, 1_000)
    low, high = compute_band(trials, chance)
    assert lower_tail(low - 1, trials, float(chance)) <= 0.025 < lower_tail(low, trials, float(chance))
    assert upper_tail(high + 1, trials, float(chance)) <= 0.025 < upper_tail(high, trials, float(chance))
