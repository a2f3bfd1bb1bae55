"""Credit lines: who may bid how far below nothing, and who bids no more."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ledger.accounts import pay
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.errors import UnderCreditLine
from tests.support.keys import address
from tests.support.treasury_lab import FOUNDING_UYUAN, YUAN, TreasuryLab

KWH = 1_000
PERIOD = 4
BID, OFFER = 0, 1


def spend(lab: TreasuryLab, name: str, amount_uyuan: int) -> None:
    """Have a member without money for it pay, as a settlement does."""
    view = Overlay(lab.chain.state)
    pay(view, address(name), address("grid"), amount_uyuan)
    view.commit()
    lab.chain.state = view.finish()[0]


def place(lab: TreasuryLab, name: str, side: int, volume_wh: int = KWH) -> str:
    """At 0.48 yuan per kWh and 0.02 of wheeling: half a yuan per kWh."""
    return lab.submit(name, "intention", side, PERIOD, 480_000, volume_wh)


@pytest.fixture
def make_lab():
    def make(line_uyuan: int) -> TreasuryLab:
        lab = TreasuryLab(credit_line_uyuan=line_uyuan)
        lab.go_to(1)
        return lab

    return make


def test_a_bid_may_set_aside_what_the_line_lends(make_lab):
    lab = make_lab(5 * YUAN)
    assert place(lab, "carol", BID, 211 * KWH) == "InsufficientBalance"
    assert place(lab, "carol", BID, 210 * KWH) == ""
    assert (lab.balance("carol"), lab.account("carol").reserved_uyuan) == (-5 * YUAN, 105 * YUAN)
    assert place(lab, "carol", BID) == "InsufficientBalance"


@pytest.mark.parametrize("line_uyuan", [0, 5 * YUAN])
def test_an_account_under_its_line_places_no_bid(make_lab, line_uyuan):
    lab = make_lab(line_uyuan)
    spend(lab, "rosa", FOUNDING_UYUAN + line_uyuan)
    assert place(lab, "rosa", BID) == "InsufficientBalance"
    spend(lab, "rosa", 1)
    assert place(lab, "rosa", BID) == "UnderCreditLine"
    assert place(lab, "rosa", OFFER) == ""
    assert lab.submit("north", "deposit", address("rosa"), YUAN, 1, 1) == ""
    assert place(lab, "rosa", BID) == ""


def test_the_line_lends_for_bids_alone(make_lab):
    lab = make_lab(5 * YUAN)
    assert lab.submit("carol", "transfer", address("rosa"), FOUNDING_UYUAN + 1) == "InsufficientBalance"


def test_without_the_economy_a_debt_is_too_little_money_as_before():
    with pytest.raises(ValidationError, match="credit_line_uyuan needs economy = 1"):
        MarketParams(credit_line_uyuan=1)


def test_the_error_says_what_to_wait_for():
    assert str(UnderCreditLine(balance=-3 * YUAN, line=2 * YUAN)) == (
        "the account has a debt of 3.00 yuan, and its credit line is 2.00 yuan: it bids again once money has come in"
    )
