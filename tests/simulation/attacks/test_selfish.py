"""Selfish mining in full nodes against the closed form, for what each tie-break makes of γ; and stubbornness."""

from functools import partial

import pytest

from simulation.attacks.selfish import SelfishMiner, SelfishSettings
from simulation.attacks.two_faced import PrivateChainAttacker
from simulation.scenarios.networks import (
    INTERVAL_MS,
    Attacker,
    count_canonical,
    deal_shares,
    make_attack_network,
    open_world,
)
from simulation.scenarios.selfish import SelfishWorld, run
from simulation.theory.formulas import selfish_revenue
from simulation.theory.statistics import mean_interval


def revenues(count, seed=0, **settings):
    given = SelfishWorld(**settings)
    return given, [run(given, seed + number).row["revenue"] for number in range(count)]


@pytest.mark.parametrize(
    ("alpha", "gamma", "settings"),
    [
        (0.4, 0.5, {"tie_break": "lower-hash", "honest": 1}),
        (0.3, 0.0, {"tie_break": "first-seen", "honest": 2}),
        (0.3, 1.0, {"tie_break": "higher-credit", "pool_credit": 5.0, "honest": 1}),
        (0.3, 2 / 3, {"tie_break": "first-seen", "honest": 3, "is_fast": True}),
    ],
)
def test_the_pools_revenue_is_that_of_the_closed_form(alpha, gamma, settings):
    given, found = revenues(8, alpha=alpha, blocks=120, seed=40, **settings)
    assert given.gamma == pytest.approx(gamma)
    low, high = mean_interval(found, 0.999)
    assert low <= selfish_revenue(alpha, gamma) <= high


def test_checkpoints_leave_less_to_gain():
    _, without = revenues(3, alpha=0.42, blocks=100, honest=3)
    _, held = revenues(3, alpha=0.42, blocks=100, honest=3, slot_blocks=4)
    assert sum(held) < sum(without)


def play(settings, intervals=150, seed=5, alpha=0.4):
    shares = deal_shares(alpha, 2)
    network = make_attack_network(list(shares))
    attacker = Attacker(partial(SelfishMiner, settings=settings))
    world = open_world(network, shares, seed=seed, attackers={"attacker": attacker})
    leads = []
    world.watch(lambda now_ms, peer, event, actions: leads.append(attacker.policy.lead) if peer == "attacker" else None)
    world.run_for(intervals * INTERVAL_MS)
    return leads


def test_each_kind_of_stubbornness_holds_out_longer():
    plain = play(SelfishSettings())
    assert min(plain) >= -1, "it gives up as soon as it is behind"
    assert min(play(SelfishSettings(trail=2))) < -1
    lead, fork = play(SelfishSettings(lead_stubborn=True)), play(SelfishSettings(fork_stubborn=True))
    assert lead.count(0) != plain.count(0)
    assert fork != plain


def test_two_cores_without_an_attack_are_one_honest_member():
    shares = deal_shares(0.4, 2)
    network = make_attack_network(list(shares), slot_blocks=4)
    world = open_world(network, shares, seed=2, attackers={"attacker": Attacker(PrivateChainAttacker)})
    world.run_for(60 * INTERVAL_MS)
    world.crash("attacker")
    world.run_for(10 * INTERVAL_MS)
    before = world.node("h0").chain.head.height
    world.start("attacker")
    world.run_for(40 * INTERVAL_MS)
    chain = world.node("h0").chain
    own = network.keys["attacker"].public_key
    assert 10 <= count_canonical(world.node("h0"), 0)[own] <= 60
    assert count_canonical(world.node("h0"), before)[own] > 0, "after a restart its secret core has caught up"
    assert chain.counters.deepest_reorg <= 1
    assert world.node("attacker").chain.final_height == chain.final_height > before
    assert [fault for peer in world.peers.values() for fault in peer.faults] == []
