"""The state root after a block's changes: one batch over the tree against rebuilding it and against single updates.

Changes are random writes to existing keys of a state of 60-byte values; a figure is changed keys per second.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from timeit import Timer

from benchmarks.table import Row, print_table
from ledger.state import State

SIZE, QUICK_SIZE = 100_000, 5_000
BATCHES = (20, 200, 2_000, 20_000)
READS = 10_000
VALUE_SIZE = 60


def run(quick: bool = False) -> list[Row]:
    """Rows of changed keys per second; the best of several rounds counts on both sides."""
    size, rounds = (QUICK_SIZE, 3) if quick else (SIZE, 7)
    rng = Random(1)
    contents = {b"account %d" % number: rng.randbytes(VALUE_SIZE) for number in range(size)}
    keys = list(contents)
    state = State.from_items(contents.items())
    rows = []
    for count in (batch for batch in BATCHES if batch <= size // 5):
        changes: dict[bytes, bytes | None] = {key: rng.randbytes(VALUE_SIZE) for key in rng.sample(keys, count)}
        after = {**contents, **changes}

        def apply_batch(changes: dict[bytes, bytes | None] = changes) -> State:
            return state.apply(changes)

        def rebuild(after: dict[bytes, bytes | None] = after) -> State:
            return State.empty().apply(after)

        def apply_one_by_one(changes: dict[bytes, bytes | None] = changes) -> State:
            current = state
            for key, value in changes.items():
                current = current.apply({key: value})
            return current

        assert apply_batch().root == rebuild().root == apply_one_by_one().root
        ours = _best(apply_batch, rounds)
        name = f"{count:,} of {size:,} keys changed"
        rows += [
            Row(name, count / ours, "keys/s", "tree rebuilt from scratch", _best(rebuild, 1 + rounds // 3) / ours),
            Row(name, count / ours, "keys/s", "one key at a time", _best(apply_one_by_one, rounds) / ours),
        ]
    rows.append(_measure_reads(state, contents, rng.sample(keys, min(READS, size)), rounds))
    return rows


def _measure_reads(state: State, contents: dict[bytes, bytes], keys: list[bytes], rounds: int) -> Row:
    def read_state() -> None:
        for key in keys:
            state.get(key)

    def read_dictionary() -> None:
        for key in keys:
            contents.get(key)

    ours = _best(read_state, rounds)
    ratio = _best(read_dictionary, rounds) / ours
    return Row(f"get from {len(contents):,} keys", len(keys) / ours, "keys/s", "dict.get, no proofs", ratio)


def _best(job: Callable[[], object], rounds: int) -> float:
    return min(Timer(job).repeat(rounds, 1))


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv))
