"""The race of an attacker against confirmations, block by block: paths counted in log space, and the gambler's ruin.

Rosenfeld 2014, Analysis of hashrate-based double-spending, section 4; Feller 1968, ch. III and XIV.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, expm1, fsum, inf, lgamma, log, log1p


def win_race(q: float, z: int, *, lead: int, give_up: int | None) -> float:
    """Chance that the attacker is ever `lead` blocks ahead once z honest blocks are there.

    The sum over its blocks at the z-th honest one, plus the sum over the honest blocks when it has z + lead of them,
    if that is before: finite, and positive throughout.
    """
    if q == 0:
        return 1.0 if z + lead == 0 else 0.0
    if q >= 0.5 and give_up is None:
        return 1.0
    if z == 0:
        return exp(_log_catch_up(q, 0, lead, give_up))
    log_q, log_p = log(q), log1p(-q)
    logs = [
        _log_paths(z - 1, mined, give_up) + z * log_p + mined * log_q + _log_catch_up(q, z - mined, lead, give_up)
        for mined in range(z + lead)
    ]
    logs += [_log_paths(honest, z + lead - 1, give_up) + (z + lead) * log_q + honest * log_p for honest in range(z)]
    return min(1.0, sum_logs(logs))


def _log_paths(honest: int, mined: int, give_up: int | None) -> float:
    """ln of how many orders of so many blocks never leave the attacker `give_up` behind: the reflection principle."""
    if give_up is not None and honest - mined >= give_up:
        return -inf
    paths = log_choose(honest + mined, mined)
    if give_up is None or honest < give_up:
        return paths
    return paths + log1p(-exp(log_choose(honest + mined, mined + give_up) - paths))


def _log_catch_up(q: float, deficit: int, lead: int, give_up: int | None) -> float:
    """ln of the chance to get from `deficit` behind to `lead` ahead: the gambler's ruin."""
    distance = deficit + lead
    log_ratio = log(q) - log1p(-q)
    if distance <= 0:
        return 0.0
    if give_up is None:
        return min(0.0, distance * log_ratio)
    if deficit >= give_up:
        return -inf
    left, width = give_up - deficit, give_up + lead
    if log_ratio == 0:
        return log(left / width)
    decay = -abs(log_ratio)
    return min(0.0, distance * log_ratio) + log(-expm1(left * decay)) - log(-expm1(width * decay))


def log_choose(total: int, chosen: int) -> float:
    """ln of the binomial coefficient."""
    return lgamma(total + 1) - lgamma(chosen + 1) - lgamma(total - chosen + 1)


def sum_logs(logs: Sequence[float]) -> float:
    """The sum of the numbers whose logarithms these are."""
    largest = max(logs)
    return 0.0 if largest == -inf else exp(largest + log(fsum(exp(each - largest) for each in logs)))
