"""Hundreds of peers that only pass blocks on: no ledger, no transactions. For stale rates and propagation.

A peer follows the longest chain, of equal ones that which came first, and passes on what becomes its head, as
`ChainNode` does. The blocks below an announced one come with it. A link's delay is fixed and stands for all it takes to
hand over a block: so of the copies on their way to a peer only the earliest can matter, and no other is scheduled.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple

from simulation.world.sealing import draw_race_ms
from simulation.world.virtual_time import VirtualTime

Graph = Sequence[Sequence[tuple[int, int]]]  # for each peer its neighbours, and the delay to each in ms

_NEVER = 1 << 62
_ON_THEIR_WAY = 64  # blocks with copies that are followed; one that is older has arrived or been left behind


class GossipBlock(NamedTuple):
    """A block, numbered in the order in which they are found; 0 is genesis."""

    parent: int
    height: int
    producer: int
    found_ms: int


class GossipNetwork:
    """Peers, links and an exponential race: one block per interval on average, found by hash rate.

    With `relays` off no peer passes a block on: for networks in which all are neighbours.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        interval_ms: int,
        seed: int,
        hash_rates: Sequence[int] | None = None,
        relays: bool = True,
        time: VirtualTime | None = None,
    ) -> None:
        self.graph = graph
        self.time = time or VirtualTime(0)
        self.interval_ms = interval_ms
        self.blocks = [GossipBlock(-1, 0, -1, self.time.now_ms)]
        self.heads = [0] * len(graph)
        self.arrived: list[int] = []  # how long each copy that a peer took in was on its way, ms
        self._random = Random(seed)
        self._relays = relays
        self._rates = list(accumulate(hash_rates or [1] * len(graph)))
        self._due: dict[int, list[int]] = {}  # block -> when its earliest copy comes, by peer
        self._marks: list[int] = []
        self._goal = 0

    def run(self, blocks: int) -> None:
        """Let so many more blocks be found and travel to the end."""
        self._goal = len(self.blocks) - 1 + blocks
        self._schedule_next()
        while self.time.step():
            pass
        self._write_log()

    def log_hash(self) -> str:
        """SHA-256 over every block found and every copy taken in."""
        return self.time.log_hash()

    # --- events ----------------------------------------------------------------------------------

    def _schedule_next(self) -> None:
        wait_ms = draw_race_ms(self._random, self.interval_ms)
        self.time.at(self.time.now_ms + wait_ms, self._find)

    def _find(self) -> None:
        point = self._random.randrange(self._rates[-1])
        producer = bisect_right(self._rates, point)
        parent, number = self.heads[producer], len(self.blocks)
        self.blocks.append(GossipBlock(parent, self.blocks[parent].height + 1, producer, self.time.now_ms))
        self._write_log()
        self._due[number] = [_NEVER] * len(self.graph)
        self._due[number][producer] = self.time.now_ms
        self._due.pop(number - _ON_THEIR_WAY, None)
        self.heads[producer] = number
        self._pass_on(producer, number)
        if number < self._goal:
            self._schedule_next()

    def _arrive(self, peer: int, number: int) -> None:
        now_ms = self.time.now_ms
        due = self._due.get(number)
        if due is None or due[peer] != now_ms:
            return  # an earlier copy has overtaken it
        block = self.blocks[number]
        self.arrived.append(now_ms - block.found_ms)
        self._marks.append(peer)
        if block.height > self.blocks[self.heads[peer]].height:
            self.heads[peer] = number
            if self._relays:
                self._pass_on(peer, number)

    def _pass_on(self, peer: int, number: int) -> None:
        now_ms, due, at, arrive = self.time.now_ms, self._due[number], self.time.at, self._arrive
        for neighbour, delay_ms in self.graph[peer]:
            at_ms = now_ms + delay_ms
            if at_ms < due[neighbour]:
                due[neighbour] = at_ms
                at(at_ms, arrive, neighbour, number)

    def _write_log(self) -> None:
        """Log what has happened since the last block was found."""
        self.time.log(f"{self.blocks[-1]} {self._marks}".encode())
        self._marks.clear()

    # --- what came of it -------------------------------------------------------------------------

    def canonical(self) -> list[int]:
        """The blocks of the longest chain, of equal ones that with the tip found first, from genesis."""
        tip = max(range(len(self.blocks)), key=lambda number: (self.blocks[number].height, -number))
        chain = [tip]
        while chain[-1]:
            chain.append(self.blocks[chain[-1]].parent)
        return chain[::-1]

    @property
    def stale_count(self) -> int:
        """Blocks that are not on the longest chain."""
        return len(self.blocks) - len(self.canonical())

    def count_contested(self) -> tuple[int, int]:
        """Heights with more than one block, and heights, but for the tip's, which may still get one."""
        counts: dict[int, int] = {}
        for block in self.blocks[1:]:
            counts[block.height] = counts.get(block.height, 0) + 1
        counts.pop(max(counts, default=0), None)
        return sum(count > 1 for count in counts.values()), len(counts)


def make_complete(peers: int, delay_ms: int) -> list[list[tuple[int, int]]]:
    """All are neighbours, and one delay holds between any two."""
    return [[(other, delay_ms) for other in range(peers) if other != peer] for peer in range(peers)]


def make_neighbours(peers: int, degree: int, random: Random) -> list[list[int]]:
    """A connected random graph: a ring in random order, and chords until each has `degree` neighbours on average."""
    assert 2 <= degree < peers, (degree, peers)
    order = list(range(peers))
    random.shuffle(order)
    pairs = ((order[place - 1], order[place]) for place in range(peers))
    links = {(min(one, other), max(one, other)) for one, other in pairs}
    while len(links) < peers * degree // 2:
        one, other = random.randrange(peers), random.randrange(peers)
        if one != other:
            links.add((min(one, other), max(one, other)))
    neighbours: list[list[int]] = [[] for _ in range(peers)]
    for one, other in sorted(links):
        neighbours[one].append(other)
        neighbours[other].append(one)
    return neighbours


def name_neighbours(names: Sequence[str], degree: int, random: Random) -> Mapping[str, tuple[str, ...]]:
    """The same for a `World`."""
    graph = make_neighbours(len(names), degree, random)
    return {name: tuple(names[other] for other in graph[place]) for place, name in enumerate(names)}


def compute_delays(graph: Graph, source: int) -> list[int]:
    """The least time that a block of `source` takes to each peer, ms: Dijkstra's shortest paths."""
    delays = [_NEVER] * len(graph)
    delays[source] = 0
    heap = [(0, source)]
    while heap:
        delay_ms, peer = heapq.heappop(heap)
        if delay_ms > delays[peer]:
            continue
        for neighbour, link_ms in graph[peer]:
            if delay_ms + link_ms < delays[neighbour]:
                delays[neighbour] = delay_ms + link_ms
                heapq.heappush(heap, (delay_ms + link_ms, neighbour))
    return delays


def compute_blind_ms(graph: Graph, hash_rates: Sequence[int], source: int) -> float:
    """For how long, in ms of the whole network's work, others seal beside a block of `source` without knowing it.

    It is the mean delay weighted by hash rate, its own share at delay 0 included: that is what D means in
    1 − e^(−D/I). A peer with a share h that hears after d has spent the share h·d/I of an interval's work meanwhile.
    """
    delays = compute_delays(graph, source)
    return sum(rate * delay for rate, delay in zip(hash_rates, delays, strict=True)) / sum(hash_rates)
