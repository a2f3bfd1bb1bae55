"""The credit-scaled target of Eq. (10) of text 000 and the shares of Eq. (11), exact to the last bit.

Every peer must floor `N_diff · e^{C/τ}` alike, so e^{C/τ} is bracketed by two integers that provably enclose
it, and the bracket is narrowed until both ends floor to the same number. No float takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import lru_cache

from ledger.block import MAX_CREDIT_UPT

MAX_TARGET = 2**256 - 1
MIN_TAU_UPT = 100_000  # a tenth of a point; keeps weights below 2^1507

_WEIGHT_ONE = 2**64
_FIRST_DIGITS = 120  # 256 bits of N_diff take 78 digits, the rest guards the floor
_SATURATING_EXPONENT = 178  # e^178 > 2^256


def compute_target(n_diff: int, credit_upt: int, tau_upt: int) -> int:
    """T(C) = min(2^256 − 1, floor(N_diff · e^{C/τ})): Eq. (10) of text 000 with the credit temperature τ.

    Credit and τ are in micro-points; τ = 1 point is the paper's formula.
    """
    assert n_diff >= 0, n_diff
    assert credit_upt >= 0, credit_upt
    assert tau_upt > 0, tau_upt
    if n_diff > 0 and credit_upt >= _SATURATING_EXPONENT * tau_upt:
        return MAX_TARGET
    return min(MAX_TARGET, _floor_scaled_exp(n_diff, credit_upt, tau_upt))


def compute_weight(credit_upt: int, tau_upt: int) -> int:
    """floor(2^64 · e^{C/τ}), the numerator of Eq. (11) in fixed point: at least 2^64, and never saturated."""
    assert 0 <= credit_upt <= MAX_CREDIT_UPT, credit_upt
    assert tau_upt >= MIN_TAU_UPT, tau_upt
    return _floor_scaled_exp(_WEIGHT_ONE, credit_upt, tau_upt)


def compute_shares(credits_upt: Sequence[int], tau_upt: int) -> list[Fraction]:
    """Each member's share of the blocks at equal hash rates, in the order given: Eq. (11) of text 000.

    The shares sum to exactly 1; each is within one part in 2^63 of the real number.
    """
    weights = [compute_weight(credit_upt, tau_upt) for credit_upt in credits_upt]
    total = sum(weights)
    return [Fraction(weight, total) for weight in weights]


def compute_n_diff_limit(tau_upt: int) -> int:
    """The largest N_diff that leaves room for every credit: T(100 points) is not cut off at 2^256 − 1.

    Above it the best members' targets saturate and credit stops counting. About 2^111.7 at τ = 1 point, where
    e^100 ≈ 2^144.3; 0 when τ is so small that no N_diff leaves room.
    """
    assert tau_upt > 0, tau_upt
    if _SATURATING_EXPONENT * tau_upt <= MAX_CREDIT_UPT:
        return 0
    digits = _FIRST_DIGITS
    while True:
        low, high, shift = _bracket_exp(MAX_CREDIT_UPT, tau_upt, digits)
        limit = (MAX_TARGET + 1 << shift) // low
        if limit == (MAX_TARGET + 1 << shift) // high:
            return limit
        digits *= 2


def _floor_scaled_exp(factor: int, credit_upt: int, tau_upt: int) -> int:
    """floor(factor · e^{credit/tau}), proven by both ends of the bracket.

    e^x is irrational for rational x ≠ 0 (Lindemann), so no product is an integer and some precision decides.
    """
    if credit_upt == 0 or factor == 0:
        return factor
    digits = _FIRST_DIGITS
    while True:
        low, high, shift = _bracket_exp(credit_upt, tau_upt, digits)
        floor = factor * low >> shift
        if floor == factor * high >> shift:
            return floor
        digits *= 2


@lru_cache(maxsize=4_096)
def _bracket_exp(credit_upt: int, tau_upt: int, digits: int) -> tuple[int, int, int]:
    """(low, high, shift) with low < 2^shift · e^{credit/tau} < high, computed with `digits` digits.

    `Decimal.exp` rounds correctly and the quotient x is off by at most half a unit in its last place, which
    e^x magnifies by x: a relative error below (x + 1)/2 · 10^(1 − digits). Twice that and more is allowed
    for.
    """
    context = Context(prec=digits, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX)
    power = context.exp(context.divide(Decimal(credit_upt), Decimal(tau_upt)))
    mantissa = int(context.scaleb(power, digits))  # power ≥ 1 has fewer than `digits` decimals: no rounding here
    unit = 10**digits
    error = mantissa * 10 * (credit_upt // tau_upt + 3) // unit + 1
    shift = 3 * digits
    low = ((mantissa - error) << shift) // unit
    high = ((mantissa + error) << shift) // unit + 1
    return low, high, shift
