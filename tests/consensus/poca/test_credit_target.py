"""Eq. (10) and Eq. (11) of text 000 against mpmath at 400 digits."""

from decimal import Context, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from consensus.poca.credit_target import (
    MAX_TARGET,
    compute_n_diff_limit,
    compute_shares,
    compute_target,
    compute_weight,
)

POINT = 1_000_000

credit_upt = st.integers(0, 100 * POINT)
tau_upt = st.integers(100_000, 200 * POINT)


def reference_target(n_diff: int, credit: int, tau: int) -> int:
    with mp.workdps(400):
        return min(MAX_TARGET, int(mp.floor(n_diff * mp.exp(mp.mpf(credit) / tau))))


@pytest.mark.parametrize("tau_points", [1, 5, 10])
@pytest.mark.parametrize("n_diff", [1, 7, 2**64 + 13, 2**111, 2**200 + 1, 2**255 - 19, MAX_TARGET])
def test_the_target_is_the_floor_of_eq_10(tau_points, n_diff):
    for points in range(101):
        actual = compute_target(n_diff, points * POINT, tau_points * POINT)
        assert actual == reference_target(n_diff, points * POINT, tau_points * POINT), points


@given(st.integers(1, MAX_TARGET), credit_upt, tau_upt)
def test_the_target_is_exact_between_whole_points(n_diff, credit, tau):
    assert compute_target(n_diff, credit, tau) == reference_target(n_diff, credit, tau)


def test_the_digits_of_e_itself():
    # OEIS A001113
    assert compute_target(10**50, POINT, POINT) == 271828182845904523536028747135266249775724709369995


def convergents_of_e(limit: int) -> list[tuple[int, int]]:
    """p/q of the continued fraction [2; 1, 2, 1, 1, 4, 1, 1, 6, …]: they lie on alternate sides of e."""
    pairs = [(1, 0), (2, 1)]
    while pairs[-1][1] < limit:
        index = len(pairs) - 1
        term = 2 * (index + 1) // 3 if index % 3 == 2 else 1
        (p0, q0), (p1, q1) = pairs[-2:]
        pairs.append((term * p1 + p0, term * q1 + q0))
    return pairs[1:-1]


def test_a_product_closer_to_an_integer_than_the_first_precision_can_see_is_floored_right():
    # q·e is off the integer p by less than 1/q: for q near 2^254, 77 digits, then 76 noughts or nines.
    pairs = convergents_of_e(2**254)
    assert len(pairs) > 100
    for index, (p, q) in enumerate(pairs):
        below_e = index % 2 == 0
        assert compute_target(q, POINT, POINT) == (p if below_e else p - 1), index


def test_credit_zero_scales_nothing():
    for n_diff in (0, 1, 2**255, MAX_TARGET):
        assert compute_target(n_diff, 0, POINT) == n_diff


@given(st.integers(1, MAX_TARGET), credit_upt, credit_upt, tau_upt)
def test_more_credit_never_lowers_the_target(n_diff, one, other, tau):
    low, high = sorted((one, other))
    assert compute_target(n_diff, low, tau) <= compute_target(n_diff, high, tau)


def test_the_target_saturates_at_256_bits():
    assert compute_target(2**250, 100 * POINT, POINT) == MAX_TARGET
    assert compute_target(1, 100 * POINT, 1) == MAX_TARGET
    assert compute_target(0, 100 * POINT, 1) == 0


def test_n_diff_must_leave_room_for_e_to_the_100():
    # e^100 ≈ 2^144.3: at τ = 1 an N_diff of 2^112 cuts off the best members, whose credit stops counting.
    assert 2**144 < compute_target(1, 100 * POINT, POINT) < 2**145
    assert compute_target(2**111, 99 * POINT, POINT) < compute_target(2**111, 100 * POINT, POINT) < MAX_TARGET
    assert compute_target(2**113, 99 * POINT + POINT // 2, POINT) == MAX_TARGET
    assert 2**111 < compute_n_diff_limit(POINT) < 2**112


@given(tau_upt)
def test_the_n_diff_limit_is_the_last_one_with_room(tau):
    limit = compute_n_diff_limit(tau)
    with mp.workdps(400):
        power = mp.exp(mp.mpf(100 * POINT) / tau)
        assert int(mp.floor(limit * power)) <= MAX_TARGET < int(mp.floor((limit + 1) * power))


def test_the_callers_decimal_context_does_not_matter():
    with localcontext(Context(prec=3, Emax=9, Emin=-9)):
        imprecise = compute_target(2**100, 12_345_678, 1_234_567)
    assert imprecise == reference_target(2**100, 12_345_678, 1_234_567)


@given(credit_upt, tau_upt)
def test_a_weight_is_e_to_the_credit_in_64_bit_fixed_point(credit, tau):
    with mp.workdps(800):
        assert compute_weight(credit, tau) == int(mp.floor(2**64 * mp.exp(mp.mpf(credit) / tau)))


def test_shares_follow_eq_11():
    with mp.workdps(60):
        powers = [mp.exp(c) for c in range(90, 101)]
        expected = [power / sum(powers) for power in powers]
        shares = compute_shares([c * POINT for c in range(90, 101)], POINT)
        for share, reference in zip(shares, expected, strict=True):
            assert abs(mp.mpf(share.numerator) / share.denominator - reference) < mp.mpf(2) ** -63


def test_the_best_of_the_papers_ten_members_holds_67_percent():
    credits_upt = [90 * POINT + step * 10 * POINT // 9 for step in range(10)]
    assert round(float(max(compute_shares(credits_upt, POINT))), 2) == 0.67


@given(st.lists(credit_upt, min_size=1, max_size=20), tau_upt)
def test_shares_sum_to_one_and_follow_the_order_of_credit(credits_upt, tau):
    shares = compute_shares(credits_upt, tau)
    assert sum(shares) == Fraction(1)
    ranked = sorted(range(len(shares)), key=lambda member: credits_upt[member])
    assert [shares[member] for member in ranked] == sorted(shares)


def test_nobody_has_no_share():
    assert compute_shares([], POINT) == []
