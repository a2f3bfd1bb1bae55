"""The gossip-only network: its race, its shortest paths, and stale rates that meet theory."""

from fractions import Fraction
from random import Random

import pytest
from pydantic import ValidationError

from simulation.experiments.scenario import load_scenario, parse_settings
from simulation.scenarios.gossip import GossipSettings
from simulation.theory.binomial import compute_band
from simulation.world.gossip_only import (
    GossipNetwork,
    compute_blind_ms,
    compute_delays,
    make_complete,
    make_neighbours,
    name_neighbours,
)

SURE = Fraction(999, 1_000)


def is_likely(count, trials, chance):
    low, high = compute_band(trials, Fraction(chance).limit_denominator(10_000), SURE)
    return low <= count <= high


@pytest.mark.parametrize("ratio", [0.05, 0.3, 1.0])
def test_stale_blocks_meet_theory_where_there_are_two_delays(ratio):
    # None to oneself and D to all others: a height is contested with probability 1 - e^(-D/I).
    scenario = load_scenario("gossip-stale")
    settings = parse_settings(scenario, {"delay_ms": 10_000, "interval_ms": round(10_000 / ratio), "blocks": 700})
    row = scenario.run(settings, 5).row
    contested, stale, propagation = scenario.metrics
    assert is_likely(row["contested"], row["heights"], contested.theory(settings).value)
    assert is_likely(row["stale"], row["blocks"], stale.theory(settings).value)
    assert row["propagation_ms"] == pytest.approx(propagation.theory(settings).value) == 10_000


def test_in_a_random_graph_it_is_the_mean_delay_to_the_hash_power_that_counts():
    scenario = load_scenario("gossip-stale")
    given = {"graph": "random", "links": "internet", "peers": 150, "interval_ms": 1_000, "blocks": 600}
    settings = parse_settings(scenario, given)
    row = scenario.run(settings, 6).row
    assert is_likely(row["contested"], row["heights"], scenario.metrics[0].theory(settings).value)
    assert row["propagation_ms"] == pytest.approx(scenario.metrics[2].theory(settings).value, rel=0.05)


def test_copies_come_by_the_shortest_path():
    #   0 --5-- 1 --5-- 2
    #    \______30_____/
    graph = [[(1, 5), (2, 30)], [(0, 5), (2, 5)], [(1, 5), (0, 30)]]
    assert compute_delays(graph, 0) == [0, 5, 10]
    assert compute_blind_ms(graph, [1, 1, 2], 0) == (0 + 5 + 20) / 4
    network = GossipNetwork(graph, interval_ms=10_000, seed=1, hash_rates=[1, 0, 0])
    network.run(1)
    assert sorted(network.arrived) == [5, 10]
    assert network.time.happened == 4, "found, two copies taken in, and one overtaken"
    assert network.heads == [1, 1, 1]


def test_blocks_are_found_by_hash_rate_and_at_the_interval():
    rates = [5, 3, 2]
    network = GossipNetwork(make_complete(3, 0), interval_ms=1_000, seed=2, hash_rates=rates, relays=False)
    network.run(1_000)
    producers = [block.producer for block in network.blocks[1:]]
    for peer, rate in enumerate(rates):
        assert is_likely(producers.count(peer), 1_000, rate / 10)
    assert 850 < network.time.now_ms / 1_000 < 1_150  # some four deviations of a sum of exponentials
    assert network.stale_count == 0
    assert network.canonical() == list(range(1_001))


def test_neighbours_are_mutual_and_everybody_can_be_reached():
    graph = make_neighbours(60, 4, Random(7))
    assert sum(map(len, graph)) == 60 * 4
    assert all(peer in graph[other] and peer != other for peer, row in enumerate(graph) for other in row)
    assert max(compute_delays([[(other, 1) for other in row] for row in graph], 0)) < 60
    names = name_neighbours(["x", "y", "z", "w"], 2, Random(1))
    assert all(name in names[other] for name, row in names.items() for other in row)


@pytest.mark.parametrize("given", [{"graph": "random", "peers": 8, "degree": 8}, {"peers": 2_000}, {"interval_ms": 0}])
def test_impossible_settings_are_refused(given):
    with pytest.raises(ValidationError):
        GossipSettings(**given)


def test_same_seed_same_log_under_every_hash_seed(run_under_hash_seed):
    script = (
        "from simulation.scenarios.gossip import GossipSettings, run\n"
        "settings = GossipSettings(graph='random', links='internet', peers=40, blocks=50, interval_ms=500)\n"
        "print(run(settings, 9).row['log'], run(settings, 10).row['log'])\n"
    )
    logs = {run_under_hash_seed(script, seed) for seed in ("0", "77")}
    (line,) = logs
    assert len(set(line.split())) == 2
