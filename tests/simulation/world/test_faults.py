"""Machines and links that fail, each in its own way, under real nodes; and seals that are drawn."""

from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest

from consensus.errors import TargetMissed, TimestampTooFarAhead, WrongCredit, WrongDifficulty
from consensus.poca.engine import PocaEngine
from ledger.errors import StoreReadOnly
from ledger.execution import run_block
from ledger.params import ConsensusParams
from ledger.transaction import make_transaction
from node.chain.events import Broadcast, Persist, PersistSigningRecord, Send, StartSealing
from node.chain.messages import GetHeaders, Headers, Status
from simulation.attacks.policy import Policy
from simulation.theory.binomial import compute_band
from simulation.world.links import Constant, Links
from simulation.world.networks import make_network
from simulation.world.sealing import DrawnEngine, draw_exponential, draw_race_ms, draw_wait_ms
from simulation.world.world import World

NAMES = ("n0", "n1", "n2", "n3")
PBFT = ConsensusParams(engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000)
WRITES = (Persist, PersistSigningRecord, StartSealing)


@pytest.fixture(scope="module")
def network():
    return make_network()


def open_world(network, *, seed=7, **options):
    return World(network.genesis, network.keys, seed=seed, sealing="drawn", **options)


def height(world, name):
    return world.node(name).chain.head.height


def agree(world, *, limit_ms=30_000):
    world.run_until(lambda: len(world.heads()) == 1, limit_ms=limit_ms)


def make_transfer(network, *, sequence=0):
    """One µ¥ from n3 to the grid company."""
    return make_transaction(
        network.keys["n3"],
        chain_id=network.genesis.chain_id,
        sequence=sequence,
        expiry_height=9_000,
        kind="transfer",
        payload=(network.grid.address, 1),
    )


def has_sealed(world, key, *, above):
    """True where n0 has a block by this key above a height."""
    chain = world.node("n0").chain
    heights = range(max(above, chain.head.height - 100) + 1, chain.head.height + 1)
    return any(chain.get_header(chain.hash_at(height)).producer == key for height in heights)


def shares_of(world, name):
    chain = world.node(name).chain
    producers = [entry.header.producer for entry in chain.ancestors(chain.head) if entry.height]
    return {peer.name: producers.count(peer.key.public_key) for peer in world.peers.values()}, len(producers)


# --- machines ----------------------------------------------------------------------------------------


def test_a_paused_peer_does_nothing_and_takes_in_later_what_waited_for_it(network):
    world = open_world(network)
    world.run_for(5_000)
    world.pause("n0")
    before, said = height(world, "n0"), []
    world.watch(lambda now_ms, name, event, actions: said.append(name))
    world.run_for(30_000)
    assert height(world, "n0") == before
    assert "n0" not in said
    assert not world.is_up("n0")
    assert height(world, "n1") > before + 10
    waiting = len(world.peers["n0"].condition.waiting)
    world.resume("n0")
    assert waiting > 30
    assert said.count("n0") == waiting, "at once, in order"
    world.run_for(30_000)
    agree(world)
    assert shares_of(world, "n1")[0]["n0"] > 0
    assert [what for _, what, _ in world.happenings if what not in ("start",)] == ["pause", "resume"]


def test_a_clock_that_is_ahead_dates_blocks_ahead_and_one_too_far_ahead_is_refused(network):
    for skew_ms, is_refused in ((1_500, False), (60_000, True)):
        world = open_world(network)
        world.run_for(3_000)
        world.set_skew("n0", skew_ms)
        own = world.peers["n0"].key.public_key
        world.run_until(
            lambda world=world, own=own: world.node("n0").chain.head.header.producer == own, limit_ms=60_000
        )
        dated_ms = world.node("n0").chain.head.header.timestamp_ms
        assert 0 <= world.now_ms + skew_ms - dated_ms <= 50
        world.run_for(1_000)
        blamed = {type(error) for name in NAMES[1:] for _, error in world.peers[name].faults}
        assert blamed == ({TimestampTooFarAhead} if is_refused else set())


def test_a_slow_disk_delays_what_a_peer_says_and_hears(network):
    links = Links(latency=Constant(10))
    times = {}
    for delay_ms in (0, 300):
        world = open_world(network, links=links)
        world.set_disk("n0", delay_ms=delay_ms)
        own = world.peers["n0"].key.public_key
        heads = []
        world.watch(
            lambda now_ms, name, event, actions, world=world, heads=heads: heads.append(
                (now_ms, name, world.node(name).chain.head)
            )
        )
        world.run_for(30_000)
        found = next((at, head) for at, name, head in heads if name == "n0" and head.header.producer == own)
        heard = next(at for at, name, head in heads if name == "n1" and head.hash == found[1].hash)
        times[delay_ms] = heard - found[0]
        agree(world, limit_ms=60_000)
    assert times[0] == 10
    assert times[300] >= 310 + 300, "block and guard are on disk before a word of it leaves"


@pytest.mark.parametrize("engine", ["poca", "pbft"])
def test_a_peer_whose_disk_is_full_answers_and_adds_nothing_until_there_is_room(engine):
    network = make_network(consensus=PBFT if engine == "pbft" else None)
    world = open_world(network, seed=3)
    world.run_for(10_000)
    victim, own = world.peers["n3"], world.peers["n3"].key.public_key
    client = make_transfer(network)
    assert world.submit("n3", client) == (None,)
    world.set_disk("n3", full=True)
    world.run_until(lambda: world.node("n3").refusal is not None, limit_ms=30_000)
    stored, record, left = dict(victim.store.scan(b"")), victim.signing_record, world.node("n3").chain.head
    said = []
    world.watch(lambda now_ms, name, event, actions: said.extend((name, action) for action in actions))
    world.run_for(20_000)
    assert height(world, "n0") > left.height + 5, "the others go on"
    assert [action for name, action in said if name == "n3" and isinstance(action, WRITES)] == []
    assert {type(action.message) for name, action in said if name == "n3" and isinstance(action, Broadcast)} == {Status}
    assert (dict(victim.store.scan(b"")), victim.signing_record) == (stored, record)
    assert world.node("n3").chain.head.hash == left.hash
    assert world.node("n3").signing_state == "read-only"
    assert client.id in world.node("n3").mempool or world.node("n3").chain.find_transaction(client.id)
    (refused,) = world.submit("n3", make_transfer(network, sequence=1))
    assert isinstance(refused, StoreReadOnly)
    world.inject("n3", world.peers["n1"].key.public_key, GetHeaders(locator=(world.node("n3").chain.hash_at(0),)))
    answers = [action.message for name, action in said if name == "n3" and isinstance(action, Send)]
    assert any(isinstance(answer, Headers) for answer in answers)
    world.set_disk("n3")
    world.run_until(lambda: has_sealed(world, own, above=left.height + 5), limit_ms=200_000)
    agree(world)
    assert world.node("n0").chain.find_transaction(client.id) is not None
    assert not any(error.penalty for peer in world.peers.values() for _, error in peer.faults)


def test_a_disk_that_fills_up_again_at_once_is_no_end(network):
    world = open_world(network, seed=3)
    for _ in range(3):
        world.set_disk("n3", full=True)
        world.run_until(lambda: world.node("n3").refusal is not None, limit_ms=60_000)
        world.set_disk("n3")
        world.run_for(50)
    agree(world, limit_ms=60_000)


# --- links -------------------------------------------------------------------------------------------


def test_a_peer_that_is_cut_off_one_way_hears_and_is_not_heard(network):
    world = open_world(network)
    world.run_for(5_000)
    before = max(height(world, name) for name in NAMES)
    for other in NAMES[1:]:
        world.cut("n0", other, one_way=True)
    world.run_for(20_000)
    own = world.peers["n0"].key.public_key
    lonely, others = world.node("n0").chain, world.node("n1").chain
    heard = [
        entry for entry in others.ancestors(others.head) if lonely.get_header(entry.hash) and entry.height > before
    ]
    assert heard, "blocks that come whole in their announcement"
    said = [entry for entry in lonely.ancestors(lonely.head) if entry.header.producer == own and entry.height > before]
    assert said
    assert not any(others.get_header(entry.hash) for entry in said)
    world.heal()
    agree(world)


def test_what_comes_damaged_is_refused_by_name_and_hurts_nobody(network):
    world = open_world(network, links=Links(corrupt_ppm=100_000, loss_ppm=50_000, duplicate_ppm=50_000))
    world.run_for(40_000)
    refused = [error for peer in world.peers.values() for _, error in peer.refused]
    assert len(refused) > 50
    assert {error.code for error in refused} >= {"InvalidSignature", "WrongShape"}
    agree(world, limit_ms=60_000)
    assert height(world, "n0") > 20
    blamed = {error.code for peer in world.peers.values() for _, error in peer.faults}
    assert blamed <= {"VoteTooFarAhead"}, "a sender is not blamed for its line, though by one that lags for its vote"


# --- policies ----------------------------------------------------------------------------------------


def test_a_policy_decides_what_its_node_says(network):
    class Mute(Policy):
        def step(self, event, now_ms):
            return [action for action in super().step(event, now_ms) if not isinstance(action, Broadcast | Send)]

    made = []

    def make(node, random):
        made.append(Mute(node, random))
        return made[-1]

    world = open_world(network, policies={"n0": make})
    world.run_for(30_000)
    assert world.peers["n0"].policy is made[0]
    assert shares_of(world, "n1")[0]["n0"] == 0
    world.crash("n0")
    world.start("n0")
    assert [policy.node for policy in made][1] is world.node("n0")


# --- drawn seals -------------------------------------------------------------------------------------


def test_drawn_waits_are_exponential_with_the_mean_that_rate_and_target_give():
    random = Random(1)
    waits = [draw_exponential(random) / 2**53 for _ in range(20_000)]
    assert sum(waits) / len(waits) == pytest.approx(1, abs=0.03)
    for time in (0.1, 0.7, 2.5):
        low, high = compute_band(1_000, Fraction(2.718281828459045**-time).limit_denominator(1_000), Fraction(99, 100))
        assert low <= sum(wait > time for wait in waits[:1_000]) <= high
    target = 2**256 // 50_000 - 1  # a seal in 50 000 nonces
    drawn = [draw_wait_ms(random, hash_rate=1_000, target=target) for _ in range(5_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(50_000, rel=0.05)
    assert sum(draw_race_ms(random, 700) for _ in range(5_000)) / 5_000 == pytest.approx(700, rel=0.05)


def test_blocks_are_found_by_hash_rate(network):
    rates = {"n0": 4_000, "n1": 1_000, "n2": 1_000}
    params = network.genesis.params
    frozen = {"n_diff_max": params.consensus.n_diff_initial, "n_diff_min": params.consensus.n_diff_initial}
    consensus = ConsensusParams(**{**dict(params.consensus), **frozen, "retarget_window": 10_000})
    world = open_world(make_network(consensus=consensus), hash_rate=rates, links=Links(latency=Constant(1)))
    world.run_for(160_000)
    counts, blocks = shares_of(world, "n3")
    assert counts["n3"] == 0
    low, high = compute_band(blocks, Fraction(2, 3), Fraction(999, 1_000))
    assert low <= counts["n0"] <= high
    assert blocks == pytest.approx(160 * 6 / 4, rel=0.25)


def test_a_drawn_seal_passes_where_nothing_else_is_wrong(network):
    world = open_world(network)
    world.run_for(10_000)
    chain, engine = world.node("n0").chain, DrawnEngine(network.genesis)
    head = chain.head
    parent = chain.get(head.header.parent)
    engine.check_header(head.header, parent, chain)
    with pytest.raises(TargetMissed):
        PocaEngine(network.genesis).check_header(head.header, parent, chain)
    for change, error in (
        ({"n_diff": head.header.n_diff + 1}, WrongDifficulty),
        ({"credit_upt": head.header.credit_upt - 1}, WrongCredit),
    ):
        with pytest.raises(error):
            engine.check_header(replace(head.header, **change), parent, chain)


class UnsharedWorld(World):
    def _make_shared(self):
        return DrawnEngine(self.genesis), run_block


def test_sharing_work_changes_nothing(network):
    hashes = set()
    for kind in (UnsharedWorld, World):
        world = kind(network.genesis, network.keys, seed=3, sealing="drawn", links=Links(loss_ppm=30_000))
        world.run_for(20_000)
        world.partition({"n0"}, {"n1", "n2", "n3"})
        world.run_for(20_000)
        world.heal()
        world.run_for(20_000)
        hashes.add(world.trace_hash())
    assert len(hashes) == 1


def test_same_seed_same_log_under_every_hash_seed_with_every_fault(run_under_hash_seed):
    script = (
        "from simulation.attacks.policy import Policy\n"
        "from simulation.world.links import Links, lognormal\n"
        "from simulation.world.networks import make_network\n"
        "from simulation.world.world import World\n"
        "network = make_network()\n"
        "links = Links(latency=lognormal(60, 0.5), loss_ppm=20_000, duplicate_ppm=20_000, corrupt_ppm=20_000,\n"
        "              reorder_ppm=20_000, in_order=True, bandwidth_bytes_per_s=50_000)\n"
        "world = World(network.genesis, network.keys, seed=11, sealing='drawn', links=links, policies={'n3': Policy})\n"
        "world.run_for(8_000); world.pause('n1'); world.set_skew('n2', -700); world.set_disk('n0', delay_ms=40)\n"
        "world.run_for(8_000); world.resume('n1'); world.crash('n3'); world.cut('n0', 'n1', one_way=True)\n"
        "world.run_for(8_000); world.start('n3'); world.heal(); world.set_disk('n2', full=True)\n"
        "world.run_for(8_000)\n"
        "print(world.trace_hash())\n"
    )
    logs = {run_under_hash_seed(script, seed) for seed in ("0", "77")}
    assert len(logs) == 1
