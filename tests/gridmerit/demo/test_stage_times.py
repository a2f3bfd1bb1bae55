"""The timeline of a period: which sighting counts for which stage of which hour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gridmerit.demo.stage_times import STAGES, Sighting, compute_timeline, summarise_stages
from ledger.params import Kind


def _see(chain: Kind, event: str, time_ms: int, **fields: Any) -> Sighting:
    return Sighting(chain, event, fields, time_ms)


def _hour(period: int, begin_ms: int) -> Iterator[Sighting]:
    """Everything that happens to an hour, 10 ms apart, at gate height `period`."""

    def came(chain: Kind, kind: str) -> Sighting:
        return _see(chain, "relayed", next(clock), source="xy1", kind=kind, number=period)

    clock = iter(range(begin_ms, begin_ms + 1_000, 10))
    yield _see("scheduling", "plan", next(clock), period=period)
    yield _see("scheduling", "quota", next(clock), period=period)
    yield came("trading", "quota")
    yield _see("trading", "gate", next(clock), period=period)
    yield _see("trading", "certificate", next(clock), slot=9, height=period)
    yield _see("scheduling", "verdict", next(clock), period=period)
    yield came("trading", "verdict")
    yield came("credit", "power")
    yield _see("scheduling", "metered", next(clock), period=period)
    yield _see("trading", "settled", next(clock), period=period)
    yield came("credit", "actual")
    yield came("credit", "delivered")
    yield _see("credit", "credit-snapshot", next(clock), period=period + 3)
    yield _see("trading", "credit-applied", next(clock), period=period + 3)


def test_every_stage_of_an_hour_is_found() -> None:
    times = compute_timeline(list(_hour(7, 1_000)), [7], {7: 7})[7]
    assert times == {stage.name: 1_000 + 10 * place for place, stage in enumerate(STAGES)}


def test_hours_are_told_apart() -> None:
    sightings = [*_hour(7, 1_000), *_hour(8, 2_000)]
    timeline = compute_timeline(sightings, [7, 8], {7: 7, 8: 8})
    assert min(timeline[8].values()) == 2_000
    assert max(timeline[7].values()) < 2_000


def test_an_event_that_comes_again_after_a_reorg_counts_when_it_came_last() -> None:
    sightings = [_see("trading", "gate", 100, period=7), _see("trading", "gate", 400, period=7)]
    assert compute_timeline(sightings, [7], {})[7] == {"gate": 400}


def test_a_gate_is_certified_with_the_first_checkpoint_at_its_height_or_above() -> None:
    sightings = [
        _see("trading", "certificate", time_ms, slot=1, height=height)
        for height, time_ms in [(40, 100), (50, 200), (60, 300)]
    ]
    assert compute_timeline(sightings, [7, 8], {7: 41, 8: 61}) == {7: {"certificate": 200}, 8: {}}


def test_the_snapshot_is_the_first_after_the_assessment() -> None:
    sightings = [
        _see("credit", "credit-snapshot", 100, period=9),
        _see("credit", "relayed", 200, source="jy1", kind="delivered", number=7),
        _see("trading", "credit-applied", 250, period=9),
        _see("credit", "credit-snapshot", 300, period=10),
        _see("trading", "credit-applied", 350, period=11),
    ]
    times = compute_timeline(sightings, [7], {})[7]
    assert times == {"assessment": 200, "snapshot": 300, "snapshot received": 350}


def test_blocks_that_come_together_are_told_apart_by_their_order() -> None:
    sightings = [
        _see("credit", "credit-snapshot", 200, period=9),
        _see("credit", "relayed", 200, source="jy1", kind="delivered", number=7),
        _see("credit", "credit-snapshot", 200, period=10),
        _see("trading", "credit-applied", 200, period=9),
        _see("trading", "credit-applied", 200, period=10),
    ]
    times = compute_timeline(sightings, [7], {})[7]
    assert times == {"assessment": 200, "snapshot": 200, "snapshot received": 200}


def test_an_event_of_another_chain_is_another_thing() -> None:
    sightings = [_see("trading", "quota", 100, period=7), _see("credit", "settled", 100, period=7)]
    assert compute_timeline(sightings, [7], {7: 1}) == {7: {}}


def test_a_summary_counts_from_the_start_of_delivery() -> None:
    (summary,) = summarise_stages({7: {"gate": 6_400}, 8: {"gate": 7_600}, 9: {}}, lambda period: period * 1_000)
    assert (summary.stage.name, summary.hours) == ("gate", 2)
    assert (summary.earliest_ms, summary.mean_ms, summary.latest_ms) == (-600, -500, -400)
