"""A record that a crash has torn at the end of the log is cut off; damage anywhere is not taken for that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import StoreCorrupt
from ledger.store import LevelStore
from ledger.torn_tail import find_torn_tail

ROWS = [(b"a", b"1" * 100), (b"b", b"2" * 3_000), (b"c", b"3" * 70_000), (b"d", b"4" * 5_000)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A log of four records, and where each ends."""
    directory = tmp_path_factory.mktemp("store") / "ledger"
    store, ends = LevelStore(directory), []
    for row in ROWS:
        store.write([row])
        [log] = directory.glob("*.log")
        ends.append(log.stat().st_size)
    store.close()
    return directory, log, log.read_bytes(), ends


def read_all(directory):
    store = LevelStore(directory)
    try:
        return list(store.scan(b""))
    finally:
        store.close()


@given(st.data())
def test_whatever_sectors_of_the_last_record_are_lost_the_others_are_read(written, tmp_path_factory, data):
    _, _, raw, ends = written
    last = data.draw(st.integers(1, len(ROWS) - 1), label="last")
    start, end = ends[last - 1], ends[last]
    sectors = range(start // 512, -(-end // 512))
    lost = data.draw(st.sets(st.sampled_from(sectors), min_size=1), label="lost")
    torn = bytearray(raw[:end])
    for sector in lost:
        begin, stop = max(start, sector * 512), min(end, sector * 512 + 512)
        torn[begin:stop] = bytes(stop - begin)
    if all(min(end, sector * 512 + 512) - max(start, sector * 512) < 8 for sector in lost):
        return
    assert find_torn_tail(bytes(torn)) == start


@pytest.mark.parametrize("place", [-1, -4_000, -5_000])
def test_a_damaged_last_record_is_no_torn_one(written, place):
    raw = bytearray(written[2])
    raw[place] ^= 1
    assert find_torn_tail(bytes(raw)) is None


@pytest.mark.parametrize("hole", [0, 512, 3_072, 32_768, 40_960, 65_536])
def test_a_hole_before_the_last_record_is_damage(written, hole):
    raw = bytearray(written[2])
    raw[hole : hole + 512] = bytes(512)
    assert find_torn_tail(bytes(raw)) is None


def test_a_whole_log_is_left_alone(written):
    _, _, raw, ends = written
    assert [find_torn_tail(raw[:end]) for end in (0, *ends)] == [None] * 5


def test_a_torn_store_opens_without_its_last_record_and_a_damaged_one_does_not(written):
    directory, log, raw, ends = written
    torn = bytearray(raw)
    torn[ends[2] + 1_024 : ends[2] + 2_048] = bytes(1_024)
    log.write_bytes(torn)
    assert read_all(directory) == ROWS[:3]
    [log] = directory.glob("*.log")
    store = LevelStore(directory)
    store.write([ROWS[3]])
    store.close()
    [log] = directory.glob("*.log")
    damaged = bytearray(log.read_bytes())
    damaged[100] ^= 1
    log.write_bytes(damaged)
    with pytest.raises(StoreCorrupt, match="checksum mismatch"):
        LevelStore(directory)
