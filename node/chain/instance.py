"""The ground that the parts of one chain instance stand on: its chain and rules, the member's key, the clock."""

from __future__ import annotations

from consensus.engine import Engine
from consensus.poca.engine import check_params
from ledger.chain import BlockNode, Chain
from ledger.contract import BlockContext
from ledger.execution import compute_period, find_next_due
from ledger.genesis import Genesis
from ledger.mempool import Mempool, MempoolLimits
from ledger.signatures import SigningKey
from ledger.store import KeyValue
from node.chain.candidate import make_context
from node.chain.rule_sets import RULE_SETS, ActiveRules, RuleBook, RuleSets


class Instance:
    """One chain as one peer has it. `key` is the member's, None where the peer only follows.

    Raises `BadParameters`, `RulesUnknown`, `StoreCorrupt` or `StoreTooNew`.
    """

    def __init__(
        self,
        genesis: Genesis,
        store: KeyValue,
        *,
        key: SigningKey | None,
        engine: Engine,
        limits: MempoolLimits | None,
        rule_sets: RuleSets = RULE_SETS,
    ) -> None:
        check_params(genesis.params)
        self.rules = RuleBook(genesis, rule_sets)
        self.genesis = genesis
        self.params = genesis.params
        self.store = store
        self.key = key
        self.engine = engine
        self.chain = Chain(genesis, store)
        self.rules.check_store(self.chain.head.state, self.chain.head.height)
        self.chain_id = self.chain.chain_id
        self.mempool = Mempool(limits)
        self.wall_ahead_ms = 0  # of the time of the steps, which is never set

    def date(self, now_ms: int) -> int:
        """The time that the wall clock shows."""
        return now_ms + self.wall_ahead_ms

    def is_own(self, public_key: bytes) -> bool:
        """True where a key is this member's."""
        return self.key is not None and public_key == self.key.public_key

    def knows_rules_on(self, parent: BlockNode) -> bool:
        """True if a block on `parent` has rules that this release knows."""
        return self.rules.is_known_at(parent.state, parent.height + 1)

    def rules_on(self, parent: BlockNode) -> ActiveRules:
        """The rules of a block on `parent`. Raises `RulesUnknown`."""
        return self.rules.at(parent.state, parent.height + 1)

    @property
    def is_halted(self) -> bool:
        """True while no block can be put on the head, for its rules are not known here."""
        return not self.knows_rules_on(self.chain.head)

    def make_context(self, parent: BlockNode, producer: bytes, timestamp_ms: int, period: int) -> BlockContext:
        """The context of a block on `parent`; `producer` is an address. Raises `RulesUnknown`."""
        return make_context(
            self.genesis,
            self.rules_on(parent).params,
            parent=parent,
            producer=producer,
            timestamp_ms=timestamp_ms,
            period=period,
        )

    def make_next_context(self, now_ms: int) -> BlockContext:
        """The context of a block that anybody might build on the head now. Raises `RulesUnknown`."""
        head = self.chain.head
        timestamp_ms = max(self.date(now_ms), head.header.timestamp_ms + 1)
        period = compute_period(
            timestamp_ms,
            genesis_time_ms=self.genesis.time_ms,
            period_ms=self.params.ledger.period_ms,
            parent_period=head.header.period,
        )
        return self.make_context(head, bytes(20), timestamp_ms, period)

    def find_next_due(self, now_ms: int) -> int:
        """From when on a block on the head has something to do besides its transactions. Raises `RulesUnknown`."""
        head = self.chain.head
        return find_next_due(head.state, self.make_next_context(now_ms), self.rules_on(head).contracts)
