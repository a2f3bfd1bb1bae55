"""The nonce search against a plain hashlib loop: hashes per second on every path of this machine.

Other work on the machine disturbs single runs, so loop and paths take turns in short runs and the best of each counts.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from time import perf_counter

from benchmarks.table import Row, print_table
from consensus import seal

LOOP = "plain hashlib loop"
ROOT = bytes(range(32))
NO_HASH = 0  # the target that nothing meets: every nonce is tried
RUN_S = 0.002  # a path is given about as many nonces as it tries in this time: a slice of a node
TURNS, QUICK_TURNS = 250, 10
SLICES = (1 << 14, 1 << 16, 1 << 18)
LOOP_COUNT = 1 << 12

Run = tuple[int, Callable[[], object]]  # how many hashes it tries


def loop_over_hashlib(count: int) -> int | None:
    """The baseline: what anybody would write who wants it fast and has Python alone."""
    sha256, limit = hashlib.sha256, NO_HASH.to_bytes(32, "big")
    for nonce in range(count):
        if sha256(ROOT + nonce.to_bytes(8, "big")).digest() <= limit:
            return nonce
    return None


def make_search(count: int, path: str, threads: int = 1, calls: int = 1) -> Run:
    def run() -> None:
        for i in range(calls):
            seal.search(ROOT, NO_HASH, start=i * count, count=count, path=path, threads=threads)

    return calls * count, run


def size_count(path: str) -> int:
    """Nonces that take a path about RUN_S: the count is doubled until they do."""
    count = 1 << 10
    while True:
        begin = perf_counter()
        seal.search(ROOT, NO_HASH, count=count, path=path)
        if perf_counter() - begin > RUN_S / 2:
            return count
        count *= 2


def measure_rates(runs: dict[str, Run], turns: int) -> dict[str, float]:
    """Best hashes per second of each run; every turn runs them all once, in order."""
    rates = dict.fromkeys(runs, 0.0)
    for _ in range(turns):
        for name, (hashes, run) in runs.items():
            begin = perf_counter()
            run()
            rates[name] = max(rates[name], hashes / (perf_counter() - begin))
    return rates


def run(quick: bool = False) -> list[Row]:
    """One row for every path; for the fastest also one for every size of a slice, and one for two threads."""
    fastest = seal.active_path()
    runs: dict[str, Run] = {LOOP: (LOOP_COUNT, lambda: loop_over_hashlib(LOOP_COUNT))}
    for path in seal.available_paths():
        runs[f"seal search, {path}"] = make_search(size_count(path), path)
    for count in SLICES:
        runs[f"seal search, {fastest}, calls of {count}"] = make_search(count, fastest, calls=SLICES[-1] // count)
    runs[f"seal search, {fastest}, 2 threads"] = make_search(8 * size_count(fastest), fastest, threads=2)
    rates = measure_rates(runs, QUICK_TURNS if quick else TURNS)
    return [Row(name, rate / 1e6, "Mhash/s", LOOP, rate / rates[LOOP]) for name, rate in rates.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few turns: that it runs, not how fast")
    print_table(run(quick=parser.parse_args().quick))


if __name__ == "__main__":
    main()
