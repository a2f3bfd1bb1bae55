"""Deposits and withdrawals: booked once each, by banks alone, and the money adds up."""

from __future__ import annotations

import pytest

from ledger.errors import InsufficientBalance
from ledger.params import MarketParams
from market.economy import economy_handlers
from market.errors import PaymentBooked, TooMuchMoney
from market.treasury import MAX_BOOKED_UYUAN, Book, Booked, Payment, get_book
from tests.support.keys import address
from tests.support.treasury_lab import FOUNDING_UYUAN, YUAN, TreasuryLab


def test_a_deposit_is_on_the_members_account_and_in_the_banks_book():
    lab = TreasuryLab()
    assert lab.submit("north", "deposit", address("carol"), 7 * YUAN, 212, 4) == ""
    assert lab.events == (("deposit", address("north"), address("carol"), 7 * YUAN, 212, 4),)
    assert lab.balance("carol") == FOUNDING_UYUAN + 7 * YUAN
    assert lab.booked() == Booked(7 * YUAN, 0)
    assert get_book(lab.view, address("north")) == Book(Payment(212, 4), Booked(7 * YUAN, 0))


def test_money_is_paid_out_of_the_banks_own_account():
    """carol has the bank pay her out: she transfers it the money, and the bank books what it has paid outside."""
    lab = TreasuryLab()
    assert lab.submit("north", "withdraw", 5 * YUAN, 212, 4) == "InsufficientBalance"
    assert lab.submit("carol", "transfer", address("north"), 5 * YUAN) == ""
    assert lab.submit("north", "withdraw", 5 * YUAN, 212, 4) == ""
    assert lab.events == (("withdrawal", address("north"), 5 * YUAN, 212, 4),)
    assert (lab.balance("carol"), lab.balance("north")) == (FOUNDING_UYUAN - 5 * YUAN, 0)
    assert lab.booked() == Booked(0, 5 * YUAN)


@pytest.mark.parametrize("place", [(212, 4), (212, 3), (211, 9), (0, 0)])
@pytest.mark.parametrize("kind", ["deposit", "withdraw"])
def test_a_payment_is_booked_once(kind, place):
    lab = TreasuryLab()
    assert lab.submit("north", "deposit", address("north"), 9 * YUAN, 212, 4) == ""
    fields = (address("carol"), YUAN) if kind == "deposit" else (YUAN,)
    assert lab.submit("north", kind, *fields, *place) == "PaymentBooked"
    assert lab.booked() == Booked(9 * YUAN, 0)
    assert lab.submit("north", kind, *fields, 212, 5) == ""
    assert lab.submit("north", kind, *fields, 213, 0) == ""


def test_each_bank_has_statements_of_its_own():
    lab = TreasuryLab()
    for bank in ("north", "south"):
        assert lab.submit(bank, "deposit", address("carol"), YUAN, 212, 4) == ""
        assert lab.submit(bank, "deposit", address("carol"), YUAN, 212, 4) == "PaymentBooked"
    assert lab.booked() == Booked(2 * YUAN, 0)


def test_there_is_a_most_that_is_ever_booked():
    lab = TreasuryLab()
    assert lab.submit("north", "deposit", address("carol"), MAX_BOOKED_UYUAN, 1, 1) == ""
    assert lab.submit("south", "deposit", address("carol"), 1, 1, 1) == "TooMuchMoney"
    assert lab.balance("carol") == FOUNDING_UYUAN + MAX_BOOKED_UYUAN


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        ("deposit", (address("carol"), 0, 1, 1), "WrongShape"),
        ("deposit", (address("carol"), -1, 1, 1), "WrongShape"),
        ("deposit", (address("carol"), 1, 2**53, 1), "WrongShape"),
        ("deposit", (b"carol", 1, 1, 1), "WrongShape"),
        ("deposit", (address("carol"), 1, 1), "WrongShape"),
        ("deposit", (address("nobody"), 1, 1, 1), "UnknownMember"),
        ("withdraw", (0, 1, 1), "WrongShape"),
        ("withdraw", (1, 1, -1), "WrongShape"),
        ("withdraw", (1, 1), "WrongShape"),
    ],
)
def test_what_is_no_booking_is_refused(kind, payload, code):
    lab = TreasuryLab()
    assert lab.submit("north", kind, *payload) == code


def test_without_the_economy_there_is_no_treasury():
    kinds = {"deposit", "withdraw", "standing-order"}
    assert kinds <= economy_handlers(MarketParams(economy=1)).keys()
    assert economy_handlers(MarketParams()) == {}


def test_the_errors_say_what_is_wrong():
    error = PaymentBooked(statement=212, line=3, last_statement=212, last_line=4)
    assert str(error) == "the payment 212/3 is booked: this bank's last one is 212/4, and they go up"
    error = TooMuchMoney(booked=YUAN, want=2 * YUAN, limit=2 * YUAN)
    assert str(error) == "1.00 yuan are booked and 2.00 yuan more are wanted, at most 2.00 yuan ever may be"
    assert str(InsufficientBalance(have_uyuan=0, want_uyuan=YUAN)) == "have 0.00 yuan, need 1.00 yuan"
