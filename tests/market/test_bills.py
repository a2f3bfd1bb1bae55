"""Bills and netting: parts that are the whole, transfers that come to the same, and credit for nobody."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import WrongShape
from market.bills import net_obligations, split_bill
from market.credit.score import PPM
from market.errors import OwesItself, SharesNotWhole
from tests.support.worked_cases import read_cases

AMOUNTS = st.integers(0, 10**15)
FOUR = {"producer": 350_000, "transmission": 250_000, "distribution": 250_000, "tax": 150_000}


@pytest.mark.parametrize("case", read_cases("bill"), ids=lambda case: case["name"])
def test_a_bill_is_split_as_worked_out(case):
    assert [*split_bill(**case["inputs"]).values()] == case["outputs"]["parts_uyuan"]


@pytest.mark.parametrize("case", read_cases("netting"), ids=lambda case: case["name"])
def test_obligations_are_netted_as_worked_out(case):
    transfers, arrears = net_obligations(**case["inputs"])
    assert [[*row] for row in transfers] == case["outputs"]["transfers"]
    assert [[*row] for row in arrears] == case["outputs"].get("arrears", [])


# --- bills -----------------------------------------------------------------------------------------


@st.composite
def shares(draw):
    cuts = sorted(draw(st.lists(st.integers(0, PPM), max_size=8)))
    return {f"party {n}": end - start for n, (start, end) in enumerate(zip([0, *cuts], [*cuts, PPM], strict=True))}


@given(AMOUNTS, shares())
def test_parts_sum_to_the_bill_and_none_is_a_whole_unit_off_its_share(amount, shares):
    parts = split_bill(amount, shares)
    assert sum(parts.values()) == amount
    assert list(parts) == list(shares)
    for name, share in shares.items():
        assert parts[name] >= 0
        assert abs(parts[name] * PPM - amount * share) < PPM


@pytest.mark.parametrize(("amount", "parts"), [(0, [0, 0, 0, 0]), (1, [0, 0, 0, 1]), (2, [0, 1, 0, 1])])
def test_the_least_bills(amount, parts):
    assert [*split_bill(amount, FOUR).values()] == parts


def test_who_has_no_share_gets_nothing():
    assert split_bill(7, {"nobody": 0, "all": PPM, "nobody else": 0}) == {"nobody": 0, "all": 7, "nobody else": 0}


@pytest.mark.parametrize("shares", [{}, {**FOUR, "tax": 149_999}, {**FOUR, "more": 1}])
def test_shares_that_are_no_whole_are_refused(shares):
    with pytest.raises(SharesNotWhole, match=f"sum to {sum(shares.values())} ppm, they must sum to 1000000"):
        split_bill(1, shares)


@pytest.mark.parametrize("amount", [-1, 1.0, True, "1", None, 2**63])
def test_a_bill_is_a_whole_number_of_uyuan(amount):
    with pytest.raises(WrongShape, match="the bill has the wrong shape: expected an integer in 0"):
        split_bill(amount, FOUR)


@pytest.mark.parametrize("share", [-1, PPM + 1, 0.5])
def test_a_share_is_between_nothing_and_the_whole(share):
    with pytest.raises(WrongShape, match=r"the share of tax has the wrong shape: expected an integer in 0..1000000"):
        split_bill(1, {"producer": PPM, "tax": share})


# --- netting ---------------------------------------------------------------------------------------

PARTIES = st.sampled_from("ABCDEF")
OBLIGATIONS = st.lists(st.tuples(PARTIES, PARTIES, AMOUNTS).filter(lambda row: row[0] != row[1]), max_size=30)
BALANCES = st.dictionaries(PARTIES, st.integers(-(10**15), 10**16))


def net_of(*lists):
    """The amount that each party receives, less what it pays."""
    total = Counter()
    for rows in lists:
        for debtor, creditor, amount in rows:
            total[creditor] += amount
            total[debtor] -= amount
    return {party: amount for party, amount in total.items() if amount}


@given(OBLIGATIONS)
def test_balances_change_as_without_netting(obligations):
    transfers, arrears = net_obligations(obligations)
    assert arrears == []
    assert net_of(transfers) == net_of(obligations)
    assert len(transfers) <= max(0, len({party for row in obligations for party in row[:2]}) - 1)
    assert not {row[0] for row in transfers} & {row[1] for row in transfers}
    assert all(amount > 0 for _, _, amount in transfers)


@given(OBLIGATIONS, BALANCES)
def test_netting_creates_no_credit(obligations, balances):
    transfers, arrears = net_obligations(obligations, balances)
    assert net_of(transfers, arrears) == net_of(obligations)
    assert all(amount > 0 for _, _, amount in transfers + arrears)
    owed = Counter(), Counter()
    for paid, rows in zip(owed, (transfers, arrears), strict=True):
        for debtor, _, amount in rows:
            paid[debtor] += amount
    for debtor in owed[0] | owed[1]:
        paid, left = owed[0][debtor], owed[1][debtor]
        assert paid <= max(0, balances.get(debtor, 0))
        assert not left or paid == max(0, balances.get(debtor, 0)), "a debtor pays what it can"


@given(OBLIGATIONS, st.randoms(use_true_random=False))
def test_the_order_of_obligations_means_nothing(obligations, random):
    mixed = random.sample(obligations, len(obligations))
    assert net_obligations(mixed) == net_obligations(obligations)


def test_each_debtor_pays_by_its_own_means():
    obligations = [("A", "C", 30), ("B", "C", 10), ("B", "D", 20)]
    transfers, arrears = net_obligations(obligations, {"A": 30, "B": 10})
    assert transfers == [("A", "C", 30), ("B", "C", 3), ("B", "D", 7)]
    assert arrears == [("B", "C", 7), ("B", "D", 13)]


def test_a_circle_moves_nothing():
    assert net_obligations([("A", "B", 5), ("B", "C", 5), ("C", "A", 5)]) == ([], [])


def test_addresses_are_parties_too():
    low, high = bytes(20), b"\1" * 20
    assert net_obligations([(high, low, 2), (low, high, 5)]) == ([(low, high, 3)], [])


@pytest.mark.parametrize("balance", [0, -5])
def test_who_has_nothing_pays_nothing(balance):
    assert net_obligations([("A", "B", 5)], {"A": balance}) == ([], [("A", "B", 5)])
    assert net_obligations([("A", "B", 5)], {}) == ([], [("A", "B", 5)])


@pytest.mark.parametrize("amount", [-1, 0.5, False, 2**63])
def test_an_obligation_is_a_whole_number_of_uyuan(amount):
    with pytest.raises(WrongShape, match=r"what 'A' owes 'B' has the wrong shape: expected an integer in 0"):
        net_obligations([("A", "B", amount)])


def test_a_balance_is_a_whole_number_of_uyuan():
    with pytest.raises(WrongShape, match="the balance of 'A' has the wrong shape: expected an integer in -"):
        net_obligations([("A", "B", 1)], {"A": 0.5})


def test_nobody_owes_itself():
    with pytest.raises(OwesItself, match=r"'A' owes itself 0.000002 yuan; leave out what nobody else is owed"):
        net_obligations([("A", "A", 2)])
