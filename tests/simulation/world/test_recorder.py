"""A recorder's account of a world, against what the nodes' own chains say."""

from functools import partial

import pytest

from simulation.attacks.two_faced import PrivateChainAttacker
from simulation.recording import dump_replay, parse_replay
from simulation.world.links import Constant, Links
from simulation.world.networks import make_network
from simulation.world.recorder import Recorder
from simulation.world.world import World

LINKS = Links(latency=Constant(20))


@pytest.fixture(scope="module")
def network():
    return make_network()


def record(network, **options):
    world = World(network.genesis, network.keys, seed=4, sealing="drawn", links=LINKS, **options)
    return world, Recorder(world)


def hashes_of(chain):
    return [entry.hash for entry in chain.ancestors(chain.head) if entry.height][::-1]


def test_blocks_their_travels_and_forks_are_what_the_nodes_saw(network):
    world, recorder = record(network)
    world.run_for(10_000)
    world.partition({"n0"}, {"n1", "n2", "n3"})
    world.run_for(15_000)
    tips = {name: world.node(name).chain.head for name in ("n0", "n1")}
    world.heal()
    world.run_for(10_000)
    world.run_until(lambda: len(world.heads()) == 1, limit_ms=20_000)
    chain = world.node("n0").chain
    blocks = recorder.canonical("n0")
    assert [block.hash for block in blocks] == hashes_of(chain)
    assert [block.n_diff for block in blocks] == [target for _, target in recorder.targets]
    assert recorder.stale_count == len(recorder.found) - len(blocks) > 0
    assert len(recorder.intervals_ms) == len(blocks) - 1
    assert sum(recorder.intervals_ms) == blocks[-1].time_ms - blocks[0].time_ms
    loser = min(tips.values(), key=lambda tip: tip.work)
    assert not chain.is_canonical(loser.header)
    assert max(recorder.reorg_depths) == max(peer.node.chain.counters.deepest_reorg for peer in world.peers.values())
    for name, found in ((found.producer, found) for found in recorder.found.values()):
        assert recorder.arrivals[found.hash][name] == found.time_ms, "first of all at its producer's"
    assert 20 in recorder.propagation_ms, "one link, where nothing has to be asked for"
    assert min(recorder.propagation_ms) == 20
    for name in world.peers:
        assert recorder.finals[name][-1][1] == world.node(name).chain.final_hash


def test_the_film_is_one_that_a_viewer_can_read(network):
    world, recorder = record(network)
    world.at(world.now_ms + 3_000, partial(world.pause, "n1"))
    world.at(world.now_ms + 6_000, partial(world.resume, "n1"))
    world.at(world.now_ms + 7_000, partial(world.set_skew, "n1", 5))
    world.run_for(12_000)
    film = recorder.to_replay(scenario="none", settings={"a": 1}, seed=4)
    assert parse_replay(dump_replay(film), "film") == film
    kinds = [frame[1] for frame in film.frames]
    assert kinds.count("block") == len(recorder.found)
    assert {"arrive", "head", "target", "pause", "resume", "start"} <= set(kinds)
    assert (film.start_ms + 7_000, "note", "skew n1 5") in film.frames
    assert film.peers == tuple(network.keys)
    assert film.end_ms == world.now_ms


class Miser(PrivateChainAttacker):
    """Shows nobody the blocks that it finds."""

    def on_secret_block(self, now_ms):
        return []


def test_a_withheld_block_is_known_when_it_is_found(network):
    world, recorder = record(network, policies={"n0": Miser})
    world.run_for(20_000)
    withheld = [found for found in recorder.found.values() if found.producer == "n0"]
    assert withheld
    assert recorder.reference == "n1"
    assert not {found.hash for found in withheld} & set(hashes_of(world.node("n1").chain))
    assert all(recorder.arrivals[found.hash] == {} for found in withheld)
