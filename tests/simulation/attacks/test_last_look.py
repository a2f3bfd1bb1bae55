"""A block dated before the gate and sent after it: what it earns, and that members who mind do without it."""

from __future__ import annotations

import pytest

from ledger.block import Block
from ledger.codec import encode
from ledger.params import ConsensusParams
from ledger.signatures import SigningKey
from market.orders import Order, Side
from node.chain import messages as wire
from node.chain.candidate import build_candidate
from node.chain.events import Event, MessageReceived, PeerConnected, Publish
from node.chain.rule_sets import RuleBook
from simulation.attacks.last_look import LastLookSettings, find_best_price
from simulation.experiments.scenario import load_scenario, parse_settings
from simulation.world.networks import make_consensus, make_network
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


def make_blocks(world: World, key: SigningKey, count: int, dated_ms: int) -> list[Block]:
    """So many blocks in a row on n0's head, which it does not know, the first of them of this date, 200 ms apart."""
    node, chain, blocks = world.node("n0"), world.node("n3").chain, list[Block]()
    parent = chain.head
    assert parent.hash == node.chain.head.hash
    for number in range(count):
        proposal = node.engine.propose(key.public_key, parent, chain, dated_ms + 200 * number)
        assert proposal is not None
        candidate = build_candidate(
            key,
            proposal,
            parent,
            genesis=world.genesis,
            rules=RuleBook(world.genesis).at(parent.state, parent.height + 1),
            producers=[],
            pending=[],
        )
        block = candidate.sealed(number, key)
        weighed = node.engine.check_header(block.header, parent, chain)
        parent = chain.add(block, candidate.execution, work=weighed.work, base_n_diff=weighed.base_n_diff)
        blocks.append(block)
    return blocks


@pytest.mark.parametrize(
    ("count", "before_ms", "late"),
    [(1, 100, [0]), (2, 100, [0]), (8, 1_800, [2, 3, 4, 5, 6, 7])],
    ids=["one", "another stands on it", "so many that it is the node that was away"],
)
def test_headers_on_request_are_no_way_around_the_gate(count, before_ms, late):
    """Late blocks of a member that only says that it is ahead are asked for as by one who catches up."""
    consensus = make_consensus(4_000, 90_000_000).model_copy(update={"gate_tolerance_ms": 500})
    network = make_network(consensus=consensus)
    world = World(network.genesis, network.keys, seed=5, sealing="drawn")
    world.run_for(3_000)
    key, node, gate_ms = network.keys["n3"], world.node("n0"), network.genesis.time_ms + 20_000
    world.run_until(lambda: node.chain.head.hash == world.node("n3").chain.head.hash, limit_ms=9_000)
    before = node.chain.head
    blocks = make_blocks(world, key, count, gate_ms - before_ms)
    last = blocks[-1].header
    work = (before.work + 2**200).to_bytes(40, "big")
    status = wire.Status(head=last.hash, height=last.height, work=work, final_height=0)
    headers = wire.Headers(raw=tuple(encode(block.header.to_value()) for block in blocks))
    bodies = wire.Blocks(raw=tuple(block.raw for block in blocks))
    events: list[Event] = [PeerConnected(peer=key.public_key)]
    events += [MessageReceived(peer=key.public_key, message=message) for message in (status, headers, bodies)]
    actions = [action for event in events for action in node.step(event, gate_ms + 2_500)]
    said = [action.event[2] for action in actions if isinstance(action, Publish) and action.event[0] == "late-block"]
    assert said == [blocks[index].hash for index in late]
    assert (node.chain.head.hash == last.hash) is (count == 2), "it is followed once another block stands on it"
    is_late = node._progress._stands_on_late(last.hash, gate_ms + 2_500)
    assert is_late is (count == 2), "and not signed for until the deadline"


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
