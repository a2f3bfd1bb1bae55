"""Vouchers: covered to the last one, good for a purpose and a time, renewed once; incentives and rewards from pots."""

import pytest

from ledger.accounts import get_account
from ledger.params import Incentive, VoucherParams
from market.assets.series import DAY, due_key, get_head
from market.pots import PUBLIC_POTS
from market.vouchers import VOUCHER, get_backing, get_live
from tests.support.asset_lab import AssetMarket
from tests.support.market_lab import BALANCE_UYUAN, PERIOD

PRICE = 10_000
TERMS = VoucherParams(price_uyuan=PRICE, purposes=("ev",), validity_days=2)


@pytest.fixture
def market():
    """A market whose grid company has money to issue vouchers with."""
    market = AssetMarket(vouchers=TERMS)
    market.hand_over("carol", "grid", BALANCE_UYUAN // 2)
    return market


def balance(market, name):
    return market.account(name).balance_uyuan


def pot(market, name):
    return get_account(market.view, PUBLIC_POTS[name]).balance_uyuan


def backing(market, issuer="grid"):
    return get_account(market.view, get_backing(market.address(issuer))).balance_uyuan


def test_vouchers_are_issued_passed_on_and_paid_with(market):
    money, before = market.all_money(), balance(market, "grid")
    assert market.issue("grid", "carol", 100) == ""
    assert (before - balance(market, "grid"), backing(market)) == (100 * PRICE, 100 * PRICE)
    assert market.move(VOUCHER, "carol", "chen", 60) == ""
    assert market.redeem("chen", "pia", 50) == ""
    assert balance(market, "pia") == BALANCE_UYUAN + 50 * PRICE
    assert market.redeem("chen", "chen", 10) == ""
    assert balance(market, "chen") == BALANCE_UYUAN + 10 * PRICE
    assert market.held(VOUCHER, "carol") == {1: 40}
    assert (get_live(market.view, market.address("grid")), backing(market)) == (40, 40 * PRICE)
    assert market.all_money() == money
    market.check_assets()


def test_nobody_issues_more_than_it_can_cover(market):
    most = balance(market, "grid") // PRICE
    assert most == BALANCE_UYUAN // 2 // PRICE
    assert market.issue("grid", "carol", most + 1) == "NotBacked"
    assert market.issue("grid", "carol", most) == ""
    assert market.issue("grid", "carol", 1) == "NotBacked"
    market.check_assets()


def test_only_a_bank_or_the_grid_company_issues(market):
    for name in ("carol", "paul", "rosa"):
        assert market.issue(name, "chen", 1) == "RoleNotAllowed"


def test_a_bound_voucher_pays_for_its_purpose_alone(market):
    market.issue("grid", "carol", 100, "ev", days=1)
    market.issue("grid", "carol", 100, "any", days=2)
    assert market.redeem("carol", "grid", 80, "bill") == ""
    assert market.held(VOUCHER, "carol") == {1: 100, 2: 20}
    assert market.redeem("carol", "grid", 21, "bill") == "TooFewLots"
    assert market.redeem("carol", "paul", 120, "ev") == ""
    assert market.held(VOUCHER, "carol") == {}
    market.check_assets()


def test_who_may_be_paid_depends_on_the_purpose(market):
    market.issue("grid", "carol", 100, "ev")
    assert market.redeem("carol", "carol", 1, "ev") == "NotPayable"
    assert market.redeem("carol", "paul", 1, "bill") == "NotPayable"
    assert market.redeem("carol", "paul", 1, "heat") == "UnknownPurpose"
    assert market.issue("grid", "carol", 1, "heat") == "UnknownPurpose"
    assert market.redeem("carol", "carol", 1, "any") == "TooFewLots"
    assert market.submit("carol", "asset-redeem", (VOUCHER, 1, 0, ("ev", bytes(20)))) == "UnknownMember"


def test_one_series_is_named_or_the_oldest_are_taken(market):
    market.issue("grid", "carol", 10, days=1)
    market.issue("grid", "carol", 10, days=2)
    assert market.redeem("carol", "carol", 11, series=2) == "TooFewLots"
    assert market.redeem("carol", "carol", 5, series=2) == ""
    assert market.move(VOUCHER, "carol", "chen", 12) == ""
    assert market.held(VOUCHER, "chen") == {1: 10, 2: 2}
    assert market.redeem("chen", "chen", 1, series=3) == "UnknownSeries"


def test_equal_vouchers_are_one_series(market):
    for _ in range(3):
        market.issue("grid", "carol", 10)
    assert market.held(VOUCHER, "carol") == {1: 30}
    assert list(market.all_series()) == [1]


def test_what_expires_is_worth_nothing_and_its_backing_returns(market):
    before = balance(market, "grid")
    market.issue("grid", "carol", 100)
    market.redeem("carol", "chen", 30)
    assert market.series(1).expiry % DAY == 0
    market.now_ms += (market.series(1).expiry - market.period) * 1_000 - 1
    market.make_block()
    assert market.period == market.series(1).expiry - 1
    assert market.held(VOUCHER, "carol") == {1: 70}
    assert market.redeem("carol", "chen", 1) == ""
    events = market.go_on()
    assert ("asset-expired", VOUCHER, 1, market.address("grid"), 69) in events
    assert market.held(VOUCHER, "carol") == {}
    assert market.redeem("carol", "chen", 1) == "TooFewLots"
    assert market.move(VOUCHER, "carol", "chen", 1) == "TooFewLots"
    assert balance(market, "grid") == before - 31 * PRICE
    assert backing(market) == 0
    assert market.series(1)[4:8] == (100, 0, 31, 69)
    market.check_assets()


def test_rows_of_holders_are_cleaned_when_they_are_touched(market):
    market.issue("grid", "carol", 100)
    market.issue("grid", "chen", 100)
    market.pass_days(2)
    market.issue("grid", "carol", 1)
    market.check_assets()
    held = [key for key, _ in market.state.items() if key.startswith(b"asset/held/")]
    assert len(held) == 2
    assert market.view.get(b"asset/held/voucher/" + market.address("carol")) == ((market.series(2).expiry, 2, 1),)


def test_expired_series_are_forgotten_in_the_end():
    market = AssetMarket(vouchers=TERMS, retained_periods=30)
    market.hand_over("carol", "grid", BALANCE_UYUAN // 2)
    market.issue("grid", "carol", 100)
    expiry = market.series(1).expiry
    market.pass_days(3)
    assert get_head(market.view, due_key(expiry)) == 1
    market.pass_days(1)
    assert get_head(market.view, due_key(expiry)) == 0
    assert not [key for key, _ in market.state.items() if key.startswith(b"asset/series/")]
    assert market.redeem("carol", "carol", 1, series=1) == "UnknownSeries"


def test_an_outage_of_many_days_leaves_nothing_behind(market):
    market.issue("grid", "carol", 100, days=1)
    market.issue("grid", "carol", 100, days=9)
    market.pass_days(40)
    market.check_assets()
    assert backing(market) == 0
    assert not [key for key, _ in market.state.items() if key.startswith((b"asset/series/", b"asset/due/"))]


def test_a_voucher_is_renewed_once_for_a_fee(market):
    market.issue("grid", "carol", 1_001, "ev")
    expiry = market.series(1).expiry
    assert market.renew("carol", 1) == ""
    assert market.held(VOUCHER, "carol") == {2: 951}
    assert market.series(1)[4:8] == (1_001, 0, 1_001, 0)
    assert market.series(2)[4:8] == (951, 951, 0, 0)
    assert market.series(2).expiry == expiry + 2 * DAY
    assert backing(market) == 1_001 * PRICE
    assert market.renew("carol", 2) == "AlreadyRenewed"
    assert market.renew("chen", 1) == "NothingToRenew"
    assert market.renew("chen", 3) == "UnknownSeries"
    before = balance(market, "grid")
    assert market.issue("grid", "chen", 50) == ""
    assert balance(market, "grid") == before, "the fee covers as many new ones"
    assert market.redeem("carol", "paul", 951, "ev") == ""
    market.check_assets()


def test_nothing_is_renewed_that_has_expired(market):
    market.issue("grid", "carol", 10)
    market.pass_days(2)
    assert market.renew("carol", 1) == "NothingToRenew"


# --- pots ----------------------------------------------------------------------------------------


def test_anybody_fills_a_pot_with_what_it_has(market):
    assert market.fund("chen", "incentives", 7) == ""
    assert pot(market, "incentives") == 7
    assert market.fund("chen", "holidays", 7) == "UnknownPot"
    assert market.fund("chen", "incentives", BALANCE_UYUAN) == "InsufficientBalance"


def make_incentives(*incentives, **options):
    terms = VoucherParams(price_uyuan=PRICE, purposes=("ev",), incentives=incentives)
    return AssetMarket(vouchers=terms, registered={"paul": {"renewable_ppm": 1_000_000}}, **options)


def trade_and_settle(market, energy_wh=10_000):
    market.claim("pia", "carol", energy_wh)
    market.offer("paul", price=450_000, volume=energy_wh)
    market.bid("chen", price=450_000, volume=energy_wh)
    market.go("gate")
    market.certify()
    market.go("delivery_end")
    for name in ("paul", "pia"):
        market.read(name, produced=energy_wh)
    for name in ("carol", "chen"):
        market.read(name, consumed=energy_wh)
    return market.go("settle")


@pytest.mark.parametrize(
    ("source", "hours", "earns"),
    [
        ("new", (0, 24), {"chen"}),
        ("traditional", (0, 24), {"carol"}),
        ("any", (PERIOD, PERIOD + 1), {"carol", "chen"}),
        ("any", (0, PERIOD), set()),
        ("any", (PERIOD + 1, 24), set()),
    ],
)
def test_incentives_go_by_source_and_hour(source, hours, earns):
    row = Incentive(source=source, from_hour=hours[0], until_hour=hours[1], vouchers_per_kwh=3, purpose="ev")
    market = make_incentives(row)
    market.fund("rosa", "incentives", 1_000 * PRICE)
    events = trade_and_settle(market)
    assert {name for name in ("carol", "chen") if market.held(VOUCHER, name)} == earns
    assert len([event for event in events if event[0] == "incentive"]) == len(earns)
    assert all(sum(market.held(VOUCHER, name).values()) == 30 for name in earns)
    market.check_assets()


def test_incentives_end_with_their_pot():
    market = make_incentives(Incentive(source="any", vouchers_per_kwh=3))
    market.fund("rosa", "incentives", 40 * PRICE + PRICE - 1)
    money = market.all_money()
    trade_and_settle(market)
    granted = [sum(market.held(VOUCHER, name).values()) for name in ("carol", "chen")]
    assert granted == [30, 10]
    assert pot(market, "incentives") == PRICE - 1
    assert market.all_money() == money
    market.check_assets()


def test_what_expires_of_an_incentive_is_in_the_pot_again():
    market = make_incentives(Incentive(source="any", vouchers_per_kwh=1, validity_days=1))
    market.fund("rosa", "incentives", 20 * PRICE)
    trade_and_settle(market)
    assert pot(market, "incentives") == 0
    market.pass_days(3)
    assert pot(market, "incentives") == 20 * PRICE


def test_who_makes_a_block_is_rewarded_from_a_pot():
    market = AssetMarket(vouchers=VoucherParams(price_uyuan=PRICE, vouchers_per_block=5, validity_days=1))
    market.make_block()
    assert market.held(VOUCHER, "grid") == {}
    market.fund("rosa", "block-rewards", 12 * PRICE)
    events = [market.make_block().events for _ in range(4)]
    rewards = [event for of in events for event in of if event[0] == "block-reward"]
    assert [event[2] for event in rewards] == [5, 5, 2]
    assert sum(market.held(VOUCHER, "grid").values()) == 12
    market.check_assets()
