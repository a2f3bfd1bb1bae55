"""The parts of a chain instance that its way of progress stands on, and what lies between that and peers."""

from __future__ import annotations

from dataclasses import dataclass

from node.chain.filling import Filling
from node.chain.finality import Finality
from node.chain.gossip import Gossip
from node.chain.importer import Importer
from node.chain.instance import Instance
from node.chain.late_blocks import GateWatch
from node.chain.pool import Pool
from node.chain.signing import Signing
from node.chain.trusted_block import TrustedBranch


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All that `ForkChoice` or `Agreement` may read, and `CatchingUp`, `Arrivals` and `HeadMoves` beside it."""

    instance: Instance
    trusted_branch: TrustedBranch
    importer: Importer
    signing: Signing
    gossip: Gossip
    finality: Finality
    filling: Filling
    pool: Pool
    gates: GateWatch
