"""Subsidies: what is due, what a budget pays of it, and that nothing is paid twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import WrongShape
from market.errors import SubsidisedAlready
from market.programmes import SubsidyKey, compute_due, compute_subsidies, get_eligible_wh, pay_from_budget
from tests.support.worked_cases import read_cases

CASES = {case["name"]: case for case in read_cases("subsidy")}
AMOUNTS = st.integers(0, 10**13)


def key(number, programme="green", period=7):
    return SubsidyKey(programme, period, bytes([number]) * 20)


def test_a_budget_runs_out_as_worked_out():
    case = CASES["budget runs out"]
    assert pay_from_budget(**case["inputs"]) == tuple(case["outputs"].values())


def test_green_is_what_is_fed_in():
    case = CASES["green is what is fed in and metered"]
    eligible = get_eligible_wh(case["inputs"]["output_wh"], case["inputs"]["green_wh_of_storage_mix"])
    assert eligible == case["outputs"]["eligible_wh"]
    assert get_eligible_wh(100, 225) == 100


@pytest.mark.parametrize(("eligible", "rate", "due"), [(1, 500, 1), (1, 499, 0), (3, 500, 2), (0, 10**6, 0)])
def test_a_subsidy_is_rounded_half_up(eligible, rate, due):
    assert compute_due(eligible, rate) == due


@given(AMOUNTS, st.lists(AMOUNTS))
def test_what_is_left_and_what_is_paid_are_the_budget(budget, dues):
    paid, left = pay_from_budget(budget, dues)
    assert left + sum(paid) == budget
    assert all(0 <= part <= due for part, due in zip(paid, dues, strict=True))
    short = [place for place, (part, due) in enumerate(zip(paid, dues, strict=True)) if part < due]
    assert not short or left == 0
    assert not any(paid[short[0] + 1 :] if short else []), "after the one that is paid in part nobody is paid"


@given(AMOUNTS, st.integers(0, 10**6), st.lists(st.integers(0, 10**11), max_size=20))
def test_deliveries_are_paid_in_their_order(budget, rate, energies):
    deliveries = [(key(number), energy) for number, energy in enumerate(energies)]
    subsidies, left = compute_subsidies(deliveries, budget_uyuan=budget, rate_uyuan_per_kwh=rate)
    assert [subsidy.key for subsidy in subsidies] == [each for each, _ in deliveries]
    assert [subsidy.due_uyuan for subsidy in subsidies] == [compute_due(energy, rate) for energy in energies]
    assert left + sum(subsidy.paid_uyuan for subsidy in subsidies) == budget


def test_a_delivery_is_paid_once():
    terms = {"budget_uyuan": 10, "rate_uyuan_per_kwh": 1000}
    text = r"programme green pays .* for period 7 once, and this is a second time"
    with pytest.raises(SubsidisedAlready, match=text):
        compute_subsidies([(key(1), 1), (key(2), 1), (key(1), 1)], **terms)
    with pytest.raises(SubsidisedAlready, match=text):
        compute_subsidies([(key(1), 1)], **terms, paid_before={key(1)})
    others = [(key(1), 1), (key(1, period=8), 1), (key(1, programme="wind"), 1)]
    assert len(compute_subsidies(others, **terms, paid_before={key(2)})[0]) == 3


def test_amounts_are_whole_numbers():
    with pytest.raises(WrongShape, match="the budget has the wrong shape: expected an integer in 0"):
        pay_from_budget(-1, [])
    with pytest.raises(WrongShape, match=r"a subsidy has the wrong shape: expected an integer in 0"):
        pay_from_budget(1, [0.5])
    with pytest.raises(WrongShape, match="eligible energy has the wrong shape: expected an integer in 0"):
        compute_subsidies([(key(1), -3)], budget_uyuan=1, rate_uyuan_per_kwh=1)
