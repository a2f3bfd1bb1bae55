"""The queue of one chain's steps: own events, transactions, relays, peers' messages; each bounded, taken in turn.

Among peers it is the time that their messages take which is shared out evenly, not their number.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from consensus.relays import RelayName
from ledger.errors import GridmeritError
from ledger.transaction import Transaction
from node.chain.events import Event, MessageReceived, PeerId, RelayOffered, TransactionsSubmitted
from node.chain.messages import Message
from node.errors import InboxFull

MAX_PEER_BATCHES = 64
MAX_PEER_BYTES = 32_000_000
MAX_WAITING_TRANSACTIONS = 8_192
MAX_WAITING_RELAYS = 256  # from any sender
MAX_OWN_RELAYS = 8_192  # from this node's other chains: a message has up to 4 096 parts
_GUESS_US = 100  # that a message takes, until it is known
MAX_GROUP = 256  # transactions in one step: more would hold up blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One client's transactions; `outcomes` follows them one by one."""

    transactions: tuple[Transaction, ...]
    outcomes: asyncio.Future[tuple[GridmeritError | None, ...]]


@dataclass(slots=True)
class _PeerQueue:
    batches: deque[tuple[int, deque[Message]]] = field(default_factory=deque)  # size in bytes, messages left
    size_bytes: int = 0


class Inbox:
    """Fills from many sides and is emptied by one worker, which takes from each side in turn."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._submissions: deque[Submission] = deque()
        self._relays: dict[bytes | RelayName, bytes] = {}
        self._own_relays: dict[bytes | RelayName, bytes] = {}
        self._waiting_transactions = 0
        self._peers: dict[PeerId, _PeerQueue] = {}  # with something to read; the longest ago served first
        self._had_us: dict[PeerId, int] = {}  # time, since a peer last began to wait
        self._last_us = 0  # what that one had had: silence earns no peer more
        self._returned: deque[MessageReceived] = deque()  # taken, and to be taken again
        self._ready = asyncio.Event()
        self._turn = 0

    def put_event(self, event: Event) -> None:
        """From the node itself: as many as it has timers, connections and jobs."""
        self._events.append(event)
        self._ready.set()

    def put_submission(self, submission: Submission) -> None:
        """Raises `InboxFull`."""
        count = self._waiting_transactions + len(submission.transactions)
        if self._submissions and count > MAX_WAITING_TRANSACTIONS:
            raise InboxFull(waiting=self._waiting_transactions, what="transactions")
        self._waiting_transactions = count
        self._submissions.append(submission)
        self._ready.set()

    def put_relay(self, raw: bytes, name: RelayName | None = None) -> None:
        """Queue a relay, from any sender, or as `name` from this node's other chains: neither crowds out the other.

        One that waits already is not put twice; a fresher proof of a message takes its place. Raises `InboxFull`.
        """
        queue, limit = (self._relays, MAX_WAITING_RELAYS) if name is None else (self._own_relays, MAX_OWN_RELAYS)
        key = raw if name is None else name
        if key not in queue and len(queue) >= limit:
            raise InboxFull(waiting=len(queue), what="relays")
        queue[key] = raw
        self._ready.set()

    def put_batch(self, peer: PeerId, messages: tuple[Message, ...], size_bytes: int) -> None:
        """Raises `InboxFull` where this peer's messages are handled more slowly than it sends."""
        if not messages:
            return
        queue = self._peers.get(peer)
        if queue is None:
            queue = self._peers[peer] = _PeerQueue()
            self._had_us[peer] = max(self._had_us.get(peer, 0), self._last_us)
        full = len(queue.batches) >= MAX_PEER_BATCHES or queue.size_bytes + size_bytes > MAX_PEER_BYTES
        if queue.batches and full:
            raise InboxFull(waiting=len(queue.batches), what="batches")
        queue.batches.append((size_bytes, deque(messages)))
        queue.size_bytes += size_bytes
        self._ready.set()

    def charge(self, peer: PeerId, spent_us: int) -> None:
        """Count the time that a peer's message has taken: it is the turn of peers that have had less."""
        if peer in self._had_us:
            self._had_us[peer] += spent_us - _GUESS_US
        if not self._peers:
            self._had_us.clear()  # no peer waits: none has had too much

    def drop_peer(self, peer: PeerId) -> None:
        self._peers.pop(peer, None)
        self._returned = deque(event for event in self._returned if event.peer != peer)

    async def take(self) -> tuple[Event, list[Submission]]:
        """The next event, and the submissions that it stands for."""
        while True:
            sides = (
                self._take_event,
                self._take_submissions,
                self._take_own_relay,
                self._take_relay,
                self._take_message,
            )
            for _ in sides:
                self._turn = (self._turn + 1) % len(sides)
                taken = sides[self._turn]()
                if taken is not None:
                    return taken
            self._ready.clear()
            await self._ready.wait()

    def take_messages(self, limit: int) -> list[MessageReceived]:
        """More messages that wait already, in their turns."""
        found: list[MessageReceived] = []
        while len(found) < limit and (event := self._next_message()) is not None:
            found.append(event)
        return found

    def put_back(self, events: list[MessageReceived]) -> None:
        """Return messages that were taken and not handled: they are the first of the next turn."""
        self._returned.extendleft(reversed(events))

    def close(self) -> list[Submission]:
        """Empty the queue; returns the submissions that will have no answer."""
        left = list(self._submissions)
        self._events.clear()
        self._submissions.clear()
        self._relays.clear()
        self._own_relays.clear()
        self._peers.clear()
        self._returned.clear()
        return left

    def _take_event(self) -> tuple[Event, list[Submission]] | None:
        return (self._events.popleft(), []) if self._events else None

    def _take_submissions(self) -> tuple[Event, list[Submission]] | None:
        """Several clients in one step: they share one write to the disk."""
        group: list[Submission] = []
        transactions: list[Transaction] = []
        while self._submissions:
            following = self._submissions[0].transactions
            if group and len(transactions) + len(following) > MAX_GROUP:
                break
            transactions += following
            group.append(self._submissions.popleft())
        self._waiting_transactions -= len(transactions)
        return (TransactionsSubmitted(transactions=tuple(transactions)), group) if group else None

    def _take_own_relay(self) -> tuple[Event, list[Submission]] | None:
        return _take_first(self._own_relays)

    def _take_relay(self) -> tuple[Event, list[Submission]] | None:
        return _take_first(self._relays)

    def _take_message(self) -> tuple[Event, list[Submission]] | None:
        event = self._next_message()
        return None if event is None else (event, [])

    def _next_message(self) -> MessageReceived | None:
        if self._returned:
            return self._returned.popleft()
        if not self._peers:
            return None
        peer = min(self._peers, key=self._had_us.__getitem__)  # of equals, the one served longest ago
        self._last_us = max(self._last_us, self._had_us[peer])
        self._had_us[peer] += _GUESS_US
        queue = self._peers.pop(peer)
        size_bytes, messages = queue.batches[0]
        message = messages.popleft()
        if not messages:
            queue.batches.popleft()
            queue.size_bytes -= size_bytes
        if queue.batches:
            self._peers[peer] = queue
        return MessageReceived(peer=peer, message=message)


def _take_first(relays: dict[bytes | RelayName, bytes]) -> tuple[Event, list[Submission]] | None:
    if not relays:
        return None
    return RelayOffered(raw=relays.pop(next(iter(relays)))), []
