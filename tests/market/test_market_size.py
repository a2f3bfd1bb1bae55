"""Three hundred orders over three chains, the work spread over blocks: the short form of `make market-size`."""

from __future__ import annotations

import pytest

from ledger.accounts import get_account
from market.scheduling import views
from market.trading.views import get_settlement, get_trades
from simulation.world.networks import key_of
from tests.support.market_size import PERIOD, SizedMarket

ORDERS, WORK, RELAYS, PASSES = 300, 400, 3, 4
RUNS = {
    "pbft": {"engine": "pbft", "work": WORK, "relays": RELAYS, "passes": 1},
    "poca": {"engine": "poca", "work": WORK, "relays": RELAYS, "passes": 1},
    "in passes": {"engine": "pbft", "work": PASSES * WORK, "relays": PASSES * RELAYS, "passes": PASSES},
}
PAGE_BYTES = 29_500
ROOTS = {  # how its states end, by chain: whatever is made faster, they stay
    "at once": {"scheduling": "97c23b39c12df984", "trading": "4fa5f3060427bfb7", "credit": "8a7eccdd19bd84a0"},
    "pbft": {"scheduling": "c03f6fb8b3eeda09", "trading": "34beb1633caf2e1f", "credit": "929bf7940ebd752d"},
    "poca": {"scheduling": "1ba46294a29fd679", "trading": "173ad107f8713114", "credit": "803167d7068a8e16"},
    "in passes": {"scheduling": "ae957fcb49364cd9", "trading": "1943a1cac2c33aca", "credit": "31120e46f5145ca5"},
}


def run(**limits) -> SizedMarket:
    sized = SizedMarket(ORDERS, **limits)
    sized.trade()
    sized.deliver()
    sized.tell_credit()
    sized.correct()
    return sized


@pytest.fixture(scope="module")
def at_once():
    return run(work=0, relays=0, passes=1)


@pytest.fixture(scope="module", params=RUNS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def by_shares(name):
    return run(**RUNS[name])


def members_of(sized, chain):
    names = (*sized.keys, "grid")
    return {name: get_account(chain.view, key_of(name).address)._replace(sequence=0) for name in names}


def test_by_shares_it_comes_to_what_it_comes_to_at_once(by_shares, at_once):
    """Money and reserves, scores and credit, trades and what was paid for them, to the µ¥ and micro-point."""
    assert by_shares.find_faults() == at_once.find_faults() == []
    assert get_trades(by_shares.jy1.state, PERIOD) == get_trades(at_once.jy1.state, PERIOD)
    paid, paid_at_once = (get_settlement(sized.jy1.state, PERIOD) for sized in (by_shares, at_once))
    assert (paid.trades, sorted(paid.grid)) == (paid_at_once.trades, sorted(paid_at_once.grid))
    for kind in ("trading", "credit"):
        assert members_of(by_shares, by_shares.chains[kind]) == members_of(at_once, at_once.chains[kind])


def test_the_states_are_those_of_before(name, by_shares, at_once):
    for one, sized in (("at once", at_once), (name, by_shares)):
        assert {kind: chain.state.root.hex()[:16] for kind, chain in sized.chains.items()} == ROOTS[one]


def test_every_stage_takes_several_blocks_or_steps_and_no_value_is_larger_than_its_page(name, by_shares, at_once):
    assert at_once.durations["gate"] == 1
    blocks = [by_shares.durations[stage] for stage in ("gate", "metering", "settlement")]
    steps = {cost.steps for costs in by_shares.stages.values() for cost in costs.values()}
    if RUNS[name]["passes"] > 1:
        assert max(blocks) < 8
        assert PASSES < max(steps) <= 2 * PASSES + 4
    else:
        assert min(blocks) > 3
        assert steps == {1}, "nothing rests"
    assert max(len(value) for _, value in by_shares.jy1.state.items()) < PAGE_BYTES
    assert max(len(value) for _, value in at_once.jy1.state.items()) > PAGE_BYTES


def test_a_stage_is_told_with_the_cpu_of_its_blocks(by_shares):
    for kind, stage in (("trading", "gate"), ("scheduling", "verdict"), ("credit", "settlement")):
        cost = by_shares.stages[stage][kind]
        assert cost.total_ms >= cost.longest_ms > 0


def test_scheduling_records_are_the_same_too(by_shares, at_once):
    for get in (views.get_contracts, views.get_actuals, views.get_verdict):
        assert get(by_shares.du1.state, PERIOD) == get(at_once.du1.state, PERIOD)
    roots = [
        (views.get_power_block(sized.du1.state, PERIOD)[1:], views.get_actual_block(sized.du1.state, PERIOD)[1:])
        for sized in (by_shares, at_once)
    ]
    assert roots[0] == roots[1]
