"""The versions of a chain's rules that this release knows, and which of them holds for a block.

A version changes what executing a block means: contracts, and the parameters that they see. How headers are judged,
what is final, how long a period is, and the bounds within which bytes are read, stay those of the genesis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ledger.contract import Contracts
from ledger.errors import StoreTooNew
from ledger.genesis import Genesis
from ledger.overlay import Overlay
from ledger.params import ChainParams
from ledger.state import State
from ledger.upgrades import RuleSchedule, get_schedule
from node.chain.contracts import build_contracts
from node.errors import RulesUnknown


def _keep(params: ChainParams) -> ChainParams:
    return params


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """One version of the rules, by its difference from the one before.

    `change` makes its parameters of those before; `build` makes its contracts.
    """

    change: Callable[[ChainParams], ChainParams] = _keep
    build: Callable[[Genesis], Contracts] = build_contracts


RuleSets: TypeAlias = Mapping[int, RuleSet]
RULE_SETS: RuleSets = {1: RuleSet()}


class ActiveRules(NamedTuple):
    """The rules by which one block is executed."""

    version: int
    params: ChainParams
    contracts: Contracts


class RuleBook:
    """The rules of one chain by version. Raises `RulesUnknown` where its genesis is of a version not known here."""

    def __init__(self, genesis: Genesis, rule_sets: RuleSets = RULE_SETS) -> None:
        self._founding = genesis.params
        self._known: dict[int, ActiveRules] = {}
        first, params = genesis.params.rules, genesis.params
        if first not in rule_sets:
            raise RulesUnknown(rules=first, height=0, newest=max(rule_sets))
        for version in range(first, max(rule_sets) + 1):
            if version > first:
                params = rule_sets[version].change(params)
                assert _fixed(params) == _fixed(genesis.params), "a version changes none of these"
            self._known[version] = ActiveRules(version, params, rule_sets[version].build(genesis))
        self._producers_kinds = frozenset(
            kind for one in self._known.values() for kind in one.contracts.producer_handlers
        )

    @property
    def newest(self) -> int:
        """The newest version that is known."""
        return max(self._known)

    def get_schedule(self, state: State) -> RuleSchedule:
        """The version in force and the one announced, as a state has them."""
        return get_schedule(Overlay(state), self._founding)

    def is_known_at(self, state: State, height: int) -> bool:
        """True if the rules are known that a block at `height` has, whose parent left `state`."""
        return self.get_schedule(state).at(height) in self._known

    def at(self, state: State, height: int) -> ActiveRules:
        """The rules of a block at `height` whose parent left `state`. Raises `RulesUnknown`."""
        version = self.get_schedule(state).at(height)
        if version not in self._known:
            raise RulesUnknown(rules=version, height=height, newest=self.newest)
        return self._known[version]

    def at_next(self, state: State, height: int) -> ActiveRules:
        """The rules of the block after one at `height` that left `state`; where they are not known, that one's own."""
        next_height = height + 1 if self.is_known_at(state, height + 1) else height
        return self.at(state, next_height)

    def check_store(self, state: State, height: int) -> None:
        """Raise `StoreTooNew` where the head itself, in a store, is of a version that is not known."""
        version = self.get_schedule(state).at(height)
        if version not in self._known:
            raise StoreTooNew(what=f"the rule set of block {height}", actual=version, limit=self.newest)

    def is_producers_kind(self, kind: str) -> bool:
        """True if only a block's producer puts that kind of transaction into it, in any version."""
        return kind in self._producers_kinds


def _fixed(params: ChainParams) -> tuple[object, ...]:
    return params.name, params.kind, params.consensus, params.ledger.period_ms, params.rules
