"""Storage: the key-value port, in memory for tests and simulations and on LevelDB for a node.

A write is one atomic batch. What is read has passed its checksum: damage raises `StoreCorrupt`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ledger.errors import Malformed, StoreCorrupt, StoreError, StoreFailed, StoreLocked, StoreReadOnly
from ledger.torn_tail import find_torn_tail

if sys.version_info < (3, 13):
    import plyvel
else:
    import plyvel_next as plyvel  # its fork: the same binding, built for newer versions

WRITE_BUFFER_BYTES = 8 << 20  # of rows before they become a table; there may be two at a time (decision 43)
Changes: TypeAlias = Sequence[tuple[bytes, bytes | None]]  # key and new value, None to delete, in order

_OWNER_FILE = "OWNER"
TABLE_SUFFIXES = (".ldb", ".sst")
_ERRORS = (plyvel.Error, RuntimeError)  # the second of a store that has been closed
_COMPACTIONS = 2  # the first may push what was deleted down a level and keep it: leveldb issue 227
_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of a disk that takes nothing, and may again
_BATCH = 1_000  # rows that one of many writes makes or deletes
_MAX_TABLES = 200  # LevelDB maps the first 1 000 of a process into memory; the files of others would stay open


@contextmanager
def as_stored(what: str) -> Iterator[None]:
    """Decode one's own rows: bytes that cannot be what was written are damage, `StoreCorrupt`, not a peer's fault."""
    try:
        yield
    except Malformed as error:
        raise StoreCorrupt(detail=f"{what}: {error}") from error


def in_batches(changes: Iterable[tuple[bytes, bytes | None]]) -> Iterator[Changes]:
    """Split what is too much for one write."""
    rows = iter(changes)
    while batch := list(islice(rows, _BATCH)):
        yield batch


def name_disk_error(error: OSError) -> StoreFailed:
    """Our name for the system's error: `StoreReadOnly` where the disk takes nothing, else `StoreFailed`."""
    kind = StoreReadOnly if error.errno in _REFUSALS else StoreFailed
    return kind(detail=str(error))


class KeyValue(Protocol):
    """A map from bytes to bytes that outlives the process, or pretends to."""

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""

    def write(self, changes: Changes, *, sync: bool = True) -> None:
        """Make all changes or none, the last one to a key winning; with `sync`, on disk before returning."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value) whose key begins with `prefix`, sorted by key, as of this call."""

    def scan_from(self, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value) from a key on, sorted by key, as of this call; kept in no cache."""

    def approximate_size(self, first: bytes, last: bytes) -> int:
        """Bytes on disk of the entries from one key up to another, as far as they have left the log: found cheaply."""

    def compact(self, first: bytes, last: bytes) -> None:
        """Give back the space of what was deleted between two keys; from any thread, and others go on meanwhile."""

    def close(self) -> None:
        """Let go of the store; calling it again does nothing."""


class MemoryStore:
    """A `KeyValue` that is gone with the process."""

    def __init__(self) -> None:
        self._entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._entries.get(key)

    def write(self, changes: Changes, *, sync: bool = True) -> None:
        for key, value in changes:
            if value is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = value

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted([entry for entry in self._entries.items() if entry[0].startswith(prefix)]))

    def scan_from(self, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted([entry for entry in self._entries.items() if entry[0] >= first]))

    def approximate_size(self, first: bytes, last: bytes) -> int:
        return sum(len(key) + len(value) for key, value in self._entries.items() if first <= key < last)

    def compact(self, first: bytes, last: bytes) -> None:
        pass

    def close(self) -> None:
        pass


class LevelStore:
    """A `KeyValue` in a LevelDB directory, made with its parents where missing; one process at a time.

    Every method raises `StoreCorrupt` when a checksum fails and `StoreFailed` when the disk does, `StoreReadOnly` where
    it takes nothing; opening also raises `StoreLocked`. After a write that failed the store must be opened anew: what
    would follow it in LevelDB's log could not be read. A log damaged near its end may open without its last batches,
    as after a power cut: a caller that must notice keeps its own record elsewhere (`RolledBack`).
    """

    def __init__(self, path: str | Path) -> None:
        directory = Path(path)
        try:
            if not directory.exists():
                _make(directory)
            self._owner = _own(directory)
        except OSError as error:
            raise name_disk_error(error) from error
        try:
            self._db = _open(directory)
        except BaseException:
            os.close(self._owner)
            raise

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key, verify_checksums=True)
        except _ERRORS as error:
            raise _named(error) from error
        return value

    def write(self, changes: Changes, *, sync: bool = True) -> None:
        try:
            with self._db.write_batch(transaction=True, sync=sync) as batch:
                for key, value in dict(changes).items():  # what is put and dropped at once is never written
                    if value is None:
                        batch.delete(key)
                    else:
                        batch.put(key, value)
        except _ERRORS as error:
            raise _named(error) from error

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return _read_from(self._open_cursor(fill_cache=True), prefix, prefix)

    def scan_from(self, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        return _read_from(self._open_cursor(fill_cache=False), first, b"")

    def _open_cursor(self, *, fill_cache: bool) -> Any:
        try:
            return self._db.raw_iterator(verify_checksums=True, fill_cache=fill_cache)
        except _ERRORS as error:
            raise _named(error) from error

    def approximate_size(self, first: bytes, last: bytes) -> int:
        try:
            size: int = self._db.approximate_size(first, last)
        except _ERRORS as error:
            raise _named(error) from error
        return size

    def compact(self, first: bytes, last: bytes) -> None:
        try:
            for _ in range(_COMPACTIONS):
                self._db.compact_range(start=first, stop=last)
        except _ERRORS as error:
            raise _named(error) from error

    def close(self) -> None:
        if not self._db.closed:
            self._db.close()
            os.close(self._owner)


def _make(directory: Path) -> None:
    """Put an empty store where there is none, whole or not at all. Raises `OSError` and the `StoreError` family.

    LevelDB names its first files before they are on disk: a crash just then leaves what it cannot open.
    """
    draft = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    _open(draft).close()
    sync_path(draft)
    draft.rename(directory)
    sync_path(directory.parent)


def sync_path(path: Path) -> None:
    """Make a file's bytes, or a directory's names, durable. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _own(directory: Path) -> int:
    """Lock the directory for this process and return the lock's descriptor.

    LevelDB's own lock does not suffice: an attempt to open twice from within one process fails, but drops the
    POSIX lock while doing so, and the next process walks in.
    """
    descriptor = os.open(directory / _OWNER_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreLocked(path=directory) from None
    return descriptor


def _open(directory: Path) -> plyvel.DB:
    """LevelDB would take tables without a CURRENT file for an empty directory and start afresh over them."""
    try:
        has_data = any(file.suffix in (*TABLE_SUFFIXES, ".log") for file in directory.iterdir())
    except OSError as error:
        raise name_disk_error(error) from error
    if has_data and not (directory / "CURRENT").exists():
        raise StoreCorrupt(detail=f"{directory} holds data but its CURRENT file is missing")
    try:
        return _open_whole(directory)
    except _ERRORS as error:
        raise _named(error) from error


def repair(path: str | Path) -> None:
    """Make a damaged store one that opens, out of all that can still be read; the rest is lost, and not in order.

    Whether what is left belongs together is for the caller to see. Raises `StoreFailed`.
    """
    try:
        plyvel.repair_db(str(path), paranoid_checks=False, bloom_filter_bits=10)
    except _ERRORS as error:
        raise _named(error) from error


def _open_whole(directory: Path) -> plyvel.DB:
    """The store, without the last record where a crash has torn it. Raises plyvel's errors."""
    try:
        return _open_as_is(directory)
    except plyvel.CorruptionError:
        if not _cut_torn_tail(directory):
            raise
    return _open_as_is(directory)


def _open_as_is(directory: Path) -> plyvel.DB:
    return plyvel.DB(
        str(directory),
        create_if_missing=True,
        paranoid_checks=True,
        bloom_filter_bits=10,
        max_open_files=_MAX_TABLES,
        write_buffer_size=WRITE_BUFFER_BYTES,
    )


def _cut_torn_tail(directory: Path) -> bool:
    """Mend the newest log, and tell whether there was something to mend. Raises `StoreFailed`."""
    try:
        newest = max(directory.glob("*.log"), key=lambda file: int(file.stem), default=None)
        if newest is None or (place := find_torn_tail(newest.read_bytes())) is None:
            return False
        with newest.open("r+b") as log:
            log.truncate(place)
            os.fsync(log.fileno())  # a crash before LevelDB has done with it would bring it back, behind a newer log
    except OSError as error:
        raise name_disk_error(error) from error
    return True


def _read_from(cursor: Any, first: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The cursor's entries from `first` on, as far as they are under `prefix`.

    plyvel's ordinary iterator ends quietly, as after the last entry, where a block's checksum fails; a raw one
    raises.
    """
    try:
        cursor.seek(first)
        while cursor.valid():
            entry: tuple[bytes, bytes] = cursor.item()
            if not entry[0].startswith(prefix):
                break
            yield entry
            cursor.next()
    except _ERRORS as error:
        raise _named(error) from error
    finally:
        cursor.close()


def _named(error: Exception) -> StoreError:
    """Our name for plyvel's error; its text arrives as bytes."""
    reason = error.args[0] if error.args else b""
    detail = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    if isinstance(error, plyvel.CorruptionError):
        return StoreCorrupt(detail=detail)
    is_refusal = any(os.strerror(number) in detail for number in _REFUSALS)
    return StoreReadOnly(detail=detail) if is_refusal else StoreFailed(detail=detail)
