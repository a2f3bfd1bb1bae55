"""Long range: rewrite the chain from far back with a key that was good then, and show that once it has more work.

The branch grows from an early block, where the key still has its credit and its seat, whatever became of them since.
"""

from __future__ import annotations

from random import Random

from pydantic import Field

from node.chain.events import Action, Event, PeerConnected, StartSealing, TimerFired
from node.chain.node import ChainNode
from simulation.attacks.two_faced import PrivateChainAttacker
from simulation.experiments.scenario import Settings


class LongRangeSettings(Settings):
    """Settings of the attack: where the branch begins, and when."""

    from_height: int = Field(default=5, ge=0, description="height of the last block that both branches share")
    until_height: int = Field(default=40, ge=1, description="height of the public chain at which it begins to seal")


class LongRange(PrivateChainAttacker):
    """Seals nothing until late, then a branch from far back; once that is the heavier one, it shows no other."""

    def __init__(self, node: ChainNode, random: Random, settings: LongRangeSettings | None = None) -> None:
        super().__init__(node, random)
        self.settings = settings or LongRangeSettings()
        self.has_begun = False
        self.is_shown = False

    def step(self, event: Event, now_ms: int) -> list[Action]:
        match event:
            case PeerConnected(peer=peer) if self.is_shown and peer not in self.audience:
                return self.turn_to([peer], now_ms)
        actions = super().step(event, now_ms)
        return actions if self.has_begun else [one for one in actions if not isinstance(one, StartSealing)]

    def on_public_block(self, now_ms: int) -> list[Action]:
        if self.has_begun:
            return []
        if self.public_head.height <= self.settings.from_height:
            return self.adopt(now_ms)
        if self.public_head.height < self.settings.until_height:
            return []
        self.has_begun = True
        return self._hidden(TimerFired(name="reseal"), now_ms)

    def on_secret_block(self, now_ms: int) -> list[Action]:
        if self.is_shown or self.secret_head.work <= self.public_head.work:
            return []
        self.is_shown = True
        return self.turn_to(tuple(self.node.peers), now_ms)
