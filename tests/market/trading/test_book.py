"""Intentions and cancellations on chain: what the book takes, what it refuses, and what bids set aside."""

import pytest

from market.orders import Order, Side
from market.trading.contract import MAX_ENERGY_WH, MAX_PRICE_UYUAN_PER_KWH
from market.trading.gates import CERTIFIED
from market.trading.views import get_best, get_book, live_periods

PERIOD = 10
KWH = 1_000
YUAN = 1_000_000
WHEELING = 20_000


# --- placing -------------------------------------------------------------------------------------


def test_orders_stand_on_the_book_in_order_of_placing(market):
    assert market.bid("carol", price=560_000, volume=200 * KWH) == ""
    assert market.offer("paul", price=540_000, volume=150 * KWH) == ""
    assert get_book(market.state, PERIOD) == [
        Order(0, market.address("carol"), Side.BID, 560_000, 200 * KWH, 0),
        Order(1, market.address("paul"), Side.OFFER, 540_000, 150 * KWH, 1),
    ]
    assert live_periods(market.state) == (PERIOD,)


def test_subscribers_hear_of_every_order(market):
    execution = market.make_block(
        ("carol", "intention", market.intention("carol", Side.BID, 560_000, 200 * KWH)),
        ("carol", "cancel", (PERIOD, 0)),
    )
    carol = market.address("carol")
    assert execution.events == (
        ("order", PERIOD, 0, carol, 0, 560_000, 200 * KWH),
        ("cancelled", PERIOD, 0, carol, 0, 560_000, 200 * KWH),
    )


def test_best_bid_and_ask_follow_the_live_orders(market):
    assert get_best(market.state, PERIOD) == (None, None)
    market.bid("carol", price=500_000, volume=KWH)
    market.bid("chen", price=520_000, volume=KWH)
    market.offer("paul", price=580_000, volume=KWH)
    assert get_best(market.state, PERIOD) == (520_000, 580_000)
    market.cancel("chen", 1)
    assert get_best(market.state, PERIOD) == (500_000, 580_000)


def test_a_bid_sets_its_whole_cost_aside_rounded_up(market):
    before = market.account("carol")
    market.bid("carol", price=555_555, volume=1)  # 1 Wh at 0.575555 yuan/kWh costs 575.555 µ¥
    after = market.account("carol")
    assert after.reserved_uyuan == 576
    assert after.balance_uyuan == before.balance_uyuan - 576


def test_an_offer_sets_nothing_aside(market):
    market.offer("paul", price=540_000, volume=200 * KWH)
    assert market.account("paul").reserved_uyuan == 0


def test_a_prosumer_stands_on_both_sides_each_up_to_its_quota(market):
    assert market.bid("rosa", price=500_000, volume=400 * KWH) == ""
    assert market.offer("rosa", price=600_000, volume=400 * KWH) == ""
    assert market.bid("rosa", price=500_000, volume=1) == "OverQuota"
    assert market.offer("rosa", price=600_000, volume=1) == "OverQuota"


def test_periods_have_books_of_their_own(market):
    market.bid("carol", price=560_000, volume=400 * KWH)
    market.now_ms = market.times(PERIOD + 1).open_ms - 1
    assert market.bid("carol", price=560_000, volume=KWH, period=PERIOD + 1) == "MarketNotOpen"
    market.go("open", PERIOD + 1)
    assert market.bid("carol", price=560_000, volume=400 * KWH, period=PERIOD + 1) == ""
    assert live_periods(market.state) == (PERIOD, PERIOD + 1)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "side", "fields", "code"),
    [
        ("paul", Side.BID, {}, "SideNotAllowed"),
        ("carol", Side.OFFER, {}, "SideNotAllowed"),
        ("grid", Side.BID, {}, "SideNotAllowed"),
        ("carol", Side.BID, {"period": PERIOD + 1}, "MarketNotOpen"),
        ("carol", Side.BID, {"period": 2**63 - 1}, "MarketNotOpen"),
        ("carol", Side.BID, {"period": PERIOD - 1}, "GateClosed"),
        ("carol", Side.BID, {"period": 0}, "GateClosed"),
        ("carol", Side.BID, {"volume_wh": 400 * KWH + 1}, "OverQuota"),
        ("carol", Side.BID, {"volume_wh": 0}, "WrongShape"),
        ("carol", Side.BID, {"volume_wh": MAX_ENERGY_WH + 1}, "WrongShape"),
        ("carol", Side.BID, {"price_uyuan_per_kwh": 0}, "WrongShape"),
        ("carol", Side.BID, {"price_uyuan_per_kwh": MAX_PRICE_UYUAN_PER_KWH + 1}, "WrongShape"),
        ("carol", Side.BID, {"price_uyuan_per_kwh": MAX_PRICE_UYUAN_PER_KWH}, "InsufficientBalance"),
        ("carol", 2, {}, "WrongShape"),
        ("carol", Side.BID, {"period": -1}, "WrongShape"),
    ],
)
def test_an_intention_that_breaks_a_rule_is_refused_by_name(market, sender, side, fields, code):
    payload = market.intention(sender, side, 560_000, 200 * KWH, **fields)
    assert market.submit(sender, "intention", payload) == code


@pytest.mark.parametrize("payload", [(), (0,) * 3, (0,) * 5, ((),) * 4, (None,) * 4])
def test_an_intention_of_another_shape_is_refused(market, payload):
    assert market.submit("carol", "intention", payload) == "WrongShape"


def test_an_order_above_the_highest_price_is_refused(make_market):
    # 0.615 retail and 0.02 wheeling: nobody has an honest reason to pay more
    market = make_market(max_price_uyuan_per_kwh=635_000)
    assert market.bid("carol", price=635_000, volume=KWH) == ""
    assert market.bid("carol", price=635_001, volume=KWH) == "PriceTooHigh"
    assert market.offer("paul", price=635_001, volume=KWH) == "PriceTooHigh"


def test_what_a_bid_sets_aside_covers_the_allowance_for_more(make_market):
    market = make_market(over_delivery_ppm=250_000)
    assert market.bid("carol", price=500_000, volume=100 * KWH) == ""
    assert market.account("carol").reserved_uyuan == 125 * 520_000
    assert market.cancel("carol", 0) == ""
    assert market.reserved() == 0


def test_the_quota_counts_live_orders_only(market):
    market.bid("carol", price=560_000, volume=300 * KWH)
    assert market.bid("carol", price=560_000, volume=101 * KWH) == "OverQuota"
    market.cancel("carol", 0)
    assert market.bid("carol", price=560_000, volume=400 * KWH) == ""


def test_a_member_has_so_many_orders_and_no_more(make_market):
    market = make_market(max_orders_per_member=2)
    market.bid("carol", price=560_000, volume=KWH)
    market.bid("carol", price=560_000, volume=KWH)
    assert market.bid("carol", price=560_000, volume=KWH) == "TooManyOrders"
    assert market.bid("chen", price=560_000, volume=KWH) == ""
    market.cancel("carol", 0)
    assert market.bid("carol", price=560_000, volume=KWH) == ""


def test_a_book_takes_so_many_orders_and_no_more(make_market):
    market = make_market(max_orders_per_period=2)
    market.bid("carol", price=560_000, volume=KWH)
    market.offer("paul", price=600_000, volume=KWH)
    assert market.bid("chen", price=560_000, volume=KWH) == "BookFull"
    market.cancel("paul", 1)
    assert market.bid("chen", price=560_000, volume=KWH) == ""


def test_a_bid_may_spend_the_last_of_a_balance_and_not_a_bit_more(market):
    rich = market.account("carol").balance_uyuan // 2
    price = rich * 1000 // (400 * KWH) - WHEELING
    assert market.bid("carol", price=price, volume=400 * KWH) == ""
    market.go("open", PERIOD + 1)
    left = market.account("carol").balance_uyuan
    price = left * 1000 // (400 * KWH) - WHEELING
    assert market.bid("carol", price=price + 1, volume=400 * KWH, period=PERIOD + 1) == "InsufficientBalance"
    assert market.bid("carol", price=price, volume=400 * KWH, period=PERIOD + 1) == ""
    assert market.account("carol").balance_uyuan == 0


# --- cancelling ----------------------------------------------------------------------------------


def test_a_cancelled_bid_frees_its_reserve(market):
    before = market.account("carol").balance_uyuan
    market.bid("carol", price=560_000, volume=200 * KWH)
    assert market.account("carol").balance_uyuan == before - 116 * YUAN
    assert market.cancel("carol", 0) == ""
    assert market.account("carol").balance_uyuan == before
    assert market.reserved() == 0
    assert get_book(market.state, PERIOD) == []


def test_the_id_of_a_cancelled_order_is_not_given_out_again(market):
    market.bid("carol", price=560_000, volume=KWH)
    market.cancel("carol", 0)
    market.bid("carol", price=570_000, volume=KWH)
    assert [order.order_id for order in get_book(market.state, PERIOD)] == [1]


def test_only_an_own_live_order_is_cancelled_and_only_before_the_gate(market):
    market.bid("carol", price=560_000, volume=KWH)
    assert market.cancel("chen", 0) == "NotYourOrder"
    assert market.cancel("carol", 1) == "UnknownOrder"
    assert market.cancel("carol", 0, period=PERIOD + 1) == "MarketNotOpen"
    assert market.cancel("carol", 0) == ""
    assert market.cancel("carol", 0) == "UnknownOrder"
    assert market.submit("carol", "cancel", (PERIOD,)) == "WrongShape"
    assert market.submit("carol", "cancel", (PERIOD, b"0")) == "WrongShape"


# --- the gate ------------------------------------------------------------------------------------


def test_the_book_is_open_until_the_last_millisecond_before_the_gate(market):
    market.now_ms = market.times().gate_ms - 1
    assert market.bid("carol", price=560_000, volume=KWH) == ""
    market.now_ms += 1
    assert market.bid("carol", price=560_000, volume=KWH) == "GateClosed"
    assert market.cancel("carol", 0) == "GateClosed"


def test_a_block_dated_back_does_not_reopen_a_gate(market):
    # timestamps may step back: open ── gate ── gate - 1 ms
    market.bid("carol", price=560_000, volume=KWH)
    market.go("gate")
    market.now_ms -= 1
    assert market.bid("carol", price=560_000, volume=KWH) == "GateClosed"
    market.certify()
    assert market.bid("carol", price=560_000, volume=KWH) == "GateClosed"
    assert market.gate().status == CERTIFIED
