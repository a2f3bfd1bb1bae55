"""A partition in the midst of a settlement: two branches each go on with what is half settled, and one is given up."""

import pytest

from ledger import rows
from ledger.accounts import get_account
from ledger.codec import encode
from ledger.overlay import Overlay
from ledger.params import MarketParams
from ledger.store import MemoryStore
from ledger.transaction import make_transaction
from market.trading.period_settlement import is_settling
from market.trading.views import get_settlement, get_trades
from market.trading.work import SETTLEMENT
from node.proofs.store_audit import audit_store
from simulation.world.networks import make_network
from simulation.world.world import World

PERIOD = 3
NAMES = ("n0", "n1", "n2", "n3")
HALVES = ("n0", "n1"), ("n2", "n3")
ORDERS = 16  # of each member: half of them buy, half of them sell
SMALLEST = 64  # units of work a block: four trades settled
DELIVERED_MS, SETTLED_MS = 81_000, 100_000  # after genesis


class Market:
    """Four members with as many trades as several blocks settle."""

    def __init__(self):
        self.network = make_network(NAMES, market=MarketParams(work_per_block=SMALLEST, over_delivery_ppm=250_000))
        self.world = World(self.network.genesis, self.network.keys, seed=11)
        self.world.run_for(2_000)
        for index, name in enumerate(NAMES):
            buys = index % 2 == 0
            prices = [500_000 + 3 * number if buys else 480_000 - 5 * number for number in range(ORDERS)]
            orders = [(int(not buys), PERIOD, price, 3_000 + 100 * index + price % 97) for price in prices]
            self.submit(name, self.network.keys[name], "intention", orders)
        self.run_to(DELIVERED_MS)
        for index, name in enumerate(NAMES):
            self.submit(name, self.network.devices[name], "reading", [(PERIOD, 50_000 + index, 47_000 - index)])
        self.run_to(SETTLED_MS)

    def submit(self, name, key, kind, payloads):
        transactions = [
            make_transaction(
                key, chain_id=self.world.chain_id, sequence=number, expiry_height=5_000, kind=kind, payload=payload
            )
            for number, payload in enumerate(payloads)
        ]
        assert self.world.submit(name, *transactions) == (None,) * len(transactions)

    def run_to(self, elapsed_ms):
        self.world.run_for(self.network.genesis.time_ms + elapsed_ms - self.world.now_ms)

    def run_until(self, condition):
        self.world.run_until(condition, limit_ms=60_000)

    def state(self, name):
        return self.world.node(name).chain.head.state

    def is_half_settled(self, name):
        return is_settling(Overlay(self.state(name)), PERIOD)

    def is_settled(self):
        return all(get_settlement(self.state(name), PERIOD) is not None for name in NAMES)

    def list_damage(self, name):
        """What is wrong with a store: the rows of the state, and those that undo it, must lead to what headers say."""
        return audit_store(self.network.genesis, self.world.peers[name].store).damage

    def list_damage_without_a_key(self, name, height):
        """The same of a copy in which what the block at a height undid leaves a key out."""
        found = dict(self.world.peers[name].store.scan(b""))
        *undo, _ = rows.read_undo(found[rows.undo_key(height)]).items()
        store = MemoryStore()
        store.write([*found.items(), (rows.undo_key(height), encode(tuple(undo)))])
        return [(type(one).__name__, one.values) for one in audit_store(self.network.genesis, store).damage]

    def outcome(self, name):
        """All that has come of the period, to the µ¥ and micro-point."""
        view, keys = Overlay(self.state(name)), (*self.network.keys.values(), self.network.grid)
        return get_settlement(self.state(name), PERIOD), [get_account(view, key.address) for key in keys]


@pytest.fixture(scope="module")
def straight():
    market = Market()
    market.run_until(market.is_settled)
    assert len(get_trades(market.state("n0"), PERIOD)) > 5 * (SMALLEST // SETTLEMENT), "more than five blocks settle"
    return market.outcome("n0")


def test_both_branches_of_a_half_settled_period_come_to_what_a_straight_run_comes_to(straight):
    # … ── half settled ── a1 ── … ── settled on n0 and n1
    #                   └─ b1 ── … ── settled on n2 and n3
    market = Market()
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
            ((error, values),) = market.list_damage_without_a_key(name, height)
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
