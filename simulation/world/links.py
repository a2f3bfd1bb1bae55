"""A network's effect on messages: latency, bandwidth, loss, duplication, reordering, corruption, cuts. All seeded.

`Links` is the model, plain data that a file can hold; `SimulatedNetwork` is one network of them at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from random import Random
from statistics import NormalDist
from typing import NamedTuple, Protocol

from simulation.errors import BadLinks

PPM = 1_000_000
_QUANTILES = 1_024


def _check(holds: bool, what: str, have: object, want: str) -> None:
    if not holds:
        raise BadLinks(what=what, have=have, want=want)


class Latency(Protocol):
    """A distribution of one-way delays."""

    def draw(self, random: Random) -> int:
        """A delay in ms."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same delay."""

    delay_ms: int

    def __post_init__(self) -> None:
        _check(self.delay_ms >= 0, "delay_ms", self.delay_ms, "at least 0")

    def draw(self, random: Random) -> int:
        return self.delay_ms


@dataclass(frozen=True, slots=True)
class Uniform:
    """Each whole millisecond from `low_ms` to `high_ms`, both ends inside, is as likely as any other."""

    low_ms: int
    high_ms: int

    def __post_init__(self) -> None:
        _check(0 <= self.low_ms <= self.high_ms, "low_ms", self.low_ms, "at least 0 and not above high_ms")

    def draw(self, random: Random) -> int:
        return random.randint(self.low_ms, self.high_ms)


@dataclass(frozen=True, slots=True)
class Empirical:
    """One of the delays measured, each as likely as any other."""

    delays_ms: Sequence[int]

    def __post_init__(self) -> None:
        least = min(self.delays_ms, default=-1)
        _check(least >= 0, "delays_ms", least, "one delay or more, none below 0")

    def draw(self, random: Random) -> int:
        return self.delays_ms[random.randrange(len(self.delays_ms))]


def lognormal(median_ms: int, spread: float) -> Empirical:
    """A log-normal delay, `spread` being the standard deviation of its logarithm, as a table of 1 024 quantiles.

    Drawing is then a matter of whole numbers, which are the same on every machine.
    """
    _check(median_ms >= 0, "median_ms", median_ms, "at least 0")
    _check(0 <= spread <= 5, "spread", spread, "0 … 5")
    factors = _lognormal_factors(spread)
    return Empirical(tuple(round(median_ms * factor) for factor in factors))


def _lognormal_factors(spread: float) -> list[float]:
    normal = NormalDist()
    return [exp(spread * normal.inv_cdf((2 * place + 1) / (2 * _QUANTILES))) for place in range(_QUANTILES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The model of every link of a network; shares are in ppm of messages.

    `regions` says where a peer stands and `between` what the delay is between two regions, in the order sender,
    receiver; `latency` holds for all others. A sender's messages leave one after the other at `bandwidth_bytes_per_s`
    (0: at once). With `in_order` a link delivers in the order sent, but for the reordered share, which comes up to
    `reorder_ms` late; without it, messages overtake each other as their delays have it. What is corrupted has one byte
    changed on its way.
    """

    latency: Latency = Uniform(5, 50)
    regions: Mapping[str, str] = field(default_factory=dict)
    between: Mapping[tuple[str, str], Latency] = field(default_factory=dict)
    bandwidth_bytes_per_s: int = 0
    in_order: bool = False
    loss_ppm: int = 0
    duplicate_ppm: int = 0
    reorder_ppm: int = 0
    reorder_ms: int = 1_000
    corrupt_ppm: int = 0

    def __post_init__(self) -> None:
        for name in ("loss_ppm", "duplicate_ppm", "reorder_ppm", "corrupt_ppm"):
            share = getattr(self, name)
            _check(0 <= share <= PPM, name, share, f"0 … {PPM}")
        _check(self.reorder_ms >= 1, "reorder_ms", self.reorder_ms, "at least 1")
        _check(self.bandwidth_bytes_per_s >= 0, "bandwidth_bytes_per_s", self.bandwidth_bytes_per_s, "at least 0")

    def latency_between(self, sender: str, receiver: str) -> Latency:
        if not self.between:
            return self.latency
        place = (self.regions.get(sender, ""), self.regions.get(receiver, ""))
        return self.between.get(place, self.latency)

    @property
    def is_faithful(self) -> bool:
        """True if every message arrives once and whole."""
        return not (self.loss_ppm or self.duplicate_ppm or self.corrupt_ppm)


class Arrival(NamedTuple):
    """A message that comes out of a link."""

    at_ms: int
    is_corrupt: bool


class SimulatedNetwork:
    """The links of one network: what is on its way, and where it is cut.

    `size_of` a message is asked for only where bandwidth counts.
    """

    def __init__(self, links: Links, random: Random) -> None:
        self.links = links
        self._random = random
        self._groups: dict[str, int] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._free_ms: dict[str, int] = {}  # when a sender's line is free again
        self._last_ms: dict[tuple[str, str], int] = {}  # the latest arrival on each link that keeps order

    # --- cuts ------------------------------------------------------------------------------------

    def partition(self, names: Iterable[str], groups: Iterable[Iterable[str]]) -> None:
        """Cut every link between different groups; a peer in no group stands alone."""
        self._groups = {name: index for index, group in enumerate(groups, start=1) for name in group}
        for number, name in enumerate(names):
            self._groups.setdefault(name, -1 - number)

    def cut(self, sender: str, receiver: str, *, one_way: bool = False) -> None:
        self._cuts.add((sender, receiver))
        if not one_way:
            self._cuts.add((receiver, sender))

    def heal(self) -> None:
        self._groups.clear()
        self._cuts.clear()

    def carries(self, sender: str, receiver: str) -> bool:
        """Return True if messages pass that way."""
        if self._cuts and (sender, receiver) in self._cuts:
            return False
        return self._groups.get(sender) == self._groups.get(receiver)

    # --- messages --------------------------------------------------------------------------------

    def send(self, now_ms: int, sender: str, receiver: str, size_of: Callable[[], int]) -> Sequence[Arrival]:
        """Arrivals of a message sent now: none, one or two. A cut swallows it."""
        links, random = self.links, self._random
        delay_ms = links.latency_between(sender, receiver).draw(random)
        if not self.carries(sender, receiver):
            return ()
        leaves_ms = now_ms if not links.bandwidth_bytes_per_s else self._queue(now_ms, sender, size_of())
        arrivals = [self._arrive(sender, receiver, leaves_ms + delay_ms)]
        if links.is_faithful:
            return arrivals
        if links.loss_ppm and random.randrange(PPM) < links.loss_ppm:
            arrivals.pop()
        if links.duplicate_ppm and random.randrange(PPM) < links.duplicate_ppm:
            again_ms = links.latency_between(sender, receiver).draw(random)
            arrivals.append(self._arrive(sender, receiver, leaves_ms + again_ms))
        if not links.corrupt_ppm:
            return arrivals
        return [arrival._replace(is_corrupt=random.randrange(PPM) < links.corrupt_ppm) for arrival in arrivals]

    def _queue(self, now_ms: int, sender: str, size: int) -> int:
        """The time when the last byte has left, behind all that the sender has sent before."""
        begin_ms = max(now_ms, self._free_ms.get(sender, now_ms))
        self._free_ms[sender] = begin_ms - -size * 1_000 // self.links.bandwidth_bytes_per_s
        return self._free_ms[sender]

    def _arrive(self, sender: str, receiver: str, at_ms: int) -> Arrival:
        links = self.links
        if links.reorder_ppm and self._random.randrange(PPM) < links.reorder_ppm:
            return Arrival(at_ms + self._random.randint(1, links.reorder_ms), False)
        if links.in_order:
            at_ms = self._last_ms[sender, receiver] = max(at_ms, self._last_ms.get((sender, receiver), 0))
        return Arrival(at_ms, False)


def corrupt(raw: bytes, random: Random) -> bytes:
    """The bytes with one of them changed."""
    place = random.randrange(len(raw))
    return raw[:place] + bytes([raw[place] ^ random.randint(1, 255)]) + raw[place + 1 :]
