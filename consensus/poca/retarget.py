"""The adjustment of N_diff to the hash rate: a per-block rule toward the block interval, and relief in a stall.

Every block has a *base* N_diff, which this module carries from parent to child; the N_diff in a header is the
base relieved by the header's own delay. Larger is easier. All results are integers of at least 1.
"""

from __future__ import annotations

MAX_N_DIFF = 2**256 - 1
MAX_DEVIATION_INTERVALS = 12
MAX_RELIEF_STEPS = 256


def compute_next_base(
    parent_base: int, solve_time_ms: int, *, interval_ms: int, window: int, n_diff_min: int, n_diff_max: int
) -> int:
    """The base of the block after a parent that took `solve_time_ms`, below 0 if dated before its own parent.

    With d = solve time − interval and W = interval · window the base is multiplied by (2W + d) / (2W − d):
    the exponential moving average e^{d/W} of ASERT in its first Padé form, so a hash-rate step decays over
    `window` blocks.

    The form and the clamp are chosen against timestamp games. A false timestamp moves one solve time by +x
    and the next by −x, and the factors of d and −d cancel exactly, where the linear 1 + d/W would lose (d/W)²
    each time and let a liar slow the chain down. For the same reason d, not the solve time, is clamped, and
    on both sides alike: a solve time clamped at 0 would turn every forward-dated header into an easier base.
    The bound of 12 intervals (or the window, if shorter) is far out, because whatever it cuts off no longer
    cancels: the median-of-11 rule lets a lone liar step back some 5 intervals. It is there so that a night of
    silence moves the base by one step, at most threefold.
    """
    assert parent_base >= 1, parent_base
    assert interval_ms >= 1, interval_ms
    assert window >= 1, window
    reach_ms = interval_ms * min(window, MAX_DEVIATION_INTERVALS)
    deviation_ms = max(-reach_ms, min(reach_ms, solve_time_ms - interval_ms))
    span_ms = 2 * interval_ms * window
    numerator, denominator = parent_base * (span_ms + deviation_ms), span_ms - deviation_ms
    # Up is rounded up and down is rounded down: flooring both would hold a small base where it is for ever.
    base = -(-numerator // denominator) if deviation_ms > 0 else numerator // denominator
    return _clamp(base, n_diff_min, n_diff_max)


def relief_steps(elapsed_ms: int, *, interval_ms: int, relief_after: int) -> int:
    """Number of doublings of the target `elapsed_ms` after the parent, by the two headers' timestamps.

    None while `relief_after` intervals pass, then one per further whole interval, `MAX_RELIEF_STEPS` at most.
    """
    assert interval_ms >= 1, interval_ms
    assert relief_after >= 0, relief_after
    steps = elapsed_ms // interval_ms - relief_after
    return max(0, min(MAX_RELIEF_STEPS, steps))


def relieved(base: int, steps: int, n_diff_max_total: int = MAX_N_DIFF) -> int:
    """The N_diff of a header: `base` doubled `steps` times, saturating.

    Work falls as N_diff rises (`block_work`), so that a hash attempt earns the same expected work with relief
    as without, and a header dated forward into relief gains nothing.
    """
    assert steps >= 0, steps
    return min(base << steps, n_diff_max_total)


def rescale(base: int, old_weight_sum: int, new_weight_sum: int, *, n_diff_min: int, n_diff_max: int) -> int:
    """The base under a newly active credit snapshot: base · old // new, which keeps the expected interval.

    The sums are of `compute_weight` over the members with the sealing right, taken as equally fast. Without
    this a rise of all credits by 5 points at τ = 1 would make blocks e^5 ≈ 148 times faster until the
    retarget catches up. A sum of 0 (no member may seal) has no interval to keep: the base stays.
    """
    assert old_weight_sum >= 0, old_weight_sum
    assert new_weight_sum >= 0, new_weight_sum
    if old_weight_sum and new_weight_sum:
        base = base * old_weight_sum // new_weight_sum
    return _clamp(base, n_diff_min, n_diff_max)


def block_work(n_diff: int) -> int:
    """The work of a block, 2^256 // (N_diff + 1): the hash attempts it takes at credit 0, for any producer."""
    return 2**256 // (n_diff + 1)


def _clamp(base: int, n_diff_min: int, n_diff_max: int) -> int:
    assert 1 <= n_diff_min <= n_diff_max <= MAX_N_DIFF, (n_diff_min, n_diff_max)
    return max(n_diff_min, min(n_diff_max, base))
