"""The one gate into the mempool, for clients and peers alike."""

from __future__ import annotations

from contextlib import suppress

from ledger.accounts import get_account, put_account
from ledger.chain import BlockNode
from ledger.contract import BlockContext
from ledger.errors import GridmeritError, ProducersOnly, Recorded, StoreError, TooLarge, UnknownKind
from ledger.execution import EnvelopeCache, apply_transaction, begin_block, check_expiry
from ledger.membership import require_active
from ledger.mempool import Mempool
from ledger.overlay import Overlay
from ledger.state import State
from ledger.transaction import Transaction
from node.chain.rule_sets import ActiveRules, RuleBook

_MAX_TRIED = 512  # pending transactions up to which a client's one is tried out on top of them


class MempoolAdmission:
    """Checks a transaction and puts it into the pool; a client's one is tried out first, so that it learns early.

    By the rules of the next block; where those are not known here, by the head's, for what is pending then must last
    until a release comes that knows them.
    """

    def __init__(self, rules: RuleBook, chain_id: bytes, pool: Mempool) -> None:
        self._rules = rules
        self._chain_id = chain_id
        self._pool = pool
        self.envelopes = EnvelopeCache()
        self._preview: Overlay | None = None
        self._view: tuple[State, Overlay] | None = None

    def spends_sequence(self, transaction: Transaction) -> bool:
        """True where it takes its sender's next sequence: a producer's own kinds do not."""
        return not self._rules.is_producers_kind(transaction.kind)

    def on_head(self) -> None:
        """Forget what was tried out on a state that is no longer the head's. Cause: the head has moved."""
        self._preview = None

    def admit(self, transaction: Transaction, head: BlockNode) -> None:
        """Take in a transaction. Raises the `Malformed`, `VerificationFailed` or `Rejected` family."""
        self._check(transaction, head)
        self._add(transaction, head)

    def readmit(self, transaction: Transaction, head: BlockNode) -> None:
        """Take back one that was acknowledged, or stood in a block that a reorg took off, however full the pool is."""
        self._check(transaction, head)
        self._add(transaction, head, limited=False)

    def submit(self, transaction: Transaction, head: BlockNode, context: BlockContext) -> None:
        """Take in a client's transaction once it has been tried on top of what is pending; raises as `admit` does.

        One that must wait for an earlier sequence, or comes while very many are pending, is not tried: its receipt
        will tell.
        """
        rules = self._check(transaction, head)
        if len(self._pool) > _MAX_TRIED:
            self._preview = None
            self._add(transaction, head)
            return
        view = self._preview or self._build_preview(head, context, rules)
        self._preview = view
        account = get_account(view, transaction.sender)
        is_next = transaction.sequence == account.sequence
        try:
            require_active(view, transaction.sender, transaction.kind, context.timestamp_ms)
            if is_next:
                with suppress(Recorded):  # a block is to hold it
                    rules.contracts.handlers[transaction.kind](view, context, transaction)
            self._add(transaction, head)
        except GridmeritError:
            view.rollback()
            raise
        if is_next:
            changed = get_account(view, transaction.sender)
            put_account(view, transaction.sender, changed._replace(sequence=account.sequence + 1))
        view.commit()

    def _check(self, transaction: Transaction, head: BlockNode) -> ActiveRules:
        """The rules that it has been checked by."""
        rules = self._rules.at_next(head.state, head.height)
        limits = rules.params.ledger
        if len(transaction.raw) > limits.max_transaction_bytes:
            raise TooLarge(what="transaction", actual=len(transaction.raw), limit=limits.max_transaction_bytes)
        if transaction.kind in rules.contracts.producer_handlers:
            raise ProducersOnly(kind=transaction.kind)
        if transaction.kind not in rules.contracts.handlers:
            raise UnknownKind(kind=transaction.kind)
        check_expiry(transaction, height=head.height + 1, max_expiry_blocks=limits.max_expiry_blocks)
        require_active(self._view_of(head), transaction.sender, transaction.kind, head.header.timestamp_ms)
        self.envelopes.check(transaction, self._chain_id)
        return rules

    def _add(self, transaction: Transaction, head: BlockNode, *, limited: bool = True) -> None:
        spent = get_account(self._view_of(head), transaction.sender).sequence
        self._pool.add(transaction, next_sequence=spent, limited=limited)

    def _view_of(self, head: BlockNode) -> Overlay:
        """The head's state, only to be read: what one transaction has made it look up serves the next one."""
        if self._view is None or self._view[0] is not head.state:
            self._view = (head.state, Overlay(head.state))
        return self._view[1]

    def _build_preview(self, head: BlockNode, context: BlockContext, rules: ActiveRules) -> Overlay:
        view = Overlay(head.state)
        begin_block(view, context, rules.contracts)
        for pending in self._pool.candidates(lambda sender: get_account(view, sender).sequence):
            try:
                apply_transaction(view, context, pending, rules.contracts)
            except StoreError:
                raise
            except GridmeritError:
                continue  # one that cannot stand in the next block is no fault of this client
        return view
