"""New rules at a height: nodes that know them switch there, the others stop right before it, and nobody is blamed."""

from dataclasses import replace

import pytest

from consensus.signing_record import SigningRecord
from ledger.block import Block
from ledger.errors import StoreTooNew
from ledger.genesis import Authority
from ledger.membership import sign_act
from ledger.params import ConsensusParams
from ledger.store import MemoryStore
from ledger.transaction import make_transaction
from ledger.upgrades import Upgrade
from node.chain import messages as wire
from node.chain.events import MessageReceived, Send
from node.chain.rule_sets import RULE_SETS, RuleBook, RuleSet
from node.errors import RulesUnknown
from node.queries.chain import ChainQueries
from simulation.world.invariants import Invariants
from simulation.world.networks import key_of, make_network
from simulation.world.peer import Backup
from simulation.world.world import World

CHAIR = key_of("chair")
PBFT = ConsensusParams(
    engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000, view_timeout_ms=2_000
)
BOUNDS = {"max_bytes": 10**7, "max_transactions": 10**4, "max_transaction_bytes": 10**6}
AHEAD = 24  # blocks between the announcement and the new rules


def cap_prices(params):
    """Version 2, as these tests have it: no order above half a yuan."""
    return params.model_copy(update={"market": params.market.model_copy(update={"max_price_uyuan_per_kwh": 500_000})})


LATER = {**RULE_SETS, 2: RuleSet(change=cap_prices)}


class Network:
    """A world of four with an authority; those in `later` have the release that knows version 2."""

    def __init__(self, *, later, consensus=None, seed=3):
        small = make_network(consensus=consensus, period_ms=30_000)
        genesis = small.genesis.model_copy(update={"authority": Authority(keys=(CHAIR.public_key,))})
        self.small = replace(small, genesis=genesis)
        rule_sets = dict.fromkeys(later, LATER)
        self.world = World(genesis, small.keys, seed=seed, sealing="drawn", rule_sets=rule_sets)
        self.invariants = Invariants([self.world], command="this test", deep_every_ms=0)
        self.sent = dict.fromkeys(small.keys, 0)
        self.height = 0

    def send(self, name, kind, *payload, at="n0"):
        transaction = make_transaction(
            self.small.keys[name],
            chain_id=self.world.chain_id,
            sequence=self.sent[name],
            expiry_height=5_000,
            kind=kind,
            payload=payload,
        )
        (error,) = self.world.submit(at, transaction)
        self.sent[name] += error is None
        return transaction.id, error

    def announce(self, rules=2, ahead=AHEAD):
        """Announce rules, and wait until a block says so; from which height on they hold."""
        self.height = self.chain("n0").head.height + 4 + ahead
        body = Upgrade(self.world.chain_id, rules, self.height).to_value()
        identity, error = self.send("n0", "upgrade", *sign_act(self.world.genesis.network_id, body, (CHAIR,)))
        assert error is None
        up = [name for name in self.small.keys if self.world.is_up(name)]
        self.world.run_until(lambda: all(self.code_of(identity, name) == "" for name in up), limit_ms=60_000)
        return self.height

    def chain(self, name):
        return self.world.node(name).chain

    def code_of(self, identity, name="n0"):
        chain = self.chain(name)
        place = chain.find_transaction(identity)
        return None if place is None else chain.get_receipts(place[0])[place[1]].code

    def run_to(self, height, *names):
        self.world.run_until(lambda: all(self.chain(name).head.height >= height for name in names), limit_ms=900_000)

    def handed_out(self, name):
        """Height of the oldest state that a node hands out to those that join."""
        return self.world.node(name)._snapshots._kept[0][0].height

    def status(self, name):
        return ChainQueries(self.world.node(name)).get_status(self.world.now_ms)

    def events(self, name):
        wanted = ("upgrade", "release-needed", "chain-halted")
        return [event for event in self.world.peers[name].published if event[0] in wanted]

    def faults(self):
        """Those that cost points: a vote for a slot that one's own chain has not come to costs none."""
        return [fault for peer in self.world.peers.values() for fault in peer.faults if fault[1].penalty]


@pytest.fixture(params=["poca", "pbft"])
def consensus(request):
    return PBFT if request.param == "pbft" else None


def test_an_old_node_stops_right_before_the_height_and_the_others_go_on(consensus):
    # … ── h-1 ── h ── h+1 …   <- n0, n1, n2
    #      └ n3 stands here
    network = Network(later=("n0", "n1", "n2"), consensus=consensus)
    network.world.run_for(5_000)
    height = network.announce()
    network.run_to(height + 30, "n0", "n1", "n2")
    old = network.chain("n3")
    assert old.head.height == height - 1
    assert old.head.hash == network.chain("n0").hash_at(height - 1)
    assert network.chain("n0").final_height > height
    assert network.faults() == []
    assert network.world.node("n3").blocks_refused == 0
    network.invariants.check_deeply()
    needed = [("upgrade", 2, height), ("release-needed", 2, height), ("chain-halted", 2, height)]
    assert sorted(set(network.events("n3"))) == sorted(needed)
    assert network.events("n3").count(("chain-halted", 2, height)) == 1
    assert set(network.events("n0")) == {("upgrade", 2, height)}


def test_a_node_that_stands_still_says_so_answers_reads_and_takes_no_transactions(consensus):
    network = Network(later=("n0", "n1", "n2"), consensus=consensus)
    network.world.run_for(5_000)
    height = network.announce()
    early = network.status("n3")
    assert (early.rules, early.upgrade.rules, early.upgrade.height) == (1, 2, height)
    assert (early.upgrade.known, early.upgrade.halted) == (False, False)
    assert network.status("n0").upgrade.known
    network.run_to(height + 10, "n0", "n1", "n2")
    halted, gone_on = network.status("n3"), network.status("n0")
    assert (halted.rules, halted.upgrade.halted, halted.height) == (1, True, height - 1)
    assert (gone_on.rules, gone_on.upgrade) == (2, None)
    _, error = network.send("n3", "transfer", network.small.keys["n0"].address, 1, at="n3")
    assert isinstance(error, RulesUnknown)
    assert str(error) == f"from block {height} on the chain has rules 2, and this release knows none after 1"
    queries = ChainQueries(network.world.node("n3"))
    assert queries.get_block(str(height - 1)).height == height - 1
    assert network.world.node("n3").is_halted
    assert not network.world.node("n3").is_syncing


def test_the_new_rules_hold_from_that_height_on_and_not_before(consensus):
    network = Network(later=("n0", "n1", "n2", "n3"), consensus=consensus)
    network.world.run_for(5_000)
    height = network.announce()
    network.run_to(height - 6, "n0", "n1", "n2", "n3")
    period = network.chain("n0").head.header.period + 3
    before, error = network.send("n0", "intention", 0, period, 600_000, 1_000)
    assert error is None
    network.run_to(height + 3, "n0", "n1", "n2", "n3")
    assert network.code_of(before) == ""
    assert network.chain("n0").get_header(network.chain("n0").find_transaction(before)[0]).height < height
    period = network.chain("n0").head.header.period + 3
    _, error = network.send("n1", "intention", 0, period, 600_000, 1_000, at="n1")
    assert error.code == "PriceTooHigh"
    after, error = network.send("n1", "intention", 0, period, 500_000, 1_000, at="n1")
    assert error is None
    network.run_to(height + 9, "n0", "n1", "n2", "n3")
    assert network.code_of(after) == ""
    network.invariants.check_deeply()


def test_a_state_under_rules_that_are_not_known_is_not_taken():
    """A fresh node of an old release replays the chain up to them instead, and does not try again."""
    network = Network(later=("n0", "n1", "n2"), consensus=PBFT)
    network.world.run_for(5_000)
    network.world.crash("n3")
    height = network.announce()
    network.world.run_until(lambda: network.handed_out("n0") >= height, limit_ms=200_000)
    network.world.peers["n3"].put_back(Backup(MemoryStore(), SigningRecord()))
    for _ in range(2):
        network.world.start("n3", snapshot_distance=10)
        network.world.run_until(lambda: ("chain-halted", 2, height) in network.events("n3"), limit_ms=60_000)
        network.world.run_for(10_000)
        network.world.crash("n3")
    told = [event for event in network.world.peers["n3"].published if event[0].startswith("snapshot")]
    assert [event[0] for event in told] == ["snapshot-begun", "snapshot-ended"]
    assert not list(network.world.peers["n3"].store.scan(b"Y"))
    assert network.faults() == []


def test_where_nobody_knows_the_rules_all_stop_and_go_on_with_the_release_that_does(consensus):
    network = Network(later=(), consensus=consensus)
    network.world.run_for(5_000)
    height = network.announce()
    pending, error = network.send("n2", "transfer", network.small.keys["n1"].address, 7, at="n2")
    assert error is None
    network.run_to(height - 1, "n0", "n1", "n2", "n3")
    network.world.run_for(60_000)
    assert [network.chain(name).head.height for name in network.small.keys] == [height - 1] * 4
    assert network.faults() == []
    for name in network.small.keys:
        network.world.crash(name)
        network.world.install(name, LATER)
        network.world.start(name)
    network.run_to(height + 20, "n0", "n1", "n2", "n3")
    assert network.chain("n0").final_height > height
    assert network.code_of(pending) == ""
    assert network.faults() == []
    network.invariants.check_deeply()


def test_a_node_that_stands_still_asks_for_nothing_that_it_cannot_use(consensus):
    """A certificate may still name another branch below the height: its headers are asked for, and no more of them."""
    network = Network(later=("n0", "n1", "n2"), consensus=consensus)
    network.world.run_for(5_000)
    height = network.announce()
    network.run_to(height - 1, "n3")
    asked, final = [], network.chain("n0").final_height

    def observe(_now_ms, name, event, actions):
        if name == "n3":
            certified = isinstance(event, MessageReceived) and isinstance(event.message, wire.Certificate)
            wanted = wire.GetBlocks if certified else wire.GetBlocks | wire.GetHeaders
            asked.extend(item for item in actions if isinstance(item, Send) and isinstance(item.message, wanted))

    network.world.watch(observe)
    network.run_to(height + 40, "n0", "n1", "n2")
    assert network.chain("n0").final_height > max(final, height)
    assert len(asked) <= 2, "what was on its way when it came to the end"


def test_a_promise_is_kept_across_a_halt_a_restart_and_another_release(consensus):
    """A transaction was acknowledged that waits for the one before it."""
    network = Network(later=(), consensus=consensus)
    network.world.run_for(5_000)
    height, payload = network.announce(), (network.small.keys["n1"].address, 7)
    network.sent["n2"] = 1
    waiting, error = network.send("n2", "transfer", *payload, at="n2")
    assert error is None
    network.run_to(height - 1, "n0", "n1", "n2", "n3")
    network.world.crash("n2")
    network.world.start("n2")
    network.world.run_for(5_000)
    assert waiting in network.world.node("n2").acknowledgements
    for name in network.small.keys:
        network.world.crash(name)
        network.world.install(name, LATER)
        network.world.start(name)
    network.run_to(height + 2, "n2")
    network.sent["n2"] = 0
    first, error = network.send("n2", "transfer", *payload, at="n2")
    assert error is None
    network.world.run_until(lambda: network.code_of(waiting) == network.code_of(first) == "", limit_ms=60_000)


def test_a_proposal_under_new_rules_is_kept_for_the_release_that_knows_them():
    network = Network(later=("n0", "n1", "n2", "n3"), consensus=PBFT)
    network.world.run_for(5_000)
    height = network.announce()
    network.run_to(height - 1, "n1")

    def proposals():
        return [Block.from_bytes(raw, **BOUNDS) for _, raw in network.world.peers["n1"].store.scan(b"P")]

    network.world.run_until(lambda: any(block.header.height == height for block in proposals()), limit_ms=60_000)
    assert network.chain("n1").head.height == height - 1
    network.world.crash("n1")
    network.world.install("n1", RULE_SETS)
    network.world.start("n1")
    network.world.run_for(5_000)
    assert network.chain("n1").head.height == height - 1
    assert [block.header.height for block in proposals()] == [height]
    network.world.crash("n1")
    network.world.install("n1", LATER)
    network.world.start("n1")
    network.run_to(height + 5, "n1")
    assert network.faults() == []
    network.invariants.check_deeply()


def test_a_node_that_gets_the_release_later_catches_up(consensus):
    network = Network(later=("n0", "n1", "n2"), consensus=consensus)
    network.world.run_for(5_000)
    height = network.announce()
    network.run_to(height + 40, "n0", "n1", "n2")
    network.world.crash("n3")
    network.world.install("n3", LATER)
    network.world.start("n3")
    network.run_to(height + 60, "n0", "n1", "n2", "n3")
    network.world.run_until(lambda: len(network.world.heads()) == 1, limit_ms=60_000)
    assert network.faults() == []
    network.invariants.check_deeply()


def test_an_old_node_that_joins_late_comes_as_far_as_it_can_and_blames_nobody(consensus):
    network = Network(later=("n0", "n1", "n2"), consensus=consensus)
    network.world.crash("n3")
    network.world.run_for(5_000)
    height = network.announce()
    network.run_to(height + 60, "n0", "n1", "n2")
    network.world.start("n3")
    network.run_to(height - 1, "n3")
    network.world.run_for(120_000)
    assert network.chain("n3").head.height == height - 1
    assert network.chain("n3").head.hash == network.chain("n0").hash_at(height - 1)
    assert network.faults() == []
    assert not network.world.node("n3").is_syncing
    network.world.crash("n3")
    network.world.start("n3")
    network.world.run_for(5_000)
    assert network.send("n0", "transfer", network.small.keys["n1"].address, 1)[1] is None
    network.world.run_for(15_000)
    assert network.chain("n3").head.height == height - 1
    assert network.events("n3")[-1] == ("chain-halted", 2, height)
    assert network.faults() == []


def test_a_ledger_that_has_gone_on_is_not_opened_by_the_release_before():
    network = Network(later=("n0", "n1", "n2", "n3"), consensus=PBFT)
    network.world.run_for(5_000)
    height = network.announce()
    network.run_to(height, "n0")
    network.world.crash("n0")
    network.world.install("n0", RULE_SETS)
    with pytest.raises(
        StoreTooNew, match=r"the rule set of block \d+ has version 2, and this release knows none above 1"
    ):
        network.world.start("n0")


def test_a_genesis_of_rules_that_are_not_known_is_refused():
    genesis = make_network().genesis
    later = genesis.model_copy(update={"params": genesis.params.model_copy(update={"rules": 2})})
    with pytest.raises(RulesUnknown, match="from block 0 on the chain has rules 2"):
        RuleBook(later)
    assert RuleBook(later, LATER).newest == 2


def test_a_version_changes_nothing_by_which_headers_are_judged():
    def hasten(params):
        return params.model_copy(update={"consensus": ConsensusParams(tau_upt=1)})

    with pytest.raises(AssertionError, match="changes none of these"):
        RuleBook(make_network().genesis, {**RULE_SETS, 2: RuleSet(change=hasten)})
