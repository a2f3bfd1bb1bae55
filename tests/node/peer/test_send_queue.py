"""Messages that wait for a peer: in order, merged where that is the same, bounded by giving up announcements first."""

import asyncio
import json
import logging
from random import Random

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from ledger.signatures import SigningKey
from node.chain.messages import (
    MAX_BATCH_BYTES,
    MAX_BATCH_MESSAGES,
    MAX_ITEMS,
    Blocks,
    Evidence,
    GetBlocks,
    GetHeaders,
    NewBlock,
    Status,
    TransactionIds,
    Transactions,
    Votes,
    message_to_bytes,
)
from node.peer.send_queue import (
    LONGEST_ENDED_PAUSE_MS,
    Outbox,
    OutQueue,
    Remote,
    _read_refusal,
    _read_step,
    _Step,
    measure,
)
from node.system.clock import now_ms
from tests.support.patience import PATIENCE_S


def ids(count, first=0):
    return tuple((first + index).to_bytes(32, "big") for index in range(count))


def status(height):
    return Status(head=bytes(32), height=height, work=bytes(40), final_height=0)


def filled(*messages, **limits):
    queue = OutQueue(**limits)
    for message in messages:
        queue.put(message)
    return queue


hashes = st.binary(min_size=32, max_size=32)
blobs = st.lists(st.binary(max_size=300), max_size=20).map(tuple)
messages = st.one_of(
    st.builds(
        Status,
        head=hashes,
        height=st.integers(0, 2**63 - 1),
        work=st.binary(min_size=40, max_size=40),
        final_height=st.integers(0, 2**63 - 1),
    ),
    st.builds(TransactionIds, ids=st.lists(hashes, max_size=300).map(tuple)),
    st.builds(GetHeaders, locator=st.lists(hashes, max_size=64).map(tuple)),
    st.builds(Blocks, raw=blobs),
    st.builds(Votes, raw=blobs),
    st.builds(NewBlock, header=st.binary(max_size=300), ids=st.lists(hashes, max_size=99).map(tuple)),
    st.builds(Evidence, kind=st.text(max_size=16), raw=st.binary(max_size=999)),
)


@given(messages)
def test_a_message_is_never_larger_than_measured(message):
    assert len(message_to_bytes(message)) <= measure(message)


def test_messages_leave_in_the_order_they_came():
    sent = [GetBlocks(ids=ids(1)), Blocks(raw=(b"a",)), GetBlocks(ids=ids(2))]
    assert filled(*sent).take() == tuple(sent)


def test_announcements_of_transactions_and_votes_are_merged():
    queue = filled(TransactionIds(ids=ids(2)), TransactionIds(ids=ids(3, 2)), Votes(raw=(b"a",)), Votes(raw=(b"b",)))
    assert queue.take() == (TransactionIds(ids=ids(5)), Votes(raw=(b"a", b"b")))
    assert queue.size_bytes == 0


def test_a_merged_message_keeps_to_the_bound_of_one():
    queue = filled(TransactionIds(ids=ids(MAX_ITEMS)), TransactionIds(ids=ids(1)))
    assert queue.take() == (TransactionIds(ids=ids(MAX_ITEMS)), TransactionIds(ids=ids(1)))


def test_only_the_latest_status_waits():
    block = Blocks(raw=(b"a",))
    assert filled(status(1), block, status(2)).take() == (block, status(2))


def test_a_batch_keeps_to_the_bounds_of_the_protocol():
    queue = filled(*[GetBlocks(ids=ids(1, number)) for number in range(MAX_BATCH_MESSAGES + 5)])
    assert [len(queue.take()), len(queue.take()), len(queue.take())] == [MAX_BATCH_MESSAGES, 5, 0]
    large = Blocks(raw=(bytes(MAX_BATCH_BYTES // 2),))
    queue = filled(large, large)
    assert [queue.take(), queue.take()] == [(large,), (large,)]


def test_a_message_that_no_peer_would_accept_is_not_sent():
    queue = filled(Transactions(raw=(bytes(MAX_BATCH_BYTES),)))
    assert (queue.take(), queue.dropped) == ((), 1)


def test_a_full_queue_gives_up_the_oldest_announcement_before_any_answer():
    answer, request = Blocks(raw=(b"a",)), GetBlocks(ids=ids(1))
    queue = filled(answer, NewBlock(header=b"1", ids=()), request, NewBlock(header=b"2", ids=()), max_messages=3)
    assert queue.take() == (answer, request, NewBlock(header=b"2", ids=()))
    queue = filled(answer, request, answer, request, max_messages=3)
    assert queue.take() == (request, answer, request)
    assert queue.dropped == 1


@given(st.lists(messages, max_size=60))
def test_a_queue_never_outgrows_its_bounds(sent):
    queue = OutQueue(max_messages=10, max_bytes=5_000)
    for message in sent:
        queue.put(message)
        assert len(queue) <= 10
        assert queue.size_bytes <= 5_000
    waiting = len(queue)
    assert len(queue.take()) == waiting
    assert queue.size_bytes == 0


class SlowResolver(AbstractResolver):
    """A name service that never answers."""

    def __init__(self):
        self.asked = asyncio.Queue()

    async def resolve(self, host, port=0, family=0):
        self.asked.put_nowait(host)
        await asyncio.Event().wait()

    async def close(self):
        """Nothing is open."""


async def test_a_session_that_is_closed_while_a_host_is_looked_up_ends_no_outbox():
    """As when certificates are reloaded: a peer that is named by a host name must be tried again afterwards."""
    resolver, sessions = SlowResolver(), []

    def get_session():
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)))
        return sessions[0]

    outbox = Outbox(
        Remote(name="n1", key=SigningKey(b"\x02" * 32).public_key, url="http://node.example:9100"),
        key=SigningKey(b"\x01" * 32),
        chain_id=bytes(32),
        session=get_session,
        queue=OutQueue(),
        clock=now_ms,
        may_talk=lambda: True,
        on_connected=lambda: None,
        on_lost=lambda: None,
        jitter=Random(1),
        log=logging.getLogger("outbox"),
    )
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(outbox.run())
        for _ in range(3):
            assert await resolver.asked.get() == "node.example"
            await sessions.pop().close()
        task.cancel()
    assert task.cancelled(), "it ends when it is told to"
    for session in sessions:
        await session.close()


def test_a_receiver_says_how_a_sender_goes_on():
    text = b'{"error":"OutOfStep","message":"","values":{"number":1,"last":7,"session":"' + b"0a" * 16 + b'"}}'
    assert _read_step(text) == _Step(session=b"\x0a" * 16, number=7)


@pytest.mark.parametrize("session", ["", "0a", "0a" * 17, "zz" * 16, 7, None])
def test_a_session_that_is_none_is_not_taken_up(session):
    assert _read_step(json.dumps({"values": {"session": session, "last": 7}}).encode()) is None


@pytest.mark.parametrize("last", [-1, 2**63, 1.5, "7", True, None, [7]])
def test_a_number_that_is_none_is_not_taken_up(last):
    assert _read_step(json.dumps({"values": {"session": "0a" * 16, "last": last}}).encode()) is None


@given(st.binary(max_size=100))
def test_whatever_else_a_receiver_says_is_no_step(text):
    assert _read_step(text) is None
    assert all(isinstance(part, str) for part in _read_refusal(text))


@pytest.mark.parametrize("text", [b"[" * 4_096, b'{"values":' * 400])
def test_an_answer_nested_without_end_is_one_that_says_nothing(text):
    assert _read_step(text) is None
    assert all(isinstance(part, str) for part in _read_refusal(text))


# --- a peer that refuses --------------------------------------------------------------------------


class Refused(Outbox):
    """An outbox that notes how long it would wait, and where it looks next, and waits for ever after so many times."""

    def __init__(self, url, session, *, tries, may_talk=True):
        super().__init__(
            Remote(name="n1", key=SigningKey(b"\x02" * 32).public_key, url=url),
            key=SigningKey(b"\x01" * 32),
            chain_id=bytes(32),
            session=lambda: session,
            queue=OutQueue(),
            clock=now_ms,
            may_talk=lambda: may_talk,
            on_connected=lambda: None,
            on_lost=lambda: None,
            jitter=Always(),
            log=logging.getLogger("outbox"),
        )
        self.pauses_ms, self.next_urls = [], []
        self.tries = tries
        self.is_done = asyncio.Event()

    async def _pause(self, duration_ms):
        self.pauses_ms.append(duration_ms)
        self.next_urls.append(self._urls[0])
        if len(self.pauses_ms) == self.tries:
            self.is_done.set()
            await asyncio.Event().wait()

    async def run_till_done(self):
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.run())
            await self.is_done.wait()
            task.cancel()


class Always(Random):
    """No jitter."""

    def uniform(self, _a, b):
        return b


async def ask_one_that_refuses(error, *, tries):
    """An outbox after so many tries at a server that gives this answer."""

    async def answer(_request):
        return web.json_response({"error": error, "message": f"{error}, they say"}, status=403)

    app = web.Application()
    app.router.add_post("/p2p/{chain}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        outbox = Refused(str(server.make_url("")).rstrip("/"), session, tries=tries)
        await outbox.run_till_done()
    return outbox


async def test_whoever_is_told_that_its_membership_has_ended_asks_ever_more_rarely():
    outbox = await ask_one_that_refuses("MembershipEnded", tries=16)
    assert outbox.pauses_ms[:9] == [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800]
    assert outbox.pauses_ms[-3:] == [LONGEST_ENDED_PAUSE_MS] * 3 == [300_000] * 3
    assert outbox.refusal == ("MembershipEnded", "MembershipEnded, they say")
    assert outbox.refusal.is_ending


async def test_whoever_is_no_member_yet_goes_on_asking():
    outbox = await ask_one_that_refuses("NotActive", tries=10)
    assert outbox.pauses_ms[-4:] == [2_000] * 4
    assert not outbox.refusal.is_ending


async def test_a_peer_is_looked_for_in_turns_where_it_was_to_be_and_where_it_says_that_it_is():
    one, two, three = "https://one:1", "https://two:2", "https://three:3"
    outbox = Refused(one, None, tries=3, may_talk=False)  # so every try fails
    outbox.look_also_at(one)
    assert list(outbox._urls) == [one]
    outbox.look_also_at(two)
    outbox.look_also_at(two)
    assert list(outbox._urls) == [two, one]
    await outbox.run_till_done()
    assert outbox.next_urls == [one, two, one]
    outbox.look_also_at(three)
    assert list(outbox._urls) == [three, one], "its last word, and that of this node's owner"


# --- a peer that has started anew ----------------------------------------------------------------


async def reach_one_that_starts_anew(*, is_there):
    """An outbox with nothing to send, whose peer says that it has started anew; and the batches that came to it."""
    posts = asyncio.Queue()

    async def answer(_request):
        posts.put_nowait("a batch")
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/p2p/{chain}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
        outbox, is_reached = Refused(str(server.make_url("")).rstrip("/"), session, tries=1), asyncio.Event()
        outbox._on_connected = is_reached.set
        outbox.on_anew()  # which says nothing while the peer is not reached
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(outbox.run())
            await is_reached.wait()
            await posts.get()
            if not is_there:
                await server.close()
            outbox.on_anew()
            await (posts.get() if is_there else outbox.is_done.wait())
            task.cancel()
    return outbox, posts


async def test_one_that_has_gone_is_missed_before_there_is_anything_to_send():
    outbox, _ = await reach_one_that_starts_anew(is_there=False)
    assert not outbox.is_connected


async def test_one_that_is_still_there_is_asked_once_and_stays_connected():
    outbox, posts = await reach_one_that_starts_anew(is_there=True)
    assert outbox.is_connected, "as where two run under one key"
    assert posts.empty()
