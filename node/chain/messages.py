"""The messages between peers: bounded, with canonical bytes, carried in signed batches.

Blocks, transactions and headers travel as byte strings, and so do the messages of a batch: whatever is opened costs no
more than to copy it, until its kind is known and with that how much there may be of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, TypeAlias

from consensus.errors import UnknownMessage
from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_list, expect_str, split
from ledger.errors import TooLarge, WrongShape
from ledger.signatures import SigningKey, signing_digest, verify
from ledger.state_chunks import read_prefix
from node.errors import NotForUs, OutOfStep

MAX_ITEMS = 512  # identifiers, headers or transactions in one message
MAX_BLOCKS = 16
MAX_BLOCK_IDS = 8_192
MAX_LOCATOR = 64
MAX_BATCH_MESSAGES = 256
MAX_BATCH_BYTES = 8_000_000
_MAX_ITEM_BYTES = 4_000_000
_MAX_STATUS_BYTES = 128
_MAX_HEIGHT = 2**53 - 1  # a claim that the API shows, as a number of JSON
_MAX_EVIDENCE_BYTES = 8_192
MAX_RECORDS = 64  # of trades in one message
_MAX_PATH = 32  # hashes from a record to its root
_MAX_RESULTS_BYTES = 8_192
_MAX_RECORD_REQUEST_BYTES = 1_024
_MAX_RECORDS_BYTES = 1_000_000
MAX_OFFERED_HEADERS = 128  # with a snapshot: what the rules of the next block look at, and more
MAX_HANDOVERS = 64  # in one message
_MAX_CERTIFICATE_BYTES = 1_000_000
SESSION_BYTES = 16
_MAX_LEAP = 2**32  # between two batches of one sender: numbers last for ever, whatever a peer makes it skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A peer's position: its head, work and final height, and the height from which it has the bodies of blocks."""

    code: ClassVar[int] = 0
    head: bytes
    height: int
    work: bytes  # 40 big-endian bytes
    final_height: int
    bodies_from: int = 1  # at most the final height, for none but final blocks are pruned


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
    """A PBFT replica's message: bytes as in `consensus.pbft.messages`."""

    code: ClassVar[int] = 13
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Contacts:
    """Addresses of members' nodes: bytes as in `node.peer.records`. The driver reads them; of no one chain."""

    code: ClassVar[int] = 14
    raw: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSigned:
    """Ask for what the receiver holds under the sender's own key, which after a start is silent until then."""

    code: ClassVar[int] = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """The sender's position, and the receiver's own ballots that it holds: bytes as in `consensus.pbft.messages`."""

    code: ClassVar[int] = 16
    head: bytes
    work: bytes  # 40 big-endian bytes
    final_height: int
    raw: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeResult:
    """Results that members have computed and signed, as in `ledger.results`, and the votes that name them.

    The paper's TradeResult (text 000, section 4.2, step 4), under PBFT and for checkpoints alike.
    """

    code: ClassVar[int] = 17
    results: bytes
    raw: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTradeRecords:
    """Ask for the certificate of a period's result, and for some of the records under its root."""

    code: ClassVar[int] = 18
    period: int
    indexes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRecords:
    """A certificate, the results that it names, and of the records asked for, in that order: leaf and audit path."""

    code: ClassVar[int] = 19
    period: int
    certificate: bytes
    results: bytes
    records: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSnapshot:
    """Ask for the states that the receiver hands out, by one who knows so many parts of handovers already."""

    code: ClassVar[int] = 20
    known: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A final block whose state the sender hands out: the headers up to it, what certifies it, and who may do so.

    `work` is that of its branch; `handovers` are those that follow the ones known, bytes as in `consensus.relays`.
    """

    code: ClassVar[int] = 21
    headers: tuple[bytes, ...]
    certificate: bytes
    work: bytes  # 40 big-endian bytes
    handovers: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetChunk:
    """Ask for the leaves of a block's state whose paths begin with the first `depth` bits of `path`."""

    code: ClassVar[int] = 22
    block_hash: bytes
    depth: int
    path: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A chunk of a block's state: bytes as in `ledger.state_chunks`, of what was asked for or its left edge."""

    code: ClassVar[int] = 23
    block_hash: bytes
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAncestors:
    """Ask for the headers right below a block."""

    code: ClassVar[int] = 24
    block_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestors:
    """Headers in their order, the last one the parent of the block that was asked about."""

    code: ClassVar[int] = 25
    raw: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBodies:
    """Ask for a block and those below it, with what became of their transactions."""

    code: ClassVar[int] = 26
    block_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """Blocks downwards, each the parent of the one before, and each followed by the codes of its receipts."""

    code: ClassVar[int] = 27
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
    | GetSigned
    | Signed
    | TradeResult
    | GetTradeRecords
    | TradeRecords
    | GetSnapshot
    | Snapshot
    | GetChunk
    | Chunk
    | GetAncestors
    | Ancestors
    | GetBodies
    | Bodies
)


def split_blocks(message: Message, max_bytes: int) -> list[Message]:
    """The same blocks in messages of so many bytes, or of one block, each to be read in a step; others stay whole."""
    if not isinstance(message, Blocks):
        return [message]
    parts: list[list[bytes]] = [[]]
    room = max_bytes
    for raw in message.raw:
        room -= len(raw)
        if room < 0 and parts[-1]:
            parts.append([])
            room = max_bytes - len(raw)
        parts[-1].append(raw)
    return [Blocks(raw=tuple(part)) for part in parts]


def _hashes(raw: bytes, limit: int) -> tuple[bytes, ...]:
    return tuple(expect_bytes(item, "identifier", size=32) for item in split(raw, "identifiers", max_items=limit))


def _hash(raw: bytes) -> bytes:
    (item,) = expect_array(_hashes(raw, 1), 1, "message")
    return expect_bytes(item, "identifier")


def _blobs(raw: bytes, limit: int) -> tuple[bytes, ...]:
    return tuple(expect_bytes(item, "item", max_size=_MAX_ITEM_BYTES) for item in split(raw, "items", max_items=limit))


def _blob(raw: bytes) -> bytes:
    (item,) = expect_array(_blobs(raw, 1), 1, "message")
    return expect_bytes(item, "item")


def _read_status(raw: bytes) -> Status:
    fields = expect_array(decode(raw, max_bytes=_MAX_STATUS_BYTES), 5, "status")
    head, height, work, final, bodies_from = fields
    final_height = expect_int(final, "final height")
    return Status(
        head=expect_bytes(head, "head", size=32),
        height=expect_int(height, "height", high=_MAX_HEIGHT),
        work=expect_bytes(work, "work", size=40),
        final_height=final_height,
        bodies_from=expect_int(bodies_from, "bodies from", low=1, high=final_height + 1),
    )


def _read_new_block(raw: bytes) -> NewBlock:
    header, ids = expect_array(split(raw, "new block", max_items=2), 2, "new block")
    return NewBlock(header=expect_bytes(header, "header"), ids=_hashes(expect_bytes(ids, "identifiers"), MAX_BLOCK_IDS))


def _read_headers(raw: bytes) -> Headers:
    items, certificate = expect_array(split(raw, "headers", max_items=2), 2, "headers")
    return Headers(
        raw=_blobs(expect_bytes(items, "headers"), MAX_ITEMS),
        certificate=expect_bytes(certificate, "certificate", max_size=_MAX_ITEM_BYTES),
    )


def _read_evidence(raw: bytes) -> Evidence:
    kind, proof = expect_array(decode(raw, max_bytes=_MAX_EVIDENCE_BYTES), 2, "evidence")
    return Evidence(kind=expect_str(kind, "evidence kind"), raw=expect_bytes(proof, "item"))


def _read_get_signed(raw: bytes) -> GetSigned:
    expect_array(split(raw, "message", max_items=0), 0, "message")
    return GetSigned()


def _read_signed(raw: bytes) -> Signed:
    standing, ballots = expect_array(split(raw, "signed", max_items=2), 2, "signed")
    fields_of = decode(expect_bytes(standing, "standing"), max_bytes=_MAX_STATUS_BYTES)
    head, work, final_height = expect_array(fields_of, 3, "standing")
    return Signed(
        head=expect_bytes(head, "head", size=32),
        work=expect_bytes(work, "work", size=40),
        final_height=expect_int(final_height, "final height"),
        raw=_blobs(expect_bytes(ballots, "ballots"), MAX_ITEMS),
    )


def _read_trade_result(raw: bytes) -> TradeResult:
    results, votes = expect_array(split(raw, "trade result", max_items=2), 2, "trade result")
    return TradeResult(
        results=expect_bytes(results, "results", max_size=_MAX_RESULTS_BYTES),
        raw=_blobs(expect_bytes(votes, "votes"), MAX_ITEMS),
    )


def _read_get_trade_records(raw: bytes) -> GetTradeRecords:
    fields_of = decode(raw, max_bytes=_MAX_RECORD_REQUEST_BYTES)
    period, indexes = expect_array(fields_of, 2, "request for trade records")
    return GetTradeRecords(
        period=expect_int(period, "period"),
        indexes=tuple(
            expect_int(index, "trade index") for index in expect_list(indexes, "indexes", max_items=MAX_RECORDS)
        ),
    )


def _read_trade_records(raw: bytes) -> TradeRecords:
    fields_of = decode(raw, max_bytes=_MAX_RECORDS_BYTES)
    period, certificate, results, records = expect_array(fields_of, 4, "trade records")
    return TradeRecords(
        period=expect_int(period, "period"),
        certificate=expect_bytes(certificate, "certificate"),
        results=expect_bytes(results, "results", max_size=_MAX_RESULTS_BYTES),
        records=tuple(map(_read_record, expect_list(records, "records", max_items=MAX_RECORDS))),
    )


def _read_record(value: Value) -> tuple[bytes, tuple[bytes, ...]]:
    leaf, path = expect_array(value, 2, "trade record")
    hashes = expect_list(path, "audit path", max_items=_MAX_PATH)
    return expect_bytes(leaf, "leaf"), tuple(expect_bytes(item, "audit path", size=32) for item in hashes)


def _read_get_snapshot(raw: bytes) -> GetSnapshot:
    (known,) = expect_array(decode(raw, max_bytes=_MAX_STATUS_BYTES), 1, "request for snapshots")
    return GetSnapshot(known=expect_int(known, "known handovers"))


def _read_snapshot(raw: bytes) -> Snapshot:
    headers, certificate, work, handovers = expect_array(split(raw, "snapshot", max_items=4), 4, "snapshot")
    return Snapshot(
        headers=_blobs(expect_bytes(headers, "headers"), MAX_OFFERED_HEADERS),
        certificate=expect_bytes(certificate, "certificate", max_size=_MAX_CERTIFICATE_BYTES),
        work=expect_bytes(work, "work", size=40),
        handovers=_blobs(expect_bytes(handovers, "handovers"), MAX_HANDOVERS),
    )


def _read_get_chunk(raw: bytes) -> GetChunk:
    block_hash, depth, path = expect_array(decode(raw, max_bytes=_MAX_STATUS_BYTES), 3, "request for a chunk")
    prefix = read_prefix(depth, path)
    return GetChunk(block_hash=expect_bytes(block_hash, "block hash", size=32), depth=prefix.depth, path=prefix.path)


def _read_chunk(raw: bytes) -> Chunk:
    block_hash, chunk = expect_array(split(raw, "chunk", max_items=2), 2, "chunk")
    return Chunk(
        block_hash=expect_bytes(block_hash, "block hash", size=32),
        raw=expect_bytes(chunk, "chunk", max_size=_MAX_ITEM_BYTES),
    )


def _read_bodies(raw: bytes) -> Message:
    blobs = _blobs(raw, 2 * MAX_BLOCKS)
    if len(blobs) % 2:
        raise WrongShape(what="bodies", detail="expected codes after each block")
    return Bodies(raw=blobs)


_READERS: dict[int, Callable[[bytes], Message]] = {
    Status.code: _read_status,
    TransactionIds.code: lambda raw: TransactionIds(ids=_hashes(raw, MAX_ITEMS)),
    GetTransactions.code: lambda raw: GetTransactions(ids=_hashes(raw, MAX_ITEMS)),
    Transactions.code: lambda raw: Transactions(raw=_blobs(raw, MAX_ITEMS)),
    NewBlock.code: _read_new_block,
    GetHeaders.code: lambda raw: GetHeaders(locator=_hashes(raw, MAX_LOCATOR)),
    Headers.code: _read_headers,
    GetBlocks.code: lambda raw: GetBlocks(ids=_hashes(raw, MAX_BLOCKS)),
    Blocks.code: lambda raw: Blocks(raw=_blobs(raw, MAX_BLOCKS)),
    Votes.code: lambda raw: Votes(raw=_blobs(raw, MAX_ITEMS)),
    Certificate.code: lambda raw: Certificate(raw=_blob(raw)),
    Evidence.code: _read_evidence,
    Relay.code: lambda raw: Relay(raw=_blob(raw)),
    Agreement.code: lambda raw: Agreement(raw=_blob(raw)),
    Contacts.code: lambda raw: Contacts(raw=_blobs(raw, MAX_ITEMS)),
    GetSigned.code: _read_get_signed,
    Signed.code: _read_signed,
    TradeResult.code: _read_trade_result,
    GetTradeRecords.code: _read_get_trade_records,
    TradeRecords.code: _read_trade_records,
    GetSnapshot.code: _read_get_snapshot,
    Snapshot.code: _read_snapshot,
    GetChunk.code: _read_get_chunk,
    Chunk.code: _read_chunk,
    GetAncestors.code: lambda raw: GetAncestors(block_hash=_hash(raw)),
    Ancestors.code: lambda raw: Ancestors(raw=_blobs(raw, MAX_ITEMS)),
    GetBodies.code: lambda raw: GetBodies(block_hash=_hash(raw)),
    Bodies.code: _read_bodies,
}


def message_to_bytes(message: Message) -> bytes:
    """A byte that says which kind it is, and a canonical array: its list where that is all it has, else its fields."""
    values: list[Value] = [getattr(message, item.name) for item in fields(message)]
    match message:
        case NewBlock(header=header, ids=ids):
            body: Value = (header, encode(ids))
        case Headers(raw=raw, certificate=certificate):
            body = (encode(raw), certificate)
        case Signed(head=head, work=work, final_height=final_height, raw=raw):
            body = (encode((head, work, final_height)), encode(raw))
        case TradeResult(results=results, raw=raw):
            body = (results, encode(raw))
        case Snapshot(headers=headers, certificate=certificate, work=work, handovers=handovers):
            body = (encode(headers), certificate, work, encode(handovers))
        case _ if len(values) == 1 and isinstance(values[0], tuple):
            body = values[0]
        case _:
            body = tuple(values)
    return bytes([message.code]) + encode(body)


def message_from_bytes(raw: bytes) -> Message:
    """Raises the `Malformed` family."""
    if not raw:
        raise WrongShape(what="message", detail="it has no bytes")
    if raw[0] not in _READERS:
        raise UnknownMessage(kind=raw[0])
    return _READERS[raw[0]](raw[1:])


def _is_of_unknown_kind(raw: bytes) -> bool:
    return bool(raw) and raw[0] not in _READERS


# --- batches -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Messages from one peer to another on one chain, each batch with a greater number than the one before it.

    The receiver has drawn the `session` when it started, and tells it, with the last number that it has had, to a peer
    that is out of step: so an overheard batch is good for nothing again, whichever of the two starts anew, and whatever
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
    """The signed bytes of a batch, `[sender, receiver, session, number, sent_ms, body, signature]`: byte strings."""
    body = encode(tuple(message_to_bytes(message) for message in messages))
    signed = (key.public_key, receiver, session, number.to_bytes(8, "big"), sent_ms.to_bytes(8, "big"), body)
    signature = key.sign(signing_digest("batch", chain_id, encode(signed)))
    return encode((*signed, signature))


def open_batch(
    raw: bytes,
    *,
    chain_id: bytes,
    receiver: bytes,
    session: bytes,
    last_number: Callable[[bytes], int],
    is_newer: bool = False,
) -> Batch:
    """Check and read a batch; `last_number` gives the highest number had from a sender in our `session`.

    Of a sender with a newer version of the protocol (`is_newer`), kinds of messages that are not known here are left
    out. Raises the `Malformed` family, `NotForUs`, `OutOfStep`, `InvalidKey` or `InvalidSignature`.
    """
    if len(raw) > MAX_BATCH_BYTES:
        raise TooLarge(what="batch", actual=len(raw), limit=MAX_BATCH_BYTES)
    parts = expect_array(split(raw, "batch", max_items=7), 7, "batch")
    sender, to, theirs, count, sent, body, signature = (expect_bytes(part, "batch") for part in parts)
    for part, size in ((sender, 32), (to, 32), (theirs, SESSION_BYTES), (count, 8), (sent, 8), (signature, 64)):
        expect_bytes(part, "batch", size=size)
    if to != receiver:
        raise NotForUs(receiver=to.hex()[:16])
    verify(sender, signing_digest("batch", chain_id, encode(parts[:6])), signature, what="batch")
    number, last = int.from_bytes(count, "big"), last_number(sender)
    if theirs != session or not is_next(number, last):
        raise OutOfStep(number=number, last=last, session=session.hex())
    items = split(body, "batch", max_items=MAX_BATCH_MESSAGES)
    messages = tuple(message_from_bytes(item) for item in items if not (is_newer and _is_of_unknown_kind(item)))
    return Batch(sender=sender, number=number, sent_ms=int.from_bytes(sent, "big"), messages=messages)


def begins_anew(raw: bytes) -> bool:
    """True where the sender of a batch, which has been opened before, knows no session of its receiver."""
    return expect_bytes(split(raw, "batch", max_items=7)[2], "batch") == bytes(SESSION_BYTES)


def is_next(number: int, last: int) -> bool:
    """True where a batch may have that number after one that had `last`."""
    return last < number <= last + _MAX_LEAP
