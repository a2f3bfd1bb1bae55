"""A store is read through slice by slice: damage that no request would meet is told, and the walk goes on behind it."""

import asyncio
from contextlib import closing

import pytest

from ledger.errors import StoreCorrupt, StoreError
from ledger.store import LevelStore, MemoryStore
from node.driver import chain_driver, scrub
from node.driver.scrub import Scrub
from tests.support.lone_driver import running, write_directory


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    monkeypatch.setattr(scrub, "SLICE_BYTES", 1_000)


class Rotten(MemoryStore):
    """A store in which some rows fail their checksums; it notes which have been read."""

    def __init__(self, rows, rotten=()):
        super().__init__()
        self.write(rows)
        self.rotten = set(rotten)
        self.read = []

    def scan_from(self, first):
        for key, value in super().scan_from(first):
            if key in self.rotten:
                raise StoreCorrupt(detail=f"the checksum of {key!r}")
            self.read.append(key)
            yield key, value


def rows_of(kind, count, size=95):
    return [(kind + number.to_bytes(4, "big"), bytes(size)) for number in range(count)]


def read_through(store, walk=None):
    """One whole pass: the walk, and the damages that it told."""
    walk, told = walk or Scrub(), []
    passes = walk.passes
    while walk.passes == passes:
        told.append(walk.read_slice(store))
    return walk, [str(one) for one in told if one is not None]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 400])
def test_every_row_is_read_once_a_pass(count):
    store = Rotten(rows_of(b"b", count))
    walk, told = read_through(store)
    assert (store.read, told, walk.damage) == ([key for key, _ in rows_of(b"b", count)], [], "")


def test_no_slice_is_larger_than_it_may_be_but_for_its_last_row():
    store = Rotten(rows_of(b"b", 100))
    walk, slices = Scrub(), []
    while not walk.passes:
        before = len(store.read)
        walk.read_slice(store)
        slices.append(len(store.read) - before)
    assert max(slices) == 10
    assert len(slices) == 11


@pytest.mark.parametrize("place", [0, 5, 37, 49])
def test_damage_is_told_and_the_other_kinds_are_read_all_the_same(place):
    rows = [*rows_of(b"b", 50), *rows_of(b"c", 50), *rows_of(b"\xff", 50)]
    store = Rotten(rows, [rows[place][0], rows[-1][0]])
    walk, told = read_through(store)
    assert len(told) == 2
    assert walk.damage == told[1]
    assert set(store.read) >= {key for key, _ in rows_of(b"c", 50)}


def test_damage_is_said_until_a_whole_pass_has_found_none():
    store = Rotten(rows_of(b"b", 50), [b"b\x00\x00\x00\x07"])
    walk, _ = read_through(store)
    assert walk.damage
    store.rotten.clear()
    walk.read_slice(store)
    assert walk.damage
    read_through(store, walk)
    assert not walk.damage


def flip_a_bit(ledger):
    table = max(ledger.glob("*.ldb"), key=lambda file: file.stat().st_size)
    raw = bytearray(table.read_bytes())
    raw[len(raw) // 4] ^= 0x10
    table.write_bytes(raw)


def test_a_bit_that_flips_in_an_old_table_is_found(tmp_path):
    with closing(LevelStore(tmp_path / "ledger")) as store:
        for kind in (b"b", b"c", b"d"):
            store.write(rows_of(kind, 2_000))
        store.compact(b"", b"\xff")
    flip_a_bit(tmp_path / "ledger")
    with closing(LevelStore(tmp_path / "ledger")) as store:
        _, [damage] = read_through(store)
        assert "orrupt" in damage or "checksum" in damage
        with pytest.raises(StoreError):
            list(store.scan(b""))


async def test_a_running_chain_tells_an_old_damage_that_nobody_asks_for_and_goes_on(
    make_lab, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(chain_driver, "PERIOD_MS", 1)
    lab = make_lab()
    for number in range(200):
        lab.extend(lab.sign("anna", "write", b"k", b"%d" % number * 300, sequence=number))
    lab.store.write(lab.chain.finalise(lab.chain.head))
    write_directory(lab, tmp_path)
    flip_a_bit(tmp_path / "ledger")
    async with running(lab, tmp_path) as driver:
        assert not driver.disk_view().damage
        while driver.disk_view().passes < 2:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)
        assert driver.disk_view().damage
        assert await driver.ask(lambda node: node.chain.head.height) == 200, "it answers all the same"
    [line, *_] = [record for record in caplog.records if record.getMessage() == "store-damaged"]
    assert (line.levelname, line.name) == ("ERROR", f"gridmerit.{driver.name}")
    assert "gridmerit node verify DIR --mend" in line.fields["remedy"]
