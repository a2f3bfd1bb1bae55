"""The block a node is trying to seal: consensus says when and how hard, the mempool says what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consensus.engine import Proposal
from ledger.block import Block, Header, compute_tx_root
from ledger.chain import BlockNode
from ledger.codec import Value
from ledger.contract import BlockContext
from ledger.execution import Execution, get_clock, run_selection
from ledger.genesis import Genesis
from ledger.overlay import Overlay
from ledger.params import ChainParams, LedgerParams
from ledger.signatures import SigningKey
from ledger.steps import Steps
from ledger.transaction import Transaction, make_transaction
from node.chain.rule_sets import ActiveRules

_PRODUCERS_EXPIRY = 8  # heights for which a producer's own transaction stays good


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A block that lacks its nonce and signature, already executed."""

    header: Header
    transactions: tuple[Transaction, ...]
    execution: Execution
    target: int | None

    def is_full(self, limits: LedgerParams) -> bool:
        """Return True if something may have been left out for lack of room."""
        left = limits.max_block_bytes - sum(len(transaction.raw) for transaction in self.transactions)
        return left < limits.max_transaction_bytes or len(self.transactions) >= limits.max_block_transactions

    def sealed(self, nonce: int, key: SigningKey) -> Block:
        return Block(header=self.header.sealed(nonce, key), transactions=self.transactions)


def make_context(
    genesis: Genesis, params: ChainParams, *, parent: BlockNode, producer: bytes, timestamp_ms: int, period: int
) -> BlockContext:
    """The context of a block on `parent`, under the parameters of its height; `producer` is an address."""
    return BlockContext(
        params=params,
        chain_id=parent.header.chain_id,
        genesis_time_ms=genesis.time_ms,
        height=parent.height + 1,
        parent=parent.hash,
        producer=producer,
        timestamp_ms=max(timestamp_ms, get_clock(Overlay(parent.state))),
        period=period,
        is_first_of_period=period > parent.header.period,
        siblings=frozenset(sibling.kind for sibling in genesis.siblings),
        areas=genesis.areas,
    )


def build_candidate(
    key: SigningKey,
    proposal: Proposal,
    parent: BlockNode,
    *,
    genesis: Genesis,
    rules: ActiveRules,
    producers: Iterable[tuple[str, Value]],
    pending: Iterable[Transaction],
) -> Steps[Candidate]:
    """Fill and execute a block on `parent` by its rules, in steps: the producer's own transactions, then pending ones.

    `pending` is read at the first step.
    """
    chain_id = parent.header.chain_id
    context = make_context(
        genesis,
        rules.params,
        parent=parent,
        producer=key.address,
        timestamp_ms=proposal.timestamp_ms,
        period=proposal.period,
    )
    own = [
        make_transaction(
            key,
            chain_id=chain_id,
            sequence=0,
            expiry_height=context.height + _PRODUCERS_EXPIRY,
            kind=kind,
            payload=(item,),
        )
        for kind, item in producers
    ]
    transactions, execution = yield from run_selection(
        parent.state,
        context,
        [*own, *pending],
        rules.contracts,
        max_bytes=rules.params.ledger.max_block_bytes,
    )
    header = Header(
        chain_id=chain_id,
        height=context.height,
        parent=parent.hash,
        timestamp_ms=proposal.timestamp_ms,
        producer=key.public_key,
        credit_upt=proposal.credit_upt,
        n_diff=proposal.n_diff,
        period=proposal.period,
        tx_root=compute_tx_root(transactions),
        receipt_root=execution.receipt_root,
        state_root=execution.state.root,
    )
    return Candidate(header=header, transactions=transactions, execution=execution, target=proposal.target)
