"""The states that a disk may have after a crash, given all that a process has asked of it up to then.

What was synced is there. Of what was written to a file since, nothing, all, the beginning or any of its sectors is; of
the names made, replaced and removed in a directory since it was last made durable, some first ones have come to be, in
their order, as on any journalled file system. A file that is synced keeps its name, and with it all names before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from random import Random
from typing import NamedTuple

SECTOR = 512
SHORTEST = 8  # bytes of a write in a sector that are not lost alone: see `ledger.torn_tail`
_RULES = ("lost", "kept", "begun", "sectors")


class Operation(NamedTuple):
    """One record of the shim's trace."""

    kind: str  # M(kdir), C(reate), T(runcate), W(rite), S(ync), D(irectory synced), R(ename), U(nlink), K (a mark)
    path: str
    data: bytes


def read_trace(file: Path) -> list[Operation]:
    """A trace, as far as its process came."""
    raw, at, operations = file.read_bytes(), 0, []
    while at < len(raw):
        kind, (length,) = chr(raw[at]), struct.unpack_from("<I", raw, at + 1)
        path = raw[at + 5 : at + 5 + length].decode()
        at += 5 + length
        (size,) = struct.unpack_from("<I", raw, at)
        operations.append(Operation(kind, path, raw[at + 4 : at + 4 + size]))
        at += 4 + size
    return operations


@dataclass(eq=False)
class File:
    """Bytes, whatever they are called: those on disk, and what has been done to them since."""

    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, written), (size, None): truncated

    def read(self, rule: str, random: Random) -> bytes:
        """The rest of it by a rule."""
        content = bytearray(self.durable)
        room = random.randrange(sum(len(data or b"") for _, data in self.pending) + 1)
        for offset, data in () if rule == "lost" else self.pending:
            if data is None:
                del content[offset:]
                content.extend(bytes(offset - len(content)))
                continue
            data = data[:room] if rule == "begun" else data
            room -= len(data)
            if len(content) < offset + len(data):
                content.extend(bytes(offset + len(data) - len(content)))
            for place, part in _split(offset, data) if rule == "sectors" else [(offset, data)]:
                if rule != "sectors" or len(part) < SHORTEST or random.randrange(2):
                    content[place : place + len(part)] = part
        return bytes(content)

    def sync(self) -> None:
        self.durable, self.pending = self.read("kept", Random(0)), []


class Disk:
    """Directories and files, as their process sees them and as a crash may leave them."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.names = {path: File(raw) for path, raw in (files or {}).items()}
        self._durable = dict(self.names)
        self._pending: dict[str, list[dict[str, File | None]]] = {}  # by directory, the changes of names since

    def apply(self, operation: Operation) -> None:
        """Take note of the next operation."""
        kind, path, data = operation
        match kind:
            case "C":
                self._rename(path, {path: File()})
            case "R" if inside := [name for name in self.names if name.startswith(f"{path}/")]:
                moved = {data.decode() + name.removeprefix(path): self.names[name] for name in inside}
                self._rename(path, {**moved, **dict.fromkeys(inside)})
            case "R" | "U" if path not in self.names:
                pass  # LevelDB's own diary, which nothing is read from
            case "R":
                self._rename(path, {data.decode(): self.names[path], path: None})
            case "U":
                self._rename(path, {path: None})
            case "D":
                self._settle(path, len(self._pending.get(path, ())))
            case "W" | "T" | "S" if (file := self.names.get(path)) is not None:
                if kind == "S":
                    file.sync()
                    self._settle_name(path, file)
                else:
                    (offset,) = struct.unpack_from("<Q", data)
                    file.pending.append((offset, data[8:] if kind == "W" else None))

    def crash(self, random: Random) -> dict[str, bytes]:
        """The files after a crash at this moment, by path."""
        names = dict(self._durable)
        for changes in self._pending.values():
            for change in changes[: random.randrange(len(changes) + 1)]:
                names.update(change)
        return {path: file.read(random.choice(_RULES), random) for path, file in names.items() if file is not None}

    def crash_in_every_way(self) -> Iterator[dict[str, bytes]]:
        """By each rule for all files alike, with no name since, and with all."""
        for rule in _RULES:
            for share in (0, 1):
                names = dict(self._durable)
                for changes in self._pending.values():
                    for change in changes[: share * len(changes)]:
                        names.update(change)
                yield {path: file.read(rule, Random(share)) for path, file in names.items() if file is not None}

    def _rename(self, path: str, change: dict[str, File | None]) -> None:
        self._pending.setdefault(_parent(path), []).append(change)
        for name, file in change.items():
            if file is None:
                self.names.pop(name, None)
            else:
                self.names[name] = file

    def _settle_name(self, path: str, file: File) -> None:
        changes = self._pending.get(_parent(path), [])
        last = max((index for index, change in enumerate(changes) if file in change.values()), default=-1)
        self._settle(_parent(path), last + 1)

    def _settle(self, directory: str, count: int) -> None:
        changes = self._pending.get(directory, [])
        for change in changes[:count]:
            for name, file in change.items():
                if file is None:
                    self._durable.pop(name, None)
                else:
                    self._durable[name] = file
        del changes[:count]


def _split(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """The part of a write that comes to each sector, and its place."""
    while data:
        room = SECTOR - offset % SECTOR
        yield offset, data[:room]
        offset, data = offset + room, data[room:]


def _parent(path: str) -> str:
    return str(PurePosixPath(path).parent)
