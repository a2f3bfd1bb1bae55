"""Clients that send when a transfer is due, whatever becomes of the ones before, and watch what gets committed.

Latency counts from the moment at which a transfer was due, so that a client that is held up hides nothing
(no "coordinated omission"), until the event stream of a node tells of its commit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from time import monotonic

from ledger.errors import GridmeritError
from ledger.signatures import SigningKey
from ledger.transaction import Transaction, make_transaction
from node.api.client import Client
from node.errors import RemoteFailed, RemoteRejected, Unreachable

TICK_S = 0.04  # how often a client posts what has come due
_RETRY_S = 0.1
_EXPIRY_HEIGHT = 9_000
_SETTLED_ELSEWHERE = frozenset({"AlreadyKnown", "SequenceTaken", "SequenceTooLow"})  # the other node had passed it on

Mark = tuple[str, int]  # by which a transfer's event is known: its sender's address and its amount


@dataclass(slots=True)
class Ticket:
    """One signed transfer and what became of it; times by `time.monotonic`, 0 where it has not happened."""

    transaction: Transaction
    mark: Mark
    due_s: float = 0.0
    acknowledged_s: float = 0.0
    committed_s: float = 0.0

    @property
    def latency_ms(self) -> float:
        return (self.committed_s - self.due_s) * 1_000


class Purses:
    """Accounts that pay each other: the n-th transfer of one is of n µ¥, so that its event names it."""

    def __init__(self, keys: Sequence[SigningKey], chain_id: bytes) -> None:
        self._keys = keys
        self._chain_id = chain_id
        self.sent = {key.address: 0 for key in keys}

    def sign(self, count: int, *, accounts: int) -> list[Ticket]:
        """The next transfers round the first `accounts` accounts, each to the next one."""
        circle = self._keys[:accounts]
        pairs = zip(cycle(circle), islice(cycle(circle), 1, None), strict=False)
        return [self._sign(payer, payee.address) for payer, payee in islice(pairs, count)]

    def _sign(self, key: SigningKey, to: bytes) -> Ticket:
        sequence = self.sent[key.address]
        self.sent[key.address] = sequence + 1
        transaction = make_transaction(
            key,
            chain_id=self._chain_id,
            sequence=sequence,
            expiry_height=_EXPIRY_HEIGHT,
            kind="transfer",
            payload=(to, sequence + 1),
        )
        return Ticket(transaction=transaction, mark=(f"0x{key.address.hex()}", sequence + 1))


class Watcher:
    """Reads the event stream of one node and notes when tickets are committed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open: dict[Mark, Ticket] = {}
        self._done = asyncio.Event()
        self.is_ready = asyncio.Event()
        self.blocks = 0

    def expect(self, tickets: Sequence[Ticket]) -> None:
        self._open.update((ticket.mark, ticket) for ticket in tickets)
        self._done.clear()

    async def run(self) -> None:
        async for event in self._client.events():
            match event:
                case {"event": "transfer", "sender": sender, "amount_uyuan": amount}:
                    ticket = self._open.pop((sender, amount), None)
                    if ticket is not None:
                        ticket.committed_s = monotonic()
                    if not self._open:
                        self._done.set()
                case {"event": "head"}:
                    self.blocks += 1
                case {"event": "subscribed"}:
                    self.is_ready.set()

    async def all_committed(self, *, timeout_s: float) -> bool:
        """Wait for what is expected; False where the time runs out first."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._done.wait()
        except TimeoutError:
            return False
        return True


class Teller:
    """The client of one node; when that cannot be reached it goes to the next one, with all that is not committed."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients
        self._at = 0
        self._given: list[Ticket] = []
        self.refusals: Counter[str] = Counter()

    async def run(self, tickets: Sequence[Ticket]) -> None:
        """Send each of `tickets`, which are sorted by time, when it is due."""
        self._given = []
        start = 0
        async with asyncio.TaskGroup() as posts:
            while start < len(tickets):
                now = monotonic()
                end = next((i for i in range(start, len(tickets)) if tickets[i].due_s > now), len(tickets))
                if end > start:
                    due = tickets[start:end]
                    self._given += due
                    posts.create_task(self._post(due))
                    start = end
                await asyncio.sleep(TICK_S - monotonic() % TICK_S)

    async def _post(self, tickets: Sequence[Ticket]) -> None:
        """Until each is either acknowledged or refused for good."""
        while tickets:
            at = self._at
            try:
                outcomes = await self._clients[at].submit([ticket.transaction for ticket in tickets])
            except Unreachable:
                tickets = self._move_on(at, tickets)
                continue
            except RemoteFailed as error:
                self.refusals[error.code] += len(tickets)
                await asyncio.sleep(_RETRY_S)
                continue
            again = [t for t, error in zip(tickets, outcomes, strict=True) if not self._note(t, error)]
            if again:
                await asyncio.sleep(_RETRY_S)
            tickets = again

    def _move_on(self, failed: int, tickets: Sequence[Ticket]) -> list[Ticket]:
        if self._at != failed:
            return list(tickets)  # another post has moved on already, and taken everything along
        self._at = (self._at + 1) % len(self._clients)
        return [ticket for ticket in self._given if not ticket.committed_s]

    def _note(self, ticket: Ticket, error: GridmeritError | None) -> bool:
        """Note an answer to a ticket; returns True if it settles it."""
        if error is None:
            ticket.acknowledged_s = monotonic()
            return True
        assert isinstance(error, RemoteRejected)
        code = error.code
        if code in _SETTLED_ELSEWHERE:
            return True
        self.refusals[code] += 1
        return False
