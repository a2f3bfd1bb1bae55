"""A bank as an agent: what it does in a period follows from what it holds and whom it serves."""

from __future__ import annotations

from gridmerit.players.banking import FIRST_PAYMENT, Terms, plan_banking, plan_payout
from market.treasury import Payment

YUAN = 10**6
BANK, CAROL, ROSA = b"bank", b"carol", b"rosa"
TERMS = Terms(limit_uyuan=100 * YUAN, every=24)
SERVED = {CAROL: True, ROSA: True}


def test_whoever_has_no_standing_order_is_given_one():
    calls = plan_banking(BANK, 200 * YUAN, None, {CAROL: True, ROSA: False}, TERMS)
    assert calls == [("standing-order", (ROSA, 100 * YUAN, 24))]


def test_the_bank_holds_what_all_its_customers_could_be_short_of():
    assert plan_banking(BANK, 200 * YUAN, None, SERVED, TERMS) == []
    assert plan_banking(BANK, 0, None, SERVED, TERMS) == [("deposit", (BANK, 200 * YUAN, *FIRST_PAYMENT))]
    short = plan_banking(BANK, 150 * YUAN, Payment(1, 7), SERVED, TERMS)
    assert short == [("deposit", (BANK, 50 * YUAN, 1, 8))]


def test_what_has_been_sent_to_it_is_paid_out():
    assert plan_banking(BANK, 230 * YUAN, Payment(1, 7), SERVED, TERMS) == [("withdraw", (30 * YUAN, 1, 8))]


def test_a_customer_that_has_twice_its_limit_has_the_rest_paid_out():
    assert plan_payout(BANK, 200 * YUAN, TERMS) == []
    assert plan_payout(BANK, 201 * YUAN, TERMS) == [("transfer", (BANK, 101 * YUAN))]
