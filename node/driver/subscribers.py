"""The readers of a chain's events: one backlog of encoded lines for all of them, and a place in it for each.

An event is encoded once, and not at all without a listener. The backlog is bounded in bytes, however many read it and
however slowly; a reader that falls behind its oldest line is told how much it has missed.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from ledger.overlay import Event as ChainEvent
from ledger.params import MarketParams
from node.errors import SlowSubscriber, TooManySubscribers
from node.queries.answers import to_json
from node.queries.chain import describe_event

_CHUNK_BYTES = 65_536


class Subscription:
    """One reader: `async with host.subscribe() as events: while lines := await events.take(): …`."""

    def __init__(self, owner: Subscribers, number: int) -> None:
        self._owner = owner
        self._next = number

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner.remove(self)

    async def take(self) -> bytes:
        """The lines that have come since, some 64 kB of them at most; none once the node stops.

        Raises `SlowSubscriber` where lines that were not taken have made room for others.
        """
        while not (self.is_behind or (lines := self._owner.read(self._next))):
            if self._owner.is_closed:
                return b""
            await self._owner.wait()
        if self.is_behind:
            raise SlowSubscriber(missed=self._owner.published - self._next)
        self._next += len(lines)
        return b"".join(lines)

    @property
    def is_behind(self) -> bool:
        """True once the next line for this reader is gone."""
        return self._next < self._owner.oldest


class Subscribers:
    """The subscriptions to one chain; of one that trades, `market` says how often it trades a period."""

    def __init__(self, *, max_subscribers: int, max_bytes: int, market: MarketParams | None = None) -> None:
        self._market = market
        self._max_subscribers = max_subscribers
        self._max_bytes = max_bytes
        self._all: dict[Subscription, None] = {}
        self._lines: dict[int, bytes] = {}  # by number, ascending and without gaps, up to the last one published
        self._size_bytes = 0
        self._news = asyncio.Event()
        self.published = 0  # events so far, with or without a listener
        self.is_closed = False

    @property
    def oldest(self) -> int:
        """The number of the oldest line that is kept; where none is, of the next one to come."""
        return self.published - len(self._lines)

    def add(self) -> Subscription:
        """A reader from now on; one that has fallen behind makes room for it. Raises `TooManySubscribers`."""
        if len(self._all) >= self._max_subscribers:
            behind = next((one for one in self._all if one.is_behind), None)
            if behind is None:
                raise TooManySubscribers(limit=self._max_subscribers)
            self.remove(behind)
        subscription = Subscription(self, self.published)
        self._all[subscription] = None
        return subscription

    def remove(self, subscription: Subscription) -> None:
        self._all.pop(subscription, None)
        if not self._all:
            self._lines.clear()
            self._size_bytes = 0

    def publish(self, event: ChainEvent) -> None:
        if self._all:
            line = to_json(describe_event(event, self._market)) + b"\n"
            self._lines[self.published] = line
            self._size_bytes += len(line)
        self.published += 1
        while self._size_bytes > self._max_bytes:
            self._size_bytes -= len(self._lines.pop(self.oldest))
        self._news.set()
        self._news.clear()

    def read(self, number: int) -> list[bytes]:
        """Lines from that number on, in all no larger than a chunk or a single line."""
        found: list[bytes] = []
        room = _CHUNK_BYTES
        while (line := self._lines.get(number + len(found))) is not None and (not found or len(line) <= room):
            found.append(line)
            room -= len(line)
        return found

    async def wait(self) -> None:
        """Return once there may be more to read, or the end has come."""
        await self._news.wait()

    def close(self) -> None:
        """Tell every reader, once it has read what is there, that there is no more to come."""
        self.is_closed = True
        self._news.set()
