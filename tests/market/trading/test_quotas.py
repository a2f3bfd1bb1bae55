"""Line quotas of the scheduling chain: how they arrive, what they ask of an order, and a book that keeps to them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.params import MatchingWeights
from market.orders import Order, Side
from market.trading.quotas import MAX_WHEELING_UYUAN_PER_KWH, Quota, trim_to_quotas
from market.trading.views import get_book, get_quota, get_trades, live_periods

PERIOD = 10
KWH = 1_000
SCHEDULING = frozenset({"scheduling"})
NORTH = ("north", 300 * KWH, 100 * KWH, 20_000)
SOUTH = ("south", 50 * KWH, 80 * KWH, 35_000)
POSITIONS = {"carol": "north", "paul": "north", "rosa": "north", "chen": "south", "pia": "south"}


@pytest.fixture
def scheduled(make_market):
    """A market beside a scheduling chain, its members on two lines."""
    return make_market(siblings=SCHEDULING, positions=POSITIONS)


def named(events, name):
    return [event[1:] for event in events if event[0] == name]


# --- arrival -------------------------------------------------------------------------------------


def test_a_quota_is_kept_by_line(scheduled):
    assert get_quota(scheduled.state, PERIOD) is None
    assert scheduled.quota(SOUTH, NORTH) == ""
    assert get_quota(scheduled.state, PERIOD) == {
        "north": Quota(300 * KWH, 100 * KWH, 20_000),
        "south": Quota(50 * KWH, 80 * KWH, 35_000),
    }
    assert scheduled.relayed == (("quota", PERIOD, 2, 350 * KWH, 180 * KWH),)
    assert get_quota(scheduled.state, PERIOD + 1) is None
    assert live_periods(scheduled.state) == (PERIOD,)


def test_a_quota_counts_once_its_last_part_has_come_whichever_that_is(scheduled):
    assert scheduled.relay("quota", SOUTH, part=1, parts=2) == ""
    assert scheduled.relayed == ()
    assert get_quota(scheduled.state, PERIOD) is None
    assert scheduled.bid("chen", price=500_000, volume=KWH) == "NoQuota"
    assert scheduled.relay("quota", NORTH, part=0, parts=2) == ""
    assert list(get_quota(scheduled.state, PERIOD)) == ["north", "south"]
    assert scheduled.bid("chen", price=500_000, volume=KWH) == ""


def test_a_quota_comes_before_the_gate_and_not_with_it(scheduled):
    scheduled.now_ms = scheduled.times().gate_ms
    assert scheduled.quota(NORTH) == "RelayTooLate"
    scheduled.now_ms -= 1
    assert scheduled.quota(NORTH) == ""


def test_a_quota_for_a_gate_that_has_closed_is_too_late_whatever_the_time(scheduled):
    scheduled.quota(NORTH)
    scheduled.bid("carol", price=500_000, volume=KWH)
    scheduled.go("gate")
    scheduled.now_ms -= 1
    assert scheduled.relay("quota", SOUTH, chain="another") == "RelayTooLate"


def test_a_quota_replayed_is_refused(scheduled):
    assert scheduled.quota(NORTH) == ""
    assert scheduled.quota(NORTH) == "AlreadyRelayed"


def test_a_complete_quota_is_not_changed_by_a_chain_of_another_name(scheduled):
    scheduled.quota(NORTH)
    assert scheduled.relay("quota", SOUTH, chain="another") == "UnexpectedRelay"


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (("north", 1, 1), "WrongShape"),
        (("north", 1, 1, 1, 1), "WrongShape"),
        ("north", "WrongShape"),
        ((b"north", 1, 1, 1), "WrongShape"),
        (("north", -1, 1, 1), "WrongShape"),
        (("north", 1, -1, 1), "WrongShape"),
        (("north", 1, 1, -1), "WrongShape"),
        (("north", 1, 1, MAX_WHEELING_UYUAN_PER_KWH + 1), "WrongShape"),
        (("n" * 33, 1, 1, 1), "TooLarge"),
        (SOUTH, "WrongShape"),  # twice in one message
    ],
)
def test_a_quota_of_another_shape_is_refused(scheduled, row, code):
    assert scheduled.quota(SOUTH, row) == code
    assert scheduled.quota(SOUTH, NORTH) == ""


def test_a_line_is_in_one_part_of_a_quota_only(scheduled):
    scheduled.relay("quota", NORTH, part=0, parts=2)
    assert scheduled.relay("quota", NORTH, part=1, parts=2) == "WrongShape"


def test_an_order_looks_at_its_own_lines_quota_however_many_lines_there_are(scheduled):
    lines = [(f"line-{number:03d}", number, number, 20_000) for number in range(200)]
    pieces = [lines[:64], lines[64:128], lines[128:192], [*lines[192:], NORTH]]
    before = {key for key, _ in scheduled.state.items()}
    for part, rows in enumerate(pieces):
        assert scheduled.relay("quota", *rows, part=part, parts=len(pieces)) == ""
    assert len(get_quota(scheduled.state, PERIOD)) == 201
    added = {key: len(raw) for key, raw in scheduled.state.items() if key not in before and key.startswith(b"market/q")}
    assert len(added) == 202
    assert max(added.values()) < 100
    assert scheduled.bid("carol", price=500_000, volume=KWH) == ""


# --- orders --------------------------------------------------------------------------------------


def test_without_a_quota_nobody_trades(scheduled):
    assert scheduled.bid("carol", price=500_000, volume=KWH) == "NoQuota"
    assert scheduled.cancel("carol", 0) == "NoQuota"
    scheduled.quota(NORTH, number=PERIOD + 1)
    assert scheduled.bid("carol", price=500_000, volume=KWH) == "NoQuota"


def test_a_member_on_a_line_without_a_quota_does_not_trade(scheduled):
    scheduled.quota(NORTH)
    assert scheduled.bid("chen", price=500_000, volume=KWH) == "UnknownLine"
    assert scheduled.cancel("chen", 0) == "UnknownLine"
    assert scheduled.bid("carol", price=500_000, volume=KWH) == ""


def test_no_order_is_larger_than_its_lines_quota_on_its_side(scheduled):
    scheduled.quota(NORTH, SOUTH)
    assert scheduled.bid("rosa", price=500_000, volume=300 * KWH + 1) == "OverLineQuota"
    assert scheduled.bid("rosa", price=500_000, volume=300 * KWH) == ""
    assert scheduled.offer("rosa", price=600_000, volume=100 * KWH + 1) == "OverLineQuota"
    assert scheduled.offer("rosa", price=600_000, volume=100 * KWH) == ""
    assert scheduled.bid("chen", price=500_000, volume=50 * KWH + 1) == "OverLineQuota"


def test_orders_together_may_be_more_than_their_lines_quota(scheduled):
    # who of them is served is decided at the gate
    scheduled.quota(NORTH, SOUTH)
    for _ in range(3):
        assert scheduled.bid("chen", price=500_000, volume=50 * KWH) == ""


def test_the_period_must_be_open_before_its_quota_is_asked_for(scheduled):
    assert scheduled.bid("carol", price=500_000, volume=KWH, period=PERIOD + 1) == "MarketNotOpen"


def test_a_bid_sets_aside_its_own_areas_wheeling(scheduled):
    scheduled.quota(NORTH, SOUTH)
    before = scheduled.account("chen").balance_uyuan
    scheduled.bid("chen", price=500_000, volume=10 * KWH)
    scheduled.bid("carol", price=500_000, volume=10 * KWH)
    assert scheduled.account("chen").reserved_uyuan == 10 * 535_000
    assert scheduled.account("carol").reserved_uyuan == 10 * 520_000
    assert scheduled.cancel("chen", 0) == ""
    assert scheduled.account("chen").reserved_uyuan == 0
    assert scheduled.account("chen").balance_uyuan == before


def test_refused_cancellations_have_the_names_they_have_alone(scheduled):
    scheduled.quota(NORTH, SOUTH)
    scheduled.bid("carol", price=500_000, volume=KWH)
    assert scheduled.cancel("chen", 0) == "NotYourOrder"
    assert scheduled.cancel("chen", 1) == "UnknownOrder"


def test_a_chain_that_trades_alone_asks_for_no_quota(market):
    assert market.bid("carol", price=500_000, volume=400 * KWH) == ""


# --- the gate ------------------------------------------------------------------------------------


def test_at_the_gate_a_line_serves_the_best_prices_up_to_its_quota(scheduled):
    # south may buy 50 kWh: chen's 540 takes 30, of the 520s the earlier 30 is cut to 20 and the later left out
    scheduled.quota(NORTH, SOUTH)
    before = scheduled.account("chen").balance_uyuan
    scheduled.bid("chen", price=520_000, volume=30 * KWH)
    scheduled.bid("chen", price=520_000, volume=30 * KWH)
    scheduled.bid("chen", price=540_000, volume=30 * KWH)
    scheduled.offer("paul", price=500_000, volume=100 * KWH)
    events = scheduled.go("gate")
    chen, paul = scheduled.address("chen"), scheduled.address("paul")
    assert [trade[2:6] for trade in get_trades(scheduled.state, PERIOD)] == [
        (chen, paul, 520_000, 30 * KWH),
        (chen, paul, 510_000, 20 * KWH),
    ]
    assert named(events, "trimmed") == [(PERIOD, 0, chen, 0, 20 * KWH), (PERIOD, 1, chen, 0, 0)]
    assert get_book(scheduled.state, PERIOD) == []
    assert scheduled.account("chen").reserved_uyuan == 30 * 555_000 + 20 * 545_000
    assert scheduled.account("chen").balance_uyuan == before - scheduled.reserved()


def test_a_line_sells_no_more_than_its_quota_either(scheduled):
    scheduled.quota(NORTH, SOUTH)
    scheduled.offer("paul", price=480_000, volume=60 * KWH)
    scheduled.offer("rosa", price=450_000, volume=70 * KWH)
    scheduled.bid("carol", price=500_000, volume=300 * KWH)
    scheduled.go("gate")
    trades = get_trades(scheduled.state, PERIOD)
    names = {scheduled.address(name): name for name in POSITIONS}
    assert [(names[trade.seller], trade.volume_wh) for trade in trades] == [("rosa", 70 * KWH), ("paul", 30 * KWH)]


def test_where_merit_decides_it_decides_who_has_the_quota(make_market):
    # paul's offer is dearer, but all renewable; north may sell 100
    weights = {**dict.fromkeys(MatchingWeights.model_fields, 0), "renewable_ppm": 1_000_000}
    market = make_market(
        siblings=SCHEDULING,
        clearing_rule="credit-weighted",
        weights=MatchingWeights(**weights),
        positions=POSITIONS,
        registered={"paul": {"renewable_ppm": 1_000_000}},
    )
    market.quota(NORTH)
    market.offer("rosa", price=450_000, volume=100 * KWH)
    market.offer("paul", price=490_000, volume=60 * KWH)
    market.bid("carol", price=500_000, volume=200 * KWH)
    events = market.go("gate")
    names = {market.address(name): name for name in POSITIONS}
    trades = get_trades(market.state, PERIOD)
    assert [(names[trade.seller], trade.volume_wh) for trade in trades] == [("paul", 60 * KWH), ("rosa", 40 * KWH)]
    assert [trade.match.w_ppm for trade in trades] == [1_000_000, 0]
    assert named(events, "trimmed") == [(PERIOD, 0, market.address("rosa"), 1, 40 * KWH)]


@pytest.mark.parametrize("rule", ["price-time", "credit-weighted", "uniform-price", "pay-as-bid", "knn"])
def test_a_line_without_any_quota_left_trades_nothing_by_any_rule(make_market, rule):
    market = make_market(siblings=SCHEDULING, clearing_rule=rule, positions=POSITIONS)
    market.quota(("north", 10, 0, 0), ("south", 0, 10, 0))
    market.bid("carol", price=500_000, volume=10)
    market.bid("carol", price=510_000, volume=10)
    market.offer("pia", price=400_000, volume=10)
    market.go("gate")
    assert sum(trade.volume_wh for trade in get_trades(market.state, PERIOD)) == 10
    assert market.reserved() > 0
    assert market.go("deadline") == (("void", PERIOD, "no-certificate"),)
    assert market.reserved() == 0


# --- the trimming itself -------------------------------------------------------------------------

OWNERS = {bytes([number]) * 20: line for number, line in enumerate("aabbc")}
books = st.lists(
    st.tuples(st.sampled_from(sorted(OWNERS)), st.sampled_from(list(Side)), st.integers(1, 6), st.integers(1, 50)),
    max_size=25,
).map(lambda rows: [Order(at, *row, at) for at, row in enumerate(rows)])
amounts = st.integers(0, 120)
all_quotas = st.fixed_dictionaries({line: st.builds(Quota, amounts, amounts, st.just(0)) for line in "abc"})
all_merits = st.one_of(st.just({}), st.dictionaries(st.integers(0, 24), st.integers(0, 3)))


def places_of(orders):
    """Orders by line and side."""
    places = {}
    for order in orders:
        places.setdefault((OWNERS[order.owner], order.side), []).append(order)
    return places


def crosses_any(order, orders):
    """True where it could trade with any order of another owner, were that alone on the book with it."""
    sign = 1 if order.side == Side.BID else -1
    return any(
        other.side != order.side
        and other.owner != order.owner
        and sign * (order.price_uyuan_per_kwh - other.price_uyuan_per_kwh) >= 0
        for other in orders
    )


@given(books, all_quotas, all_merits)
def test_what_crosses_nothing_is_trimmed_before_anything_that_does(orders, quotas, merits):
    kept_wh = {order.order_id: order.volume_wh for order in trim_to_quotas(orders, OWNERS, quotas, merits)}
    without = [order for order in orders if crosses_any(order, orders)]
    alone_wh = {order.order_id: order.volume_wh for order in trim_to_quotas(without, OWNERS, quotas, merits)}
    assert {order.order_id: kept_wh.get(order.order_id, 0) for order in without} == {
        order.order_id: alone_wh.get(order.order_id, 0) for order in without
    }


@pytest.mark.parametrize("rival", ["another", "its own"])
def test_an_offer_nobody_can_take_does_not_use_up_its_lines_quota(rival):
    # 100 yuan per kWh, at the best of merits; only its own owner bids as much
    honest, rogue, buyer = sorted(OWNERS)[:3]
    orders = [
        Order(0, honest, Side.OFFER, 4, 90, 0),
        Order(1, rogue, Side.OFFER, 1_000, 100, 1),
        Order(2, buyer, Side.BID, 5, 90, 2),
    ]
    if rival == "its own":
        orders.append(Order(3, rogue, Side.BID, 1_000, 1, 3))
    lines = {honest: "a", rogue: "a", buyer: "b"}
    quotas = {"a": Quota(100, 100, 0), "b": Quota(100, 0, 0)}
    kept = {order.order_id: order.volume_wh for order in trim_to_quotas(orders, lines, quotas, {1: 9})}
    assert (kept[0], kept[1], kept[2]) == (90, 10, 90)


@given(books, all_quotas, all_merits)
def test_trimmed_orders_are_those_of_the_book_and_never_more_than_the_quota(orders, quotas, merits):
    trimmed = trim_to_quotas(orders, OWNERS, quotas, merits)
    whole = {order.order_id: order for order in orders}
    assert [order.order_id for order in trimmed] == sorted({order.order_id for order in trimmed})
    for order in trimmed:
        assert 0 < order.volume_wh <= whole[order.order_id].volume_wh
        assert order._replace(volume_wh=whole[order.order_id].volume_wh) == whole[order.order_id]
    before, after = Counter(), Counter()
    for book, volumes in ((orders, before), (trimmed, after)):
        for order in book:
            volumes[OWNERS[order.owner], order.side] += order.volume_wh
    for (line, side), volume_wh in before.items():
        assert after[line, side] == min(volume_wh, quotas[line].limit_wh(side))


@given(books, all_quotas, all_merits)
def test_nobody_is_trimmed_while_a_worse_order_of_its_line_stands(orders, quotas, merits):
    kept_wh = {order.order_id: order.volume_wh for order in trim_to_quotas(orders, OWNERS, quotas, merits)}
    for (_, side), place in places_of(orders).items():
        sign = -1 if side == Side.BID else 1
        place.sort(
            key=lambda order: (
                not crosses_any(order, orders),
                -merits.get(order.order_id, 0),
                sign * order.price_uyuan_per_kwh,
                order.placed_at,
            )
        )
        cut = [kept_wh.get(order.order_id, 0) < order.volume_wh for order in place]
        first = cut.index(True) if True in cut else len(cut)
        assert not any(kept_wh.get(order.order_id, 0) for order in place[first + 1 :])


@given(books, all_merits)
def test_ample_quotas_change_nothing(orders, merits):
    ample = dict.fromkeys("abc", Quota(10_000, 10_000, 0))
    assert trim_to_quotas(orders, OWNERS, ample, merits) == orders


@given(books, all_quotas, all_merits, st.randoms(use_true_random=False))
def test_the_order_of_the_book_does_not_matter(orders, quotas, merits, rng):
    shuffled = list(orders)
    rng.shuffle(shuffled)
    assert sorted(trim_to_quotas(shuffled, OWNERS, quotas, merits)) == trim_to_quotas(orders, OWNERS, quotas, merits)


def test_with_lots_equal_orders_share_what_their_lines_quota_leaves():
    one, two, buyer = sorted(OWNERS)[:3]
    orders = [
        Order(0, one, Side.OFFER, 4, 90, 0),
        Order(1, two, Side.OFFER, 4, 30, 1),
        Order(2, buyer, Side.BID, 5, 99, 2),
    ]
    lines = {one: "a", two: "a", buyer: "b"}
    quotas = {"a": Quota(0, 40, 0), "b": Quota(99, 0, 0)}
    for book in (orders, [orders[1]._replace(order_id=0), orders[0]._replace(order_id=1), orders[2]]):
        kept = {order.owner: order.volume_wh for order in trim_to_quotas(book, lines, quotas, None, b"")}
        assert kept == {one: 30, two: 10, buyer: 99}
    assert [order.volume_wh for order in trim_to_quotas(orders, lines, quotas)] == [40, 99]
