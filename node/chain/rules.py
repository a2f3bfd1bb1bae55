"""The two kinds of consensus that a chain's parameters may name, each with its engine and its way of progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from consensus.engine import Engine
from consensus.pbft.engine import PbftEngine
from consensus.poca.engine import PocaEngine
from ledger.chain import BlockNode
from ledger.genesis import Genesis
from ledger.params import ChainParams
from node.chain.agreement import Agreement
from node.chain.fork_choice import ForkChoice


class Rules(NamedTuple):
    """The engine that judges a chain's headers, and its way of progress."""

    engine: Callable[[Genesis], Engine]
    progress: type[ForkChoice] | type[Agreement]
    slot_of: Callable[[BlockNode], int]


_RULES = {
    "poca": Rules(PocaEngine, ForkChoice, ForkChoice.slot_of),
    "pbft": Rules(PbftEngine, Agreement, Agreement.slot_of),
}


def choose_rules(params: ChainParams) -> Rules:
    """The rules that the parameters name."""
    return _RULES[params.consensus.engine]
