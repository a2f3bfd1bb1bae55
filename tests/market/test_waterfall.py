"""The waterfall: worked periods, an outside reference to the cent, and what holds for every period."""

from __future__ import annotations

import json
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import WrongShape
from market.errors import NothingHeld, WrongFields
from market.waterfall import YEAR_MS, Params, State, accrue, pay, pay_holders, pay_waterfall
from tests.support.worked_cases import MONEY, read_cases

CASES = read_cases("waterfall")
ORDINARY = CASES[0]["inputs"]
STATE, PARAMS = State(**ORDINARY["state"]), Params(**ORDINARY["params"])
FEE, SENIOR, MEZZ = 410_958_904, 2_301_369_863, 1_315_068_493  # what a period of these terms adds to the dues
TARGET = 21 * 10**9
BILLION = 10**9


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_period_is_paid_as_worked_out(case):
    payments, state = pay_waterfall(**case["inputs"])
    assert payments == case["outputs"]["payments_uyuan"]
    assert state == case["outputs"]["state"]


# --- an outside reference --------------------------------------------------------------------------

CENT = 10_000  # µ¥
DEAL = json.loads((MONEY / "absbox_test01.json").read_text())
PAID = ("fee", "sen_int", "sen_prin", "mez_prin")
LEFT = ("senior", "mezz")


def run_deal(extra_cents):
    """The deal's dates as our function has them; `extra_cents` are interest on unpaid interest, which it has not."""
    terms = DEAL["terms"]
    state = {**dict.fromkeys(State._fields, 0), **{name: terms[name] * CENT for name in (*LEFT, "pool", "fee_due")}}
    params = {**dict.fromkeys(Params._fields, 0), "sen_ppm": terms["sen_ppm"], "unit": CENT}
    params |= {"default_trigger_ppm": 10**6, "pool0": state["pool"], "sched": state["senior"]}
    last = date.fromisoformat(terms["closing"])
    state["sen_due"] = extra_cents * CENT
    for row in DEAL["dates"]:
        today = date.fromisoformat(row["date"])
        params["period_ms"] = (today - last).days * 86_400_000
        payments, state = pay_waterfall(state, params, row["collections"] * CENT)
        figures = {name: payments[name] for name in PAID} | {name: state[name] for name in LEFT}
        yield {"date": row["date"], "collections": row["collections"]} | {
            name: Fraction(amount, CENT) for name, amount in figures.items()
        }
        last = today


def test_absbox_pays_the_same_on_every_date():
    rows = [*run_deal(DEAL["interest_on_unpaid_interest"]["cents"])]
    assert rows == DEAL["dates"]
    assert sum(row["sen_int"] > 0 for row in rows) == 18


def test_without_interest_on_unpaid_interest_ten_cents_go_to_the_mezzanine():
    *_, senior_repaid, last = run_deal(0)
    assert (senior_repaid["senior"], last["mezz"]) == (0, DEAL["dates"][-1]["mezz"] - 10)


# --- properties ------------------------------------------------------------------------------------

AMOUNTS = st.integers(0, 10**13) | st.integers(0, 100)
RATES = st.integers(0, 10**6)
STATES = st.builds(State, *[AMOUNTS] * 7, st.integers(0, 1), AMOUNTS)
TERMS = st.builds(Params, *[RATES] * 5, AMOUNTS, st.integers(0, 2 * YEAR_MS), AMOUNTS, st.sampled_from([1, 7, CENT]))


@given(STATES, TERMS, AMOUNTS)
def test_all_that_comes_in_is_paid_or_kept(state, params, collections):
    payments, after = pay(state, params, collections)
    assert min(payments) >= 0
    assert min(after) >= 0
    assert collections + payments.reserve_out == sum(payments) - payments.reserve_out
    assert after.reserve == state.reserve + payments.reserve_in - payments.reserve_out
    assert after.senior == state.senior - payments.sen_prin
    assert after.mezz == state.mezz - payments.mez_prin
    assert (after.pool, after.default) == (state.pool, state.default)
    dues = accrue(state, params)
    assert (after.fee_due, after.sen_due, after.mez_due) == (
        dues.fee - payments.fee,
        dues.senior - payments.sen_int,
        dues.mezz - payments.mez_int,
    )


@given(STATES, TERMS, AMOUNTS)
def test_nobody_is_paid_before_its_turn(state, params, collections):
    payments, after = pay(state, params, collections)
    if after.fee_due:
        assert sum(payments) == payments.fee + payments.reserve_out
    if after.sen_due:
        assert after.reserve == 0
        assert sum(payments) == payments.fee + payments.sen_int + payments.reserve_out
    if payments.mez_prin:
        assert after.senior == after.mez_due == 0
    if payments.equity:
        assert after.fee_due == after.sen_due == after.mez_due == 0
    if after.amort:
        assert not payments.reserve_in
        assert not payments.mez_int or not after.senior
        assert not payments.equity or after.senior == after.mezz == 0
    else:
        assert payments.sen_prin <= params.sched


@given(STATES, TERMS, AMOUNTS)
def test_early_amortisation_has_its_reasons_and_no_end(state, params, collections):
    _, after = pay(state, params, collections)
    over = Fraction(state.default, max(1, params.pool0)) > Fraction(params.default_trigger_ppm, 10**6)
    assert after.amort == (bool(state.amort) or after.sen_due > 0 or (over if params.pool0 else state.default > 0))


@given(STATES, TERMS, AMOUNTS, AMOUNTS)
def test_more_cash_pays_nobody_less_while_the_mode_stays(state, params, collections, more):
    less, after_less = pay(state, params, collections)
    richer, after_richer = pay(state, params, collections + more)
    if after_less.amort == after_richer.amort:
        for name in ("fee", "sen_int", "mez_int", "sen_prin", "mez_prin", "equity"):
            assert getattr(richer, name) >= getattr(less, name), name


@given(STATES, TERMS, st.lists(AMOUNTS, max_size=12))
def test_over_a_life_principal_is_what_was_lent_less_what_was_paid(state, params, life):
    paid, came_in, after = [], 0, state
    for collections in life:
        payments, after = pay(after, params, collections)
        paid.append(payments)
        came_in += collections
    assert after.senior == state.senior - sum(each.sen_prin for each in paid)
    assert after.mezz == state.mezz - sum(each.mez_prin for each in paid)
    outside = sum(sum(each) - each.reserve_in - each.reserve_out for each in paid)
    assert came_in == outside + after.reserve - state.reserve


@given(STATES, TERMS, AMOUNTS)
def test_mappings_and_values_say_the_same(state, params, collections):
    payments, after = pay_waterfall(state._asdict(), params._asdict(), collections)
    assert (payments, after) == tuple(each._asdict() for each in pay(state, params, collections))


# --- the order of payments, told ------------------------------------------------------------------


def pay_with(collections, *, params=PARAMS, **state):
    return pay(STATE._replace(**state), params, collections)


def test_the_reserve_pays_the_fee_and_senior_interest_and_nobody_else():
    payments, after = pay_with(0, reserve=TARGET)
    assert payments == (FEE, SENIOR, 0, 0, 0, 0, FEE + SENIOR, 0)
    assert (after.reserve, after.mez_due, after.amort) == (TARGET - FEE - SENIOR, MEZZ, 0)


def test_cash_is_used_before_the_reserve():
    payments, after = pay_with(FEE + 1, reserve=TARGET)
    assert (payments.sen_int, payments.reserve_out, after.reserve) == (SENIOR, SENIOR - 1, TARGET - SENIOR + 1)


def test_a_share_of_defaults_at_its_limit_trips_nothing():
    assert pay_with(30 * BILLION, default=100 * BILLION)[1].amort == 0
    assert pay_with(30 * BILLION, default=100 * BILLION + 1)[1].amort == 1


def test_early_amortisation_outlasts_its_reason():
    assert pay_with(30 * BILLION, amort=1, default=0)[1].amort == 1


def test_what_the_reserve_holds_beyond_its_target_is_cash_again():
    payments, after = pay_with(FEE + SENIOR + MEZZ, reserve=TARGET + 5)
    assert (payments.reserve_out, payments.sen_prin, after.reserve) == (5, 5, TARGET)


def test_released_cash_pays_arrears_of_the_mezzanine_before_equity():
    payments, after = pay_with(FEE + SENIOR, reserve=TARGET + 10 * BILLION)
    assert (payments.sen_prin, payments.mez_int) == (7 * BILLION, MEZZ)
    assert payments.equity == 10 * BILLION - 7 * BILLION - MEZZ
    assert after.mez_due == 0


def test_beyond_the_schedule_an_ordinary_period_pays_equity():
    payments, _ = pay_with(FEE + SENIOR + MEZZ + 9 * BILLION, reserve=TARGET)
    assert (payments.sen_prin, payments.mez_prin, payments.equity) == (7 * BILLION, 0, 2 * BILLION)


def test_the_mezzanine_is_repaid_in_the_period_that_repays_the_senior():
    dues = accrue(STATE._replace(senior=5 * BILLION), PARAMS)
    payments, after = pay_with(sum(dues) + 6 * BILLION, senior=5 * BILLION, reserve=150_000_000)
    assert (payments.sen_prin, payments.mez_prin, payments.equity) == (5 * BILLION, BILLION, 0)
    assert (after.senior, after.mezz) == (0, 199 * BILLION)


def test_after_the_notes_all_is_equity_and_so_is_the_reserve():
    payments, after = pay_with(FEE + 3, senior=0, mezz=0, reserve=7, amort=1)
    assert (payments.reserve_out, payments.equity, after.reserve) == (7, 10, 0)


def test_in_early_amortisation_the_mezzanine_waits_for_the_senior_and_the_reserve_is_not_filled():
    payments, after = pay_with(30 * BILLION, amort=1, reserve=1)
    assert (payments.mez_int, payments.reserve_in) == (0, 0)
    assert payments.sen_prin == 30 * BILLION - FEE - SENIOR
    assert after.mez_due == MEZZ


def test_in_early_amortisation_the_mezzanine_comes_after_the_senior_and_interest_before_principal():
    senior = 5 * BILLION
    fee, sen_int, mez_int = accrue(STATE._replace(senior=senior), PARAMS)
    payments, after = pay_with(fee + sen_int + senior + mez_int + 1, senior=senior, amort=1)
    assert (payments.sen_prin, payments.mez_int, payments.mez_prin, payments.equity) == (senior, mez_int, 1, 0)
    assert after.mez_due == 0


def test_arrears_earn_no_interest():
    once = accrue(STATE, PARAMS)
    again = accrue(STATE._replace(fee_due=once.fee, sen_due=once.senior, mez_due=once.mezz), PARAMS)
    assert again == tuple(2 * due for due in once)


def test_interest_is_rounded_half_up_once():
    terms = PARAMS._replace(sen_ppm=10**6, period_ms=YEAR_MS // 2)
    assert accrue(STATE._replace(senior=1), terms).senior == 1
    assert accrue(STATE._replace(senior=1), terms._replace(period_ms=YEAR_MS // 2 - 1)).senior == 0


def test_interest_falls_due_in_whole_units():
    terms = PARAMS._replace(unit=CENT)
    assert [due % CENT for due in accrue(STATE, terms)] == [0, 0, 0]
    assert accrue(STATE, terms).senior == SENIOR - SENIOR % CENT


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["state", "params"])
@pytest.mark.parametrize("value", [-1, 1.5, True, None, "1", 2**63])
def test_every_field_is_a_whole_number_within_bounds(part, value):
    for name in ORDINARY[part]:
        wrong = {**ORDINARY, part: {**ORDINARY[part], name: value}}
        with pytest.raises(
            WrongShape, match=rf"{name} of the (state|params) has the wrong shape: expected an integer in 0.."
        ):
            pay_waterfall(**wrong)


@pytest.mark.parametrize(("part", "name", "value"), [("state", "amort", 2), ("params", "unit", 0)])
def test_a_mark_and_a_unit_have_bounds_of_their_own(part, name, value):
    with pytest.raises(WrongShape, match=rf"{name} of the (state|params) has the wrong shape: expected an integer in"):
        pay_waterfall(**{**ORDINARY, part: {**ORDINARY[part], name: value}})


@pytest.mark.parametrize("value", [-1, 0.5, True, 2**63])
def test_collections_are_a_whole_number(value):
    with pytest.raises(WrongShape, match=r"collections has the wrong shape: expected an integer in 0"):
        pay_waterfall(**{**ORDINARY, "collections_uyuan": value})


def test_a_field_that_is_missing_or_unknown_is_named():
    state, params = dict(ORDINARY["state"]), dict(ORDINARY["params"])
    del state["mezz"]
    with pytest.raises(WrongFields, match=r"of the state that are missing: \['mezz'\], that are unknown: \[\]; give"):
        pay_waterfall(state, params, 0)
    with pytest.raises(WrongFields, match=r"of the params that are missing: \[\], that are unknown: \['fees'\]; give"):
        pay_waterfall(ORDINARY["state"], {**params, "fees": 0}, 0)


# --- the holders of a note -------------------------------------------------------------------------


@given(AMOUNTS, st.lists(AMOUNTS, min_size=1, max_size=40).filter(any))
def test_holders_are_paid_all_of_it_by_what_they_hold(amount, held):
    parts = pay_holders(amount, held)
    assert sum(parts) == amount
    for part, own in zip(parts, held, strict=True):
        assert abs(part * sum(held) - amount * own) < sum(held)


def test_a_holder_of_nothing_is_paid_nothing():
    assert pay_holders(10, [0, 1, 0, 2]) == [0, 3, 0, 7]


def test_a_note_that_nobody_holds_pays_nobody():
    for held in ([], [0, 0]):
        with pytest.raises(NothingHeld, match=r"0.00001 yuan cannot be paid out, for nobody holds any of the note"):
            pay_holders(10, held)
