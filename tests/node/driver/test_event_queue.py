"""The queue for a chain's step: bounded per side, and every side gets its turn."""

import asyncio

import pytest

from ledger.outbox import MAX_PARTS
from ledger.signatures import SigningKey
from ledger.transaction import make_transaction
from node.chain.events import MessageReceived, RelayOffered, SealFound, TransactionsSubmitted
from node.chain.messages import GetHeaders
from node.driver.event_queue import (
    MAX_GROUP,
    MAX_OWN_RELAYS,
    MAX_PEER_BATCHES,
    MAX_PEER_BYTES,
    MAX_WAITING_RELAYS,
    MAX_WAITING_TRANSACTIONS,
    Inbox,
    Submission,
)
from node.errors import InboxFull
from tests.support.patience import PATIENCE_S

A, B = b"a" * 32, b"b" * 32
TRANSACTION = make_transaction(
    SigningKey(bytes(32)), chain_id=bytes(32), sequence=0, expiry_height=1, kind="transfer", payload=()
)


def say(text):
    return GetHeaders(locator=(text.encode().ljust(32),))


@pytest.fixture
def inbox():
    return Inbox()


def submission(count):
    return Submission(transactions=(TRANSACTION,) * count, outcomes=asyncio.get_running_loop().create_future())


async def take(inbox, count=1):
    async with asyncio.timeout(PATIENCE_S):
        return [await inbox.take() for _ in range(count)]


async def test_peers_take_turns_message_by_message(inbox):
    inbox.put_batch(A, (say("a1"), say("a2"), say("a3")), 100)
    inbox.put_batch(B, (say("b1"),), 100)
    events = [event for event, _ in await take(inbox, 4)]
    assert events == [
        MessageReceived(peer=peer, message=say(text)) for peer, text in ((A, "a1"), (B, "b1"), (A, "a2"), (A, "a3"))
    ]


async def test_peers_share_the_time_that_their_messages_take_and_not_their_number(inbox):
    inbox.put_batch(A, tuple(say(f"a{number}") for number in range(10)), 100)
    inbox.put_batch(B, tuple(say(f"b{number}") for number in range(100)), 100)
    taken = []
    for _ in range(40):
        ((event, _),) = await take(inbox)
        inbox.charge(event.peer, 9_000 if event.peer == A else 1_000)
        taken.append(event.peer)
    assert taken.count(A) == 4, "a tenth of the messages, at nine times the time each"


async def test_whoever_was_silent_has_saved_no_time_up(inbox):
    inbox.put_batch(A, (say("a"),) * 100, 100)
    for _ in range(50):
        await take(inbox)
        inbox.charge(A, 1_000)
    inbox.put_batch(B, (say("b"),) * 100, 100)
    taken = []
    for _ in range(20):
        ((event, _),) = await take(inbox)
        inbox.charge(event.peer, 1_000)
        taken.append(event.peer)
    assert 9 <= taken.count(A) <= 11


async def test_what_was_taken_and_not_handled_comes_first_the_next_time(inbox):
    inbox.put_batch(A, tuple(say(f"a{number}") for number in range(4)), 100)
    inbox.put_batch(B, (say("b"),), 100)
    ((first, _),) = await take(inbox)
    more = inbox.take_messages(3)
    inbox.put_back(more[1:])
    again = inbox.take_messages(9)
    assert [event.message for event in (first, more[0], *again)] == [
        say(text) for text in ("a0", "b", "a1", "a2", "a3")
    ]
    inbox.put_back(again)
    inbox.drop_peer(A)
    assert inbox.take_messages(9) == []


async def test_what_has_been_charged_is_forgotten_when_nobody_waits(inbox):
    for number in range(1_000):
        inbox.put_batch(number.to_bytes(32, "big"), (say("once"),), 100)
        await take(inbox)
        inbox.charge(number.to_bytes(32, "big"), 10)
    assert not inbox._had_us


async def test_events_clients_and_peers_take_turns(inbox):
    for number in range(3):
        inbox.put_event(SealFound(job=number, nonce=0))
        inbox.put_submission(submission(MAX_GROUP))
        inbox.put_batch(A, (say("a"),), 100)
    kinds = [type(event) for event, _ in await take(inbox, 9)]
    assert all(set(kinds[start : start + 3]) == set(kinds[:3]) for start in (0, 3, 6))
    assert len(set(kinds)) == 3


async def test_small_submissions_share_a_step_and_large_ones_do_not(inbox):
    sizes = [3, 4, MAX_GROUP - 7, 1, MAX_GROUP + 1]
    sent = [submission(size) for size in sizes]
    for item in sent:
        inbox.put_submission(item)
    groups = [(len(event.transactions), group) for event, group in await take(inbox, 3)]
    assert groups == [(MAX_GROUP, sent[:3]), (1, sent[3:4]), (MAX_GROUP + 1, sent[4:])]


async def test_a_submission_of_nothing_is_answered_too(inbox):
    empty = submission(0)
    inbox.put_submission(empty)
    assert await take(inbox) == [(TransactionsSubmitted(transactions=()), [empty])]


async def test_waiting_transactions_are_bounded(inbox):
    for _ in range(MAX_WAITING_TRANSACTIONS // MAX_GROUP):
        inbox.put_submission(submission(MAX_GROUP))
    with pytest.raises(InboxFull):
        inbox.put_submission(submission(1))
    await take(inbox)
    inbox.put_submission(submission(1))


async def test_what_waits_from_one_peer_is_bounded_and_leaves_room_for_others(inbox):
    for _ in range(MAX_PEER_BATCHES):
        inbox.put_batch(A, (say("a"),), 100)
    with pytest.raises(InboxFull):
        inbox.put_batch(A, (say("a"),), 100)
    inbox.put_batch(B, (say("b"),), MAX_PEER_BYTES)
    with pytest.raises(InboxFull):
        inbox.put_batch(B, (say("b"),), 1)
    await take(inbox)
    inbox.put_batch(A, (say("a"),), 100)


async def test_what_a_banned_peer_said_is_dropped(inbox):
    inbox.put_batch(A, (say("a"),), 100)
    inbox.put_batch(B, (say("b"),), 100)
    inbox.drop_peer(A)
    assert await take(inbox) == [(MessageReceived(peer=B, message=say("b")), [])]


async def test_whoever_waits_is_woken(inbox):
    taking = asyncio.ensure_future(take(inbox))
    await asyncio.sleep(0)
    inbox.put_event(SealFound(job=1, nonce=2))
    assert await taking == [(SealFound(job=1, nonce=2), [])]


async def test_closing_hands_back_the_submissions_that_nobody_will_answer(inbox):
    left = submission(1)
    inbox.put_submission(left)
    assert inbox.close() == [left]


async def test_relays_wait_once_each_and_not_without_end(inbox):
    for number in range(MAX_WAITING_RELAYS):
        inbox.put_relay(b"%d" % number)
    inbox.put_relay(b"0")  # waits already
    with pytest.raises(InboxFull, match=f"{MAX_WAITING_RELAYS} relays wait"):
        inbox.put_relay(b"another")
    inbox.put_event(SealFound(job=1, nonce=0))
    events = [event for event, _ in await take(inbox, MAX_WAITING_RELAYS + 1)]
    assert SealFound(job=1, nonce=0) in events[:2], "relays hold nothing else up"
    relays = [event for event in events if isinstance(event, RelayOffered)]
    assert relays == [RelayOffered(raw=b"%d" % number) for number in range(MAX_WAITING_RELAYS)]
    inbox.put_relay(b"another")


async def test_relays_of_this_node_and_of_anybody_do_not_crowd_each_other_out(inbox):
    for number in range(MAX_WAITING_RELAYS):
        inbox.put_relay(b"anybody's %d" % number)
    for number in range(MAX_OWN_RELAYS):
        inbox.put_relay(b"own %d" % number, name(number))
    inbox.put_relay(b"own 0, proved again", name(0))  # waits already
    with pytest.raises(InboxFull, match=f"{MAX_OWN_RELAYS} relays wait"):
        inbox.put_relay(b"another", name(MAX_OWN_RELAYS))
    first = {event.raw for event, _ in await take(inbox, 4)}
    assert first == {b"anybody's 0", b"anybody's 1", b"own 0, proved again", b"own 1"}, "both get their turn"
    inbox.put_relay(b"another", name(MAX_OWN_RELAYS))


def name(number):
    return bytes(32), "quota", number, 0


def test_the_largest_message_of_another_chain_waits_whole():
    assert MAX_OWN_RELAYS >= MAX_PARTS
