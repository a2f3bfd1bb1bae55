"""Who listens to a chain's events: each has a bounded queue, and one that does not keep up is dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from ledger.errors import SlowSubscriber, TooManySubscribers
from ledger.overlay import Event as ChainEvent


class Subscription:
    """`async with host.subscribe() as events: async for event in events: …`.

    Ends when the node stops; raises `SlowSubscriber` after the last event that still fitted.
    """

    def __init__(self, owner: Subscribers, limit: int) -> None:
        self._owner = owner
        self._limit = limit
        self._waiting: deque[ChainEvent] = deque()
        self._ready = asyncio.Event()
        self._is_slow = False
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner.remove(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChainEvent:
        while not self._waiting:
            if self._is_slow:
                raise SlowSubscriber(limit=self._limit)
            if self._is_closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._waiting.popleft()

    def offer(self, event: ChainEvent) -> None:
        if len(self._waiting) >= self._limit:
            self._is_slow = True
            self._owner.remove(self)
            return
        self._waiting.append(event)
        self._ready.set()

    def close(self) -> None:
        self._is_closed = True
        self._ready.set()


class Subscribers:
    """The subscriptions to one chain."""

    def __init__(self, *, max_subscribers: int, max_waiting: int) -> None:
        self._max_subscribers = max_subscribers
        self._max_waiting = max_waiting
        self._all: dict[Subscription, None] = {}

    def add(self) -> Subscription:
        """Raises `TooManySubscribers`."""
        if len(self._all) >= self._max_subscribers:
            raise TooManySubscribers(limit=self._max_subscribers)
        subscription = Subscription(self, self._max_waiting)
        self._all[subscription] = None
        return subscription

    def remove(self, subscription: Subscription) -> None:
        self._all.pop(subscription, None)

    def publish(self, event: ChainEvent) -> None:
        for subscription in list(self._all):
            subscription.offer(event)

    def close(self) -> None:
        for subscription in list(self._all):
            subscription.close()
        self._all.clear()
