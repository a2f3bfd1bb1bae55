"""The state of a chain at 10⁴ … 10⁷ entries: memory, opening, joining, import and proofs, beside the Python map.

Entries are as long as a coin on LH1: 46 bytes of key, 136 of value. A store is made block by block, then opened as a
node does it, head, window and all. Each form of the map is measured in a process of its own; times are CPU seconds,
memory is what the process holds itself, without the pages of LevelDB's files that the system has in its cache.

    python -m benchmarks.store --entries 10000000     # some minutes, and 5 GB of memory
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from ctypes import CDLL
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from random import Random
from time import process_time
from typing import TypeVar

from benchmarks.block_import import make_network
from benchmarks.table import Row, print_table
from ledger import rows, state, state_tree
from ledger.block import Block, Header, compute_tx_root
from ledger.chain import WINDOW, Chain
from ledger.codec import encode
from ledger.execution import Execution, compute_receipt_root
from ledger.overlay import Delta
from ledger.state import State
from ledger.state_chunks import check_chunk, cut_all
from ledger.store import LevelStore
from node.chain.snapshot_join import read_chunk

SIZES, SHORT_SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (10_000, 100_000), (2_000,)
MAX_PYTHON_SIZE = 1_000_000  # beyond, the Python map is taken to cost as much an entry as here
FILLING_BATCH, WINDOW_BATCH, IMPORT_BATCH = 10_000, 100, 2_000
IMPORTS = 20
PROOFS = 10_000
NATIVE, PYTHON = f"native, {state.HASHING}", "Python map"

T = TypeVar("T")
Changes = dict[bytes, bytes | None]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The cost of one form of the map at one size."""

    held_bytes: float  # an entry of the map alone
    open_s: float
    read_s: float  # of them, for reading the rows alone
    import_s: float  # a changed key
    fork_bytes: float  # a changed key, while all versions are kept
    proof_s: float
    join_s: float  # by a snapshot: every chunk checked, and the state made of them


# --- a store of some size --------------------------------------------------------------------------


def key_of(number: int) -> bytes:
    return b"credit/coin/" + sha256(b"%d" % number).digest() + number.to_bytes(8, "big")[6:]


def value_of(number: int, version: int = 0) -> bytes:
    return (sha256(b"%d %d" % (version, number)).digest() * 5)[:136]


def make_store(folder: Path, size: int) -> None:
    """A chain whose head's state has `size` entries more than genesis, and whose recent blocks change few of them."""
    with closing(LevelStore(folder)) as store:
        chain = Chain(make_network(1).genesis, store)
        for first in range(0, size, FILLING_BATCH):
            numbers = range(first, min(first + FILLING_BATCH, size))
            extend(chain, store, {key_of(number): value_of(number) for number in numbers})
        draw = Random(1)
        for version in range(1, WINDOW + 2):
            numbers = range(draw.randrange(size), size, max(1, size // WINDOW_BATCH))
            extend(chain, store, {key_of(number): value_of(number, version) for number in numbers})


def extend(chain: Chain, store: LevelStore, changes: Mapping[bytes, bytes | None]) -> None:
    """One block of these changes on the head, in the store as after its import."""
    head, receipt_root = chain.head, compute_receipt_root(())
    after = head.state.apply(changes)
    header = Header(
        chain_id=chain.chain_id,
        height=head.height + 1,
        parent=head.hash,
        timestamp_ms=head.height + 1,
        producer=bytes(32),
        credit_upt=0,
        n_diff=1,
        period=0,
        tx_root=compute_tx_root(()),
        receipt_root=receipt_root,
        state_root=after.root,
    )
    undo = {key: head.state.get(key) for key in changes}
    delta = Delta(changes=changes, undo=undo)
    execution = Execution(state=after, delta=delta, receipts=(), receipt_root=receipt_root, events=())
    block = Block(header=header, transactions=())
    store.write(chain.move_head(chain.add(block, execution, work=head.work + 1, base_n_diff=1)).changes)


# --- measuring, each in a process of its own -------------------------------------------------------


def in_own_process(job: Callable[..., T], *arguments: object) -> T:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(job, *arguments).result()


def held_memory() -> int:
    """Bytes of this process that belong to no file, after what is free has gone back to the system."""
    CDLL("libc.so.6").malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


def timed(job: Callable[[], T]) -> tuple[T, float]:
    begin = process_time()
    result = job()
    return result, process_time() - begin


def measure(form: str, folder: Path, size: int) -> Figures:
    if form == PYTHON:
        state._EMPTY_STATE = State(state_tree.Tree())  # the one that all others are made from
    before = held_memory()
    versions = [State.from_items((key_of(number), value_of(number)) for number in range(size))]
    held = held_memory() - before
    batches = list(draw_batches(size))
    changed, before, import_s = sum(map(len, batches)), held_memory(), 0.0
    for changes in batches:
        begin = process_time()
        versions.append(versions[-1].apply(changes))
        import_s += process_time() - begin
    fork = held_memory() - before
    keys = [key_of(number % size) for number in range(PROOFS)]
    _, proof_s = timed(lambda: [versions[0].prove(key) for key in keys])
    root, chunks = versions[0].root, [encode(chunk.to_value()) for chunk in cut_all(versions[0])]
    versions.clear()
    joined, join_s = timed(lambda: join(root, chunks))
    assert joined.root == root
    genesis = make_network(1).genesis
    with closing(LevelStore(folder)) as store:
        _, read_s = timed(lambda: sum(len(value) for _, value in store.scan(rows.STATE)))
        chain, open_s = timed(lambda: Chain(genesis, store))
        assert len(chain.head.state) > size
    return Figures(
        held_bytes=held / size,
        open_s=open_s,
        read_s=read_s,
        import_s=import_s / changed,
        fork_bytes=fork / changed,
        proof_s=proof_s / PROOFS,
        join_s=join_s,
    )


def join(root: bytes, chunks: Iterable[bytes]) -> State:
    """The state of a final block as a fresh node makes it, from chunks as they came."""
    items: list[tuple[bytes, bytes]] = []
    for raw in chunks:
        chunk = read_chunk(raw)
        check_chunk(root, chunk)
        items += chunk.items
    return State.from_items(items)


def draw_batches(size: int) -> Iterator[Changes]:
    """Blocks' worth of changes: half of them new values, a quarter new keys, a quarter deletions."""
    draw, count = Random(2), min(IMPORT_BATCH, size)
    for version in range(IMPORTS):
        changes: Changes = {}
        for number in draw.sample(range(size), 3 * count // 4):
            changes[key_of(number)] = value_of(number, version) if len(changes) < count // 2 else None
        for number in range(version * count, version * count + count // 4):
            changes[key_of(size + number)] = value_of(number)
        yield changes


# --- the report ------------------------------------------------------------------------------------


def measure_sizes(sizes: Sequence[int]) -> list[Row]:
    """Rows for each size; each form of the map opens the same store."""
    table = []
    with tempfile.TemporaryDirectory() as base:

        @cache
        def find_store(size: int) -> Path:
            folder = Path(base) / str(size)
            in_own_process(make_store, folder, size)
            return folder

        @cache
        def find_figures(form: str, size: int) -> Figures:
            return in_own_process(measure, form, find_store(size), size)

        for size in sizes:
            python_size = min(size, MAX_PYTHON_SIZE)
            ours, theirs = find_figures(NATIVE, size), find_figures(PYTHON, python_size)
            table += describe(size, ours, theirs, size / python_size)
    return table


def describe(size: int, ours: Figures, theirs: Figures, scale: float) -> list[Row]:
    baseline = PYTHON if scale == 1 else f"{PYTHON} of {MAX_PYTHON_SIZE:,} entries"
    their_open_s, changed = theirs.open_s * scale, f"{min(IMPORT_BATCH, size):,} changes to {size:,}"

    def row(name: str, value: float, unit: str, ratio: float) -> Row:
        return Row(f"{name} ({NATIVE})", value, unit, baseline, ratio)

    return [
        row(f"{size:,} entries held", ours.held_bytes, "bytes each", theirs.held_bytes / ours.held_bytes),
        row(f"{size:,} entries opened", ours.open_s, "s", their_open_s / ours.open_s),
        row("  of which reading rows", ours.read_s, "s", their_open_s / ours.read_s),
        row(f"{size:,} entries joined by a snapshot", ours.join_s, "s", theirs.join_s * scale / ours.join_s),
        row(f"import of {changed}", 1 / ours.import_s, "keys/s", theirs.import_s / ours.import_s),
        row("  held of each version", ours.fork_bytes, "bytes/key", theirs.fork_bytes / ours.fork_bytes),
        row(f"proof from {size:,} entries", 1 / ours.proof_s, "proofs/s", theirs.proof_s / ours.proof_s),
    ]


def run(quick: bool = False) -> list[Row]:
    """Rows for the smaller sizes: what every run of all benchmarks has time for."""
    return measure_sizes(QUICK_SIZES if quick else SHORT_SIZES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=SIZES, help="sizes (default: 10⁴, 10⁵ and 10⁶)")
    print_table(measure_sizes(parser.parse_args().entries))


if __name__ == "__main__":
    main()
