"""Filling the next block: what stands in it besides what consensus fixes."""

from __future__ import annotations

from itertools import islice

from consensus.engine import Proposal
from consensus.relays import RELAY
from ledger.signatures import SigningKey
from ledger.steps import Steps
from node.chain.candidate import Candidate, build_candidate
from node.chain.finality import Finality
from node.chain.instance import Instance
from node.chain.pool import Pool
from node.chain.relays import Relays


class Filling:
    """The source of a block's transactions: certificates and evidence, relays, then what is pending."""

    def __init__(self, instance: Instance, *, finality: Finality, relays: Relays, pool: Pool) -> None:
        self._instance = instance
        self._finality = finality
        self._relays = relays
        self._pool = pool

    @property
    def renew_ms(self) -> int:
        """The time after which a block that is being built is built anew, for time and pool move on."""
        return min(2_000, max(100, self._instance.params.consensus.block_interval_ms // 2))

    def has_producers(self) -> bool:
        """True where there is something to try that only a producer puts into a block."""
        state = self._instance.chain.head.state
        own = self._finality.checkpoints.for_the_next_block(state), self._relays.waiting.for_the_next_block(state)
        return any(True for items in own for _ in items)

    def has_relay(self, now_ms: int) -> bool:
        """True where a relay waits that whoever leads must put into the next block."""
        context = self._instance.make_next_context(now_ms)
        return self._relays.waiting.has_acceptable(self._instance.chain.head, context)

    def fill(self, key: SigningKey, proposal: Proposal) -> Steps[Candidate]:
        """Fill a block on the head of now, in steps; relays that it refused without being full are given up."""
        head = self._instance.chain.head
        rules = self._instance.rules_on(head)
        most = rules.params.ledger.max_block_relays or None
        relays = dict(islice(self._relays.waiting.for_the_next_block(head.state), most))
        candidate = yield from build_candidate(
            key,
            proposal,
            head,
            genesis=self._instance.genesis,
            rules=rules,
            producers=[*self._finality.checkpoints.for_the_next_block(head.state), *relays.values()],
            pending=self._pool.list_executable(),
        )
        if not candidate.is_full(rules.params.ledger):
            taken = [tx.payload[0] for tx in candidate.transactions if tx.kind == RELAY]
            self._relays.waiting.drop(name for name, (_, relay) in relays.items() if relay not in taken)
        return candidate
