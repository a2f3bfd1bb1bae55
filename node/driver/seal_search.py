"""The nonce search of a node: in slices, for all its chains in turn, and within its share of each thread's core.

Where a chain's parameters limit the nonces that a member tries in an interval, the search for it rests in between.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from consensus import seal
from node.system import clock
from node.system.logs import get_logger, log_event

_SLICE_NS = 2_000_000  # CPU time of one slice: what a cancelled job may still cost without its stop flag
_MAX_CREDIT_NS = 4_000_000  # share not used that may be caught up on
_FIRST_COUNT = 4_096
_MIN_COUNT, _MAX_COUNT = 256, 1 << 28
_NONCES = 1 << 64
_PORTION_NS = 50_000_000  # of an allowance is used up in one go: a seal is found as evenly as it would be without
_S_NS = 1_000_000_000
_RATE_WINDOW_NS = 1_000_000_000
_PPM = 1_000_000

OnFound = Callable[[str, int, int], None]  # chain name, job, nonce; called in the sealing thread
OnFailure = Callable[[BaseException], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingView:
    """The search's state: `rate_per_s` is nonces tried per second of wall time, `core_rate_per_s` per second of CPU."""

    native: bool
    path: str
    threads: int
    core_share_ppm: int
    rate_per_s: int
    core_rate_per_s: int
    jobs: tuple[str, ...]


@dataclass(slots=True)
class _Job:
    number: int
    root: bytes
    target: int
    allowance: Allowance | None
    next_nonce: int = 0
    stop: bytearray = field(default_factory=lambda: bytearray(1))


class Sealer:
    """Searches one job per chain; a new job of a chain replaces its earlier one at once.

    With `threads` 0 or no share of a core it accepts jobs and searches nothing.
    """

    def __init__(self, *, threads: int, core_share_ppm: int, on_found: OnFound, on_failure: OnFailure) -> None:
        self._threads = threads
        self._share_ppm = core_share_ppm
        self._on_found = on_found
        self._on_failure = on_failure
        self._jobs: dict[str, _Job] = {}  # in the order of their next turn
        self._allowances: dict[str, Allowance] = {}  # of chains with a limit, whatever job they are at
        self._changed = threading.Condition()
        self._ended = False
        self._meter = _Meter()
        self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)

    def start(self) -> None:
        """Start the thread, unless there is nothing to search with."""
        if not self._threads or not self._share_ppm:
            return
        if not seal.NATIVE:
            log_event(
                get_logger(),
                logging.WARNING,
                "sealing-is-slow",
                path=seal.active_path(),
                try_command="python setup.py build_ext --inplace (needs a C compiler)",
            )
        self._thread.start()

    def start_job(self, chain: str, *, job: int, root: bytes, target: int, nonces_per_s: int = 0) -> None:
        """Search for a nonce with F(root, nonce) <= target, at so many a second for the chain at most; 0: no limit."""
        with self._changed:
            self._drop(chain)
            if nonces_per_s and chain not in self._allowances:
                self._allowances[chain] = Allowance(nonces_per_s, clock.monotonic_ns())
            self._jobs[chain] = _Job(number=job, root=root, target=target, allowance=self._allowances.get(chain))
            self._changed.notify()

    def stop_job(self, chain: str) -> None:
        with self._changed:
            self._drop(chain)

    def close(self) -> None:
        """End the thread and wait for it."""
        with self._changed:
            self._ended = True
            for chain in list(self._jobs):
                self._drop(chain)
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def view(self) -> SealingView:
        now_ns = clock.monotonic_ns()
        with self._changed:
            jobs = tuple(sorted(self._jobs))
        return SealingView(
            native=seal.NATIVE,
            path=seal.active_path(),
            threads=self._threads,
            core_share_ppm=self._share_ppm,
            rate_per_s=self._meter.get_rate(now_ns),
            core_rate_per_s=self._meter.core_rate_per_s,
            jobs=jobs,
        )

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._search_until_ended()
        except BaseException as error:
            self._on_failure(error)

    def _search_until_ended(self) -> None:
        count, duty = _FIRST_COUNT, DutyCycle(self._share_ppm, clock.monotonic_ns())
        while (turn := self._next_turn()) is not None:
            chain, job = turn
            count, spent_ns = self._search_slice(chain, job, count)
            self._pause(duty.compute_rest_ns(spent_ns, clock.monotonic_ns()))

    def _next_turn(self) -> tuple[str, _Job] | None:
        """The chain whose turn it is, put to the end of the queue; None once the search has ended.

        Waits while there is none, or none that may try a portion of its allowance yet.
        """
        with self._changed:
            while not self._ended:
                rests_ns = {chain: _compute_rest_ns(job) for chain, job in self._jobs.items()}
                if (chain := next((chain for chain, rest_ns in rests_ns.items() if not rest_ns), None)) is not None:
                    job = self._jobs[chain] = self._jobs.pop(chain)
                    return chain, job
                self._changed.wait(min(rests_ns.values()) / _S_NS if rests_ns else None)
            return None

    def _search_slice(self, chain: str, job: _Job, count: int) -> tuple[int, int]:
        """Search `count` nonces; returns how many to search next time, and the time each thread was busy in ns.

        For one thread that is CPU time, so that nodes that crowd one machine still search equally fast.
        """
        wanted = count
        if job.allowance is not None:
            count = min(count, job.allowance.take(clock.monotonic_ns()))
        count = min(count, _NONCES - job.next_nonce)
        cpu_ns, wall_ns = clock.thread_cpu_ns(), clock.monotonic_ns()
        nonce = seal.search(
            job.root, job.target, start=job.next_nonce, count=count, threads=self._threads, stop=job.stop
        )
        now_ns = clock.monotonic_ns()
        spent_ns = now_ns - wall_ns if self._threads > 1 else clock.thread_cpu_ns() - cpu_ns
        tried = count if nonce is None else nonce - job.next_nonce + 1
        was_cut = bool(job.stop[0])
        job.next_nonce += count
        if not was_cut:
            self._meter.note(tried, self._threads * spent_ns, now_ns)
        if nonce is not None:
            self._deliver(chain, job, nonce)
        if was_cut or nonce is not None or spent_ns <= 0 or count < wanted:
            return wanted, spent_ns
        return max(_MIN_COUNT, min(_MAX_COUNT, 2 * count, count * _SLICE_NS // spent_ns)), spent_ns

    def _deliver(self, chain: str, job: _Job, nonce: int) -> None:
        with self._changed:
            if self._jobs.get(chain) is not job:
                return
            del self._jobs[chain]
        self._on_found(chain, job.number, nonce)

    def _pause(self, duration_ns: int) -> None:
        """Rest until the share of the core is kept; ends early only at the end."""
        until_ns = clock.monotonic_ns() + duration_ns
        with self._changed:
            while not self._ended and (left_ns := until_ns - clock.monotonic_ns()) > 0:
                self._changed.wait(left_ns / _S_NS)

    def _drop(self, chain: str) -> None:
        job = self._jobs.pop(chain, None)
        if job is not None:
            job.stop[0] = 1


class DutyCycle:
    """Keeps work to a share of the time that passes; of a share left unused only a little is made up for later."""

    def __init__(self, share_ppm: int, now_ns: int) -> None:
        self._share_ppm = share_ppm
        self._last_ns = now_ns
        self._debt_ns = 0

    def compute_rest_ns(self, spent_ns: int, now_ns: int) -> int:
        """The rest due from now on, in ns, after working for `spent_ns` since the last call."""
        earned_ns = (now_ns - self._last_ns) * self._share_ppm // _PPM
        self._last_ns = now_ns
        self._debt_ns = max(-_MAX_CREDIT_NS, self._debt_ns + spent_ns - earned_ns)
        return max(0, self._debt_ns * _PPM // self._share_ppm)


class Allowance:
    """The nonces that may be tried so far, where there are so many a second: they are due as evenly as time passes.

    What is not used within two portions' time is gone, so that nobody saves up for a sprint.
    """

    def __init__(self, nonces_per_s: int, now_ns: int) -> None:
        self._per_s = nonces_per_s
        self._portion = max(1, nonces_per_s * _PORTION_NS // _S_NS)
        self._used_until_ns = now_ns  # what has been due up to here is used up

    def compute_rest_ns(self, now_ns: int) -> int:
        """The time until a portion may be tried, in ns; 0 where it may be now."""
        return max(0, self._used_until_ns + self._span_ns(self._portion) - now_ns)

    def take(self, now_ns: int) -> int:
        """The nonces to try now; they are used up with that. None of them before `compute_rest_ns` says so."""
        since_ns = max(self._used_until_ns, now_ns - 2 * self._span_ns(self._portion))
        count = (now_ns - since_ns) * self._per_s // _S_NS
        self._used_until_ns = since_ns + self._span_ns(count)
        return count

    def _span_ns(self, count: int) -> int:
        return -(-count * _S_NS // self._per_s)


def _compute_rest_ns(job: _Job) -> int:
    return 0 if job.allowance is None else job.allowance.compute_rest_ns(clock.monotonic_ns())


class _Meter:
    """Nonces per second over the last full window. Written by one thread; a reader may see the one before."""

    def __init__(self) -> None:
        self.core_rate_per_s = 0
        self._tried = 0
        self._spent_ns = 0
        self._since_ns = clock.monotonic_ns()
        self._rate_per_s = 0

    def note(self, tried: int, spent_ns: int, now_ns: int) -> None:
        self._tried += tried
        self._spent_ns += spent_ns
        elapsed_ns = now_ns - self._since_ns
        if elapsed_ns >= _RATE_WINDOW_NS:
            self._rate_per_s = self._tried * 1_000_000_000 // elapsed_ns
            self.core_rate_per_s = self._tried * 1_000_000_000 // max(1, self._spent_ns)
            self._tried, self._spent_ns, self._since_ns = 0, 0, now_ns

    def get_rate(self, now_ns: int) -> int:
        """Nothing when no search has been noted for a few windows."""
        return self._rate_per_s if now_ns - self._since_ns < 5 * _RATE_WINDOW_NS else 0
