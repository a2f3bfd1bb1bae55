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
from typing import NamedTuple

from ledger.store import TABLE_SUFFIXES, name_disk_error
from node.errors import StoreBusy
from node.system.scratch import scratch
from node.system.store_manifest import LiveFiles, read_manifest

_PREFIX, _MANIFEST = ".copy-", "MANIFEST-"
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

    Only tables that the manifest names are linked: LevelDB gives the next one that it writes a number from there on,
    and would write over another of that number, in the original too. Raises `StoreFailed` or `StoreBusy`.
    """
    for _ in range(_TRIES):
        try:
            before = _read_version(ledger)
            target.mkdir(parents=True)
            names = sorted(file.name for file in ledger.iterdir())
            missing = [name for name in names if not _take(ledger / name, target / name, before)]
            if _read_version(ledger) == before and not (missing and before is None):
                return
        except OSError as error:
            raise name_disk_error(error) from error
        shutil.rmtree(target, ignore_errors=True)
        time.sleep(_PAUSE_S)
    raise StoreBusy(path=ledger)


class _Version(NamedTuple):
    """The manifest in force, its bytes, and what it leads to."""

    name: str
    raw: bytes
    files: LiveFiles


def _read_version(ledger: Path) -> _Version | None:
    """None where there is no manifest that can be read."""
    try:
        name = (ledger / "CURRENT").read_text(encoding="ascii").strip()
        raw = (ledger / name).read_bytes() if name.startswith(_MANIFEST) else b""
    except (FileNotFoundError, ValueError):
        return None
    files = read_manifest(raw)
    return None if files is None else _Version(name, raw, files)


def _take(file: Path, target: Path, version: _Version | None) -> bool:
    """Take one file along where it counts; whether it was still there. Without a manifest any may, as it is."""
    try:
        if file.suffix in TABLE_SUFFIXES:
            if version is None:
                shutil.copyfile(file, target)
            elif file.stem.isdecimal() and int(file.stem) in version.files.tables:
                _link(file, target)
        elif version is not None and file.name == version.name:
            target.write_bytes(version.raw)
        elif file.name == "CURRENT" or file.suffix == ".log" or (version is None and file.name.startswith(_MANIFEST)):
            shutil.copyfile(file, target)
    except FileNotFoundError:
        return False
    return True


def _link(file: Path, target: Path) -> None:
    try:
        target.hardlink_to(file)
    except FileNotFoundError:
        raise
    except OSError:  # of another disk, or one that knows no hard links
        target.symlink_to(file.resolve())
