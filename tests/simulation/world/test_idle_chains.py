"""A chain that rests in between: empty blocks only where it has something to do, and nothing waits for others."""

import re

import pytest

from consensus.pbft.messages import ViewChange, decode_message
from gridmerit.commands.status import _render_chain
from ledger.execution import execute_body, find_next_due
from ledger.genesis import Authority, Genesis
from ledger.membership import sign_act
from ledger.params import ConsensusParams
from ledger.transaction import make_transaction
from market.trading.life import State
from node.chain import messages as wire
from node.chain.events import Broadcast
from node.queries.chain import ChainQueries
from simulation.world.networks import key_of, make_network
from simulation.world.world import World, open_worlds
from tests.simulation.world.test_three_chains import MARKET, PBFT, PLAN, SCHEDULING, Market

HOUR_MS, PERIOD_MS = 3_600_000, 900_000
AFTER_MS = 10_000
ALWAYS = ConsensusParams(
    engine="pbft", block_interval_ms=10_000, max_ahead_ms=5_000, empty_after_ms=AFTER_MS, view_timeout_ms=2_000
)
RESTING = ALWAYS.model_copy(update={"empty_blocks": "due"})
NAMES = ("n0", "n1", "n2", "n3")
CHAIR = key_of("chair")


class Village:
    """Four members at quarters of an hour, and the view changes that they asked for."""

    def __init__(self, consensus=RESTING, authority=()):
        self.network = make_network(NAMES, consensus=consensus, period_ms=PERIOD_MS)
        genesis = self.network.genesis
        if authority:
            keys = tuple(key.public_key for key in authority)
            given = {"params": genesis.params, "time_ms": genesis.time_ms, "members": genesis.members}
            genesis = Genesis(**given, authority=Authority(threshold=len(keys), keys=keys))
        self.world = World(genesis, self.network.keys)
        self.view_changes = []
        self.world.watch(self._note)
        self.world.run_for(1_000)

    def _note(self, now_ms, name, event, actions):
        for action in actions:
            if isinstance(action, Broadcast) and isinstance(action.message, wire.Agreement):
                ballot = decode_message(action.message.raw)
                if isinstance(ballot, ViewChange):
                    self.view_changes.append((now_ms, name))

    def pay(self, name):
        return self.send(name, "transfer", self.network.grid.address, 1)

    def send(self, name, kind, *payload):
        """Have a member's own peer take on its first transaction."""
        transaction = make_transaction(
            self.network.keys[name],
            chain_id=self.world.chain_id,
            sequence=0,
            expiry_height=100,
            kind=kind,
            payload=payload,
        )
        assert self.world.submit(name, transaction) == (None,)
        return transaction

    def has(self, transaction):
        up = [peer.node.chain for peer in self.world.peers.values() if peer.node is not None]
        return all(chain.find_transaction(transaction.id) for chain in up)

    def height(self, name="n0"):
        return self.world.node(name).chain.head.height

    def status(self):
        return ChainQueries(self.world.node("n0")).get_status(self.world.now_ms)

    def leader(self, height):
        return find_leader(self.network, height)

    def times(self):
        chain = self.world.node(next(name for name in NAMES if self.world.is_up(name))).chain
        return [entry.header.timestamp_ms for entry in chain.ancestors(chain.head) if entry.height][::-1]

    def run_to(self, elapsed_ms):
        """Until so long after genesis."""
        self.world.run_for(self.network.genesis.time_ms + elapsed_ms - self.world.now_ms)


def render_lines(status):
    return _render_chain(status, is_excluded=False).splitlines()


def find_leader(network, height):
    """The first to propose at a height."""
    sealers = sorted(key.public_key for key in network.keys.values())
    return next(name for name, key in network.keys.items() if key.public_key == sealers[height % len(sealers)])


def test_an_idle_hour_costs_one_block_a_period_and_no_view_change():
    village = Village()
    village.run_to(HOUR_MS + 5_000)
    assert village.height() == HOUR_MS // PERIOD_MS
    assert village.view_changes == []
    since = [at_ms - village.network.genesis.time_ms for at_ms in village.times()]
    assert all(0 <= at_ms % PERIOD_MS < 2_000 for at_ms in since), "as the period begins"
    assert len(set(village.world.heads())) == 1
    assert not any(peer.faults for peer in village.world.peers.values())


def test_a_resting_chain_says_since_when_and_until_when():
    village = Village()
    status = village.status()
    assert re.search(
        r"^rests +since .* UTC, nothing is due before .* UTC$", _render_chain(status, is_excluded=False), re.MULTILINE
    )
    assert status.rests_until_ms == village.network.genesis.time_ms + PERIOD_MS, "as the next period begins"
    village.run_to(PERIOD_MS + 2_000)
    assert village.status().rests_until_ms == status.rests_until_ms + PERIOD_MS
    village.pay("n0")
    assert not village.status().rests_until_ms, "while there is anything to do"
    assert not any(line.startswith("rests ") for line in render_lines(village.status()))


def test_a_chain_that_waits_for_the_others_does_not_rest():
    village = Village()
    for name in NAMES[1:]:
        village.world.crash(name)
    village.run_to(PERIOD_MS + 2_000)
    assert not village.status().rests_until_ms


def test_a_chain_that_never_rests_does_not_say_so():
    village = Village(consensus=ALWAYS)
    village.run_to(PERIOD_MS // 2)
    assert not village.status().rests_until_ms


def test_a_transfer_after_an_idle_half_hour_is_final_as_soon_as_ever():
    village = Village()
    village.run_to(HOUR_MS // 2 + 60_000)
    transfer = village.pay("n2")
    village.world.run_until(lambda: village.has(transfer), limit_ms=1_000)
    assert village.view_changes == []


def test_a_dead_leader_is_found_out_as_soon_as_there_is_something_to_do():
    village = Village()
    village.run_to(PERIOD_MS + 60_000)
    dead = village.leader(village.height() + 1)
    village.world.crash(dead)
    village.world.run_for(PERIOD_MS // 2)
    assert village.view_changes == [], "nothing is to be agreed on"
    alive = next(name for name in NAMES if name != dead)
    transfer = village.pay(alive)
    village.world.run_until(lambda: village.has(transfer), limit_ms=2_500)
    assert village.view_changes


def test_a_dead_leader_is_found_out_when_a_period_begins():
    village = Village()
    village.run_to(PERIOD_MS + 60_000)
    dead = village.leader(village.height() + 1)
    village.world.crash(dead)
    village.run_to(2 * PERIOD_MS + RESTING.max_ahead_ms + 2 * RESTING.view_timeout_ms + 2_000)
    alive = next(name for name in NAMES if name != dead)
    assert village.height(alive) == 2


def test_a_clock_that_is_behind_as_far_as_may_be_changes_no_view():
    village = Village()
    for name in NAMES:
        village.world.set_skew(name, -4_000 if name == village.leader(2) else 0)
    village.run_to(2 * PERIOD_MS + 10_000)
    assert village.height() == 2
    assert village.view_changes == []


def test_a_member_that_slept_for_hours_catches_up_by_a_heartbeat():
    village = Village()
    village.run_to(60_000)
    village.world.crash("n3")
    village.run_to(HOUR_MS + 5_000)
    village.world.start("n3")
    village.world.run_until(lambda: village.height("n3") == village.height("n0") >= 4, limit_ms=10_000)
    village.world.crash("n0")
    transfer = village.pay("n1")
    village.world.run_until(lambda: village.has(transfer), limit_ms=10_000)


def test_what_can_never_come_into_a_block_holds_no_resting_chain_up():
    """A transfer waits while nobody can agree, and its sender's certificate runs out: what expires with blocks must."""
    village = Village(authority=(CHAIR,))
    end_ms = village.network.genesis.time_ms + 100_000
    body = ("renew", village.world.genesis.serial_of("n1"), 1_000, b"", end_ms - 100_000, end_ms)
    renewal = village.send("n0", "renew", *sign_act(village.world.genesis.network_id, body, (CHAIR,)))
    village.run_to(99_500)
    assert village.has(renewal)
    village.world.partition(*((name,) for name in NAMES))
    transfer = village.pay("n1")
    village.run_to(101_000)
    village.world.heal()
    height = village.height()
    village.run_to(101_000 + 12 * AFTER_MS)
    assert not village.has(transfer)
    assert village.height() >= height + 5


# --- what is due ------------------------------------------------------------------------------------

MERGING = MARKET.model_copy(update={"merged_coins": 64})
QUICK = PBFT.model_copy(update={"empty_blocks": "due"})
BEATING = PBFT.model_copy(update={"empty_after_ms": 1_000})
BOOKKEEPING = {b"clock", b"checkpoint/certified"}


def test_a_block_before_its_time_moves_the_clock_and_one_in_time_does_more():
    """Of all blocks that three chains make around a period of a market, whatever else stands in them."""
    market = Market(consensus=BEATING, market=MERGING, first=5, last=5)
    looked = {world: {} for world in market.worlds}

    def look(world, found):
        node = world.node("n0")
        head, instance = node.chain.head, node._instance
        if head.height in found or not head.height:
            return
        parent, header = node.chain.get(head.header.parent), head.header
        rules = instance.rules_on(parent)
        context = instance.make_context(parent, header.producer_address, header.timestamp_ms, header.period)
        due_ms = find_next_due(parent.state, context, rules.contracts)
        execution = execute_body(parent.state, context, (), rules.contracts)
        does_more = bool(execution.events) or not execution.delta.changes.keys() <= BOOKKEEPING
        found[head.height] = header.timestamp_ms >= due_ms, does_more, context.is_first_of_period

    for name, world in market.worlds.items():
        world.watch(lambda *_, world=world, found=looked[name]: look(world, found))
    market.run_until(5, 4_200_000)
    for name, found in looked.items():
        assert len(found) > 100, name
        for height, (is_due, does_more, is_first) in found.items():
            assert is_due if does_more or is_first else not is_due, (name, height)
    assert market.status(5) == State.SETTLED


def test_a_dead_leader_is_found_out_where_only_a_relay_waits():
    """DU1's quotas come in the middle of a period, when JY1 has nothing else to do."""
    scheduling = SCHEDULING.model_copy(update={"quota_ppm": 3_500_000})
    network = make_network(scheduling=scheduling, market=MARKET, period_ms=24_000, consensus=QUICK)
    worlds = open_worlds(network.genesis, network.keys)
    du1, jy1 = worlds["DU1"], worlds["JY1"]
    jy1.run_for(10_000)
    assert du1.submit("n0", Market.sign(du1, network.dispatcher, "plan", 5, PLAN)) == (None,)
    jy1.run_for(25_500)
    dead = find_leader(network, jy1.node("n0").chain.head.height + 1)
    jy1.crash(dead)
    alive = next(name for name in NAMES if name != dead)
    jy1.run_until(
        lambda: "quota" in {event[0] for event in jy1.peers[alive].published}, limit_ms=2 * QUICK.view_timeout_ms
    )


@pytest.mark.parametrize("away", ["", "n2"])
def test_three_chains_that_rest_bring_a_market_through_its_periods(away):
    """Also where one leader in four is away."""
    market = Market(consensus=QUICK, market=MERGING, first=5, last=6)
    for world in market.worlds.values():
        if away:
            world.crash(away)
    market.run_until(6, 3_500_000)
    assert [market.status(period) for period in (5, 6)] == [State.SETTLED] * 2
    assert {kind for _, kind, _ in market.refused} <= {"intention"}, "before their quotas are there"
    market.check_money()
    assert market.faults() == []
