"""Sums over a film: the tree of blocks, reorganisations, how blocks spread, intervals. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from simulation.recording import Recording


class FilmedBlock(NamedTuple):
    """A block when it was found. `is_canonical`: on the chain that most peers ended on."""

    hash: str
    parent: str
    height: int
    producer: str
    found_ms: int
    is_canonical: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A film in numbers; times since its start, in ms."""

    blocks: tuple[FilmedBlock, ...]
    reorg_depths: Mapping[int, int]  # how many blocks a peer left when its head moved to another branch -> how often
    spread_ms: tuple[tuple[int, ...], ...]  # for each block, after how long 1, 2, … peers had it
    intervals: tuple[tuple[int, int], ...]  # canonical height, ms since the block before
    targets: tuple[tuple[int, int], ...]  # canonical height, N_diff
    peers: int

    @property
    def stale(self) -> int:
        return sum(not block.is_canonical for block in self.blocks)


def summarise(replay: Recording) -> Summary:
    """Frames about blocks that no peer found in the film, such as the genesis block, say nothing."""
    found: dict[str, FilmedBlock] = {}
    arrivals: dict[str, list[int]] = {}
    heads: dict[str, str] = {}
    depths: Counter[int] = Counter()
    targets: dict[str, int] = {}
    for time_ms, kind, *values in replay.frames:
        match kind, values:
            case "block", [str(peer), str(hash_), str(parent), int(height)]:
                since_ms = time_ms - replay.start_ms
                found.setdefault(hash_, FilmedBlock(hash_, parent, height, peer, since_ms, False))
                arrivals.setdefault(hash_, [0])
            case "arrive", [_, str(hash_)] if hash_ in found:
                arrivals[hash_].append(time_ms - replay.start_ms - found[hash_].found_ms)
            case "head", [str(peer), str(hash_)]:
                depth = _count_left(found, heads.get(peer), hash_)
                if depth:
                    depths[depth] += 1
                heads[peer] = hash_
            case "target", [str(hash_), str(target)]:
                targets[hash_] = int(target)
    canonical = _find_canonical(found, heads)
    blocks = tuple(block._replace(is_canonical=block.hash in canonical) for block in found.values())
    chain = sorted((block for block in blocks if block.is_canonical), key=lambda block: block.height)
    return Summary(
        blocks=blocks,
        reorg_depths=dict(sorted(depths.items())),
        spread_ms=tuple(tuple(sorted(times)) for times in arrivals.values()),
        intervals=tuple((block.height, block.found_ms - before.found_ms) for before, block in pairwise(chain)),
        targets=tuple((block.height, targets[block.hash]) for block in chain if block.hash in targets),
        peers=len(replay.peers),
    )


def _count_left(found: Mapping[str, FilmedBlock], old: str | None, new: str) -> int:
    """Number of blocks of the branch of `old` that are not on that of `new`."""
    left = 0
    one, other = found.get(old or ""), found.get(new)
    while one is not None and one != other:
        if other is not None and other.height >= one.height:
            level = other.height == one.height
            other = found.get(other.parent)
            if not level:
                continue
        left, one = left + 1, found.get(one.parent)
    return left


def _find_canonical(found: Mapping[str, FilmedBlock], heads: Mapping[str, str]) -> set[str]:
    """The chain of the commonest last head; the higher, then the lesser hash, where several are as common."""
    counts = Counter(head for head in heads.values() if head in found)
    if not counts:
        return set()
    tip = min(counts, key=lambda head: (-counts[head], -found[head].height, head))
    canonical = set[str]()
    while tip in found:
        canonical.add(tip)
        tip = found[tip].parent
    return canonical
