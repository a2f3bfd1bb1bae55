"""The two rounding rules of the market, in exact integers: half up, and floors of cumulative shares.

Half up where one amount is rounded, once; floors where an amount is divided among several.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import sub


def divide_half_up(numerator: int, denominator: int) -> int:
    """The integer nearest to `numerator / denominator`; a half goes up. The denominator is positive."""
    return (2 * numerator + denominator) // (2 * denominator)


def divide_pro_rata(amount: int, weights: Sequence[int]) -> list[int]:
    """The parts of an amount in proportion to weights, which are not negative and not all zero.

    The k-th part is the difference of two floors of the cumulative share: the parts sum to the amount exactly, and none
    is a whole unit off its share. The same weights in another order may move a unit from one part to another.
    """
    whole = sum(weights)
    reached = [amount * weight // whole for weight in accumulate(weights)]
    return list(map(sub, reached, [0, *reached]))
