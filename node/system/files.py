"""Files read whole, but never more of them than is asked for, and replaced whole: the old one or the new, never half.

What stands at a path that is read is not ours to choose.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from ledger.errors import UnreadableFile
from ledger.store import sync_path


def read_file(file: Path, max_bytes: int, *, check: Callable[[os.stat_result], None] | None = None) -> bytes:
    """A file's contents. Raises `UnreadableFile`, also where it is larger, and what `check` raises of its status.

    The status is that of the file which is read, whatever takes its place meanwhile.
    """
    try:
        with file.open("rb") as stream:
            if check is not None:
                check(os.fstat(stream.fileno()))
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableFile(file=str(file), detail=error.strerror or str(error)) from None
    if len(data) > max_bytes:
        raise UnreadableFile(file=str(file), detail=f"it is larger than {max_bytes} bytes")
    return data


def read_text(file: Path, max_bytes: int) -> str:
    """The same as text, without the mark that some editors begin it with. Raises `UnreadableFile`."""
    try:
        return read_file(file, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableFile(file=str(file), detail="it is not UTF-8 text") from None


def is_file_locked(file: Path) -> bool:
    """Return True if a process holds the lock of a file; False, too, for one that is not there. Nothing is made."""
    try:
        with file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def replace_file(file: Path, data: bytes) -> None:
    """Put a file of these bytes, for the owner alone, in the place of another; on disk when this returns.

    Raises `OSError`; then the old one is there, or the new.
    """
    draft = file.with_name(f"{file.name}.new")
    _write_synced(draft, data)
    draft.replace(file)
    sync_path(file.parent)


def _write_synced(path: Path, raw: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(raw)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
