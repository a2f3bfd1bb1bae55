"""Messages as the bytes that travel: encoded once however many receive them, decoded once however often they come.

What is decoded depends on the bytes alone and is frozen, so receivers can share it. The digest of the bytes is what the
event log says of a message.
"""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import NamedTuple

from ledger.errors import GridmeritError
from ledger.signatures import SigningKey
from node.chain.events import (
    ClockSet,
    Event,
    HoldsRead,
    MessageReceived,
    PeerConnected,
    PeerLost,
    RelayOffered,
    SealFound,
    Started,
    TimerFired,
    TransactionsSubmitted,
)
from node.chain.messages import SESSION_BYTES, Message, message_from_bytes, message_to_bytes, open_batch, seal_batch
from simulation.world.links import corrupt

_MAX_MESSAGE_BYTES = 8_000_000
_KEPT = 4_096


class EncodedMessage(NamedTuple):
    """A message as a receiver reads it, the number of its bytes and their SHA-256."""

    message: Message
    size: int
    digest: bytes


class Wire:
    """Packs messages; remembers the latest few thousand."""

    def __init__(self) -> None:
        self._parcels: dict[Message, EncodedMessage] = {}
        self._last: tuple[object, EncodedMessage | None] = (None, None)

    def pack(self, message: Message) -> EncodedMessage:
        """Encode a message and decode it again, as it is at the other end."""
        last, parcel = self._last
        if last is message and parcel is not None:
            return parcel  # a broadcast: the next receiver of the same
        parcel = self._parcels.get(message)
        if parcel is None:
            raw = message_to_bytes(message)
            decoded = message_from_bytes(raw)
            parcel = EncodedMessage(decoded, len(raw), sha256(raw).digest())
            if len(self._parcels) >= _KEPT:
                self._parcels.clear()
            self._parcels[decoded] = parcel
        self._last = (message, parcel)
        return parcel

    def size_of(self, message: Message) -> int:
        """Size of a message in bytes."""
        return self.pack(message).size


def receive_corrupted(
    message: Message, *, sender: SigningKey, receiver: bytes, chain_id: bytes, random: Random
) -> GridmeritError:
    """The refusal by a receiver of the signed batch that carries a message, when one of its bytes is wrong.

    It is an AssertionError, a bug of the node's, if it takes the batch.
    """
    session = bytes(SESSION_BYTES)
    raw = seal_batch(
        sender, chain_id=chain_id, receiver=receiver, session=session, number=1, sent_ms=0, messages=(message,)
    )
    damaged = corrupt(raw, random)
    try:
        open_batch(damaged, chain_id=chain_id, receiver=receiver, session=session, last_number=lambda _: 0)
    except GridmeritError as error:
        return error
    raise AssertionError(f"a corrupted batch was taken: {damaged.hex()}")


def describe(event: Event) -> bytes:
    """An event in the event log; one with the same description is the same."""
    match event:
        case MessageReceived(peer=peer, message=message):
            return b"message %b %b" % (peer[:8].hex().encode(), sha256(repr(message).encode()).digest())
        case TimerFired(name=name):
            return b"timer " + name.encode()
        case SealFound(job=job, nonce=nonce):
            return b"seal %d %d" % (job, nonce)
        case TransactionsSubmitted(transactions=transactions):
            return b"submitted " + b"".join(transaction.id for transaction in transactions)
        case PeerConnected(peer=peer):
            return b"connected " + peer
        case PeerLost(peer=peer):
            return b"lost " + peer
        case RelayOffered(raw=raw):
            return b"relay " + sha256(raw).digest()
        case ClockSet(ahead_ms=ahead_ms):
            return b"clock %d" % ahead_ms
        case HoldsRead(held_from=held_from):
            return b"holds %d" % (-1 if held_from is None else held_from)
        case Started():
            return b"started"
