"""Lying about time: an honest node in all else, with blocks dated as early or as late as the others let pass.

What it is after is the retarget: easier blocks, or a chain slowed down or sped up (docs/decisions/0002-retarget.md).
"""

from __future__ import annotations

from random import Random
from typing import Literal

from pydantic import Field

from node.chain.events import Action, Event, SealFound, SetTimer, StartSealing, TimerFired
from node.chain.node import ChainNode
from simulation.attacks.policy import Policy
from simulation.experiments.scenario import Settings

_RESEAL = "reseal"


class TimestampSettings(Settings):
    """Settings of the attack: the direction of the lie, and its size."""

    direction: Literal["backward", "forward", "alternate"] = Field(
        default="backward", description="how blocks are dated; alternate: one so, the next so"
    )
    reach_ms: int = Field(default=10**9, ge=0, description="how far back, ms; no further than the median allows")
    ahead_ms: int = Field(default=5_000, ge=0, description="how far ahead, ms; others put off what is ahead")


class TimestampAttacker(Policy):
    """Has each candidate built a second time by a wrong clock, which nothing else of the node goes by."""

    def __init__(self, node: ChainNode, random: Random, settings: TimestampSettings | None = None) -> None:
        super().__init__(node, random)
        self.settings = settings or TimestampSettings()
        self._found = 0

    def step(self, event: Event, now_ms: int) -> list[Action]:
        if isinstance(event, SealFound):
            self._found += 1
        if event == TimerFired(name=_RESEAL):
            return self._propose(now_ms)
        actions = self.node.step(event, now_ms)
        if not any(isinstance(action, StartSealing) for action in actions):
            return actions
        return [*(action for action in actions if not isinstance(action, StartSealing)), *self._propose(now_ms)]

    def _propose(self, now_ms: int) -> list[Action]:
        """A fresh candidate by the wrong clock; timers run by the right one."""
        skew_ms = self._skew_ms()
        actions = self.node.step(TimerFired(name=_RESEAL), now_ms + skew_ms)
        return [
            SetTimer(name=action.name, at_ms=action.at_ms - skew_ms) if isinstance(action, SetTimer) else action
            for action in actions
        ]

    def _skew_ms(self) -> int:
        match self.settings.direction:
            case "backward":
                is_forward = False
            case "forward":
                is_forward = True
            case "alternate":
                is_forward = bool(self._found % 2)
        return self.settings.ahead_ms if is_forward else -self.settings.reach_ms
