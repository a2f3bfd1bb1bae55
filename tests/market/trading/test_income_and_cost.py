"""The two columns of an account: every leg that a settlement moves stands in one of them, whatever comes after it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.accounts import account_key, account_to_value, describe_account, get_account, process_transfer, read_account
from ledger.codec import decode, encode
from ledger.errors import Malformed, WrongShape
from ledger.overlay import Overlay
from ledger.transaction import make_transaction
from market.orders import Side
from market.trading.views import get_settlement
from tests.support.keys import key_of
from tests.support.market_lab import BALANCE_UYUAN

PERIOD = 10
KWH = 1_000
PRICE, WHEELING, RETAIL, FEED_IN = 500_000, 20_000, 615_000, 410_000
NAMES = ("grid", "carol", "chen", "paul", "pia", "rosa")
KEPT = {"income_and_cost": "kept", "correction_ppm": 3_000_000}


def agree(market, *pairs):
    """Trades of 20 kWh that bind."""
    for buyer, seller in pairs:
        assert market.bid(buyer, price=PRICE, volume=20 * KWH) == ""
        assert market.offer(seller, price=PRICE, volume=20 * KWH) == ""
    market.go("gate")
    market.certify()
    market.go("delivery_end")


def columns(market):
    return {
        name: (account.income_uyuan, account.cost_uyuan)
        for name in NAMES
        if (account := market.account(name)).income_uyuan or account.cost_uyuan
    }


def paid_in(name):
    return 0 if name == "grid" else BALANCE_UYUAN


def check_identities(market, *, passed_on=None):
    """Income less cost of each is what its balance has but for payments; of all together it is nothing."""
    accounts = {name: market.account(name) for name in NAMES}
    for name, account in accounts.items():
        gain_uyuan = account.income_uyuan - account.cost_uyuan
        besides_uyuan = paid_in(name) + (passed_on or {}).get(name, 0)
        assert gain_uyuan == account.balance_uyuan + account.reserved_uyuan - besides_uyuan, name
        assert min(account.income_uyuan, account.cost_uyuan) >= 0
    assert sum(account.income_uyuan for account in accounts.values()) == sum(
        account.cost_uyuan for account in accounts.values()
    )


def sum_legs(market, *periods):
    """The columns that the settlements of these periods come to, leg by leg."""
    income, cost = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)
    name_of = {market.address(name): name for name in NAMES}
    for period in periods:
        trades, rest = get_settlement(market.state, period) or ((), ())
        for row in trades:
            cost[name_of[row.buyer]] += row.buyer_pays_uyuan
            income[name_of[row.seller]] += row.seller_receives_uyuan
            income["grid"] += max(0, row.grid_receives_uyuan)
            cost["grid"] += max(0, -row.grid_receives_uyuan)
        for row in rest:
            cost[name_of[row.member]] += row.pays_uyuan
            income["grid"] += row.pays_uyuan
            income[name_of[row.member]] += row.receives_uyuan
            cost["grid"] += row.receives_uyuan
    return {name: (income[name], cost[name]) for name in NAMES if income[name] or cost[name]}


# --- one period ------------------------------------------------------------------------------------


def test_what_was_sold_is_income_and_what_was_bought_is_cost_with_wheeling_retail_and_feed_in(make_market):
    market = make_market(**KEPT)
    agree(market, ("carol", "paul"))
    market.read("carol", consumed=30 * KWH)
    market.read("paul", produced=20 * KWH)
    market.read("rosa", consumed=3 * KWH, produced=2 * KWH)
    market.go("settle")
    traded, retail, feed_in = 20 * PRICE, 13 * RETAIL, 2 * FEED_IN
    assert columns(market) == {
        "carol": (0, traded + 20 * WHEELING + 10 * RETAIL),
        "paul": (traded, 0),
        "rosa": (feed_in, 3 * RETAIL),
        "grid": (20 * WHEELING + retail, feed_in),
    }
    check_identities(market)


def test_the_grid_company_pays_where_more_was_made_than_bought(make_market):
    market = make_market(**KEPT)
    agree(market, ("carol", "paul"))
    market.read("carol", consumed=0)
    market.read("paul", produced=20 * KWH)
    market.go("settle")
    assert columns(market) == {"paul": (20 * FEED_IN, 0), "grid": (0, 20 * FEED_IN)}
    check_identities(market)


def test_a_correction_takes_back_what_it_replaces(make_market):
    market = make_market(**KEPT)
    agree(market, ("carol", "paul"))
    market.read("paul", produced=20 * KWH)
    market.go("settle")
    assert columns(market)["carol"] == (0, 20 * RETAIL), "imputed"
    market.read("carol", consumed=20 * KWH)
    market.go_on()
    assert columns(market) == {
        "carol": (0, 20 * (PRICE + WHEELING)),
        "paul": (20 * PRICE, 0),
        "grid": (20 * WHEELING, 0),
    }
    check_identities(market)


def test_a_payment_between_members_is_neither_income_nor_cost(make_market):
    market = make_market(**KEPT)
    view = Overlay(market.state)
    payload = (market.address("paul"), 7)
    process_transfer(
        view,
        make_transaction(
            key_of("carol"), chain_id=market.chain_id, sequence=0, expiry_height=9, kind="transfer", payload=payload
        ),
    )
    market._keep(view)
    assert columns(market) == {}
    agree(market, ("carol", "paul"))
    market.read("carol", consumed=20 * KWH)
    market.go("settle")
    check_identities(market, passed_on={"carol": -7, "paul": 7})


def test_an_account_is_as_it_was_where_columns_are_not_kept_or_empty(make_market):
    kept, without = make_market(**KEPT), make_market(correction_ppm=3_000_000)
    for market in (kept, without):
        agree(market, ("carol", "paul"))
        market.read("carol", consumed=20 * KWH)
        market.read("paul", produced=20 * KWH)
        market.go("settle")

    def row(market, name):
        return decode(market.state.get(account_key(market.address(name))), max_bytes=91)

    assert {len(row(without, name)) for name in NAMES} == {8}
    assert {name: len(row(kept, name)) for name in NAMES} == {
        **dict.fromkeys(NAMES, 8),
        **dict.fromkeys(("grid", "carol", "paul"), 10),
    }
    for name in NAMES:
        assert row(kept, name)[:8] == row(without, name)


# --- reading a row ---------------------------------------------------------------------------------


def test_a_row_is_read_with_the_columns_and_without(make_market):
    account = make_market().account("carol")
    for item in (account, account._replace(income_uyuan=5), account._replace(cost_uyuan=2**62)):
        assert read_account(account_to_value(item)) == item
        assert len(encode(account_to_value(item))) <= 91
    assert "income_uyuan" not in describe_account(account)
    assert describe_account(account._replace(income_uyuan=5))["cost_uyuan"] == 0


@pytest.mark.parametrize("value", [(), (0,) * 7, (0,) * 9, (0,) * 11, ("0",) * 8, (None,) * 10, 5, (0,) * 9 + (2**63,)])
def test_a_row_of_another_shape_is_refused(value):
    with pytest.raises((WrongShape, Malformed)):
        read_account(value)


# --- any history -----------------------------------------------------------------------------------

WH = st.sampled_from([0, 1, 3_333, 20 * KWH, 27_777])
words = st.lists(st.tuples(st.sampled_from(["carol", "chen", "paul", "pia", "rosa"]), WH, WH), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=words,
    after=words,
    work=st.sampled_from([0, 64, 300]),
    terms=st.sampled_from([{}, {"over_delivery_ppm": 250_000}]),
)
def test_over_any_history_income_less_cost_is_the_balance_less_what_was_paid_in(
    make_market, before, after, work, terms
):
    histories = []
    for kept in ({"income_and_cost": "kept"}, {}):
        market = make_market(correction_ppm=6_000_000, work_per_block=work, **terms, **kept)
        calls = [
            (name, "intention", market.intention(name, side, PRICE, 11_111))
            for buyer, seller in (("carol", "paul"), ("rosa", "paul"), ("chen", "rosa"))
            for side, name in ((Side.OFFER, seller), (Side.BID, buyer))
        ]
        market.make_block(*calls)
        market.go("gate")
        market.certify()
        market.go("delivery_end")
        for name, consumed, produced in before:
            market.read(name, consumed=consumed, produced=0 if name in ("carol", "chen") else produced)
        market.go("settle")
        for _ in range(12):
            market.make_block()
        if kept:
            assert columns(market) == sum_legs(market, PERIOD)
            check_identities(market)
        for name, consumed, produced in after:
            market.read(name, consumed=consumed, produced=0 if name in ("carol", "chen") else produced)
        market.go_on()
        for _ in range(12):
            market.make_block()
        if kept:
            assert columns(market) == sum_legs(market, PERIOD)
            check_identities(market)
        histories.append([market.account(name)._replace(income_uyuan=0, cost_uyuan=0) for name in NAMES])
    assert histories[0] == histories[1], "the columns change no balance"
    assert get_account(Overlay(market.state), market.address("carol")).income_uyuan == 0
