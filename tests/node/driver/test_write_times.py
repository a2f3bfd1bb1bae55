"""Times of writes are counted and told, and the log has a word when one takes long, not one for each."""

import logging

import pytest

from node.driver import write_times
from node.driver.write_times import WriteTimes
from node.queries.answers import DiskStatus
from node.queries.metrics import _describe_disks

MS = 1_000_000


@pytest.fixture
def clock(monkeypatch):
    """The steady clock, which stands still unless it is set."""
    now = [0]
    monkeypatch.setattr(write_times, "monotonic_ns", lambda: now[0])
    return now


def write(times, clock, took_ms):
    with times.take():
        clock[0] += took_ms * MS


def test_writes_are_counted_by_how_long_they_took(clock):
    times = WriteTimes(logging.getLogger("gridmerit.test"))
    for took_ms in (0, 1, 7, 40_000):
        write(times, clock, took_ms)
    writes = times.describe()
    assert (writes.writes, writes.write_ms, writes.longest_ms) == (4, 40_008, 40_000)
    assert {item.limit_ms: item.writes for item in writes.within}[1] == 2
    assert {item.limit_ms: item.writes for item in writes.within}[10] == writes.within[-1].writes == 3
    lines = _describe_disks([DiskStatus(chain="jy1", writes=writes, passes=2, damage="a checksum")])
    assert 'gridmerit_disk_write_seconds_bucket{chain="jy1",le="0.001"} 2' in lines
    assert 'gridmerit_disk_write_seconds_bucket{chain="jy1",le="+Inf"} 4' in lines
    assert 'gridmerit_disk_write_seconds_count{chain="jy1"} 4' in lines
    assert 'gridmerit_disk_longest_write_seconds{chain="jy1"} 40.0' in lines
    assert 'gridmerit_store_passes_total{chain="jy1"} 2' in lines
    assert 'gridmerit_store_damaged{chain="jy1"} 1' in lines


def test_a_write_that_fails_is_counted(clock):
    times = WriteTimes(logging.getLogger("gridmerit.test"))
    with pytest.raises(OSError, match="full"), times.take():
        raise OSError("full")
    assert times.describe().writes == 1


def test_the_log_says_at_most_once_a_minute_that_the_disk_is_slow(clock, caplog):
    times = WriteTimes(logging.getLogger("gridmerit.test"))
    for took_ms in (999, 1_000, 5_000, 5_000, 50_000, 1_000):
        write(times, clock, took_ms)
    said = [record.fields for record in caplog.records if record.getMessage() == "disk-slow"]
    assert said == [{"took_ms": 1_000, "writes_so_long": 1}, {"took_ms": 50_000, "writes_so_long": 3}]
