"""A thread goes on when its task is cancelled: whoever stops waits for it."""

import asyncio
import threading

import pytest

from node.system.tasks import Tasks, finish


async def test_a_threads_work_has_ended_when_its_owner_has_stopped():
    is_at_work, may_end, done = threading.Event(), threading.Event(), []

    def write():
        is_at_work.set()
        may_end.wait()
        done.append("written")

    async def save():
        await finish(asyncio.to_thread(write))

    tasks = Tasks(on_failure=done.append)
    tasks.start(save(), name="save")
    await asyncio.to_thread(is_at_work.wait)
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(tasks.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        may_end.set()
    assert done == ["written"]


async def test_what_it_raises_or_returns_comes_to_whoever_waits():
    def fail():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await finish(asyncio.to_thread(fail))
    assert await finish(asyncio.to_thread(lambda: 7)) == 7
