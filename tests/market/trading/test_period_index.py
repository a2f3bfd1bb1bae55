"""Periods that are over, on the trading chain: it keeps the latest of them, and nothing of those before."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ledger.overlay import Overlay
from ledger.params import MarketParams
from ledger.state import State
from market.trading.period_index import add_live_period, close_period, get_live_periods, is_closed
from market.trading.views import get_curtailments, get_gate, get_quota, get_settlement, get_trades, live_periods

KWH = 1_000
RETAINED = 3
FIRST = 10
SCHEDULING = frozenset({"scheduling"})


def run_period(market, period):
    """A period from its orders to its end: traded, without a match, without orders, and never metered, by turns."""
    market.go("open", period)
    if market.siblings:
        assert market.quota(number=period) == ""
    if period % 4 != 2:
        assert market.bid("carol", price=500_000, volume=KWH, period=period) == ""
    if period % 4 in (0, 3):
        assert market.offer("paul", price=500_000, volume=KWH, period=period) == ""
    market.go("gate", period)
    if market.siblings and market.gate(period) is not None:
        rows = [(0, KWH // 2, "feeder-1")] if get_trades(market.state, period) else []
        assert market.verdict(*rows, number=period) == ""
    else:
        market.certify()
    market.go("delivery_end", period)
    if period % 4 != 3:
        if market.siblings:
            assert market.metered(("carol", KWH, 0), number=period) == ""
        else:
            assert market.read("carol", consumed=KWH, period=period) == ""
    market.go("settle", period)
    assert live_periods(market.state) == ()


def count_records(market):
    """The market's own state values and the gate records."""
    return sum(key.startswith((b"market/", b"g/")) for key, _ in market.state.items())


@pytest.mark.parametrize("siblings", [frozenset(), SCHEDULING])
def test_the_records_of_so_many_periods_stay_and_no_more(make_market, siblings):
    market = make_market(siblings=siblings, retained_periods=RETAINED)
    sizes = []
    last = FIRST + 15
    for period in range(FIRST, last + 1):
        run_period(market, period)
        sizes.append(count_records(market))
    assert sizes[-8:-4] == sizes[-4:] == sizes[4:8]  # the same four kinds of period over and over
    for period in range(FIRST, last - RETAINED + 1):
        assert get_gate(market.state, period) is None
        assert get_settlement(market.state, period) is None
        assert get_quota(market.state, period) is None
        assert get_trades(market.state, period) == get_curtailments(market.state, period) == []
    kept = range(last - RETAINED + 1, last + 1)
    assert {period for period in kept if get_settlement(market.state, period)} >= {p for p in kept if p % 4 != 2}
    assert any(get_trades(market.state, period) for period in kept)
    if siblings:
        assert all(get_quota(market.state, period) for period in kept)
        assert any(get_curtailments(market.state, period) for period in kept)


def test_a_forgotten_period_is_over_for_good(make_market):
    market = make_market(retained_periods=2)
    for period in range(FIRST, FIRST + 3):
        market.go("delivery_end", period)
        assert market.read("carol", consumed=KWH, period=period) == ""
        market.go("settle", period)
    assert get_settlement(market.state, FIRST) is None
    market.now_ms = market.times(FIRST).delivery_end_ms
    assert market.read("paul", produced=KWH, period=FIRST) == "ReadingTooLate"
    assert live_periods(market.state) == ()


def test_a_period_in_hand_is_not_forgotten_for_those_after_it():
    with pytest.raises(ValidationError, match="retained_periods must reach back as far as settle_ppm"):
        MarketParams(retained_periods=2, settle_ppm=2_000_001)  # the next period may be over before this one is
    assert MarketParams(retained_periods=3, settle_ppm=2_000_001).retained_periods == 3
    assert MarketParams(retained_periods=2, settle_ppm=2_000_000).retained_periods == 2
    assert MarketParams().retained_periods == 168


def test_the_index_knows_what_is_live_and_what_is_over():
    view = Overlay(State.empty())
    for period in (7, 5, 6, 5):
        add_live_period(view, period)
    assert get_live_periods(view) == (5, 6, 7)
    assert close_period(view, 6, retained=2) == ()
    assert close_period(view, 5, retained=2) == ()
    assert get_live_periods(view) == (7,)
    assert [is_closed(view, period, retained=2) for period in (4, 5, 6, 7)] == [True, True, True, False]
    assert close_period(view, 7, retained=2) == (5,)
    assert [is_closed(view, period, retained=2) for period in (5, 6, 7, 8)] == [True, True, True, False]
    assert get_live_periods(view) == ()
