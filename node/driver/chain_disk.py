"""The directory of a chain: the guard, the ledger and a reserve, for this process alone.

Where the disk takes nothing (it is full, over its quota or mounted read-only), the ledger is read through a view, and
no write is tried before the disk has room again. What a failed write has left in the ledger's log is sorted out by
opening it anew, as after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from consensus.signing_record import SigningRecord
from ledger.errors import StoreReadOnly
from ledger.store import Changes, KeyValue, LevelStore, name_disk_error, sync_path
from node.driver.reserve import Reserve
from node.driver.signing_file import SigningFile
from node.driver.write_times import WriteTimes
from node.system.store_view import StoreView


class ChainDisk:
    """`store` and `record` as they were last opened; `refusal` says why the disk takes nothing, None while it does.

    Opening raises the `StoreError` family: `StoreReadOnly` alone where there is no ledger yet to be read.
    """

    def __init__(self, directory: Path, chain_id: bytes, times: WriteTimes) -> None:
        self._times = times
        self._directory = directory
        self._ledger = directory / "ledger"
        self._reserve = Reserve(directory / "reserve")
        self._signing_file = SigningFile(directory, chain_id)
        self._compactor = _make_compactor(directory)
        self.refusal: StoreReadOnly | None = None
        try:
            self.record = self._signing_file.load(ledger_exists=self._has_ledger())
            self.store: KeyValue = self._open()
        except BaseException:
            self._signing_file.close()
            raise

    def write(self, changes: Changes) -> None:
        """One batch, on disk when this returns. Raises `StoreError`."""
        with self._times.take():
            self.store.write(changes)

    def write_record(self, record: SigningRecord) -> None:
        """The guard, on disk when this returns. Raises `StoreFailed`."""
        with self._times.take():
            self._signing_file.save(record)

    def compact(self, ranges: Iterable[tuple[bytes, bytes]]) -> None:
        """Give back the space of what was deleted in these ranges of keys; in the background, one after the other."""
        for first, last in ranges:
            self._compactor.submit(self.store.compact, first, last)

    def turn_to_reading(self, refusal: StoreReadOnly) -> None:
        """Read what is on disk from now on, after a write that it did not take. Raises `StoreError`."""
        self._close_store()
        self._compactor = _make_compactor(self._directory)
        self.store = self._open_view(refusal)
        self.record = self._signing_file.load(ledger_exists=True)

    def try_to_write_again(self) -> bool:
        """Open for writing where the disk takes something again, and tell whether it does. Raises `StoreError`."""
        try:
            store = self._open_ledger()
        except StoreReadOnly as refusal:
            self._reserve.release()
            self.refusal = refusal
            return False
        self.store.close()
        self.store, self.refusal = store, None
        self.record = self._signing_file.load(ledger_exists=True)
        return True

    def close(self) -> None:
        """Let go of the directory; calling it again does nothing."""
        self._close_store()
        self._signing_file.close()

    def _close_store(self) -> None:
        """Close it once a compaction at work has come to its end; no other begins."""
        self._compactor.shutdown(cancel_futures=True)
        self.store.close()

    def _open(self) -> KeyValue:
        try:
            return self._open_ledger()
        except StoreReadOnly as refusal:
            if not self._has_ledger():
                raise
            return self._open_view(refusal)

    def _open_ledger(self) -> LevelStore:
        self._reserve.claim()
        store = LevelStore(self._ledger)
        try:
            sync_path(self._directory)
            sync_path(self._directory.parent)
        except OSError as error:
            store.close()
            raise name_disk_error(error) from error
        return store

    def _open_view(self, refusal: StoreReadOnly) -> StoreView:
        self._reserve.release()
        self.refusal = refusal
        return StoreView(self._ledger)

    def _has_ledger(self) -> bool:
        return (self._ledger / "CURRENT").exists()


def _make_compactor(directory: Path) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"compact-{directory.name}")
