"""Periods whose trades came to nothing: every command that shows them says why, and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridmerit.commands.market_tables import render_book, render_settlement, render_trades, tell_failure
from gridmerit.commands.net_tables import render_failures
from gridmerit.network.layout import NodeEntry
from gridmerit.network.processes import NodeState
from gridmerit.players.round_the_clock import _describe_settlement
from market.orders import Side
from market.trading.gates import NO_COUNTERSIGNATURE, NO_VERDICT, REASONS, UNMETERED
from node.queries.answers import NodeStatus
from node.queries.chain import ChainQueries
from node.queries.period_failures import describe_failure

PERIOD = 4
NO_VOTE = "its gate block was not certified by the deadline: no vote of dispatch-1 was heard"
TRY = "try: gridmerit net status DIR: who signs must run and be connected before the next gate"


@pytest.fixture
def voided(make_world):
    """Two nodes; the second votes no more once orders for period 4 are in, and the period's deadline passes."""
    world = make_world(2)
    world.told = []
    world.on_publish.append(world.told.append)
    world.run_until(PERIOD - 3)
    world.order("pv-101", Side.OFFER, price=500_000, volume=1_000)
    world.order("homes-2", Side.BID, price=500_000, volume=1_000)
    world.make_block()
    world.silence("dispatch-1")
    world.run_until(PERIOD)
    return world


def test_a_void_period_says_whose_votes_were_missing(voided):
    queries = ChainQueries(voided.node)
    gate = queries.get_trades(PERIOD).gate
    assert (gate.status, gate.reason, gate.missing) == ("void", "no-certificate", ("dispatch-1",))
    assert (gate.detail, f"try: {gate.remedy}") == (NO_VOTE, TRY)
    [entry] = [entry for entry in queries.get_periods(voided.now_ms).periods if entry.period == PERIOD]
    assert entry.gate == gate
    [failed] = queries.get_status(voided.now_ms).failed_periods
    assert (failed.period, failed.gate) == (PERIOD, gate)
    assert [event for event in voided.told if event[0] in ("void", "votes-missing")] == [
        ("void", PERIOD, "no-certificate"),
        ("votes-missing", PERIOD, ("dispatch-1",)),
    ]


def test_every_table_of_the_market_says_why_a_period_is_void(voided):
    queries = ChainQueries(voided.node)
    periods, why = queries.get_periods(voided.now_ms), f"is void: {NO_VOTE}\n  {TRY}"
    assert f"period 4 {why}" in render_book(periods, queries.get_book(PERIOD))
    assert render_trades(queries.get_trades(PERIOD)).splitlines()[1:3] == f"it {why}".splitlines()
    voided.run_until(PERIOD + 3)
    settlement = queries.get_settlement(PERIOD)
    assert render_settlement(settlement).splitlines()[1:3] == f"it {why}".splitlines()
    assert _describe_settlement(settlement) == f"no trade settled, the period is void: {NO_VOTE}; {TRY}"


def test_a_network_s_status_tells_a_failed_period_once_by_the_node_that_knows_whose_votes(voided):
    status = ChainQueries(voided.node).get_status(voided.now_ms)
    [failed] = status.failed_periods
    other = replace(status, failed_periods=(replace(failed, gate=replace(failed.gate, missing=(), detail="…")),))
    states = [state_of(chain) for chain in (other, status, other)]
    assert render_failures(states) == [f"\nperiod 4 of jy1 is void: {NO_VOTE}\n  {TRY}"]


def state_of(chain) -> NodeState:
    entry = NodeEntry(name="n", directory="nodes/n", key="", peer_url="", api_url="")
    status = NodeStatus(
        version="", member=None, address=None, uptime_ms=0, chains=(chain,), peers=(), sealing={}
    )  # fmt: skip
    return NodeState(entry=entry, pid=1, status=status)


def test_a_period_leaves_the_status_after_a_while(voided):
    queries = ChainQueries(voided.node)
    voided.run_until(PERIOD + 6)
    assert [failed.period for failed in queries.get_status(voided.now_ms).failed_periods] == [PERIOD]
    voided.run_until(PERIOD + 9)
    assert queries.get_status(voided.now_ms).failed_periods == ()


def test_a_period_without_readings_says_so(make_world):
    world = make_world(1)
    world.run_until(PERIOD - 3)
    world.order("pv-101", Side.OFFER, price=500_000, volume=1_000)
    world.order("homes-2", Side.BID, price=500_000, volume=1_000)
    world.run_until(PERIOD + 2, 300_000)
    gate = ChainQueries(world.node).get_settlement(PERIOD).gate
    assert (gate.status, gate.reason, gate.missing) == ("lapsed", UNMETERED, ())
    assert gate.detail == "not one meter was read: nobody pays, nobody is scored"
    assert [failed.period for failed in ChainQueries(world.node).get_status(world.now_ms).failed_periods] == [PERIOD]


def test_a_period_that_is_settled_is_no_failure(make_world):
    world = make_world(1)
    world.run_until(PERIOD - 3)
    world.order("pv-101", Side.OFFER, price=500_000, volume=1_000)
    world.order("homes-2", Side.BID, price=500_000, volume=1_000)
    world.run_until(PERIOD + 1)
    world.send("meter-homes-2", "reading", PERIOD, 1_000, 0)
    world.run_until(PERIOD + 2, 300_000)
    gate = ChainQueries(world.node).get_settlement(PERIOD).gate
    assert (gate.status, gate.reason, gate.detail, gate.remedy) == ("settled", "", "", "")
    assert tell_failure(gate) == tell_failure(None) == ""
    assert ChainQueries(world.node).get_status(world.now_ms).failed_periods == ()


def test_every_reason_has_words_and_a_remedy():
    said = {reason: describe_failure(7, reason) for reason in REASONS}
    assert len({failure.detail for failure in said.values()}) == len(REASONS)
    assert all("gridmerit " in failure.remedy and "{" not in "".join(failure) for failure in said.values())
    assert "verdict" in said[NO_VERDICT].detail
    assert said[NO_VERDICT].remedy.startswith("gridmerit grid 7")
    assert "gridmerit authority countersign" in said[NO_COUNTERSIGNATURE].remedy
    assert describe_failure(7, "") == ("", "")
