"""Eclipse: to a victim with all links leading here, the secret core is the network.

Heilman et al. 2015, Eclipse attacks on Bitcoin's peer-to-peer network. What the victim is paid stands on the secret
branch alone; the same money goes elsewhere on the public one. Whatever the victim seals helps the secret branch.
"""

from __future__ import annotations

from random import Random

from pydantic import Field

from ledger.transaction import Transaction
from node.chain.events import Action, Event, TransactionsSubmitted
from node.chain.node import ChainNode
from simulation.attacks.payments import make_conflict
from simulation.attacks.two_faced import PrivateChainAttacker
from simulation.experiments.scenario import Settings


class EclipseSettings(Settings):
    """Settings of the attack: the victim, and the height from which it is deceived."""

    victim: str = Field(default="", pattern="^([0-9a-f]{64})?$", description="the victim's public key, hex")
    from_height: int = Field(default=3, ge=1, description="height at which the branches part")


class Eclipse(PrivateChainAttacker):
    """Honest up to a height; from then on the victim alone sees the secret branch."""

    def __init__(self, node: ChainNode, random: Random, settings: EclipseSettings | None = None) -> None:
        super().__init__(node, random)
        self.settings = settings or EclipseSettings()
        self.victim = bytes.fromhex(self.settings.victim)

    @property
    def has_begun(self) -> bool:
        return bool(self.audience)

    def step(self, event: Event, now_ms: int) -> list[Action]:
        match event:
            case TransactionsSubmitted(transactions=transactions) if self.has_begun:
                return self._pay(transactions, now_ms)
        return super().step(event, now_ms)

    def on_public_block(self, now_ms: int) -> list[Action]:
        if self.has_begun:
            return []
        actions = self.adopt(now_ms)
        if self.public_head.height >= self.settings.from_height and self.victim in self.node.peers:
            actions += self.turn_to([self.victim], now_ms)
        return actions

    def on_secret_block(self, now_ms: int) -> list[Action]:
        return [] if self.has_begun else self.release(now_ms)

    def _pay(self, transactions: tuple[Transaction, ...], now_ms: int) -> list[Action]:
        """Take a client's transfers to the secret branch, and those that contradict them to the public one."""
        conflicts = tuple(make_conflict(self.key, transaction) for transaction in transactions)
        openly = self._openly(TransactionsSubmitted(transactions=conflicts), now_ms)
        return [*openly, *self._hidden(TransactionsSubmitted(transactions=transactions), now_ms)]
