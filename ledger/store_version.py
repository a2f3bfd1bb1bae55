"""The version of a chain's store: the form of its rows, and the steps by which an older store comes to it.

A step adds rows of the new form beside those of the old one; then one batch makes the new version the store's; then
what only the old form had is cleared away. A crash leaves one of the two whole: before that batch the old store, on
which the step begins anew, and after it the new one, which is cleared when it is next opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ledger import records_by_height, rows_by_height
from ledger.codec import decode, encode, expect_array, expect_int
from ledger.errors import StoreTooNew
from ledger.store import Changes, KeyValue, as_stored

_VERSION_ROW = b"V"
_MAX_BYTES = 16
_UNNAMED = 1  # the version of stores from before there was a row that says it


class Step(NamedTuple):
    """The way from one version to the next, in batches that are made one after the other.

    `build` reads the old rows and writes under keys that the old form does not use, beginning with the deletion of what
    may stand there of an earlier attempt. `clear` deletes what the new form does not use; it may be cut short, and
    begins anew.
    """

    build: Callable[[KeyValue], Iterable[Changes]]
    clear: Callable[[KeyValue], Iterable[Changes]]


def _do_nothing(_store: KeyValue) -> Iterator[Changes]:
    """The batches of a step to a form that differs by the version alone."""
    yield from ()


STEPS: Mapping[int, Step] = {
    _UNNAMED: Step(build=_do_nothing, clear=_do_nothing),
    2: Step(build=rows_by_height.build, clear=rows_by_height.clear),
    3: Step(build=records_by_height.build, clear=records_by_height.clear),
}
"""The step from each version to the next: the version of this release is the one after the last."""


def row_of_new_store(steps: Mapping[int, Step] = STEPS) -> tuple[bytes, bytes]:
    """The row that belongs into the first batch of a store."""
    return _row(compute_newest(steps), is_cleared=True)


def compute_newest(steps: Mapping[int, Step] = STEPS) -> int:
    """The version that this release writes."""
    return max(steps, default=0) + 1


def read_version(store: KeyValue) -> int:
    """The version of a store that is not empty. Raises `StoreCorrupt`."""
    return _read(store)[0]


def migrate(store: KeyValue, steps: Mapping[int, Step] = STEPS) -> tuple[int, int]:
    """Bring a store that is not empty to this release's version; which one it had, and has.

    Raises `StoreTooNew` for one that a later release wrote, and changes nothing then; `StoreCorrupt` or `StoreFailed`.
    """
    before, is_cleared = _read(store)
    newest = compute_newest(steps)
    if before > newest:
        raise StoreTooNew(what="the store", actual=before, limit=newest)
    version = before
    if not is_cleared:
        _clear(store, version, steps)
    while version < newest:
        for changes in steps[version].build(store):
            store.write(changes)
        version += 1
        store.write([_row(version, is_cleared=False)])
        _clear(store, version, steps)
    return before, version


def _clear(store: KeyValue, version: int, steps: Mapping[int, Step]) -> None:
    for changes in steps[version - 1].clear(store):
        store.write(changes)
    store.write([_row(version, is_cleared=True)])


def _row(version: int, *, is_cleared: bool) -> tuple[bytes, bytes]:
    return _VERSION_ROW, encode((version, int(is_cleared)))


def _read(store: KeyValue) -> tuple[int, bool]:
    raw = store.get(_VERSION_ROW)
    if raw is None:
        return _UNNAMED, True
    with as_stored("the version of the store"):
        version, is_cleared = expect_array(decode(raw, max_bytes=_MAX_BYTES), 2, "version of the store")
        return expect_int(version, "version", low=_UNNAMED), bool(expect_int(is_cleared, "cleared", high=1))
