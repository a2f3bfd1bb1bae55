"""Directories that nobody sees before they are whole: made beside their place, renamed into it, gone after any end."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.store import sync_path


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A private directory in `parent`, removed at the end; the next one removes what a killed process has left.

    Raises `OSError`.
    """
    _remove_left(parent, prefix)
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    lock = _hold(place)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def publish(draft: Path, target: Path) -> None:
    """Put a whole directory in the place of `target`, which is empty or not there, durably. Raises `OSError`."""
    for directory, _, names in os.walk(draft):
        for name in (*names, "."):
            sync_path(Path(directory, name))
    draft.rename(target)
    sync_path(target.absolute().parent)


def _hold(place: Path) -> int:
    """Lock a directory for as long as this process lives, so that others leave it alone."""
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _remove_left(parent: Path, prefix: str) -> None:
    for old in parent.glob(f"{prefix}*"):
        try:
            lock = _hold(old)
        except OSError:
            continue
        shutil.rmtree(old, ignore_errors=True)
        os.close(lock)
