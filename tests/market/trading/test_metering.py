"""Meter readings on chain: who may report, when, how often and how much."""

import pytest

from ledger.overlay import Overlay
from market.metering import Reading, get_readings
from market.trading.contract import MAX_ENERGY_WH
from market.trading.views import get_settlement, live_periods

PERIOD = 10
KWH = 1_000
CAPACITY = 400 * KWH


@pytest.fixture
def delivered(market):
    """A market at the end of its period's delivery."""
    market.go("delivery_end")
    return market


def readings_of(market):
    return get_readings(Overlay(market.state), PERIOD)


def test_readings_are_kept_in_order_of_arrival(delivered):
    assert delivered.read("rosa", consumed=30 * KWH, produced=90 * KWH) == ""
    assert delivered.read("carol", consumed=180 * KWH) == ""
    assert delivered.read("paul") == ""
    assert readings_of(delivered) == [
        Reading(delivered.address("rosa"), 30 * KWH, 90 * KWH),
        Reading(delivered.address("carol"), 180 * KWH, 0),
        Reading(delivered.address("paul"), 0, 0),
    ]
    assert live_periods(delivered.state) == (PERIOD,)


def test_subscribers_hear_of_a_reading(delivered):
    execution = delivered.make_block(("meter-carol", "reading", (PERIOD, 180 * KWH, 0)))
    assert execution.events == (("reading", PERIOD, delivered.address("carol"), 180 * KWH, 0),)


def test_a_reading_comes_between_the_end_of_delivery_and_settlement(market):
    market.now_ms = market.times().delivery_end_ms - 1
    assert market.read("carol", consumed=KWH) == "ReadingTooEarly"
    market.now_ms = market.times().settle_ms
    assert market.read("carol", consumed=KWH) == "ReadingTooLate"
    market.now_ms = market.times().settle_ms - 1
    assert market.read("carol", consumed=KWH) == ""


def test_a_block_dated_back_does_not_reopen_a_settled_period(delivered):
    delivered.read("carol", consumed=KWH)
    delivered.go("settle")
    delivered.now_ms -= 1
    assert delivered.read("chen", consumed=KWH) == "ReadingTooLate"


def test_a_repeated_reading_is_a_duplicate_and_another_one_takes_its_place(delivered):
    assert delivered.read("carol", consumed=KWH) == ""
    assert delivered.read("carol", consumed=KWH) == "DuplicateReading"
    assert delivered.read("carol", consumed=2 * KWH) == ""
    assert delivered.read("chen", consumed=2 * KWH) == ""
    assert readings_of(delivered) == [
        Reading(delivered.address("carol"), 2 * KWH, 0),
        Reading(delivered.address("chen"), 2 * KWH, 0),
    ]


def test_a_meter_corrects_itself_three_times_at_most(delivered):
    for energy_wh in (1, 2, 3, 4):
        assert delivered.read("carol", consumed=energy_wh) == ""
    assert delivered.read("carol", consumed=4) == "DuplicateReading"
    assert delivered.read("carol", consumed=5) == "TooManyCorrections"
    assert readings_of(delivered) == [Reading(delivered.address("carol"), 4, 0)]


def test_only_a_device_reports_readings(delivered):
    assert delivered.submit("carol", "reading", (PERIOD, KWH, 0)) == "NotADevice"
    assert delivered.submit("grid", "reading", (PERIOD, KWH, 0)) == "NotADevice"


def test_a_reading_beyond_the_capacity_and_a_fifth_is_a_broken_meter(delivered):
    most = CAPACITY * 6 // 5
    assert delivered.read("rosa", consumed=most + 1) == "ImplausibleReading"
    assert delivered.read("rosa", produced=most + 1) == "ImplausibleReading"
    assert delivered.read("rosa", consumed=most, produced=most) == ""


def test_how_much_is_plausible_is_the_chains(make_market):
    market = make_market(plausible_ppm=500_000)
    market.go("delivery_end")
    assert market.read("paul", produced=CAPACITY // 2 + 1) == "ImplausibleReading"
    assert market.read("paul", produced=CAPACITY // 2) == ""


def test_a_consumers_meter_has_no_output(delivered):
    assert delivered.read("carol", consumed=KWH, produced=1) == "OutputNotAllowed"
    assert delivered.read("carol", consumed=KWH) == ""
    assert delivered.read("rosa", produced=KWH) == ""
    assert delivered.read("paul", consumed=KWH, produced=KWH) == ""


def test_no_registered_capacity_makes_any_reading_plausible(make_market):
    market = make_market(capacity_wh=2**53 - 1)
    market.go("delivery_end")
    assert market.read("carol", consumed=MAX_ENERGY_WH + 1) == "ImplausibleReading"
    assert market.read("carol", consumed=MAX_ENERGY_WH) == ""
    market.go("settle")
    assert market.account("carol").balance_uyuan < 0


@pytest.mark.parametrize(
    "payload", [(), (PERIOD, 1), (PERIOD, 1, 2, 3), (PERIOD, -1, 0), (PERIOD, 0, -1), (-1, 0, 0), (PERIOD, "1", 0)]
)
def test_a_reading_of_another_shape_is_refused(delivered, payload):
    assert delivered.submit("meter-carol", "reading", payload) == "WrongShape"


def test_readings_stay_as_long_as_the_periods_record(delivered):
    untouched = delivered.state
    delivered.read("carol", consumed=KWH)
    delivered.read("paul", produced=KWH)
    delivered.go("settle")
    assert len(readings_of(delivered)) == 2
    assert get_settlement(delivered.state, PERIOD) is not None
    left = {key for key, _ in delivered.state.items()} - {key for key, _ in untouched.items()}
    prefixes = {b"market", b"market/settlement", b"market/metered", b"market/reading"}
    assert {key[: key.index(b"/", 7) if key.count(b"/") > 1 else 6] for key in left} == prefixes
