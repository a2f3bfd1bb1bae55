"""A node's events for as long as one wants them, whatever becomes of the connections.

Beside what the chains say come `subscribed` whenever a stream begins, and where events may be missing, `dropped` with
how many, or `disconnected` with why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, NamedTuple

from ledger.errors import GridmeritError
from node.api.client import Client
from node.errors import BadAnswer, RemoteFailed, SlowSubscriber, Unreachable
from node.system.tasks import Tasks

CONTROLS = ("subscribed", "dropped", "disconnected")
_PAUSES_S = (0.5, 1.0, 2.0, 5.0)  # between attempts; the last one for ever
_WAITING = 1_000  # events, beyond which the node keeps them, and says when it has kept too many


class Told(NamedTuple):
    """An event with its name under "event", and the chain that tells it."""

    chain: str
    event: dict[str, Any]


async def follow_chain(url: str, chain: str) -> AsyncIterator[dict[str, Any]]:
    """One chain's events without end. Raises only as long as no stream has begun: as `Client.events` does."""
    attempts, has_begun = 0, False
    while True:
        try:
            async with Client(url, chain) as client:
                async for event in client.events():
                    if event["event"] == "closed":
                        raise Unreachable(url=url, detail="the node stops")
                    attempts, has_begun = 0, True
                    yield event
        except SlowSubscriber as error:
            yield {"event": "dropped", "missed": error.values["missed"]}
        except (Unreachable, RemoteFailed, BadAnswer) as error:
            if not has_begun:
                raise
            if not attempts:
                yield {"event": "disconnected", "why": str(error)}
            await asyncio.sleep(_PAUSES_S[min(attempts, len(_PAUSES_S) - 1)])
            attempts += 1


async def follow(url: str, chains: Sequence[str]) -> AsyncGenerator[Told, None]:
    """The events of several chains of a node, each chain's in order. Raises as `follow_chain`."""
    queue: asyncio.Queue[Told | GridmeritError] = asyncio.Queue(_WAITING)

    async def pump(chain: str) -> None:
        try:
            async for event in follow_chain(url, chain):
                await queue.put(Told(chain, event))
        except GridmeritError as error:
            await queue.put(error)

    def on_failure(error: BaseException) -> None:
        raise error  # a bug of ours

    tasks = Tasks(on_failure)
    try:
        for chain in chains:
            tasks.start(pump(chain), name=f"events {chain}")
        while True:
            told = await queue.get()
            if isinstance(told, GridmeritError):
                raise told
            yield told
    finally:
        await tasks.stop()
