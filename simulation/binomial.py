"""Exact binomial counts: how often an event of a given chance happens in independent trials. No float takes part."""

from __future__ import annotations

from fractions import Fraction
from math import comb

MASS = Fraction(95, 100)


def compute_binomial(trials: int, chance: Fraction) -> list[Fraction]:
    """The probability of 0, 1, … `trials` events; they sum to exactly 1."""
    _check(trials, chance)
    happens, fails = chance.numerator, chance.denominator - chance.numerator
    total = chance.denominator**trials
    return [Fraction(comb(trials, k) * happens**k * fails ** (trials - k), total) for k in range(trials + 1)]


def compute_band(trials: int, chance: Fraction, mass: Fraction = MASS) -> tuple[int, int]:
    """The central band of the count, both ends inside: at most (1 − mass)/2 lies below it, and as much above."""
    assert 0 < mass <= 1, mass
    probabilities = compute_binomial(trials, chance)
    tail = (1 - mass) / 2
    return _skip(probabilities, tail), trials - _skip(probabilities[::-1], tail)


def compute_chance_of_none(trials: int, chance: Fraction) -> Fraction:
    """The probability that nothing happens."""
    _check(trials, chance)
    return (1 - chance) ** trials


def _skip(probabilities: list[Fraction], tail: Fraction) -> int:
    """How many of the first outcomes together have no more than `tail`."""
    below = Fraction(0)
    for count, probability in enumerate(probabilities):
        below += probability
        if below > tail:
            return count
    raise AssertionError("the probabilities sum to 1, which is more than any tail")


def _check(trials: int, chance: Fraction) -> None:
    assert trials >= 0, trials
    assert 0 <= chance <= 1, chance
