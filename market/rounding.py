"""The one rounding rule of the market: half up, exact, integers only."""

from __future__ import annotations


def divide_half_up(numerator: int, denominator: int) -> int:
    """The integer nearest to `numerator / denominator`; a half goes up. The denominator is positive."""
    return (2 * numerator + denominator) // (2 * denominator)
