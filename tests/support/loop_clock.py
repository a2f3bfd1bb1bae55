"""A clock for what must happen in time in a loop that the test shares, on however busy a machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TICK_S = 0.02


class LoopClock:
    """Seconds in which the loop had its turn: fewer than have passed where it was kept waiting, never more."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.elapsed_s += TICK_S


@asynccontextmanager
async def running_clock() -> AsyncIterator[LoopClock]:
    """A clock for as long as this lasts."""
    clock = LoopClock()
    ticking = asyncio.ensure_future(clock.run())
    try:
        yield clock
    finally:
        ticking.cancel()
