"""The times at which peers find seals: by a search, or drawn, where the engine takes the drawn seal for a real one.

Under Eq. (10) of text 000 each nonce succeeds with probability (T + 1) / 2^256, so at so many nonces a second the time
to the first success is exponential. It has no memory: a search that starts anew loses nothing.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from consensus.poca.engine import PocaEngine
from consensus.seal import search
from ledger.block import Header
from ledger.snapshot import SealerSnapshot
from node.chain.events import StartSealing

_HASHES = 1 << 256
_BITS = 53
_MAX_SEARCH_MS = 5_000  # virtual time that one search covers; a node renews its candidate sooner than that


class DrawnEngine(PocaEngine):
    """Proof of credit assessment where every nonce will do; all else of a header is checked as ever."""

    def _check_seal(self, header: Header, standing: SealerSnapshot) -> None:
        pass


def draw_exponential(random: Random) -> int:
    """An exponential variate of mean 1, times 2^53, made of comparisons of whole numbers (von Neumann, 1951).

    A logarithm in floats may differ in its last bit from machine to machine.
    """
    whole = 0
    while True:
        first = last = random.getrandbits(_BITS)
        count = 1
        while (following := random.getrandbits(_BITS)) < last:
            last = following
            count += 1
        if count & 1:
            return (whole << _BITS) + first
        whole += 1


def draw_wait_ms(random: Random, *, hash_rate: int, target: int) -> int:
    """Milliseconds, at least 1, until so many nonces a second find a seal under `target`."""
    return 1 + (draw_exponential(random) * 1_000 * _HASHES // (hash_rate * (target + 1)) >> _BITS)


def draw_race_ms(random: Random, interval_ms: int) -> int:
    """Milliseconds until a peer finds the next block, at one per interval on average."""
    return draw_exponential(random) * interval_ms >> _BITS


class FoundSeal(NamedTuple):
    """A nonce, and the virtual time that a peer takes to find it."""

    wait_ms: int
    nonce: int


def plan_seal(job: StartSealing, *, hash_rate: int, random: Random | None) -> FoundSeal | None:
    """The seal that a peer will find at so many nonces a second, drawn by `random` or, without it, searched.

    None where a search finds nothing for as long as it is made.
    """
    if random is not None:
        wait_ms = draw_wait_ms(random, hash_rate=hash_rate, target=job.target)
        return FoundSeal(wait_ms, random.getrandbits(64))
    nonce = search(job.root, job.target, count=max(1, hash_rate * _MAX_SEARCH_MS // 1_000))
    return None if nonce is None else FoundSeal(1 + nonce * 1_000 // hash_rate, nonce)
