"""The asset ledger on a chain: what is issued moves, and is spent, and nothing of it is there twice."""

import pytest

from ledger.overlay import Overlay
from ledger.state import State
from market.assets.lots import MAX_HOLDERS, get_holders, shift
from market.assets.series import MAX_AMOUNT, MAX_ISSUED, Series, add_series, issue_more
from market.claim_records import CLAIM
from market.errors import TooManyHolders, TooMuchIssued
from tests.support.asset_lab import AssetMarket
from tests.support.keys import address
from tests.support.market_lab import BALANCE_UYUAN, PERIOD

OWN = address("paul")


@pytest.fixture
def market():
    return AssetMarket()


def test_a_claim_is_issued_moved_and_taken_back(market):
    assert market.claim("paul", "carol", 600) == ""
    assert market.claim("paul", "paul", 400) == ""
    market.check_assets()
    assert market.held(CLAIM, "carol") == {1: 600}
    assert market.move(CLAIM, "carol", "chen", 250, series=1) == ""
    market.check_assets()
    assert (market.held(CLAIM, "carol"), market.held(CLAIM, "chen")) == ({1: 350}, {1: 250})
    assert market.take_back("paul", 150, series=1) == ""
    market.check_assets()
    assert market.held(CLAIM, "paul") == {1: 250}
    assert market.series(1)[4:8] == (1000, 850, 150, 0)


# --- sold ----------------------------------------------------------------------------------------


def test_what_is_sold_and_its_price_change_hands_at_once(market):
    market.claim("paul", "paul", 1_000)
    before = [market.account(name).balance_uyuan for name in ("paul", "carol")]
    sale = market.agree(CLAIM, "paul", "carol", 600, 1, 250_000)
    assert market.sell(CLAIM, "paul", "carol", 600, 1, sale) == ""
    assert market.held(CLAIM, "carol") == {1: 600}
    after = [market.account(name).balance_uyuan for name in ("paul", "carol")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [250_000, -250_000]


def test_a_buyers_word_is_good_once_and_for_its_terms_alone(market):
    market.claim("paul", "paul", 1_000)
    sale = market.agree(CLAIM, "paul", "carol", 600, 1, 250_000)
    price, signature = sale
    assert market.sell(CLAIM, "paul", "carol", 600, 1, (price + 1, signature)) == "InvalidSignature"
    for amount, series, buyer in ((601, 1, "carol"), (600, 1, "chen")):
        sale = market.agree(CLAIM, "paul", "carol", 600, 1, 250_000)
        assert market.sell(CLAIM, "paul", buyer, amount, series, sale) == "InvalidSignature"
    sale = market.agree(CLAIM, "paul", "carol", 300, 1, 250_000)
    assert market.sell(CLAIM, "paul", "carol", 300, 1, sale) == ""
    assert market.sell(CLAIM, "paul", "carol", 300, 1, sale) == "InvalidSignature"
    sale = market.agree(CLAIM, "carol", "chen", 300, 1, 250_000)
    assert market.sell(CLAIM, "paul", "chen", 300, 1, sale) == "InvalidSignature"
    assert market.sell(CLAIM, "paul", "chen", 300, 1, (5, b"short")) == "WrongShape"
    market.check_assets()


def test_nobody_buys_for_more_than_it_has(market):
    market.claim("paul", "paul", 1_000)
    sale = market.agree(CLAIM, "paul", "carol", 600, 1, BALANCE_UYUAN + 1)
    assert market.sell(CLAIM, "paul", "carol", 600, 1, sale) == "InsufficientBalance"
    assert market.held(CLAIM, "carol") == {}


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        ("asset-issue", ("share", bytes(20), 1, ()), "UnknownMember"),
        ("asset-issue", (CLAIM, b"short", 1, (PERIOD,)), "WrongShape"),
        ("asset-issue", (CLAIM, OWN, 0, (PERIOD,)), "WrongShape"),
        ("asset-issue", (CLAIM, OWN, MAX_AMOUNT + 1, (PERIOD,)), "WrongShape"),
        ("asset-issue", (CLAIM, OWN, 1, ()), "WrongShape"),
        ("asset-issue", (CLAIM, OWN, 1), "WrongShape"),
        ("asset-issue", ("share", OWN, 1, ()), "UnknownAssetClass"),
        ("asset-issue", ("c" * 17, OWN, 1, ()), "TooLarge"),
        ("asset-move", ("share", OWN, 1, 1, None), "UnknownAssetClass"),
        ("asset-move", (CLAIM, OWN, 1, 2, None), "UnknownSeries"),
        ("asset-move", ("voucher", OWN, 1, 1, None), "UnknownSeries"),
        ("asset-move", (CLAIM, OWN, 1, 0, None), "UnknownSeries"),
        ("asset-move", (CLAIM, OWN, 601, 1, None), "TooFewLots"),
        ("asset-move", (CLAIM, OWN, 1, 1), "WrongShape"),
        ("asset-redeem", (CLAIM, 1, 2, None), "UnknownSeries"),
        ("asset-redeem", (CLAIM, 601, 1, None), "TooFewLots"),
        ("asset-renew", (CLAIM, 2), "UnknownSeries"),
        ("asset-renew", (CLAIM, 0), "WrongShape"),
        ("asset-renew", (CLAIM, 1), "NotRenewable"),
    ],
)
def test_what_is_refused_changes_nothing(market, kind, payload, code):
    market.claim("paul", "paul", 600)
    assert market.submit("paul", kind, payload) == code
    market.check_assets()


def test_a_series_has_so_many_holders():
    view = Overlay(State.empty())
    for holder in range(MAX_HOLDERS):
        shift(view, 1, holder.to_bytes(20, "big"), 1)
    with pytest.raises(TooManyHolders, match="series 1 would have more than 256 holders"):
        shift(view, 1, b"h" * 20, 1)
    shift(view, 1, bytes(20), -1)
    shift(view, 1, b"h" * 20, 1)
    assert len(get_holders(view, 1)) == MAX_HOLDERS


def test_a_series_is_so_large():
    view = Overlay(State.empty())
    number = add_series(view, b"asset/due/", Series("voucher", bytes(20), (), 24, issued=MAX_ISSUED - 1))
    issue_more(view, number, 1)
    with pytest.raises(TooMuchIssued, match=f"of series 1 {MAX_ISSUED + 1} would have been issued"):
        issue_more(view, number, 1)


def test_an_owner_cannot_be_given_of_too_many_series(market):
    for period in range(PERIOD, PERIOD + 33):
        for producer in ("paul", "pia"):
            code = market.claim(producer, "carol", 1, period)
    assert code == "TooManyLots"
    market.check_assets()


def test_without_the_parameter_there_are_no_assets(make_market):
    market = make_market()
    payload = CLAIM, market.address("carol"), 1, (PERIOD,)
    for kind in ("asset-issue", "asset-move", "asset-redeem", "asset-renew"):
        assert market.submit("paul", kind, payload) == "UnknownKind"


# --- what a refusal says -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "kind", "payload", "text"),
    [
        ("paul", "asset-issue", ("share", OWN, 1, ()), "UnknownAssetClass: no assets of class 'share' are issued here"),
        ("paul", "asset-move", (CLAIM, OWN, 1, 7, None), "UnknownSeries: there is no series 7 of class claim"),
        ("paul", "asset-move", (CLAIM, OWN, 601, 1, None), "TooFewLots: 601 are wanted, and 600 are held of what may"),
        (
            "carol",
            "asset-redeem",
            (CLAIM, 1, 1, None),
            "NotRedeemable: a claim is not redeemed by its holder: the prod",
        ),
        ("paul", "asset-renew", (CLAIM, 1), "NotRenewable: a claim ends when it ends, and is not renewed"),
        ("carol", "asset-issue", (CLAIM, OWN, 1, (PERIOD,)), "RoleNotAllowed: a member with the role consumer may not"),
        ("paul", "asset-issue", (CLAIM, OWN, 1, (99,)), "ClaimTooEarly: period 99 is too far ahead for claims, period"),
        ("paul", "asset-issue", (CLAIM, OWN, 1, (3,)), "ClaimFrozen: claims on period 3 are as they were at its gate"),
        (
            *("paul", "asset-issue", (CLAIM, OWN, 399_301, (PERIOD,))),
            "OverCapacity: 399.301 kWh are to be promised and 399.300 kWh can be: 400.000 kWh of capacity and quota, "
            "less 0.100 kWh on offer and 0.600 kWh promised before",
        ),
        (
            *("grid", "asset-issue", ("voucher", OWN, 1_000_000, ("any", 1))),
            "NotBacked: 1000000 vouchers at 0.01 yuan lack a backing of 10,000.00 yuan, and their issuer has 1.00 yuan",
        ),
        (
            "grid",
            "asset-issue",
            ("voucher", OWN, 1, ("tea", 1)),
            "UnknownPurpose: vouchers have no purpose 'tea', there",
        ),
        (
            *("paul", "asset-redeem", ("voucher", 1, 0, ("bill", OWN))),
            "NotPayable: vouchers for 'bill' do not pay for this: nobody pays itself with it",
        ),
        (
            *("paul", "asset-redeem", ("voucher", 1, 0, ("bill", address("carol")))),
            "NotPayable: vouchers for 'bill' do not pay for this: bills are the grid company's",
        ),
        (
            "carol",
            "asset-renew",
            ("voucher", 2),
            "NothingToRenew: no vouchers of series 2 are held, or they have expired",
        ),
        (
            "paul",
            "asset-renew",
            ("voucher", 3),
            "AlreadyRenewed: the vouchers of series 3 have been renewed, and are not",
        ),
        (
            "paul",
            "fund",
            ("tea", 1),
            "UnknownPot: there is no pot 'tea' to pay into, there are block-rewards, incentives",
        ),
    ],
)
def test_a_refusal_says_why_and_what_goes(market, sender, kind, payload, text):
    market.hand_over("carol", "grid", 1_100_000)
    market.claim("paul", "paul", 600)
    market.offer("paul", price=450_000, volume=100)
    market.issue("grid", "paul", 10)
    market.renew("paul", 2)
    market.now_ms += 1
    assert market.refuse(sender, kind, payload).startswith(text)
