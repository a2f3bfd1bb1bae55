"""A store is brought forward once, whatever stops that in between, and one of a later release is left alone."""

from itertools import count

import pytest

from ledger.codec import encode
from ledger.errors import StoreCorrupt, StoreFailed, StoreTooNew
from ledger.store import MemoryStore
from ledger.store_version import STEPS, Step, compute_newest, migrate, read_version

DATA = {bytes([number]): b"value %d" % number for number in range(5)}


def move(old, new):
    """A step that keeps each row under another prefix, turned round, two rows in a batch."""

    def build(store):
        yield [(key, None) for key, _ in store.scan(new)]
        rows = [(new + key[1:], value[::-1]) for key, value in store.scan(old)]
        yield from (rows[start : start + 2] for start in range(0, len(rows), 2))

    def clear(store):
        for key, _ in store.scan(old):
            yield [(key, None)]

    return Step(build=build, clear=clear)


PLANTED = {1: move(b"x", b"y"), 2: move(b"y", b"z")}
PREFIXES = {1: b"x", 2: b"y", 3: b"z"}


class Stopping(MemoryStore):
    """A store whose machine ends before a write."""

    def __init__(self, entries, writes):
        super().__init__()
        super().write(list(entries))
        self.left = writes

    def write(self, changes, *, sync=True):
        if not self.left:
            raise StoreFailed(detail="the machine has ended")
        self.left -= 1
        super().write(changes, sync=sync)


def old_store():
    store = MemoryStore()
    store.write([(b"x" + key, value) for key, value in DATA.items()])
    return store


def read_by_version(store):
    """The data as a release of the store's own version finds them."""
    version = read_version(store)
    rows = {key[1:]: value for key, value in store.scan(PREFIXES[version])}
    return {key: value if version % 2 else value[::-1] for key, value in rows.items()}


def after_crashes():
    """The store after a migration that was stopped before each of its writes in turn."""
    for writes in count():
        store = Stopping(old_store().scan(b""), writes)
        try:
            migrate(store, PLANTED)
        except StoreFailed:
            yield store
        else:
            return


def test_the_newest_version_follows_from_the_steps():
    assert compute_newest({}) == 1
    assert compute_newest(PLANTED) == 3


def test_a_migration_goes_through_every_version_and_leaves_nothing_behind():
    store = old_store()
    assert migrate(store, PLANTED) == (1, 3)
    assert read_by_version(store) == DATA
    assert {key[:1] for key, _ in store.scan(b"")} == {b"V", b"z"}
    before = list(store.scan(b""))
    assert migrate(store, PLANTED) == (3, 3)
    assert list(store.scan(b"")) == before


def test_whatever_write_a_crash_comes_before_the_old_or_the_new_is_whole():
    versions = []
    for store in after_crashes():
        versions.append(read_version(store))
        assert read_by_version(store) == DATA
    assert sorted(versions) == versions
    assert set(versions) == {1, 2, 3}


def test_a_migration_that_was_stopped_is_finished_at_the_next_start_even_if_that_is_stopped_too():
    for first in after_crashes():
        for writes in count():
            store = Stopping(first.scan(b""), writes)
            try:
                migrate(store, PLANTED)
            except StoreFailed:
                assert read_by_version(store) == DATA
                continue
            break
        assert read_by_version(store) == DATA
        assert {key[:1] for key, _ in store.scan(b"")} == {b"V", b"z"}


def test_what_an_older_release_wrote_after_a_crash_counts():
    """It was started again instead of the newer one, whose rows were half built."""
    halfway = next(store for store in after_crashes() if any(store.scan(b"y")) and read_version(store) == 1)
    halfway.left = 100
    halfway.write([(b"x" + bytes([0]), None), (b"x" + bytes([9]), b"later")])
    migrate(halfway, PLANTED)
    assert read_by_version(halfway) == {key: value for key, value in DATA.items() if key != bytes([0])} | {
        bytes([9]): b"later"
    }


def test_a_store_of_a_later_release_is_refused_and_left_as_it_is():
    store = old_store()
    migrate(store, PLANTED)
    before = list(store.scan(b""))
    with pytest.raises(StoreTooNew, match="the store has version 3, and this release knows none above 2"):
        migrate(store, {1: PLANTED[1]})
    assert list(store.scan(b"")) == before


@pytest.mark.parametrize("raw", [b"", b"\x00", encode((0, 1)), encode((2, 2)), encode((2,)), encode(("2", 1))])
def test_a_version_that_is_none_is_damage(raw):
    store = old_store()
    store.write([(b"V", raw)])
    with pytest.raises(StoreCorrupt, match="version of the store"):
        migrate(store)


# --- the store of a chain ----------------------------------------------------------------------------


def test_a_new_chain_has_the_newest_version(lab):
    assert lab.chain.versions == (compute_newest(STEPS),) * 2
    assert read_version(lab.store) == compute_newest(STEPS) == 4


def test_a_chain_of_a_later_release_is_refused_as_its_own_fault(lab):
    lab.store.write([(b"V", encode((99, 1)))])
    with pytest.raises(StoreTooNew):
        lab.reopen()
