"""The closed forms against published tables, against other ways to compute them, and against values they refuse."""

from fractions import Fraction
from itertools import product
from math import comb, exp, factorial, inf, nan, nextafter

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.poca.credit_target import compute_shares
from ledger.errors import LaboratoryError
from simulation.errors import BadParameter, UnknownParameter, UnknownTheory
from simulation.theory.formulas import (
    THEORIES,
    binomial_band,
    double_spend_exact,
    double_spend_give_up,
    double_spend_nakamoto,
    double_spend_strict,
    double_spend_strict_give_up,
    evaluate_theory,
    herfindahl_hirschman,
    least_z_exact,
    least_z_nakamoto,
    naive_work_give_up,
    naive_work_revert,
    nakamoto_coefficient,
    poca_shares,
    poca_without,
    selfish_revenue,
    selfish_threshold,
    stale_fraction,
    stale_fraction_of_miners,
    stale_probability,
)

TABLE_OF_NAKAMOTO = {  # Bitcoin, section 11
    0.1: (1, 0.2045873, 0.0509779, 0.0131722, 0.0034552, 0.0009137, 0.0002428, 647e-7, 173e-7, 46e-7, 12e-7),
    0.3: (1, 0.1773523, 0.0416605, 0.0101008, 0.0024804, 0.0006132, 0.0001522, 379e-7, 95e-7, 24e-7, 6e-7),
}
CONFIRMATIONS_OF_NAKAMOTO = {0.1: range(11), 0.3: range(0, 51, 5)}
LEAST_Z_OF_NAKAMOTO = {0.10: 5, 0.15: 8, 0.20: 11, 0.25: 15, 0.30: 24, 0.35: 41, 0.40: 89, 0.45: 340}
TABLE_OF_ROSENFELD = {  # per cent, for 1 to 10 confirmations
    0.02: (4, 0.237, 0.016, 0.001),
    0.10: (20, 5.6, 1.712, 0.546, 0.178, 0.059, 0.020, 0.007, 0.002, 0.001),
    0.20: (40, 20.8, 11.584, 6.669, 3.916, 2.331, 1.401, 0.848, 0.516, 0.316),
    0.30: (60, 43.2, 32.616, 25.207, 19.762, 15.645, 12.475, 10.003, 8.055, 6.511),
}


# --- double spend --------------------------------------------------------------------------------


def misses_of_table(formula, table, decimals, shift=0):
    """The cells that a formula misses; `shift` plants an error in the confirmations."""
    return [
        (q, z)
        for q, row in table.items()
        for z, printed in row.items()
        if z + shift >= 0 and round(formula(q, z + shift), decimals) != pytest.approx(printed, abs=10**-decimals / 2)
    ]


def test_the_table_of_nakamoto_and_an_error_of_one_confirmation_in_it() -> None:
    table = {q: dict(zip(CONFIRMATIONS_OF_NAKAMOTO[q], row, strict=True)) for q, row in TABLE_OF_NAKAMOTO.items()}
    assert not misses_of_table(double_spend_nakamoto, table, 7)
    assert len(misses_of_table(double_spend_nakamoto, table, 7, shift=1)) == 22


def test_the_table_of_rosenfeld_and_an_error_of_one_confirmation_in_it() -> None:
    table = {q: dict(enumerate((each / 100 for each in row), start=1)) for q, row in TABLE_OF_ROSENFELD.items()}
    assert not misses_of_table(double_spend_exact, table, 5)
    assert misses_of_table(double_spend_strict, table, 5)
    assert len(misses_of_table(double_spend_exact, table, 5, shift=1)) == 34


def test_text_003_takes_the_approximation_for_the_chance() -> None:
    assert double_spend_nakamoto(0.3, 50) == pytest.approx(5.9e-7, rel=1e-2)
    assert double_spend_exact(0.3, 50) == pytest.approx(3.1e-5, rel=1e-2)


@pytest.mark.parametrize("q", [0.01, 0.1, 0.3, 0.45, 0.49])
@pytest.mark.parametrize("z", [1, 2, 6, 50, 400])
def test_both_forms_to_the_last_digits(q: float, z: int) -> None:
    with mpmath.workdps(60):
        ratio = mpmath.mpf(q) / (1 - mpmath.mpf(q))
        mean = z * ratio
        printed = 1 - mpmath.fsum(
            mean**k * mpmath.exp(-mean) / mpmath.factorial(k) * (1 - ratio ** (z - k)) for k in range(z)
        )
        beta = mpmath.betainc(z, mpmath.mpf(1) / 2, 0, 4 * mpmath.mpf(q) * (1 - mpmath.mpf(q)), regularized=True)
    if printed > 1e-55:  # what 60 digits leave of it after the cancellation
        assert double_spend_nakamoto(q, z) == pytest.approx(float(printed), rel=1e-10, abs=0)
    assert double_spend_exact(q, z) == pytest.approx(float(beta), rel=1e-10, abs=0)


@pytest.mark.parametrize("formula", [double_spend_nakamoto, double_spend_exact])
def test_ends_of_the_double_spend(formula) -> None:
    assert formula(0, 6) == 0
    assert formula(0.3, 0) == 1
    assert formula(0.5, 6) == formula(0.9, 6) == 1
    assert formula(0.01, 10_000) == 0


def test_ends_of_overtaking_and_of_giving_up() -> None:
    assert double_spend_strict(0, 0) == 0
    assert double_spend_strict(0.3, 0) == pytest.approx(3 / 7)
    assert double_spend_give_up(0.3, 6, 2_000) == pytest.approx(double_spend_exact(0.3, 6), rel=1e-12)
    assert double_spend_give_up(0.3, 1, 1) == pytest.approx(0.3)  # the first block decides
    assert double_spend_give_up(0.5, 0, 3) == 1


def give_up_by_paths(q: Fraction, z: int, give_up: int, lead: int) -> Fraction:
    """The same chance, block by block: walk to the z-th honest block, then the gambler's ruin."""
    p = 1 - q
    ratio = q / p
    here = {(0, 0): Fraction(1)}  # (honest, attacker's) blocks
    won = Fraction(0)
    while here:
        after: dict[tuple[int, int], Fraction] = {}
        for (honest, mined), chance in here.items():
            if honest - mined >= give_up:
                continue
            if mined >= z + lead:  # the attacker is there by the z-th honest block, whatever comes
                won += chance
            elif honest == z:
                left, width = give_up - honest + mined, give_up + lead
                won += chance * (
                    Fraction(left, width)
                    if ratio == 1
                    else (ratio ** (width - left) - ratio**width) / (1 - ratio**width)
                )
            else:
                after[honest + 1, mined] = after.get((honest + 1, mined), Fraction(0)) + chance * p
                after[honest, mined + 1] = after.get((honest, mined + 1), Fraction(0)) + chance * q
        here = after
    return won


@given(st.fractions("1/50", "49/50", max_denominator=50), st.integers(1, 8), st.integers(1, 12))
def test_giving_up_counts_the_same_paths(q: Fraction, z: int, give_up: int) -> None:
    for lead, formula in enumerate((double_spend_give_up, double_spend_strict_give_up)):
        assert formula(float(q), z, give_up) == pytest.approx(
            float(give_up_by_paths(q, z, give_up, lead)), rel=1e-9, abs=0
        )


@given(st.floats(0.01, 0.49), st.integers(0, 60))
def test_more_confirmations_and_a_harder_goal_never_help(q: float, z: int) -> None:
    assert double_spend_exact(q, z + 1) <= double_spend_exact(q, z)
    assert double_spend_strict(q, z) <= double_spend_exact(q, z)
    assert double_spend_give_up(q, z, 5) <= double_spend_exact(q, z) * (1 + 1e-12)


def test_least_confirmations() -> None:
    assert {q: least_z_nakamoto(q, 1e-3) for q in LEAST_Z_OF_NAKAMOTO} == LEAST_Z_OF_NAKAMOTO
    for q in LEAST_Z_OF_NAKAMOTO:
        z = least_z_exact(q, 1e-3)
        assert double_spend_exact(q, z) <= 1e-3 < double_spend_exact(q, z - 1)
        assert z > least_z_nakamoto(q, 1e-3) or q == 0.1
    with pytest.raises(BadParameter, match="no z up to 10000"):
        least_z_exact(0.4999, 1e-3)


def naive_by_fractions(q: float, z: int, weight: int) -> float:
    rate = Fraction(q) / (1 - Fraction(q))
    reverts = [Fraction(1), rate]
    for lead in range(1, z + 1):
        before = reverts[lead - weight] if lead > weight else 1
        reverts.append(reverts[lead] + rate / weight * (reverts[lead] - before))
    return float(reverts[z + 1])


@pytest.mark.parametrize("q", [1e-9, 0.05, 0.3, 0.45])
@pytest.mark.parametrize(("z", "weight"), [(50, 1), (120, 1), (50, 2), (30, 7), (20, 10**9)])
def test_the_naive_rule_to_the_last_digits(q: float, z: int, weight: int) -> None:
    assert naive_work_revert(q, z, weight) == pytest.approx(naive_by_fractions(q, z, weight), rel=1e-8, abs=0)


@pytest.mark.parametrize(("q", "z", "weight"), [(0.4, 4, 1), (0.4, 4, 8), (0.3, 6, 3), (0.6, 2, 5)])
def test_a_low_credit_fork_that_gives_up(q: float, z: int, weight: int) -> None:
    own = q / (q + (1 - q) * weight)
    chances = dict.fromkeys(range(20), 0.0)  # of the fork, by how far the honest chain is ahead; it stops at 20
    for _ in range(2_000):
        for lead in chances:
            behind = 1.0 if lead < weight else chances[lead - weight]
            chances[lead] = own * behind + (1 - own) * chances.get(lead + 1, 0.0)
    assert naive_work_give_up(q, z, weight, 20) == pytest.approx(chances[z], rel=1e-9)


def test_a_fork_that_never_gives_up_and_one_that_does_at_once() -> None:
    assert naive_work_give_up(0.3, 6, 5, 2_000) == pytest.approx(naive_work_revert(0.3, 6, 5), rel=1e-9)
    assert naive_work_give_up(0.3, 6, 5, 6) == 0
    assert naive_work_give_up(0.3, 6, 1_000, 40) < 0.02 < 0.4 < naive_work_revert(0.3, 6, 1_000)
    assert naive_work_give_up(0.999, 50, 1, 10_000) == pytest.approx(1)


def test_credit_cancels_out_under_the_naive_work_rule() -> None:
    assert [naive_work_revert(0.3, 0, weight) for weight in (1, 20, 10**6)] == pytest.approx([3 / 7] * 3)
    assert naive_work_revert(0.3, 5, 1) == pytest.approx((3 / 7) ** 6)
    assert naive_work_revert(0.3, 6, 50) == pytest.approx(1 - 4 / 7 * (1 + 3 / 7 / 50) ** 6)
    assert naive_work_revert(0.3, 6, 10**6) == pytest.approx(3 / 7, rel=1e-5)
    assert naive_work_revert(0.5, 6, 10) == 1


def test_a_heavy_fork_is_the_ruin_of_a_reserve_with_equal_claims() -> None:
    """Many honest blocks per claim: the waiting time of M/D/1 (Erlang 1909)."""
    rate, reserve, weight = 3 / 7, 2.5, 4_000
    waiting = (1 - rate) * sum(
        (-rate * (reserve - k)) ** k * exp(rate * (reserve - k)) / factorial(k) for k in range(int(reserve) + 1)
    )
    assert naive_work_revert(0.3, int(reserve * weight), weight) == pytest.approx(1 - waiting, rel=1e-3)


# --- the other theories --------------------------------------------------------------------------


@pytest.mark.parametrize(("gamma", "threshold"), [(0, 1 / 3), (0.5, 1 / 4), (1, 0)])
def test_selfish_mining_pays_from_its_threshold_on(gamma: float, threshold: float) -> None:
    assert selfish_threshold(gamma) == pytest.approx(threshold)
    assert selfish_revenue(threshold, gamma) == pytest.approx(threshold)
    assert selfish_revenue(threshold + 0.05, gamma) > threshold + 0.05
    if threshold:
        assert selfish_revenue(threshold - 0.05, gamma) < threshold - 0.05


def test_stale_blocks() -> None:
    assert stale_probability(10, 10) == pytest.approx(1 - exp(-1))
    assert stale_probability(0, 10) == stale_fraction(0, 10) == stale_fraction_of_miners(5, 10, 1) == 0
    stale = 1 - exp(-0.2)
    assert stale_fraction(2, 10) == pytest.approx(stale / (1 + stale))
    assert stale_fraction_of_miners(2, 10, 10**6) == pytest.approx(2 / 12, rel=1e-5)
    assert stale_fraction_of_miners(4, 10, 2) == pytest.approx(stale / (1 + stale))  # the only other one has half


@given(st.lists(st.integers(0, 100_000_000), min_size=1, max_size=8), st.integers(100_000, 20_000_000))
def test_shares_are_those_of_the_consensus_rule(credits_upt: list[int], tau_upt: int) -> None:
    shares = poca_shares([each / 1e6 for each in credits_upt], tau_upt / 1e6)
    assert shares == pytest.approx([float(each) for each in compute_shares(credits_upt, tau_upt)], rel=1e-9, abs=1e-300)


def test_shares_by_hash_rate() -> None:
    assert poca_shares([90, 90], 1, [3, 1]) == pytest.approx((0.75, 0.25))
    assert poca_shares([100, 0], 0.1, [0, 1]) == (0, 1)
    assert poca_shares([90, 91], 1) == pytest.approx((1 / (1 + exp(1)), exp(1) / (1 + exp(1))))
    assert poca_without([100, 100], 1, 3) == pytest.approx(2 / 8)
    for rates in ([1], [0, 0]):
        with pytest.raises(BadParameter, match="hash_rates"):
            poca_shares([90, 91], 1, rates)


def test_concentration() -> None:
    assert nakamoto_coefficient([1, 1, 1, 1]) == 3  # two hold half, not more
    assert nakamoto_coefficient([51, 49]) == 1
    assert nakamoto_coefficient([5, 30, 25, 40]) == 2
    assert herfindahl_hirschman([2, 2, 2, 2]) == pytest.approx(1 / 4)
    assert herfindahl_hirschman([7]) == 1
    for index in (nakamoto_coefficient, herfindahl_hirschman):
        with pytest.raises(BadParameter, match="above 0"):
            index([0, 0])


def test_the_binomial_band() -> None:
    assert binomial_band(50, 0.5, 0.95) == {"low": 18, "high": 32}
    inside = sum(comb(50, count) for count in range(18, 33))
    assert inside / 2**50 >= 0.95 > (inside - comb(50, 18) - comb(50, 32)) / 2**50
    assert binomial_band(2_000, 0.123, 1) == {"low": 0, "high": 2_000}


# --- by name -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", THEORIES)
def test_every_theory_says_where_it_is_from_and_has_an_answer_without_parameters(name: str) -> None:
    evaluation = evaluate_theory(name, {})
    assert evaluation.source
    assert evaluation.about.endswith((".", ":"))
    assert evaluation.values
    assert all(value == value and abs(value) < inf for value in evaluation.values.values())
    assert list(evaluation.parameters) == [parameter.name for parameter in THEORIES[name].parameters]


@pytest.mark.parametrize(
    ("theory", "parameter"), [(each, item) for each in THEORIES.values() for item in each.parameters],
    ids=lambda each: each.name,
)  # fmt: skip
def test_every_parameter_refuses_what_is_out_of_its_bounds(theory, parameter) -> None:
    outside = [parameter.low - 1, nan, inf, "x", None, True]
    outside += [parameter.low] * parameter.is_low_open + [parameter.high] * parameter.is_high_open
    if parameter.high < inf:
        outside.append(parameter.high + 1 if parameter.kind == "int" else nextafter(parameter.high, inf))
    defaults = {each.name: each.default for each in theory.parameters}
    for value in outside:
        with pytest.raises(BadParameter) as caught:
            theory(**{**defaults, parameter.name: [value] if parameter.kind == "list" else value})
        assert (caught.value.values["theory"], caught.value.values["parameter"]) == (theory.name, parameter.name)


def corners(parameter) -> list[object]:
    """The least and the largest value that a parameter takes, and its default."""
    least = nextafter(parameter.low, inf) if parameter.is_low_open else parameter.low
    largest = nextafter(parameter.high, 0) if parameter.is_high_open else min(parameter.high, 1e300)
    if parameter.kind == "list":
        return [parameter.default, (least, largest), (largest, largest, largest)]
    return [int(value) if parameter.kind == "int" else value for value in (least, parameter.default, largest)]


@pytest.mark.parametrize("theory", THEORIES.values(), ids=lambda theory: theory.name)
def test_every_theory_is_finite_or_named_in_the_corners_of_its_bounds(theory) -> None:
    answers = 0
    for values in product(*map(corners, theory.parameters)):
        try:
            found = theory.name_values(theory(*values))
        except BadParameter:
            continue
        assert all(0 <= value < inf for value in found.values()), values
        answers += 1
    assert answers >= 2


@pytest.mark.parametrize(
    ("name", "given", "error", "said"),
    [
        ("double_spend_exact", {"q": "1"}, BadParameter, r"theory double_spend_exact, parameter q: want in \[0, 1\)"),
        ("double_spend_exact", {"z": "-1"}, BadParameter, r"want in \[0, 10000\]; have -1"),
        ("double_spend_exact", {"z": "2.5"}, BadParameter, "want a whole number; have 2.5"),
        ("double_spend_exact", {"z": "1" + "0" * 400}, BadParameter, "want in"),
        ("herfindahl_hirschman", {"shares": "1e308,1e308"}, BadParameter, "want each in"),
        ("double_spend_exact", {"q": "much"}, BadParameter, "want a number; have much"),
        ("poca_shares", {"tau": "0"}, BadParameter, r"parameter tau: want in \(0, ∞\)"),
        ("poca_shares", {"credits": "90,x"}, BadParameter, "numbers separated by commas"),
        ("poca_shares", {"credits": ""}, BadParameter, "at least one number"),
        ("poca_shares", {"credits": "1," * 10_000 + "1"}, BadParameter, "at most 10000 numbers"),
        ("selfish_revenue", {"beta": "1"}, UnknownParameter, "no parameter beta; it has: alpha, gamma"),
        ("double_spent", {}, UnknownTheory, "no theory double_spent; there are: double_spend_nakamoto, "),
    ],
)
def test_what_a_user_gets_wrong_is_named(name: str, given: dict[str, str], error, said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        evaluate_theory(name, given)
    assert isinstance(caught.value, LaboratoryError)


def test_values_have_names() -> None:
    assert evaluate_theory("double_spend_exact", {"q": "0.1", "z": "1"}).values == {"probability": pytest.approx(0.2)}
    assert evaluate_theory("poca_shares", {"credits": "90,90", "tau": "5"}).values == {"share_1": 0.5, "share_2": 0.5}
    assert evaluate_theory("binomial_band", {}).values == {"low": 18, "high": 32}
    predicted = double_spend_exact.predict(0.1, z=1)
    assert (predicted.name, predicted.value) == ("double_spend_exact", pytest.approx(0.2))
    assert "Rosenfeld" in predicted.source
