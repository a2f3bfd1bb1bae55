"""Exact binomial counts: how often an event of a given chance happens in independent trials. No float takes part."""

from __future__ import annotations

from fractions import Fraction

MASS = Fraction(95, 100)


def compute_binomial(trials: int, chance: Fraction) -> list[Fraction]:
    """The probability of 0, 1, … `trials` events; they sum to exactly 1."""
    total = chance.denominator**trials
    return [Fraction(weight, total) for weight in _compute_weights(trials, chance)]


def compute_band(trials: int, chance: Fraction, mass: Fraction = MASS) -> tuple[int, int]:
    """The central band of the count, both ends inside: at most (1 − mass)/2 lies below it, and as much above."""
    assert 0 < mass <= 1, mass
    weights = _compute_weights(trials, chance)
    tail = (1 - mass) / 2
    most = chance.denominator**trials * tail.numerator // tail.denominator
    return _skip(weights, most), trials - _skip(weights[::-1], most)


def compute_chance_of_none(trials: int, chance: Fraction) -> Fraction:
    """The probability that nothing happens."""
    _check(trials, chance)
    return (1 - chance) ** trials


def _compute_weights(trials: int, chance: Fraction) -> list[int]:
    """The probabilities times the denominator of `chance` to the power of `trials`, each from the one before."""
    _check(trials, chance)
    happens, fails = chance.numerator, chance.denominator - chance.numerator
    if fails == 0:
        return [0] * trials + [1]
    weights = [fails**trials]
    for count in range(1, trials + 1):
        weights.append(weights[-1] * (trials - count + 1) * happens // (count * fails))
    return weights


def _skip(weights: list[int], most: int) -> int:
    """Number of the first outcomes that together weigh no more than that."""
    below = 0
    for count, weight in enumerate(weights):
        below += weight
        if below > most:
            return count
    raise AssertionError("the probabilities sum to 1, which is more than any tail")


def _check(trials: int, chance: Fraction) -> None:
    assert trials >= 0, trials
    assert 0 <= chance <= 1, chance
