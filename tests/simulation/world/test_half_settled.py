"""A partition in the midst of a settlement: two branches each go on with what is half settled, and one is given up."""

import pytest

from ledger import rows
from ledger.codec import encode
from ledger.store import MemoryStore
from market.trading.views import get_trades
from market.trading.work import SETTLEMENT
from node.proofs.store_audit import audit_store
from tests.support.settling_market import NAMES, PERIOD, SMALLEST, SettlingMarket

HALVES = ("n0", "n1"), ("n2", "n3")


def make_half_settled():
    market = SettlingMarket(seed=11)
    market.order()
    market.deliver()
    return market


def list_damage_without_a_key(market, name, height):
    """The damage of a copy of a store in which what the block at a height undid leaves a key out."""
    found = dict(market.world.peers[name].store.scan(b""))
    *undo, _ = rows.read_undo(found[rows.undo_key(height)]).items()
    store = MemoryStore()
    store.write([*found.items(), (rows.undo_key(height), encode(tuple(undo)))])
    return [(type(one).__name__, one.values) for one in audit_store(market.network.genesis, store).damage]


@pytest.fixture(scope="module")
def straight():
    market = make_half_settled()
    market.run_until(market.is_settled)
    assert len(get_trades(market.state("n0"), PERIOD)) > 5 * (SMALLEST // SETTLEMENT), "more than five blocks settle"
    return market.outcome("n0")


def test_both_branches_of_a_half_settled_period_come_to_what_a_straight_run_comes_to(straight):
    # … ── half settled ── a1 ── … ── settled on n0 and n1
    #                   └─ b1 ── … ── settled on n2 and n3
    market = make_half_settled()
    market.run_until(lambda: all(market.is_half_settled(name) for name in NAMES) and len(market.world.heads()) == 1)
    (fork,) = market.world.heads()
    market.world.partition(*HALVES)
    market.run_until(market.is_settled)
    ends = [market.world.node(half[0]).chain.head for half in HALVES]
    for (name, _), end in zip(HALVES, ends, strict=True):
        chain = market.world.node(name).chain
        assert fork in [entry.hash for entry in chain.ancestors(end)], "it went on from there"
        assert market.outcome(name) == straight
        assert market.list_damage(name) == []
        for height in (chain.get_header(fork).height + 1, end.height):
            ((error, values),) = list_damage_without_a_key(market, name, height)
            assert (error, values["kind"], values["height"]) == ("RowWrong", "undo", height)
    assert ends[0].hash != ends[1].hash

    market.world.heal()
    market.run_until(lambda: len(market.world.heads()) == 1)
    kept = [end.hash == market.world.node("n0").chain.hash_at(end.height) for end in ends]
    assert sorted(kept) == [False, True], "one half has taken its blocks off"
    for name in NAMES:
        assert market.outcome(name) == straight
        assert market.list_damage(name) == []
        assert market.world.peers[name].faults == []
