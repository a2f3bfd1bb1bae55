"""Long range, eclipse, partition: what is believed without finality, and what finality leaves of it."""

from math import exp, factorial

import pytest

from simulation.scenarios import eclipse, long_range, partition
from simulation.theory.statistics import clopper_pearson, mean_interval


def long_range_row(seed=1, **settings):
    given = long_range.LongRangeWorld(**{"until_height": 12, "strength": 4.0, "patience": 30, **settings})
    return long_range.run(given, seed).row


def test_a_heavier_branch_from_far_back_is_followed_only_without_finality():
    off, on = long_range_row(finality=False), long_range_row(finality=True)
    assert (off["shown"], off["rewritten"], off["fresh_fooled"]) == (1, 1, 1)
    assert off["deepest_reorg"] >= 8
    assert (on["shown"], on["rewritten"], on["fresh_fooled"], on["fresh_final"]) == (1, 0, 0, 1)
    assert on["deepest_reorg"] <= 1


def test_a_branch_with_less_work_is_never_shown():
    row = long_range_row(finality=False, strength=0.3, patience=20)
    assert (row["shown"], row["rewritten"], row["fresh_fooled"]) == (0, 0, 0)


def test_a_fresh_node_that_sees_the_attacker_alone_believes_it_but_finds_nothing_final():
    rows = [long_range_row(seed, fresh_sees="attacker") for seed in (1, 2, 3)]
    assert [(row["rewritten"], row["fresh_fooled"] + row["fresh_final"]) for row in rows] == [(0, 1)] * 3
    assert (rows[0]["fresh_fooled"], rows[0]["fresh_final"]) == (1, 0)


def test_a_fresh_node_with_an_anchor_is_fooled_neither_by_the_attacker_alone_nor_where_all_were_rewritten():
    alone = long_range_row(fresh_sees="attacker", anchor=True)
    assert (alone["shown"], alone["fresh_fooled"], alone["fresh_reached"]) == (1, 0, 0)
    among = long_range_row(anchor=True)
    assert (among["shown"], among["fresh_fooled"], among["fresh_reached"], among["fresh_final"]) == (1, 0, 1, 1)
    everywhere = long_range_row(finality=False, anchor=True)
    assert (everywhere["rewritten"], everywhere["fresh_fooled"]) == (1, 0)


def test_without_finality_a_revoked_key_rewrites_its_own_revocation():
    for finality, rewritten in ((False, 1), (True, 0)):
        row = long_range_row(finality=finality, revoked=True, until_height=24, strength=6.0)
        assert (row["is_out"], row["rewritten"]) == (1, rewritten)


def test_an_eclipsed_victim_believes_in_depth_and_is_robbed_but_nothing_gets_final_to_it():
    given = eclipse.EclipseWorld(z=3, lasts=12)
    rows = [eclipse.run(given, seed).row for seed in range(16)]
    fooled = sum(row["fooled"] for row in rows)
    low, high = clopper_pearson(fooled, len(rows), 0.999)
    assert low <= eclipse.ECLIPSE.metrics[0].theory(given).value <= high
    assert sum(row["robbed"] for row in rows) >= fooled / 2, "unless its branch happens to be the heavier one"
    assert all(row["rejoined"] for row in rows)


def test_an_eclipsed_victim_that_awaits_finality_is_not_fooled():
    given = eclipse.EclipseWorld(z=3, lasts=20, slot_blocks=3, accept="final", q=0.4)
    rows = [eclipse.run(given, seed).row for seed in range(3)]
    assert [row["fooled"] for row in rows] == [0, 0, 0]
    assert [row["final_blocks"] for row in rows] == [0, 0, 0]
    assert all(row["rejoined"] for row in rows)
    assert max(row["deepest_reorg"] for row in rows) >= 5


def test_the_smaller_side_of_a_partition_loses_what_it_found_and_makes_nothing_final():
    for lasts in (10, 25):
        given = partition.PartitionWorld(lasts=lasts)
        rows = [partition.run(given, seed).row for seed in range(8)]
        low, high = mean_interval([row["reorg_depth"] for row in rows], 0.999)
        assert low <= 0.25 * lasts <= high
        assert {row["final_here"] for row in rows} == {0}
        assert {row["agreed"] for row in rows} == {1}
    assert all(row["final_there"] > 0 for row in rows)
    assert all(row["payment_kept"] for row in rows)


def test_without_certificates_the_shorter_side_loses_which_is_not_always_the_smaller():
    given = partition.PartitionWorld(share=0.6, lasts=10, slot_blocks=0)
    depths = [partition.run(given, seed).row["reorg_depth"] for seed in range(30)]
    low, high = mean_interval(depths, 0.999)
    assert low <= partition.PARTITION.metrics[0].theory(given).value <= high < 0.6 * 10


def test_what_the_shorter_side_loses():
    assert partition.compute_loss(0.01, 20) == pytest.approx(0.2, rel=1e-3)  # it is nearly always the shorter
    assert partition.compute_loss(0.99, 20) < 1e-8
    here, there = ([exp(-mean) * mean**count / factorial(count) for count in range(80)] for mean in (9, 11))
    lost = sum(count * here[count] * (sum(there[count + 1 :]) + 0.55 * there[count]) for count in range(80))
    assert partition.compute_loss(0.45, 20) == pytest.approx(lost, rel=1e-9)
    assert partition.compute_loss(0.5, 10_000) == pytest.approx(5_000 * 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "poisson_mean"),
        ({"slot_blocks": 0}, "shorter_branch"),
        ({"cut_off": 2}, "shorter_branch"),  # halves: no side can certify
        ({"cut_off": 3}, ""),  # its own side certifies
        ({"lasts": 5}, ""),
        ({"retarget": True}, ""),
    ],
)
def test_which_theory_of_the_loss_applies(settings, name):
    theory = partition.PARTITION.metrics[0].theory(partition.PartitionWorld(**settings))
    assert (theory.name if theory else "") == name


def test_in_halves_nothing_becomes_final_and_all_agree_afterwards():
    given = partition.PartitionWorld(cut_off=2, share=0.5, lasts=20)
    row = partition.run(given, 4).row
    assert (row["final_here"], row["final_there"], row["agreed"]) == (0, 0, 1)
