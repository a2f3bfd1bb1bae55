"""Starting anew: a ledger is thrown away and fetched again. Settings, keys, genesis and the signing record stay."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gridmerit.care.places import ChainPlace, locked
from ledger.errors import StoreError, StoreFailed

_GONE = "ledger.gone"


class Doomed(NamedTuple):
    """A directory that is to go, and its bytes."""

    path: Path
    size: int


def list_doomed(chains: Sequence[ChainPlace]) -> list[Doomed]:
    """The directories that `reset` removes, as far as they are there."""
    places = [path for chain in chains for path in (chain.ledger, chain.directory / _GONE)]
    return [Doomed(path, _measure(path)) for path in places if path.is_dir()]


def reset(chains: Sequence[ChainPlace]) -> None:
    """Throw ledgers away. The record is marked first: it is no longer borne out by a store, and says so itself.

    Raises `StoreLocked`, `StoreFailed`, `GuardMissing` or `GuardCorrupt`; a chain is as it was, or its ledger is gone.
    """
    with locked(chains) as guards:
        for chain, guard in zip(chains, guards, strict=True):
            try:
                guard.save(guard.load(ledger_exists=chain.ledger.is_dir()).after_restore())
                _remove(chain)
            except StoreError as error:
                raise error.of(chain=chain.name, path=chain.directory) from None


def _remove(chain: ChainPlace) -> None:
    """Out of sight in one step, and then bit by bit."""
    gone = chain.directory / _GONE
    try:
        if gone.exists():
            shutil.rmtree(gone)
        with suppress(FileNotFoundError):
            chain.ledger.rename(gone)
            shutil.rmtree(gone)
    except OSError as error:
        raise StoreFailed(detail=str(error)) from error


def _measure(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
