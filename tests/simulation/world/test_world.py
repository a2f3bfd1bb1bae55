"""Four peers in virtual time: the same core that the real peers run, with partitions, crashes and liars."""

from dataclasses import replace
from itertools import combinations

import pytest

from consensus.contracts import EQUIVOCATION
from consensus.poca.credit_target import compute_target
from consensus.poca.engine import PocaEngine
from consensus.quorum import QuorumCertificate, Statement, Vote, sign_statement
from consensus.seal import search
from ledger.accounts import get_account
from ledger.checkpoints import compute_slot
from ledger.codec import decode, encode
from ledger.execution import get_clock
from ledger.hashing import address_of
from ledger.overlay import Overlay
from ledger.store import MemoryStore
from ledger.transaction import make_transaction
from market.trading.gates import CERTIFIED, SETTLED, VOID, get_gate
from node.chain import messages as wire
from node.chain.candidate import build_candidate
from node.chain.node import ChainNode
from node.chain.rule_sets import RuleBook
from node.errors import RolledBack
from node.queries.chain import ChainQueries
from simulation.world.networks import INITIAL_BALANCE_UYUAN, make_network
from simulation.world.world import World


@pytest.fixture
def network():
    return make_network()


@pytest.fixture
def world(network):
    return World(network.genesis, network.keys, seed=7)


def sign(world, key, kind, *payload, sequence=0):
    return make_transaction(
        key,
        chain_id=world.genesis.chain_id,
        sequence=sequence,
        expiry_height=5_000,
        kind=kind,
        payload=payload,
    )


def intention(world, network, name, side, period, price, volume_wh, sequence=0):
    payload = (side, period, price, volume_wh)
    return sign(world, network.keys[name], "intention", *payload, sequence=sequence)


def account(world, peer, key):
    return get_account(Overlay(world.node(peer).chain.head.state), key.address)


def gate(world, peer, period):
    return get_gate(Overlay(world.node(peer).chain.head.state), period)


def status(world, peer, period):
    record = gate(world, peer, period)
    return None if record is None else record.status


def agree(world):
    return lambda: len(world.heads()) == 1


def test_four_peers_agree_and_blocks_come_at_the_interval(world):
    world.run_for(200_000)
    world.run_until(agree(world), limit_ms=10_000)
    assert 150 < world.node("n0").chain.head.height < 260
    assert all(peer.faults == [] for peer in world.peers.values())
    sealers = {entry.header.producer for entry in world.node("n0").chain.ancestors(world.node("n0").chain.head)}
    assert sealers >= {key.public_key for key in world_keys(world)}


def world_keys(world):
    return [peer.key for peer in world.peers.values()]


def test_a_heavier_branch_wins_when_the_partition_heals(world):
    # genesis ── common ─┬─ a1 ── a2 …            n0
    #                    └─ b1 ── b2 ── b3 …      n1 n2 n3   <- head after healing
    world.run_for(20_000)
    world.partition({"n0"}, {"n1", "n2", "n3"})
    world.run_for(60_000)
    minority, majority = world.node("n0").chain.head, world.node("n1").chain.head
    assert minority.work < majority.work
    world.heal()
    world.run_until(agree(world), limit_ms=20_000)
    chain = world.node("n0").chain
    assert chain.get_header(majority.hash) is not None, world.seed
    assert chain.is_canonical(majority.header), world.seed
    assert chain.counters.reorgs >= 1
    assert chain.counters.deepest_reorg > 1


def test_a_period_is_traded_certified_metered_and_settled(world, network):
    world.submit("n0", intention(world, network, "n0", 1, 3, 500_000, 200_000))
    world.submit("n1", intention(world, network, "n1", 0, 3, 560_000, 200_000))
    world.run_until(lambda: status(world, "n3", 3) == CERTIFIED, limit_ms=40_000)
    n2 = world.node("n2")
    closed = gate(world, "n2", 3)
    gate_block = n2.chain.get_header(n2.chain.hash_at(closed.height))
    certificate = n2.get_certificate(compute_slot(gate_block.timestamp_ms - network.genesis.time_ms, n2.params))
    assert certificate.statement.block_hash == gate_block.hash, "a gate closes with the checkpoint of its slot"
    assert n2.chain.final_height >= closed.height

    world.run_until(lambda: world.node("n0").chain.head.header.period == 4, limit_ms=60_000)
    world.submit("n0", sign(world, network.devices["n0"], "reading", 3, 0, 190_000))
    world.submit("n1", sign(world, network.devices["n1"], "reading", 3, 180_000, 0))
    world.run_until(lambda: gate(world, "n2", 3).status == SETTLED, limit_ms=60_000)
    world.run_until(agree(world), limit_ms=10_000)

    # Price 0.53 (the midpoint), wheeling 0.02, 180 kWh taken of 190 kWh delivered, the rest fed in at 0.41.
    buyer, seller = account(world, "n3", network.keys["n1"]), account(world, "n3", network.keys["n0"])
    assert buyer.balance_uyuan == INITIAL_BALANCE_UYUAN - 180 * 550_000
    assert seller.balance_uyuan == INITIAL_BALANCE_UYUAN + 180 * 530_000 + 10 * 410_000
    assert account(world, "n3", network.grid).balance_uyuan == 180 * 20_000 - 10 * 410_000
    assert (buyer.credit_upt, seller.credit_upt) == (90_000_000, 95_000_000)


def test_what_happens_without_any_order_gets_final_too(world, network):
    # Nothing is traded, so no gate closes: every slot has its checkpoint all the same.
    world.run_for(80_000)
    world.run_until(agree(world), limit_ms=10_000)
    view = Overlay(world.node("n0").chain.head.state)
    assert all(get_gate(view, period) is None for period in range(8))
    for name, peer in world.peers.items():
        finals = [event for event in peer.published if event[0] == "certificate"]
        late = set(range(1, 15)) - {slot for _, slot, _, _, _ in finals}
        assert len(late) <= 2, (name, late)  # a slot may pass without a block, or with a vote too few
        chain = peer.node.chain
        assert all(chain.hash_at(height) == block_hash for _, _, height, block_hash, _ in finals)
        final = chain.get_header(chain.final_hash)
        assert final.period >= chain.head.header.period - 1


class Ballot:
    """Every vote that a peer gives away, with the slot that the clock was in when it first did."""

    def __init__(self, world):
        self.votes = {}  # signer -> {slot: (block hash, slot by the clock)}
        self._world, self._perform = world, world._perform
        world._perform = self._note

    def _note(self, peer, action):
        message = getattr(action, "message", None)
        for raw in message.raw if type(message) is wire.Votes else ():
            vote = Vote.from_value(decode(raw, max_bytes=10_000))
            elapsed_ms = self._world.now_ms - self._world.genesis.time_ms
            now = compute_slot(elapsed_ms, self._world.genesis.params)
            slots = self.votes.setdefault(vote.signer, {})
            said, _ = slots.setdefault(vote.statement.slot, (vote.statement.block_hash, now))
            assert said == vote.statement.block_hash, "an honest member says one thing of a slot"
        self._perform(peer, action)


def is_on_branch_of(world, block_hash, tip):
    """True where one block descends from another, in the words of whichever peers have its ancestors."""
    chains = [world.node(name).chain for name in world.peers]
    while tip != block_hash:
        header = next((header for chain in chains if (header := chain.get_header(tip)) is not None), None)
        if header is None or header.height == 0:
            return False
        tip = header.parent
    return True


CUTS = {
    "one alone": [({"n0"}, {"n1", "n2", "n3"})] * 3,
    "one after the other": [({name}, {"n0", "n1", "n2", "n3"} - {name}) for name in ("n0", "n1", "n2", "n3")],
    "halves": [({"n0", "n1"}, {"n2", "n3"}), ({"n0", "n2"}, {"n1", "n3"}), ({"n0", "n3"}, {"n1", "n2"})],
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_two_branches_are_never_both_certified(network, cuts, seed):
    world = World(network.genesis, network.keys, seed=seed)
    ballot = Ballot(world)
    for groups in cuts:
        world.partition(*groups)
        world.run_for(9_000)  # not quite two slots: a vote of each branch is on its way, then the branches meet
        world.heal()
        world.run_for(4_000)
    world.run_for(30_000)
    world.run_until(agree(world), limit_ms=30_000)

    chain = world.node("n0").chain
    slots = compute_slot(world.now_ms - network.genesis.time_ms, network.genesis.params)
    found = [world.node(name).get_certificate(slot) for name in world.peers for slot in range(slots + 1)]
    certified = {(one.statement.slot, one.statement.block_hash) for one in found if one is not None}
    assert max(slot for slot, _ in certified) >= slots - 2, "finality came back"
    assert len({slot for slot, _ in certified}) == len(certified)
    assert all(chain.is_canonical(chain.get_header(block_hash)) for _, block_hash in certified)
    assert not [event for peer in world.peers.values() for event in peer.published if event[0] == "finality-conflict"]

    # The lock: while a checkpoint may still be certified, whoever has signed it signs nothing beside its branch.
    lifetime = network.genesis.params.consensus.checkpoint_lifetime
    for said in ballot.votes.values():
        for (early, (first, _)), (_, (second, now)) in combinations(sorted(said.items()), 2):
            if now - early < lifetime:
                assert is_on_branch_of(world, first, second), (early, now)


def test_without_a_quorum_the_period_is_void_and_the_next_one_runs(world, network):
    world.submit("n0", intention(world, network, "n0", 1, 3, 500_000, 1_000))
    world.submit("n0", intention(world, network, "n1", 0, 3, 560_000, 1_000))
    world.run_for(10_000)
    world.partition({"n0", "n1"}, {"n2", "n3"})  # three of four must sign
    final = {name: world.node(name).chain.final_hash for name in world.peers}
    world.run_until(lambda: status(world, "n0", 3) == VOID, limit_ms=80_000)
    assert {name: world.node(name).chain.final_hash for name in world.peers} == final
    told = ChainQueries(world.node("n0")).get_trades(3).gate
    assert (told.reason, set(told.missing)) == ("no-certificate", {"n2", "n3"})
    assert "no vote of" in told.detail
    assert "net status" in told.remedy
    (failure,) = ChainQueries(world.node("n0")).get_status(world.now_ms).failed_periods
    assert (failure.period, failure.gate) == (3, told)
    buyer = account(world, "n0", network.keys["n1"])
    assert (buyer.balance_uyuan, buyer.reserved_uyuan) == (INITIAL_BALANCE_UYUAN, 0)
    world.heal()
    world.run_until(agree(world), limit_ms=20_000)

    period = (world.now_ms - network.genesis.time_ms) // 20_000 + 3
    assert world.submit("n0", intention(world, network, "n0", 1, period, 500_000, 1_000, sequence=1)) == (None,)
    assert world.submit("n1", intention(world, network, "n1", 0, period, 560_000, 1_000, sequence=1)) == (None,)
    world.run_until(lambda: status(world, "n2", period) == CERTIFIED, limit_ms=60_000)


def test_a_peer_that_missed_a_checkpoint_comes_over_to_the_final_branch(network):
    # n3 hashes ten times as fast as the others together, alone, while they make a gate block final.
    world = World(network.genesis, network.keys, seed=3)
    world.submit("n0", intention(world, network, "n0", 1, 3, 500_000, 1_000))
    world.submit("n0", intention(world, network, "n1", 0, 3, 560_000, 1_000))
    world.run_for(10_000)
    world.peers["n3"].hash_rate = 40_000
    world.partition({"n0", "n1", "n2"}, {"n3"})
    world.run_until(lambda: status(world, "n0", 3) == CERTIFIED, limit_ms=60_000)
    final = world.node("n0").chain.get_header(world.node("n0").chain.final_hash)
    assert final.height >= gate(world, "n0", 3).height
    assert world.node("n3").chain.head.work > world.node("n0").chain.head.work
    assert world.node("n3").chain.final_height < final.height
    world.peers["n3"].hash_rate = 1_000
    world.heal()
    world.run_until(lambda: world.node("n3").chain.final_height >= final.height, limit_ms=60_000)
    world.run_until(agree(world), limit_ms=30_000)
    assert world.node("n3").chain.is_canonical(final)


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "below the final block"])
def test_two_blocks_on_one_parent_cost_their_producer_credit_everywhere(world, network, is_late):
    culprit = network.keys["n0"]
    world.run_until(lambda: find_sealed(world, "n1", culprit) is not None, limit_ms=60_000)
    entry = find_sealed(world, "n1", culprit)
    if is_late:
        world.run_until(lambda: world.node("n1").chain.final_height > entry.height, limit_ms=60_000)
    twin = reseal(world, replace(entry.header, timestamp_ms=entry.header.timestamp_ms - 1), culprit)
    world.inject("n1", network.keys["n2"].public_key, wire.NewBlock(header=encode(twin.to_value()), ids=()))
    world.run_for(10_000)
    world.run_until(agree(world), limit_ms=10_000)
    for peer in world.peers:
        assert account(world, peer, culprit).penalty_upt == 20_000_000
        assert account(world, peer, culprit).credit_upt == 70_000_000
    kinds = [
        tx.kind
        for entry in world.node("n2").chain.ancestors(world.node("n2").chain.head)
        if entry.block
        for tx in entry.block.transactions
    ]
    assert kinds.count(EQUIVOCATION) == 1


def find_sealed(world, peer, key):
    """The latest block that `peer` has by this key, None where there is none."""
    chain = world.node(peer).chain
    by_key = (entry for entry in chain.ancestors(chain.head) if entry.header.producer == key.public_key)
    return next(by_key, None)


def reseal(world, header, key):
    """Seal a changed header with its producer's key, as a cheat would."""
    consensus = world.genesis.params.consensus
    target = compute_target(header.n_diff, header.credit_upt, consensus.tau_upt)
    return header.sealed(search(header.root, target, count=10**8), key)


def test_a_crashed_peer_goes_on_where_its_store_ends(world, network):
    transfer = sign(world, network.keys["n0"], "transfer", network.keys["n1"].address, 5)
    world.run_for(3_000)
    world.partition({"n0"}, {"n1", "n2", "n3"})
    assert world.submit("n0", transfer) == (None,)
    world.crash("n0")  # acknowledged, gossiped to nobody
    world.run_for(30_000)
    world.start("n0")
    world.heal()
    world.run_until(
        lambda: account(world, "n3", network.keys["n1"]).balance_uyuan == INITIAL_BALANCE_UYUAN + 5,
        limit_ms=30_000,
    )


def test_a_restored_backup_refuses_to_start(world, network):
    world.run_for(10_000)
    backup, height = MemoryStore(), world.node("n0").chain.head.height
    backup.write(list(world.peers["n0"].store.scan(b"")))
    world.run_until(lambda: world.peers["n0"].signing_record.height > height + 12, limit_ms=99_000)
    with pytest.raises(RolledBack) as caught:
        ChainNode(network.genesis, backup, key=network.keys["n0"], signing_record=world.peers["n0"].signing_record)
    assert caught.value.values["expected"] > caught.value.values["actual"] == height


def test_a_late_peer_catches_up_headers_first_with_bodies_from_several_peers(network):
    world = World(network.genesis, network.keys, seed=5)
    world.crash("n3")
    world.run_for(700_000)
    height = world.node("n0").chain.head.height
    assert height > 550  # more than one message of headers
    asked = dict.fromkeys(("n0", "n1", "n2"), 0)
    perform = world._perform

    def count(peer, action):
        if peer.name in asked and type(getattr(action, "message", None)) is wire.Blocks:
            asked[peer.name] += len(action.message.raw)
        perform(peer, action)

    world._perform = count
    world.start("n3")
    world.run_until(lambda: world.node("n3").chain.head.height >= height, limit_ms=60_000)
    world.run_until(agree(world), limit_ms=10_000)
    assert all(bodies > 50 for bodies in asked.values()), asked
    assert sum(asked.values()) < 1.1 * height, "bodies were downloaded more than once"


def test_a_block_ahead_of_the_clock_waits_and_is_then_taken_in(world, network):
    world.run_for(5_000)
    world.partition({"n1"}, {"n0", "n2", "n3"})
    world.run_for(100)
    block = build_block(world, "n1", network.keys["n0"], world.now_ms + 1_500)
    announce(world, "n1", block)
    assert world.peers["n1"].faults == []
    assert not knows(world, "n1", block)
    world.run_for(1_600)
    assert knows(world, "n1", block)


def test_a_block_too_far_ahead_is_refused_now_but_not_for_ever(world, network):
    world.run_for(5_000)
    world.partition({"n1"}, {"n0", "n2", "n3"})
    world.run_for(100)
    block = build_block(world, "n1", network.keys["n0"], world.now_ms + 60_000)
    announce(world, "n1", block)
    assert [(name, error.code) for name, error in world.peers["n1"].faults] == [("n0", "TimestampTooFarAhead")]
    world.run_for(59_000)
    announce(world, "n1", block)
    world.run_for(2_000)
    assert knows(world, "n1", block)


def test_time_may_step_back_from_header_to_header_but_not_for_contracts(world, network):
    world.run_for(10_000)
    world.partition({"n1"}, {"n0", "n2", "n3"})
    world.run_for(100)
    chain, liar, now_ms = world.node("n1").chain, network.keys["n0"], world.now_ms
    for dated_ms in (now_ms, now_ms - 1_000):
        announce(world, "n1", build_block(world, "n1", liar, now_ms, dated_ms=dated_ms))
        assert chain.head.header.timestamp_ms == dated_ms
        assert get_clock(Overlay(chain.head.state)) == now_ms


def announce(world, receiver, block):
    message = wire.NewBlock(header=encode(block.header.to_value()), ids=())
    world.inject(receiver, block.header.producer, message)


def knows(world, name, block):
    return world.node(name).chain.get_header(block.hash) is not None


def build_block(world, name, key, now_ms, *, dated_ms=None):
    """An empty block by `key` on a peer's head, dated `now_ms` or otherwise than an honest one would be."""
    chain = world.node(name).chain
    engine = PocaEngine(world.genesis)
    proposal = engine.propose(key.public_key, chain.head, chain, now_ms)
    if dated_ms is not None:
        proposal = replace(proposal, timestamp_ms=dated_ms)
    candidate = build_candidate(
        key,
        proposal,
        chain.head,
        genesis=world.genesis,
        rules=RuleBook(world.genesis).at(chain.head.state, chain.head.height + 1),
        producers=(),
        pending=(),
    )
    nonce = search(candidate.header.root, proposal.target, count=10**8)
    return candidate.sealed(nonce, key)


def test_same_seed_same_trace_under_every_hash_seed(network, run_under_hash_seed):
    script = (
        "from simulation.world.networks import make_network\n"
        "from simulation.world.world import World\n"
        "network = make_network()\n"
        "world = World(network.genesis, network.keys, seed=11)\n"
        "world.run_for(20_000); world.partition({'n0'}, {'n1', 'n2', 'n3'}); world.run_for(10_000)\n"
        "world.heal(); world.run_for(10_000)\n"
        "print(world.trace_hash())\n"
    )
    traces = {run_under_hash_seed(script, seed) for seed in ("0", "1", "77")}
    assert len(traces) == 1
    other = World(network.genesis, network.keys, seed=12)
    other.run_for(40_000)
    assert other.trace_hash() not in traces.pop()


def test_addresses_follow_from_keys(network):
    assert all(key.address == address_of(key.public_key) for key in network.keys.values())


def test_a_certificate_against_our_final_block_is_not_followed(world, network):
    world.submit("n0", intention(world, network, "n0", 1, 3, 500_000, 1_000))
    world.submit("n0", intention(world, network, "n1", 0, 3, 560_000, 1_000))
    world.run_for(10_000)
    world.partition({"n0", "n1", "n2"}, {"n3"})
    world.run_until(lambda: status(world, "n0", 3) == CERTIFIED, limit_ms=40_000)
    node = world.node("n0")
    final = node.chain.get_header(node.chain.final_hash)

    # Three members lie: they certify a block of n3's branch, for a later slot.
    fork = world.node("n3").chain.head
    world.heal()
    entry = next(e for e in world.node("n3").chain.ancestors(fork) if node.chain.get_header(e.hash) is None)
    world.inject("n0", network.keys["n3"].public_key, certify(world, network, entry.hash))
    world.run_for(20_000)
    for name in ("n0", "n1", "n2"):
        chain = world.node(name).chain
        assert chain.is_canonical(final)
        assert not chain.is_canonical(entry.header)
        assert world.node(name).signing_state == "record-behind"  # somebody else has its key, and it can tell


def certify(world, network, block_hash):
    """The certificate of three liars: the checkpoint of the next slot is this block."""
    slot = compute_slot(world.now_ms - network.genesis.time_ms, network.genesis.params) + 1
    statement = Statement(chain_id=world.chain_id, slot=slot, block_hash=block_hash)
    votes = [sign_statement(statement, network.keys[name]) for name in ("n0", "n1", "n2")]
    signatures = tuple(sorted((vote.signer, vote.signature) for vote in votes))
    certificate = QuorumCertificate(statement=statement, signatures=signatures)
    return wire.Certificate(raw=encode(certificate.to_value()))


def leave_a_branch(network, seed):
    """A world in which n0 was alone for a while and left its branch, and its head of then; None where it did not."""
    world = World(network.genesis, network.keys, seed=seed)
    world.run_for(10_000)
    world.partition({"n0"}, {"n1", "n2", "n3"})
    world.run_for(8_000)
    left = world.node("n0").chain.head
    world.heal()
    world.run_until(lambda: world.node("n0").chain.final_height > left.height, limit_ms=40_000)
    return None if world.node("n0").chain.is_canonical(left.header) else (world, left)


def test_a_certificate_of_a_branch_that_was_left_for_good_is_named(network):
    world, left = next(filter(None, (leave_a_branch(network, seed) for seed in range(30))))
    chain = world.node("n0").chain
    final = chain.get_header(chain.final_hash)
    world.inject("n0", network.keys["n3"].public_key, certify(world, network, left.hash))
    conflicts = [event for event in world.peers["n0"].published if event[0] == "finality-conflict"]
    assert [block_hash for _, _, block_hash in conflicts] == [left.hash]
    world.run_for(10_000)
    assert chain.is_canonical(final)
