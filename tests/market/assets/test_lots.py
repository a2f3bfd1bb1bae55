"""Lots: oldest first, all or nothing, equal series in one lot, expired ones worth nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.assets.lots import MAX_LOTS, Lot, add_lot, drop_expired, take_lots
from market.errors import NotBacked, TooFewLots, TooManyLots
from market.vouchers import compute_missing_backing, compute_renewal, may_pay

CASES = {
    case["id"]: case
    for case in json.loads((Path(__file__).parents[1] / "economy_cases.json").read_text())["cases"]
    if case["topic"] == "lots"
}
OWNER = bytes(20)


def listed(lots):
    return [list(lot) for lot in lots]


def test_the_oldest_are_spent_first():
    inputs, outputs = CASES[39]["inputs"], CASES[39]["outputs"]
    lots = drop_expired(tuple(map(tuple, inputs["lots"])), inputs["now"])
    taken, left = take_lots(lots, inputs["spend"])
    assert listed(taken) == outputs["spent"]
    assert listed(left) == outputs["left"]


def test_a_lot_that_may_not_pay_keeps_its_place():
    inputs, outputs = CASES[41]["inputs"], CASES[41]["outputs"]
    purposes = {series: purpose for _, series, _, purpose in inputs["lots"]}
    lots = tuple(tuple(lot[:3]) for lot in inputs["lots"])
    taken, left = take_lots(lots, inputs["spend"], lambda series: may_pay(purposes[series], inputs["pays_for"]))
    assert listed(taken) == outputs["spent"]
    assert listed(left) == outputs["left"]


def test_the_fee_of_a_renewal_is_rounded_down():
    inputs, outputs = CASES[43]["inputs"], CASES[43]["outputs"]
    expiry, _, amount = inputs["lot"]
    left, fee = compute_renewal(amount, inputs["fee_ppm"])
    assert (expiry + inputs["validity"], left) == (outputs["new_lot"][0], outputs["new_lot"][2])
    assert fee == outputs["fee"]


def test_what_is_live_is_covered():
    inputs, outputs = CASES[44]["inputs"], CASES[44]["outputs"]
    missing = [
        compute_missing_backing(
            backing_uyuan=inputs["backing_uyuan"],
            live=inputs["live"],
            amount=amount,
            price_uyuan=inputs["price_uyuan"],
        )
        for amount in inputs["issue"]
    ]
    assert [lack == 0 for lack in missing] == outputs["accepted"]
    assert outputs["error"] == NotBacked.__name__


LOTS = st.lists(
    st.builds(Lot, st.integers(1, 20), st.integers(1, 30), st.integers(1, 100)), unique_by=lambda lot: lot.series
).map(lambda lots: tuple(tuple(lot) for lot in sorted(lots)))


@given(lots=LOTS, amount=st.integers(1, 500), spendable=st.sets(st.integers(1, 30)))
def test_spending_takes_what_is_asked_for_or_nothing(lots, amount, spendable):
    have = sum(lot[2] for lot in lots if lot[1] in spendable)
    if have < amount:
        with pytest.raises(TooFewLots, match=f"{amount} are wanted, and {have} are held of what may be spent"):
            take_lots(lots, amount, spendable.__contains__)
        return
    taken, left = take_lots(lots, amount, spendable.__contains__)
    assert sum(lot.amount for lot in taken) == amount
    assert {lot.series for lot in taken} <= spendable
    assert list(left) == sorted(left)
    before, after = {lot[1]: lot[2] for lot in lots}, {lot[1]: lot[2] for lot in left}
    for lot in taken:
        after[lot.series] = after.get(lot.series, 0) + lot.amount
    assert before == after
    youngest = max(taken)[:2]
    assert not [lot for lot in left if lot[1] in spendable and lot[:2] < youngest]


@given(lots=LOTS, lot=st.builds(Lot, st.integers(1, 20), st.integers(31, 40), st.integers(1, 100)))
def test_equal_series_are_one_lot(lots, lot):
    once = add_lot(lots, lot, OWNER)
    assert list(once) == sorted((*lots, tuple(lot)))
    twice = add_lot(once, lot, OWNER)
    assert len(twice) == len(once)
    assert sum(item[2] for item in twice) == sum(item[2] for item in lots) + 2 * lot.amount


@given(lots=LOTS, now=st.integers(0, 21))
def test_a_lot_is_good_until_its_period(lots, now):
    assert drop_expired(lots, now) == tuple(lot for lot in lots if now < lot[0])


def test_an_owner_has_so_many_lots():
    lots = tuple((1, series, 1) for series in range(1, MAX_LOTS + 1))
    assert add_lot(lots, Lot(1, MAX_LOTS, 5), OWNER)[-1] == (1, MAX_LOTS, 6)
    with pytest.raises(TooManyLots, match="would hold of more than 64 series of one class"):
        add_lot(lots, Lot(1, MAX_LOTS + 1, 5), OWNER)
