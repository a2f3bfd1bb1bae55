"""The thread of one chain: its node is stepped, read and written to disk there, one call at a time.

The event loop only waits for it, so that a block's execution stops neither other chains nor sockets and timers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from node.errors import NodeStopping
from node.system.clock import CpuMeter

T = TypeVar("T")
_NS_PER_S = 1_000_000_000


class ChainThread:
    """Calls in their order. `settled` is held from a step to the end of its actions, and during a reading."""

    def __init__(self, name: str) -> None:
        self.settled = asyncio.Lock()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"chain-{name}")
        self._reading = asyncio.Lock()
        self._readable_s = 0.0  # the loop's time before which nothing is read
        self._is_closed = False

    async def run(self, call: Callable[[], T]) -> T:
        """Make a call in the thread, and return or raise as it does; the caller holds `settled`."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def read(self, question: Callable[[], T]) -> T:
        """Ask the node between two steps, and return as `question` does. Raises as it does, or `NodeStopping`.

        Readers take turns, and each has the next one wait for as long as it has itself kept the thread:
        at least half of the time is the chain's.
        """
        loop, meter = asyncio.get_running_loop(), CpuMeter()
        async with self._reading:
            await asyncio.sleep(self._readable_s - loop.time())
            try:
                async with self.settled:
                    if self._is_closed:
                        raise NodeStopping
                    return await self.run(lambda: meter.run(question))
            finally:
                self._readable_s = loop.time() + meter.spent_ns / _NS_PER_S

    def close(self) -> None:
        """Finish the call at work and take no further one."""
        self._is_closed = True
        self._executor.shutdown()
