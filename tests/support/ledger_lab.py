"""A small chain for tests of ledger and consensus, with four founders that seal.

Its blocks carry no seal: the tree does not ask, and tests of consensus make them (`sealed_chain`).
"""

from __future__ import annotations

from dataclasses import replace

from ledger.accounts import Account, get_account
from ledger.block import Block, Header, compute_tx_root
from ledger.chain import WINDOW, BlockNode, Chain, Reorg
from ledger.contract import BlockContext, Contracts
from ledger.errors import WrongShape
from ledger.execution import Execution, compute_period, execute_body, ledger_handlers
from ledger.genesis import Genesis, GenesisMember
from ledger.overlay import Overlay
from ledger.params import ChainParams, ConsensusParams, LedgerParams
from ledger.store import MemoryStore
from ledger.transaction import Transaction, make_transaction
from tests.support.keys import key_of

FOUNDERS = ("anna", "bert", "cleo", "dora")
GENESIS_MS = 1_700_000_000_000
INTERVAL_MS = 1_000
PERIOD_MS = 20_000
BALANCE_UYUAN = 1_000


def process_write(view, block, transaction):
    """A contract for tests: `write [key, bytes or nil, …]` puts and deletes what it says."""
    items = transaction.payload
    if len(items) % 2:
        raise WrongShape(what="write", detail="a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if value is None:
            view.delete(b"x/" + key)
        else:
            view.put(b"x/" + key, value)
    view.emit("written", len(items) // 2)


CONTRACTS = Contracts(handlers={**ledger_handlers(), "write": process_write})


def make_members() -> tuple[GenesisMember, ...]:
    grid = GenesisMember(name="grid", role="grid-operator", key=key_of("grid").public_key)
    founders = [
        GenesisMember(name=name, role="prosumer", key=key_of(name).public_key, seals=True, balance_uyuan=BALANCE_UYUAN)
        for name in FOUNDERS
    ]
    return (grid, *founders)


class Lab:
    """A genesis, a chain on a store in memory, and what it takes to grow it."""

    def __init__(
        self,
        *,
        window: int = WINDOW,
        ledger=None,
        consensus=None,
        market=None,
        members=None,
        siblings=(),
        contracts=None,
        genesis=None,
    ):
        params = ChainParams(
            name="lab",
            ledger=LedgerParams(**{"period_ms": PERIOD_MS, **(ledger or {})}),
            consensus=ConsensusParams(**{"block_interval_ms": INTERVAL_MS, **(consensus or {})}),
            **({"market": market} if market else {}),
        )
        self.genesis = genesis or Genesis(
            params=params, time_ms=GENESIS_MS, members=members or make_members(), siblings=siblings
        )
        self.params = self.genesis.params
        self.contracts = contracts or CONTRACTS
        self.store = MemoryStore()
        self.window = window
        self.chain = Chain(self.genesis, self.store, window=window)
        self.chain_id = self.chain.chain_id

    key = staticmethod(key_of)

    @staticmethod
    def address(name: str) -> bytes:
        return key_of(name).address

    # --- transactions ----------------------------------------------------------------------------

    def sign(self, sender: str, kind: str, *payload, sequence: int = 0, expiry: int = 1_000) -> Transaction:
        return make_transaction(
            key_of(sender),
            chain_id=self.chain_id,
            sequence=sequence,
            expiry_height=expiry,
            kind=kind,
            payload=payload,
        )

    def transfer(self, sender: str, receiver: str, amount: int, *, sequence: int = 0) -> Transaction:
        return self.sign(sender, "transfer", key_of(receiver).address, amount, sequence=sequence)

    # --- blocks ----------------------------------------------------------------------------------

    @property
    def root(self) -> BlockNode:
        """The genesis block's entry."""
        return self.chain.get(self.chain.hash_at(0))

    def context(self, parent: BlockNode, *, producer: str = "anna", timestamp_ms: int | None = None) -> BlockContext:
        if timestamp_ms is None:
            timestamp_ms = parent.header.timestamp_ms + INTERVAL_MS
        period = compute_period(
            timestamp_ms,
            genesis_time_ms=GENESIS_MS,
            period_ms=self.params.ledger.period_ms,
            parent_period=parent.header.period,
        )
        return BlockContext(
            params=self.params,
            chain_id=self.chain_id,
            genesis_time_ms=GENESIS_MS,
            height=parent.height + 1,
            parent=parent.hash,
            producer=key_of(producer).address,
            timestamp_ms=timestamp_ms,
            period=period,
            is_first_of_period=period > parent.header.period,
            siblings=frozenset(sibling.kind for sibling in self.genesis.siblings),
        )

    def build(
        self,
        parent: BlockNode,
        *transactions: Transaction,
        producer: str = "anna",
        timestamp_ms: int | None = None,
        **fields: object,
    ) -> tuple[Block, Execution]:
        """A block on `parent` and what executing it gave; `fields` replace those of its header."""
        context = self.context(parent, producer=producer, timestamp_ms=timestamp_ms)
        execution = execute_body(parent.state, context, transactions, self.contracts)
        header = Header(
            chain_id=self.chain_id,
            height=context.height,
            parent=parent.hash,
            timestamp_ms=context.timestamp_ms,
            producer=key_of(producer).public_key,
            credit_upt=0,
            n_diff=1,
            period=context.period,
            tx_root=compute_tx_root(transactions),
            receipt_root=execution.receipt_root,
            state_root=execution.state.root,
        )
        return Block(header=replace(header, **fields), transactions=transactions), execution

    def add(self, parent: BlockNode, *transactions: Transaction, weight: int = 1, **fields: object) -> BlockNode:
        """Put a block of that work on `parent` into the tree."""
        block, execution = self.build(parent, *transactions, **fields)
        return self.chain.add(block, execution, work=parent.work + weight, base_n_diff=1)

    def grow(self, parent: BlockNode, count: int, **fields: object) -> list[BlockNode]:
        """A branch of `count` empty blocks on `parent`."""
        branch = []
        for _ in range(count):
            parent = self.add(parent, **fields)
            branch.append(parent)
        return branch

    def move(self, entry: BlockNode) -> Reorg:
        """Make `entry` the head, and persist that."""
        move = self.chain.move_head(entry)
        self.store.write(move.changes)
        return move

    def extend(self, *transactions: Transaction, **fields: object) -> BlockNode:
        """One more block on the head."""
        entry = self.add(self.chain.head, *transactions, **fields)
        self.move(entry)
        return entry

    def reopen(self) -> Chain:
        """Forget all that is not in the store."""
        self.chain = Chain(self.genesis, self.store, window=self.window)
        return self.chain

    # --- reading ---------------------------------------------------------------------------------

    def account(self, name: str, entry: BlockNode | None = None) -> Account:
        return get_account(Overlay((entry or self.chain.head).state), key_of(name).address)
