"""Standing orders: who is topped up when and by how much, how they end, and how much of it a block does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market import standing_orders
from market.errors import NoStandingOrder, StandingOrderTaken
from market.standing_orders import MAX_EVERY, StandingOrder, find_standing_orders_due, get_standing_order
from tests.support.keys import address
from tests.support.treasury_lab import FOUNDING_UYUAN, YUAN, TreasuryLab

ROWS = ("treasury/order/", "treasury/due/", "treasury/agenda")


def order_by(lab: TreasuryLab, bank: str, member: str, limit_uyuan: int, every: int) -> str:
    return lab.submit(bank, "standing-order", address(member), limit_uyuan, every)


@pytest.fixture
def lab() -> TreasuryLab:
    """The bank north has 1 000 yuan of its own, and it is period 1."""
    lab = TreasuryLab()
    lab.go_to(1)
    assert lab.submit("north", "deposit", address("north"), 1_000 * YUAN, 1, 1) == ""
    return lab


def count_rows(lab: TreasuryLab) -> dict[str, int]:
    return {row.key: row.entries for row in lab.count() if row.key in ROWS}


def topped_up(lab: TreasuryLab, *periods: int) -> list[tuple[int, tuple[object, ...]]]:
    """The payments in the first blocks of these periods: period, and (name, amount, lacking)."""
    found = []
    for period in periods:
        for event in lab.go_to(period):
            if event[0] == "topped-up":
                found.append((period, (lab.addresses[event[2]], *event[3:5])))
    return found


def test_an_account_is_topped_up_to_its_limit_at_every_so_many_periods(lab):
    assert order_by(lab, "north", "carol", 130 * YUAN, 3) == ""
    assert lab.events == (("standing-order", address("north"), address("carol"), 130 * YUAN, 3, 2),)
    assert topped_up(lab, 2, 3, 4) == [(2, ("carol", 30 * YUAN, 0))]
    assert lab.submit("carol", "transfer", address("rosa"), 50 * YUAN) == ""
    assert topped_up(lab, 5, 6, 7, 8) == [(5, ("carol", 50 * YUAN, 0))]
    assert lab.balance("north") == 920 * YUAN


def test_what_is_set_aside_is_the_members_own(lab):
    """Of 100 yuan carol sets some aside for a bid: that is no reason to pay it more."""
    assert lab.submit("carol", "intention", 0, 4, 400_000, 10_000) == ""
    assert lab.account("carol").reserved_uyuan > 0
    order_by(lab, "north", "carol", FOUNDING_UYUAN, 1)
    assert topped_up(lab, 2) == []


def test_a_bank_that_has_too_little_pays_what_it_has(lab):
    order_by(lab, "north", "carol", 1_500 * YUAN, 2)
    assert topped_up(lab, 2, 3, 4) == [(2, ("carol", 1_000 * YUAN, 400 * YUAN)), (4, ("carol", 0, 400 * YUAN))]
    assert lab.balance("north") == 0


def test_a_change_counts_from_the_next_payment_on(lab):
    order_by(lab, "north", "carol", 110 * YUAN, 4)
    assert topped_up(lab, 2, 3) == [(2, ("carol", 10 * YUAN, 0))]
    assert order_by(lab, "north", "carol", 120 * YUAN, 1) == ""
    assert lab.events[-1] == ("standing-order", address("north"), address("carol"), 120 * YUAN, 1, 6)
    assert topped_up(lab, 4, 5, 6) == [(6, ("carol", 10 * YUAN, 0))]
    assert get_standing_order(lab.view, address("carol")) == StandingOrder(address("north"), 120 * YUAN, 1, 7)


def test_an_order_that_has_ended_pays_no_more_and_leaves_nothing(lab):
    for name in ("carol", "rosa", "paul"):
        order_by(lab, "north", name, 110 * YUAN, 1)
    assert count_rows(lab) == {"treasury/order/": 3, "treasury/due/": 1, "treasury/agenda": 1}
    assert order_by(lab, "north", "rosa", 0, 1) == ""
    assert lab.events == (("standing-order-ended", address("north"), address("rosa")),)
    assert get_standing_order(lab.view, address("rosa")) is None
    assert [name for _, (name, *_) in topped_up(lab, 2)] == ["paul", "carol"]
    assert count_rows(lab)["treasury/order/"] == 2
    for name in ("carol", "paul"):
        assert order_by(lab, "north", name, 0, 1) == ""
    assert lab.go_to(3) == []
    assert count_rows(lab) == {}


def test_an_order_that_has_ended_may_begin_again_with_another_bank(lab):
    order_by(lab, "north", "carol", 110 * YUAN, 5)
    assert order_by(lab, "north", "carol", 0, 5) == ""
    assert order_by(lab, "south", "carol", 120 * YUAN, 5) == ""
    assert topped_up(lab, 2) == [(2, ("carol", 0, 20 * YUAN))]


@pytest.mark.parametrize("gone", ["north", "carol"])
def test_an_order_ends_where_bank_or_member_has_gone(lab, gone):
    order_by(lab, "north", "carol", 110 * YUAN, 1)
    assert lab.revoke(gone) == ""
    assert lab.go_to(2) == [("standing-order-ended", address("north"), address("carol"))]
    assert count_rows(lab) == {}


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ((address("carol"), 5, 0), "WrongShape"),
        ((address("carol"), 5, MAX_EVERY + 1), "WrongShape"),
        ((address("carol"), -5, 1), "WrongShape"),
        ((address("carol"), 5), "WrongShape"),
        ((address("north"), 5, 1), "WrongShape"),
        ((address("nobody"), 5, 1), "UnknownMember"),
        ((address("carol"), 0, 1), "NoStandingOrder"),
    ],
)
def test_what_is_no_order_is_refused(lab, payload, code):
    assert lab.submit("north", "standing-order", *payload) == code


def test_another_banks_order_is_left_alone(lab):
    order_by(lab, "north", "carol", 110 * YUAN, 1)
    assert order_by(lab, "south", "carol", 120 * YUAN, 1) == "StandingOrderTaken"
    assert order_by(lab, "south", "carol", 0, 1) == "StandingOrderTaken"


def test_a_block_does_so_much_and_leaves_the_rest_to_the_next(lab, monkeypatch):
    monkeypatch.setattr(standing_orders, "STEPS_PER_BLOCK", 2)
    for name in ("carol", "rosa", "paul"):
        order_by(lab, "north", name, 110 * YUAN, 10)
    assert len(topped_up(lab, 2)) == 2
    block = lab.chain._context(0)
    assert find_standing_orders_due(lab.view, block) == 0
    lab.make_block()
    assert [event[0] for event in lab.events] == ["topped-up"]
    lab.make_block()
    assert find_standing_orders_due(lab.view, block) is None


def test_what_an_outage_has_missed_is_paid_once(lab):
    """Nothing is made for 1 000 periods, of which each would have had a payment: the clock goes on by 256 a block."""
    order_by(lab, "north", "carol", 110 * YUAN, 3)
    assert topped_up(lab, 1_001) == [(1_001, ("carol", 10 * YUAN, 0))]
    order = get_standing_order(lab.view, address("carol"))
    assert order is not None
    assert (order.due, (order.due - 2) % 3) == (1_004, 0)
    for _ in range(4):
        lab.make_block()
    lab.submit("carol", "transfer", address("rosa"), YUAN)
    assert topped_up(lab, 1_003, 1_004) == [(1_004, ("carol", YUAN, 0))]


def test_the_errors_say_what_is_wrong():
    error = StandingOrderTaken(member="0xaa", bank="0xbb")
    assert str(error) == "the account of 0xaa has a standing order of another bank, 0xbb"
    assert str(NoStandingOrder(member="0xaa")) == "the account of 0xaa has no standing order that could end"


@given(st.lists(st.tuples(st.sampled_from(["carol", "rosa", "paul", "seller"]), st.integers(0, 3), st.integers(1, 4))))
def test_a_model_that_keeps_a_list_says_the_same(calls):
    """Each call in a period of its own: who is due when, by a dictionary instead of chains in the state."""
    lab = TreasuryLab()
    lab.submit("north", "deposit", address("north"), 10**6 * YUAN, 1, 1)
    due: dict[str, list[int]] = {}  # limit in steps above what is had, interval, next period; the limit 0: ended
    for period, (name, limit, every) in enumerate(calls, start=1):
        expected = {}
        for member, entry in list(due.items()):
            if entry[2] == period and not entry[0]:
                del due[member]
            elif entry[2] == period:
                have = lab.account(member).balance_uyuan
                expected[member] = max(0, entry[0] * 150 * YUAN - have)
                entry[2] = period + entry[1]
        found = {member: amount for _, (member, amount, _) in topped_up(lab, period)}
        assert found == {member: amount for member, amount in expected.items() if amount}
        code = order_by(lab, "north", name, limit * 150 * YUAN, every)
        is_there = name in due and due[name][0] > 0
        assert code == ("NoStandingOrder" if not limit and not is_there else "")
        if limit:
            due[name] = [limit, every, due[name][2] if name in due else period + 1]
        elif is_there:
            due[name][0] = 0
        if count_rows(lab):
            assert count_rows(lab)["treasury/order/"] == len(due)
        assert all(row.is_within for row in lab.count())
