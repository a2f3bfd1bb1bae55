"""A node that seals twice, and floods the watch in between: `python -m tests.processes.flushing_node DIR`.

Its network must be disposable, as for `gridmerit attack`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

from gridmerit.commands.start import run_node
from ledger.block import Block
from ledger.codec import encode
from node.chain import messages as wire
from node.chain.events import Action, Broadcast, Event, SetTimer, TimerFired
from node.chain.node import ChainNode
from simulation.attacks.equivocation import Equivocator

_TIMER, _EVERY_MS = "flush", 200
_HEADERS, _BURST = 4_200, 300


class FlushedWatch(Equivocator):
    """Shows one block of its own to everybody, 4 200 headers on parents that nobody has, and then the block's twin."""

    def __init__(self, node: ChainNode, random: Random):
        super().__init__(node, random)
        self._twin: wire.NewBlock | None = None
        self._left = _HEADERS

    def step(self, event: Event, now_ms: int) -> list[Action]:
        if isinstance(event, TimerFired) and event.name == _TIMER:
            return self._go_on(now_ms)
        had_none = self._twin is None
        actions = super().step(event, now_ms)
        return [*actions, *self._go_on(now_ms)] if had_none and self._twin is not None else actions

    def _split(self, action: Action, twin: Block) -> list[Action]:
        if isinstance(action, Broadcast) and isinstance(action.message, wire.NewBlock) and self._twin is None:
            self._twin = wire.NewBlock(header=encode(twin.header.to_value()), ids=action.message.ids)
        return [action]

    def _go_on(self, now_ms: int) -> list[Action]:
        assert self._twin is not None
        if self._left <= 0:
            return [Broadcast(message=self._twin)]
        self._left -= _BURST
        again = SetTimer(name=_TIMER, at_ms=now_ms + _EVERY_MS)
        return [*(Broadcast(message=self._make_stray(now_ms)) for _ in range(_BURST)), again]

    def _make_stray(self, now_ms: int) -> wire.NewBlock:
        """A header that needs no work, as it says itself."""
        header = replace(
            self.node.chain.head.header,
            parent=self.random.randbytes(32),
            timestamp_ms=now_ms,
            producer=self.key.public_key,
            n_diff=2**256 - 1,
        )
        return wire.NewBlock(header=encode(header.sealed(0, self.key).to_value()), ids=())


if __name__ == "__main__":
    sys.exit(run_node(Path(sys.argv[1]), lambda node: FlushedWatch(node, Random(0))))
