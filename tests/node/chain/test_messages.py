"""Messages and signed batches: every kind survives the wire, and nothing else gets through."""

from contextlib import suppress
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import UnknownMessage
from ledger.codec import decode, encode
from ledger.errors import GridmeritError, InvalidSignature, NonCanonical, TooLarge, WrongShape
from ledger.signatures import signing_digest
from node.chain import messages as wire
from node.errors import NotForUs, OutOfStep
from simulation.world.networks import key_of

HASH = bytes(range(32))
SESSION, OTHER_SESSION = b"s" * wire.SESSION_BYTES, b"o" * wire.SESSION_BYTES
CHAIN = bytes(32)
ALICE, BOB = key_of("alice"), key_of("bob")
EVERY_KIND = (
    wire.Status(head=HASH, height=7, work=bytes(40), final_height=3),
    wire.TransactionIds(ids=(HASH, HASH)),
    wire.GetTransactions(ids=(HASH,)),
    wire.Transactions(raw=(b"one", b"two")),
    wire.NewBlock(header=b"header", ids=()),
    wire.GetHeaders(locator=(HASH,)),
    wire.Headers(raw=(b"header",)),
    wire.GetBlocks(ids=(HASH,)),
    wire.Blocks(raw=(b"block",)),
    wire.Votes(raw=(b"vote",)),
    wire.Certificate(raw=b"certificate"),
    wire.Evidence(kind="equivocation", raw=b"evidence"),
    wire.Relay(raw=b"relay"),
    wire.Agreement(raw=b"agreement"),
    wire.Contacts(raw=(b"contact",)),
    wire.GetSigned(),
    wire.Signed(head=bytes(32), work=bytes(40), final_height=3, raw=(b"ballot",)),
    wire.TradeResult(results=b"results", raw=(b"vote", b"vote")),
    wire.GetTradeRecords(period=7, indexes=(0, 3)),
    wire.TradeRecords(period=7, certificate=b"one", results=b"two", records=((b"leaf", (HASH, HASH)), (b"", ()))),
    wire.GetSnapshot(known=2),
    wire.Snapshot(headers=(b"one", b"two"), certificate=b"it", work=bytes(40), handovers=(b"handover",)),
    wire.GetChunk(block_hash=HASH, depth=3, path=b"\xa0" + bytes(31)),
    wire.Chunk(block_hash=HASH, raw=b"chunk"),
    wire.GetAncestors(block_hash=HASH),
    wire.Ancestors(raw=(b"header",)),
    wire.GetBodies(block_hash=HASH),
    wire.Bodies(raw=(b"block", b"codes")),
)


def seal(messages=EVERY_KIND, *, key=ALICE, receiver=BOB, session=SESSION, number=1, chain_id=CHAIN):
    return wire.seal_batch(
        key,
        chain_id=chain_id,
        receiver=receiver.public_key,
        session=session,
        number=number,
        sent_ms=1_700_000_000_000,
        messages=tuple(messages),
    )


def seal_body(body):
    """A batch that is well signed, whatever it says."""
    signed = (ALICE.public_key, BOB.public_key, SESSION, (1).to_bytes(8, "big"), bytes(8), body)
    return encode((*signed, ALICE.sign(signing_digest("batch", CHAIN, encode(signed)))))


def open_(raw, *, receiver=BOB, chain_id=CHAIN, session=SESSION, last=0):
    return wire.open_batch(
        raw, chain_id=chain_id, receiver=receiver.public_key, session=session, last_number=lambda sender: last
    )


def test_every_kind_survives_the_wire():
    assert {message.code for message in EVERY_KIND} == set(wire._READERS)
    batch = open_(seal())
    assert batch.messages == EVERY_KIND
    assert (batch.sender, batch.number, batch.sent_ms) == (ALICE.public_key, 1, 1_700_000_000_000)


def test_a_batch_is_for_one_receiver_on_one_chain_once():
    raw = seal(number=5)
    with pytest.raises(NotForUs):
        open_(raw, receiver=ALICE)
    with pytest.raises(InvalidSignature):
        open_(raw, chain_id=bytes([1]) * 32)
    for last in (5, 6, 2**62):
        with pytest.raises(OutOfStep) as caught:
            open_(raw, last=last)
        assert caught.value.values == {"number": 5, "last": last, "session": SESSION.hex()}
    assert open_(raw, last=0).number == 5, "what was lost on its way leaves a gap"


def test_a_batch_is_good_in_the_session_it_was_sealed_for_and_in_no_other():
    with pytest.raises(OutOfStep) as caught:
        open_(seal(session=OTHER_SESSION, number=9), last=3)
    assert caught.value.values == {"number": 9, "last": 3, "session": SESSION.hex()}
    assert not caught.value.penalty, "whoever overheard it can send it"


def test_nobody_can_make_a_sender_use_up_its_numbers():
    with pytest.raises(OutOfStep):
        open_(seal(number=2**32 + 5), last=4)
    assert open_(seal(number=2**32 + 4), last=4).number == 2**32 + 4


def test_no_byte_of_a_batch_can_be_changed():
    raw = seal(EVERY_KIND[:2])
    for index in range(len(raw)):
        changed = raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]
        with pytest.raises(GridmeritError):
            open_(changed)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", WrongShape),
        (b"\x63", UnknownMessage),
        (b"\x00", NonCanonical),
        (b"\x01", WrongShape),
        (b"\x00" + encode((HASH, 7, bytes(40))), WrongShape),
        (b"\x00" + encode((HASH, -1, bytes(40), 0)), WrongShape),
        (b"\x00" + encode((HASH, 2**53, bytes(40), 0)), WrongShape),
        (b"\x00" + encode((HASH, 7, bytes(200), 0)), TooLarge),
        (b"\x01" + encode((HASH[:31],)), WrongShape),
        (b"\x01" + encode((7,)), WrongShape),
        (b"\x01" + encode((HASH,) * (wire.MAX_ITEMS + 1)), TooLarge),
        (b"\x04" + encode((b"header", encode((HASH,) * (wire.MAX_BLOCK_IDS + 1)))), TooLarge),
        (b"\x04" + encode((b"header",)), WrongShape),
        (b"\x05" + encode((HASH,) * (wire.MAX_LOCATOR + 1)), TooLarge),
        (b"\x07" + encode((HASH,) * (wire.MAX_BLOCKS + 1)), TooLarge),
        (b"\x0a" + encode((bytes(4_000_001),)), TooLarge),
        (b"\x0b" + encode(("x" * 65, b"")), TooLarge),
        (b"\x0b" + encode(("equivocation", bytes(9_000))), TooLarge),
        (b"\x0c" + encode(()), WrongShape),
        (b"\x0c" + encode((b"", b"")), TooLarge),
        (b"\x0c" + encode(("relay",)), WrongShape),
        (b"\x0c" + encode((b"relay",)) + b"\x00", NonCanonical),
        (b"\x0c\x91\xc5\x00\x05relay", NonCanonical),
        (b"\x14" + encode((-1,)), WrongShape),
        (b"\x15" + encode((b"\x90", b"", bytes(39), b"\x90")), WrongShape),
        (b"\x15" + encode((b"\x90", b"", bytes(40), encode((b"",) * 65))), TooLarge),
        (b"\x16" + encode((HASH, 3, b"\x10" + bytes(31))), WrongShape),
        (b"\x16" + encode((HASH, 257, bytes(32))), WrongShape),
        (b"\x17" + encode((HASH, bytes(4_000_001))), TooLarge),
        (b"\x18" + encode((HASH, HASH)), TooLarge),
    ],
)
def test_a_message_of_the_wrong_shape_or_size_is_refused(raw, error):
    with pytest.raises(error):
        wire.message_from_bytes(raw)


def test_a_batch_full_of_identifiers_is_read():
    message = wire.NewBlock(header=b"header", ids=(HASH,) * wire.MAX_BLOCK_IDS)
    count = wire.MAX_BATCH_BYTES // (34 * wire.MAX_BLOCK_IDS)
    assert len(open_(seal([message] * count)).messages) == count


def test_a_batch_of_too_many_messages_or_bytes_is_refused():
    with pytest.raises(TooLarge):
        open_(seal(EVERY_KIND[:1] * (wire.MAX_BATCH_MESSAGES + 1)))
    with pytest.raises(TooLarge):
        open_(bytes(wire.MAX_BATCH_BYTES + 1))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_named_errors_only(raw):
    with pytest.raises(GridmeritError):
        open_(raw)
    with suppress(GridmeritError):
        message = wire.message_from_bytes(raw)
        assert wire.message_to_bytes(message) == raw


def test_values_are_canonical():
    for message in EVERY_KIND:
        raw = wire.message_to_bytes(message)
        assert decode(raw[1:], max_bytes=10_000) is not None
        assert wire.message_from_bytes(raw) == message


@given(st.sampled_from(EVERY_KIND), st.data())
def test_every_message_has_but_one_encoding(message, data):
    raw = wire.message_to_bytes(message)
    index = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:index] + data.draw(st.binary(max_size=3)) + raw[index + 1 :]
    with suppress(GridmeritError):
        assert wire.message_to_bytes(wire.message_from_bytes(changed)) == changed


@pytest.mark.parametrize("bomb", [b"\xc0", b"\x90", b"\x91", b"\xdc\xff\xff", b"\xc4\x00"])
def test_opening_a_batch_looks_at_no_more_than_may_be_in_it(bomb):
    """A batch of 8 MB is refused at the first item that does not belong there, or for the number of them.

    CPU time, against that of decoding as many bytes: a thirtieth of it.
    """
    started = process_time()
    decode(b"\xdd" + (7_900_000).to_bytes(4, "big") + b"\xc0" * 7_900_000, max_bytes=8_000_000, max_items=8_000_000)
    decoding_s = process_time() - started
    filling = bomb * (7_900_000 // len(bomb))
    for body in (filling, encode((filling,)), *(encode((bytes([code]) + filling,)) for code in wire._READERS)):
        raw = seal_body(body)
        started = process_time()
        with pytest.raises(GridmeritError):
            open_(raw)
        assert process_time() - started < decoding_s / 4


@given(st.lists(st.binary(max_size=40), max_size=wire.MAX_BLOCKS), st.integers(1, 60))
def test_many_blocks_are_as_many_messages_each_of_so_many_bytes_or_of_one_block(raw, max_bytes):
    parts = wire.split_blocks(wire.Blocks(raw=tuple(raw)), max_bytes)
    assert [item for part in parts for item in part.raw] == raw
    assert all(len(part.raw) == 1 or sum(map(len, part.raw)) <= max_bytes for part in parts)
    for part, following in pairwise(parts):
        assert sum(map(len, part.raw)) + len(following.raw[0]) > max_bytes, "not more messages than that takes"


def test_other_messages_stay_whole():
    headers = wire.Headers(raw=(bytes(100),) * 3)
    assert wire.split_blocks(headers, 10) == [headers]
