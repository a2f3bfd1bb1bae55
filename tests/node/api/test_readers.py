"""A client of the API has one question in progress, a share of the CPU, and nobody else waits for what it took."""

import asyncio
import time

import pytest

from node.api import readers as module
from node.api.readers import SHARE_MS_PER_S, Readers
from node.errors import RateLimited

BURST_MS = 20
LONG_AFTER_MS = 60_000


class Chain:
    """It answers where it is asked, once it is let."""

    def __init__(self):
        self.let = asyncio.Event()
        self.let.set()
        self.asked = []

    async def ask(self, question):
        answer = question(self)
        self.asked.append(answer)
        await self.let.wait()
        return answer


class Clock:
    def __init__(self):
        self.now_ms = 0

    def __call__(self):
        return self.now_ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def readers(clock, monkeypatch):
    monkeypatch.setattr(module, "BURST_MS", BURST_MS)
    return Readers(clock)


def compute(ms):
    """A question that takes so much CPU time."""

    def ask(chain):
        end_ns = time.thread_time_ns() + ms * 1_000_000
        while time.thread_time_ns() < end_ns:
            pass
        return ms

    return ask


def plain(chain):
    return "plain"


async def test_who_has_had_its_share_is_refused_until_it_is_paid_off_and_others_are_not(readers, clock):
    chain = Chain()
    assert await readers.ask("a", chain, compute(3 * BURST_MS)) == 3 * BURST_MS, "nobody knows beforehand"
    with pytest.raises(RateLimited) as caught:
        await readers.ask("a", chain, plain)
    assert caught.value.values == {"what": "milliseconds of work", "limit": SHARE_MS_PER_S}
    clock.now_ms += 2 * BURST_MS * 1_000 // SHARE_MS_PER_S
    with pytest.raises(RateLimited):
        await readers.ask("a", chain, plain)
    assert await readers.ask("b", chain, plain) == "plain"
    clock.now_ms += LONG_AFTER_MS
    assert await readers.ask("a", chain, plain) == "plain"
    assert chain.asked == [3 * BURST_MS, "plain", "plain"], "who is refused costs nothing"


async def test_a_question_that_fails_is_paid_for_too(readers):
    def fail(chain):
        compute(2 * BURST_MS)(chain)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - its own
        await readers.ask("a", Chain(), fail)
    with pytest.raises(RateLimited):
        await readers.ask("a", Chain(), plain)


async def test_what_is_not_used_is_not_saved_up(readers, clock):
    chain = Chain()
    await readers.ask("a", chain, plain)
    clock.now_ms += LONG_AFTER_MS
    await readers.ask("a", chain, compute(BURST_MS + 1))
    with pytest.raises(RateLimited):
        await readers.ask("a", chain, plain)


async def test_a_client_has_one_question_in_progress_whatever_the_chain(readers):
    first, second = Chain(), Chain()
    first.let.clear()
    asking = asyncio.ensure_future(readers.ask("a", first, plain))
    waiting = asyncio.ensure_future(readers.ask("a", second, plain))
    for _ in range(5):
        await asyncio.sleep(0)
    assert await readers.ask("b", second, lambda chain: "b") == "b"
    assert (first.asked, second.asked) == (["plain"], ["b"])
    first.let.set()
    assert [await asking, await waiting] == ["plain", "plain"]
