"""The laboratory: the event loop on a gossip-only network, and a day of full nodes on three chains.

All figures are of CPU time in one process. Two baselines are measured in the same run: a bare heapq loop with as many
events, and the full-node world whose peers share no work. The bound on memory is what the project asks for.

Published references, not measured here: SimBlock (Java) 143 blocks/s with 600 peers, 1.7 million events/s; BlockSim
(Python) 28 blocks/s with 100 peers. An event here is a copy of a block that may be the first to come: SimBlock counts
each announcement, request and block as one, most of which come too late to matter.
"""

from __future__ import annotations

import heapq
import resource
import sys
from pathlib import Path
from random import Random
from time import process_time

if __name__ == "__main__":  # as a script it would be found in the place of the package of its name
    sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.table import Row, print_table
from consensus.engine import Engine
from ledger.execution import Executor, run_block
from simulation.scenarios.days import DaySettings, make_day
from simulation.scenarios.gossip import GossipSettings, make_graph
from simulation.world.gossip_only import GossipNetwork
from simulation.world.market_script import MarketScript
from simulation.world.sealing import DrawnEngine
from simulation.world.world import World

HOUR_MS = 3_600_000
MEMORY_MB = 2_048
SEED = 1


def run(quick: bool = False) -> list[Row]:
    """The rows of both parts."""
    return [*_run_gossip(quick), *_run_worlds(quick)]


# --- gossip --------------------------------------------------------------------------------------


def _run_gossip(quick: bool) -> list[Row]:
    peers, blocks = (100, 100) if quick else (600, 1_000)
    settings = GossipSettings(
        peers=peers, blocks=blocks, graph="random", links="internet", interval_ms=600_000, block_bytes=500_000
    )
    network = GossipNetwork(make_graph(settings), interval_ms=settings.interval_ms, seed=SEED)
    begin_s = process_time()
    network.run(blocks)
    spent_s = process_time() - begin_s
    events = network.time.happened
    bare_s = _run_bare(events, waiting=peers)
    return [
        Row("bare heapq loop", events / bare_s, "events/s", "bare heapq loop", 1.0),
        Row(f"gossip {peers} peers", events / spent_s, "events/s", "bare heapq loop", bare_s / spent_s),
        Row(f"gossip {peers} peers", blocks / spent_s, "blocks/s", "bare heapq loop", bare_s / spent_s),
    ]


def _run_bare(events: int, *, waiting: int) -> float:
    """CPU seconds to push and pop so many events with nothing to do, with so many in the heap throughout."""
    random = Random(SEED)
    delays = [random.randrange(1, 600) for _ in range(1_024)]
    heap = [(delay, order, None, ()) for order, delay in enumerate(delays[:waiting])]
    heapq.heapify(heap)
    push, pop = heapq.heappush, heapq.heappop
    begin_s = process_time()
    for order in range(waiting, waiting + events):
        now_ms, _, callback, arguments = pop(heap)
        push(heap, (now_ms + delays[order & 1_023], order, callback, arguments))
    return process_time() - begin_s


# --- full nodes ----------------------------------------------------------------------------------


class UnsharedWorld(World):
    """A world in which each peer does all of its work itself."""

    def _make_shared(self) -> tuple[Engine | None, Executor]:
        return DrawnEngine(self.genesis), run_block


def _run_worlds(quick: bool) -> list[Row]:
    """A day, and the first part of it without sharing: that one first, for a process never forgets a signature."""
    peers, sealers, degree, traders, part_ms, day_ms = (
        (6, 4, 0, 2, HOUR_MS, HOUR_MS) if quick else (50, 10, 6, 5, 4 * HOUR_MS, 24 * HOUR_MS)
    )
    settings = DaySettings(peers=peers, sealers=sealers, degree=degree, traders=traders, hours=24)
    alone = _measure(settings, part_ms, UnsharedWorld)
    together = _measure(settings, part_ms, World)
    day_s = together if day_ms == part_ms else _measure(settings, day_ms, World)
    used_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    name = f"three chains, {peers} peers"
    return [
        Row(f"{name}, unshared", part_ms / 1_000 / alone, "s/s", "unshared", 1.0),
        Row(name, part_ms / 1_000 / together, "s/s", "unshared", alone / together),
        Row(f"{name}, {day_ms // HOUR_MS} h", day_s, "s of CPU", "two minutes", 120 / day_s),
        Row(f"{name}, {day_ms // HOUR_MS} h", used_mb, "MB, whole run", f"{MEMORY_MB} MB", MEMORY_MB / used_mb),
    ]


def _measure(settings: DaySettings, duration_ms: int, kind: type[World]) -> float:
    """CPU seconds for so much of a day."""
    begin_s = process_time()
    network, worlds = make_day(settings, SEED, kind)
    MarketScript(worlds, network, hours=settings.hours, traders=settings.traders, seed=SEED)
    worlds["JY1"].run_for(duration_ms)
    return process_time() - begin_s


if __name__ == "__main__":
    print_table(run())
