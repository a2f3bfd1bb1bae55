"""Settlement beside other chains: metered energy from the scheduling chain, wheeling by area, credit elsewhere."""

import pytest

from ledger.overlay import Overlay
from market.metering import get_readings
from market.trading.contract import MAX_ENERGY_WH, market_handlers, market_hooks, market_routes
from market.trading.gates import ACCEPTED, CERTIFIED, LAPSED, SETTLED, UNMETERED, VOID
from market.trading.settlement_record import SettledTrade, SettledWithGrid
from market.trading.views import get_settlement, live_periods

PERIOD = 10
KWH = 1_000
POINT = 1_000_000
PRICE = 500_000
RETAIL, FEED_IN = 615_000, 410_000
NORTH, SOUTH = 20_000, 35_000  # wheeling
POSITIONS = {"carol": "north", "paul": "north", "rosa": "north", "chen": "south", "pia": "south"}
SCHEDULING, CREDIT = frozenset({"scheduling"}), frozenset({"credit"})


@pytest.fixture
def accepted(make_market):
    """carol (north) buys 10 and chen (south) 20 kWh from paul; nothing is cut."""
    return accept(make_market(siblings=SCHEDULING, positions=POSITIONS))


def accept(market, *curtailed):
    assert market.quota(("north", 400 * KWH, 400 * KWH, NORTH), ("south", 400 * KWH, 400 * KWH, SOUTH)) == ""
    assert market.bid("carol", price=PRICE, volume=10 * KWH) == ""
    assert market.bid("chen", price=PRICE, volume=20 * KWH) == ""
    assert market.offer("paul", price=PRICE, volume=30 * KWH) == ""
    market.go("gate")
    assert market.verdict(*curtailed) == ""
    return market


def named(events, name):
    return [event[1:] for event in events if event[0] == name]


def balances(market):
    return {name: market.account(name).balance_uyuan for name in ("grid", *POSITIONS)}


# --- settlement ----------------------------------------------------------------------------------


def test_metered_energy_settles_as_soon_as_it_is_all_there_each_buyer_at_its_areas_wheeling(accepted):
    before = balances(accepted)
    accepted.go("delivery_end")
    reserved = {name: accepted.account(name).reserved_uyuan for name in ("carol", "chen")}
    assert reserved == {"carol": 10 * (PRICE + NORTH), "chen": 20 * (PRICE + SOUTH)}
    code = accepted.metered(
        ("carol", 10 * KWH, 0), ("chen", 20 * KWH, 0), ("paul", 0, 30 * KWH), ("rosa", 2 * KWH, KWH), ("pia", 0, 0)
    )
    assert code == ""
    carol, chen, paul, rosa = (accepted.address(name) for name in ("carol", "chen", "paul", "rosa"))
    legs = [(10 * (PRICE + NORTH), 10 * PRICE, 10 * NORTH), (20 * (PRICE + SOUTH), 20 * PRICE, 20 * SOUTH)]
    assert get_settlement(accepted.state, PERIOD) == (
        (
            SettledTrade(0, carol, paul, 10 * KWH, 10 * KWH, *legs[0], 10 * KWH),
            SettledTrade(1, chen, paul, 20 * KWH, 20 * KWH, *legs[1], 20 * KWH),
        ),
        (SettledWithGrid(rosa, 2 * KWH, KWH, 2 * RETAIL, FEED_IN),),
    )
    assert accepted.gate().status == SETTLED
    assert accepted.reserved() == 0
    assert live_periods(accepted.state) == ()
    after = balances(accepted)
    assert after["carol"] == before["carol"]  # it paid just what it had set aside
    assert after["chen"] == before["chen"]
    assert after["paul"] == before["paul"] + 30 * PRICE
    assert after["grid"] == before["grid"] + 10 * NORTH + 20 * SOUTH + 2 * RETAIL - FEED_IN
    names = [event[0] for event in accepted.relayed]
    assert names == ["metered", *["settlement", "credit", "credit"] * 2, "grid-settlement", "settled"]
    assert named(accepted.relayed, "metered") == [(PERIOD, 5)]
    assert accepted.go("settle") == ()


def test_curtailed_trades_settle_and_score_by_what_was_accepted_under_their_own_indexes(make_market):
    # trade 0 is gone, of trade 1 a half is left: chen and paul both deliver 10 kWh in full
    market = accept(make_market(siblings=SCHEDULING, positions=POSITIONS), (0, 0, "north"), (1, 10 * KWH, "south"))
    market.go("delivery_end")
    assert market.metered(("carol", 10 * KWH, 0), ("chen", 10 * KWH, 0), ("paul", 0, 10 * KWH)) == ""
    [row], [rest] = get_settlement(market.state, PERIOD)
    assert (row.trade_index, row.traded_wh) == (1, 10 * KWH)
    assert rest == SettledWithGrid(market.address("carol"), 10 * KWH, 0, 10 * RETAIL, 0)
    assert market.reserved() == 0
    scores = {name: (market.account(name).score_count, market.account(name).credit_upt) for name in POSITIONS}
    assert scores["chen"] == scores["paul"] == (1, 100 * POINT)
    assert scores["carol"] == (0, 90 * POINT)


def test_metered_energy_counts_once_its_last_part_has_come_whichever_that_is(accepted):
    accepted.go("delivery_end")
    carol, paul = accepted.address("carol"), accepted.address("paul")
    assert accepted.relay("metered", (paul, 0, 10 * KWH), part=1, parts=2) == ""
    assert accepted.relayed == ()
    assert get_settlement(accepted.state, PERIOD) is None
    assert accepted.relay("metered", (carol, 10 * KWH, 0), part=0, parts=2) == ""
    settled = get_settlement(accepted.state, PERIOD)
    assert [(row.consumption_wh, row.output_wh) for row in settled.trades] == [(10 * KWH, 3_333), (20 * KWH, 6_667)]
    assert [row.is_consumption_imputed for row in settled.trades] == [0, 1]  # chen's meter was not heard
    assert not any(key.startswith(b"market/part") for key, _ in accepted.state.items())


def test_a_void_period_settles_what_was_metered_with_the_grid(make_market):
    market = make_market(siblings=SCHEDULING)
    market.quota()
    market.bid("carol", price=PRICE, volume=KWH)
    market.offer("paul", price=PRICE, volume=KWH)
    market.go("gate")
    market.go("delivery_end")
    assert market.gate().status == VOID
    assert market.metered(("carol", KWH, 0)) == ""
    assert get_settlement(market.state, PERIOD) == (
        (),
        (SettledWithGrid(market.address("carol"), KWH, 0, RETAIL, 0),),
    )
    assert market.gate().status == VOID
    assert live_periods(market.state) == ()


def test_a_period_without_orders_settles_with_the_grid_too(make_market):
    market = make_market(siblings=SCHEDULING)
    market.go("delivery_end")
    assert market.relay("metered", (market.address("carol"), KWH, 0), part=0, parts=2) == ""
    assert live_periods(market.state) == (PERIOD,)
    assert market.relay("metered", (market.address("paul"), 0, KWH), part=1, parts=2) == ""
    assert len(get_settlement(market.state, PERIOD).grid) == 2
    assert live_periods(market.state) == ()
    assert market.gate() is None


# --- refusals ------------------------------------------------------------------------------------


def test_metered_energy_comes_between_the_end_of_delivery_and_settlement(accepted):
    accepted.now_ms = accepted.times().delivery_end_ms - 1
    assert accepted.metered(("carol", KWH, 0)) == "UnexpectedRelay"
    accepted.now_ms = accepted.times().settle_ms
    assert accepted.metered(("carol", KWH, 0)) == "RelayTooLate"


def test_metered_energy_at_the_last_millisecond_still_counts(accepted):
    accepted.now_ms = accepted.times().settle_ms - 1
    assert accepted.metered(("carol", KWH, 0)) == ""
    assert accepted.gate().status == SETTLED


def test_a_settled_period_is_not_settled_again_whatever_the_time_and_the_chain(accepted):
    accepted.go("delivery_end")
    assert accepted.metered(("carol", KWH, 0)) == ""
    before = balances(accepted)
    assert accepted.metered(("carol", KWH, 0)) == "AlreadyRelayed"
    assert accepted.relay("metered", (accepted.address("carol"), KWH, 0), chain="another") == "RelayTooLate"
    assert balances(accepted) == before


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (("carol", 1), "WrongShape"),
        (("carol", 1, 1, 1), "WrongShape"),
        (("carol", -1, 0), "WrongShape"),
        (("carol", 0, -1), "WrongShape"),
        (("carol", MAX_ENERGY_WH + 1, 0), "WrongShape"),
        (("carol", 0, MAX_ENERGY_WH + 1), "WrongShape"),
        (("nobody", 1, 1), "UnknownMember"),
        (("paul", 1, 1), "DuplicateReading"),  # twice in one message
    ],
)
def test_a_reading_that_does_not_fit_is_refused_with_its_message(accepted, row, code):
    accepted.go("delivery_end")
    assert accepted.metered(("paul", 0, KWH), row) == code
    assert accepted.gate().status == ACCEPTED
    assert accepted.metered(("paul", 0, KWH)) == ""


@pytest.mark.parametrize("row", [0, (0, 1, 1), (b"short", 1, 1), ("carol", 1, 1)])
def test_a_reading_names_its_owner_by_address(accepted, row):
    accepted.go("delivery_end")
    assert accepted.relay("metered", row) == "WrongShape"


def test_a_meter_is_in_one_part_only(accepted):
    accepted.go("delivery_end")
    carol = accepted.address("carol")
    accepted.relay("metered", (carol, KWH, 0), part=0, parts=2)
    assert accepted.relay("metered", (carol, KWH, 0), part=1, parts=2) == "DuplicateReading"


def test_devices_report_to_the_scheduling_chain_where_there_is_one(accepted):
    accepted.go("delivery_end")
    assert accepted.read("carol", consumed=KWH) == "UnknownKind"
    assert get_readings(Overlay(accepted.state), PERIOD) == []


# --- lapsed --------------------------------------------------------------------------------------


def test_trades_that_are_never_metered_lapse_and_nobody_pays_or_is_scored(make_market):
    market = make_market(siblings=SCHEDULING, positions=POSITIONS)
    before = balances(market)
    accept(market, (1, 5 * KWH, "south"))
    market.go("delivery_end")
    assert market.relay("metered", (market.address("carol"), 10 * KWH, 0), part=0, parts=2) == ""
    assert market.go("settle", late_ms=-1) == ()
    assert market.gate().status == ACCEPTED
    assert market.go("settle") == (("unmetered", PERIOD),)
    assert (market.gate().status, market.gate().reason) == (LAPSED, UNMETERED)
    assert get_settlement(market.state, PERIOD) == ((), ())
    assert (balances(market), market.reserved()) == (before, 0)
    assert {market.account(name).score_count for name in POSITIONS} == {0}
    assert live_periods(market.state) == ()
    assert not any(key.startswith(b"market/part") for key, _ in market.state.items())
    market.now_ms -= 1
    rest = market.relay("metered", (market.address("paul"), 0, KWH), part=1, parts=2)
    assert rest == "RelayTooLate"


def test_a_message_without_any_reading_settles_nothing(make_market):
    market = make_market(siblings=SCHEDULING | CREDIT, positions=POSITIONS)
    before = balances(market)
    accept(market, (1, 5 * KWH, "south"))
    market.go("delivery_end")
    assert market.metered() == ""
    assert market.relayed == (("metered", PERIOD, 0), ("unmetered", PERIOD))
    assert (market.gate().status, market.gate().reason) == (LAPSED, UNMETERED)
    assert get_settlement(market.state, PERIOD) == ((), ())
    assert (balances(market), market.reserved(), live_periods(market.state)) == (before, 0, ())
    assert market.posted("delivered") is None
    assert market.go("settle") == ()


def test_of_a_period_with_quotas_and_without_orders_nothing_is_told(make_market):
    market = make_market(siblings=SCHEDULING)
    market.quota()
    assert market.go("settle") == ()
    assert get_settlement(market.state, PERIOD) is None
    assert live_periods(market.state) == ()


def test_a_void_period_that_is_not_metered_stays_void(make_market):
    market = make_market(siblings=SCHEDULING)
    market.quota()
    market.bid("carol", price=PRICE, volume=KWH)
    assert [event[0] for event in market.go("settle")] == ["gate", "void", "unmetered"]
    assert market.gate().status == VOID
    assert get_settlement(market.state, PERIOD) == ((), ())


def test_the_next_period_runs_though_one_has_lapsed(make_market):
    market = accept(make_market(siblings=SCHEDULING, positions=POSITIONS))
    market.go("settle")
    later = PERIOD + 6
    market.go("open", later)
    assert market.quota(("north", 99 * KWH, 99 * KWH, NORTH), number=later) == ""
    assert market.bid("carol", price=PRICE, volume=KWH, period=later) == ""
    assert market.offer("paul", price=PRICE, volume=KWH, period=later) == ""
    market.go("gate", later)
    assert market.verdict(number=later) == ""
    market.go("delivery_end", later)
    assert market.metered(("carol", KWH, 0), ("paul", 0, KWH), number=later) == ""
    assert market.gate(later).status == SETTLED


# --- credit --------------------------------------------------------------------------------------


def test_beside_a_credit_chain_deliveries_are_reported_there_and_nobody_is_scored_here(make_market):
    market = accept(
        make_market(siblings=SCHEDULING | CREDIT, positions=POSITIONS), (0, 0, "north"), (1, 8 * KWH, "south")
    )
    market.go("delivery_end")
    assert market.metered(("chen", 7 * KWH, 0), ("paul", 0, 6 * KWH)) == ""
    chen, paul = market.address("chen"), market.address("paul")
    assert market.posted("delivered") == [(1, chen, paul, 8 * KWH, 7 * KWH, 6 * KWH)]
    assert named(market.relayed, "credit") == []
    assert {(market.account(name).credit_upt, market.account(name).score_count) for name in POSITIONS} == {
        (90 * POINT, 0)
    }


def test_beside_a_credit_chain_alone_readings_settle_as_ever(make_market):
    market = make_market(siblings=CREDIT)
    market.bid("carol", price=PRICE, volume=KWH)
    market.offer("paul", price=PRICE, volume=KWH)
    market.go("gate")
    market.certify()
    assert market.gate().status == CERTIFIED
    market.go("delivery_end")
    market.read("carol", consumed=KWH)
    market.read("paul", produced=500)
    events = market.go("settle")
    carol, paul = market.address("carol"), market.address("paul")
    assert market.posted("delivered") == [(0, carol, paul, KWH, KWH, 500)]
    assert named(events, "credit") == []
    assert market.account("carol").score_count == 0
    assert market.gate().status == SETTLED


def test_a_period_without_binding_trades_has_no_deliveries_to_report(make_market):
    market = make_market(siblings=SCHEDULING | CREDIT)
    market.go("delivery_end")
    market.metered(("carol", KWH, 0))
    assert market.posted("delivered") is None


def test_without_a_credit_chain_nothing_is_reported(accepted):
    accepted.go("delivery_end")
    accepted.metered(("carol", KWH, 0))
    assert accepted.posted("delivered") is None


def test_the_credit_chains_snapshot_is_made_the_markets(make_market):
    market = make_market(siblings=CREDIT)
    row = (market.address("carol"), 77 * POINT)
    assert market.relay("credit", row, source="credit", chain="LH1", number=3) == ""
    assert market.account("carol").credit_upt == 77 * POINT


# --- what the chain is told ----------------------------------------------------------------------


def test_what_the_market_registers_depends_on_who_else_is_there():
    assert set(market_handlers(frozenset())) == {"intention", "cancel", "countersign", "reading", "register"}
    assert set(market_handlers(CREDIT)) == {"intention", "cancel", "countersign", "reading", "register"}
    assert set(market_handlers(SCHEDULING)) == {"intention", "cancel", "countersign"}
    assert set(market_handlers(SCHEDULING, "knn")) == {"intention", "cancel", "countersign", "game-target"}
    assert set(market_routes()) == {
        ("scheduling", "quota"),
        ("scheduling", "verdict"),
        ("scheduling", "metered"),
        ("scheduling", "corrected"),
        ("credit", "credit"),
    }
    assert [hook.__name__ for hook in market_hooks()] == [
        "process_due_periods",
        "process_corrections",
        "drop_forgotten",
    ]
