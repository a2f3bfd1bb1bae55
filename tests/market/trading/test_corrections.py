"""Meters that are silent, late, wrong or repeat themselves: what is imputed, and what a correction settles anew."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.overlay import Overlay
from market.metering import Reading, get_readings
from market.trading.gates import LAPSED, SETTLED
from market.trading.settlement_record import SettledTrade
from market.trading.views import get_settlement

PERIOD = 10
PERIOD_MS = 1_000
KWH = 1_000
POINT = 1_000_000
PRICE = 500_000
RETAIL, FEED_IN, WHEELING = 615_000, 410_000, 20_000
WINDOW = {"correction_ppm": 3_000_000}
SCHEDULING, CREDIT = frozenset({"scheduling"}), frozenset({"credit"})
NAMES = ("grid", "carol", "chen", "paul", "pia", "rosa")


def named(events, name):
    return [event[1:] for event in events if event[0] == name]


def balances(market):
    return {name: market.account(name).balance_uyuan for name in NAMES}


def agree(market, volume=20 * KWH, *, buyer="carol", seller="paul", period=PERIOD, price=PRICE):
    """A trade that binds."""
    if market.now_ms < market.times(period).open_ms:
        market.go("open", period)
    assert market.bid(buyer, price=price, volume=volume, period=period) == ""
    assert market.offer(seller, price=price, volume=volume, period=period) == ""
    market.go("gate", period)
    market.certify()


@pytest.fixture
def traded(make_market):
    """carol buys 20 kWh from paul on a chain that trades alone; their delivery is over."""
    market = make_market(**WINDOW)
    market.before = balances(market)
    agree(market)
    market.go("delivery_end")
    return market


def gains(market):
    return {name: now - market.before[name] for name, now in balances(market).items() if now != market.before[name]}


# --- silent --------------------------------------------------------------------------------------


def test_a_silent_buyer_has_taken_what_it_agreed_to_at_retail(traded):
    traded.read("paul", produced=20 * KWH)
    events = traded.go("settle")
    carol, paul = traded.address("carol"), traded.address("paul")
    pays, receives = 20 * RETAIL, 20 * FEED_IN
    row = SettledTrade(0, carol, paul, 20 * KWH, 20 * KWH, pays, receives, pays - receives, 0, is_consumption_imputed=1)
    assert get_settlement(traded.state, PERIOD) == ((row,), ())
    assert named(events, "imputed") == [(PERIOD, carol, 20 * KWH, 0)]
    assert gains(traded) == {"carol": -pays, "paul": receives, "grid": pays - receives}
    assert (traded.account("carol").credit_upt, traded.account("paul").credit_upt) == (0, 100 * POINT)


def test_a_silent_seller_has_made_nothing(traded):
    traded.read("carol", consumed=20 * KWH)
    events = traded.go("settle")
    [row] = get_settlement(traded.state, PERIOD).trades
    assert (row.output_wh, row.is_output_imputed, row.is_consumption_imputed) == (0, 1, 0)
    assert named(events, "imputed") == [(PERIOD, traded.address("paul"), 0, 0)]
    assert gains(traded) == {"carol": -20 * RETAIL, "grid": 20 * RETAIL}
    assert traded.account("paul").credit_upt == 0


def test_a_reading_of_zero_is_a_reading(traded):
    traded.read("carol")
    traded.read("paul", produced=20 * KWH)
    assert named(traded.go("settle"), "imputed") == []
    assert gains(traded) == {"paul": 20 * FEED_IN, "grid": -20 * FEED_IN}


@pytest.mark.parametrize("price", [PRICE, RETAIL - WHEELING, 637_000, 2_000_000])
def test_silence_never_costs_a_buyer_less_than_the_reading_would(make_market, price):
    """Of as much as it agreed to, or less: what it took beyond it, its meter's registers hold for later."""
    costs = {}
    for consumed in (None, 0, 10 * KWH, 20 * KWH):
        market = make_market()
        market.before = balances(market)
        agree(market, price=price)
        market.go("delivery_end")
        market.read("paul", produced=20 * KWH)
        if consumed is not None:
            market.read("carol", consumed=consumed)
        market.go("settle")
        costs[consumed] = -gains(market).get("carol", 0)
    assert costs[None] == 20 * max(RETAIL, price + WHEELING) == max(costs.values())


def test_where_nobody_was_heard_the_trades_lapse_and_stay_so(traded):
    assert named(traded.go("settle"), "unmetered") == [(PERIOD,)]
    assert traded.read("carol", consumed=20 * KWH) == "ReadingTooLate"
    assert traded.gate().status == LAPSED
    assert gains(traded) == {}


def test_late_registers_do_not_revive_what_has_lapsed(traded):
    assert traded.register("rosa", consumed=50 * KWH) == ""  # no reading, without the one before
    traded.go("settle")
    assert traded.gate().status == LAPSED
    assert traded.register("rosa", consumed=40 * KWH, period=PERIOD - 1) == ""
    assert traded.go_on() != ()
    assert gains(traded) == {}
    assert get_settlement(traded.state, PERIOD) == ((), ())


# --- corrected -----------------------------------------------------------------------------------


def test_a_late_reading_takes_the_place_of_what_was_imputed(traded):
    traded.read("paul", produced=20 * KWH)
    traded.go("settle")
    assert traded.read("carol", consumed=20 * KWH) == ""
    assert gains(traded)["carol"] == -20 * RETAIL  # until the next period begins
    events = traded.go_on()
    carol, paul = traded.address("carol"), traded.address("paul")
    legs = 20 * (PRICE + WHEELING), 20 * PRICE, 20 * WHEELING, 20 * KWH
    assert named(events, "resettlement") == [(PERIOD, carol, paul, *legs)]
    assert named(events, "credit-corrected") == [(PERIOD, carol, 100 * POINT, 100 * POINT)]
    assert named(events, "resettled") == [(PERIOD,)]
    assert gains(traded) == {"carol": -legs[0], "paul": legs[1], "grid": legs[2]}
    [row] = get_settlement(traded.state, PERIOD).trades
    assert (row.is_consumption_imputed, row.traded_wh) == (0, 20 * KWH)
    assert (traded.account("carol").score_count, traded.account("carol").credit_upt) == (1, 100 * POINT)
    assert traded.gate().status == SETTLED
    assert traded.go_on() == ()


def test_subscribers_hear_of_a_correction(traded):
    traded.read("carol", consumed=5 * KWH)
    traded.go("settle")
    execution = traded.make_block(("meter-carol", "reading", (PERIOD, 6 * KWH, 0)))
    assert execution.events == (("corrected", PERIOD, traded.address("carol"), 6 * KWH, 0, 1),)


def test_several_corrections_are_settled_once_and_by_the_last(traded):
    traded.read("carol", consumed=20 * KWH)
    traded.read("paul", produced=20 * KWH)
    traded.go("settle")
    for consumed in (10 * KWH, 30 * KWH, 15 * KWH):
        assert traded.read("carol", consumed=consumed) == ""
    assert traded.read("carol", consumed=15 * KWH) == "DuplicateReading"
    assert traded.read("carol", consumed=16 * KWH) == "TooManyCorrections"
    assert len(named(traded.go_on(), "resettlement")) == 1
    assert gains(traded)["carol"] == -15 * (PRICE + WHEELING)
    assert gains(traded)["paul"] == 15 * PRICE + 5 * FEED_IN
    assert traded.account("carol").credit_upt == 75 * POINT


def test_a_correction_back_to_what_was_settled_moves_nothing(traded):
    traded.read("carol", consumed=20 * KWH)
    traded.read("paul", produced=20 * KWH)
    traded.go("settle")
    before = balances(traded)
    traded.read("carol", consumed=1)
    traded.read("carol", consumed=20 * KWH)
    assert traded.go_on() == (("resettled", PERIOD),)
    assert balances(traded) == before


def test_a_correction_comes_within_the_window(traded):
    traded.read("carol", consumed=20 * KWH)
    traded.go("settle")
    traded.now_ms = traded.times().final_ms - 1
    assert traded.read("paul", produced=KWH) == ""
    traded.now_ms = traded.times().final_ms
    assert traded.read("paul", produced=2 * KWH) == "ReadingTooLate"
    traded.go_on()
    assert gains(traded)["paul"] == PRICE


def test_without_a_window_what_came_in_time_is_final(make_market):
    market = make_market()
    agree(market)
    market.go("delivery_end")
    market.read("carol", consumed=20 * KWH)
    market.go("settle")
    assert market.read("paul", produced=20 * KWH) == "ReadingTooLate"


def test_members_without_trades_are_corrected_too(traded):
    traded.read("rosa", consumed=3 * KWH)
    traded.read("carol", consumed=20 * KWH)
    traded.go("settle")
    assert traded.read("rosa", consumed=2 * KWH, produced=KWH) == ""
    assert traded.read("pia", produced=4 * KWH) == ""
    events = traded.go_on()
    rosa, pia = traded.address("rosa"), traded.address("pia")
    assert named(events, "grid-resettlement") == [
        (PERIOD, rosa, 2 * KWH, KWH, 2 * RETAIL, FEED_IN),
        (PERIOD, pia, 0, 4 * KWH, 0, 4 * FEED_IN),
    ]
    assert gains(traded)["rosa"] == -2 * RETAIL + FEED_IN
    assert gains(traded)["pia"] == 4 * FEED_IN


# --- a meter that fails to report, and catches up ------------------------------------------------

HOURS = (1_768, 4_028, 4_028)  # what was used; the meter says 1.768, 0 and 8.056 kWh


def play_three_hours(market, say, correct):
    """carol buys 5 kWh an hour and uses `HOURS`; `say` what her meter does, then `correct` it."""
    market.before = balances(market)
    for hour in range(3):
        agree(market, 5 * KWH, period=PERIOD + hour)
    for hour in range(3):
        market.go("delivery_end", PERIOD + hour)
        assert market.read("paul", produced=HOURS[hour], period=PERIOD + hour) == ""
        say(hour)
        market.go("settle", PERIOD + hour)
    wrong = gains(market)["carol"]
    correct()
    market.go_on()
    cost = sum(-(-(used * (PRICE + WHEELING)) // KWH) for used in HOURS)
    assert gains(market)["carol"] == -cost > wrong  # the second hour's energy came at retail
    for hour in range(3):
        [row] = get_settlement(market.state, PERIOD + hour).trades
        assert (row.consumption_wh, row.traded_wh) == (HOURS[hour], HOURS[hour])
    assert sum(gains(market).values()) == 0


def test_a_meter_that_caught_up_is_corrected_by_its_readings(make_market):
    market = make_market(**WINDOW)
    said = (1_768, 0, 8_056)

    def correct():
        for hour in (1, 2):
            assert market.read("carol", consumed=HOURS[hour], period=PERIOD + hour) == ""

    play_three_hours(market, lambda hour: market.read("carol", consumed=said[hour], period=PERIOD + hour), correct)


def test_of_a_meter_with_registers_one_corrected_register_is_enough(make_market):
    market = make_market(**WINDOW)
    said = (91_768, 91_768, 99_824)

    def say(hour):
        if hour == 0:
            assert market.register("carol", consumed=90_000, period=PERIOD - 1) == ""
        assert market.register("carol", consumed=said[hour], period=PERIOD + hour) == ""

    play_three_hours(market, say, lambda: market.register("carol", consumed=95_796, period=PERIOD + 1))


def test_a_register_alone_is_no_reading_and_two_in_a_row_are(traded):
    assert traded.register("carol", consumed=70 * KWH) == ""
    assert get_readings(Overlay(traded.state), PERIOD) == []
    assert traded.register("carol", consumed=51 * KWH, period=PERIOD - 1) == ""
    assert get_readings(Overlay(traded.state), PERIOD) == [Reading(traded.address("carol"), 19 * KWH, 0)]
    assert traded.register("carol", consumed=51 * KWH, period=PERIOD - 1) == "DuplicateReading"


def test_a_late_register_counts_for_the_next_period_even_where_its_own_was_not_metered(traded):
    traded.read("paul", produced=20 * KWH)
    traded.register("carol", consumed=70 * KWH)
    traded.go("settle")
    assert traded.register("carol", consumed=50 * KWH, period=PERIOD - 1) == ""
    traded.go_on()
    assert gains(traded)["carol"] == -20 * (PRICE + WHEELING)


def test_a_register_that_turns_back_or_leaps_is_refused(traded):
    assert traded.register("carol", consumed=50 * KWH, period=PERIOD - 1) == ""
    assert traded.register("carol", consumed=50 * KWH - 1) == "RegisterTurnedBack"
    assert traded.register("carol", consumed=50 * KWH + 480 * KWH + 1) == "ImplausibleReading"
    assert traded.register("carol", consumed=50 * KWH, produced=1) == "OutputNotAllowed"
    assert traded.register("carol", consumed=60 * KWH) == ""
    assert traded.register("carol", consumed=60 * KWH + 1, period=PERIOD - 1) == "RegisterTurnedBack"
    assert traded.submit("carol", "register", (PERIOD, 1, 0)) == "NotADevice"


# --- beside a scheduling chain -------------------------------------------------------------------


def accept(market):
    """The same trade of 20 kWh, accepted by the scheduling chain and delivered."""
    market.before = balances(market)
    market.quota()
    assert market.bid("carol", price=PRICE, volume=20 * KWH) == ""
    assert market.offer("paul", price=PRICE, volume=20 * KWH) == ""
    market.go("gate")
    assert market.verdict() == ""
    market.go("delivery_end")
    return market


@pytest.fixture
def scheduled(make_market):
    return accept(make_market(siblings=SCHEDULING))


def test_corrections_of_the_scheduling_chain_settle_the_difference(scheduled):
    assert scheduled.metered(("paul", 0, 20 * KWH)) == ""
    assert gains(scheduled)["carol"] == -20 * RETAIL
    assert scheduled.corrected(("carol", 20 * KWH, 0, 0), number=13) == ""
    assert named(scheduled.relayed, "corrected") == [(PERIOD, scheduled.address("carol"), 20 * KWH, 0, 0)]
    scheduled.go_on()
    pays, receives = 20 * (PRICE + WHEELING), 20 * PRICE
    assert gains(scheduled) == {"carol": -pays, "paul": receives, "grid": pays - receives}


def test_the_higher_revision_stands_whichever_comes_first(scheduled):
    scheduled.metered(("carol", 5 * KWH, 0), ("paul", 0, 20 * KWH))
    assert scheduled.corrected(("carol", 20 * KWH, 0, 2), number=14) == ""
    assert scheduled.corrected(("carol", 7 * KWH, 0, 1), number=13) == ""
    assert scheduled.relayed == ()
    scheduled.go_on()
    assert gains(scheduled)["carol"] == -20 * (PRICE + WHEELING)


def test_a_correction_that_overtakes_what_it_corrects_stands(scheduled):
    assert scheduled.corrected(("carol", 20 * KWH, 0, 1), number=13) == ""
    assert get_settlement(scheduled.state, PERIOD) is None
    assert scheduled.metered(("carol", 5 * KWH, 0), ("paul", 0, 20 * KWH)) == ""
    assert gains(scheduled)["carol"] == -20 * (PRICE + WHEELING)
    assert scheduled.go_on() == ()


def test_what_has_lapsed_is_not_corrected(scheduled):
    scheduled.go("settle")
    assert scheduled.gate().status == LAPSED
    assert scheduled.corrected(("carol", 20 * KWH, 0, 1), number=13) == ""
    assert scheduled.relayed == (("correction-lapsed", PERIOD, scheduled.address("carol")),)
    assert scheduled.go_on() == ()
    assert gains(scheduled) == {}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ((PERIOD, "carol", 1, 0), "WrongShape"),
        ((PERIOD, "carol", -1, 0, 1), "WrongShape"),
        ((PERIOD, "carol", 1, 0, -1), "WrongShape"),
        ((-1, "carol", 1, 0, 1), "WrongShape"),
        ((PERIOD, "nobody", 1, 0, 1), "UnknownMember"),
        ((PERIOD + 5, "carol", 1, 0, 1), "UnexpectedRelay"),
    ],
)
def test_a_correction_that_does_not_fit_is_refused(scheduled, row, code):
    scheduled.metered(("carol", KWH, 0))
    period, name, *rest = row
    assert scheduled.relay("corrected", (period, scheduled.address(name), *rest), number=13) == code


def test_a_credit_chain_hears_what_was_metered_and_what_has_changed(make_market):
    market = accept(make_market(siblings=SCHEDULING | CREDIT))
    market.metered(("paul", 0, 20 * KWH))
    carol, paul = market.address("carol"), market.address("paul")
    assert market.posted("delivered") == [(0, carol, paul, 20 * KWH, 0, 20 * KWH)]  # imputed is not metered
    market.corrected(("carol", 15 * KWH, 0, 0), number=13)
    market.go_on()
    rows = market.posted("redelivered", market.period)
    assert rows == [(PERIOD, 0, carol, paul, 20 * KWH, 15 * KWH, 20 * KWH, 0, 20 * KWH)]
    assert {market.account(name).score_count for name in ("carol", "paul")} == {0}


def test_where_violations_are_recorded_it_hears_which_meters_were_silent(make_market):
    market = accept(make_market(siblings=SCHEDULING | CREDIT, recorded_violations=1, **WINDOW))
    market.metered(("rosa", 0, 0))
    carol, paul = market.address("carol"), market.address("paul")
    assert market.posted("delivered") == [(0, carol, paul, 20 * KWH, None, None)]
    market.corrected(("carol", 15 * KWH, 0, 0), number=13)
    market.go_on()
    rows = market.posted("redelivered", market.period)
    assert rows == [(PERIOD, 0, carol, paul, 20 * KWH, 15 * KWH, None, None, None)]


# --- whatever comes, in whatever order -----------------------------------------------------------

readings = st.tuples(
    st.sampled_from(["carol", "chen", "paul", "rosa"]),
    st.sampled_from([0, 1, 3_333, 20 * KWH, 27_777]),
    st.sampled_from([0, 7, 20 * KWH, 55_555]),
)
words = st.lists(readings, max_size=10)


def settle_by(market, before, after):
    """rosa and carol buy from paul, chen from rosa; words before settlement and after it, and their codes."""
    market.before = balances(market)
    pairs = [("carol", "paul"), ("rosa", "paul"), ("chen", "rosa"), ("carol", "pia")]
    calls = []
    for buyer, seller in pairs:
        calls += [
            (name, "intention", market.intention(name, side, PRICE, 11_111)) for side, name in ((1, seller), (0, buyer))
        ]
    market.make_block(*calls)
    market.go("gate")
    market.certify()
    market.go("delivery_end")
    heard = {}
    for name, consumed, produced in before:
        if say(market, name, consumed, produced) == "":
            heard[name] = consumed, produced
    market.go("settle")
    for name, consumed, produced in after:
        if say(market, name, consumed, produced) == "":
            heard[name] = consumed, produced
            if consumed % 2:
                market.go_on()
                assert sum(gains(market).values()) == 0
    market.go_on()
    return heard


def say(market, name, consumed, produced):
    return market.read(name, consumed=consumed, produced=produced if name in ("paul", "rosa") else 0)


@settings(max_examples=40, deadline=None)
@given(before=words, after=words, over_delivery=st.sampled_from(["unlimited", 250_000]))
def test_in_whatever_order_readings_come_it_is_settled_by_the_last_of_each_meter(
    make_market, before, after, over_delivery
):
    terms = {"over_delivery_ppm": over_delivery, "correction_ppm": 100_000_000}
    market, at_once = make_market(**terms), make_market(**terms)
    money = market.money()
    heard = settle_by(market, before, after)
    if not before:
        assert (market.gate().status, gains(market)) == (LAPSED, {})
        return
    settle_by(at_once, [(name, *energy) for name, energy in reversed(heard.items())], [])
    assert (market.money(), market.reserved()) == (money, 0)
    assert gains(market) == gains(at_once)
    for name in NAMES:
        assert market.account(name).credit_upt == at_once.account(name).credit_upt
        assert market.account(name).score_count == at_once.account(name).score_count
    trades, grid = get_settlement(market.state, PERIOD)
    assert (trades, sorted(grid)) == (
        get_settlement(at_once.state, PERIOD).trades,
        sorted(get_settlement(at_once.state, PERIOD).grid),
    )
    for row in trades:
        assert row.buyer_pays_uyuan == row.seller_receives_uyuan + row.grid_receives_uyuan
