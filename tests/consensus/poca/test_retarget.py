"""The retarget rule: its arithmetic, and what it does to a simulated chain of honest and lying producers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.poca.credit_target import compute_target, compute_weight
from consensus.poca.retarget import (
    MAX_N_DIFF,
    MAX_RELIEF_STEPS,
    block_work,
    compute_next_base,
    relief_steps,
    relieved,
    rescale,
)
from consensus.timestamps import median_time_past

T = 10_000  # block interval, ms
WINDOW = 24
RELIEF_AFTER = 12
MAX_AHEAD = 15_000
BOUNDS = {"n_diff_min": 1, "n_diff_max": 2**240}

base = st.integers(2**40, 2**200)
solve_time = st.integers(-100 * T, 100 * T)
window = st.integers(1, 500)


def next_base(parent_base: int, solve_time_ms: int, window: int = WINDOW, **bounds: int) -> int:
    return compute_next_base(parent_base, solve_time_ms, interval_ms=T, window=window, **(BOUNDS | bounds))


# --- arithmetic ----------------------------------------------------------------------------------


def test_a_block_on_time_changes_nothing():
    assert next_base(2**200, T) == 2**200


def test_a_late_block_eases_and_an_early_one_hardens():
    # d = ±T and W = 24 T: (2·24 + 1) / (2·24 − 1)
    assert next_base(47 * 10**6, 2 * T) == 49 * 10**6
    assert next_base(49 * 10**6, 0) == 47 * 10**6


@given(base, st.integers(-12 * T, 12 * T), st.integers(12, 500))
def test_an_early_and_a_late_block_cancel(parent_base, deviation, window):
    there = next_base(parent_base, T + deviation, window)
    back = next_base(there, T - deviation, window)
    assert abs(back - parent_base) <= 3


@given(base, solve_time, solve_time, window)
def test_a_later_block_never_gives_a_harder_base(parent_base, one, other, window):
    early, late = sorted((one, other))
    assert next_base(parent_base, early, window) <= next_base(parent_base, late, window)


@given(base, solve_time, window)
def test_no_single_block_moves_the_base_more_than_threefold(parent_base, solve_time_ms, window):
    moved = next_base(parent_base, solve_time_ms, window)
    assert parent_base // 3 <= moved <= 3 * parent_base


@given(st.integers(1, MAX_N_DIFF), solve_time, window, st.integers(1, 2**128), st.integers(2**128, MAX_N_DIFF))
def test_the_base_stays_within_its_bounds(parent_base, solve_time_ms, window, low, high):
    assert low <= next_base(parent_base, solve_time_ms, window, n_diff_min=low, n_diff_max=high) <= high


def test_the_smallest_base_is_no_trap():
    climbing = 1
    for _ in range(100):
        climbing = next_base(climbing, 2 * T)
    assert climbing > 80


@pytest.mark.parametrize(
    ("elapsed_intervals", "steps"),
    [
        (-5, 0),
        (0, 0),
        (11.99, 0),
        (12, 0),
        (12.99, 0),
        (13, 1),
        (13.99, 1),
        (14, 2),
        (22, 10),
        (268, 256),
        (9e9, 256),
    ],
)
def test_relief_doubles_once_per_interval_after_the_delay(elapsed_intervals, steps):
    assert relief_steps(int(elapsed_intervals * T), interval_ms=T, relief_after=RELIEF_AFTER) == steps


def test_relief_doubles_and_saturates():
    assert relieved(5, 0) == 5
    assert relieved(5, 3) == 40
    assert relieved(1, MAX_RELIEF_STEPS) == MAX_N_DIFF
    assert relieved(2**100, 20, n_diff_max_total=2**110) == 2**110


def test_block_work_is_the_expected_number_of_attempts():
    assert block_work(0) == 2**256
    assert block_work(2**255 - 1) == 2
    assert block_work(MAX_N_DIFF) == 1


@given(st.integers(0, MAX_N_DIFF))
def test_no_attempt_earns_more_than_one_unit_of_work(n_diff):
    # An attempt at credit 0 succeeds with (n_diff + 1) / 2^256.
    assert block_work(n_diff) * (n_diff + 1) <= 2**256


@given(st.integers(2**20, 2**200), st.integers(0, 40))
def test_a_header_dated_forward_into_relief_weighs_half_as_much_per_step(unrelieved, steps):
    loose = block_work(relieved(unrelieved, steps)) << steps
    tight = block_work(unrelieved)
    assert tight - 2**steps <= loose <= tight + tight // unrelieved + 1


@given(base, st.integers(2**64, 2**200), st.integers(2**64, 2**200))
def test_rescaling_keeps_the_chance_per_attempt(unscaled, old, new):
    scaled = rescale(unscaled, old, new, n_diff_min=1, n_diff_max=MAX_N_DIFF)
    if 1 < scaled < MAX_N_DIFF:
        assert scaled * new <= unscaled * old < (scaled + 1) * new


def test_a_rise_of_all_credits_does_not_flood_the_chain():
    # Five points more at τ = 1 would make every target e^5 ≈ 148 times as large.
    before, after, tau = 90_000_000, 95_000_000, 1_000_000
    sums = (3 * compute_weight(before, tau), 3 * compute_weight(after, tau))
    scaled = rescale(2**100, *sums, n_diff_min=1, n_diff_max=MAX_N_DIFF)
    kept = compute_target(scaled, after, tau) / compute_target(2**100, before, tau)
    assert kept == pytest.approx(1.0, rel=1e-12)


def test_rescaling_stays_within_bounds_and_survives_an_empty_set():
    assert rescale(100, 1, 1_000, n_diff_min=5, n_diff_max=50) == 5
    assert rescale(100, 1_000, 1, n_diff_min=5, n_diff_max=50) == 50
    assert rescale(40, 0, 7, n_diff_min=5, n_diff_max=50) == 40
    assert rescale(40, 7, 0, n_diff_min=5, n_diff_max=50) == 40


# --- a simulated chain ---------------------------------------------------------------------------

Dating = Callable[[int, list[int]], int]  # (real time, ancestors' timestamps) -> own timestamp


def honest(now: int, past: list[int]) -> int:
    return max(now, median_time_past(past) + 1)


def backdated(now: int, past: list[int]) -> int:
    return median_time_past(past) + 1


def forward_dated(now: int, past: list[int]) -> int:
    return max(now + MAX_AHEAD, median_time_past(past) + 1)


@dataclass
class Chain:
    """Blocks found by exponential chance; `attempts_per_ms` may change between calls of `mine`."""

    seed: int
    attempts_per_ms: int = 1_000
    base: int = 2**256 // (1_000 * T)
    now: float = 0.0
    timestamps: list[int] = field(default_factory=lambda: [0])

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)

    def mine(self, blocks: int, liars: float = 0.0, lie: Dating = honest) -> float:
        """Extend the chain, a share `liars` of it dated by `lie`; the mean real interval in units of T."""
        start = self.now
        for _ in range(blocks):
            self._wait_for_a_block()
            dating = lie if self.rng.random() < liars else honest
            stamp = dating(int(self.now), self.timestamps)
            self.base = next_base(self.base, stamp - self.timestamps[-1])
            self.timestamps.append(stamp)
        return (self.now - start) / blocks / T

    def _wait_for_a_block(self) -> None:
        luck = self.rng.expovariate(1.0)
        while True:
            steps = relief_steps(int(self.now) - self.timestamps[-1], interval_ms=T, relief_after=RELIEF_AFTER)
            rate = self.attempts_per_ms * relieved(self.base, steps) / 2**256
            if luck <= rate * T / 4:
                self.now += luck / rate
                return
            luck -= rate * T / 4
            self.now += T / 4


def mean_over_seeds(run: Callable[[Chain], float]) -> float:
    return fmean(run(Chain(seed)) for seed in range(10))


def test_a_steady_chain_keeps_the_interval():
    assert mean_over_seeds(lambda chain: chain.mine(2_000)) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("factor", [10, 0.1])
def test_a_tenfold_step_in_the_hash_rate_is_followed_within_five_windows(factor):
    def run(chain: Chain) -> float:
        chain.mine(200)
        chain.attempts_per_ms = int(chain.attempts_per_ms * factor)
        chain.mine(5 * WINDOW)
        return chain.mine(500)

    assert mean_over_seeds(run) == pytest.approx(1.0, abs=0.03)


def test_a_stall_recovers():
    # The member with ten points more than all others leaves, at τ = 1: e^10 ≈ 22026 times less chance.
    def run(chain: Chain) -> float:
        chain.mine(100)
        chain.base //= 22_026
        first = chain.mine(1)
        assert RELIEF_AFTER < first < RELIEF_AFTER + 20, chain.seed
        chain.mine(5 * WINDOW)
        return chain.mine(500)

    assert mean_over_seeds(run) == pytest.approx(1.0, abs=0.03)


def test_a_night_of_silence_is_forgotten():
    def run(chain: Chain) -> float:
        chain.mine(100)
        chain.now += 3_000 * T
        chain.mine(5 * WINDOW)
        return chain.mine(500)

    assert mean_over_seeds(run) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("lie", [backdated, forward_dated])
def test_a_third_of_the_producers_cannot_move_the_interval_by_lying_about_the_time(lie):
    assert mean_over_seeds(lambda chain: chain.mine(2_000, liars=0.33, lie=lie)) == pytest.approx(1.0, abs=0.02)
