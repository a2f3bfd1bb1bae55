"""Step 3 of credit matching (text 000, §4.2): intentions within 0.1 Δt of having stored what they go by."""

import pytest

from ledger.genesis import Genesis, GenesisMember
from ledger.params import Area, ChainParams, Line, SchedulingParams
from market.trading.times import compute_orders_end
from market.trading.views import get_book, get_completion, get_orders_end

GENESIS_MS = 1_700_000_000_000
PERIOD = 10
KWH = 1_000
TENTH_MS = 100  # of a period of 1 s


@pytest.fixture
def paper(make_market):
    """A market that trades alone, with the window of the paper set."""
    return make_market(intention_ppm=100_000)


@pytest.fixture
def beside(make_market):
    """The same beside a scheduling chain."""
    return make_market(siblings=frozenset({"scheduling"}), intention_ppm=100_000)


def genesis_of(market):
    grid = GenesisMember(name="grid", role="grid-operator", key=bytes(32), seals=True)
    area, line = Area(name="hills", wheeling_uyuan_per_kwh=0), Line(name="feeder-1", area="hills", capacity_wh=1)
    scheduling = ChainParams(
        name="DU1",
        kind="scheduling",
        ledger=market.params.ledger,
        scheduling=SchedulingParams(areas=(area,), lines=(line,)),
    )
    siblings = (scheduling,) if market.siblings else ()
    return Genesis(params=market.params, time_ms=GENESIS_MS, members=(grid,), siblings=siblings)


def bid(market, at_ms):
    market.now_ms = at_ms
    return market.bid("carol", price=500_000, volume=KWH)


def test_alone_the_opening_is_what_all_know_and_orders_are_taken_for_a_tenth_of_a_period(paper):
    open_ms = paper.times().open_ms
    assert bid(paper, open_ms - 1) == "MarketNotOpen"
    assert bid(paper, open_ms) == ""
    assert bid(paper, open_ms + TENTH_MS - 1) == ""
    assert get_orders_end(paper.state, PERIOD, genesis_of(paper)) == open_ms + TENTH_MS
    assert bid(paper, open_ms + TENTH_MS) == "IntentionTooLate"
    assert bid(paper, paper.times().gate_ms - 1) == "IntentionTooLate"
    assert bid(paper, paper.times().gate_ms) == "GateClosed"


def test_quotas_that_come_after_the_opening_begin_the_tenth(beside):
    beside.now_ms = stored_ms = beside.times().open_ms + 300
    assert beside.quota() == ""
    assert bid(beside, stored_ms + TENTH_MS - 1) == ""
    assert bid(beside, stored_ms + TENTH_MS) == "IntentionTooLate"
    assert get_completion(beside.state, PERIOD) == stored_ms
    assert get_orders_end(beside.state, PERIOD, genesis_of(beside)) == stored_ms + TENTH_MS
    assert get_orders_end(beside.state, PERIOD + 1, genesis_of(beside)) == beside.times(PERIOD + 1).gate_ms, "not known"


def test_it_is_the_last_part_of_the_quotas_that_counts(beside):
    beside.now_ms = beside.times().open_ms + 300
    row = ("feeder-1", 10**9, 10**9, 20_000)
    assert beside.relay("quota", ("another", 1, 1, 1), part=1, parts=2) == ""
    beside.now_ms += 200
    assert beside.relay("quota", row, part=0, parts=2) == ""
    assert bid(beside, beside.times().open_ms + 500 + TENTH_MS - 1) == ""


def test_quotas_that_are_there_before_the_opening_leave_the_whole_tenth(beside):
    beside.now_ms = beside.times().open_ms - 500
    assert beside.quota() == ""
    assert bid(beside, beside.times().open_ms + TENTH_MS - 1) == ""
    assert bid(beside, beside.times().open_ms + TENTH_MS) == "IntentionTooLate"


def test_the_gate_ends_a_window_that_would_last_longer(beside):
    beside.now_ms = beside.times().gate_ms - 50
    assert beside.quota() == ""
    assert compute_orders_end(beside.times(), beside.params, beside.now_ms) == beside.times().gate_ms
    assert bid(beside, beside.times().gate_ms - 1) == ""
    assert bid(beside, beside.times().gate_ms) == "GateClosed"


def test_an_order_may_be_taken_back_until_the_gate(paper):
    assert bid(paper, paper.times().open_ms) == ""
    paper.now_ms = paper.times().gate_ms - 1
    assert paper.cancel("carol", 0) == ""
    assert get_book(paper.state, PERIOD) == []


def test_without_the_parameter_orders_are_taken_until_the_gate(market):
    assert bid(market, market.times().gate_ms - 1) == ""
