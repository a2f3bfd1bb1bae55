"""A copy of a store that is being written to: of one moment, and nothing that is done to it reaches the original."""

import threading
from contextlib import closing

import pytest

from ledger.errors import StoreFailed
from ledger.store import LevelStore
from node.system.store_copy import copied
from node.system.store_manifest import read_manifest


def fill(store, since, count=60):
    """Batches of two rows that belong together, a few megabytes in all: tables are written and merged meanwhile."""
    for number in range(since, since + count):
        raw = number.to_bytes(4, "big")
        store.write([(b"a" + raw, raw * 24_000), (b"b" + raw, raw * 24_000), (b"last", raw)], sync=False)


def read_last(path):
    with closing(LevelStore(path)) as store:
        last = int.from_bytes(store.get(b"last"), "big")
        found = {key: value for key, value in store.scan(b"") if key != b"last"}
        store.write([(b"x" * 8 + bytes([number]), bytes(400_000)) for number in range(40)])  # its own tables
    numbers = [int.from_bytes(key[1:], "big") for key in found if key.startswith(b"a")]
    assert numbers == list(range(last + 1)), "whole batches, none left out"
    assert {key[1:] for key in found if key.startswith(b"b")} == {key[1:] for key in found if key.startswith(b"a")}
    assert all(value == key[1:] * 24_000 for key, value in found.items())
    return last


def test_copies_beside_a_writer_are_of_one_moment_and_the_original_is_untouched(tmp_path):
    path = tmp_path / "ledger"
    with closing(LevelStore(path)) as store:
        fill(store, 0)
        stopping, written = threading.Event(), [60]

        def go_on():
            while not stopping.is_set():
                fill(store, written[0], 10)
                written[0] += 10

        writer = threading.Thread(target=go_on)
        writer.start()
        try:
            seen = []
            for _ in range(6):
                with copied(path) as copy:
                    seen.append(read_last(copy))
        finally:
            stopping.set()
            writer.join()
        assert seen == sorted(seen)
        assert seen[0] >= 59
    assert read_last(path) == written[0] - 1
    assert [one.name for one in tmp_path.iterdir()] == ["ledger"]


def test_the_manifest_names_the_tables_that_count(tmp_path):
    with closing(LevelStore(tmp_path / "ledger")) as store:
        fill(store, 0, 200)
    (manifest,) = (tmp_path / "ledger").glob("MANIFEST-*")
    live = read_manifest(manifest.read_bytes())
    assert live.tables <= {int(file.stem) for file in (tmp_path / "ledger").glob("*.ldb")}
    assert len(live.tables) > 2
    assert {int(file.stem) for file in (tmp_path / "ledger").glob("*.log")} >= {live.first_log}
    assert read_manifest(manifest.read_bytes()[:-1]) is not None, "its writer may be at work"
    assert read_manifest(b"\xff" * 100) is None


@pytest.mark.parametrize("lost", ["CURRENT", "MANIFEST-*"])
def test_what_does_not_open_is_copied_too(tmp_path, lost):
    path = tmp_path / "ledger"
    with closing(LevelStore(path)) as store:
        fill(store, 0, 100)
    next(path.glob(lost)).unlink()
    before = {file.name: file.stat().st_size for file in path.iterdir()}
    with copied(path) as copy:
        assert {file.name for file in copy.glob("*.ldb")} == {name for name in before if name.endswith(".ldb")}
        assert not any(file.stat().st_nlink > 1 for file in copy.iterdir())
    assert {file.name: file.stat().st_size for file in path.iterdir()} == before


def test_there_is_nothing_to_copy(tmp_path):
    with pytest.raises(StoreFailed), copied(tmp_path / "ledger"):
        pass
