"""One node's clock is set while it runs or while it is down, and is right again later: nobody else cares."""

import pytest

from ledger.params import ConsensusParams
from simulation.world.networks import make_network
from simulation.world.world import World

MINUTE_MS, DAY_MS = 60_000, 86_400_000
NAMES = ("n0", "n1", "n2", "n3")
WRONG_FOR_MS = 100_000
LEAST_PPM = 800_000  # of a block per interval
STEPS_MS = (-5 * MINUTE_MS, 10 * MINUTE_MS, -DAY_MS, DAY_MS)
PBFT = ConsensusParams(engine="pbft", checkpoint_m=0, block_interval_ms=1_000, empty_after_ms=1_000)


@pytest.fixture(scope="module", params=["poca", "pbft"])
def network(request):
    return make_network(period_ms=MINUTE_MS, **({"consensus": PBFT} if request.param == "pbft" else {}))


def height(world, name="n1"):
    return world.node(name).chain.head.height


@pytest.mark.parametrize(
    ("step_ms", "is_down"),
    [*((step_ms, False) for step_ms in STEPS_MS), *((step_ms, True) for step_ms in STEPS_MS[:2])],
)
def test_whose_clock_is_set_harms_nobody_and_is_back_within_two_blocks_of_its_being_right(network, step_ms, is_down):
    world = World(network.genesis, network.keys, seed=11, sealing="drawn")
    own = network.keys["n0"].public_key
    world.run_for(MINUTE_MS // 2)
    if is_down:
        world.crash("n0")
    world.set_skew("n0", step_ms)
    if is_down:
        world.start("n0")
    before = height(world)
    world.run_for(WRONG_FOR_MS)
    expected = WRONG_FOR_MS // network.genesis.params.consensus.block_interval_ms
    assert (height(world) - before) * 1_000_000 >= expected * LEAST_PPM
    world.set_skew("n0", 0)
    begin = height(world)
    world.run_until(
        lambda: world.node("n0").chain.get_header(world.node("n1").chain.head.hash) is not None, limit_ms=MINUTE_MS
    )
    assert height(world) <= begin + 2
    world.run_for(MINUTE_MS)
    assert not sum(error.penalty for peer in world.peers.values() for _, error in peer.faults), "of nobody's"
    chain = world.node("n1").chain
    assert own in {entry.header.producer for entry in chain.ancestors(chain.head) if entry.height > begin}
    if network.genesis.params.consensus.engine == "poca":
        last = world.peers["n1"].signing_record.votes[-1][0]
        assert last - 1 in dict(world.peers["n0"].signing_record.votes), "it votes as it did"


def test_a_timer_set_while_the_clock_was_a_day_ahead_fires_in_its_time(network):
    """And none fires too soon: deadlines are in a time that is never set."""
    world = World(network.genesis, network.keys, seed=11, sealing="drawn")
    fired = []
    world.watch(lambda now_ms, name, event, actions: fired.append((now_ms, name)))
    for step_ms in (DAY_MS, 0, -DAY_MS, 0):
        world.set_skew("n0", step_ms)
        begin, world_ms = len(fired), world.now_ms
        world.run_for(10_000)
        beats = [at_ms for at_ms, name in fired[begin:] if name == "n0"]
        assert beats, "it goes on"
        assert max(second - first for first, second in zip([world_ms, *beats], beats, strict=False)) < 2_500
        assert len(beats) < 2_000
        assert all(due_ms < world.now_ms + MINUTE_MS for due_ms in world.peers["n0"].timers.values())


def test_a_branch_of_which_the_rest_waits_for_the_clock_is_given_up_and_held_against_nobody():
    """n0 seals most, alone: some blocks before its clock is set a day ahead, and some after that."""
    network = make_network(period_ms=MINUTE_MS)
    rates = {"n0": 20_000, **dict.fromkeys(NAMES[1:], 500)}
    world = World(network.genesis, network.keys, seed=11, sealing="drawn", hash_rate=rates)
    world.run_for(2_000)
    world.partition({"n0"}, {"n1", "n2"}, {"n3"})  # where no quorum is
    world.run_until(lambda: height(world, "n0") > height(world) + 5, limit_ms=MINUTE_MS)
    common = height(world, "n0")
    world.set_skew("n0", DAY_MS)
    world.run_until(lambda: height(world, "n0") > common + 3, limit_ms=MINUTE_MS)
    world.heal()
    world.run_until(
        lambda: world.node("n1").chain.get_header(world.node("n0").chain.hash_at(common)), limit_ms=MINUTE_MS
    )
    world.run_for(MINUTE_MS)
    assert not sum(error.penalty for peer in world.peers.values() for _, error in peer.faults), "of nobody's"
