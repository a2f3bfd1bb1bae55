"""Targets of the rule `knn`: who may commit one and when, that one is enough, and what a book makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.overlay import Overlay
from ledger.params import NearnessFactors
from market.errors import TargetNotAllowed, TargetOutOfBounds, TargetTooEarly, TargetTooLate, TargetTwice
from market.orders import Order, Side
from market.trading.clearing_rules import ClearingContext, clear_knn
from market.trading.matching_weight import WeightedOrder
from market.trading.nearest import Factors, Place, look_around
from market.trading.period_index import get_closed_periods, get_live_periods
from market.trading.targets import TARGETED_AHEAD, Commitment, GamePrices, get_target
from market.trading.views import get_book, get_trades

PERIOD = 10
KWH = 1_000
PRICES = (500_000, 520_000, 540_000, 560_000)
SCHEDULING = frozenset({"scheduling"})
POSITIONS = {"carol": "hill-1", "paul": "hill-2", "pia": "dale-1", "rosa": "hill-1"}
AREAS = {"hill-1": "hill", "hill-2": "hill", "dale-1": "dale"}


def commit(market, prices=PRICES, *, period=PERIOD, sender="grid", payload=None):
    return market.submit(sender, "game-target", (period, prices) if payload is None else payload)


def recall(market, period=PERIOD):
    return get_target(Overlay(market.state), period)


@pytest.fixture
def early(make_market):
    """A market by `knn`, a period before the book of its period opens."""
    market = make_market(clearing_rule="knn")
    market.now_ms = market.times(PERIOD - 1).open_ms
    market.make_block()
    return market


# --- committing ------------------------------------------------------------------------------------


def test_a_target_is_kept_with_who_committed_it_and_told(early):
    execution = early.make_block(("grid", "game-target", (PERIOD, PRICES)))
    assert execution.receipts[0].code == ""
    assert execution.events == (("game-target", PERIOD, early.address("grid"), *PRICES),)
    kept = recall(early)
    assert kept == Commitment(early.height, early.address("grid"), GamePrices(*PRICES))
    assert kept.target_uyuan_per_kwh == 500_000 == kept.prices.g_to_u


@pytest.mark.parametrize("sender", ["carol", "paul", "rosa", "meter-paul"])
def test_only_a_dispatcher_commits_a_target(early, sender):
    assert commit(early, sender=sender) == "TargetNotAllowed"
    assert recall(early) is None


def test_a_target_comes_before_the_book_opens(early):
    early.now_ms = early.times().open_ms - 1
    assert commit(early) == ""
    early.now_ms = early.times(PERIOD + 1).open_ms
    assert commit(early, period=PERIOD + 1) == "TargetTooLate"
    assert commit(early, period=0) == "TargetTooLate"
    assert recall(early, PERIOD + 1) is None


def test_a_target_comes_not_more_than_a_day_before_the_book_opens(early):
    last = early.period + 3 + TARGETED_AHEAD
    assert commit(early, period=last + 1) == "TargetTooEarly"
    assert commit(early, period=2**63 - 1) == "TargetTooEarly"
    assert commit(early, period=last) == ""


@pytest.mark.parametrize("place", range(4))
def test_every_price_lies_between_what_the_grid_company_pays_and_asks(early, place):
    for price, code in ((409_999, "TargetOutOfBounds"), (615_001, "TargetOutOfBounds"), (410_000, ""), (615_000, "")):
        prices = (*PRICES[:place], price, *PRICES[place + 1 :])
        assert commit(early, prices, period=PERIOD + (price == 615_000)) == code


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ((PERIOD,), "WrongShape"),
        ((PERIOD, PRICES, 1), "WrongShape"),
        ((PERIOD, PRICES[:3]), "WrongShape"),
        ((PERIOD, (*PRICES, 1)), "WrongShape"),
        ((PERIOD, 500_000), "WrongShape"),
        ((-1, PRICES), "WrongShape"),
        ((PERIOD, (*PRICES[:3], b"x")), "WrongShape"),
        ((PERIOD, (*PRICES[:3], -1)), "WrongShape"),
    ],
)
def test_a_payload_of_another_shape_is_refused(early, payload, code):
    assert commit(early, payload=payload) == code


def test_a_second_target_is_refused_and_on_record_as_an_event(early):
    assert commit(early) == ""
    before = dict(early.state.items())
    execution = early.make_block(("grid", "game-target", (PERIOD, PRICES)))
    assert execution.receipts[0].code == "TargetTwice"
    assert execution.events == (("second-target", PERIOD, early.address("grid")),)
    changed = {key for key, value in early.state.items() if before.get(key) != value}
    assert changed == {b"clock", b"a/" + early.address("grid")} & changed, "but for the sender's next sequence"
    assert commit(early, period=PERIOD + 1) == ""


def test_a_credit_chain_hears_once_of_each_who_would_have_had_a_second_target(make_market):
    market = make_market(siblings=frozenset({"credit"}), clearing_rule="knn", recorded_violations=1)
    market.now_ms = market.times(PERIOD - 1).open_ms
    assert commit(market) == commit(market, period=PERIOD + 1) == ""
    assert market.posted("second-target", 0) is None
    for period in (PERIOD, PERIOD, PERIOD + 1, PERIOD):
        execution = market.make_block(("grid", "game-target", (period, PRICES)))
        assert execution.receipts[0].code == "TargetTwice"
    grid = market.address("grid")
    assert [market.posted("second-target", number) for number in range(3)] == [
        [(PERIOD, grid)],
        [(PERIOD + 1, grid)],
        None,
    ]
    row = market.state.get(b"market/second-target/" + PERIOD.to_bytes(8, "big"))
    assert len(row) <= 3 + 22, "for one member"


@pytest.mark.parametrize("terms", [{"recorded_violations": 1}, {"siblings": frozenset({"credit"})}])
def test_nobody_is_told_of_a_second_target_where_nobody_would_record_it(make_market, terms):
    market = make_market(clearing_rule="knn", **terms)
    market.now_ms = market.times(PERIOD - 1).open_ms
    assert commit(market) == ""
    before = {key for key, _ in market.state.items()}
    market.make_block(("grid", "game-target", (PERIOD, PRICES)))
    assert {key for key, _ in market.state.items()} == before


def test_other_rules_know_no_target(make_market):
    market = make_market()
    market.now_ms = market.times(PERIOD - 1).open_ms
    assert commit(market) == "UnknownKind"


def test_every_refusal_says_what_is_wanted():
    assert str(TargetNotAllowed(role="consumer")) == (
        "only a dispatcher commits a target, this member has the role consumer"
    )
    assert str(TargetTooLate(period=7, opened=5, now=6)) == (
        "a target of period 7 had to come before its book opened at 5 ms, the block is of 6 ms"
    )
    assert (
        str(TargetTooEarly(period=7, last=6)) == "period 7 is too far ahead for a target, period 6 is the last one now"
    )
    assert str(TargetTwice(period=7)) == (
        "period 7 has a target, and no other takes its place; this one is on record as a violation"
    )
    assert str(TargetOutOfBounds(direction="c_to_u", actual=700_000, low=410_000, high=615_000)) == (
        "c_to_u is 0.70 yuan per kWh, and the grid company pays 0.41 yuan and asks 0.615 yuan: no target lies beyond"
    )


# --- forgetting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("siblings", [frozenset(), SCHEDULING])
def test_a_target_is_forgotten_with_its_period_though_nobody_had_an_order(make_market, siblings):
    siblings |= {"credit"}
    market = make_market(siblings=siblings, clearing_rule="knn", retained_periods=3, recorded_violations=1)
    market.now_ms = market.times(PERIOD - 1).open_ms
    for period in range(PERIOD, PERIOD + 5):
        assert commit(market, period=period) == ""
        market.make_block(("grid", "game-target", (period, PRICES)))
    assert len(encode((2**62, bytes(20), *(10**8,) * 4))) <= 52
    for period in range(PERIOD, PERIOD + 5):
        market.go("settle", period)
        market.make_block()
    assert get_live_periods(Overlay(market.state)) == ()
    assert get_closed_periods(Overlay(market.state)) == (12, 13, 14)
    assert [period for period in range(PERIOD, PERIOD + 5) if recall(market, period)] == [12, 13, 14]
    seconds = [key for key, _ in market.state.items() if key.startswith(b"market/second-target/")]
    assert sorted(int.from_bytes(key[-8:], "big") for key in seconds) == [12, 13, 14]


# --- clearing --------------------------------------------------------------------------------------


def place(market):
    """Bids of 560 and 540, offers of 450, 500 and 530, all of 100 kWh."""
    market.go("open")
    assert market.bid("carol", price=560_000, volume=100 * KWH) == ""
    assert market.bid("chen", price=540_000, volume=100 * KWH) == ""
    assert market.offer("paul", price=450_000, volume=100 * KWH) == ""
    assert market.offer("pia", price=500_000, volume=100 * KWH) == ""
    assert market.offer("rosa", price=530_000, volume=100 * KWH) == ""


def clear(market):
    names = {market.address(name): name for name in ("carol", "chen", "rosa", "paul", "pia")}
    market.go("gate")
    trades = get_trades(market.state, PERIOD)
    return [(names[t.buyer], names[t.seller], t.price_uyuan_per_kwh, t.volume_wh // KWH) for t in trades]


def test_a_book_is_cleared_by_what_is_nearest_to_the_price_of_a_company_to_its_users(early):
    # 520 is nearest to rosa's 530 and then to pia's 500; each pays it, or what the seller asks where that is more
    assert commit(early, (520_000, 410_000, 410_000, 410_000)) == ""
    place(early)
    assert clear(early) == [("carol", "rosa", 530_000, 100), ("chen", "pia", 520_000, 100)]


def test_without_a_target_a_book_is_cleared_by_price_and_time(early):
    place(early)
    assert clear(early) == [("carol", "paul", 505_000, 100), ("chen", "pia", 520_000, 100)]


def test_another_periods_target_is_none(early):
    assert commit(early, period=PERIOD + 1) == ""
    place(early)
    assert clear(early) == [("carol", "paul", 505_000, 100), ("chen", "pia", 520_000, 100)]


def test_features_count_as_the_chains_factors_say(make_market):
    # by price alone rosa's 530 is nearest to 520; by renewable energy paul's offer, and by credit all are alike
    for factors, first in (({}, "rosa"), ({"price": 0, "renewable": 8}, "paul"), ({"price": 0, "credit": 8}, "paul")):
        registered = {"paul": {"renewable_ppm": 900_000}}
        market = make_market(clearing_rule="knn", nearness=NearnessFactors(**factors), registered=registered)
        market.now_ms = market.times(PERIOD - 1).open_ms
        assert commit(market, (520_000, *PRICES[1:])) == ""
        place(market)
        assert clear(market)[0][1] == first


def test_where_places_count_each_bid_looks_around_its_own(make_market):
    # carol, on hill-1, has rosa on her line; chen, without a line of his own in the table, is near nobody
    market = make_market(
        clearing_rule="knn", nearness=NearnessFactors(price=0, position=1), positions=POSITIONS, areas=AREAS
    )
    market.now_ms = market.times(PERIOD - 1).open_ms
    assert commit(market) == ""
    place(market)
    assert clear(market) == [("carol", "rosa", 530_000, 100), ("chen", "paul", 500_000, 100)]


def test_an_area_is_nearer_than_the_rest(make_market):
    market = make_market(
        clearing_rule="knn", nearness=NearnessFactors(price=0, position=1), positions=POSITIONS, areas=AREAS
    )
    market.now_ms = market.times(PERIOD - 1).open_ms
    assert commit(market) == ""
    market.go("open")
    market.offer("pia", price=450_000, volume=KWH)  # dale-1, cheaper
    market.offer("paul", price=500_000, volume=KWH)  # hill-2
    market.bid("carol", price=560_000, volume=KWH)  # hill-1
    assert clear(market)[0][1] == "paul"


def test_offers_that_only_their_places_tell_apart_are_no_equals():
    rows = [("a", Side.BID, 560_000, 10, 0, "hill-1")]
    rows += [(owner, Side.OFFER, 500_000, 10, 0, line) for owner, line in (("b", "dale-1"), ("c", "hill-1"))]
    book = make_quotes(rows)
    near = look_around(book, 500_000, Factors(1, position=1), AREAS)
    context = ClearingContext(neighbourhood=near, lottery=bytes(32))
    trades = clear_knn([quote.order for quote in book], context)
    assert [(trade.offer_id, trade.volume_wh) for trade in trades] == [(2, 10)]


PLACES = ("hill-1", "hill-2", "dale-1", "")
quotes = st.lists(
    st.builds(
        lambda owner, side, price, volume, credit, place: (owner, side, price, volume, credit, place),
        owner=st.sampled_from("abcd"),
        side=st.sampled_from(list(Side)),
        price=st.integers(410_000, 615_000),
        volume=st.integers(1, 50_000),
        credit=st.integers(0, 100_000_000),
        place=st.sampled_from(PLACES),
    ),
    min_size=1,
    max_size=30,
)


def make_quotes(rows):
    return [
        WeightedOrder(Order(index, owner.encode() * 20, side, price, volume, index), credit, 1, 500_000, place, 500_000)
        for index, (owner, side, price, volume, credit, place) in enumerate(rows)
    ]


@settings(max_examples=150, deadline=None)
@given(
    rows=quotes,
    price=st.integers(410_000, 615_000),
    factors=st.tuples(*[st.integers(0, 8)] * 5),
    lottery=st.sampled_from([None, bytes(32)]),
)
def test_lists_by_place_and_trees_and_one_sort_trade_alike(rows, price, factors, lottery):
    """Trees, with the target of each bid at its own place, are the measure; one sort where places do not count."""
    book = make_quotes(rows)
    orders = [quote.order for quote in book]
    near = look_around(book, price, Factors(*factors), AREAS)
    if near is None:
        assert all(order.side == Side.BID for order in orders)
        return
    targets = {
        quote.order.order_id: near.target._replace(
            features=near.target.features._replace(place=Place(quote.position, AREAS.get(quote.position, "")))
        )
        for quote in book
        if quote.order.side == Side.BID
    }
    by_trees = replace(near, places={}, own_targets=targets)
    trades = clear_knn(orders, ClearingContext(neighbourhood=near, lottery=lottery))
    if lottery is None or factors[4]:
        assert trades == clear_knn(orders, ClearingContext(neighbourhood=by_trees, lottery=lottery))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=quotes, work=st.integers(64, 600), position=st.sampled_from([0, 8]))
def test_in_whatever_shares_a_gate_closes_its_trades_are_the_same(make_market, rows, work, position):
    factors = NearnessFactors(price=3, credit=1, position=position)
    sellers, buyers = ("paul", "pia"), ("carol", "chen")
    found = []
    for terms in ({}, {"work_per_block": work}):
        market = make_market(clearing_rule="knn", nearness=factors, positions=POSITIONS, areas=AREAS, **terms)
        market.now_ms = market.times(PERIOD - 1).open_ms
        assert commit(market) == ""
        market.go("open")
        market.make_block(
            *[
                (who, "intention", market.intention(who, side, price, volume))
                for owner, side, price, volume, _, _ in rows
                for who in [(sellers if side else buyers)[ord(owner) % 2]]
            ]
        )
        assert get_book(market.state, PERIOD) != []
        market.go("gate")
        while market.gate() is None:
            market.make_block()
        found.append(get_trades(market.state, PERIOD))
    assert found[0] == found[1]
