"""Attacks on single rules: false timestamps, equivocation, spam."""

from functools import partial

from consensus.timestamps import median_time_past
from ledger.mempool import MempoolLimits
from node.chain import messages as wire
from node.chain.events import MessageReceived
from node.chain.messages import MAX_BATCH_BYTES
from simulation.attacks.spam import Spammer, SpamSettings
from simulation.attacks.timestamps import TimestampAttacker, TimestampSettings
from simulation.scenarios import equivocation, spam, timestamps
from simulation.scenarios.networks import INTERVAL_MS, Attacker, deal_shares, make_attack_network, open_world


def test_a_liars_share_is_foretold_only_where_it_does_not_lie():
    """Measured: 0.287 ± 0.018 forward, and 0.246 ± 0.013 backward under the linear rule, of a third."""
    predict = next(metric.theory for metric in timestamps.TIMESTAMPS.metrics if metric.name == "liar's blocks")
    assert predict(timestamps.TimestampWorld(direction="none")).value == 1 / 3
    for direction in ("forward", "backward", "alternate"):
        assert predict(timestamps.TimestampWorld(direction=direction)) is None
    assert predict(timestamps.TimestampWorld(direction="forward", ahead_ms=0)).value == 1 / 3


def test_false_timestamps_hardly_move_the_interval():
    for direction in ("backward", "forward", "alternate"):
        given = timestamps.TimestampWorld(direction=direction, blocks=150)
        row = timestamps.run(given, 3).row
        assert 0.8 < row["interval_ratio"] < 1.25, direction
        assert row["own_share"] < 0.45, direction


def test_under_a_linear_retarget_the_same_lies_slow_the_chain_down():
    given = timestamps.TimestampWorld(rule="linear", blocks=150)
    assert timestamps.run(given, 3).row["interval_ratio"] > 1.5
    honest = timestamps.TimestampWorld(rule="linear", direction="none", blocks=150)
    assert timestamps.run(honest, 3).row["interval_ratio"] < 1.25


def dated(direction):
    """(ms after the median rule's bound, ms ahead of when it was found) of each of a liar's blocks."""
    shares = deal_shares(0.5, 2)
    network = make_attack_network(list(shares), is_frozen=False)
    liar = Attacker(partial(TimestampAttacker, settings=TimestampSettings(direction=direction)))
    world = open_world(network, shares, seed=9, attackers={"attacker": liar})
    found = []

    def look(now_ms, peer, event, actions):
        head = world.node("attacker").chain.head
        if head.header.producer == network.keys["attacker"].public_key and head.hash not in seen:
            seen.add(head.hash)
            chain = world.node("attacker").chain
            past = [entry.header.timestamp_ms for entry in chain.ancestors(head)][1:12][::-1]
            found.append((head.header.timestamp_ms - median_time_past(past), head.header.timestamp_ms - now_ms))

    seen = set()
    world.watch(look)
    world.run_for(40 * INTERVAL_MS)
    assert len(found) > 8
    assert [fault for peer in world.peers.values() for fault in peer.faults] == []
    return found


def test_a_liar_dates_its_blocks_as_early_or_late_as_is_let_pass():
    assert {after for after, _ in dated("backward")} == {1}
    assert all(ahead == 5_000 for _, ahead in dated("forward"))


def test_equivocation_is_recorded_and_costs_what_the_next_blocks_are_found_with():
    given = equivocation.EquivocationWorld(blocks=40)
    row = equivocation.run(given, 2).row
    assert row["early_offences"] >= 2
    assert row["is_punished"] == 1
    assert row["credit_points"] <= 50
    assert row["late_share"] < given.share / 2


def test_equivocation_that_costs_nothing_goes_on_and_gains_little():
    given = equivocation.EquivocationWorld(blocks=40, cost_points=0, share=0.3)
    row = equivocation.run(given, 2).row
    assert (row["is_punished"], row["credit_points"]) == (0, 90)
    assert row["offences"] > 10
    assert row["side_blocks"] >= row["offences"] / 2
    assert 0.1 < row["late_share"] < 0.55


def test_a_flood_of_transactions_stays_within_the_quota_of_its_sender_and_holds_nobody_up():
    for kind in ("failing", "waiting"):
        row = spam.run(spam.SpamWorld(kind=kind, blocks=16, count=8), 1).row
        quota = MempoolLimits().max_bytes_per_sender
        assert quota / 2 < row["pool_bytes"] < 2 * quota, kind
        assert row["refused"] == 0, kind
        assert row["in_time"] == row["asked"] > 2, kind


def test_an_answer_with_many_large_transactions_fits_a_message():
    shares = deal_shares(0.1, 10)
    network = make_attack_network(list(shares))
    settings = SpamSettings(kind="waiting", count=20, size=60_000)
    spammers = {name: Attacker(partial(Spammer, settings=settings)) for name in shares if name != "h0"}
    world = open_world(network, shares, seed=1, attackers=spammers)
    world.run_for(15_000)
    asked = tuple(transaction.id for transaction in world.node("h0").mempool)
    assert world.node("h0").mempool.size_bytes > MAX_BATCH_BYTES
    message = wire.GetTransactions(ids=asked[: wire.MAX_ITEMS])
    event = MessageReceived(peer=network.keys["attacker"].public_key, message=message)
    (answer,) = world.node("h0").step(event, world.now_ms)
    assert 1_000_000 < len(wire.message_to_bytes(answer.message)) < MAX_BATCH_BYTES


def test_empty_announcements_and_unsealed_headers_hold_nobody_up():
    for kind in ("announcements", "headers", "none"):
        row = spam.run(spam.SpamWorld(kind=kind, blocks=12, count=4), 1).row
        assert row["in_time"] == row["asked"] > 2, kind
        assert row["pool_count"] <= 4, kind
