"""Races drawn with numpy: what the closed forms of `theory` say, counted instead. Each takes a seed for its own PCG64.

numpy is an extra, so that import this module where it is used. Arguments are those of the theory and as bounded there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, expm1, log, log1p

import numpy as np

CUT = 1e-9  # a race is over when the chance of the one behind is less
_CHUNK = 100_000  # numbers drawn at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Successes among independent trials."""

    successes: int
    trials: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """An importance-sampled estimate: the mean of the likelihood ratios and the variance of that mean."""

    value: float
    variance: float
    trials: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfishCount:
    """Canonical blocks by their finder."""

    pool: int
    others: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleCount:
    """Blocks found, and those of them that the chain of the last one leaves out."""

    blocks: int
    stale: int


def race_double_spend(q: float, z: int, trials: int, seed: int, *, lead: int = 0, give_up: int | None = None) -> Count:
    """Attackers that start level, without a block, when the merchant's z confirmations begin.

    One wins when it is `lead` ahead (0: a tie is enough) once the z honest blocks are there, and stops when it is
    `give_up` behind, at any moment. None never stops, which takes q < ½, and is cut off where less than 1e-9 is left.
    """
    assert give_up is not None or q < 0.5, "with half of the hash rate it never stops"
    generator = _make_generator(seed)
    limit = give_up or z + lead + _count_hopeless(q) + 1
    deficit = np.zeros(trials, dtype=np.int64)
    honest = np.zeros(trials, dtype=np.int64)
    successes = 0
    while deficit.size:
        has_won = (honest >= z) & (deficit <= -lead)
        successes += int(has_won.sum())
        goes_on = ~has_won & (deficit < limit)
        deficit, honest = deficit[goes_on], honest[goes_on]
        is_attacker = generator.random(deficit.size) < q
        deficit += np.where(is_attacker, -1, 1)
        honest += ~is_attacker
    return Count(successes=successes, trials=trials)


def sample_double_spend(q: float, z: int, trials: int, seed: int, *, lead: int = 0) -> Weighted:
    """The same race without giving up, by exponential tilting, for chances too small to count; q < ½.

    Until the z-th honest block both are drawn equally fast, a likelihood ratio of (2p)^z·(2q)^m at m attacker's blocks.
    From then on the rates are swapped (Siegmund 1976): the attacker surely arrives, with the ratio (q/p)^distance on
    every path, so that part of the path need not be drawn.
    """
    assert 0 < q < 0.5, q
    mined = _make_generator(seed).negative_binomial(z, 0.5, trials) if z else np.zeros(trials, dtype=np.int64)
    distance = np.maximum(z + lead - mined, 0)
    ratios = np.exp(z * log(2 * (1 - q)) + mined * log(2 * q) + distance * (log(q) - log1p(-q)))
    return Weighted(value=float(ratios.mean()), variance=float(ratios.var(ddof=1)) / trials, trials=trials)


def race_naive_work(q: float, z: int, weight: int, trials: int, seed: int) -> Count:
    """Low-credit forks, z blocks behind, whose blocks come `weight` times more rarely and count as much more; q < ½.

    One wins when it has strictly more work, and stops when the chance left is below 1e-9 (Lundberg's inequality).
    """
    generator = _make_generator(seed)
    chance = q / (q + (1 - q) * weight)
    limit = z + ceil(-log(CUT) / _solve_lundberg(chance, weight))
    ahead = np.full(trials, z, dtype=np.int64)
    successes = 0
    while ahead.size:
        ahead = ahead + generator.geometric(chance, ahead.size) - 1  # honest blocks until the attacker's next
        ahead = ahead[ahead < limit] - weight
        successes += int((ahead < 0).sum())
        ahead = ahead[ahead >= 0]
    return Count(successes=successes, trials=trials)


def mine_selfishly(alpha: float, gamma: float, blocks: int, seed: int) -> SelfishCount:
    """The state machine of Eyal & Sirer 2014, section 4.2, over so many blocks and on until nothing is withheld."""
    generator = _make_generator(seed)
    pool = others = withheld = found = 0
    is_tied = False
    while found < blocks or withheld or is_tied:
        for by_pool, on_pool in (generator.random((_CHUNK // 10, 2)) < (alpha, gamma)).tolist():
            found += 1
            if is_tied:  # two branches of one block, and this block decides
                is_tied = False
                pool += 2 if by_pool else int(on_pool)
                others += 0 if by_pool else 2 - int(on_pool)
            elif by_pool:
                withheld += 1
            elif withheld == 0:
                others += 1
            elif withheld == 1:
                withheld, is_tied = 0, True
            elif withheld == 2:
                pool, withheld = pool + 2, 0
            else:
                pool, withheld = pool + 1, withheld - 1
            if found >= blocks and not withheld and not is_tied:
                break
    return SelfishCount(pool=pool, others=others)


def race_poca(
    credits: Sequence[float], tau: float, blocks: int, seed: int, hash_rates: Sequence[float] = ()
) -> tuple[int, ...]:
    """Blocks won by each member when all search at once, an exponential time of rate h·e^{C/τ}; credits in points.

    Logarithms of the times are compared, since e^{C/τ} may be more than a float holds.
    """
    generator = _make_generator(seed)
    with np.errstate(divide="ignore"):  # one that does not search needs forever
        log_rates = np.array(credits) / tau + np.log(hash_rates or [1.0] * len(credits))
    wins = np.zeros(len(credits), dtype=np.int64)
    chunk = _CHUNK // len(credits) + 1
    for start in range(0, blocks, chunk):
        times = generator.standard_exponential((min(chunk, blocks - start), len(credits)))
        wins += np.bincount((np.log(times) - log_rates).argmin(axis=1), minlength=len(credits))
    return tuple(wins.tolist())


def race_stale(delay_s: float, interval_s: float, miners: int, blocks: int, seed: int) -> StaleCount:
    """Equal miners, each block arriving at all others after the same delay; longest chain, first seen."""
    generator = _make_generator(seed)
    times = np.cumsum(generator.standard_exponential(blocks) * interval_s).tolist()
    finders = generator.integers(0, miners, blocks).tolist()
    own_height = [0] * miners
    public_height = best = 0
    travelling: deque[tuple[float, int]] = deque()
    for time_s, finder in zip(times, finders, strict=True):
        while travelling and travelling[0][0] <= time_s:
            public_height = max(public_height, travelling.popleft()[1])
        own_height[finder] = max(own_height[finder], public_height) + 1
        best = max(best, own_height[finder])
        travelling.append((time_s + delay_s, own_height[finder]))
    return StaleCount(blocks=blocks, stale=blocks - best)


def _make_generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _count_hopeless(q: float) -> int:
    """Blocks behind from which the chance to catch up, (q/p)^deficit, is below 1e-9."""
    return ceil(log(CUT) / (log(q) - log1p(-q))) if q > 0 else 1


def _solve_lundberg(chance: float, weight: int) -> float:
    """The adjustment coefficient θ of a lead that a block changes by −`weight` with `chance`, else by +1.

    E[e^(−θ·change)] = 1 with θ > 0, so that the chance to lose a lead is at most e^(−θ·lead).
    """

    def is_below(theta: float) -> bool:
        return chance * expm1(theta * weight) + (1 - chance) * expm1(-theta) < 0

    low, high = 0.0, 1 / weight
    while is_below(high):
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return high
