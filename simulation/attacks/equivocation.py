"""Equivocation: two blocks on one parent, one for each half of the network.

The second differs in its nonce alone, so that it is as valid as the first. The core knows nothing of it, nor of what
is said against its own key.
"""

from __future__ import annotations

from random import Random

from pydantic import Field

from consensus.evidence import Equivocation
from consensus.seal import search
from ledger.block import Block
from ledger.chain import BlockNode
from ledger.codec import decode, encode
from ledger.errors import GridmeritError
from node.chain import messages as wire
from node.chain.events import Action, Broadcast, Event, MessageReceived, SealFound, Send, StartSealing
from node.chain.node import ChainNode
from simulation.attacks.policy import Policy
from simulation.experiments.scenario import Settings

_MAX_BYTES = 10_000
_MAX_TWINS = 256


class EquivocationSettings(Settings):
    """Settings of the attack: how hard it tries."""

    tries: int = Field(default=2**25, ge=1, description="nonces to search for the second block")


class Equivocator(Policy):
    """Seals every block of its own twice."""

    def __init__(self, node: ChainNode, random: Random, settings: EquivocationSettings | None = None) -> None:
        super().__init__(node, random)
        assert node.key is not None, "an observer seals nothing"
        self.key = node.key
        self.settings = settings or EquivocationSettings()
        self.twins: dict[bytes, Block] = {}  # the second blocks, by hash
        self.offences = 0
        self._target = 0  # of the search that is on

    def step(self, event: Event, now_ms: int) -> list[Action]:
        match event:
            case MessageReceived(peer=peer, message=wire.GetBlocks(ids=ids)) if any(item in self.twins for item in ids):
                raw = tuple(self.twins[item].raw for item in ids if item in self.twins)
                return [Send(peer=peer, message=wire.Blocks(raw=raw)), *self._step(event, now_ms)]
            case SealFound():
                return self._seal_twice(event, now_ms)
        return self._step(event, now_ms)

    def _step(self, event: Event, now_ms: int) -> list[Action]:
        """A step of the core, without what convicts it."""
        if isinstance(event, MessageReceived) and self._is_against_me(event.message):
            return []
        actions = self.node.step(event, now_ms)
        self._target = next((one.target for one in actions if isinstance(one, StartSealing)), self._target)
        return [one for one in actions if not (isinstance(one, Broadcast) and self._is_against_me(one.message))]

    def _is_against_me(self, message: wire.Message) -> bool:
        if not isinstance(message, wire.Evidence) or message.kind != "equivocation":
            return False
        try:
            evidence = Equivocation.from_value(decode(message.raw, max_bytes=_MAX_BYTES))
        except GridmeritError:
            return False  # the core knows what to make of it
        return evidence.producer == self.key.public_key

    def _seal_twice(self, event: SealFound, now_ms: int) -> list[Action]:
        before, target = self.node.chain.head.hash, self._target
        actions = self._step(event, now_ms)
        entry = self.node.chain.head
        if entry.hash == before or entry.header.producer != self.key.public_key:
            return actions
        twin = self._make_twin(entry, target)
        if twin is None:
            return actions
        self.offences += 1
        self.twins[twin.hash] = twin
        if len(self.twins) > _MAX_TWINS:
            del self.twins[next(iter(self.twins))]
        return [part for action in actions for part in self._split(action, twin)]

    def _make_twin(self, entry: BlockNode, target: int) -> Block | None:
        """The same block with another nonce; None where none is found in so many tries."""
        assert entry.block is not None
        header = entry.header
        start = (header.nonce + 1) % (2**64 - self.settings.tries)
        nonce = search(header.root, target, start=start, count=self.settings.tries)
        if nonce is None or nonce == header.nonce:
            return None
        return Block(header=header.sealed(nonce, self.key), transactions=entry.block.transactions)

    def _split(self, action: Action, twin: Block) -> list[Action]:
        """Of an announcement of the first block, make one of each for half of the peers."""
        if not (isinstance(action, Broadcast) and isinstance(action.message, wire.NewBlock)):
            return [action]
        other = wire.NewBlock(header=encode(twin.header.to_value()), ids=action.message.ids)
        peers = sorted(self.node.peers)
        half = (len(peers) + 1) // 2
        return [Send(peer=peer, message=action.message if index < half else other) for index, peer in enumerate(peers)]
