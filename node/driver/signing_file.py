"""The guard record on disk, and the lock that keeps a second process out of a chain's directory.

Canonical bytes `[version, chain id, record, checksum]`, replaced by write, fsync, rename and fsync of the directory.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Self

from consensus.signing_record import SigningRecord
from ledger.codec import decode, encode, expect_array
from ledger.errors import Malformed, StoreLocked
from ledger.hashing import tagged_hash
from ledger.store import name_disk_error
from node.errors import GuardCorrupt, GuardMissing
from node.system.files import replace_file

_VERSION = 1
_TAG = "gridmerit/guard-file"
_MAX_BYTES = 1_000_000


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
            lock = _open_lock(directory / "LOCK")
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

        Raises `GuardCorrupt`, and `GuardMissing` where there is a ledger without it.
        """
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            if ledger_exists:
                raise GuardMissing(path=self.path) from None
            self.save(SigningRecord())
            return SigningRecord()
        except OSError as error:
            raise name_disk_error(error) from error
        return self._parse(raw)

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

    def _parse(self, raw: bytes) -> SigningRecord:
        try:
            version, chain_id, record, checksum = expect_array(decode(raw, max_bytes=_MAX_BYTES), 4, "guard file")
            if checksum != tagged_hash(_TAG, encode((version, chain_id, record))):
                raise GuardCorrupt(path=self.path, detail="its checksum does not match")
            if version != _VERSION:
                raise GuardCorrupt(path=self.path, detail=f"its version is not {_VERSION}")
            if chain_id != self._chain_id:
                raise GuardCorrupt(path=self.path, detail="it belongs to another chain")
            return SigningRecord.from_value(record)
        except Malformed as error:
            raise GuardCorrupt(path=self.path, detail=str(error)) from error


def _open_lock(file: Path) -> int:
    """A descriptor to lock; on a disk that is mounted read-only, of the file that is there."""
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
