"""A period that is traded twice: day-ahead, the change of it intraday, and with the grid company what a meter says."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.overlay import Overlay
from market.netting import compute_deliveries, net, pair
from market.trading.balances import get_balances
from market.trading.gates import ACCEPTED, CERTIFIED, LAPSED, SETTLED, VOID
from market.trading.period import compute_gate_times, find_next_due
from market.trading.positions import Position, get_position
from market.trading.sessions import Session, get_gate_number, get_period, get_session, list_gates
from market.trading.views import get_settlement, get_trades, live_periods
from tests.support.keys import address

PERIOD = 10
DAY_AHEAD, INTRADAY = 20, 21  # the numbers of its gates
KWH = 1_000
RETAIL, FEED_IN, WHEELING = 615_000, 410_000, 20_000
CLOCK = {
    "open_ppm": 4_000_000,
    "gate_ppm": 3_000_000,
    "intraday_open_ppm": 2_000_000,
    "intraday_gate_ppm": 1_000_000,
    "deadline_ppm": 0,
}
SHARED = {"work_per_block": 64}


def named(events, name):
    return [event[1:] for event in events if event[0] == name]


class Twice:
    """A market whose periods have two sessions, by what happens in them."""

    def __init__(self, make_market, **options) -> None:
        self.market = make_market(**CLOCK, **options)

    def go(self, number: int, instant: str, *, late_ms: int = 0):
        times = compute_gate_times(number, self.market.params, self.market.now_ms - self._elapsed_ms())
        self.market.now_ms = getattr(times, f"{instant}_ms") + late_ms
        return self.market.make_block().events

    def _elapsed_ms(self) -> int:
        return self.market.now_ms - (self.market.times(0).delivery_start_ms)

    def trade(self, number: int, seller: str, buyer: str, volume_wh: int, price: int = 500_000) -> None:
        assert self.market.offer(seller, price=price, volume=volume_wh, period=number) == ""
        assert self.market.bid(buyer, price=price, volume=volume_wh, period=number) == ""

    def close(self, number: int):
        """The gate, certified; what its block told."""
        events = self.go(number, "gate")
        while self.market.gate(number) is None:
            events += self.market.make_block().events
        self.market.certify()
        return events

    def deliver(self, **net_wh: int):
        """The period with these meters read, consumption above and output below zero; what its settlement told."""
        self.go(DAY_AHEAD, "delivery_end")
        for owner, wh in net_wh.items():
            assert self.market.read(owner, consumed=max(0, wh), produced=max(0, -wh), period=PERIOD) == ""
        events = self.go(DAY_AHEAD, "settle")
        while PERIOD in live_periods(self.market.state):
            events += self.market.make_block().events
        return events

    def position(self, number: int, name: str) -> Position:
        return get_position(Overlay(self.market.state), number, address(name))

    def balance(self, name: str) -> int:
        account = self.market.account(name)
        return account.balance_uyuan + account.reserved_uyuan


@pytest.fixture
def twice(make_market):
    return Twice(make_market)


# --- numbers and times ---------------------------------------------------------------------------


def test_a_gate_has_a_number_of_its_own_where_a_period_is_traded_twice(make_market, market):
    both, one = Twice(make_market).market.params.market, market.params.market
    assert list_gates(both, PERIOD) == range(DAY_AHEAD, INTRADAY + 1)
    assert get_gate_number(both, PERIOD, Session.INTRADAY) == INTRADAY
    assert (get_period(both, INTRADAY), get_session(both, INTRADAY)) == (PERIOD, Session.INTRADAY)
    assert [session.title for session in Session] == ["day-ahead", "intraday"]
    assert list_gates(one, PERIOD) == range(PERIOD, PERIOD + 1)
    assert (get_period(one, PERIOD), get_session(one, PERIOD)) == (PERIOD, Session.DAY_AHEAD)


def test_trades_of_a_session_must_bind_before_the_next_one_opens(twice):
    first, second = (compute_gate_times(number, twice.market.params, 0) for number in (DAY_AHEAD, INTRADAY))
    assert (first.open_ms, first.gate_ms, first.deadline_ms) == (6_000, 7_000, 8_000)
    assert (second.open_ms, second.gate_ms, second.deadline_ms) == (8_000, 9_000, 10_000)
    assert first.settle_ms == second.settle_ms


# --- what a member may trade ---------------------------------------------------------------------


def test_a_member_trades_the_change_of_its_position_and_no_more(twice):
    twice.trade(DAY_AHEAD, "paul", "carol", 100 * KWH)
    assert twice.market.offer("carol", price=1, volume=KWH, period=DAY_AHEAD) == "SideNotAllowed"
    assert twice.market.bid("carol", price=1, volume=KWH, period=INTRADAY) == "MarketNotOpen"
    twice.close(DAY_AHEAD)
    assert (twice.position(DAY_AHEAD, "carol"), twice.position(DAY_AHEAD, "paul")) == ((100_000, 0), (0, 100_000))

    twice.go(INTRADAY, "open")
    offer, bid = (partial(place, price=500_000, period=INTRADAY) for place in (twice.market.offer, twice.market.bid))
    assert offer("carol", volume=60 * KWH) == ""
    assert offer("carol", volume=40 * KWH + 1) == "BeyondPosition"
    assert offer("carol", volume=40 * KWH) == ""
    assert bid("paul", volume=100 * KWH + 1) == "BeyondPosition"
    assert bid("paul", volume=100 * KWH) == ""
    assert offer("chen", volume=1) == "BeyondPosition"  # who has bought nothing has nothing to sell
    assert bid("pia", volume=1) == "BeyondPosition"
    assert bid("grid", volume=1) == "SideNotAllowed"
    assert bid("carol", volume=300 * KWH + 1) == "OverQuota"  # its capacity is 400 kWh, it has 100
    assert bid("carol", volume=300 * KWH) == ""
    assert offer("paul", volume=300 * KWH + 1) == "OverQuota"
    assert offer("rosa", volume=400 * KWH) == ""
    twice.go(INTRADAY, "gate")
    assert twice.market.bid("carol", price=1, volume=KWH, period=INTRADAY) == "GateClosed"


def test_what_was_traded_in_a_session_that_is_void_is_no_position(twice):
    twice.trade(DAY_AHEAD, "paul", "carol", 100 * KWH)
    twice.go(DAY_AHEAD, "gate")
    twice.go(INTRADAY, "open")
    assert twice.market.gate(DAY_AHEAD).status == VOID
    assert twice.market.reserved() == 0
    assert twice.market.offer("carol", price=500_000, volume=1, period=INTRADAY) == "BeyondPosition"
    twice.trade(INTRADAY, "paul", "carol", 50 * KWH)
    twice.close(INTRADAY)
    twice.go(INTRADAY, "deadline")
    twice.deliver(carol=50 * KWH, paul=-50 * KWH)
    assert [twice.market.gate(number).status for number in (DAY_AHEAD, INTRADAY)] == [VOID, SETTLED]
    assert get_settlement(twice.market.state, PERIOD).grid == ()


# --- money ---------------------------------------------------------------------------------------


def tell_the_story(twice, **metered):
    """Carol buys 100 kWh of Paul, sells 30 of them to Chen, and Paul buys 20 back from Pia."""
    twice.trade(DAY_AHEAD, "paul", "carol", 100 * KWH, price=500_000)
    twice.close(DAY_AHEAD)
    twice.go(INTRADAY, "open")
    twice.trade(INTRADAY, "carol", "chen", 30 * KWH, price=550_000)
    twice.trade(INTRADAY, "pia", "paul", 20 * KWH, price=550_000)
    twice.close(INTRADAY)
    twice.go(INTRADAY, "deadline")
    return twice.deliver(**metered)


FORECAST = {"carol": 70 * KWH, "chen": 30 * KWH, "paul": -80 * KWH, "pia": -20 * KWH}


@pytest.mark.parametrize("options", [{}, SHARED], ids=["at once", "by shares"])
def test_who_forecasts_well_pays_the_sum_of_price_times_change_and_later_nothing(make_market, options):
    twice = Twice(make_market, **options)
    before = {name: twice.balance(name) for name in (*FORECAST, "grid")}
    events = tell_the_story(twice, **FORECAST)
    change = {name: twice.balance(name) - before[name] for name in before}
    carried = [100 * WHEELING, 30 * WHEELING, 20 * WHEELING]
    assert change == {
        "carol": -100 * 500_000 - carried[0] + 30 * 550_000,
        "chen": -30 * 550_000 - carried[1],
        "paul": 100 * 500_000 - 20 * 550_000 - carried[2],
        "pia": 20 * 550_000,
        "grid": sum(carried),
    }
    settled = get_settlement(twice.market.state, PERIOD)
    assert settled.grid == ()
    assert [row.traded_wh for row in settled.trades] == [100 * KWH, 30 * KWH, 20 * KWH]
    assert [row[0] for row in named(events, "settlement")] == [DAY_AHEAD, INTRADAY, INTRADAY]
    assert twice.market.reserved() == 0
    assert all(twice.market.account(name).credit_upt == 100_000_000 for name in FORECAST)
    assert [twice.market.gate(number).status for number in (DAY_AHEAD, INTRADAY)] == [SETTLED, SETTLED]


def test_what_a_meter_says_beyond_the_position_settles_with_the_grid_company(twice):
    before = {name: twice.balance(name) for name in FORECAST}
    tell_the_story(twice, carol=75 * KWH, chen=26 * KWH, paul=-70 * KWH, pia=-21 * KWH, rosa=3 * KWH)
    agreed = {
        "carol": -100 * 500_000 - 100 * WHEELING + 30 * 550_000,
        "chen": -30 * 550_000 - 30 * WHEELING,
        "paul": 100 * 500_000 - 20 * 550_000 - 20 * WHEELING,
        "pia": 20 * 550_000,
    }
    beyond = {"carol": -5 * RETAIL, "chen": 4 * FEED_IN, "paul": -10 * RETAIL, "pia": FEED_IN}
    assert {name: twice.balance(name) - before[name] for name in agreed} == {
        name: agreed[name] + beyond[name] for name in agreed
    }
    grid = {row.member: row[1:] for row in get_settlement(twice.market.state, PERIOD).grid}
    assert grid[address("carol")] == (5 * KWH, 0, 5 * RETAIL, 0)
    assert grid[address("chen")] == (0, 4 * KWH, 0, 4 * FEED_IN)
    assert grid[address("rosa")] == (3 * KWH, 0, 3 * RETAIL, 0)  # who has traded nothing
    scores = {name: twice.market.account(name).credit_upt for name in FORECAST}
    assert scores["carol"] == scores["pia"] == 100_000_000
    assert scores["paul"] == pytest.approx(87_500_000, abs=100_000)


def test_who_buys_and_sells_the_same_is_assessed_by_nothing(twice):
    rosa = twice.market.account("rosa").credit_upt
    twice.trade(DAY_AHEAD, "paul", "rosa", 100 * KWH)
    twice.close(DAY_AHEAD)
    twice.go(INTRADAY, "open")
    twice.trade(INTRADAY, "rosa", "carol", 100 * KWH)
    twice.close(INTRADAY)
    twice.go(INTRADAY, "deadline")
    twice.deliver(rosa=0, carol=100 * KWH, paul=-100 * KWH)
    assert twice.market.account("rosa").credit_upt == rosa
    assert twice.market.account("carol").credit_upt == 100_000_000


def test_a_silent_meter_is_imputed_and_a_late_one_settles_the_difference(make_market):
    """Of a net buyer its position, of a net seller nothing; neither has delivered."""
    late, prompt = (Twice(make_market, correction_ppm=3_000_000) for _ in range(2))
    tell_the_story(prompt, **FORECAST)
    events = tell_the_story(late, carol=70 * KWH, pia=-20 * KWH)
    assert named(events, "imputed") == [
        (PERIOD, *row) for row in sorted([(address("chen"), 30 * KWH, 0), (address("paul"), 0, 0)])
    ]
    grid = {row.member: row[1:] for row in get_settlement(late.market.state, PERIOD).grid}
    assert grid == {address("paul"): (80 * KWH, 0, 80 * RETAIL, 0)}
    assert late.market.account("chen").credit_upt == 0
    for name in ("chen", "paul"):
        wh = FORECAST[name]
        assert late.market.read(name, consumed=max(0, wh), produced=max(0, -wh), period=PERIOD) == ""
    late.market.go_on()
    accounts = ["grid", *FORECAST]
    assert [late.balance(name) for name in accounts] == [prompt.balance(name) for name in accounts]
    assert get_settlement(late.market.state, PERIOD).grid == ()
    assert [late.market.account(name).credit_upt for name in FORECAST] == [100_000_000] * 4
    view = Overlay(late.market.state)
    assert {row.member: row.metered_wh for row in get_balances(view, PERIOD)} == {
        address(name): wh for name, wh in FORECAST.items()
    }


def test_without_a_single_reading_both_sessions_lapse(twice):
    before = {name: twice.balance(name) for name in (*FORECAST, "grid")}
    tell_the_story(twice)
    assert {name: twice.balance(name) for name in before} == before
    assert twice.market.reserved() == 0
    assert [twice.market.gate(number).status for number in (DAY_AHEAD, INTRADAY)] == [LAPSED, LAPSED]


# --- the state -----------------------------------------------------------------------------------


def test_nothing_stays_of_a_period_that_is_long_over(make_market):
    twice = Twice(make_market, retained_periods=5)
    empty = Twice(make_market, retained_periods=5)
    tell_the_story(twice, **FORECAST)
    for market in (twice.market, empty.market):
        for period in range(PERIOD + 1, PERIOD + 7):
            market.go("delivery_end", period)
            assert market.read("rosa", consumed=1, period=period) == ""
            market.go("settle", period)
    keys = [{key for key, _ in item.market.state.items()} for item in (twice, empty)]
    assert keys[0] - {b"checkpoint/certified"} == keys[1]


def test_an_idle_chain_knows_when_something_is_due(twice):
    twice.trade(DAY_AHEAD, "paul", "carol", KWH)
    due = []
    for number, instant in [(DAY_AHEAD, "gate"), (DAY_AHEAD, "deadline"), (INTRADAY, "gate"), (INTRADAY, "settle")]:
        times = compute_gate_times(number, twice.market.params, twice.market.times(0).delivery_start_ms)
        found = find_next_due(Overlay(twice.market.state), twice.market._next_context())
        due.append((found, getattr(times, f"{instant}_ms")))
        if instant == "deadline":
            twice.market.certify()
            twice.go(INTRADAY, "open")
            twice.trade(INTRADAY, "carol", "chen", KWH)
        else:
            twice.go(number, instant)
            if instant == "gate" and number == INTRADAY:
                twice.market.certify()
    assert all(found == expected for found, expected in due), due


# --- properties ----------------------------------------------------------------------------------

MEMBERS = [bytes([number]) * 20 for number in range(6)]
TRADES = st.lists(
    st.tuples(st.sampled_from(MEMBERS), st.sampled_from(MEMBERS), st.integers(1, 10**6)).filter(
        lambda trade: trade[0] != trade[1]
    ),
    max_size=20,
)


@given(TRADES)
def test_pairs_of_net_positions_come_to_those_positions(trades):
    positions = net(trades)
    assert sum(positions.values()) == 0
    pairs = pair(positions)
    assert net(pairs) == {member: wh for member, wh in positions.items() if wh}
    assert len(pairs) < max(1, len(positions))
    assert not {buyer for buyer, _, _ in pairs} & {seller for _, seller, _ in pairs}


@given(TRADES, st.dictionaries(st.sampled_from(MEMBERS), st.integers(-(10**6), 10**6)))
def test_every_net_delivery_has_its_part_of_both_meters(trades, metered):
    positions = net(trades)
    deliveries = compute_deliveries(positions, metered)
    for member, position in positions.items():
        consumed = sum(item.consumption_wh for item in deliveries if item.buyer == member)
        made = sum(item.output_wh for item in deliveries if item.seller == member)
        assert consumed == (max(0, metered.get(member, 0)) if position > 0 else 0)
        assert made == (max(0, -metered.get(member, 0)) if position < 0 else 0)


ORDERS = st.lists(
    st.tuples(st.sampled_from(["carol", "chen", "paul", "pia", "rosa"]), st.integers(400, 620), st.integers(1, 90_000)),
    max_size=8,
)


@settings(max_examples=15, deadline=None)
@given(
    first=ORDERS,
    second=ORDERS,
    metered=st.dictionaries(
        st.sampled_from(["carol", "chen", "paul", "pia", "rosa"]), st.integers(0, 400_000), min_size=1
    ),
    are_perfect=st.booleans(),
    options=st.sampled_from([{}, SHARED]),
)
def test_positions_and_what_lies_beyond_them_sum_to_the_meter(
    make_market, first, second, metered, are_perfect, options
):
    """No money comes or goes, each member pays the sum of price times change, and who forecasts well nothing later."""
    twice = Twice(make_market, **options)
    market, everything = twice.market, twice.market.money()
    before = {name: twice.balance(name) for name in ("carol", "chen", "paul", "pia", "rosa")}
    for number, orders in ((DAY_AHEAD, first), (INTRADAY, second)):
        twice.go(number, "open")
        market.make_block(
            *((name, "intention", (side, number, price * 1_000, wh)) for name, price, wh in orders for side in (0, 1))
        )
        if not orders:
            continue
        twice.go(number, "gate")
        for _ in range(40):
            market.certify()
        twice.go(number, "deadline")
    bound = [
        (number, trade)
        for number in (DAY_AHEAD, INTRADAY)
        if (gate := market.gate(number)) is not None and gate.status in (CERTIFIED, ACCEPTED)
        for trade in get_trades(market.state, number)
    ]
    positions = net((trade.buyer, trade.seller, trade.volume_wh) for _, trade in bound)
    meters = {name: wh if name[0] == "c" else -wh for name, wh in metered.items()}
    if are_perfect:
        meters = {name: positions.get(address(name), 0) for name in before}
    twice.deliver(**meters)
    settled = get_settlement(market.state, PERIOD)
    grid = {row.member: row for row in settled.grid}
    assert market.money() == everything
    assert market.reserved() == 0
    for name in before:
        member = address(name)
        row, position = grid.get(member), positions.get(member, 0)
        beyond = 0 if row is None else row.consumption_wh - row.output_wh
        assert position + beyond == meters.get(name, max(0, position))
        cost = sum(
            (trade.price_uyuan_per_kwh + WHEELING) * trade.volume_wh * (trade.buyer == member)
            - trade.price_uyuan_per_kwh * trade.volume_wh * (trade.seller == member)
            for _, trade in bound
        )
        later = 0 if row is None else row.pays_uyuan - row.receives_uyuan
        assert before[name] - twice.balance(name) - later == pytest.approx(cost / 1_000, abs=len(bound) + 1)
        assert (later == 0) == (beyond == 0)
    if are_perfect:
        assert grid == {}
