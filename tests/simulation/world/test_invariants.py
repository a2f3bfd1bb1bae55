"""Every invariant catches what it is there for; what is planted here cannot come from outside a node."""

from dataclasses import replace

import pytest

import market.trading.period_settlement
import market.trading.settlement_rows
from consensus.quorum import QuorumCertificate, Statement, sign_statement
from ledger.accounts import get_account, put_account
from ledger.checkpoints import compute_slot
from ledger.codec import encode
from ledger.execution import run_block
from ledger.genesis import get_grid_operator
from ledger.transaction import make_transaction
from market.trading.settlement_record import get_settlement as get_period_settlement
from node.chain import messages as wire
from node.chain.contracts import build_contracts
from node.chain.events import Broadcast, TimerFired
from node.chain.rule_sets import RULE_SETS, RuleSet
from simulation.attacks.policy import Policy
from simulation.experiments.scenario import load_scenario, parse_settings
from simulation.world.invariants import (
    AGREEMENT,
    BOUNDED_MEMORY,
    DURABLE_RECORD,
    ENERGY,
    MONEY,
    ONE_SIGNATURE,
    PURE_STATE,
    InvariantBroken,
    Invariants,
)
from simulation.world.networks import make_network
from simulation.world.sealing import DrawnEngine
from simulation.world.world import World

NAMES = ("n0", "n1", "n2", "n3")


@pytest.fixture(scope="module")
def network():
    return make_network()


def watch(network, *, kind=World, **options):
    world = kind(network.genesis, network.keys, seed=5, sealing="drawn", **options)
    return world, Invariants([world], command="again")


def test_nothing_is_broken_in_an_honest_world(network):
    world, invariants = watch(network)
    world.run_for(20_000)
    world.partition({"n0"}, {"n1", "n2", "n3"})
    world.run_for(20_000)
    world.heal()
    world.crash("n1")
    world.run_for(20_000)
    world.start("n1")
    world.run_for(20_000)
    invariants.check_deeply()
    assert world.node("n0").chain.final_height > 10


def test_two_final_blocks_at_one_height(network):
    world, _ = watch(network)
    world.run_for(3_000)
    world.partition({"n0", "n1", "n2"}, {"n3"})
    world.run_until(lambda: world.node("n0").chain.final_height > 4, limit_ms=60_000)
    world.run_until(lambda: world.node("n3").chain.head.height > 4, limit_ms=60_000)
    fork = world.node("n3").chain.head
    slot = compute_slot(fork.header.timestamp_ms - network.genesis.time_ms, network.genesis.params) - 1
    statement = Statement(chain_id=world.chain_id, slot=slot, block_hash=fork.hash)
    votes = [sign_statement(statement, network.keys[name]) for name in NAMES[:3]]  # they lie, all three
    signatures = tuple(sorted((vote.signer, vote.signature) for vote in votes))
    certificate = QuorumCertificate(statement=statement, signatures=signatures)
    with pytest.raises(InvariantBroken, match="others hold") as caught:
        world.inject("n3", network.keys["n0"].public_key, wire.Certificate(raw=encode(certificate.to_value())))
    assert caught.value.invariant == AGREEMENT


def test_finality_that_steps_back(network):
    world, _ = watch(network)
    world.run_until(lambda: world.node("n0").chain.final_height > 2, limit_ms=60_000)
    world.node("n0").chain.final_height -= 1
    with pytest.raises(InvariantBroken, match="final height fell"):
        world.run_for(5_000)


def test_a_final_block_that_leaves_the_chain(network):
    world, _ = watch(network)
    world.run_until(lambda: world.node("n0").chain.final_height > 2, limit_ms=60_000)
    chain = world.node("n0").chain
    chain._recent[chain.final_height] = bytes(32)
    with pytest.raises(InvariantBroken, match="has left the chain") as caught:
        world.run_for(5_000)
    assert caught.value.invariant == AGREEMENT


class Forgetful(World):
    """Its nodes lose a row of the state while they execute a block."""

    def _make_shared(self):
        def forget(*arguments):
            execution = yield from run_block(*arguments)
            lost = next(iter(execution.state.items()))[0]
            return replace(execution, state=execution.state.apply({lost: None}))

        return DrawnEngine(self.genesis), forget


def test_a_state_that_does_not_follow_from_the_chain(network):
    world, _ = watch(network, kind=Forgetful)
    with pytest.raises(InvariantBroken) as caught:
        world.run_for(20_000)
    assert caught.value.invariant == PURE_STATE


def test_a_chain_that_does_not_execute_again(network):
    world, invariants = watch(network)
    world.run_until(lambda: world.node("n0").chain.final_height > 2, limit_ms=60_000)
    invariants.check_deeply()
    height = world.node("n0").chain.final_height
    world.run_until(lambda: world.node("n0").chain.final_height > height, limit_ms=60_000)
    chain = world.node("n0").chain
    entry = chain.get(chain.hash_at(height + 1))
    strange = sign(world, network.keys["n0"], "transfer", network.grid.address, 1)
    chain._entries[entry.hash] = replace(entry, block=replace(entry.block, transactions=(strange,)))
    with pytest.raises(InvariantBroken, match="does not execute again: ") as caught:
        invariants.check_deeply()
    assert caught.value.invariant == PURE_STATE


def mint(genesis):
    """The contracts of a chain, and one more that makes money at every block."""

    def hook(view, block):
        grid = get_grid_operator(view)
        account = get_account(view, grid)
        put_account(view, grid, account._replace(balance_uyuan=account.balance_uyuan + 7))

    contracts = build_contracts(genesis)
    return replace(contracts, hooks=(*contracts.hooks, hook))


def test_money_out_of_nothing(network, monkeypatch):
    monkeypatch.setitem(RULE_SETS, 1, RuleSet(build=mint))
    world, _ = watch(network)
    with pytest.raises(InvariantBroken, match="makes 7 µ¥ of nothing") as caught:
        world.run_for(20_000)
    assert caught.value.invariant == MONEY


def test_money_that_was_there_before_anybody_looked(network, monkeypatch):
    monkeypatch.setitem(RULE_SETS, 1, RuleSet(build=mint))
    world = World(network.genesis, network.keys, seed=5, sealing="drawn")
    world.run_for(10_000)
    with pytest.raises(InvariantBroken) as caught:
        Invariants([world], command="again", deep_every_ms=0).check_money()
    assert caught.value.invariant == MONEY


def sign(world, key, kind, *payload, sequence=0):
    return make_transaction(
        key, chain_id=world.chain_id, sequence=sequence, expiry_height=5_000, kind=kind, payload=payload
    )


def meter(network):
    """A world in which a meter is read and its period settled with the grid."""
    world, invariants = watch(network)
    world.run_for(42_000)
    assert world.submit("n0", sign(world, network.devices["n0"], "reading", 1, 5_000, 300)) == (None,)
    world.run_for(50_000)
    return world, invariants


def test_energy_that_was_metered_is_settled_once(network):
    world, _ = meter(network)
    assert ("settled", 1) in world.peers["n0"].published


def test_energy_out_of_nothing(network, monkeypatch):
    settle = market.trading.settlement_rows.compute_rest

    def settle_more(*arguments):
        return [row._replace(consumption_wh=row.consumption_wh + 1) for row in settle(*arguments)]

    monkeypatch.setattr(market.trading.period_settlement, "compute_rest", settle_more)
    with pytest.raises(InvariantBroken, match="settles 5001 and 300 Wh of a member metered") as caught:
        meter(network)
    assert caught.value.invariant == ENERGY


def test_energy_that_vanishes(network, monkeypatch):
    monkeypatch.setattr(market.trading.period_settlement, "compute_rest", lambda *_: [])
    with pytest.raises(InvariantBroken, match="was metered 5000 and 300 Wh of a member, and settles None") as caught:
        meter(network)
    assert caught.value.invariant == ENERGY


def test_a_period_that_is_settled_twice(network, monkeypatch):
    def settle_again(genesis):
        contracts = build_contracts(genesis)

        def hook(view, block):
            if get_period_settlement(view, 1) is not None and block.is_first_of_period:
                view.emit("settled", 1)

        return replace(contracts, hooks=(*contracts.hooks, hook))

    monkeypatch.setitem(RULE_SETS, 1, RuleSet(build=settle_again))
    with pytest.raises(InvariantBroken, match="settles period 1, which was settled before") as caught:
        meter(network)
    assert caught.value.invariant == ENERGY


@pytest.mark.parametrize("key_of", ["n1", "n0"])
def test_two_statements_of_one_key_for_a_slot(network, key_of):
    class Liar(Policy):
        """Says two things of slot 90 at its first heartbeat, in the name of n1 or its own."""

        def step(self, event, now_ms):
            actions = super().step(event, now_ms)
            if event != TimerFired(name="heartbeat"):
                return actions
            key = network.keys[key_of]
            for block_hash in (bytes(32), bytes([1]) * 32):
                statement = Statement(chain_id=self.node.chain_id, slot=90, block_hash=block_hash)
                raw = encode(sign_statement(statement, key).to_value())
                actions.append(Broadcast(message=wire.Votes(raw=(raw,))))
            return actions

    world, _ = watch(network, policies={"n0": Liar})
    if key_of == "n0":
        world.run_for(5_000)  # an attacker's own key is its own affair
        return
    with pytest.raises(InvariantBroken, match="signed two: statement") as caught:
        world.run_for(5_000)
    assert caught.value.invariant == ONE_SIGNATURE


def test_a_peer_that_holds_more_than_its_bounds(network):
    world, _ = watch(network)
    world.run_for(2_000)
    bad = world.node("n2")._importer._bad
    bad.update((number.to_bytes(32, "big"), None) for number in range(1_025))
    with pytest.raises(InvariantBroken, match="1025 condemned blocks, at most 1024") as caught:
        world.run_for(2_000)
    assert caught.value.invariant == BOUNDED_MEMORY


def test_a_violation_names_the_seed_and_the_command_that_shows_it_again(monkeypatch):
    monkeypatch.setitem(RULE_SETS, 1, RuleSet(build=mint))
    scenario = load_scenario("honest-day")
    with pytest.raises(InvariantBroken) as caught:
        scenario.run(parse_settings(scenario, {"hours": "1", "peers": "5"}), 77)
    assert "seed 77" in str(caught.value)
    assert caught.value.command == "gridmerit sim trial honest-day --seed 77 --set peers=5 --set hours=1"
    assert caught.value.command in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("selfish", {"blocks": 40, "slot_blocks": 4}),
        ("double-spend", {"q": 0.4, "z": 2, "slot_blocks": 3}),
        ("equivocation", {"blocks": 30}),
        ("eclipse", {"lasts": 15}),
        ("long-range", {}),
        ("spam", {}),
        ("credit-fork", {"work": "naive", "slot_blocks": 3}),
        ("new-keys", {}),
    ],
)
def test_what_attackers_do_breaks_no_invariant_of_the_honest(name, settings, monkeypatch):
    watches, begin = [], World.__init__

    def begin_watched(self, *arguments, **options):
        begin(self, *arguments, **options)
        watches.append(Invariants([self], command="again", deep_every_ms=0))

    monkeypatch.setattr(World, "__init__", begin_watched)
    scenario = load_scenario(name)
    scenario.run(parse_settings(scenario, settings), 3)
    assert watches
    for watch in watches:
        watch.check_deeply()


def test_a_record_that_the_disk_does_not_have(network):
    world, _ = watch(network)
    world.run_for(3_000)
    signing = world.node("n2")._signing
    signing.record = signing.record.after_stranger(1)
    with pytest.raises(InvariantBroken) as caught:
        world.run_for(5_000)
    assert caught.value.invariant == DURABLE_RECORD
