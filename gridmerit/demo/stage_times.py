"""The times of each hour's stages: sightings of events on the three chains, put in order. Pure but for `follow`.

Times are those at which one node told of them, so they hold everything: sealing, gossip, certificates and relays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from ledger.params import Kind
from market.messages import ACTUAL, DELIVERED, POWER, QUOTA, VERDICT
from node.api.client import Client
from node.errors import BadAnswer, RemoteFailed, SlowSubscriber, Unreachable
from node.system.clock import now_ms

_AGAIN_S = 0.2


class Sighting(NamedTuple):
    """An event as it arrived from a node: the kind of its chain, its name, what it says, and when it came."""

    chain: Kind
    event: str
    fields: Mapping[str, Any]
    time_ms: int


class _Place(NamedTuple):
    """The place of an event among the sightings, and its time."""

    order: int
    time_ms: int


class Stage(NamedTuple):
    """Something that happens to every hour, by what it is known: an event of a chain, and fields that it must have.

    Where `period_field` is empty, `compute_timeline` says which event belongs to which hour.
    """

    name: str
    chain: Kind
    event: str
    period_field: str = "period"
    fields: tuple[tuple[str, str], ...] = ()


def _came(name: str, chain: Kind, kind: str) -> Stage:
    """The arrival of a message from another chain."""
    return Stage(name, chain, "relayed", "number", (("kind", kind),))


STAGES = (
    Stage("plan", "scheduling", "plan"),
    Stage("quota", "scheduling", "quota"),
    _came("quota received", "trading", QUOTA),
    Stage("gate", "trading", "gate"),
    Stage("certificate", "trading", "certificate", ""),
    Stage("verdict", "scheduling", "verdict"),
    _came("accepted", "trading", VERDICT),
    _came("power digest", "credit", POWER),
    Stage("metered", "scheduling", "metered"),
    Stage("settlement", "trading", "settled"),
    _came("actual digest", "credit", ACTUAL),
    _came("assessment", "credit", DELIVERED),
    Stage("snapshot", "credit", "credit-snapshot", ""),
    Stage("snapshot received", "trading", "credit-applied", ""),
)

_EVENTS = {(stage.chain, stage.event) for stage in STAGES}

HourTimes = Mapping[str, int]  # ms since the epoch by stage; one that was not seen is missing


# --- listening -----------------------------------------------------------------------------------


async def follow(client: Client, chain: Kind, on_sighting: Callable[[Sighting], None]) -> None:
    """Report the events of one chain that stages are known by, for ever; connect anew where the stream ends."""
    while True:
        with suppress(Unreachable, RemoteFailed, BadAnswer, SlowSubscriber):
            async for event in client.events():
                name = str(event.get("event"))
                if (chain, name) in _EVENTS:
                    on_sighting(Sighting(chain, name, event, now_ms()))
        await asyncio.sleep(_AGAIN_S)


# --- putting in order ----------------------------------------------------------------------------


def compute_timeline(
    sightings: Sequence[Sighting], periods: Iterable[int], gate_heights: Mapping[int, int]
) -> dict[int, dict[str, int]]:
    """By period, when each of its stages was seen.

    An event that came twice, as after a reorg or in parts, counts when it came last. A gate's certificate is the first
    of a checkpoint at its height or above; its snapshot is the first one taken after its assessment. What came first
    is told by the order of the sightings: blocks that come together are seen in the same millisecond.
    """
    seen: dict[tuple[str, int], _Place] = {}
    for place, sighting in enumerate(sightings):
        for stage in STAGES:
            number = _match(stage, sighting)
            if number is not None:
                seen[stage.name, number] = _Place(place, sighting.time_ms)
    return {period: _collect(seen, period, gate_heights.get(period)) for period in periods}


def _match(stage: Stage, sighting: Sighting) -> int | None:
    """The number an event counts for under a stage: its period; a certificate's height; a snapshot's own period."""
    if (stage.chain, stage.event) != (sighting.chain, sighting.event):
        return None
    if any(sighting.fields.get(field) != value for field, value in stage.fields):
        return None
    number = sighting.fields.get(stage.period_field or ("height" if stage.event == "certificate" else "period"))
    return number if isinstance(number, int) else None


def _collect(seen: Mapping[tuple[str, int], _Place], period: int, gate_height: int | None) -> dict[str, int]:
    places = {
        stage.name: seen[stage.name, period] for stage in STAGES if stage.period_field and (stage.name, period) in seen
    }
    if gate_height is not None:
        _add_first(places, "certificate", seen, lambda height, _: height >= gate_height)
    if (assessed := places.get("assessment")) is not None:
        snapshot = _add_first(places, "snapshot", seen, lambda _, place: place > assessed)
        if snapshot is not None:
            _add_first(places, "snapshot received", seen, lambda number, _: number >= snapshot)
    return {stage.name: places[stage.name].time_ms for stage in STAGES if stage.name in places}


def _add_first(
    places: dict[str, _Place],
    name: str,
    seen: Mapping[tuple[str, int], _Place],
    fits: Callable[[int, _Place], bool],
) -> int | None:
    """Note the earliest event under a stage that fits by number and place; its number."""
    found = [(place, number) for (stage, number), place in seen.items() if stage == name and fits(number, place)]
    if not found:
        return None
    places[name], number = min(found)
    return number


# --- what they say -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSummary:
    """The times of a stage over all hours that it was seen in, in ms after the start of the hour's delivery."""

    stage: Stage
    hours: int
    earliest_ms: int
    mean_ms: int
    latest_ms: int


def summarise_stages(timeline: Mapping[int, HourTimes], start_ms: Callable[[int], int]) -> list[StageSummary]:
    """The stages that were seen at all, in order; `start_ms` says when a period's delivery starts."""
    summaries = []
    for stage in STAGES:
        delays = [times[stage.name] - start_ms(period) for period, times in timeline.items() if stage.name in times]
        if delays:
            summary = StageSummary(
                stage=stage,
                hours=len(delays),
                earliest_ms=min(delays),
                mean_ms=round(sum(delays) / len(delays)),
                latest_ms=max(delays),
            )
            summaries.append(summary)
    return summaries
