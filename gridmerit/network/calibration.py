"""The starting difficulty of chains that are sealed by search: from this machine's speed to an N_diff, by Eq. (10)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from consensus import seal
from consensus.errors import BadParameters
from consensus.poca.credit_target import compute_weight
from ledger.genesis import GenesisMember
from ledger.params import ChainParams

_MEASURED_NONCES = 20_000
_MEASURED_S = 0.2


def measure_nonces_per_s() -> int:
    """The number of nonces that a thread of this machine tries per second, measured for a fifth of a second."""
    tried, begin = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - begin) < _MEASURED_S:
        seal.search(bytes(32), 0, start=tried, count=_MEASURED_NONCES)
        tried += _MEASURED_NONCES
    return max(1, int(tried / elapsed_s))


def calibrate(
    params: Sequence[ChainParams], *, sealers: int, nonces_per_s: int, stake_uyuan: int = 0
) -> tuple[ChainParams, ...]:
    """The chains of one network with an N_diff each at which their blocks come at the interval from the start.

    All of them are sealed by the same `sealers` members, whose search of so many nonces per second serves each chain
    that is searched for in turn, and whose balances on the trading chain sum to `stake_uyuan`. Under PBFT there is
    nothing to search. Raises `BadParameters`.
    """
    share = _share_search(params, nonces_per_s)
    return tuple(_calibrate_one(chain, sealers=sealers, share=share, stake_uyuan=stake_uyuan) for chain in params)


def _share_search(params: Sequence[ChainParams], nonces_per_s: int) -> int:
    """The nonces per second that a member tries for each of the chains on which there is a search."""
    searched = [item.consensus for item in params if item.consensus.engine == "poca"]
    return nonces_per_s // max(1, sum(consensus.eligibility != "stake" for consensus in searched))


def _calibrate_one(params: ChainParams, *, sealers: int, share: int, stake_uyuan: int) -> ChainParams:
    if params.consensus.engine != "poca":
        return params
    n_diff = compute_n_diff(params, sealers=sealers, nonces_per_s=share, stake_uyuan=stake_uyuan)
    return _with_n_diff(params, n_diff)


def _with_n_diff(params: ChainParams, n_diff: int) -> ChainParams:
    return params.model_copy(update={"consensus": params.consensus.model_copy(update={"n_diff_initial": n_diff})})


def compute_n_diff(params: ChainParams, *, sealers: int, nonces_per_s: int, stake_uyuan: int = 0) -> int:
    """The N_diff at which `sealers` members with the initial credit, so fast each, find a block per interval.

    Where the chain limits the nonces of an interval (`interval_nonces`), none is faster than that. From Eq. (10):
    sealers · rate · interval · N_diff · e^{C/τ} / 2^256 = 1, kept within the chain's bounds. Under
    `work` without e^{C/τ}; under `stake`, Eq. (9), each ms is one try of each member: interval · N_diff · Σ balance /
    2^256 = 1. Raises `BadParameters` where one of these two is out of the chain's bounds, or nobody has a balance.
    """
    consensus = params.consensus
    if consensus.eligibility == "stake":
        attempts = stake_uyuan * consensus.block_interval_ms if params.kind == "trading" else 0
        if not attempts:
            raise BadParameters(
                detail=f'eligibility "stake" on {params.name}: no sealing member has a balance there, and none could '
                "ever seal; money is on the trading chain alone"
            )
    else:
        pace = min(nonces_per_s, consensus.nonces_per_s or nonces_per_s)
        attempts = max(1, sealers * pace * consensus.block_interval_ms // 1_000)
    n_diff = 2**256 // attempts
    if consensus.eligibility == "poca":
        n_diff = (n_diff << 64) // compute_weight(params.market.initial_credit_upt, consensus.tau_upt)
    elif n_diff > consensus.n_diff_max:
        raise BadParameters(
            detail=f'eligibility "{consensus.eligibility}" on {params.name}: a block per interval takes an N_diff of '
            f"about 2^{n_diff.bit_length() - 1}, n_diff_max is {consensus.n_diff_max:#x}"
        )
    return max(consensus.n_diff_min, min(consensus.n_diff_max, n_diff))


def calibrate_for(
    params: Sequence[ChainParams], members: Sequence[GenesisMember], *, nonces_per_s: int
) -> list[ChainParams]:
    """As `calibrate`, by who seals each chain."""
    share = _share_search(params, nonces_per_s)
    calibrated = []
    for chain in params:
        sealing = [member for member in members if member.seals_on(chain.name)]
        stake_uyuan = sum(member.balance_uyuan for member in sealing)
        calibrated.append(_calibrate_one(chain, sealers=len(sealing), share=share, stake_uyuan=stake_uyuan))
    return calibrated
