"""Claims: one kWh, one promise; served first, short ones pro rata with a penalty to their holders."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.claim_records import CLAIM
from market.claims import Claim, compute_headroom, serve_claims
from market.metering import Reading
from tests.support.asset_lab import AssetMarket
from tests.support.market_lab import CAPACITY_WH, PERIOD

CASES = {
    case["id"]: case
    for case in json.loads((Path(__file__).parents[1] / "economy_cases.json").read_text())["cases"]
    if case["topic"] == "claims"
}
PENALTY = 205_000  # µ¥ per kWh
WHEELING = 20_000
RETAIL, FEED_IN = 615_000, 410_000


# --- worked cases --------------------------------------------------------------------------------


def serve(output_wh, holders, penalty=0):
    claim = Claim(1, b"producer", tuple(holders))
    return serve_claims([Reading(b"producer", 0, output_wh)], [claim], penalty)


@pytest.mark.parametrize("number", [1, 3])
def test_short_delivery_is_spread_pro_rata(number):
    inputs, outputs = CASES[number]["inputs"], CASES[number]["outputs"]
    holders = [(bytes([place]), wh) for place, wh in enumerate(inputs["claims_wh"])]
    left, rows = serve(inputs["output_wh"], holders, inputs.get("penalty_uyuan_per_kwh", 0))
    assert [row.redeemed_wh for row in rows] == outputs["redeemed_wh"]
    assert left == [Reading(b"producer", 0, outputs.get("output_left_for_trades_wh", 0))]
    if number == 1:
        assert [row.short_wh for row in rows] == outputs["short_wh"]
        assert [row.penalty_uyuan for row in rows] == outputs["penalty_uyuan"]


def test_claims_and_orders_have_one_cap():
    inputs, outputs = CASES[5]["inputs"], CASES[5]["outputs"]
    headroom_wh = compute_headroom(
        capacity_wh=inputs["capacity_wh"],
        quota_wh=inputs["quota_wh"],
        offered_wh=inputs["open_offers_wh"],
        promised_wh=inputs["registered_wh"],
    )
    assert headroom_wh == outputs["headroom_wh"]
    assert [want <= headroom_wh for want in inputs["want_wh"]] == outputs["accepted"]


def test_a_producer_does_not_deliver_to_itself():
    inputs, outputs = CASES[6]["inputs"], CASES[6]["outputs"]
    left, rows = serve(inputs["output_wh"], [(name.encode(), wh) for name, wh in inputs["claims"]], PENALTY)
    assert [row.redeemed_wh for row in rows] == outputs["redeemed_wh"]
    assert sum(row.cancelled_wh for row in rows) == outputs["cancelled_wh"]
    assert sum(row.penalty_uyuan for row in rows) == outputs["money_moved_uyuan"]
    assert left == [Reading(b"producer", 0, outputs["output_left_for_trades_wh"])]


NAMES = st.sampled_from([b"a", b"b", b"c", b"d"])
ENERGY = st.integers(0, 5_000)


@given(
    energy=st.dictionaries(NAMES, st.tuples(ENERGY, ENERGY)),
    held=st.dictionaries(NAMES, st.dictionaries(NAMES, st.integers(1, 3_000), min_size=1)),
)
def test_nothing_is_made_or_lost_by_serving(energy, held):
    readings = [Reading(owner, *wh) for owner, wh in energy.items()]
    claims = [Claim(place, producer, tuple(of.items())) for place, (producer, of) in enumerate(held.items())]
    left, rows = serve_claims(readings, claims, PENALTY, {b"a": WHEELING})
    assert [row.held_wh for row in rows] == [wh for claim in claims for _, wh in claim.holders]
    for row in rows:
        assert min(row[3:]) >= 0
        assert (row.cancelled_wh > 0) == (row.producer == row.holder)
        assert abs(row.penalty_uyuan * 1_000 - row.short_wh * PENALTY) <= 500
        assert (row.wheeling_uyuan > 0) <= (row.holder == b"a")
    for claim in claims:
        own = [row for row in rows if row.series == claim.series and not row.cancelled_wh]
        output_wh = energy.get(claim.producer, (0, 0))[1]
        assert sum(row.redeemed_wh for row in own) == min(output_wh, sum(row.held_wh for row in own))
        for row in own:
            exact_wh = row.held_wh * min(output_wh, total := sum(item.held_wh for item in own)) / total
            assert abs(row.redeemed_wh - exact_wh) < 1
    for before, after in zip(readings, left, strict=True):
        received_wh = sum(row.redeemed_wh for row in rows if row.holder == before.owner)
        delivered_wh = sum(row.redeemed_wh for row in rows if row.producer == before.owner)
        net_wh = before.consumed_wh - before.produced_wh - received_wh + delivered_wh
        assert after.consumed_wh - after.produced_wh == net_wh
        assert min(after[1:]) >= 0
        assert delivered_wh <= before.produced_wh


# --- on a chain: one promise ---------------------------------------------------------------------


@pytest.fixture
def market():
    return AssetMarket()


def test_a_kwh_that_is_claimed_is_not_offered(market):
    assert market.claim("paul", "carol", CAPACITY_WH - 100) == ""
    assert market.offer("paul", price=450_000, volume=101) == "OverQuota"
    assert market.offer("paul", price=450_000, volume=100) == ""


def test_a_kwh_that_is_offered_is_not_claimed(market):
    assert market.offer("paul", price=450_000, volume=100) == ""
    assert market.claim("paul", "carol", CAPACITY_WH - 99) == "OverCapacity"
    assert market.claim("paul", "carol", CAPACITY_WH - 100) == ""
    assert market.claim("paul", "chen", 1) == "OverCapacity"


def test_what_is_taken_back_is_free_again(market):
    market.claim("paul", "paul", CAPACITY_WH)
    assert market.offer("paul", price=450_000, volume=1) == "OverQuota"
    assert market.take_back("paul", 10, series=1) == ""
    assert market.offer("paul", price=450_000, volume=10) == ""
    market.check_assets()


def test_who_buys_is_not_bound_by_what_it_has_promised(market):
    assert market.claim("rosa", "carol", CAPACITY_WH) == ""
    assert market.bid("rosa", price=1, volume=CAPACITY_WH) == ""


@pytest.mark.parametrize(
    ("producer", "to", "code"),
    [("carol", "chen", "RoleNotAllowed"), ("grid", "carol", "RoleNotAllowed"), ("paul", "grid", "RoleNotAllowed")],
)
def test_generators_issue_to_traders(market, producer, to, code):
    assert market.claim(producer, to, 1) == code


def test_a_claim_moves_until_the_gate_and_is_frozen_then(market):
    market.claim("paul", "paul", 500)
    market.now_ms = market.times().gate_ms - 1
    assert market.move(CLAIM, "paul", "carol", 300, series=1) == ""
    market.now_ms += 1
    assert market.move(CLAIM, "carol", "chen", 300, series=1) == "ClaimFrozen"
    assert market.take_back("paul", 200, series=1) == "ClaimFrozen"
    assert market.claim("paul", "paul", 1) == "ClaimFrozen"


def test_claims_reach_two_days_ahead(market):
    assert market.claim("paul", "carol", 1, period=market.period + 48) == ""
    assert market.claim("paul", "carol", 1, period=market.period + 49) == "ClaimTooEarly"


def test_only_its_producer_takes_a_claim_back_and_only_what_it_holds(market):
    market.claim("paul", "carol", 500)
    assert market.submit("carol", "asset-redeem", (CLAIM, 500, 1, None)) == "NotRedeemable"
    assert market.take_back("paul", 1, series=1) == "TooFewLots"
    assert market.take_back("paul", 1, series=0) == "UnknownSeries"
    assert market.submit("carol", "asset-renew", (CLAIM, 1)) == "NotRenewable"


def test_claims_on_a_line_keep_to_its_quota():
    market = AssetMarket(siblings=frozenset({"scheduling"}))
    assert market.claim("paul", "carol", 1) == "NoQuota"
    market.quota(("feeder-1", 10_000, 1_000, WHEELING))
    assert market.claim("paul", "carol", 600) == ""
    assert market.claim("pia", "carol", 401) == "OverCapacity"
    assert market.claim("pia", "pia", 400) == ""
    assert market.offer("rosa", price=1, volume=1) == "OverLineQuota"
    assert market.take_back("pia", 100, series=2) == ""
    assert market.offer("rosa", price=450_000, volume=100) == ""
    market.check_assets()


def test_claims_take_of_the_quota_that_orders_are_trimmed_to():
    market = AssetMarket(siblings=frozenset({"scheduling"}))
    market.quota(("feeder-1", 10_000, 1_000, WHEELING))
    market.offer("rosa", price=450_000, volume=900)
    market.bid("chen", price=500_000, volume=900)
    assert market.claim("paul", "carol", 600) == ""
    events = market.go("gate")
    assert ("trimmed", PERIOD, 0, market.address("rosa"), 1, 400) in events


def test_beside_a_scheduling_chain_a_holder_has_a_line():
    market = AssetMarket(siblings=frozenset({"scheduling"}), positions={"chen": "elsewhere"})
    market.quota(("feeder-1", 10_000, 1_000, WHEELING))
    assert market.claim("paul", "chen", 1) == "UnknownLine"
    assert market.claim("paul", "carol", 1) == ""
    assert market.move(CLAIM, "carol", "chen", 1, series=1) == "UnknownLine"


# --- on a chain: served --------------------------------------------------------------------------


def balances(market, *names):
    return [market.account(name).balance_uyuan for name in names]


def changes(market, before, *names):
    return [now - then for now, then in zip(balances(market, *names), before, strict=True)]


def test_short_claims_are_served_before_trades(market):
    """900 of 600 + 400: 540 and 360, the penalty to the holders, nothing left for what was sold on the book."""
    market.claim("paul", "carol", 600)
    market.claim("paul", "chen", 400)
    names = "paul", "carol", "chen", "grid"
    before, money = balances(market, *names), market.money()
    market.offer("paul", price=450_000, volume=100)
    market.bid("chen", price=450_000, volume=100)
    market.go("gate")
    market.certify()
    market.go("delivery_end")
    market.read("paul", produced=900)
    market.read("carol", consumed=600)
    market.read("chen", consumed=360)
    events = market.go("settle")
    served = [event[1:] for event in events if event[0] == "claim-served"]
    assert [row[4:] for row in served] == [(540, 60, 0, 12_300, 10_800), (360, 40, 0, 8_200, 7_200)]
    market.check_assets()
    assert market.series(1)[4:8] == (1_000, 0, 1_000, 0)
    assert (market.held(CLAIM, "carol"), market.held(CLAIM, "chen")) == ({}, {})
    carol = 12_300 - 10_800 - 60 * RETAIL // 1_000
    chen = 8_200 - 7_200
    assert changes(market, before, *names) == [-20_500, carol, chen, 20_500 - carol - chen]
    assert market.money() == money
    assert market.reserved() == 0


def test_whoever_takes_less_than_it_holds_feeds_the_rest_in(market):
    market.claim("paul", "carol", 500)
    names = "paul", "carol", "grid"
    before = balances(market, *names)
    market.go("delivery_end")
    market.read("paul", produced=800)
    market.read("carol", consumed=200)
    market.go("settle")
    wheeling, rest = 500 * WHEELING // 1_000, 300 * FEED_IN // 1_000
    assert changes(market, before, *names) == [rest, rest - wheeling, wheeling - 2 * rest]


def test_self_held_claims_are_cancelled(market):
    market.claim("paul", "paul", 600)
    market.claim("paul", "carol", 300)
    before = balances(market, "paul")
    market.go("delivery_end")
    market.read("paul", produced=900)
    events = market.go("settle")
    paul = market.address("paul")
    assert ("claim-served", PERIOD, 1, paul, paul, 0, 0, 600, 0, 0) in events
    assert changes(market, before, "paul") == [600 * FEED_IN // 1_000]


def test_a_silent_producer_has_delivered_nothing(market):
    market.claim("paul", "carol", 1_000)
    before = balances(market, "paul", "carol")
    market.go("delivery_end")
    market.read("carol", consumed=0)
    market.go("settle")
    assert changes(market, before, "paul", "carol") == [-PENALTY, PENALTY]
    market.check_assets()


def test_where_not_a_meter_was_read_claims_are_cancelled(market):
    market.claim("paul", "carol", 1_000)
    before = balances(market, "paul", "carol", "grid")
    market.go("settle")
    assert changes(market, before, "paul", "carol", "grid") == [0, 0, 0]
    assert market.series(1)[4:8] == (1_000, 0, 1_000, 0)
    market.check_assets()


def test_where_the_scheduling_chain_is_silent_claims_are_cancelled():
    market = AssetMarket(siblings=frozenset({"scheduling"}))
    market.quota()
    market.claim("paul", "carol", 1_000)
    events = market.go("settle")
    carol, paul = market.address("carol"), market.address("paul")
    assert ("claim-served", PERIOD, 1, paul, carol, 0, 0, 1_000, 0, 0) in events
    market.check_assets()


def test_a_correction_leaves_what_was_served():
    """The producer's output falls from 1 000 to 400 Wh: what is missing of its 600 it buys from the grid company."""
    market = AssetMarket(correction_ppm=10_000_000)
    market.claim("paul", "carol", 600)
    market.go("delivery_end")
    market.read("paul", produced=1_000)
    market.read("carol", consumed=600)
    market.go("settle")
    names = "paul", "carol", "grid"
    before = balances(market, *names)
    assert market.read("paul", produced=400) == ""
    market.go_on()
    lost = (400 * FEED_IN + 200 * RETAIL) // 1_000
    assert changes(market, before, *names) == [-lost, 0, lost]
    assert market.read("carol", consumed=700) == ""
    market.go_on()
    assert changes(market, before, *names) == [-lost, -100 * RETAIL // 1_000, lost + 100 * RETAIL // 1_000]


def test_firm_trades_are_held_against_what_claims_leave():
    market = AssetMarket(intraday_open_ppm=1_500_000, intraday_gate_ppm=500_000)
    market.claim("paul", "carol", 600)
    before = balances(market, "paul", "carol")
    market.go("delivery_end")
    market.read("paul", produced=1_000)
    market.read("carol", consumed=600)
    market.go("settle")
    wheeling = 600 * WHEELING // 1_000
    assert changes(market, before, "paul", "carol") == [400 * FEED_IN // 1_000, -wheeling]


def test_income_and_cost_know_of_claims():
    market = AssetMarket(income_and_cost="kept")
    market.claim("paul", "carol", 1_000)
    market.go("delivery_end")
    market.read("paul", produced=900)
    market.read("carol", consumed=900)
    market.go("settle")
    paul, carol, grid = (market.account(name) for name in ("paul", "carol", "grid"))
    assert (paul.income_uyuan, paul.cost_uyuan) == (0, 20_500)
    assert (carol.income_uyuan, carol.cost_uyuan) == (20_500, 18_000)
    assert (grid.income_uyuan, grid.cost_uyuan) == (18_000, 0)


def claim_rows(market):
    prefixes = b"claim/", b"asset/series/", b"asset/holders/", b"asset/held/"
    return [key for key, _ in market.state.items() if key.startswith(prefixes)]


@pytest.mark.parametrize("shares", [{}, {"work_per_block": 64}])
def test_claims_are_forgotten_with_their_periods(shares):
    market = AssetMarket(retained_periods=3, correction_ppm=0, **shares)
    for period in (PERIOD, PERIOD + 1, PERIOD + 8):
        for producer in ("paul", "pia"):
            assert market.claim(producer, "carol", 100, period) == ""
            assert market.claim(producer, "chen", 100, period) == ""
    for period in range(PERIOD, PERIOD + 8):
        market.go("delivery_end", period)
        market.read("paul", produced=100, period=period)
        market.go("settle", period)
        for _ in range(4):
            market.make_block()
        market.check_assets()
    assert {int.from_bytes(key[11:19], "big") for key in claim_rows(market) if key.startswith(b"claim/last/")} == {
        PERIOD + 8
    }
    market.go("settle", PERIOD + 8)
    for period in range(PERIOD + 9, PERIOD + 14):
        market.go("delivery_end", period)
        market.read("paul", produced=100, period=period)
        market.go("settle", period)
        for _ in range(4):
            market.make_block()
    assert claim_rows(market) == []


def test_shares_of_work_come_to_the_same():
    def settle(**shares):
        market = AssetMarket(**shares)
        for producer in ("paul", "pia", "rosa"):
            for holder in ("carol", "chen", "rosa"):
                market.claim(producer, holder, 700)
        market.go("delivery_end")
        for name, output in (("paul", 1_500), ("pia", 3_000), ("rosa", 0), ("carol", 0)):
            market.read(name, produced=output, consumed=0 if output else 900)
        market.go("settle")
        blocks = 1
        while market.series(1).live or not market.settled():
            market.make_block()
            blocks += 1
        market.check_assets()
        return blocks, [market.account(name)[0] for name in ("paul", "pia", "rosa", "carol", "chen", "grid")]

    blocks, money = settle()
    many, same = settle(work_per_block=64)
    assert (blocks, same) == (1, money)
    assert many > 2
