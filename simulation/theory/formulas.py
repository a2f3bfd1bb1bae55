"""Formulas of theory: closed forms, summed in log space, each with its source.

Shares, probabilities and rates are plain floats; credits and τ are in points, as the paper prints them.
Every function raises `BadParameter` for a value out of the bounds of its parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import exp, expm1, fsum, lgamma, log, log1p
from typing import Any

from simulation.errors import BadParameter, UnknownParameter, UnknownTheory
from simulation.theory.binomial import compute_band
from simulation.theory.catch_up import log_choose, sum_logs, win_race
from simulation.theory.registry import Argument, Parameter, TheoryFunction, formula

MAX_Z = 10_000
_CANCELS = 1e-6  # below this share of what was subtracted, a difference is short of digits
ROSENFELD = "Rosenfeld 2014, Analysis of hashrate-based double-spending, section 4"
EYAL_SIRER = "Eyal & Sirer 2014, Majority is not enough"

Q = Parameter(name="q", about="the attacker's share of the hash rate", default=0.3, high=1, is_high_open=True)
Z = Parameter(name="z", about="confirmations that the merchant waits for", default=6, kind="int", high=MAX_Z)
GIVE_UP = Parameter(
    name="give_up", about="deficit in blocks at which the attacker stops", default=10, kind="int", low=1, high=MAX_Z
)
Q_MINORITY = Parameter(name="q", about=Q.about, default=0.3, high=0.5, is_high_open=True)
BOUND = Parameter(
    name="bound", about="largest probability to accept", default=1e-3, high=1, is_low_open=True, is_high_open=True
)
WEIGHT = Parameter(
    name="weight", about="e^{ΔC/τ}: the work of one of the attacker's blocks in honest ones", default=1000, kind="int",
    low=1, high=10**9,
)  # fmt: skip
ALPHA = Parameter(name="alpha", about="the pool's share of the hash rate", default=0.3, high=0.5, is_high_open=True)
GAMMA = Parameter(
    name="gamma", about="share of the honest hash rate that builds on the pool's block in a tie", default=0.5, high=1
)
DELAY = Parameter(
    name="delay_s", about="delay from a block's discovery to its arrival everywhere, s", default=1.0, high=1e9
)
INTERVAL = Parameter(name="interval_s", about="mean time between blocks, s", default=10.0, high=1e9, is_low_open=True)
MINERS = Parameter(name="miners", about="miners of equal hash rate", default=10, kind="int", low=1, high=10**9)
CREDITS = Parameter(name="credits", about="credit of each member, points", default=(90.0, 95.0, 100.0), kind="list",
                    high=100)  # fmt: skip
TAU = Parameter(name="tau", about="credit temperature, points", default=1.0, is_low_open=True)
HASH_RATES = Parameter(
    name="hash_rates", about="hash rate of each member, any unit; none: all alike", default=(), kind="list",
    high=1e18, may_be_empty=True,
)  # fmt: skip
BLOCKS = Parameter(name="blocks", about="blocks sealed", default=50, kind="int", high=10**12)
SHARES = Parameter(
    name="shares", about="what each member holds, in any unit", default=(0.4, 0.3, 0.2, 0.1), kind="list", high=1e18
)
TRIALS = Parameter(name="trials", about="independent trials", default=50, kind="int", high=2_000)
CHANCE = Parameter(name="chance", about="probability in one trial", default=0.5, high=1)
MASS = Parameter(name="mass", about="probability inside the band", default=0.95, high=1, is_low_open=True)


# --- double spend --------------------------------------------------------------------------------


@formula(Q, Z, source="Nakamoto 2008, Bitcoin, section 11; Eq. (1) of text 003", result="probability")
def double_spend_nakamoto(q: float, z: int) -> float:
    """Chance that an attacker ever catches up, its progress taken for Poisson: Nakamoto's approximation.

    The printed form 1 − Σ cancels to nonsense in floats, so this is the same sum with only positive terms:
    Σ_{k<z} Pois(k; λ)·(q/p)^{z−k} + Σ_{k≥z} Pois(k; λ), with λ = z·q/p.
    """
    if q >= 0.5 or z == 0:
        return 1.0
    if q == 0:
        return 0.0
    log_ratio = log(q) - log1p(-q)
    mean = z * exp(log_ratio)

    def log_poisson(count: int) -> float:
        return count * log(mean) - mean - lgamma(count + 1)

    logs = [log_poisson(count) + (z - count) * log_ratio for count in range(z)]
    count, negligible = z, max([*logs, log_poisson(z)]) - 50
    while log_poisson(count) > negligible:
        logs.append(log_poisson(count))
        count += 1
    return min(1.0, sum_logs(logs))


@formula(Q, Z, source=f"{ROSENFELD}; Grunspan & Pérez-Marco 2018, Double spend races, I_{{4pq}}(z, ½)",
         result="probability")  # fmt: skip
def double_spend_exact(q: float, z: int) -> float:
    """Chance that an attacker ever catches up, its progress exact: negative binomial.

    It starts level when the z confirmations begin, without a block mined before, and drawing level is enough.
    (Rosenfeld's attacker starts one ahead and has to end one ahead, which is the same.)
    """
    return win_race(q, z, lead=0, give_up=None)


@formula(Q, Z, source=f"{ROSENFELD}, without the block mined before", result="probability")
def double_spend_strict(q: float, z: int) -> float:
    """Chance that an attacker ever gets strictly ahead, starting level when the z confirmations begin."""
    return win_race(q, z, lead=1, give_up=None)


@formula(Q, Z, GIVE_UP, source=f"{ROSENFELD}, paths counted by reflection at the deficit (Feller 1968, ch. III, XIV)",
         result="probability")  # fmt: skip
def double_spend_give_up(q: float, z: int, give_up: int) -> float:
    """Chance that an attacker catches up before it is `give_up` blocks behind, at any moment, and stops."""
    return win_race(q, z, lead=0, give_up=give_up)


@formula(Q, Z, GIVE_UP, source=f"{ROSENFELD}, paths counted by reflection at the deficit (Feller 1968, ch. III, XIV)",
         result="probability")  # fmt: skip
def double_spend_strict_give_up(q: float, z: int, give_up: int) -> float:
    """Chance that an attacker gets strictly ahead before it is `give_up` blocks behind, at any moment, and stops."""
    return win_race(q, z, lead=1, give_up=give_up)


@formula(Q_MINORITY, BOUND, source=ROSENFELD, result="z")
def least_z_exact(q: float, bound: float) -> int:
    """Fewest confirmations with which `double_spend_exact` is at most `bound`."""
    return _find_least_z("least_z_exact", double_spend_exact, q, bound)


@formula(Q_MINORITY, BOUND, source="Nakamoto 2008, Bitcoin, section 11, last table", result="z")
def least_z_nakamoto(q: float, bound: float) -> int:
    """Fewest confirmations with which `double_spend_nakamoto` is at most `bound`."""
    return _find_least_z("least_z_nakamoto", double_spend_nakamoto, q, bound)


@formula(Q, Z, WEIGHT, source="ruin of a Cramér–Lundberg reserve, in whole blocks (ballot theorem)",
         result="probability")  # fmt: skip
def naive_work_revert(q: float, z: int, weight: int) -> float:
    """Chance that a low-credit fork ever has more work than an honest chain z blocks ahead, by the naive rule.

    The naive rule counts the credit-scaled target as work, so the attacker's blocks come `weight` times more rarely
    and count `weight` times as much: credit cancels out. From a level start the chance is ρ = q/p whatever `weight`;
    behind by z it is 1 − (1 − ρ)(1 + ρ/weight)^z up to z = weight, which tends to ρ, so confirmations buy nothing.
    """
    rate = q / (1 - q)
    if rate >= 1:
        return 1.0
    step = rate / weight
    reverts = [1.0, rate]  # when the honest chain is 0, 1, … blocks ahead and a tie is enough
    for lead in range(1, z + 1):
        reverts.append(reverts[lead] * (1 + step) - step * (reverts[lead - weight] if lead > weight else 1.0))
    return reverts[z + 1] if reverts[z + 1] > _CANCELS * rate else _sum_last_exits(rate, z, weight)


@formula(Q, Z, WEIGHT, GIVE_UP, source="skip-free walk between two barriers (Feller 1968, ch. XIV)",
         result="probability")  # fmt: skip
def naive_work_give_up(q: float, z: int, weight: int, give_up: int) -> float:
    """Chance that such a fork has more work before the honest chain is `give_up` blocks ahead, where it stops.

    The chance to get from k ahead to `give_up` ahead first goes by φ(k + 1) = φ(k) + (ρ/weight)·(φ(k) − φ(k − weight)).
    """
    if z >= give_up:
        return 0.0
    step = q / (1 - q) / weight
    logs = [0.0]  # ln φ(k)
    for lead in range(give_up):
        gained = -expm1(logs[lead - weight] - logs[lead]) if lead >= weight else 1.0
        logs.append(logs[lead] + log1p(step * gained))
    return -expm1(logs[z] - logs[give_up])


def _sum_last_exits(rate: float, z: int, weight: int) -> float:
    """`naive_work_revert` where its recurrence has cancelled, as a sum without a minus.

    An honest chain that was ever behind gains one block at a time, so that it leaves −1 upwards a last time: at its
    h-th block after n of the attacker's, z + h − n·weight = −1, and with 1 − ρ it is never behind again.
    """
    if rate == 0:
        return 0.0
    log_own, log_other = log(rate) - log(weight + rate), -log1p(rate / weight)
    logs: list[float] = []
    mined = z // weight + 1
    while not logs or logs[-1] > max(logs) - 50 or logs[-1] > logs[-2]:
        honest = mined * weight - z - 1
        logs.append(log_choose(honest + mined, mined) + mined * log_own + (honest + 1) * log_other)
        mined += 1
    return min(1.0, (1 - rate) * sum_logs(logs))


def _find_least_z(name: str, probability: TheoryFunction[[float, int], float], q: float, bound: float) -> int:
    """Bisection: more confirmations never help the attacker."""
    low, high = 0, 1
    while probability(q, high) > bound:
        if high == MAX_Z:
            raise BadParameter(theory=name, parameter="q", value=q, detail=f"no z up to {MAX_Z} meets {bound:g}")
        low, high = high, min(2 * high, MAX_Z)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if probability(q, middle) <= bound else (middle, high)
    return high


# --- selfish mining and stale blocks -------------------------------------------------------------


@formula(ALPHA, GAMMA, source=f"{EYAL_SIRER}, Eq. (8)", result="revenue")
def selfish_revenue(alpha: float, gamma: float) -> float:
    """Share of the canonical blocks that a selfish pool gets; an honest one would get alpha."""
    gain = alpha * (1 - alpha) ** 2 * (4 * alpha + gamma * (1 - 2 * alpha)) - alpha**3
    return gain / (1 - alpha * (1 + (2 - alpha) * alpha))


@formula(GAMMA, source=f"{EYAL_SIRER}, Eq. (9)", result="alpha")
def selfish_threshold(gamma: float) -> float:
    """Share of the hash rate above which selfish mining pays: ⅓, ¼ and 0 for gamma 0, ½ and 1."""
    return (1 - gamma) / (3 - 2 * gamma)


@formula(DELAY, INTERVAL, source="Decker & Wattenhofer 2013, Information propagation in the Bitcoin network",
         result="probability")  # fmt: skip
def stale_probability(delay_s: float, interval_s: float) -> float:
    """Chance that a block gets a competitor while it travels: 1 − e^(−D/I)."""
    return -expm1(-delay_s / interval_s)


@formula(DELAY, INTERVAL, source="stale_probability, one stale block for each competition", result="fraction")
def stale_fraction(delay_s: float, interval_s: float) -> float:
    """Stale blocks among all blocks, s/(1 + s), when each competition leaves one of them: s = 1 − e^(−D/I)."""
    stale = -expm1(-delay_s / interval_s)
    return stale / (1 + stale)


@formula(DELAY, INTERVAL, MINERS, source="competitors in the delay of n equal miners, first-seen rule",
         result="fraction")  # fmt: skip
def stale_fraction_of_miners(delay_s: float, interval_s: float, miners: int) -> float:
    """Stale blocks among all blocks of n equal miners, s/(1 + s) with s = (n − 1)(1 − e^(−D/(n·I))).

    Each of the others may find one competitor while the block travels; all is D/(D + I) for many miners. It leaves out
    that the finder is ahead of the others meanwhile, an error of order (D/I)²/n.
    """
    stale = (miners - 1) * -expm1(-delay_s / (miners * interval_s))
    return stale / (1 + stale)


# --- credit and concentration --------------------------------------------------------------------


@formula(CREDITS, TAU, HASH_RATES, source="Eq. (11) of text 000, with the credit temperature τ", result="share")
def poca_shares(credits: Sequence[float], tau: float, hash_rates: Sequence[float] = ()) -> tuple[float, ...]:
    """Share of the blocks of each member, h·e^{C/τ} over their sum; credits and τ in points."""
    rates = hash_rates or (1.0,) * len(credits)
    if len(rates) != len(credits) or not any(rates):
        detail = f"want one per credit ({len(credits)}), not all 0"
        raise BadParameter(theory="poca_shares", parameter="hash_rates", value=hash_rates, detail=detail)
    best = max(credit for credit, rate in zip(credits, rates, strict=True) if rate > 0)
    weights = [rate * exp((credit - best) / tau) if rate else 0.0 for credit, rate in zip(credits, rates, strict=True)]
    total = fsum(weights)
    return tuple(weight / total for weight in weights)


@formula(CREDITS, TAU, BLOCKS, source="Eq. (11) of text 000: sum of the chances of none", result="members")
def poca_without(credits: Sequence[float], tau: float, blocks: int) -> float:
    """Members that get none of so many blocks, on average: Σ (1 − share)^blocks; credits and τ in points."""
    return fsum((1 - share) ** blocks for share in poca_shares(credits, tau))


@formula(SHARES, source="Srinivasan & Lee 2017, Quantifying decentralization", result="members")
def nakamoto_coefficient(shares: Sequence[float]) -> int:
    """Fewest members that together hold more than half."""
    total = _sum_shares("nakamoto_coefficient", shares)
    ranked = sorted(shares, reverse=True)
    return next(count for count in range(1, len(ranked) + 1) if fsum(ranked[:count]) > total / 2)


@formula(SHARES, source="Hirschman 1964, The paternity of an index", result="index")
def herfindahl_hirschman(shares: Sequence[float]) -> float:
    """The HHI, sum of squared shares: 1/n when all n hold alike, 1 when one holds all."""
    total = _sum_shares("herfindahl_hirschman", shares)
    return fsum((share / total) ** 2 for share in shares)


@formula(TRIALS, CHANCE, MASS, source="exact binomial distribution", result="count")
def binomial_band(trials: int, chance: float, mass: float) -> Mapping[str, float]:
    """The central band of how often an event happens, both ends inside; the chance is read to twelve decimals."""
    low, high = compute_band(trials, Fraction(f"{chance:.12f}"), Fraction(str(mass)))
    return {"low": low, "high": high}


def _sum_shares(name: str, shares: Sequence[float]) -> float:
    total = fsum(shares)
    if total <= 0:
        raise BadParameter(theory=name, parameter="shares", value=shares, detail="want at least one above 0")
    return total


# --- by name -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A theory at given parameters, defaults filled in: its values by name and where they come from."""

    name: str
    about: str
    source: str
    parameters: Mapping[str, Argument]
    values: Mapping[str, float]


_ALL: tuple[TheoryFunction[Any, Any], ...] = (
    double_spend_nakamoto,
    double_spend_exact,
    double_spend_strict,
    double_spend_give_up,
    double_spend_strict_give_up,
    least_z_exact,
    least_z_nakamoto,
    naive_work_revert,
    naive_work_give_up,
    selfish_revenue,
    selfish_threshold,
    stale_probability,
    stale_fraction,
    stale_fraction_of_miners,
    poca_shares,
    poca_without,
    nakamoto_coefficient,
    herfindahl_hirschman,
    binomial_band,
)
THEORIES: Mapping[str, TheoryFunction[Any, Any]] = {each.name: each for each in _ALL}


def evaluate_theory(name: str, given: Mapping[str, str]) -> Evaluation:
    """Evaluate what a user asked for, by text. Raises `UnknownTheory`, `UnknownParameter` or `BadParameter`."""
    if name not in THEORIES:
        raise UnknownTheory(name=name, known=", ".join(THEORIES))
    theory = THEORIES[name]
    known = {parameter.name: parameter for parameter in theory.parameters}
    for key in given:
        if key not in known:
            raise UnknownParameter(theory=name, parameter=key, known=", ".join(known))
    parameters = {
        key: parameter.parse(name, given[key]) if key in given else parameter.default
        for key, parameter in known.items()
    }
    values = theory.name_values(theory(**parameters))
    return Evaluation(name=name, about=theory.about, source=theory.source, parameters=parameters, values=values)
