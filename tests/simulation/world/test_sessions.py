"""A period that is traded day-ahead and intraday on three chains in virtual time, and what befalls machines between."""

from __future__ import annotations

import pytest

from gridmerit.commands.bills import make_bill, render_bill
from gridmerit.commands.market_tables import render_positions, render_settlement
from gridmerit.demo.recompute import list_deliveries
from ledger.hashing import show_address
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.credit.contract import get_digest
from market.credit.violations import Kind, get_report
from market.scheduling import views as scheduling_views
from market.trading.gates import ACCEPTED, SETTLED, get_gate
from market.trading.views import get_positions, get_settlement
from node.queries.answers import PositionsInfo, SettlementInfo, from_json, to_json
from node.queries.chain import OF_A_GATE, ChainQueries, describe_event
from simulation.world.networks import INITIAL_BALANCE_UYUAN, make_network
from simulation.world.world import open_worlds

from .test_three_chains import NAMES, PBFT, PERIOD_MS, PLAN, RESTING, SCHEDULING, Market

PERIOD = 6
DAY_AHEAD, INTRADAY = 12, 13  # the numbers of its gates
KWH = 1_000
MARKET = MarketParams(
    open_ppm=5_000_000,
    gate_ppm=4_000_000,
    intraday_open_ppm=2_500_000,
    intraday_gate_ppm=1_500_000,
    deadline_ppm=0,
    settle_ppm=3_000_000,
    income_and_cost="kept",
)
GRID = SCHEDULING.model_copy(update={"quota_ppm": 5_500_000, "intraday_quota_ppm": 3_000_000})
METERED_KWH = {"n0": -150, "n2": 115, "n3": 40}
SOME_METERED_KWH = {"n0": -150, "n2": 220}
# n2 buys 150 kWh of n0 at 0.53, sells 40 of them to n3 at 0.53, and takes 5 more than its 110; wheeling is 0.025 for
# n2, 0.02 for n3.
CHANGES_UYUAN = {
    "n0": 150 * 530_000,
    "n1": 0,
    "n2": -150 * 555_000 + 40 * 530_000 - 5 * 615_000,
    "n3": -40 * 550_000,
}


class Twice(Market):
    """Day-ahead n0 sells to n2, intraday n2 sells a part of it on to n3."""

    metered_kwh = METERED_KWH

    def __post_init__(self):
        self.network = make_network(scheduling=GRID, market=self.market, period_ms=PERIOD_MS, consensus=self.consensus)
        self.worlds = open_worlds(self.network.genesis, self.network.keys, seed=self.seed, sealing=self.sealing)
        self.jy1, self.du1, self.lh1 = (self.worlds[name] for name in ("JY1", "DU1", "LH1"))

    def act(self, period):
        now, keys = self.elapsed_ppm(period), self.network.keys
        if now < -5_500_000:
            self.once(self.du1, self.network.dispatcher, "plan", period, PLAN)
        if -5_000_000 <= now < -4_000_000:
            self.once(self.jy1, keys["n0"], "intention", 1, 2 * period, 500_000, 200 * KWH)
            self.once(self.jy1, keys["n2"], "intention", 0, 2 * period, 560_000, 150 * KWH)
        if -2_500_000 <= now < -1_500_000:
            self.once(self.jy1, keys["n2"], "intention", 1, 2 * period + 1, 500_000, 40 * KWH)
            self.once(self.jy1, keys["n3"], "intention", 0, 2 * period + 1, 560_000, 40 * KWH)
        if 1_000_000 <= now < 1_500_000:
            for name, kwh in self.metered_kwh.items():
                reading = period, max(0, kwh) * KWH, max(0, -kwh) * KWH
                self.once(self.du1, self.network.devices[name], "reading", *reading)

    def statuses(self, name="n3"):
        view = Overlay(self.state(self.jy1, name))
        return [None if (gate := get_gate(view, number)) is None else gate.status for number in (DAY_AHEAD, INTRADAY)]

    def changes_uyuan(self):
        return {name: self.account(self.jy1, name).balance_uyuan - INITIAL_BALANCE_UYUAN for name in NAMES}


@pytest.fixture
def make_twice():
    return lambda **options: Twice(first=PERIOD, last=PERIOD, market=MARKET, sealing="drawn", **options)


@pytest.mark.parametrize("consensus", [None, RESTING], ids=["poca", "pbft"])
def test_a_period_is_traded_twice_and_settled_once_on_three_chains(make_twice, consensus):
    market = make_twice(consensus=consensus)
    market.run_until(PERIOD, -2_600_000)
    assert market.statuses() == [ACCEPTED, None]
    left = {line.line: line.demand_wh for line in scheduling_views.get_quotas(market.state(market.du1), INTRADAY)}
    assert left == {"a": 500 * KWH, "b": 0, "c": 250 * KWH}
    market.run_until(PERIOD, 0)
    assert market.statuses() == [ACCEPTED, ACCEPTED]
    state = market.state(market.jy1)
    addresses = {name: market.network.keys[name].address for name in NAMES}
    assert {
        number: {name: own.net_wh // KWH for name in NAMES if (own := positions.get(addresses[name])) is not None}
        for number, positions in get_positions(state, MARKET, PERIOD).items()
    } == {DAY_AHEAD: {"n0": -150, "n2": 150}, INTRADAY: {"n2": -40, "n3": 40}}

    market.run_until(PERIOD, 3_500_000)
    assert market.statuses() == [SETTLED, SETTLED]
    assert market.changes_uyuan() == CHANGES_UYUAN
    market.check_money()
    beyond = [(row.member, row.consumption_wh, row.output_wh) for row in get_settlement(state_of(market), PERIOD).grid]
    assert beyond == [(addresses["n2"], 5 * KWH, 0)]
    told = ChainQueries(market.jy1.node("n3")).positions.get_positions(PERIOD)
    assert [(row.member_name, row.session, row.bought_wh // KWH, row.sold_wh // KWH) for row in told.positions] == [
        ("n0", "day-ahead", 0, 150),
        ("n2", "day-ahead", 150, 0),
        ("n2", "intraday", 0, 40),
        ("n2", "real-time", 5, 0),
        ("n3", "intraday", 40, 0),
    ]
    for name in ("n0", "n2", "n3"):
        own = [row.receives_uyuan - row.pays_uyuan for row in told.positions if row.member_name == name]
        assert sum(own) == CHANGES_UYUAN[name]
    assert from_json(PositionsInfo, to_json(told)) == told
    check_events(market)
    check_bills(market)
    (in_all,) = [line for line in render_positions(told).splitlines() if line.startswith("n2") and "in all" in line]
    assert in_all.split()[3:5] == ["115.000", "0.000"], "as metered"

    # LH1 has scored what is left of both sessions: n0 delivers 110 kWh to n2 and 40 to n3; DU1 recorded the same.
    credits = {name: market.account(market.lh1, name).credit_upt for name in NAMES}
    assert credits == {"n0": 100_000_000, "n1": 90_000_000, "n2": 100_000_000, "n3": 100_000_000}
    actuals = scheduling_views.get_actuals(market.state(market.du1), PERIOD)
    assert sorted((row.buyer, row.seller, row.agreed_wh) for row in actuals) == sorted(
        (addresses[name], addresses["n0"], kwh * KWH) for name, kwh in (("n2", 110), ("n3", 40))
    )
    lh1 = market.state(market.lh1)
    for source, kind, number in (
        *(("DU1", "power", number) for number in (DAY_AHEAD, INTRADAY)),
        ("DU1", "actual", PERIOD),
        ("JY1", "delivered", PERIOD),
    ):
        digest = get_digest(lh1, source, kind, number)
        assert market.worlds[source].node("n3").chain.hash_at(digest.height) == digest.block_hash
    assert market.faults() == []


def check_events(market):
    """Check that a gate's events name its period and session: no reader has to know the gate's number."""
    for world in market.worlds.values():
        chain = world.node("n3").params.market
        told = [describe_event(event, chain) for event in world.peers["n3"].published]
        assert max(event["period"] for event in told if "period" in event) < DAY_AHEAD
        assert all(("session" in event) == (event["event"] in OF_A_GATE) for event in told)
    sold = [describe_event(event, chain) for event in market.jy1.peers["n3"].published if event[0] == "trade"]
    assert [(event["period"], event["session"], event["index"]) for event in sold] == [
        (PERIOD, "day-ahead", 0),
        (PERIOD, "intraday", 0),
    ]
    assert list(sold[0])[:3] == ["event", "period", "session"]


def check_bills(market):
    """Each line of a bill has its session, and all together are the account's columns."""
    ask = ChainQueries(market.jy1.node("n3"))
    settlement = from_json(SettlementInfo, to_json(ask.get_settlement(PERIOD)))
    bills = {}
    for name in (*NAMES, "grid"):
        account = ask.get_account(name)
        bill = bills[name] = make_bill(settlement, name, account.address, is_operator=name == "grid")
        assert (bill.income_uyuan, bill.cost_uyuan) == (account.income_uyuan, account.cost_uyuan)
    assert [(line.session, line.what, line.partner, line.trade) for line in bills["n2"].lines] == [
        ("day-ahead", "bought", "n0", 0),
        ("intraday", "sold", "n3", 0),
        ("real-time", "bought", "(grid)", None),
    ]
    rows = [line.split() for line in render_bill(bills["n2"]).splitlines()[2:]]
    assert rows[0] == ["session", "with", "trade", "kWh", "income", "cost"]
    assert [row[0] for row in rows[2:]] == ["day-ahead", "intraday", "real-time", "in"]
    assert "real-time" in render_settlement(settlement)


class Silent(Twice):
    """The same, but n2 uses twice of what it is left with, and n3's meter is not heard."""

    metered_kwh = SOME_METERED_KWH


def test_what_is_done_otherwise_than_agreed_is_reported_of_what_is_left_of_both_sessions():
    terms = {"income_and_cost": "kept", "recorded_violations": 16, "tolerance_ppm": 100_000}
    market = Silent(first=PERIOD, last=PERIOD, market=MARKET.model_copy(update=terms), sealing="drawn")
    market.run_until(PERIOD, 3_500_000)
    market.check_money()
    lh1, found = Overlay(market.state(market.lh1)), {}
    for name in NAMES:
        counts = get_report(lh1, market.network.keys[name].address).counts
        found[name] = {kind: count for kind, count in zip(Kind, counts, strict=True) if count}
    assert found == {"n0": {}, "n1": {}, "n2": {Kind.OVER_DELIVERY: 1}, "n3": {Kind.MISSING_READING: 1}}
    settlement = ChainQueries(market.jy1.node("n3")).get_settlement(PERIOD)
    names = {show_address(market.network.keys[name].address): name for name in NAMES}
    assert [names[address] for address in settlement.unheard] == ["n3"]
    deliveries = list_deliveries(from_json(SettlementInfo, to_json(settlement)), {})
    assert {names[item.buyer]: item[2:] for item in deliveries} == {
        "n2": (110 * KWH, 220 * KWH, 110 * KWH),
        "n3": (40 * KWH, 0, 40 * KWH),
    }, "as LH1 scores them"
    actuals = scheduling_views.get_actuals(market.state(market.du1), PERIOD)
    assert [(show_address(row.buyer), show_address(row.seller), *row[4:]) for row in actuals] == deliveries
    accounts = {name: market.account(market.jy1, name) for name in NAMES}
    assert {name: own.income_uyuan - own.cost_uyuan for name, own in accounts.items()} == market.changes_uyuan()
    assert market.faults() == []


def state_of(market):
    return market.state(market.jy1)


@pytest.mark.parametrize("consensus", [None, PBFT], ids=["poca", "pbft"])
def test_machines_that_stop_between_the_gates_have_lost_nothing(make_twice, consensus):
    """All of them at once after the day-ahead verdict, and each again while the intraday book is open."""
    market = make_twice(consensus=consensus, seed=3)
    market.run_until(PERIOD, -2_700_000)
    assert market.statuses() == [ACCEPTED, None]
    for world in market.worlds.values():
        for name in NAMES:
            world.crash(name)
    market.jy1.run_for(2_000)
    for world in market.worlds.values():
        for name in NAMES:
            world.start(name)
    for name in NAMES:
        market.run_until(PERIOD, market.elapsed_ppm(PERIOD) + 150_000)
        market.jy1.crash(name)
        market.run_until(PERIOD, market.elapsed_ppm(PERIOD) + 50_000)
        market.jy1.start(name)
    market.run_until(PERIOD, 3_500_000)
    assert market.statuses() == [SETTLED, SETTLED]
    assert market.changes_uyuan() == CHANGES_UYUAN
    market.check_money()
    assert market.faults() == []


def test_a_branch_with_an_intraday_gate_of_its_own_is_given_up(make_twice):
    # … ── day-ahead ── a1 ── gate 13 ── …    n0, n1, n2
    #               └─ b1 ── gate 13 ── …     n3 alone, without the others' last orders
    market = make_twice(seed=4)
    market.run_until(PERIOD, -2_450_000)
    market.jy1.partition(("n0", "n1", "n2"), ("n3",))
    market.run_until(PERIOD, -1_200_000)
    assert market.statuses("n3")[1] is None or market.gate(INTRADAY, "n3") != market.gate(INTRADAY, "n0")
    market.jy1.heal()
    market.run_until(PERIOD, 3_500_000)
    gates = {market.gate(INTRADAY, name) for name in NAMES}
    assert len(gates) == 1
    assert market.statuses() == [SETTLED, SETTLED]
    assert market.changes_uyuan() == CHANGES_UYUAN
    market.check_money()
