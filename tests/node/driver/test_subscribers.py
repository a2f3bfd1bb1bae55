"""Every reader gets every event in order, encoded once for all, or is told how many it has missed."""

import asyncio
import json

import pytest

from node.driver import subscribers as module
from node.driver.subscribers import Subscribers
from node.errors import SlowSubscriber, TooManySubscribers
from tests.support.patience import PATIENCE_S

LINE_BYTES = len(b'{"event":"tick","values":[0]}\n')


@pytest.fixture
def subscribers():
    """For two readers, with a backlog of three lines."""
    return Subscribers(max_subscribers=2, max_bytes=3 * LINE_BYTES)


def publish(subscribers, *numbers):
    for number in numbers:
        subscribers.publish(("tick", number))


async def read(subscription):
    async with asyncio.timeout(PATIENCE_S):
        return [json.loads(line)["values"][0] for line in (await subscription.take()).splitlines()]


async def test_all_hear_all_in_order(subscribers):
    async with subscribers.add() as first, subscribers.add() as second:
        publish(subscribers, 1, 2)
        assert await read(first) == await read(second) == [1, 2]


async def test_a_waiting_reader_is_woken(subscribers):
    async with subscribers.add() as subscription:
        reading = asyncio.ensure_future(read(subscription))
        await asyncio.sleep(0)
        publish(subscribers, 1)
        assert await reading == [1]


async def test_an_event_is_encoded_once_for_all_and_for_nobody_not_at_all(subscribers, monkeypatch):
    described = []

    def describe(event, _market):
        described.append(event)
        return {"event": event[0], "values": list(event[1:])}

    monkeypatch.setattr(module, "describe_event", describe)
    publish(subscribers, 1)
    assert described == []
    async with subscribers.add() as first, subscribers.add() as second:
        publish(subscribers, 2)
        assert await read(first) == await read(second) == [2]
    assert described == [("tick", 2)]


async def test_a_slow_one_is_told_what_it_missed_and_the_other_goes_on(subscribers):
    async with subscribers.add() as slow, subscribers.add() as quick:
        heard = []
        for number in range(5):
            publish(subscribers, number)
            heard += await read(quick)
        with pytest.raises(SlowSubscriber) as caught:
            await slow.take()
        assert caught.value.values == {"missed": 5}
        assert heard == [0, 1, 2, 3, 4]


async def test_one_that_lags_within_the_backlog_misses_nothing(subscribers):
    async with subscribers.add() as subscription:
        for start in range(0, 9, 3):
            publish(subscribers, start, start + 1, start + 2)
            assert await read(subscription) == [start, start + 1, start + 2]


async def test_what_is_kept_is_bounded_whatever_comes_and_however_many_read(subscribers):
    async with subscribers.add(), subscribers.add():
        for number in range(100):
            publish(subscribers, number % 10)
            assert sum(map(len, subscribers.read(subscribers.oldest))) <= 3 * LINE_BYTES
        subscribers.publish(("tick", "x" * 1_000))
        assert subscribers.oldest == subscribers.published
    assert subscribers.oldest == subscribers.published, "nobody reads any more"


async def test_a_reader_gets_a_bounded_piece_at_a_time():
    subscribers = Subscribers(max_subscribers=1, max_bytes=10_000_000)
    async with subscribers.add() as subscription:
        for number in range(3_000):
            subscribers.publish(("tick", number, "x" * 100))
        pieces = []
        while len(b"".join(pieces).splitlines()) < 3_000:
            pieces.append(await subscription.take())
        assert max(map(len, pieces)) <= 65_536
        assert [json.loads(line)["values"][0] for line in b"".join(pieces).splitlines()] == list(range(3_000))


async def test_the_number_is_bounded_and_a_place_is_given_again(subscribers):
    async with subscribers.add():
        async with subscribers.add():
            with pytest.raises(TooManySubscribers):
                subscribers.add()
        async with subscribers.add():
            pass


async def test_one_that_has_fallen_behind_makes_room_for_another(subscribers):
    async with subscribers.add() as slow, subscribers.add() as quick:
        for number in range(5):
            publish(subscribers, number)
            await read(quick)
        async with subscribers.add() as later:
            publish(subscribers, 5)
            assert await read(later) == await read(quick) == [5]
            with pytest.raises(SlowSubscriber) as caught:
                await slow.take()
            assert caught.value.values == {"missed": 6}


async def test_the_end_is_told_after_the_last_event(subscribers):
    async with subscribers.add() as subscription, subscribers.add() as idle:
        waiting = asyncio.ensure_future(idle.take())
        await asyncio.sleep(0)
        publish(subscribers, 1)
        subscribers.close()
        assert await read(subscription) == [1]
        assert await subscription.take() == b""
        assert json.loads(await waiting)["event"] == "tick"
        assert await idle.take() == b""
