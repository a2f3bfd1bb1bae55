"""Events of a chain instance and the actions it wants done, which are performed strictly in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from consensus.relays import RelayName
from consensus.signing_record import SigningRecord
from ledger.chain import Changes
from ledger.errors import GridmeritError, StoreReadOnly
from ledger.overlay import Event as ChainEvent
from ledger.transaction import Transaction
from node.chain.messages import Message

PeerId: TypeAlias = bytes  # the peer's public key

# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The driver is ready to perform actions; with a `refusal`, which says why, none that writes to the disk."""

    refusal: StoreReadOnly | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnected:
    peer: PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLost:
    peer: PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    peer: PeerId
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionsSubmitted:
    """Transactions from a local client, which is told of each that is refused, and can rely on every other."""

    transactions: tuple[Transaction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealFound:
    """The search for `job` found `nonce`."""

    job: int
    nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOffered:
    """The bytes of a relay from another chain of the network, from any sender."""

    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSet:
    """The wall clock is ahead of the time of the steps by so much from now on, behind where it is negative."""

    ahead_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldsRead:
    """The lowest height that a companion outside has still to read, as its owner says; None where none holds."""

    held_from: int | None


Event: TypeAlias = (
    Started
    | PeerConnected
    | PeerLost
    | MessageReceived
    | TransactionsSubmitted
    | TimerFired
    | SealFound
    | RelayOffered
    | ClockSet
    | HoldsRead
)

# --- actions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Persist:
    """One atomic, synced batch; nothing after it may happen before it is on disk."""

    changes: Changes


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistSigningRecord:
    """Fsync the record of what this key has signed, before anything after it leaves the machine."""

    record: SigningRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    peer: PeerId
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    message: Message
    but: PeerId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTimer:
    """Fire `name` at `at_ms`; a timer of the same name is replaced."""

    name: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSealing:
    """Search a nonce with F(root, nonce) <= target; replaces any earlier job."""

    job: int
    root: bytes
    target: int


@dataclass(frozen=True, slots=True)
class StopSealing:
    """End the current job, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PenalisePeer:
    """A named fault of a peer; `error.penalty` points against it."""

    peer: PeerId
    error: GridmeritError


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """Answer to `TransactionsSubmitted`, in its order: None where accepted (and persisted), else why not."""

    outcomes: tuple[GridmeritError | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Tell subscribers: a committed chain event `(name, values…)`, or one of the node's own."""

    event: ChainEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRelay:
    """The bytes of a relay for another chain of the network, in case it lives here too and lacks what `name` names."""

    chain_id: bytes
    name: RelayName
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Compact:
    """Give back the space of what was deleted in these ranges of keys, beside all else and without haste."""

    ranges: tuple[tuple[bytes, bytes], ...]


Action: TypeAlias = (
    Persist
    | PersistSigningRecord
    | Send
    | Broadcast
    | SetTimer
    | StartSealing
    | StopSealing
    | PenalisePeer
    | Acknowledge
    | Publish
    | ForwardRelay
    | Compact
)
