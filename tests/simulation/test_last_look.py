"""A block dated before the gate and sent after it: what it earns, and that members who mind do without it."""

from __future__ import annotations

import pytest

from ledger.params import ConsensusParams
from market.orders import Order, Side
from simulation.attacks.last_look import LastLookSettings, find_best_price
from simulation.experiments.scenario import load_scenario, parse_settings
from simulation.world.networks import make_network
from simulation.world.world import World

PERIOD_MS = 5_000
GRASPING = {"share": 0.5, "hold_ms": 20_000, "periods": 4}


def run(seed: int, **settings: object) -> dict[str, float]:
    scenario = load_scenario("last-look")
    return dict(scenario.run(parse_settings(scenario, settings), seed).row)


def test_looking_last_pays_where_nobody_minds_and_does_not_where_members_do():
    off, on = run(1, **GRASPING), run(1, **GRASPING, tolerance_ms=500)
    assert (off["looked"] > 0, off["void"], off["late"]) == (True, 0, 0)
    assert off["gain_uyuan"] > 0 >= on["gain_uyuan"]
    assert on["late"] > 0


def test_where_the_chain_follows_it_all_the_same_nobody_signs_and_the_period_is_void():
    """It has nine tenths of the hash power, and so builds on its own late block before the others have one."""
    row = run(1, share=0.9, hold_ms=20_000, tolerance_ms=500, periods=3)
    assert row["void"] > 0
    assert row["gain_uyuan"] < 0


def test_with_nobody_who_looks_nothing_is_late_or_void():
    row = run(2, share=0.0, tolerance_ms=1_000, periods=4)
    assert (row["looked"], row["gain_uyuan"], row["void"], row["late"]) == (0, 0, 0, 0)


def test_the_chance_to_look_last_is_that_of_the_first_block_in_the_time_that_others_put_up_with():
    scenario = load_scenario("last-look")
    predict = scenario.metrics[1].theory
    assert predict is not None
    chances = [
        predict(parse_settings(scenario, {"share": 0.25, "hold_ms": hold_ms, "tolerance_ms": tolerance_ms})).value
        for hold_ms, tolerance_ms in ((2_500, 0), (2_500, 1_000), (500, 1_000))
    ]
    assert chances == pytest.approx([0.0553, 0.02379, 0.01219], rel=1e-3)  # 0.25 · (1 − e^(−time/10 s))


def test_the_best_price_is_just_below_what_the_last_buyer_bids():
    # two bids for 10 kWh each at 0.60 and 0.50, a rival at 0.45: at 0.60 the first alone meets it
    world = World(make_network().genesis, make_network().keys)
    node = world.node("n0")
    others = [
        Order(1, b"a" * 20, Side.BID, 600_000, 10_000, 1),
        Order(2, b"b" * 20, Side.BID, 500_000, 10_000, 2),
        Order(3, b"c" * 20, Side.OFFER, 450_000, 10_000, 3),
    ]
    settings = LastLookSettings(cost=410_000, volume_wh=10_000)
    # just below the rival: (600 + 449.999)/2 − 410 = 115; above it only the second bid is left: 500 − 410 = 90
    assert find_best_price(node, settings, others, 5) == 449_999


# --- under PBFT ----------------------------------------------------------------------------------


def find_late(world: World, tolerance_ms: int) -> list[int]:
    """Heights of decided blocks that are dated before a gate and that n3 first saw so long after it."""
    seen: dict[bytes, int] = {}
    world.watch(
        lambda now_ms, name, _event, _actions: [
            seen.setdefault(entry.hash, now_ms)
            for entry in (world.node("n3").chain.head,)
            if name == "n3" and entry.hash not in seen
        ]
    )
    world.run_for(60_000)
    start_ms = world.genesis.time_ms
    found = []
    for entry in world.node("n3").chain.ancestors(world.node("n3").chain.head):
        gate_ms = entry.header.timestamp_ms + PERIOD_MS - (entry.header.timestamp_ms - start_ms) % PERIOD_MS
        if seen.get(entry.hash, 0) > gate_ms + tolerance_ms:
            found.append(entry.height)
    return found


@pytest.mark.parametrize("tolerance_ms", [0, 300])
def test_a_leader_behind_its_time_decides_no_block_for_a_gate_that_is_over(tolerance_ms):
    """Its clock is 2.5 s slow, so that what it proposes just after a gate is dated before."""
    consensus = ConsensusParams(
        engine="pbft",
        block_interval_ms=1_000,
        max_ahead_ms=3_000,
        empty_after_ms=700,
        view_timeout_ms=1_000,
        gate_tolerance_ms=tolerance_ms,
    )
    network = make_network(consensus=consensus, period_ms=PERIOD_MS)
    world = World(network.genesis, network.keys, seed=3)
    world.set_skew("n0", -2_500)
    late = find_late(world, 300)
    assert bool(late) is (tolerance_ms == 0)
    said = [event for peer in world.peers.values() for event in peer.published if event[0] == "late-block"]
    assert bool(said) is (tolerance_ms > 0)
    assert world.node("n3").chain.head.height > 40
    assert len(world.heads()) <= 2
