"""A false head: a sealing member without hash power says that it is ahead, and feeds what it makes up to all that ask.

Each kind is a word that no work and no quorum stands behind: a head and headers for it, a head and silence, blocks on
parents that no node has, certificates by members that no node knows, blocks dated ahead of the clock, and under PBFT
any number of proposals. What nodes do must not depend on any of them. In all else it behaves.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Literal

from pydantic import Field

from consensus.quorum import QuorumCertificate, Statement
from ledger.block import MAX_CREDIT_UPT, Block, Header
from ledger.codec import encode
from ledger.execution import compute_period
from node.chain import messages as wire
from node.chain.events import Action, Broadcast, Event, MessageReceived, Send, SetTimer, Started, TimerFired
from node.chain.node import ChainNode
from simulation.attacks.policy import Policy
from simulation.experiments.scenario import Settings

_TIMER = "false-head"
_KEPT = 4_096

FalseHeadKind = Literal["headers", "silence", "parents", "certificates", "dated-ahead", "proposals"]


class FalseHeadSettings(Settings):
    """Settings: what to make up, how much and how often."""

    kind: FalseHeadKind = Field(default="headers", description="what to claim, or to flood with")
    count: int = Field(default=64, ge=1, le=512, description="headers in an answer, or blocks in a burst")
    every_ms: int = Field(default=1_000, ge=1, description="time between claims, ms")


class FalseHead(Policy):
    """A liar about its head: claims on a timer of its own, and answers to nodes that believe it."""

    def __init__(self, node: ChainNode, random: Random, settings: FalseHeadSettings | None = None) -> None:
        super().__init__(node, random)
        assert node.key is not None, "a stranger's word is not even heard"
        self.key = node.key
        self.settings = settings or FalseHeadSettings()
        self.sent = 0
        self._made: dict[bytes, Header] = {}
        self._shown: dict[bytes, Block] = {}

    @property
    def _lies_about_its_head(self) -> bool:
        return self.settings.kind in ("headers", "silence")

    def step(self, event: Event, now_ms: int) -> list[Action]:
        match event:
            case Started():
                return [*map(self._falsify, self.node.step(event, now_ms)), self._again(now_ms)]
            case TimerFired(name="false-head"):
                return [self._again(now_ms), *self._claim(now_ms)]
            case MessageReceived(peer=peer, message=wire.GetHeaders(locator=locator)) if self._lies_about_its_head:
                if self.settings.kind == "silence":
                    return []
                headers = self._continue(locator)
                return [Send(peer=peer, message=wire.Headers(raw=tuple(encode(one.to_value()) for one in headers)))]
            case MessageReceived(peer=peer, message=wire.GetBlocks(ids=ids)) if any(one in self._shown for one in ids):
                raw = tuple(self._shown[one].raw for one in ids if one in self._shown)
                return [Send(peer=peer, message=wire.Blocks(raw=raw)), *self.node.step(event, now_ms)]
        return [self._falsify(action) for action in self.node.step(event, now_ms)]

    def _again(self, now_ms: int) -> SetTimer:
        return SetTimer(name=_TIMER, at_ms=now_ms + self.settings.every_ms)

    def _falsify(self, action: Action) -> Action:
        """Its node's own statuses would give it away."""
        if not self._lies_about_its_head:
            return action
        match action:
            case Broadcast(message=wire.Status()):
                return Broadcast(message=self._make_status())
            case Send(peer=peer, message=wire.Status()):
                return Send(peer=peer, message=self._make_status())
        return action

    def _claim(self, now_ms: int) -> list[Action]:
        self.sent += 1
        count = self.settings.count
        match self.settings.kind:
            case "headers" | "silence":
                return [Broadcast(message=self._make_status())]
            case "parents":
                made = [self._make_header(self._orphan(), now_ms) for _ in range(count)]
                return [Broadcast(message=wire.NewBlock(header=encode(one.to_value()), ids=())) for one in made]
            case "certificates":
                return [Broadcast(message=self._make_certificate()) for _ in range(count)]
            case "dated-ahead":
                return self._show(now_ms + self.node.params.consensus.max_ahead_ms // 2)
            case "proposals":
                return self._show(now_ms)

    def _make_status(self) -> wire.Status:
        """One block more than the head has, with one unit more of work."""
        head = self.node.chain.head
        return wire.Status(
            head=self.random.randbytes(32),
            height=head.height + 1,
            work=(head.work + 1).to_bytes(40, "big"),
            final_height=self.node.chain.final_height,
        )

    def _continue(self, locator: tuple[bytes, ...]) -> list[Header]:
        """Headers on the last one shown, or on the head."""
        below = self._made.get(locator[0]) if locator else None
        headers = [below or self.node.chain.head.header]
        for _ in range(self.settings.count):
            headers.append(self._make_header(headers[-1], headers[-1].timestamp_ms + 1))
        self._made.update((header.hash, header) for header in headers[1:])
        for old in list(self._made)[: max(0, len(self._made) - _KEPT)]:
            del self._made[old]
        assert all(above.parent == under.hash for under, above in pairwise(headers))
        return headers[1:]

    def _show(self, timestamp_ms: int) -> list[Action]:
        """Announce different blocks on the head, with headers that claim what they may, and have bodies ready."""
        head = self.node.chain.head
        proposal = self.node.engine.propose(self.key.public_key, head, self.node.chain, timestamp_ms)
        if proposal is None:
            return []
        blocks = []
        for _ in range(self.settings.count):
            made = self._make_header(head.header, proposal.timestamp_ms)
            header = replace(made, credit_upt=proposal.credit_upt, n_diff=proposal.n_diff, period=proposal.period)
            blocks.append(Block(header=header.sealed(self.random.getrandbits(64), self.key), transactions=()))
        self._shown = {block.hash: block for block in blocks}
        return [
            Broadcast(message=wire.NewBlock(header=encode(block.header.to_value()), ids=(self.random.randbytes(32),)))
            for block in blocks
        ]

    def _orphan(self) -> Header:
        return replace(self.node.chain.head.header, parent=self.random.randbytes(32))

    def _make_header(self, parent: Header, timestamp_ms: int) -> Header:
        """A header that claims the easiest target and all the credit there is; signed, for it is a member's word."""
        genesis, timestamp_ms = self.node.genesis, max(timestamp_ms, parent.timestamp_ms + 1)
        return replace(
            parent,
            height=parent.height + 1,
            parent=parent.hash,
            timestamp_ms=timestamp_ms,
            producer=self.key.public_key,
            credit_upt=MAX_CREDIT_UPT,
            n_diff=2**256 - 1,
            period=compute_period(
                timestamp_ms,
                genesis_time_ms=genesis.time_ms,
                period_ms=genesis.params.ledger.period_ms,
                parent_period=parent.period,
            ),
            state_root=self.random.randbytes(32),
        ).sealed(self.random.getrandbits(64), self.key)

    def _make_certificate(self) -> wire.Certificate:
        """Make a certificate by members that come after a change of which no node has heard."""
        final = self.node.final_certificate
        slot = 1_000 + (0 if final is None else final.statement.slot)
        statement = Statement(
            chain_id=self.node.chain_id, slot=slot, block_hash=self.random.randbytes(32), since_slot=slot
        )
        signatures = ((self.key.public_key, self.random.randbytes(64)),)
        return wire.Certificate(raw=encode(QuorumCertificate(statement=statement, signatures=signatures).to_value()))
