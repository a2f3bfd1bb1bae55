"""A LevelDB directory as it was at one moment, though a process writes to it: links to its tables, copies of the rest.

A table never changes once it is written, and the manifest, which says which tables count, grows with every change of
that. Where it is the same before and after, all that lies between is of one moment, and the log a prefix of what has
been written, in whole batches. Nothing is written to the original, and no table is read.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ledger.errors import StoreFailed
from node.errors import StoreBusy
from node.system.scratch import scratch

_TABLES = (".ldb", ".sst")
_PREFIX = ".copy-"
_TRIES, _PAUSE_S = 200, 0.02  # a compaction at work changes the manifest some times a second


@contextmanager
def copied(ledger: Path) -> Iterator[Path]:
    """A copy beside the store, or where that disk takes nothing among temporary files; it is gone at the end.

    Raises `StoreFailed`, and `StoreBusy` where the store changes faster than it can be copied.
    """
    with ExitStack() as stack:
        try:
            place = stack.enter_context(scratch(ledger.parent, _PREFIX))
        except OSError:
            place = stack.enter_context(scratch(Path(tempfile.gettempdir()), f"gridmerit{_PREFIX}"))
        copy_store(ledger, place / ledger.name)
        yield place / ledger.name


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
