"""A node's wall clock set wrong, by libfaketime: nothing else in the process, no other process, and nobody is root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libfaketime


class WallClock:
    """The wall clock of the processes that run in its environment, read from a file that may change at any moment."""

    def __init__(self, file: Path) -> None:
        self._file = file.resolve()
        self.set(0)

    def set(self, ahead_ms: int) -> None:
        """Set it so many ms ahead of the machine's, or behind it."""
        begun = self._file.with_suffix(".begun")
        begun.write_text(f"{ahead_ms / 1_000:+.3f}\n", encoding="ascii")
        begun.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a process that follows it."""
        library = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
        assert library.exists(), library
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # s
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Have processes that begin meanwhile follow it."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
