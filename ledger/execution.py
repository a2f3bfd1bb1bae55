"""Executing a block: envelope checks, contracts, receipts and roots. Pure: state in, state out.

A contract is a set of handlers by transaction kind and of hooks that run at the start of every block. A member's
transaction that a contract refuses stays in its block with a receipt that names the error; only its sequence number is
spent, but for what a `Recorded` refusal has put down. A stranger's cannot stand in a block at all, or it would leave an
account behind, and neither can that of one whose membership is over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from ledger.accounts import get_account, process_transfer, put_account
from ledger.block import Block, Header, compute_tx_root
from ledger.checkpoints import update_checkpoints
from ledger.codec import encode
from ledger.contract import BlockContext, Contracts, Handler
from ledger.errors import (
    Expired,
    ExpiryTooFar,
    GridmeritError,
    InvalidBody,
    OversizedBlock,
    ProducersOnly,
    Recorded,
    SequenceTooLow,
    UnknownKind,
    WrongReceiptRoot,
    WrongSequence,
    WrongStateRoot,
    WrongTransactionRoot,
)
from ledger.inbox import RELAY
from ledger.membership import require_active
from ledger.merkle import merkle_root
from ledger.overlay import Delta, Event, Overlay
from ledger.params import LedgerParams
from ledger.snapshot import take_snapshot
from ledger.state import State
from ledger.steps import Steps, take_all
from ledger.transaction import Transaction, check_envelope

OK = ""
_CLOCK = b"clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The outcome of one transaction: `code` is empty where it took effect, else the error's name."""

    transaction_id: bytes
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """The outcome of executing a block body on its parent's state."""

    state: State
    delta: Delta
    receipts: tuple[Receipt, ...]
    receipt_root: bytes
    events: tuple[Event, ...]


class EnvelopeCache:
    """Transactions whose signature has been checked, so that none is checked twice; bounded, oldest out first."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._seen: OrderedDict[bytes, None] = OrderedDict()  # a dict is slow to give up its oldest entry

    def __len__(self) -> int:
        return len(self._seen)

    def __contains__(self, transaction: Transaction) -> bool:
        return transaction.id + transaction.signature in self._seen

    def check(self, transaction: Transaction, chain_id: bytes) -> None:
        """Raises as `check_envelope` does."""
        if transaction in self:
            return
        check_envelope(transaction, chain_id)
        self._seen[transaction.id + transaction.signature] = None
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)


def ledger_handlers() -> dict[str, Handler]:
    """The contract of the ground floor: transfers."""
    return {"transfer": lambda view, block, transaction: process_transfer(view, transaction)}


def compute_period(timestamp_ms: int, *, genesis_time_ms: int, period_ms: int, parent_period: int) -> int:
    """The period a block belongs to; it never falls behind its parent's."""
    return max(parent_period, (timestamp_ms - genesis_time_ms) // period_ms)


def get_clock(view: Overlay) -> int:
    """The latest time that this chain's contracts have seen, in ms; 0 before the first block."""
    return cast(int, view.get(_CLOCK) or 0)


def check_expiry(transaction: Transaction, *, height: int, max_expiry_blocks: int) -> None:
    """Raises `Expired` or `ExpiryTooFar`."""
    if transaction.expiry_height < height:
        raise Expired(expiry=transaction.expiry_height, height=height)
    if transaction.expiry_height > height + max_expiry_blocks:
        raise ExpiryTooFar(expiry=transaction.expiry_height, limit=height + max_expiry_blocks)


def find_next_due(state: State, block: BlockContext, contracts: Contracts) -> int:
    """The time, in ms, from which on a block on `state` without transactions does more than to move the clock on.

    The next period's first block is always due: it admits, takes the credit snapshot and shows that the chain is alive.
    `block` is any that could be built on `state`.
    """
    view = Overlay(state)
    _update_checkpoints(view, block)
    periods = block.period if block.is_first_of_period else block.period + 1
    boundary_ms = block.genesis_time_ms + periods * block.params.ledger.period_ms
    due = [next_due(view, block) for next_due in contracts.next_due]
    return min([boundary_ms, *(due_ms for due_ms in due if due_ms is not None)])


def begin_block(view: Overlay, block: BlockContext, contracts: Contracts) -> None:
    """Run the hooks at the start of a block, before its transactions."""
    take_all(_begin(view, block, contracts))


def _begin(view: Overlay, block: BlockContext, contracts: Contracts) -> Steps[None]:
    """The same in steps, with a rest between two passes of the hooks."""
    _update_checkpoints(view, block)
    view.put(_CLOCK, block.timestamp_ms)
    for hook in contracts.early_hooks:
        hook(view, block)
    if block.is_first_of_period:
        take_snapshot(view, block.height)
    for hook in contracts.hooks:
        hook(view, block)
    view.commit()
    yield from _go_on(view, block, contracts)


def _go_on(view: Overlay, block: BlockContext, contracts: Contracts) -> Steps[None]:
    """Take one share of the block's work after the other, as long as there is more to do: a rest before each."""
    later = replace(block, is_first_of_period=False)  # what the first block of a period begins, the first pass has
    while contracts.take_share(view, block):
        yield
        for hook in contracts.further_hooks:
            hook(view, later)
        view.commit()


def _update_checkpoints(view: Overlay, block: BlockContext) -> None:
    elapsed_ms = block.timestamp_ms - block.genesis_time_ms
    update_checkpoints(view, block.params, parent=block.parent, height=block.height, elapsed_ms=elapsed_ms)


def apply_transaction(view: Overlay, block: BlockContext, transaction: Transaction, contracts: Contracts) -> Receipt:
    """Run one transaction whose envelope has been checked.

    Raises what `require_active` does, `WrongSequence`, `SequenceTooLow`, `Expired` or `ExpiryTooFar`, and for a
    producer's kind whatever its handler raises: such a transaction cannot stand in a block.
    """
    check_expiry(transaction, height=block.height, max_expiry_blocks=block.params.ledger.max_expiry_blocks)
    if (producers := contracts.producer_handlers.get(transaction.kind)) is not None:
        return _apply_producers(view, block, transaction, producers)
    require_active(view, transaction.sender, transaction.kind, block.timestamp_ms)
    account = get_account(view, transaction.sender)
    if transaction.sequence != account.sequence:
        error = SequenceTooLow if transaction.sequence < account.sequence else WrongSequence
        raise error(expected=account.sequence, actual=transaction.sequence)
    put_account(view, transaction.sender, account._replace(sequence=account.sequence + 1))
    view.commit()
    code = OK
    try:
        handler = contracts.handlers.get(transaction.kind)
        if handler is None:
            raise UnknownKind(kind=transaction.kind)
        handler(view, block, transaction)
    except Recorded as error:
        code = error.code
    except GridmeritError as error:
        code = error.code
        view.rollback()
    view.commit()
    return Receipt(transaction_id=transaction.id, code=code)


def _apply_producers(view: Overlay, block: BlockContext, transaction: Transaction, handler: Handler) -> Receipt:
    if transaction.sender != block.producer or transaction.sequence != 0:
        raise ProducersOnly(kind=transaction.kind)
    try:
        handler(view, block, transaction)
    except GridmeritError:
        view.rollback()
        raise
    view.commit()
    return Receipt(transaction_id=transaction.id, code=OK)


def compute_receipt_root(receipts: Sequence[Receipt]) -> bytes:
    """RFC 6962 root over the receipts' canonical bytes."""
    return merkle_root([encode((receipt.transaction_id, receipt.code)) for receipt in receipts])


class _Body:
    """A block at work: the view that it changes, and what has come of its transactions.

    Where a block does its work in several passes it rests between them, and wherever so many of its transactions have
    been taken in: each pass's part of the relays that it may hold, or as many others as it may hold, or some of both.
    """

    def __init__(self, state: State, block: BlockContext, contracts: Contracts) -> None:
        self.receipts: list[Receipt] = []
        self._view = Overlay(state)
        self._block = block
        self._contracts = contracts
        limits, self._passes = block.params.ledger, block.params.market.passes_per_block
        self._others = limits.max_block_transactions
        self._relays = -(-(limits.max_block_relays or self._others) // self._passes)
        self._weight = 0  # of the transactions since the last rest: `_others` come to as much as `_relays` of the other
        self._has_rested = False

    def begin(self) -> Steps[None]:
        """The hooks, before the transactions."""
        for _ in _begin(self._view, self._block, self._contracts):
            yield from self._rest()
        if self._has_rested:
            yield

    def take(self, transaction: Transaction) -> Steps[None]:
        """The next transaction. Raises as `apply_transaction` does; then nothing has come of it."""
        self.receipts.append(apply_transaction(self._view, self._block, transaction, self._contracts))
        if self._passes > 1:
            self._weight += self._others if transaction.kind == RELAY else self._relays
            if self._weight >= self._others * self._relays:
                self._weight = 0
                yield from self._rest()

    def end(self) -> Steps[Execution]:
        """The shares of work that are left after the transactions, and the outcome of it all."""
        for _ in _go_on(self._view, self._block, self._contracts):
            yield from self._rest()
        if self._has_rested:
            yield
        after, delta = self._view.finish()
        execution = Execution(
            state=after,
            delta=delta,
            receipts=tuple(self.receipts),
            receipt_root=compute_receipt_root(self.receipts),
            events=self._view.events,
        )
        if self._has_rested:
            yield  # what follows is to be written
        return execution

    def _rest(self) -> Steps[None]:
        self._has_rested = True
        yield


def execute_body(
    state: State, block: BlockContext, transactions: Sequence[Transaction], contracts: Contracts
) -> Execution:
    """Run a body on its parent's state. Raises as `apply_transaction` does."""
    return take_all(run_body(state, block, transactions, contracts))


def run_body(
    state: State, block: BlockContext, transactions: Sequence[Transaction], contracts: Contracts
) -> Steps[Execution]:
    """The same in steps: no other state is touched, so that a run which is given up leaves no trace."""
    body = _Body(state, block, contracts)
    yield from body.begin()
    for transaction in transactions:
        yield from body.take(transaction)
    return (yield from body.end())


def select_transactions(
    state: State,
    block: BlockContext,
    candidates: Sequence[Transaction],
    contracts: Contracts,
    *,
    max_bytes: int,
) -> tuple[tuple[Transaction, ...], Execution]:
    """Fill a new block: run the candidates in order, leaving out those that cannot stand in it.

    One that the rules refuse does stand in it: its receipt says why, and its sender's next ones can follow.
    """
    return take_all(run_selection(state, block, candidates, contracts, max_bytes=max_bytes))


def run_selection(
    state: State,
    block: BlockContext,
    candidates: Sequence[Transaction],
    contracts: Contracts,
    *,
    max_bytes: int,
) -> Steps[tuple[tuple[Transaction, ...], Execution]]:
    """The same in steps, which are those of the body that comes of it."""
    body = _Body(state, block, contracts)
    yield from body.begin()
    taken: list[Transaction] = []
    room, limits, relays = max_bytes, block.params.ledger, 0
    for candidate in candidates:
        if len(candidate.raw) > room or len(taken) >= limits.max_block_transactions:
            break
        if len(candidate.raw) > limits.max_transaction_bytes:
            continue
        if candidate.kind == RELAY and relays == (limits.max_block_relays or None):
            continue
        try:
            yield from body.take(candidate)
        except GridmeritError:
            continue
        taken.append(candidate)
        relays += candidate.kind == RELAY
        room -= len(candidate.raw)
    return tuple(taken), (yield from body.end())


def check_tx_root(header: Header, transactions: Sequence[Transaction]) -> None:
    """Raise `WrongTransactionRoot` unless these are a header's transactions."""
    root = compute_tx_root(transactions)
    if root != header.tx_root:
        raise WrongTransactionRoot(expected=root.hex(), actual=header.tx_root.hex())


def check_receipt_root(header: Header, root: bytes) -> None:
    """Raise `WrongReceiptRoot` unless the receipts with this root are a header's."""
    if root != header.receipt_root:
        raise WrongReceiptRoot(expected=root.hex(), actual=header.receipt_root.hex())


def check_bounds(block: Block, params: LedgerParams) -> None:
    """Raise `OversizedBlock` unless the body keeps to the chain's bounds.

    A rule of the chain and not only of the decoder: a body may also be put together from pending transactions.
    """
    sizes = [len(transaction.raw) for transaction in block.transactions]
    relays = sum(transaction.kind == RELAY for transaction in block.transactions)
    for what, actual, limit in (
        ("relays", relays, params.max_block_relays or relays),
        ("transactions", len(sizes), params.max_block_transactions),
        ("bytes in one transaction", max(sizes, default=0), params.max_transaction_bytes),
        ("bytes of transactions", sum(sizes), params.max_block_bytes),
    ):
        if actual > limit:
            raise OversizedBlock(what=what, actual=actual, limit=limit)


Executor = Callable[[State, Block, BlockContext, Contracts, EnvelopeCache], Steps[Execution]]
"""`run_block`, or what stands in for it where many nodes in one process share its work."""


def execute_block(
    state: State, block: Block, context: BlockContext, contracts: Contracts, envelopes: EnvelopeCache
) -> Execution:
    """The state transition: check every bound and envelope, run the body, compare every root with the header's.

    The header itself is consensus's to judge. Raises the `InvalidBlock` family, or what `check_envelope` raises.
    """
    return take_all(run_block(state, block, context, contracts, envelopes))


def run_block(
    state: State, block: Block, context: BlockContext, contracts: Contracts, envelopes: EnvelopeCache
) -> Steps[Execution]:
    """The same in steps: bounds and envelopes are checked in the first one.

    Raises the `InvalidBlock` family, `InvalidBody` and `WrongStateRoot` among it, or what `check_envelope` raises.
    """
    header: Header = block.header
    check_tx_root(header, block.transactions)
    check_bounds(block, context.params.ledger)
    for transaction in block.transactions:
        envelopes.check(transaction, context.chain_id)
    try:
        execution = yield from run_body(state, context, block.transactions, contracts)
    except GridmeritError as error:
        raise InvalidBody(code=error.code, detail=str(error)) from error
    check_receipt_root(header, execution.receipt_root)
    if execution.state.root != header.state_root:
        raise WrongStateRoot(expected=execution.state.root.hex(), actual=header.state_root.hex())
    return execution
