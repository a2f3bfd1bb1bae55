"""What waits for a peer: in order, merged where that says the same, bounded by giving up announcements first."""

import asyncio
import json
import logging
from random import Random

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from hypothesis import given
from hypothesis import strategies as st

from ledger.signatures import SigningKey
from node.clock import now_ms
from node.messages import (
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
from node.outbox import Outbox, OutQueue, Remote, _read_refusal, _read_step, _Step, measure


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
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
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
