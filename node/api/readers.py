"""The share of the chains' time that each client of the API may take: one question in progress, and a share of the CPU.

So a client that asks dear questions again and again keeps none waiting but itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from node.chain.node import ChainNode
from node.chain.rates import Accounts, TokenBucket
from node.errors import RateLimited
from node.system.clock import CpuMeter

T = TypeVar("T")
SHARE_MS_PER_S = 500  # of a chain's thread, for one client
BURST_MS = 5_000
_MAX_CLIENTS = 4_096  # with remembered spending


class Asked(Protocol):
    """A chain that answers questions."""

    async def ask(self, question: Callable[[ChainNode], T]) -> T: ...


@dataclass(slots=True)
class _Reader:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    allowance_us: TokenBucket = field(default_factory=lambda: TokenBucket(BURST_MS * 1_000, SHARE_MS_PER_S * 1_000))


class Readers:
    """All clients by address; those heard of longest ago are forgotten first."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._readers: Accounts[str, _Reader] = Accounts(_Reader, limit=_MAX_CLIENTS)

    async def ask(self, client: str, chain: Asked, question: Callable[[ChainNode], T]) -> T:
        """A chain's answer to a client, in the client's turn. Raises as the question does, or `RateLimited`."""
        reader, meter = self._readers.find(client), CpuMeter()
        async with reader.turn:
            if reader.allowance_us.is_empty(self._clock()):
                raise RateLimited(what="milliseconds of work", limit=SHARE_MS_PER_S)
            try:
                return await chain.ask(lambda node: meter.run(lambda: question(node)))
            finally:
                reader.allowance_us.spend(meter.spent_ns // 1_000, self._clock())
