"""What peers say to each other: bounded messages with canonical bytes, carried in signed batches.

Blocks, transactions and headers travel as byte strings, so that a message is checked in bounded steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, TypeAlias

from ledger.codec import (
    Value,
    decode,
    encode,
    expect_array,
    expect_bytes,
    expect_int,
    expect_list,
    expect_str,
)
from ledger.errors import NotForUs, OutOfStep, UnknownMessage, WrongShape
from ledger.signatures import SigningKey, signing_digest, verify

MAX_ITEMS = 512  # identifiers, headers or transactions in one message
MAX_BLOCKS = 16
MAX_BLOCK_IDS = 8_192
MAX_LOCATOR = 64
MAX_BATCH_MESSAGES = 256
MAX_BATCH_BYTES = 8_000_000
_MAX_ITEM_BYTES = 4_000_000
SESSION_BYTES = 16
_MAX_LEAP = 2**32  # between two batches of one sender: numbers last for ever, whatever somebody makes it skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a peer stands."""

    code: ClassVar[int] = 0
    head: bytes
    height: int
    work: bytes  # 40 big-endian bytes
    final_height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionIds:
    """Announcement: the sender has these pending."""

    code: ClassVar[int] = 1
    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTransactions:
    code: ClassVar[int] = 2
    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactions:
    code: ClassVar[int] = 3
    raw: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBlock:
    """Announcement: a block's header and the ids of its transactions, from which most peers can rebuild it."""

    code: ClassVar[int] = 4
    header: bytes
    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetHeaders:
    code: ClassVar[int] = 5
    locator: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """Headers in their order; under PBFT with the quorum certificate of the last one, else without."""

    code: ClassVar[int] = 6
    raw: tuple[bytes, ...]
    certificate: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBlocks:
    code: ClassVar[int] = 7
    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    code: ClassVar[int] = 8
    raw: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """Statements on checkpoints."""

    code: ClassVar[int] = 9
    raw: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    code: ClassVar[int] = 10
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An equivocation or a double vote: `kind` as in `consensus.contracts`."""

    code: ClassVar[int] = 11
    kind: str
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """A message of another chain with its proof, for the next block."""

    code: ClassVar[int] = 12
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What a PBFT replica says: bytes as in `consensus.pbft_messages`."""

    code: ClassVar[int] = 13
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Contacts:
    """Where members' nodes can be reached: bytes as in `node.contacts`. The driver's to read, and of no one chain."""

    code: ClassVar[int] = 14
    raw: tuple[bytes, ...]


Message: TypeAlias = (
    Status
    | TransactionIds
    | GetTransactions
    | Transactions
    | NewBlock
    | GetHeaders
    | Headers
    | GetBlocks
    | Blocks
    | Votes
    | Certificate
    | Evidence
    | Relay
    | Agreement
    | Contacts
)


def _hashes(value: Value, limit: int) -> tuple[bytes, ...]:
    items = expect_list(value, "identifiers", max_items=limit)
    return tuple(expect_bytes(item, "identifier", size=32) for item in items)


def _blobs(value: Value, limit: int) -> tuple[bytes, ...]:
    items = expect_list(value, "items", max_items=limit)
    return tuple(_blob(item) for item in items)


def _blob(value: Value) -> bytes:
    return expect_bytes(value, "item", max_size=_MAX_ITEM_BYTES)


def _read_status(body: tuple[Value, ...]) -> Status:
    head, height, work, final_height = body
    return Status(
        head=expect_bytes(head, "head", size=32),
        height=expect_int(height, "height"),
        work=expect_bytes(work, "work", size=40),
        final_height=expect_int(final_height, "final height"),
    )


_READERS: dict[int, tuple[int, Callable[[tuple[Value, ...]], Message]]] = {
    Status.code: (4, _read_status),
    TransactionIds.code: (1, lambda body: TransactionIds(ids=_hashes(body[0], MAX_ITEMS))),
    GetTransactions.code: (1, lambda body: GetTransactions(ids=_hashes(body[0], MAX_ITEMS))),
    Transactions.code: (1, lambda body: Transactions(raw=_blobs(body[0], MAX_ITEMS))),
    NewBlock.code: (2, lambda body: NewBlock(header=_blob(body[0]), ids=_hashes(body[1], MAX_BLOCK_IDS))),
    GetHeaders.code: (1, lambda body: GetHeaders(locator=_hashes(body[0], MAX_LOCATOR))),
    Headers.code: (2, lambda body: Headers(raw=_blobs(body[0], MAX_ITEMS), certificate=_blob(body[1]))),
    GetBlocks.code: (1, lambda body: GetBlocks(ids=_hashes(body[0], MAX_BLOCKS))),
    Blocks.code: (1, lambda body: Blocks(raw=_blobs(body[0], MAX_BLOCKS))),
    Votes.code: (1, lambda body: Votes(raw=_blobs(body[0], MAX_ITEMS))),
    Certificate.code: (1, lambda body: Certificate(raw=_blob(body[0]))),
    Evidence.code: (2, lambda body: Evidence(kind=expect_str(body[0], "evidence kind"), raw=_blob(body[1]))),
    Relay.code: (1, lambda body: Relay(raw=_blob(body[0]))),
    Agreement.code: (1, lambda body: Agreement(raw=_blob(body[0]))),
    Contacts.code: (1, lambda body: Contacts(raw=_blobs(body[0], MAX_ITEMS))),
}


def message_to_value(message: Message) -> Value:
    return (message.code, *(getattr(message, item.name) for item in fields(message)))


def message_from_value(value: Value) -> Message:
    """Raises the `Malformed` family."""
    if type(value) is not tuple or not value:
        raise WrongShape(what="message", detail="expected [code, fields…]")
    code = expect_int(value[0], "message code")
    if code not in _READERS:
        raise UnknownMessage(kind=code)
    count, read = _READERS[code]
    return read(expect_array(value[1:], count, "message"))


# --- batches -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Messages from one peer to another on one chain, each batch with a greater number than the one before it.

    The receiver has drawn the `session` when it started, and tells it, with the last number that it has had, to whoever
    is out of step: so an overheard batch is good for nothing again, whichever of the two starts anew, and whatever
    clocks say. `sent_ms` is the sender's clock.
    """

    sender: bytes
    number: int
    sent_ms: int
    messages: tuple[Message, ...]


def seal_batch(
    key: SigningKey,
    *,
    chain_id: bytes,
    receiver: bytes,
    session: bytes,
    number: int,
    sent_ms: int,
    messages: tuple[Message, ...],
) -> bytes:
    """The signed bytes of a batch: `[sender, receiver, session, number, sent_ms, body, signature]`."""
    body = encode(tuple(message_to_value(message) for message in messages))
    fields_ = (key.public_key, receiver, session, number, sent_ms, body)
    return encode((*fields_, key.sign(signing_digest("batch", chain_id, encode(fields_)))))


def open_batch(
    raw: bytes, *, chain_id: bytes, receiver: bytes, session: bytes, last_number: Callable[[bytes], int]
) -> Batch:
    """Check and read a batch; `last_number` gives the highest number had from a sender in our `session`.

    Raises the `Malformed` family, `NotForUs`, `OutOfStep`, `InvalidKey` or `InvalidSignature`.
    """
    fields_ = expect_array(decode(raw, max_bytes=MAX_BATCH_BYTES), 7, "batch")
    sender = expect_bytes(fields_[0], "sender", size=32)
    theirs = expect_bytes(fields_[2], "batch session", size=SESSION_BYTES)
    number = expect_int(fields_[3], "batch number")
    sent_ms = expect_int(fields_[4], "batch time")
    body = expect_bytes(fields_[5], "batch body")
    signature = expect_bytes(fields_[6], "batch signature", size=64)
    if fields_[1] != receiver:
        raise NotForUs(receiver=expect_bytes(fields_[1], "receiver", size=32).hex()[:16])
    verify(sender, signing_digest("batch", chain_id, encode(fields_[:6])), signature, what="batch")
    last = last_number(sender)
    if theirs != session or not last < number <= last + _MAX_LEAP:
        raise OutOfStep(number=number, last=last, session=session.hex())
    items = expect_list(decode(body, max_bytes=MAX_BATCH_BYTES), "batch", max_items=MAX_BATCH_MESSAGES)
    messages = tuple(message_from_value(item) for item in items)
    return Batch(sender=sender, number=number, sent_ms=sent_ms, messages=messages)
