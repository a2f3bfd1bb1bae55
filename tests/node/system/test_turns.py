"""Turns of the event loop are measured in CPU time, turn by turn."""

import asyncio
import threading
import time

import pytest

from node.queries.answers import NodeStatus
from node.queries.metrics import render_metrics
from node.system.turns import BOUNDS_MS, TimedLoop, Turns, describe_turns

MS = 1_000_000


def compute(ms):
    """Keep this thread's processor busy for so long."""
    end_ns = time.thread_time_ns() + ms * MS
    while time.thread_time_ns() < end_ns:
        pass


def run(work):
    """A timed loop's account of its turns when `work` is done."""

    async def measured():
        asyncio.get_running_loop().restart_turns()
        await asyncio.sleep(0)
        await work()
        for _ in range(2):  # what it has left to be called is a turn of its own
            await asyncio.sleep(0)
        return describe_turns()

    with asyncio.Runner(loop_factory=TimedLoop) as runner:
        return runner.run(measured())


def count_longer(status, limit_ms):
    return status.turns - next(item.turns for item in status.within if item.limit_ms == limit_ms)


def test_a_turn_that_computes_is_as_long_as_what_it_computes():
    async def work():
        compute(120)

    status = run(work)
    assert (count_longer(status, 100), status.longest_ms >= 120, status.cpu_ms >= 120) == (1, True, True)


def test_what_lets_others_in_between_is_many_short_turns():
    async def work():
        for _ in range(30):
            compute(5)
            await asyncio.sleep(0)

    status = run(work)
    assert status.turns >= 30
    assert status.cpu_ms >= 150 > status.longest_ms


def test_callbacks_that_run_one_after_the_other_are_one_turn():
    """Between them nobody is looked after."""

    async def work():
        for _ in range(6):
            asyncio.get_running_loop().call_soon(compute, 20)

    assert run(work).longest_ms >= 120


def test_neither_sleep_nor_the_work_of_other_threads_counts():
    async def work():
        time.sleep(0.12)  # noqa: ASYNC251 - it is what is looked at
        thread = threading.Thread(target=compute, args=(120,))
        thread.start()
        thread.join()

    assert run(work).longest_ms < 100


@pytest.mark.parametrize("limit_ms", BOUNDS_MS)
def test_a_turn_at_a_bound_is_within_it(limit_ms):
    turns = Turns()
    turns.end(1)  # none had begun
    for over_ns in (0, 1):
        turns.begin(7)
        turns.end(7 + limit_ms * MS + over_ns)
    status = turns.describe()
    assert (status.turns, count_longer(status, limit_ms)) == (2, 1)
    assert status.longest_ms == limit_ms + 1, "rounded up"


def test_another_loop_knows_of_no_turns():
    async def ask():
        return describe_turns()

    assert asyncio.run(ask()) is None


def test_prometheus_reads_them_as_a_histogram():
    turns = Turns()
    for took_ms in (3, 90, 196_000):
        turns.begin(0)
        turns.end(took_ms * MS)
    status = NodeStatus(
        version="0",
        member=None,
        address=None,
        uptime_ms=0,
        chains=(),
        peers=(),
        sealing={},
        loop=turns.describe(),
    )
    lines = render_metrics(status, 0).splitlines()
    name = "gridmerit_loop_turn_cpu_seconds"
    assert f"# TYPE {name} histogram" in lines
    buckets = [line.split()[-1] for line in lines if line.startswith(f"{name}_bucket")]
    assert buckets == ["1"] * BOUNDS_MS.index(100) + ["2"] * (len(BOUNDS_MS) - BOUNDS_MS.index(100)) + ["3"]
    assert f'{name}_bucket{{le="0.1"}} 2' in lines
    assert f'{name}_bucket{{le="+Inf"}} 3' in lines
    assert f"{name}_sum 196.093" in lines
    assert f"{name}_count 3" in lines
    assert "gridmerit_loop_longest_turn_cpu_seconds 196.0" in lines
