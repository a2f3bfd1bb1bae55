"""The guard record on disk, and the lock that keeps a second process out of a chain's directory.

Canonical bytes `[version, chain id, record, checksum]`, replaced by write, fsync, rename and fsync of the directory.
Whatever a later version holds, it begins with its number and ends with the checksum of all before it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Self

from consensus.signing_record import SigningRecord
from ledger.codec import decode, encode, expect_array, expect_int, expect_list
from ledger.errors import Malformed, StoreLocked, StoreTooNew
from ledger.hashing import tagged_hash
from ledger.store import name_disk_error
from node.errors import GuardCorrupt, GuardMissing
from node.system.files import is_file_locked, replace_file

_LOCK = "LOCK"
_VERSION = 1
_TAG = "gridmerit/guard-file"
_MAX_BYTES = 1_000_000
_MAX_FIELDS = 64  # of any version


class SigningFile:
    """`<directory>/guard`, held for this process until closed.

    Opening raises `StoreLocked`; opening and every method raise `StoreFailed` when the disk does, `StoreReadOnly` where
    it takes nothing. What is there can be loaded all the same.
    """

    def __init__(self, directory: Path, chain_id: bytes) -> None:
        self.path = directory / "guard"
        self._chain_id = chain_id
        self._lock: int | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = _open_lock(directory / _LOCK)
        except OSError as error:
            raise name_disk_error(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise StoreLocked(path=directory) from None
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, *, ledger_exists: bool) -> SigningRecord:
        """The record last saved. A new chain gets an empty one on disk before its ledger is made.

        Raises `GuardCorrupt`, `StoreTooNew` for one of a later release, and `GuardMissing` where there is a ledger
        without it.
        """
        try:
            return read_record(self.path, self._chain_id)
        except GuardMissing:
            if ledger_exists:
                raise
            self.save(SigningRecord())
            return SigningRecord()

    def save(self, record: SigningRecord) -> None:
        """Replace the record; on disk when this returns."""
        assert self._lock is not None, "the guard file is closed"
        unsigned = (_VERSION, self._chain_id, record.to_value())
        raw = encode((*unsigned, tagged_hash(_TAG, encode(unsigned))))
        try:
            replace_file(self.path, raw)
        except OSError as error:
            raise name_disk_error(error) from error

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def read_record(path: Path, expected_chain_id: bytes) -> SigningRecord:
    """The record in a guard file, whoever holds it.

    Raises `GuardMissing`, `GuardCorrupt`, `StoreTooNew` or `StoreFailed`.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise GuardMissing(path=path) from None
    except OSError as error:
        raise name_disk_error(error) from error
    try:
        *unsigned, checksum = expect_list(decode(raw, max_bytes=_MAX_BYTES), "guard file", max_items=_MAX_FIELDS)
        if not unsigned or checksum != tagged_hash(_TAG, encode(tuple(unsigned))):
            raise GuardCorrupt(path=path, detail="its checksum does not match")
        if expect_int(unsigned[0], "version", low=_VERSION) > _VERSION:
            raise StoreTooNew(what=f"the guard file {path}", actual=unsigned[0], limit=_VERSION)
        _, chain_id, record = expect_array(tuple(unsigned), 3, "guard file")
        if chain_id != expected_chain_id:
            raise GuardCorrupt(path=path, detail="it belongs to another chain")
        return SigningRecord.from_value(record)
    except Malformed as error:
        raise GuardCorrupt(path=path, detail=str(error)) from error


def is_locked(directory: Path) -> bool:
    """Return True if a process has the chain in this directory open; nothing is made there."""
    return is_file_locked(directory / _LOCK)


def _open_lock(file: Path) -> int:
    """A descriptor to lock; on a disk that is mounted read-only, of the file that is there."""
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
