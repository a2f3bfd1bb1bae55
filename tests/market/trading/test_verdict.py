"""The scheduling chain's verdict on a trade list: what binds, what is cut, and what buyers still keep aside."""

import pytest

from market.trading.gates import ACCEPTED, CERTIFIED, NO_CERTIFICATE, NO_VERDICT, OPEN, VOID
from market.trading.trades import Curtailment, TradeRecord
from market.trading.views import get_binding_trades, get_curtailments, get_gate, get_trades, prove_trade

PERIOD = 10
KWH = 1_000
SCHEDULING = frozenset({"scheduling"})
PRICE, WHEELING = 500_000, 20_000
VOLUMES = (10, 20, 30)  # kWh, of carol's trades with paul


@pytest.fixture
def scheduled(make_market):
    return make_market(siblings=SCHEDULING)


@pytest.fixture
def closed(scheduled):
    """A market beside a scheduling chain whose gate has closed over three trades."""
    assert scheduled.quota() == ""
    for volume in VOLUMES:
        assert scheduled.bid("carol", price=PRICE, volume=volume * KWH) == ""
        assert scheduled.offer("paul", price=PRICE, volume=volume * KWH) == ""
    scheduled.go("gate")
    return scheduled


def cost_of(*volumes):
    return sum(volumes) * (PRICE + WHEELING)


# --- the result ----------------------------------------------------------------------------------


def test_the_scheduling_chain_hears_the_trades_with_the_gate(closed):
    trades = get_trades(closed.state, PERIOD)
    assert [trade.volume_wh for trade in trades] == [volume * KWH for volume in VOLUMES]
    assert closed.posted("result") == [trade.terms for trade in trades]


def test_a_gate_without_a_trade_is_a_result_too(scheduled):
    scheduled.quota()
    scheduled.bid("carol", price=PRICE, volume=KWH)
    scheduled.go("gate")
    assert scheduled.posted("result") == []
    assert scheduled.verdict() == ""
    assert scheduled.gate().status == ACCEPTED


def test_the_grid_is_told_the_trade_and_not_what_made_it(make_market):
    market = make_market(siblings=SCHEDULING, clearing_rule="credit-weighted")
    market.quota()
    market.bid("carol", price=PRICE, volume=KWH)
    market.offer("paul", price=PRICE, volume=KWH)
    market.go("gate")
    [trade] = get_trades(market.state, PERIOD)
    assert market.posted("result") == [trade.terms]
    assert len(trade.to_value()) == 7


def test_a_chain_that_trades_alone_tells_nobody(market):
    market.bid("carol", price=PRICE, volume=KWH)
    market.offer("paul", price=PRICE, volume=KWH)
    market.go("gate")
    assert market.posted("result") is None


# --- acceptance ----------------------------------------------------------------------------------


def test_trades_without_a_row_are_accepted_whole(closed):
    closed.certify()
    assert closed.gate().status == CERTIFIED
    assert closed.verdict() == ""
    assert closed.relayed == (("accepted", PERIOD, 0, 60 * KWH),)
    assert closed.gate().status == ACCEPTED
    assert get_binding_trades(closed.state, PERIOD) == get_trades(closed.state, PERIOD)
    assert get_curtailments(closed.state, PERIOD) == []
    assert closed.reserved() == cost_of(*VOLUMES)
    assert closed.go("deadline") == ()


def test_a_verdict_implies_the_certificate(closed):
    assert closed.gate().status == OPEN
    assert closed.verdict() == ""
    closed.certify()
    assert closed.gate().status == ACCEPTED
    assert get_gate(closed.state, PERIOD) == closed.gate()


def test_a_cut_trade_binds_at_what_is_accepted_and_keeps_its_index_and_its_proof(closed):
    root, trades = closed.gate().result_root, get_trades(closed.state, PERIOD)
    balance = closed.account("carol").balance_uyuan
    assert closed.verdict((2, 12 * KWH, "feeder-1"), (0, 0, "trunk")) == ""
    carol, paul = closed.address("carol"), closed.address("paul")
    assert [trade._replace(match=None) for trade in get_binding_trades(closed.state, PERIOD)] == [
        TradeRecord(PERIOD, 1, carol, paul, PRICE, 20 * KWH),
        TradeRecord(PERIOD, 2, carol, paul, PRICE, 12 * KWH),
    ]
    assert get_curtailments(closed.state, PERIOD) == [Curtailment(0, 0, "trunk"), Curtailment(2, 12 * KWH, "feeder-1")]
    assert closed.relayed == (
        ("accepted", PERIOD, 2, 32 * KWH),
        ("curtailed", PERIOD, 0, 0, "trunk"),
        ("curtailed", PERIOD, 2, 12 * KWH, "feeder-1"),
    )
    assert closed.reserved() == cost_of(20, 12)
    assert closed.account("carol").balance_uyuan == balance + cost_of(*VOLUMES) - cost_of(20, 12)
    assert (get_trades(closed.state, PERIOD), closed.gate().result_root) == (trades, root)
    assert prove_trade(closed.state, closed.params.market, PERIOD, 0)[2] == 3


def test_a_verdict_counts_once_its_last_part_has_come_whichever_that_is(closed):
    assert closed.relay("verdict", (2, 0, "trunk"), part=1, parts=2) == ""
    assert closed.relayed == ()
    assert closed.gate().status == OPEN
    assert closed.reserved() == cost_of(*VOLUMES)
    assert closed.relay("verdict", (0, KWH, "trunk"), part=0, parts=2) == ""
    assert closed.gate().status == ACCEPTED
    assert [item.trade_index for item in get_curtailments(closed.state, PERIOD)] == [0, 2]
    assert not any(key.startswith(b"market/part") for key, _ in closed.state.items())


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ((0, 1), "WrongShape"),
        ((0, 1, "trunk", 1), "WrongShape"),
        (0, "WrongShape"),
        ((-1, 1, "trunk"), "WrongShape"),
        ((0, -1, "trunk"), "WrongShape"),
        ((0, 1, b"trunk"), "WrongShape"),
        ((0, 1, "t" * 33), "TooLarge"),
        ((1, 5, "trunk"), "WrongShape"),  # twice in one message
        ((3, 0, "trunk"), "UnexpectedRelay"),  # there are three trades
        ((0, 10 * KWH, "trunk"), "UnexpectedRelay"),  # not cut at all
        ((0, 10 * KWH + 1, "trunk"), "UnexpectedRelay"),
    ],
)
def test_a_verdict_that_does_not_fit_is_refused_and_a_good_one_can_follow(closed, row, code):
    assert closed.verdict((1, 0, "trunk"), row) == code
    assert closed.gate().status == OPEN
    assert closed.reserved() == cost_of(*VOLUMES)
    assert closed.verdict((1, 0, "trunk")) == ""


def test_a_trade_is_in_one_part_of_a_verdict_only(closed):
    closed.relay("verdict", (1, 0, "trunk"), part=0, parts=2)
    assert closed.relay("verdict", (1, 5, "trunk"), part=1, parts=2) == "WrongShape"
    assert closed.relay("verdict", (2, 5, "trunk"), part=1, parts=2) == ""


def test_a_verdict_comes_after_the_gate(scheduled):
    scheduled.quota()
    scheduled.bid("carol", price=PRICE, volume=KWH)
    assert scheduled.verdict() == "UnexpectedRelay"
    assert scheduled.verdict(number=PERIOD + 1) == "UnexpectedRelay"


def test_a_verdict_comes_before_the_deadline_and_not_with_it(closed):
    closed.now_ms = closed.times().deadline_ms
    assert closed.verdict() == "RelayTooLate"
    assert closed.gate().status == VOID


def test_at_the_last_millisecond_a_verdict_still_counts(closed):
    closed.now_ms = closed.times().deadline_ms - 1
    assert closed.verdict() == ""
    assert closed.gate().status == ACCEPTED


def test_a_block_dated_back_does_not_revive_a_void_period(closed):
    closed.go("deadline")
    closed.now_ms -= 1
    assert closed.verdict() == "UnexpectedRelay"
    assert closed.gate().status == VOID


def test_a_verdict_replayed_or_given_twice_is_refused(closed):
    assert closed.verdict((0, 0, "trunk")) == ""
    assert closed.verdict((0, 0, "trunk")) == "AlreadyRelayed"
    assert closed.relay("verdict", (1, 0, "trunk"), chain="another") == "UnexpectedRelay"
    assert get_curtailments(closed.state, PERIOD) == [Curtailment(0, 0, "trunk")]


# --- void ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_certified", [False, True])
def test_without_a_verdict_a_certificate_alone_does_not_bind(closed, is_certified):
    if is_certified:
        closed.certify()
    assert closed.reserved() == cost_of(*VOLUMES)
    assert closed.go("deadline") == (("void", PERIOD, NO_VERDICT if is_certified else NO_CERTIFICATE),)
    assert closed.gate().status == VOID
    assert closed.reserved() == 0


def test_half_a_verdict_is_none(closed):
    closed.relay("verdict", (0, 0, "trunk"), part=0, parts=2)
    assert closed.go("deadline") == (("void", PERIOD, NO_CERTIFICATE),)
    assert closed.reserved() == 0
    assert get_curtailments(closed.state, PERIOD) == []
    assert not any(key.startswith(b"market/part") for key, _ in closed.state.items())
