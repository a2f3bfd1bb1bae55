"""Double spend by catch-up: pay, build a longer branch without the payment in secret, release it once that is believed.

Nakamoto 2008, section 11. The attacker begins its branch at the parent of the block that holds its payment, puts a
conflicting transaction on it, and gives up when too far behind.
"""

from __future__ import annotations

from random import Random
from typing import Literal

from pydantic import Field

from ledger.transaction import Transaction
from node.chain.events import Action, Event, TransactionsSubmitted
from node.chain.node import ChainNode
from simulation.attacks.payments import is_own_transfer, make_conflict
from simulation.attacks.two_faced import PrivateChainAttacker
from simulation.experiments.scenario import Settings


class DoubleSpendSettings(Settings):
    """Settings of the attack: the confirmations that the attacker waits for."""

    confirmations: int = Field(default=6, ge=1, le=1_000, description="blocks after which the merchant delivers")
    accept: Literal["depth", "final"] = Field(
        default="depth", description="whether the merchant counts blocks or awaits finality"
    )
    give_up: int = Field(default=20, ge=1, le=1_000, description="deficit in blocks at which the attacker stops")


class DoubleSpend(PrivateChainAttacker):
    """Honest until a client submits a transfer at this node: that is the payment to be taken back."""

    def __init__(self, node: ChainNode, random: Random, settings: DoubleSpendSettings | None = None) -> None:
        super().__init__(node, random)
        self.settings = settings or DoubleSpendSettings()
        self.payment: Transaction | None = None
        self.outcome: Literal["", "released", "gave up"] = ""
        self.has_caught_up = False  # whether the secret branch has been as long as a public one that is believed

    def step(self, event: Event, now_ms: int) -> list[Action]:
        match event:
            case TransactionsSubmitted(transactions=(payment, *_)) if not self.payment and is_own_transfer(
                self.key, payment
            ):
                self.payment, conflict = payment, make_conflict(self.key, payment)
                hidden = self._hidden(TransactionsSubmitted(transactions=(conflict,)), now_ms)
                return [*super().step(event, now_ms), *hidden]
        return super().step(event, now_ms)

    def on_public_block(self, now_ms: int) -> list[Action]:
        return self._consider(now_ms) if self._is_racing and self._depth else self.adopt(now_ms)

    def on_secret_block(self, now_ms: int) -> list[Action]:
        return self._consider(now_ms) if self._is_racing else self.release(now_ms)

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _is_racing(self) -> bool:
        return self.payment is not None and not self.outcome

    @property
    def _depth(self) -> int:
        """Confirmations of the payment on the public chain."""
        assert self.payment is not None
        chain = self.node.chain
        for entry in chain.ancestors(chain.head):
            if self.secret.chain.get_header(entry.hash) is not None:
                return 0  # here the branches part, and it has not come
            block = chain.get_block(entry.hash)
            if block is not None and any(tx.id == self.payment.id for tx in block.transactions):
                return chain.head.height - entry.height + 1
        return 0

    def _is_believed(self, depth: int) -> bool:
        if self.settings.accept == "depth":
            return depth >= self.settings.confirmations
        return bool(depth) and self.public_head.height - depth + 1 <= self.node.chain.final_height

    def _consider(self, now_ms: int) -> list[Action]:
        """Release, go on or give up. Whether the others may follow what is released is theirs to say."""
        if -self.lead >= self.settings.give_up:
            self.outcome = "gave up"
            return self.adopt(now_ms)
        if not self._is_believed(self._depth):
            return []
        self.has_caught_up |= self.lead >= 0
        if self.secret_head.work <= self.public_head.work:
            return []
        self.outcome = "released"
        return self.release(now_ms)
