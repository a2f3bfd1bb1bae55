"""A LevelDB directory as it was at one moment, though a process writes to it: links to its tables, copies of the rest.

A table never changes once it is written, and the manifest, which says which tables count, grows with every change of
that. Where it is the same before and after, all that lies between is of one moment, and the log a prefix of what has
been written, in whole batches. Nothing is written to the original, and no table is read.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import StoreFailed
from node.errors import StoreBusy

_TABLES = (".ldb", ".sst")
_PREFIX = ".copy-"
_TRIES, _PAUSE_S = 200, 0.02  # a compaction at work changes the manifest some times a second


@contextmanager
def copied(ledger: Path) -> Iterator[Path]:
    """A copy beside the store, or where that disk takes nothing among temporary files; it is gone at the end.

    Raises `StoreFailed`, and `StoreBusy` where the store changes faster than it can be copied.
    """
    _remove_left(ledger.parent)
    try:
        place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=ledger.parent))
    except OSError:
        place = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = _hold(place)
    try:
        copy_store(ledger, place / ledger.name)
        yield place / ledger.name
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def copy_store(ledger: Path, target: Path) -> None:
    """Make `target`, a new directory, a copy of a store as it is now, whether or not it can be opened.

    Raises `StoreFailed` or `StoreBusy`.
    """
    for _ in range(_TRIES):
        try:
            before = _read_version(ledger)
            target.mkdir(parents=True)
            for file in sorted(ledger.iterdir(), key=lambda one: one.name):
                _take(file, target / file.name)
            if _read_version(ledger) == before:
                return
        except FileNotFoundError:
            pass  # a compaction has removed it meanwhile
        except OSError as error:
            raise StoreFailed(detail=str(error)) from error
        shutil.rmtree(target, ignore_errors=True)
        if not ledger.is_dir():
            raise StoreFailed(detail=f"there is no {ledger}")
        time.sleep(_PAUSE_S)
    raise StoreBusy(path=ledger)


def _read_version(ledger: Path) -> tuple[str, int] | None:
    """The manifest in force and its size; None where there is none to be found."""
    try:
        current = (ledger / "CURRENT").read_text(encoding="ascii").strip()
        return current, (ledger / current).stat().st_size
    except (FileNotFoundError, ValueError):
        return None


def _take(file: Path, target: Path) -> None:
    if file.suffix in _TABLES:
        try:
            target.hardlink_to(file)
        except FileNotFoundError:
            raise
        except OSError:  # of another disk, or one that knows no hard links
            target.symlink_to(file.resolve())
    elif file.suffix == ".log" or file.name == "CURRENT" or file.name.startswith("MANIFEST-"):
        shutil.copyfile(file, target)


def _hold(place: Path) -> int:
    """Lock a directory for as long as this process lives, and say so to others that clear away."""
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _remove_left(place: Path) -> None:
    """Remove copies that were left by a process that was killed."""
    for old in place.glob(f"{_PREFIX}*"):
        try:
            lock = _hold(old)
        except OSError:
            continue
        shutil.rmtree(old, ignore_errors=True)
        os.close(lock)
