"""A day of the market by `knn` in a world: targets are committed, and every peer has the same trades, towards them."""

from __future__ import annotations

from ledger.params import NearnessFactors
from market.trading.views import get_gate, get_target, get_trades
from simulation.world.market_script import CLOCK, FIRST_PERIOD, GRID, MarketScript
from simulation.world.networks import make_network
from simulation.world.world import open_worlds

HOURS = 2
NAMES = ("n0", "n1", "n2", "n3")


def test_every_node_clears_to_the_same_trades_by_a_committed_target():
    near = NearnessFactors(price=4, credit=1, renewable=1, position=2)
    market = CLOCK.model_copy(update={"clearing_rule": "knn", "nearness": near})
    network = make_network(NAMES, market=market, scheduling=GRID)
    worlds = open_worlds(network.genesis, network.keys, seed=5)
    jy1 = worlds["JY1"]
    day = MarketScript(worlds, network, hours=HOURS, traders=2, seed=5)
    jy1.run_for(day.end_ms - jy1.now_ms)
    assert day.given_up == {}
    jy1.run_until(lambda: len(jy1.heads()) == 1, limit_ms=60_000)
    for period in range(FIRST_PERIOD, FIRST_PERIOD + HOURS):
        states = [jy1.node(name).chain.head.state for name in NAMES]
        (target,) = {get_target(state, period) for state in states}
        (gate,) = {get_gate(state, period) for state in states}
        first, *others = [get_trades(state, period) for state in states]
        assert first
        assert all(trades == first for trades in others)
        assert gate.trade_count == len(first)
        # offers are below 520 and bids above 510 in the script, so that the target's own price is mostly within
        assert target.target_uyuan_per_kwh in {trade.price_uyuan_per_kwh for trade in first}
