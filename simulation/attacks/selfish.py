"""Selfish mining: withhold blocks and show them when that makes honest work worthless.

SM1 of Eyal & Sirer 2014, Majority is not enough, and the stubborn variants of Nayak et al. 2016, Stubborn mining.
"""

from __future__ import annotations

from random import Random

from pydantic import Field

from node.chain.events import Action
from node.chain.node import ChainNode
from simulation.attacks.two_faced import PrivateChainAttacker
from simulation.experiments.scenario import Settings


class SelfishSettings(Settings):
    """SM1 by default; each kind of stubbornness may be added."""

    lead_stubborn: bool = Field(default=False, description="with a lead, show only as much as draws level")
    fork_stubborn: bool = Field(default=False, description="in a tie, keep the next block secret too")
    trail: int = Field(default=0, ge=0, le=100, description="blocks behind at which it still does not give up")


class SelfishMiner(PrivateChainAttacker):
    """Withholds what it finds; decides anew at every block, by how far the secret branch leads the public one."""

    relays_blocks = False

    def __init__(self, node: ChainNode, random: Random, settings: SelfishSettings | None = None) -> None:
        super().__init__(node, random)
        self.settings = settings or SelfishSettings()
        self._is_tied = False  # two public branches of one length, one of them ours

    def on_secret_block(self, now_ms: int) -> list[Action]:
        was_tied, self._is_tied = self._is_tied, False
        if was_tied and not self.settings.fork_stubborn:
            return self.release(now_ms)
        if self.lead == 0:  # it was behind, and has drawn level
            return self._draw_level(now_ms)
        return []

    def on_public_block(self, now_ms: int) -> list[Action]:
        self._is_tied = False
        if self.lead < -self.settings.trail:
            return self.adopt(now_ms)
        if self.lead == 0:
            return self._draw_level(now_ms)
        if self.lead == 1 and not self.settings.lead_stubborn:
            return self.release(now_ms)
        return self.release(now_ms, up_to=self.public_head.height)

    def _draw_level(self, now_ms: int) -> list[Action]:
        self._is_tied = bool(self.withheld())
        return self.release(now_ms)
