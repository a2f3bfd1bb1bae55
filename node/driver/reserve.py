"""Bytes of the disk set aside, so that when it is full there is room to say so and to end cleanly.

That they can be set aside again, with as many to spare, is how a chain knows that its disk takes something again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ledger.store import WRITE_BUFFER_BYTES, name_disk_error

RESERVE_BYTES = 2 * WRITE_BUFFER_BYTES  # what LevelDB may have left to write


class Reserve:
    """A file that holds nothing but room."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def claim(self) -> None:
        """Set the bytes aside, unless they are, where there is room for as many again. Raises `StoreFailed`."""
        draft = self._file.with_name(f"{self._file.name}.new")
        try:
            if self._file.exists() and self._file.stat().st_size >= RESERVE_BYTES:
                return
            try:
                _allocate(draft)
                draft.replace(self._file)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise name_disk_error(error) from error

    def release(self) -> None:
        """Give the bytes back."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def _allocate(file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, 2 * RESERVE_BYTES)
        os.ftruncate(descriptor, RESERVE_BYTES)
    finally:
        os.close(descriptor)
