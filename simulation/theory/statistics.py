"""Statements about a sample: exact intervals and exact tests for counts, Student's for means.

Floats only. Tails are summed outwards from one term of the distribution, so that small ones keep their digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import atan, cos, exp, fsum, inf, lgamma, log, log1p, pi, sin, sqrt

CONFIDENCE = 0.95
_STEPS = 200  # of a bisection: more than a float has bits
_NEGLIGIBLE = 1e-18  # of a sum so far


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The two-sided interval of Clopper & Pearson 1934 for the chance of a success, both ends inside.

    It holds every chance under which each tail beyond the count has more than (1 − confidence)/2. No trial: [0, 1].
    """
    _check_count(successes, trials)
    tail = (1 - confidence) / 2
    low, high = 0.0, 1.0
    if successes > 0:
        low = _bisect(lambda chance: upper_tail(successes, trials, chance) > tail)
    if successes < trials:
        high = _bisect(lambda chance: lower_tail(successes, trials, chance) <= tail)
    return low, high


def rule_of_three(trials: int) -> float:
    """Below this chance, with 95 % confidence (one-sided), lies an event that none of so many trials has shown: 3/n.

    Hanley & Lippman-Hand 1983; 1 − 0.05^(1/n) is a little less.
    """
    assert trials > 0, trials
    return min(1.0, 3 / trials)


def exact_p(successes: int, trials: int, chance: float) -> float:
    """Two-sided p of a count: twice the smaller tail, at most 1. Below 5 % just where Clopper–Pearson leaves it out."""
    _check_count(successes, trials)
    return min(1.0, 2 * min(lower_tail(successes, trials, chance), upper_tail(successes, trials, chance)))


def binomial_z(successes: int, trials: int, chance: float) -> float:
    """The distance of a binomial count from its mean, in standard deviations; ±inf if it cannot be."""
    _check_count(successes, trials)
    difference = successes - trials * chance
    deviation = sqrt(trials * chance * (1 - chance))
    if deviation:
        return difference / deviation
    return difference * inf if difference else 0.0


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's interval of a mean (1908). One value says nothing about its spread: everything is inside."""
    assert values, "a mean of nothing"
    if len(values) == 1:
        return -inf, inf
    mean, error = _get_mean_and_error(values)
    reach = student_quantile((1 + confidence) / 2, len(values) - 1) * error
    return mean - reach, mean + reach


def mean_p(values: Sequence[float], expected: float) -> float:
    """Two-sided p of Student's test of a mean; 1 for a single value. Below 5 % outside the interval only."""
    assert values, "a mean of nothing"
    if len(values) == 1:
        return 1.0
    mean, error = _get_mean_and_error(values)
    if not error:
        return 1.0 if mean == expected else 0.0
    return 1 - _student_mass(atan(abs(mean - expected) / error / sqrt(len(values) - 1)), len(values) - 1)


# --- distributions -------------------------------------------------------------------------------


def upper_tail(count: int, trials: int, chance: float) -> float:
    """P(X ≥ count), X binomial; the regularised incomplete beta function I_chance(count, trials − count + 1)."""
    return lower_tail(trials - count, trials, 1 - chance)


def lower_tail(count: int, trials: int, chance: float) -> float:
    """P(X ≤ count), X binomial."""
    assert 0 <= chance <= 1, chance
    if count < 0:
        return 0.0
    if count >= trials or chance == 0:
        return 1.0
    if chance == 1:
        return 0.0
    if count <= trials * chance:
        return min(1.0, _sum_down(count, trials, chance))
    return 1 - min(1.0, _sum_down(trials - count - 1, trials, 1 - chance))


def student_quantile(probability: float, freedom: int) -> float:
    """The t with P(T ≤ t) = probability, Student's distribution with so many degrees of freedom."""
    assert 0 < probability < 1, probability
    assert freedom > 0, freedom
    if probability < 0.5:
        return -student_quantile(1 - probability, freedom)
    mass = 2 * probability - 1
    angle = _bisect(lambda part: _student_mass(part * pi / 2, freedom) >= mass) * pi / 2
    return sqrt(freedom) * sin(angle) / cos(angle)


def _student_mass(angle: float, freedom: int) -> float:
    """P(|T| ≤ √ν·tan angle), Student's T: the finite sums 26.7.3 and 26.7.4 of Abramowitz & Stegun 1964."""
    square = cos(angle) ** 2
    term, total = 1.0, 1.0
    first = 3 if freedom % 2 else 2
    for denominator in range(first, freedom - 1, 2):
        term *= square * (denominator - 1) / denominator
        total += term
    if freedom % 2 == 0:
        return min(1.0, sin(angle) * total)
    return min(1.0, 2 / pi * (angle + (sin(angle) * cos(angle) * total if freedom > 1 else 0.0)))


def _sum_down(count: int, trials: int, chance: float) -> float:
    """P(X ≤ count) for a count not above the mean: terms fall from the first on."""
    log_first = (
        lgamma(trials + 1) - lgamma(count + 1) - lgamma(trials - count + 1)
        + count * log(chance) + (trials - count) * log1p(-chance)
    )  # fmt: skip
    odds = (1 - chance) / chance
    term, total = 1.0, 1.0
    for below in range(count, 0, -1):
        term *= odds * below / (trials - below + 1)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return exp(log_first) * total


def _bisect(is_above: Callable[[float], bool]) -> float:
    """Find where in [0, 1] a monotone condition turns true, to the last bit."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if is_above(middle) else (middle, high)
    return (low + high) / 2


def _get_mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    mean = fsum(values) / len(values)
    return mean, sqrt(fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


def _check_count(successes: int, trials: int) -> None:
    assert 0 <= successes <= trials, (successes, trials)
