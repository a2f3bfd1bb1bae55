"""A store that is read without a write to it, for as long as nobody else writes to it: a copy that links its tables."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from ledger.errors import StoreError, StoreFailed, StoreReadOnly
from ledger.store import Changes, LevelStore, name_disk_error
from node.system.scratch import scratch
from node.system.store_copy import copy_store

_PREFIX = ".view-"
_ELSEWHERE = (Path("/dev/shm"), Path(tempfile.gettempdir()))


class StoreView(LevelStore):
    """A `LevelStore` on a copy of its own, made where there is room: beside the original, in memory, or elsewhere.

    LevelDB must write to open its log. Raises as `LevelStore`, and `StoreReadOnly` for every write.
    """

    def __init__(self, ledger: Path) -> None:
        failure: StoreError = StoreReadOnly(detail="there is no room for a view of it")
        for place in (ledger.parent, *_ELSEWHERE):
            with ExitStack() as stack:
                try:
                    copy = stack.enter_context(scratch(place, _PREFIX)) / ledger.name
                    copy_store(ledger, copy)
                    super().__init__(copy)
                except OSError as error:
                    failure = name_disk_error(error)
                except StoreFailed as error:
                    failure = error
                else:
                    self._copy = stack.pop_all()
                    return
        raise failure

    def write(self, changes: Changes, *, sync: bool = True) -> None:
        """Raise `StoreReadOnly`."""
        raise StoreReadOnly(detail="it is open for reading alone")

    def close(self) -> None:
        super().close()
        self._copy.close()
