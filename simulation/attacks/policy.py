"""The port of an attacker: events in, actions out, round an honest `ChainNode`."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from node.chain.events import Action, Event
from node.chain.node import ChainNode


class Policy:
    """Does what its node does. An attack overrides `step`, and keeps what it withholds in itself.

    `random` is the only source of chance; drivers seed it.
    """

    def __init__(self, node: ChainNode, random: Random) -> None:
        self.node = node
        self.random = random

    def step(self, event: Event, now_ms: int) -> list[Action]:
        """Actions about `event`, in this order; the same contract as `ChainNode.step`."""
        return self.node.step(event, now_ms)


PolicyFactory: TypeAlias = Callable[[ChainNode, Random], Policy]
