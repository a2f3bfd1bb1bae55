"""A disk of a few megabytes of its own for one process: a file system in memory, in a namespace that nobody else sees.

It is as real as any: it is full when it is full, and mounted read-only it takes nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

State: TypeAlias = Literal["free", "full", "read-only"]
_FILLER, _CHUNK = "filler", 1 << 16


@cache
def has_small_disks() -> bool:
    """Return True if this machine lets its users mount file systems of their own."""
    return shutil.which("unshare") is not None and not subprocess.run(_enter(":"), capture_output=True).returncode


def on_small_disk(place: Path, mb: int, *, holding: Path | None = None, state: State = "free") -> list[str]:
    """The words that begin a command which is to see at `place` a disk of that size, in that state.

    It is empty, or holds a copy of what is in a directory.
    """
    place.mkdir(parents=True, exist_ok=True)
    steps = [
        f"mount -t tmpfs -o size={mb}m small {place}",
        *([] if holding is None else [f"cp -a {holding}/. {place}"]),
    ]
    steps += {
        "free": [],
        "full": [f"(cat /dev/zero > {place}/{_FILLER} 2> /dev/null || true)"],
        "read-only": [f"mount -o remount,ro {place}"],
    }[state]
    return [*_enter(" && ".join([*steps, 'exec "$@"'])), "sh"]


def _enter(script: str) -> list[str]:
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", script]


def beside(process: int) -> list[str]:
    """The words that begin a command which is to see the same disk as a process."""
    return ["nsenter", "--preserve-credentials", "--user", "--mount", f"--target={process}"]


def make_writable(process: int, place: Path) -> None:
    """Mount the disk of a process, once read-only, for writing."""
    subprocess.run([*beside(process), "mount", "-o", "remount,rw", str(place)], check=True)


def look_in(process: int, place: Path) -> Path:
    """The path under which others see what a process sees at `place`."""
    return Path(f"/proc/{process}/root") / place.resolve().relative_to("/")


def fill(disk: Path) -> None:
    """Write until there is no room left."""
    with (disk / _FILLER).open("ab", buffering=0) as file:
        for size in (_CHUNK, 1):
            try:
                while True:
                    file.write(os.urandom(1) * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def make_room(disk: Path) -> None:
    """Remove what `fill` has written."""
    (disk / _FILLER).unlink(missing_ok=True)
