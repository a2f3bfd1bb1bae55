"""Bills on a chain: what each member paid for energy, and its parts, whatever the shares of work; netting beside it."""

from __future__ import annotations

from collections import Counter

import pytest

from ledger.params import BillShares, MarketParams
from market.bill_records import get_bill, walk_bills
from market.bills import net_obligations, split_bill
from market.trading.views import get_settlement
from tests.support.asset_lab import AssetMarket
from tests.support.market_lab import PERIOD

SHARES = BillShares(producer_ppm=350_000, transmission_ppm=250_000, distribution_ppm=250_000, tax_ppm=150_000)
READINGS = {"carol": (70_001, 0), "chen": (5_003, 0), "paul": (0, 60_000), "pia": (0, 20_000), "rosa": (900, 9_007)}


def trade(market):
    """Two buyers and two sellers trade a period, beside a claim."""
    assert market.claim("pia", "carol", 11_000) == ""
    assert market.bid("carol", price=450_000, volume=40_000) == ""
    assert market.bid("chen", price=450_000, volume=9_000) == ""
    assert market.offer("paul", price=440_000, volume=40_000) == ""
    assert market.offer("rosa", price=440_000, volume=9_000) == ""
    market.go("gate")
    for _ in range(12):
        market.make_block()
    market.certify()
    market.make_block()


def settle(market, readings=READINGS):
    market.go("delivery_end")
    for name, (consumed, produced) in readings.items():
        assert market.read(name, consumed=consumed, produced=produced) == ""
    events = market.go("settle")
    for _ in range(40 * (not market.settled())):
        events += market.make_block().events
    assert market.settled()
    return events


def make(**options):
    return AssetMarket(**{"bills": SHARES, **options})


def paid(market, period=PERIOD):
    """The payments of members by the record of the settlement, with the wheeling of claims."""
    sums = Counter()
    settlement = get_settlement(market.state, period)
    for row in settlement.trades:
        sums[row.buyer] += row.buyer_pays_uyuan
    for row in settlement.grid:
        sums[row.member] += row.pays_uyuan
    return +sums


def bills(market, period=PERIOD):
    return dict(walk_bills(market.view, period))


def check(market, wheeling=0):
    found = bills(market)
    sums = paid(market)
    sums[market.address("carol")] += wheeling
    assert {member: bill.paid_uyuan for member, bill in found.items()} == sums
    for bill in found.values():
        assert bill.parts == split_bill(bill.paid_uyuan, SHARES.by_name)
        assert sum(bill.parts.values()) == bill.paid_uyuan


def test_what_each_member_paid_is_split_as_a_whole():
    market = make()
    trade(market)
    events = settle(market)
    wheeling = sum(values[-1] for name, *values in events if name == "claim-served")
    assert wheeling > 0
    check(market, wheeling)
    carol = get_bill(market.view, PERIOD, market.address("carol"))
    assert carol.energy_wh == 70_001
    assert ("bill", PERIOD, market.address("carol"), *carol[:6]) in events
    assert get_bill(market.view, PERIOD, market.address("paul")) is None


def test_no_money_moves_by_it():
    markets = [make(), make(bills=BillShares())]
    for market in markets:
        trade(market)
        settle(market)
    assert markets[0].money() == markets[1].money()
    for name in ("carol", "chen", "paul", "pia", "rosa", "grid"):
        assert markets[0].account(name) == markets[1].account(name)
    assert bills(markets[1]) == {}


@pytest.mark.parametrize("work", [64, 100])
def test_by_shares_the_bills_are_the_same(work):
    markets = [make(work_per_block=limit) for limit in (work, 0)]
    for market in markets:
        trade(market)
        settle(market)
    by_member = [{member: bill[:6] for member, bill in bills(market).items()} for market in markets]
    assert by_member[0] == by_member[1] != {}


def test_a_correction_corrects_the_bill():
    market = make(correction_ppm=5_000_000)
    trade(market)
    events = settle(market, {name: row for name, row in READINGS.items() if name != "chen"})
    wheeling = sum(values[-1] for name, *values in events if name == "claim-served")
    check(market, wheeling)
    before = get_bill(market.view, PERIOD, market.address("chen"))
    assert market.read("chen", consumed=20_000) == ""
    events = market.go_on()
    after = get_bill(market.view, PERIOD, market.address("chen"))
    assert ("bill", PERIOD, market.address("chen"), *after[:6]) in events
    assert after[:6] != before[:6]
    check(market, wheeling)


@pytest.mark.parametrize("work", [0, 64])
def test_bills_are_forgotten_with_their_period(work):
    market = make(retained_periods=7, work_per_block=work)
    trade(market)
    settle(market)
    assert bills(market)
    for period in range(PERIOD + 1, PERIOD + 12):
        market.go("delivery_end", period)
        assert market.read("carol", consumed=1, period=period) == ""
        market.go("settle", period)
        for _ in range(4):
            market.make_block()
    assert bills(market) == {}
    kept = {int.from_bytes(key[8:16], "big") for key, _ in market.state.items() if key.startswith(b"bill/of/")}
    assert kept == set(range(PERIOD + 5, PERIOD + 12))


def test_shares_that_are_not_whole_are_no_parameters():
    with pytest.raises(ValueError, match="the shares of a bill must sum to 1000000 ppm, or all be 0"):
        BillShares(producer_ppm=999_999)
    with pytest.raises(ValueError, match="shares of a bill need economy = 1"):
        MarketParams(bills=SHARES)


def test_settlement_changes_balances_as_its_netted_obligations_do():
    """Each account is read and written once in a share: that is netting, with nobody's balance asked for."""
    market = make()
    trade(market)
    names = ("carol", "chen", "paul", "pia", "rosa", "grid")
    before = {name: market.account(name) for name in names}
    events = settle(market)
    grid = market.address("grid")
    owed = []
    for row in get_settlement(market.state, PERIOD).trades:
        owed += [(row.buyer, grid, row.buyer_pays_uyuan), (grid, row.seller, row.seller_receives_uyuan)]
    for row in get_settlement(market.state, PERIOD).grid:
        owed += [(row.member, grid, row.pays_uyuan), (grid, row.member, row.receives_uyuan)]
    for name, *values in events:
        if name == "claim-served":
            _, _, producer, holder, _, _, _, penalty, wheeling = values
            owed += [(producer, holder, penalty), (holder, grid, wheeling)]
    transfers, arrears = net_obligations(owed)
    assert arrears == []
    assert len(transfers) < len(names)
    change = Counter()
    for debtor, creditor, amount in transfers:
        change[debtor] -= amount
        change[creditor] += amount
    for name in names:
        after = market.account(name)
        moved = after.balance_uyuan + after.reserved_uyuan - before[name].balance_uyuan - before[name].reserved_uyuan
        assert moved == change[market.address(name)], name
