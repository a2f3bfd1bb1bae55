"""A chain's thread: calls in their order, readers in turns, and at least half of the time the chain's own."""

import asyncio
import time

import pytest

from node.driver.chain_thread import ChainThread
from node.errors import NodeStopping

TAKES_MS = 20


def compute():
    """Keep this thread's processor busy for a while."""
    end_ns = time.thread_time_ns() + TAKES_MS * 1_000_000
    while time.thread_time_ns() < end_ns:
        pass


class StoppedClock(asyncio.SelectorEventLoop):
    """An event loop whose time moves on only when it is told to."""

    now_s = 1_000.0

    def time(self):
        return self.now_s


def run(main):
    with asyncio.Runner(loop_factory=StoppedClock) as runner:
        return runner.run(main())


@pytest.fixture
def thread():
    thread = ChainThread("jy1")
    yield thread
    thread.close()


async def step(thread):
    """The work of the chain between two readers."""
    async with thread.settled:
        await thread.run(lambda: None)


def test_a_reader_keeps_the_next_one_off_for_as_long_as_it_took_and_the_chain_goes_on(thread):
    async def main():
        loop, begun = asyncio.get_running_loop(), []
        await thread.read(compute)
        reading = asyncio.ensure_future(thread.read(lambda: begun.append(loop.now_s)))
        for _ in range(10):
            await step(thread)
        loop.now_s += TAKES_MS / 1_000 / 2
        await step(thread)
        await step(thread)
        assert begun == [], "half of it is not enough"
        loop.now_s += 60
        await reading
        assert begun == [loop.now_s]

    run(main)


def test_one_that_fails_keeps_the_next_one_off_too(thread):
    async def main():
        loop = asyncio.get_running_loop()

        def fail():
            compute()
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011 - its own
            await thread.read(fail)
        reading = asyncio.ensure_future(thread.read(lambda: "answer"))
        for _ in range(10):
            await step(thread)
        assert not reading.done()
        loop.now_s += 60
        assert await reading == "answer"

    run(main)


def test_readers_take_turns_and_each_of_them_keeps_off_the_next(thread):
    async def main():
        loop = asyncio.get_running_loop()
        readings = [asyncio.ensure_future(thread.read(compute)) for _ in range(3)]
        for done in range(1, 4):
            await readings[done - 1]
            for _ in range(10):
                await step(thread)
            assert [reading.done() for reading in readings] == [True] * done + [False] * (3 - done)
            loop.now_s += 60

    run(main)


def test_nothing_is_read_in_the_middle_of_a_step_nor_after_the_end(thread):
    async def main():
        seen = []
        async with thread.settled:
            reading = asyncio.ensure_future(thread.read(lambda: seen.append("read")))
            for number in range(5):
                await thread.run(lambda number=number: seen.append(number))
        await reading
        assert seen == [0, 1, 2, 3, 4, "read"]
        asyncio.get_running_loop().now_s += 1
        thread.close()
        with pytest.raises(NodeStopping):
            await thread.read(lambda: None)

    run(main)
