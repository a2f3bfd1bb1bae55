"""The process of a directory's node: `node.pid` names it, and it holds the file locked while it lives.

So a node is found whatever has started it, and a number that another process has been given since means nothing.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from node.system.files import is_file_locked

PID_FILE = "node.pid"
_TRIES, _PAUSE_S = 10, 0.01  # a look at whether it is locked holds it for an instant


class PidFile:
    """`<directory>/node.pid`, this process's until closed.

    Where another process holds it, or it cannot be written, the node runs all the same: whether it may, the locks of
    its chains decide.
    """

    def __init__(self, directory: Path) -> None:
        self._lock: int | None = None
        with suppress(OSError):
            self._lock = _lock(directory / PID_FILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise
                time.sleep(_PAUSE_S)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        os.close(file)
        raise
    return file


def read_pid(directory: Path) -> int | None:
    """The process that was last known as the node of a directory, whether or not it still runs."""
    try:
        return int((directory / PID_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def is_held(directory: Path) -> bool:
    """Return True if a process runs the node of a directory."""
    return is_file_locked(directory / PID_FILE)
