"""Blocks that take several steps to build and to execute, under both engines, and what may befall a node meanwhile."""

from collections import Counter
from dataclasses import replace

import pytest

from ledger.block import Block
from ledger.execution import run_block
from ledger.params import ConsensusParams
from market.trading.views import get_gate, get_trades
from node.chain import messages as wire
from node.chain.events import Broadcast, PenalisePeer, SetTimer, TimerFired
from node.chain.fork_choice import ForkChoice
from node.chain.importer import Invalid, Known, Placed, Unfinished
from node.chain.node import EXECUTION
from node.chain.progress import BUILDING, BlockReceived
from simulation.world.networks import INITIAL_BALANCE_UYUAN, make_consensus
from simulation.world.world import World
from tests.support.settling_market import GATE_MS, NAMES, PERIOD, SettlingMarket

PASSES = 6
HALVES = ("n0", "n1"), ("n2", "n3")
ENGINES = {
    "pbft": ConsensusParams(
        engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000, view_timeout_ms=1_000
    ),
    "poca": None,
}


class Market(SettlingMarket):
    """A market whose orders are placed, in a world that counts the steps which follow a rest, of each peer."""

    def __init__(self, engine, *, tolerance_ms=0, **options):
        consensus = ENGINES[engine]
        if tolerance_ms:
            slow = {"gate_tolerance_ms": tolerance_ms, "view_timeout_ms": 60_000}
            consensus = (consensus or make_consensus(4_000, 90_000_000)).model_copy(update=slow)
        super().__init__(consensus=consensus, passes=PASSES, **{"seed": 7, **options})
        self.steps = {name: Counter() for name in NAMES}
        self.stale = []  # steps after which a peer seals on what is not its head, or shows a block in vain
        self.world.watch(self.count)
        self.order()

    def count(self, now_ms, peer, event, actions):
        node = self.world.peers[peer].node
        if isinstance(event, TimerFired):
            self.steps[peer][event.name] += 1
        if node is not None and isinstance(node._progress, ForkChoice):
            candidate = node._progress._candidate
            if candidate is not None and candidate.header.parent != node.chain.head.hash:
                self.stale.append((now_ms, peer, event))
        elif event == TimerFired(name=BUILDING):
            said = {type(action.message) for action in actions if isinstance(action, Broadcast)}
            if wire.NewBlock in said and wire.Agreement not in said:
                self.stale.append((now_ms, peer, event))

    def is_executing(self, name):
        node = self.world.peers[name].node
        return node is not None and bool(node._importer.list_under_way())

    def is_building(self, name):
        node = self.world.peers[name].node
        return node is not None and node._progress._building is not None

    def run_until_any(self, is_at_work):
        """The first peer that is, once one is."""
        self.run_until(lambda: any(map(is_at_work, NAMES)))
        return next(filter(is_at_work, NAMES))

    def is_closed(self):
        """True where the gate is closed everywhere, on one chain."""
        gates = [get_gate(self.state(name), PERIOD) for name in NAMES if self.world.peers[name].node is not None]
        return all(gates) and len(self.world.heads()) == 1

    def check(self):
        """Check that nobody has made money, blamed a peer, or left something behind."""
        assert len(get_trades(self.state("n0"), PERIOD)) > 20
        assert self.stale == []
        for name in NAMES:
            _, accounts = self.outcome(name)
            assert sum(one.balance_uyuan + one.reserved_uyuan for one in accounts) == INITIAL_BALANCE_UYUAN * len(NAMES)
            assert self.world.peers[name].faults == []
            assert self.list_damage(name) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_period_is_worked_off_in_blocks_of_several_steps(engine):
    market = Market(engine)
    market.deliver()
    market.run_until(lambda: market.is_settled() and len(market.world.heads()) == 1)
    market.check()
    assert not any(account.reserved_uyuan for account in market.outcome("n0")[1])
    for name in NAMES:
        assert market.outcome(name) == market.outcome("n0")
        assert market.steps[name][EXECUTION] > PASSES
        assert market.steps[name][BUILDING] > PASSES


def test_peers_that_share_their_work_take_the_same_steps_as_those_that_do_not(monkeypatch):
    def trace():
        market = Market("poca", sealing="drawn")
        market.run_until(market.is_closed)
        return market.world.trace_hash()

    shared = trace()
    monkeypatch.setattr(World, "_make_shared", lambda world: (world._make_engine(), run_block))
    assert trace() == shared


@pytest.mark.parametrize(("engine", "timer"), [("pbft", EXECUTION), ("pbft", BUILDING), ("poca", BUILDING)])
def test_a_crash_between_two_steps_leaves_nothing_of_them(engine, timer):
    market = Market(engine, pace_ms={timer: 30})
    victim = market.run_until_any(market.is_executing if timer == EXECUTION else market.is_building)
    head = market.world.node(victim).chain.head
    market.world.crash(victim)
    market.run_until(market.is_closed)
    market.steps[victim].clear()
    market.world.start(victim)
    assert market.world.node(victim).chain.head.hash == head.hash
    market.run_until(market.is_closed)
    assert market.steps[victim][EXECUTION], "it has caught up over such blocks"
    market.check()


@pytest.mark.parametrize("timer", [EXECUTION, BUILDING])
def test_a_view_that_ends_while_its_block_is_at_work_ends_no_agreement(timer):
    market = Market("pbft", pace_ms={timer: 300})
    views = set()

    def note(now_ms, name, event, actions):
        if market.is_executing(name) or market.is_building(name):
            views.add(market.world.node(name)._progress._pbft.view)

    market.world.watch(note)
    market.run_until(market.is_closed)
    assert max(views) > 0
    market.check()
    market.world.run_for(10_000)
    assert not any(market.is_executing(name) or market.is_building(name) for name in NAMES)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_block_is_shown_after_a_gate_that_is_dated_before_it(engine):
    market = Market(engine, pace_ms={BUILDING: 900}, tolerance_ms=400)
    market.run_to(2 * GATE_MS - 1_000)
    market.run_until(lambda: any(map(market.is_building, NAMES)))
    assert market.elapsed_ms < 2 * GATE_MS, "a block that closes the first gate is begun before the second"
    market.run_until(market.is_closed)
    market.check()
    assert {event[0] for name in NAMES for event in market.world.peers[name].published}.isdisjoint({"late-block"})


def test_a_branch_is_left_while_its_blocks_are_executed():
    # … ── a1 ── …          on n0 and n1
    #   └─ b1 ── … ── b5    on n2 and n3; each of them takes several steps, and one half ends on the other's
    market = Market("poca", pace_ms={EXECUTION: 40, BUILDING: 5})
    market.run_until_any(market.is_executing)
    market.world.partition(*HALVES)
    market.world.run_for(8_000)
    assert len(market.world.heads()) > 1
    market.world.heal()
    market.run_until(market.is_closed)
    assert sum(market.world.node(name).chain.counters.reorgs for name in NAMES)
    market.check()


# --- one block on one peer ---------------------------------------------------------------------------


class Judged:
    """A peer that lacks what others have built, and has judged it up to the first block that takes several steps."""

    def __init__(self):
        market = Market("pbft")
        market.world.partition({"n3"}, {"n0", "n1", "n2"})
        market.run_until(lambda: get_gate(market.state("n0"), PERIOD) is not None)
        self.keys = {key.public_key: key for key in market.network.keys.values()}
        self.node, self.now_ms = market.world.node("n3"), market.world.now_ms
        chain = market.world.node("n0").chain
        missing = [entry for entry in chain.ancestors(chain.head) if self.node.chain.get_header(entry.hash) is None]
        self.block = next(entry.block for entry in reversed(missing) if self.judge(entry.block) == Unfinished())

    def judge(self, block):
        return self.node._importer.judge(block, b"peer", self.now_ms, is_due=True)

    def judge_to_its_end(self, block):
        """The last outcome, and how many there were before it."""
        count = 0
        while (outcome := self.judge(block)) == Unfinished():
            count += 1
        return outcome, count

    def lie(self, root):
        """The block with another state root, sealed by its producer."""
        header = replace(self.block.header, state_root=root)
        key = self.keys[header.producer]
        return Block(header=header.sealed(0, key), transactions=self.block.transactions)

    def list_under_way(self):
        return [block for block, _ in self.node._importer.list_under_way()]


@pytest.fixture(scope="module")
def judged():
    return Judged()


@pytest.fixture
def importer(judged):
    yield judged.node._importer
    for block in judged.list_under_way():
        judged.node._importer.give_up(block.hash)


def test_a_liars_block_is_refused_in_its_last_step_and_the_true_one_is_not(judged, importer):
    importer.give_up(judged.block.hash)
    wrong = judged.lie(bytes(32))
    outcome, count = judged.judge_to_its_end(wrong)
    match outcome:
        case Invalid(error=error):
            assert error.code == "WrongStateRoot"
        case other:
            pytest.fail(f"{other}")
    assert count > PASSES // 2
    assert importer.is_bad(wrong.hash)
    assert judged.list_under_way() == []


def test_whoever_brought_a_liars_block_is_penalised_once_its_last_step_is_taken(judged, importer):
    importer.give_up(judged.block.hash)
    node, peer, head = judged.node, judged.block.header.producer, judged.node.chain.head
    wrong = judged.lie(b"\xff" * 32)
    actions = node._settle([BlockReceived(wrong, peer)], judged.now_ms)
    going_on = SetTimer(name=EXECUTION, at_ms=judged.now_ms)
    assert actions == [going_on], "nobody is told anything yet"
    while actions == [going_on]:
        actions = node.step(TimerFired(name=EXECUTION), judged.now_ms)
    (penalty,) = [action for action in actions if isinstance(action, PenalisePeer)]
    assert (penalty.peer, penalty.error.code) == (peer, "WrongStateRoot")
    assert node.step(TimerFired(name=EXECUTION), judged.now_ms) == []
    assert node.chain.head is head


def test_a_block_under_way_is_known_and_its_run_can_be_given_up(judged, importer):
    assert judged.judge(judged.block) == Unfinished()
    assert importer.is_known(judged.block.hash)
    assert judged.list_under_way() == [judged.block]
    importer.give_up(judged.block.hash)
    assert not importer.is_known(judged.block.hash)


def test_what_has_become_final_meanwhile_leaves_a_block_behind_without_blame(judged, importer, monkeypatch):
    assert judged.judge(judged.block) == Unfinished()
    monkeypatch.setattr(judged.node.chain, "final_height", judged.block.header.height)
    assert judged.judge(judged.block) == Known()
    assert judged.list_under_way() == []


def test_of_many_blocks_each_has_its_turn_and_one_too_many_does_not_rest(judged, importer):
    importer.give_up(judged.block.hash)
    some = [judged.lie(bytes([number]) * 32) for number in range(1, 6)]
    *first, last = map(judged.judge, some)
    assert first == [Unfinished()] * 4
    assert isinstance(last, Invalid)
    assert judged.list_under_way() == some[:4]
    assert judged.judge(some[0]) == Unfinished()
    assert judged.list_under_way() == [*some[1:4], some[0]]
    assert importer.get_usage()["blocks under way"] == (4, 4)


def test_a_block_under_way_comes_to_what_it_comes_to_at_once():
    judged = Judged()
    outcome, _ = judged.judge_to_its_end(judged.block)
    match outcome:
        case Placed(block=placed):
            assert placed.state.root == judged.block.header.state_root
        case other:
            pytest.fail(f"{other}")
