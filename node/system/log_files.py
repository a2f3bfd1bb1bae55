"""The log files of a node's directory: `node.log`, and what was there before as `node.log.1` and so on.

The process that writes to `node.log` begins a new one itself when it is full. A file that somebody else has chosen for
it is theirs to move away: on SIGHUP it goes on in a new one of that name.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

LOG_FILE = "node.log"
_POLL_S = 0.2
_CHUNK_BYTES = 1 << 16


class LogFile:
    """This process's stderr, and its stdout where both go to one file, which `path` names.

    Where the file has `max_bytes` the next line begins a new one, and of the old ones the last `kept` stay; without
    `max_bytes` that is the business of whoever has chosen the file, and then calls for `reopen`.
    """

    def __init__(self, path: Path, *, max_bytes: int | None = None, kept: int = 0) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._lock = Lock()  # lines are written by a thread

    def write(self, text: str) -> object:
        with self._lock:
            if self._max_bytes is not None and os.fstat(sys.stderr.fileno()).st_size >= self._max_bytes:
                self._begin_anew()
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def reopen(self) -> None:
        """Go on in the file that has the name now, a new one where there is none. Raises `OSError`, and stays."""
        with self._lock:
            self._redirect()

    def _begin_anew(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            with suppress(FileNotFoundError):
                _older(self._path, number).replace(_older(self._path, number + 1))
        with suppress(FileNotFoundError):  # somebody has removed it
            self._path.replace(_older(self._path, 1))
        self._redirect()

    def _redirect(self) -> None:
        old = os.fstat(sys.stderr.fileno())
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            for output in (sys.stdout, sys.stderr):
                if os.path.samestat(os.fstat(output.fileno()), old):
                    output.flush()
                    os.dup2(file, output.fileno())
        finally:
            os.close(file)


def find_log_file(own: Path, *, max_bytes: int, kept: int) -> LogFile | None:
    """The file that this process's stderr goes to: its `own`, or another, or none."""
    try:
        output = os.fstat(sys.stderr.fileno())
        if own.exists() and os.path.samestat(output, own.stat()):
            return LogFile(own, max_bytes=max_bytes, kept=kept)
        other = Path(os.readlink(f"/proc/self/fd/{sys.stderr.fileno()}"))
        is_there = stat.S_ISREG(output.st_mode) and os.path.samestat(output, other.stat())
        return LogFile(other) if is_there else None
    except (OSError, ValueError):
        return None


def read_last_lines(directory: Path, count: int) -> list[str]:
    """The last lines of a node's log, as far back as the file before the present one."""
    path = directory / LOG_FILE
    lines = _read(path).splitlines()
    if len(lines) < count:
        lines = [*_read(_older(path, 1)).splitlines(), *lines]
    return lines[-count:] if count else []


def follow(directory: Path) -> Iterator[bytes]:
    """Follow what is added to a node's log from now on, through as many files as it takes, without an end."""
    path = directory / LOG_FILE
    file = _open(path)
    if file is not None:
        file.seek(0, os.SEEK_END)
    return _follow(path, file)


def _follow(path: Path, file: BinaryIO | None) -> Iterator[bytes]:
    try:
        while True:
            if file is not None:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
            if file is None or not _is_at(path, file):
                rest = b"" if file is None else file.read()
                if rest:
                    yield rest
                if (newer := _open(path) if file is None else _open_next(path, file)) is not None:
                    if file is not None:
                        file.close()
                    file = newer
                    continue
            time.sleep(_POLL_S)
    finally:
        if file is not None:
            file.close()


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


def _open(path: Path) -> BinaryIO | None:
    with suppress(OSError):
        return path.open("rb")
    return None


def _open_next(path: Path, file: BinaryIO) -> BinaryIO | None:
    """The file that was begun after this one, however many have been since; the present one where this one is gone."""
    number = 1
    while not _is_same(_older(path, number), file):
        number += 1
        if not _older(path, number).exists():
            return _open(path)
    newer = _open(_older(path, number - 1))
    if newer is None or _is_same(_older(path, number), file):
        return newer
    newer.close()
    return None  # another has been begun meanwhile: the next look finds where it is


def _is_same(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _is_at(path: Path, file: BinaryIO) -> bool:
    """True while the path names the file; where it names none for now, a new one is about to come."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
