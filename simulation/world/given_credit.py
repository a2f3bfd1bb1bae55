"""Worlds with credits that an experiment gives to their members, instead of their earning them.

And the naive work rule, which design section 3 forbids, so that what it invites can be seen. No node has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from consensus.engine import Ancestry, Engine, Weighed
from consensus.poca.credit_target import compute_target, compute_weight
from ledger.block import Header
from ledger.chain import BlockNode
from ledger.genesis import Genesis
from ledger.signatures import SigningKey
from ledger.snapshot import SealerSnapshot, Snapshot
from simulation.world.sealing import DrawnEngine
from simulation.world.world import World

WorkRule: TypeAlias = Literal["credit-free", "naive"]


class StandingEngine(DrawnEngine):
    """Proof of credit assessment under credits (micro-points, by public key) that no block changes.

    Under the "naive" rule a block's work is that of its credit-scaled target, so that the harder a block is to find for
    its producer, the more it weighs: credit cancels out.
    """

    def __init__(self, genesis: Genesis, credits_upt: Mapping[bytes, int], work_rule: WorkRule = "credit-free") -> None:
        super().__init__(genesis)
        self._credits_upt = credits_upt
        self._work_rule = work_rule

    def _snapshot_of(self, parent: BlockNode) -> Snapshot:
        snapshot = super()._snapshot_of(parent)
        return replace(snapshot, members=self._place(snapshot.members), previous=self._place(snapshot.previous))

    def _place(self, members: Mapping[bytes, SealerSnapshot]) -> dict[bytes, SealerSnapshot]:
        return {key: replace(standing, credit_upt=self._credits_upt[key]) for key, standing in members.items()}

    def check_header(self, header: Header, parent: BlockNode, chain: Ancestry) -> Weighed:
        weighed = super().check_header(header, parent, chain)
        if self._work_rule == "credit-free":
            return weighed
        target = compute_target(header.n_diff, header.credit_upt, self._params.tau_upt)
        return replace(weighed, work=parent.work + 2**256 // (target + 1))


class StandingWorld(World):
    """Full nodes, seals drawn, under a `StandingEngine`; credits in micro-points by name."""

    def __init__(
        self,
        genesis: Genesis,
        keys: Mapping[str, SigningKey],
        *,
        credits_upt: Mapping[str, int],
        work_rule: WorkRule = "credit-free",
        **options: Any,
    ) -> None:
        self._credits_upt = {keys[name].public_key: credit_upt for name, credit_upt in credits_upt.items()}
        self._work_rule: WorkRule = work_rule
        super().__init__(genesis, keys, sealing="drawn", **options)

    def _make_engine(self) -> Engine:
        return StandingEngine(self.genesis, self._credits_upt, self._work_rule)


def compute_n_diff_for(
    credits_upt: Mapping[str, int], hash_rates: Mapping[str, int], *, tau_upt: int, interval_ms: int
) -> int:
    """The N_diff at which all of them together find a block per interval; nonces per second by name."""
    rate = sum(hash_rates[name] * compute_weight(credit_upt, tau_upt) for name, credit_upt in credits_upt.items())
    return (2**256 * 1_000 << 64) // (rate * interval_ms)
