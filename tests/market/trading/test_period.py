"""A delivery period from its first order to its settlement, on chain."""

from typing import NamedTuple

import pytest

from ledger.checkpoints import Checkpoint, mark_certified
from ledger.errors import InvalidProof
from ledger.merkle import EMPTY_ROOT, verify_inclusion
from ledger.overlay import Overlay
from market.errors import UnknownTrade
from market.trading.gates import CERTIFIED, LAPSED, NO_CERTIFICATE, OPEN, SETTLED, VOID
from market.trading.period import compute_times
from market.trading.settlement_record import SettledTrade, SettledWithGrid
from market.trading.trades import TradeRecord, decode_trade_leaf
from market.trading.views import get_book, get_settlement, get_trades, live_periods, prove_trade

PERIOD = 10
KWH = 1_000
YUAN = 1_000_000
POINT = 1_000_000
INITIAL_CREDIT = 90 * POINT
RETAIL, FEED_IN, WHEELING = 615_000, 410_000, 20_000


def named(events, name):
    return [event[1:] for event in events if event[0] == name]


def trade_at_the_gate(market, *, price=550_000, volume=200 * KWH, period=PERIOD):
    """carol buys from paul."""
    assert market.bid("carol", price=price, volume=volume, period=period) == ""
    assert market.offer("paul", price=price, volume=volume, period=period) == ""
    return market.go("gate", period)


def deliver(market, *, period=PERIOD, **metered):
    """Read the meters of consumers and producers and settle; the settling block's events."""
    market.go("delivery_end", period)
    for owner, energy_wh in metered.items():
        meter = "produced" if owner.startswith("p") else "consumed"
        assert market.read(owner, period=period, **{meter: energy_wh}) == ""
    return market.go("settle", period)


# --- the clock -----------------------------------------------------------------------------------


def test_an_hourly_period_has_the_clock_of_the_paper(market):
    # text 000: negotiated at T, sealed by T + 2 h, effective from T + 3 h
    params = market.params.model_copy(
        update={"ledger": market.params.ledger.model_copy(update={"period_ms": 3_600_000})}
    )
    times = compute_times(24, params, 0)
    hours = [
        getattr(times, f"{name}_ms") / 3_600_000
        for name in ("open", "gate", "deadline", "delivery_start", "delivery_end", "settle")
    ]
    assert hours == [21, 22, 24, 24, 25, 26]


# --- a whole period ------------------------------------------------------------------------------


class Row(NamedTuple):
    """Table 2 of text 000, our figures: µ¥/kWh, kWh, yuan, points."""

    number: int
    price: int
    consumption: int
    output: int
    buyer_pays: float
    seller_receives: float
    grid_receives: float
    buyer_score: int
    seller_score: int


TABLE_2 = [
    Row(1, 550_000, 220, 200, 126.3, 110.0, 16.3, 100, 100),
    Row(2, 560_000, 200, 200, 116.0, 112.0, 4.0, 100, 100),
    Row(3, 540_000, 180, 200, 100.8, 105.4, -4.6, 90, 100),
    Row(4, 540_000, 250, 250, 140.0, 135.0, 5.0, 100, 100),
    Row(5, 560_000, 180, 180, 104.4, 100.8, 3.6, 90, 90),
    Row(6, 550_000, 190, 190, 108.3, 104.5, 3.8, 95, 95),  # printed: seller's credit 90
    Row(7, 540_000, 240, 220, 135.5, 118.8, 16.7, 100, 100),  # printed: 135.9, 17.1, credits 90 and 85
]


@pytest.mark.parametrize("row", TABLE_2, ids=lambda row: f"row {row.number}")
def test_a_period_settles_as_table_2_has_it(market, row):
    carol, paul, grid = (market.account(name) for name in ("carol", "paul", "grid"))

    gate_events = trade_at_the_gate(market, price=row.price)
    gate = market.gate()
    assert (gate.height, gate.status, gate.trade_count) == (market.height, OPEN, 1)
    assert named(gate_events, "gate") == [(PERIOD, 1, 200 * KWH, gate.result_root)]
    record = TradeRecord(PERIOD, 0, market.address("carol"), market.address("paul"), row.price, 200 * KWH)
    [made] = get_trades(market.state, PERIOD)
    assert made._replace(match=None) == record
    assert named(gate_events, "trade") == [record.to_value()]
    assert market.account("carol").reserved_uyuan == (row.price + WHEELING) * 200
    assert get_book(market.state, PERIOD) == []

    market.certify()
    market.go("deadline")
    events = deliver(market, carol=row.consumption * KWH, paul=row.output * KWH)

    money = [round(part * YUAN) for part in (row.buyer_pays, row.seller_receives, row.grid_receives)]
    scores = row.buyer_score * POINT, row.seller_score * POINT
    carol_now, paul_now, grid_now = (market.account(name) for name in ("carol", "paul", "grid"))
    assert carol_now.balance_uyuan == carol.balance_uyuan - money[0]
    assert paul_now.balance_uyuan == paul.balance_uyuan + money[1]
    assert grid_now.balance_uyuan == grid.balance_uyuan + money[2]
    assert market.reserved() == 0
    assert (carol_now.credit_upt, paul_now.credit_upt) == scores

    parts = row.consumption * KWH, row.output * KWH
    settled = SettledTrade(0, record.buyer, record.seller, *parts, *money, min(parts))
    assert get_settlement(market.state, PERIOD) == ((settled,), ())
    assert named(events, "settlement") == [(PERIOD, record.buyer, record.seller, *money, min(parts))]
    assert named(events, "credit") == [
        (PERIOD, record.buyer, scores[0], scores[0]),
        (PERIOD, record.seller, scores[1], scores[1]),
    ]
    assert named(events, "settled") == [(PERIOD,)]
    assert market.gate().status == SETTLED
    assert live_periods(market.state) == ()


def test_nothing_happens_before_its_time_and_nothing_twice(market):
    market.bid("carol", price=550_000, volume=KWH)
    market.offer("paul", price=550_000, volume=KWH)
    for instant in ("gate", "deadline", "settle"):
        assert market.go(instant, late_ms=-1) == ()
        assert market.go(instant) != ()
        assert market.go(instant) == ()
        assert market.go(instant, late_ms=-1) == ()


# --- gate closure --------------------------------------------------------------------------------


def test_a_filled_bid_keeps_aside_what_its_trades_cost_and_the_rest_is_free(market):
    before = market.account("carol").balance_uyuan
    market.bid("carol", price=580_000, volume=300 * KWH)
    market.offer("paul", price=540_000, volume=100 * KWH)
    market.go("gate")
    [trade] = get_trades(market.state, PERIOD)
    assert (trade.price_uyuan_per_kwh, trade.volume_wh) == (560_000, 100 * KWH)
    assert market.account("carol").reserved_uyuan == 58 * YUAN
    assert market.account("carol").balance_uyuan == before - 58 * YUAN


def test_a_bid_filled_in_crumbs_costs_no_more_than_it_set_aside(market):
    # three trades of 1 Wh at 520.001 µ¥ each: 1560.003 in all, so 1561, where rounding each up would make 1563
    balance = market.account("carol").balance_uyuan
    market.bid("carol", price=500_001, volume=3)
    for _ in range(3):
        market.offer("paul", price=500_001, volume=1)
    assert market.account("carol").reserved_uyuan == 1_561
    market.go("gate")
    assert len(get_trades(market.state, PERIOD)) == 3
    assert market.account("carol").reserved_uyuan == 1_561
    assert market.account("carol").balance_uyuan == balance - 1_561


def test_a_book_without_a_match_closes_over_the_empty_tree(market):
    market.bid("carol", price=500_000, volume=KWH)
    market.offer("paul", price=500_001, volume=KWH)
    events = market.go("gate")
    assert named(events, "gate") == [(PERIOD, 0, 0, EMPTY_ROOT)]
    assert market.reserved() == 0
    assert market.gate().status == OPEN


def test_a_period_without_orders_has_no_gate(market):
    assert market.go("gate") == ()
    assert market.gate() is None


def test_a_certified_checkpoint_at_the_gate_or_after_it_certifies_the_result(market):
    # a checkpoint before the gate ── gate ── an uncertified one ── a certified one
    market.certify()
    trade_at_the_gate(market)
    assert market.make_block().events == ()
    assert market.gate().status == OPEN
    root = market.gate().result_root
    certify_at(market, market.gate().height - 1)
    assert market.make_block().events == ()
    assert market.gate().status == OPEN
    certify_at(market, market.gate().height)
    assert market.make_block().events == (("certified-result", PERIOD),)
    assert (market.gate().status, market.gate().result_root) == (CERTIFIED, root)
    assert market.make_block().events == ()


def certify_at(market, height):
    view = Overlay(market.state)
    mark_certified(view, Checkpoint(slot=1, height=height))
    view.commit()
    market.state = view.finish()[0]


def test_every_trade_is_provable_under_the_result_root(market):
    for volume in (10, 20, 30):
        market.bid("carol", price=550_000, volume=volume * KWH)
        market.offer("pia", price=540_000, volume=volume * KWH)
    market.go("gate")
    root, trades = market.gate().result_root, get_trades(market.state, PERIOD)
    for trade in trades:
        leaf, proof, count = prove_trade(market.state, market.params.market, PERIOD, trade.trade_index)
        verify_inclusion(root, leaf, trade.trade_index, count, proof)
        assert decode_trade_leaf(leaf) == trade
    with pytest.raises(InvalidProof):
        verify_inclusion(root, leaf, 0, count, proof)
    with pytest.raises(UnknownTrade):
        prove_trade(market.state, market.params.market, PERIOD, len(trades))


# --- void periods --------------------------------------------------------------------------------


def test_without_a_certificate_the_trades_lapse_and_all_settle_with_the_grid(market):
    balances = {name: market.account(name).balance_uyuan for name in ("carol", "paul", "grid")}
    trade_at_the_gate(market)
    assert named(market.go("deadline"), "void") == [(PERIOD, NO_CERTIFICATE)]
    assert market.reserved() == 0
    assert market.account("carol").balance_uyuan == balances["carol"]

    events = deliver(market, carol=220 * KWH, paul=200 * KWH)
    carol, paul = market.address("carol"), market.address("paul")
    bought, sold = 220 * RETAIL, 200 * FEED_IN
    rows = (
        SettledWithGrid(carol, 220 * KWH, 0, bought, 0),
        SettledWithGrid(paul, 0, 200 * KWH, 0, sold),
    )
    assert get_settlement(market.state, PERIOD) == ((), rows)
    assert named(events, "grid-settlement") == [(PERIOD, *row) for row in rows]
    assert named(events, "credit") == []
    assert market.account("carol").balance_uyuan == balances["carol"] - bought
    assert market.account("paul").balance_uyuan == balances["paul"] + sold
    assert market.account("grid").balance_uyuan == balances["grid"] + bought - sold
    assert market.account("carol").credit_upt == INITIAL_CREDIT
    assert (market.gate().status, market.gate().reason) == (VOID, NO_CERTIFICATE)
    assert len(get_trades(market.state, PERIOD)) == 1  # the record of what lapsed


def test_a_certificate_in_time_keeps_the_trades(market):
    trade_at_the_gate(market)
    market.certify()
    assert market.go("deadline") == ()


# --- delivery ------------------------------------------------------------------------------------


def test_a_reading_is_spread_over_a_members_trades(market):
    # carol buys 100 from paul and 300 from pia, uses 200: 50 and 150
    market.bid("carol", price=550_000, volume=400 * KWH)
    market.offer("paul", price=550_000, volume=100 * KWH)
    market.offer("pia", price=550_000, volume=300 * KWH)
    market.go("gate")
    market.certify()
    deliver(market, carol=200 * KWH, paul=100 * KWH, pia=300 * KWH)
    trades, grid = get_settlement(market.state, PERIOD)
    assert [(row.consumption_wh, row.output_wh) for row in trades] == [
        (50 * KWH, 100 * KWH),
        (150 * KWH, 300 * KWH),
    ]
    assert grid == ()
    assert market.account("carol").credit_upt == 50 * POINT
    assert market.account("carol").score_count == 2


def test_a_prosumer_settles_each_meter_on_its_own_side(market):
    # rosa buys from paul and sells to carol; the two meters do not net
    market.offer("paul", price=500_000, volume=100 * KWH)
    market.bid("rosa", price=500_000, volume=100 * KWH)
    market.go("gate")
    market.certify()
    market.go("delivery_end")
    market.read("paul", produced=100 * KWH)
    market.read("rosa", consumed=100 * KWH, produced=40 * KWH)
    market.go("settle")
    rosa = market.address("rosa")
    trades, grid = get_settlement(market.state, PERIOD)
    assert [(row.buyer, row.consumption_wh, row.traded_wh) for row in trades] == [(rosa, 100 * KWH, 100 * KWH)]
    assert grid == (SettledWithGrid(rosa, 0, 40 * KWH, 0, 40 * FEED_IN),)


def test_a_prosumer_trades_on_both_sides_of_one_period_but_not_with_itself(market):
    market.offer("rosa", price=500_000, volume=100 * KWH)
    market.bid("rosa", price=520_000, volume=50 * KWH)
    market.offer("paul", price=520_000, volume=50 * KWH)
    market.bid("carol", price=500_000, volume=100 * KWH)
    market.go("gate")
    market.certify()
    market.go("delivery_end")
    market.read("rosa", consumed=50 * KWH, produced=100 * KWH)
    market.read("paul", produced=50 * KWH)
    market.read("carol", consumed=100 * KWH)
    market.go("settle")
    trades, grid = get_settlement(market.state, PERIOD)
    names = {market.address(name): name for name in ("rosa", "paul", "carol")}
    assert [(names[row.buyer], names[row.seller], row.traded_wh) for row in trades] == [
        ("rosa", "paul", 50 * KWH),
        ("carol", "rosa", 100 * KWH),
    ]
    assert grid == ()
    assert market.account("rosa").credit_upt == 100 * POINT


def test_a_meter_that_was_not_read_counts_as_zero(market):
    trade_at_the_gate(market)
    market.certify()
    deliver(market, carol=200 * KWH)
    [row] = get_settlement(market.state, PERIOD).trades
    assert (row.output_wh, row.traded_wh) == (0, 0)
    assert (row.buyer_pays_uyuan, row.seller_receives_uyuan) == (200 * RETAIL, 0)
    assert market.account("paul").credit_upt == 0


def test_where_not_a_single_meter_was_read_the_trades_lapse(market):
    # gate, certified ── (no block while meters could be read) ── one block
    before = {name: market.account(name) for name in ("carol", "paul", "grid")}
    trade_at_the_gate(market)
    market.certify()
    market.go("deadline")
    assert market.go("settle", late_ms=1) == (("unmetered", PERIOD),)
    assert market.gate().status == LAPSED
    assert get_settlement(market.state, PERIOD) == ((), ())
    assert (market.reserved(), live_periods(market.state)) == (0, ())
    for name, account in before.items():
        assert market.account(name)._replace(sequence=0) == account._replace(sequence=0)
    market.now_ms -= 2
    assert market.read("carol", consumed=KWH) == "ReadingTooLate"


def test_one_meter_of_anybodys_is_enough_to_settle(market):
    trade_at_the_gate(market)
    market.certify()
    deliver(market, rosa=0)
    assert market.gate().status == SETTLED
    assert (market.account("carol").credit_upt, market.account("paul").credit_upt) == (0, 0)


def test_a_certified_gate_without_trades_settles_without_readings(market):
    market.bid("carol", price=550_000, volume=KWH)
    market.go("gate")
    market.certify()
    assert market.go("settle") == (("settled", PERIOD),)
    assert market.gate().status == SETTLED


def test_the_next_period_runs_though_one_was_not_metered(market):
    trade_at_the_gate(market)
    market.certify()
    market.go("settle")
    market.go("open", PERIOD + 6)
    trade_at_the_gate(market, period=PERIOD + 6)
    market.certify()
    deliver(market, period=PERIOD + 6, carol=200 * KWH, paul=200 * KWH)
    assert market.account("carol").credit_upt == 100 * POINT


def test_only_the_settlement_may_end_in_arrears_and_then_bids_are_refused(make_market):
    market = make_market(retail_uyuan_per_kwh=10 * YUAN)
    deliver(market, carol=400 * KWH)
    assert market.account("carol").balance_uyuan == -3_000 * YUAN
    market.go("open", PERIOD + 6)
    assert market.bid("carol", price=1, volume=1, period=PERIOD + 6) == "InsufficientBalance"


def test_the_weather_excuses_a_seller_and_never_a_buyer(make_market):
    market = make_market(natural_factor_ppm=200_000)
    trade_at_the_gate(market)
    market.certify()
    deliver(market, carol=100 * KWH, paul=100 * KWH)
    assert market.account("carol").credit_upt == 50 * POINT
    assert market.account("paul").credit_upt == 60 * POINT  # 100 · 0.5 · (1 + 0.2)


def test_credit_is_the_mean_over_all_deliveries(market):
    for period, consumption in ((PERIOD, 180), (PERIOD + 4, 200), (PERIOD + 8, 100)):
        market.go("open", period)
        trade_at_the_gate(market, period=period)
        market.certify()
        deliver(market, period=period, carol=consumption * KWH, paul=200 * KWH)
    carol = market.account("carol")
    assert (carol.score_sum_upt, carol.score_count) == (240 * POINT, 3)
    assert carol.credit_upt == 80 * POINT


def test_penalties_come_off_the_mean_down_to_nothing(market):
    market.penalise("carol", 30 * POINT)
    market.penalise("paul", 100 * POINT)
    trade_at_the_gate(market)
    market.certify()
    deliver(market, carol=200 * KWH, paul=200 * KWH)
    assert market.account("carol").credit_upt == 70 * POINT
    assert market.account("paul").credit_upt == 0


# --- late blocks ---------------------------------------------------------------------------------


def test_one_late_block_takes_a_period_through_everything_that_is_due(market):
    # open ── (no block for two years) ── one block: gate, void, settled
    market.bid("carol", price=550_000, volume=KWH)
    market.offer("paul", price=550_000, volume=KWH)
    events = market.go("settle", late_ms=2 * 365 * 24 * 3_600_000)
    assert [event[0] for event in events] == ["gate", "trade", "void", "settled"]
    assert market.gate().status == VOID
    assert market.reserved() == 0
    assert live_periods(market.state) == ()


def test_live_periods_ascend_whichever_came_first(market):
    market.go("delivery_end")
    market.bid("carol", price=550_000, volume=KWH, period=PERIOD + 4)
    market.read("carol", consumed=KWH)
    assert live_periods(market.state) == (PERIOD, PERIOD + 4)


def test_periods_that_are_due_together_are_processed_in_order(market):
    for period in (PERIOD, PERIOD + 1, PERIOD + 2):
        market.go("open", period)
        market.bid("carol", price=550_000, volume=KWH, period=period)
        market.offer("paul", price=550_000, volume=KWH, period=period)
    events = market.go("settle", PERIOD + 2)
    assert named(events, "void") == [(PERIOD + number, NO_CERTIFICATE) for number in range(3)]
    assert named(events, "settled") == [(PERIOD,), (PERIOD + 1,), (PERIOD + 2,)]
