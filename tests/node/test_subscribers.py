"""Every subscriber hears every event in order, or is told that it did not keep up."""

import asyncio

import pytest

from ledger.errors import SlowSubscriber, TooManySubscribers
from node.subscribers import Subscribers


@pytest.fixture
def subscribers():
    return Subscribers(max_subscribers=2, max_waiting=3)


async def read(subscription, count):
    async with asyncio.timeout(30):
        return [await anext(subscription) for _ in range(count)]


async def test_all_hear_all_in_order(subscribers):
    async with subscribers.add() as first, subscribers.add() as second:
        subscribers.publish(("head", 1))
        subscribers.publish(("head", 2))
        assert await read(first, 2) == await read(second, 2) == [("head", 1), ("head", 2)]


async def test_a_waiting_subscriber_is_woken(subscribers):
    async with subscribers.add() as subscription:
        reading = asyncio.ensure_future(read(subscription, 1))
        await asyncio.sleep(0)
        subscribers.publish(("head", 1))
        assert await reading == [("head", 1)]


async def test_a_slow_one_is_dropped_after_what_still_fitted_and_the_other_goes_on(subscribers):
    async with subscribers.add() as slow, subscribers.add() as quick:
        heard = []
        for height in range(5):
            subscribers.publish(("head", height))
            heard += await read(quick, 1)
        assert await read(slow, 3) == [("head", 0), ("head", 1), ("head", 2)]
        with pytest.raises(SlowSubscriber):
            await anext(slow)
        assert heard == [("head", height) for height in range(5)]


async def test_the_number_is_bounded_and_a_place_is_given_again(subscribers):
    async with subscribers.add():
        async with subscribers.add():
            with pytest.raises(TooManySubscribers):
                subscribers.add()
        async with subscribers.add():
            pass


async def test_the_end_is_told_after_the_last_event(subscribers):
    async with subscribers.add() as subscription:
        subscribers.publish(("head", 1))
        subscribers.close()
        assert [event async for event in subscription] == [("head", 1)]
