"""The disk of a stopped node: which of its old blocks it drops, and the space that is given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from gridmerit.errors import NotANode
from gridmerit.network.layout import NODE_FILE, get_home, is_node
from ledger import rows
from ledger.chain import Chain
from ledger.genesis import Genesis
from ledger.store import LevelStore
from node.chain.pruning import STEP_ROWS, Keep, Pruner
from node.config import NodeConfig, load_chains, load_config
from node.driver.holds import read_holds

_EVERYTHING = (b"", b"\xff" * 64)


class Pruned(NamedTuple):
    """One chain before and after: from which height on it has blocks, and the bytes of its store on disk."""

    chain: str
    keep: str
    final_height: int
    bodies_from_height: int
    was_from_height: int
    bytes_before: int
    bytes_after: int  # in a dry run, the estimate


class Compacted(NamedTuple):
    """One chain's store on disk, before and after."""

    chain: str
    bytes_before: int
    bytes_after: int


def load_node(directory: Path) -> tuple[NodeConfig, tuple[Genesis, ...]]:
    """A node's settings and chains. Raises `NotANode` or the `ConfigError` family."""
    home = get_home(directory)
    if not is_node(home):
        raise NotANode(directory=home)
    config = load_config(home / NODE_FILE)
    return config, load_chains(config)


def prune_chain(config: NodeConfig, genesis: Genesis, keep: Keep, *, is_dry: bool) -> Pruned | None:
    """Drop what need not be kept and compact the store; None where it has not been made.

    A crash leaves what a step has left, and the next call, or the node itself, goes on from there. Raises `BadHold`
    and the `StoreError` family, `StoreLocked` where the node runs.
    """
    directory = config.data_dir / genesis.params.name
    with _open(directory) as store:
        if store is None:
            return None
        chain = Chain(genesis, store)
        pruner = Pruner(chain, store, genesis.params, keep)
        pruner.held_from = min(read_holds(directory).values(), default=None)
        was_from, before = chain.bodies_from, measure(directory)
        horizon = max(was_from, pruner.find_horizon())
        if is_dry:
            after = before - sum(store.approximate_size(*span) for span in rows.spans_of_bodies(was_from, horizon))
        else:
            while changes := chain.prune(horizon, limit=STEP_ROWS):
                store.write(changes)
            store.compact(*_EVERYTHING)
            horizon, after = chain.bodies_from, measure(directory)
        return Pruned(genesis.params.name, str(keep), chain.final_height, horizon, was_from, before, after)


def compact_chain(config: NodeConfig, genesis: Genesis) -> Compacted | None:
    """Give back the space of all that was deleted; None where there is no store. Raises the `StoreError` family."""
    directory = config.data_dir / genesis.params.name
    with _open(directory) as store:
        if store is None:
            return None
        before = measure(directory)
        store.compact(*_EVERYTHING)
        return Compacted(genesis.params.name, before, measure(directory))


def measure(directory: Path) -> int:
    """Bytes of a chain's store on disk; of tables that a compaction removes meanwhile, nothing."""
    total = 0
    for file in (directory / "ledger").iterdir():
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


@contextmanager
def _open(directory: Path) -> Iterator[LevelStore | None]:
    if not (directory / "ledger" / "CURRENT").exists():
        yield None
        return
    with closing(LevelStore(directory / "ledger")) as store:
        yield store
