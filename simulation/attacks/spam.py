"""Spam: a member floods mempools and gossip with what costs it nothing.

Transactions that are well formed and bound to fail, or to wait for one that never comes; announcements of what there is
not; headers that no member sealed. It makes them on a timer of its own, and behaves in all else.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Literal

from pydantic import Field

from ledger.accounts import get_account
from ledger.codec import encode
from ledger.overlay import Overlay
from ledger.transaction import Transaction, make_transaction
from node.chain import messages as wire
from node.chain.events import Action, Broadcast, Event, MessageReceived, Send, SetTimer, Started, TimerFired
from node.chain.node import ChainNode
from simulation.attacks.policy import Policy
from simulation.experiments.scenario import Settings

_TIMER = "spam"
_AHEAD = 1_000  # sequences ahead of the chain's; mempools take 1 024
_POOL_BYTES = 16_000_000  # what a mempool holds; beyond, only the smallest may still find room
_KEPT = 4_096
_EXPIRY_BLOCKS = 1_000
_REPLY_BYTES = 4_000_000  # a message is at most 8 MB
_ITEM_BYTES = 16_000  # one payload item


class SpamSettings(Settings):
    """Settings of the attack: what to send, how much and how often."""

    kind: Literal["failing", "waiting", "announcements", "headers"] = Field(
        default="failing", description="what to flood with: transactions of two kinds, or other messages"
    )
    count: int = Field(default=20, ge=1, le=512, description="items per burst")
    size: int = Field(default=200, ge=1, le=4_000_000, description="payload of one transaction, bytes")
    every_ms: int = Field(default=1_000, ge=1, description="time between bursts, ms")


class Spammer(Policy):
    """Sends a burst whenever its timer fires."""

    def __init__(self, node: ChainNode, random: Random, settings: SpamSettings | None = None) -> None:
        super().__init__(node, random)
        assert node.key is not None, "only a member's transactions are taken in"
        self.key = node.key
        self.settings = settings or SpamSettings()
        self.sent = 0
        self._mine: dict[bytes, Transaction] = {}
        self._sequence = 0

    def step(self, event: Event, now_ms: int) -> list[Action]:
        match event:
            case Started():
                return [*self.node.step(event, now_ms), self._again(now_ms)]
            case TimerFired(name="spam"):
                return [self._again(now_ms), *self._burst()]
            case MessageReceived(peer=peer, message=wire.GetTransactions(ids=ids)):
                found = [self._mine[item].raw for item in ids if item in self._mine]
                if found:
                    fitting = tuple(found[: max(1, _REPLY_BYTES // len(max(found, key=len)))])
                    return [Send(peer=peer, message=wire.Transactions(raw=fitting)), *self.node.step(event, now_ms)]
        return self.node.step(event, now_ms)

    def _again(self, now_ms: int) -> SetTimer:
        return SetTimer(name=_TIMER, at_ms=now_ms + self.settings.every_ms)

    def _burst(self) -> list[Action]:
        count = self.settings.count
        match self.settings.kind:
            case "failing" | "waiting":
                made = self._make_transactions(count)
                self.sent += len(made)
                return [Broadcast(message=wire.TransactionIds(ids=tuple(one.id for one in made)))] if made else []
            case "announcements":
                self.sent += count
                return [Broadcast(message=wire.TransactionIds(ids=tuple(map(self.random.randbytes, [32] * count))))]
            case "headers":
                self.sent += count
                return [Broadcast(message=self._make_header()) for _ in range(count)]

    def _make_transactions(self, count: int) -> list[Transaction]:
        """Transfers to no one. They fail in a block, at the cost of a sequence number, or wait for the one left out."""
        head = self.node.chain.head
        spent = get_account(Overlay(head.state), self.key.address).sequence
        self._sequence = max(self._sequence, spent + (self.settings.kind == "waiting"))
        made = []
        for _ in range(min(count, spent + _AHEAD - self._sequence)):
            made.append(
                make_transaction(
                    self.key,
                    chain_id=self.node.chain_id,
                    sequence=self._sequence,
                    expiry_height=head.height + _EXPIRY_BLOCKS,
                    kind="transfer",
                    payload=self._make_payload((self._sequence - spent) * self.settings.size),
                )
            )
            self._sequence += 1
        self._mine.update((one.id, one) for one in made)
        for identity in list(self._mine)[: max(0, len(self._mine) - _KEPT)]:
            del self._mine[identity]
        return made

    def _make_payload(self, pending_bytes: int) -> tuple[bytes, ...]:
        size = self.settings.size if pending_bytes < _POOL_BYTES else 1
        whole, rest = divmod(size, _ITEM_BYTES)
        return (*[bytes(_ITEM_BYTES)] * whole, bytes(rest))

    def _make_header(self) -> wire.NewBlock:
        """The head's header with another nonce: no member has sealed it."""
        header = replace(self.node.chain.head.header, nonce=self.random.getrandbits(64))
        return wire.NewBlock(header=encode(header.to_value()), ids=())
