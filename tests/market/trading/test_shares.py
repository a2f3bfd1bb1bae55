"""Gates, settlements and corrections that take several blocks: in whatever shares, they come to what one block does."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.overlay import Overlay
from market.orders import Side
from market.settlement import spread
from market.trading import period_settlement, settlement_rows
from market.trading.closing import is_closing
from market.trading.gates import SETTLED
from market.trading.pages import append_rows, get_slice
from market.trading.period import is_over
from market.trading.period_settlement import is_settling
from market.trading.reserves import compute_trade_reserves
from market.trading.views import get_book, get_settlement, get_trades, prove_trade
from market.trading.work import HEAR, SETTLEMENT
from tests.support.market_lab import TRADERS

PERIOD = 10
KWH = 1_000
SCHEDULING = frozenset({"scheduling"})
BUYERS, SELLERS = ("carol", "chen", "rosa"), ("paul", "pia", "rosa")
SMALLEST = 64  # units of work a block: four trades settled
TERMS = {"over_delivery_ppm": 250_000, "correction_ppm": 50_000_000}


class Placed(NamedTuple):
    """An order."""

    owner: str
    side: Side
    price: int
    volume: int


class Heard(NamedTuple):
    """A reading."""

    owner: str
    consumed: int
    produced: int


# --- a period, in one way or another -----------------------------------------------------------------


def work_through(market, is_going_on, *, between=lambda: None, limit=400):
    """Blocks until something is over; how many it took."""
    count = 0
    while is_going_on(Overlay(market.state), PERIOD):
        between()
        market.now_ms += 1
        market.make_block()
        count += 1
        assert count < limit, "it never ends"
    return count


def close(market, orders):
    """The number of blocks that the gate takes beyond one."""
    market.make_block(
        *[(one.owner, "intention", market.intention(one.owner, one.side, one.price, one.volume)) for one in orders]
    )
    market.go("gate")
    return work_through(market, is_closing)


def deliver(market, readings):
    market.go("delivery_end")
    market.make_block(*[word(one) for one in readings])


def word(reading):
    produced = reading.produced if reading.owner in SELLERS else 0
    return f"meter-{reading.owner}", "reading", (PERIOD, reading.consumed, produced)


def settle(market, **options):
    market.go("settle")
    return work_through(market, is_settling, **options)


def go_on(market):
    """The next period's first block, and as many as corrections take."""
    market.go_on()
    while any(key in (b"market/correcting",) for key, _ in market.state.items()):
        market.now_ms += 1
        market.make_block()


def outcome(market):
    """All that members have of a period, and what is kept of it."""
    settlement = get_settlement(market.state, PERIOD)
    return (
        {name: market.account(name)._replace(sequence=0) for name in ("grid", *TRADERS)},
        market.gate()._replace(height=0) if market.gate() else None,
        get_trades(market.state, PERIOD),
        settlement and (settlement.trades, sorted(settlement.grid)),
    )


orders = st.lists(
    st.builds(
        Placed,
        owner=st.sampled_from(BUYERS),
        side=st.just(Side.BID),
        price=st.integers(480_000, 520_000),
        volume=st.integers(1, 20 * KWH),
    )
    | st.builds(
        Placed,
        owner=st.sampled_from(SELLERS),
        side=st.just(Side.OFFER),
        price=st.integers(470_000, 510_000),
        volume=st.integers(1, 20 * KWH),
    ),
    min_size=1,
    max_size=40,
)
readings = st.lists(
    st.builds(
        Heard,
        owner=st.sampled_from(sorted(TRADERS)),
        consumed=st.integers(0, 100 * KWH),
        produced=st.integers(0, 100 * KWH),
    ),
    unique_by=lambda reading: reading.owner,
    max_size=5,
)
RULES = st.sampled_from(["price-time", "credit-weighted", "uniform-price", "pay-as-bid", "knn"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    placed=orders,
    heard=readings,
    late=readings,
    work=st.integers(SMALLEST, 1_000),
    passes=st.integers(1, 5),
    rule=RULES,
    ties=st.sampled_from(["time", "pro-rata"]),
)
def test_in_whatever_shares_a_period_comes_to_the_same(make_market, placed, heard, late, work, passes, rule, ties):
    terms = {**TERMS, "clearing_rule": rule, "ties": ties}
    shares = {"work_per_block": passes * work, "passes_per_block": passes}
    markets = by_shares, at_once = make_market(**shares, **terms), make_market(**terms)
    at_once.chain_id = by_shares.chain_id  # of which lots are drawn
    money = by_shares.money()
    stages = (
        lambda market: close(market, placed),
        lambda market: (market.certify(), deliver(market, heard)),
        settle,
        lambda market: (market.make_block(*[word(one) for one in late]), go_on(market)),
    )
    for stage in stages:
        for market in markets:
            stage(market)
            assert market.money() == money
        assert outcome(markets[0]) == outcome(markets[1])
    assert by_shares.reserved() == 0
    assert not [key for key, _ in by_shares.state.items() if key.startswith((b"market/closing", b"market/settling"))]


# --- in several blocks -------------------------------------------------------------------------------

BOOK = [
    *[Placed(owner, Side.BID, 500_000 + index * 7, 3_000 + index) for index, owner in enumerate(BUYERS * 5)],
    *[Placed(owner, Side.OFFER, 480_000 - index * 5, 2_900 + 3 * index) for index, owner in enumerate(SELLERS * 5)],
]
METERS = [Heard(owner, 31 * KWH + index, 29 * KWH) for index, owner in enumerate(TRADERS)]


@pytest.fixture
def by_shares(make_market):
    return make_market(work_per_block=SMALLEST, **TERMS)


@pytest.fixture
def at_once(make_market):
    return make_market(**TERMS)


def test_while_a_gate_closes_nothing_of_its_period_changes_but_by_its_shares(by_shares):
    count = close(by_shares, BOOK)
    assert count > 5
    assert get_book(by_shares.state, PERIOD) == []
    trades = get_trades(by_shares.state, PERIOD)
    assert by_shares.gate().trade_count == len(trades) > 20
    assert prove_trade(by_shares.state, by_shares.params.market, PERIOD, 20)[2] == len(trades)


def test_orders_and_cancellations_are_refused_while_a_gate_closes(by_shares):
    by_shares.make_block(
        *[(one.owner, "intention", by_shares.intention(one.owner, one.side, one.price, one.volume)) for one in BOOK]
    )
    by_shares.go("gate")
    assert is_closing(Overlay(by_shares.state), PERIOD)
    assert by_shares.gate() is None
    intention = by_shares.intention("chen", Side.BID, 500_000, KWH)
    execution = by_shares.make_block(("chen", "intention", intention), ("carol", "cancel", (PERIOD, 0)))
    assert [receipt.code for receipt in execution.receipts] == ["GateClosed", "GateClosed"]


@pytest.mark.parametrize("instant", ["deadline", "settle"])
def test_what_is_due_meanwhile_waits_for_the_gate(by_shares, at_once, instant):
    """As of a chain that stood still from before the gate until after the deadline, or even the time of settlement."""
    for market in (by_shares, at_once):
        market.make_block(
            *[(one.owner, "intention", market.intention(one.owner, one.side, one.price, one.volume)) for one in BOOK]
        )
        market.go(instant, late_ms=1)
        work_through(market, is_closing)
        work_through(market, is_settling)
        assert (market.gate().status, market.reserved()) == ("void", 0)
    assert outcome(by_shares) == outcome(at_once)


def test_the_reserve_of_what_is_not_settled_yet_stays_set_aside(by_shares):
    """Or a buyer could spend, between two blocks, what it owes with the next."""
    close(by_shares, BOOK)
    by_shares.certify()
    deliver(by_shares, METERS)
    reserved = [by_shares.reserved()]
    settle(by_shares, between=lambda: reserved.append(by_shares.reserved()))
    assert reserved == sorted(reserved, reverse=True)
    assert len(set(reserved)) > 4
    assert by_shares.reserved() == 0


def test_a_late_reading_while_a_period_is_settled_is_a_correction(by_shares, at_once):
    late = Heard("carol", 7 * KWH, 0)
    for market in (by_shares, at_once):
        close(market, BOOK)
        market.certify()
    deliver(by_shares, METERS[1:])
    deliver(at_once, [*METERS[1:], late])
    told = []

    def say_it_once():
        if not told and is_over(Overlay(by_shares.state), by_shares._next_context(), PERIOD):
            execution = by_shares.make_block(word(late))
            told.append(execution.receipts[0].code)
            assert ("corrected", PERIOD, by_shares.address("carol"), 7 * KWH, 0, 0) in execution.events

    assert settle(by_shares, between=say_it_once) > 3
    settle(at_once)
    assert told == [""]
    assert outcome(by_shares)[0] != outcome(at_once)[0]
    money = by_shares.money()
    go_on(by_shares)
    assert outcome(by_shares) == outcome(at_once)
    assert by_shares.money() == money


def test_blocks_taken_off_in_the_midst_leave_what_was_there_before(by_shares, make_market):
    """Every block of a gate and a settlement is undone and done again, and then it is as if nothing had been."""
    straight = make_market(work_per_block=SMALLEST, **TERMS)
    for market in (straight, by_shares):
        close(market, BOOK)
        market.certify()
        deliver(market, METERS)
    settle(straight)
    by_shares.now_ms = by_shares.times().settle_ms - 1
    undone = 0
    while get_settlement(by_shares.state, PERIOD) is None:
        before, height = by_shares.state, by_shares.height
        by_shares.now_ms += 1
        execution = by_shares.make_block()
        assert execution.state.apply(execution.delta.undo).root == before.root
        undone += 1
        by_shares.state, by_shares.height = before, height  # another block takes its place, and goes on
        by_shares.make_block(("chen", "transfer", (by_shares.address("pia"), 0)))
    assert undone > 4
    assert outcome(by_shares) == outcome(straight)


def test_a_block_goes_on_with_one_period_after_the_other(make_market):
    """Its share is the block's, not each period's."""
    market = make_market(work_per_block=SMALLEST, **TERMS)
    for period in (PERIOD, PERIOD + 1):
        market.now_ms = max(market.now_ms, market.times(period).open_ms)
        market.make_block(
            *[
                (one.owner, "intention", market.intention(one.owner, one.side, one.price, one.volume, period=period))
                for one in BOOK[::3]
            ]
        )
    market.go("gate", PERIOD + 1)
    view = Overlay(market.state)
    assert is_closing(view, PERIOD)
    assert is_closing(view, PERIOD + 1)
    market.now_ms += 1
    market.make_block()
    heights = {}
    while len(heights) < 2:
        market.now_ms += 1
        market.make_block()
        for period in (PERIOD, PERIOD + 1):
            if market.gate(period) is not None:
                heights.setdefault(period, market.height)
    assert heights[PERIOD] < heights[PERIOD + 1]


# --- beside a scheduling chain -----------------------------------------------------------------------


def accept(market, *cut_to_ppm):
    """A book whose first trades, from the third on, are accepted as far as that."""
    market.quota()
    close(market, BOOK)
    trades = get_trades(market.state, PERIOD)[2:]
    cuts = [
        (trade.trade_index, trade.volume_wh * ppm // 1_000_000, "feeder-1")
        for trade, ppm in zip(trades, cut_to_ppm, strict=False)
    ]
    assert market.verdict(*cuts) == ""
    market.go("delivery_end")


def meter(market, readings):
    rows = [(market.address(one.owner), one.consumed, one.produced if one.owner in SELLERS else 0) for one in readings]
    assert market.relay("metered", *rows[:2], part=0, parts=2) == ""
    assert market.relay("metered", *rows[2:], part=1, parts=2) == ""
    market.make_block()
    work_through(market, is_settling)


@pytest.mark.parametrize("cuts", [(), (0, 400_000, 0, 10_000, 700_000), (0,) * 100])
def test_curtailed_trades_and_metered_parts_come_to_the_same(make_market, cuts):
    money = make_market().money()
    markets = [make_market(siblings=SCHEDULING, work_per_block=work, **TERMS) for work in (SMALLEST, 0)]
    for market in markets:
        accept(market, *cuts)
        meter(market, METERS)
        assert market.gate().status == SETTLED
        assert (market.money(), market.reserved()) == (money, 0)
    assert outcome(markets[0]) == outcome(markets[1])
    assert markets[0].posted("result") == markets[1].posted("result")


def test_the_block_that_brings_the_last_reading_begins_to_settle_with_what_it_has_left(make_market):
    """To take readings in is work too: of 64 units three of them leave room for two trades, not for three."""
    market = make_market(siblings=SCHEDULING, work_per_block=SMALLEST, **TERMS)
    accept(market)
    rows = [(market.address(one.owner), one.consumed, one.produced if one.owner in SELLERS else 0) for one in METERS]
    assert market.relay("metered", *rows[:2], part=0, parts=2) == ""
    assert not is_settling(Overlay(market.state), PERIOD)
    assert market.relay("metered", *rows[2:], part=1, parts=2) == ""
    assert is_settling(Overlay(market.state), PERIOD)
    settled = [event for event in market.relayed if event[0] == "settlement"]
    assert len(settled) == (SMALLEST - HEAR * len(rows[2:])) // SETTLEMENT < SMALLEST // SETTLEMENT


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 64), (3, 64), (63, 65), (70, 150), (149, 150)])
def test_a_slice_of_a_list_in_pages(make_market, start, stop):
    view, rows = Overlay(make_market().state), [(number, b"row") for number in range(150)]
    append_rows(view, b"some", 0, rows)
    assert get_slice(view, b"some", range(start, stop)) == rows[start:stop]


def test_a_meter_that_is_in_two_parts_is_refused(make_market):
    market = make_market(siblings=SCHEDULING, work_per_block=SMALLEST, **TERMS)
    accept(market)
    carol = market.address("carol")
    assert market.relay("metered", (carol, 1, 0), part=0, parts=2) == ""
    assert market.relay("metered", (carol, 2, 0), part=1, parts=2) == "DuplicateReading"


def test_of_a_metering_that_never_becomes_whole_nothing_is_settled(make_market):
    market = make_market(siblings=SCHEDULING, work_per_block=SMALLEST, **TERMS)
    accept(market)
    assert market.relay("metered", (market.address("carol"), 1, 0), part=0, parts=2) == ""
    market.go("settle")
    assert market.gate().status == "lapsed"
    assert market.reserved() == 0
    assert not [key for key, _ in market.state.items() if key.startswith((b"market/rows", b"market/part"))]


# --- what it catches ---------------------------------------------------------------------------------


def differs(make_market):
    """True where a period that is settled by shares does not come to what it comes to at once."""
    markets = [make_market(work_per_block=work, **TERMS) for work in (SMALLEST, 0)]
    for market in markets:
        close(market, BOOK)
        market.certify()
        deliver(market, METERS)
        try:
            settle(market)
        except AssertionError as error:
            assert str(error) == "more is released than was set aside"  # noqa: PT017  (the contract's own)
            return True
    return outcome(markets[0]) != outcome(markets[1])


def test_nothing_differs_by_itself(make_market):
    assert not differs(make_market)


def test_a_trade_that_is_settled_twice_is_seen(make_market, monkeypatch):
    """A cursor that stays behind by one where a share ends."""
    step = period_settlement._settle_trades

    def stay_behind(*arguments):
        after, rows = step(*arguments)
        return (after._replace(trades=after.trades - 1) if after.owner is None else after), rows

    monkeypatch.setattr(period_settlement, "_settle_trades", stay_behind)
    assert differs(make_market)


def test_reserves_that_are_released_with_each_share_are_seen(make_market, monkeypatch):
    def release_all(records, places, wheeling, params):
        own = [record for record in records if record.buyer in wheeling]
        return compute_trade_reserves(own, wheeling, params)

    monkeypatch.setattr(period_settlement, "compute_reserve_shares", release_all)
    assert differs(make_market)


def test_a_reading_that_is_spread_anew_in_each_share_is_seen(make_market, monkeypatch):
    def spread_alone(metered_wh, parties, agreed_wh, places):
        return spread(metered_wh, [parties[place] for place in places], [agreed_wh[place] for place in places])

    monkeypatch.setattr(settlement_rows, "spread_over", spread_alone)
    assert differs(make_market)
