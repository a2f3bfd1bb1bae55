"""The chains of a network by their contracts alone: blocks that nobody seals, certificates and relays that are real.

What `node/chain` does to agree and to carry messages is done here in the simplest way, at once and without faults, so
that thousands of periods take seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from consensus.contracts import CERTIFICATE
from consensus.quorum import QuorumCertificate, Statement, sign_statement
from consensus.relays import RELAY, Relay, is_wanted, make_relays
from ledger.block import Block, Header, compute_tx_root
from ledger.checkpoints import get_certified_height, get_undecided
from ledger.codec import Value
from ledger.contract import BlockContext
from ledger.execution import Execution, Receipt, compute_period, run_selection
from ledger.genesis import Genesis, build_genesis_block, build_state
from ledger.hashing import address_of
from ledger.overlay import Event, Overlay
from ledger.results import NOTHING
from ledger.sealers import get_voters
from ledger.signatures import SigningKey
from ledger.steps import Steps, take_all
from ledger.transaction import Transaction, make_transaction
from node.chain.contracts import build_contracts, routes_of


class ContractChain:
    """One chain: its latest state, and what waits for its next block."""

    def __init__(self, genesis: Genesis, producer: SigningKey, voters: Iterable[SigningKey]) -> None:
        """`producer` makes every block; `voters` are all that ever certify one."""
        self.genesis, self.producer = genesis, producer
        self._voters = {key.public_key: key for key in voters}
        self.params, self.chain_id = genesis.params, genesis.chain_id
        self.contracts = build_contracts(genesis)
        self.state = build_state(genesis)
        self.header = build_genesis_block(genesis, self.state).header
        self.receipts: tuple[Receipt, ...] = ()
        self.events: tuple[Event, ...] = ()
        self.heard: list[Relay] = []  # what other chains have said
        self._waiting: list[Transaction] = []
        self._sequences: Counter[bytes] = Counter()
        self._blocks = {0: (self.header, self.state)}  # that may be certified yet, by height

    @property
    def view(self) -> Overlay:
        return Overlay(self.state)

    def next_sequence(self, key: SigningKey) -> int:
        """The sequence number of the next transaction that a key sends."""
        return self._sequences[key.public_key]

    def send(self, key: SigningKey, kind: str, *payload: Value) -> None:
        self._waiting.append(self._sign(key, kind, payload, self._sequences[key.public_key]))
        self._sequences[key.public_key] += 1

    def put_in(self, kind: str, *payload: Value) -> None:
        """Have the next block's producer put in a transaction of its own kinds."""
        self._waiting.append(self._sign(self.producer, kind, payload, 0))

    def make_block(self, now_ms: int) -> list[Relay]:
        """A block of all that waits, and what is certified with it of what the chain has said."""
        before, certificate = get_certified_height(self.view), self._certify_checkpoint()
        sent, self._waiting = self._waiting, []  # what the producer puts in comes first, as in a node's block
        if certificate is not None:
            self.put_in(CERTIFICATE, certificate.to_value())
        for relay in self.heard:
            if is_wanted(self.view, relay.name, routes_of(self.params.kind)):
                self.put_in(RELAY, relay.to_value())
        self._waiting += sent
        self.execute(now_ms)
        if self.params.consensus.engine == "pbft":
            before = self.header.height - 1
            certificate = self._sign_certificate(self.header.height, self.header.hash, NOTHING)
        if certificate is None:
            return []
        header, state = next(item for item in self._blocks.values() if item[0].hash == certificate.statement.block_hash)
        self._blocks = {height: block for height, block in self._blocks.items() if height > header.height}
        return make_relays(certificate, header, state, above_height=before)

    def execute(self, now_ms: int) -> tuple[Block, Execution]:
        """The next block, of all that waits."""
        block = self._context(now_ms)
        taken, execution = self._select(block)
        self.state, self.receipts, self.events = execution.state, execution.receipts, execution.events
        self.header = Header(
            chain_id=self.chain_id,
            height=block.height,
            parent=block.parent,
            timestamp_ms=now_ms,
            producer=self.producer.public_key,
            credit_upt=0,
            n_diff=1,
            period=block.period,
            tx_root=compute_tx_root(taken),
            receipt_root=execution.receipt_root,
            state_root=self.state.root,
        )
        self._blocks[block.height] = self.header, self.state
        self._waiting, self.heard = [], []
        return Block(header=self.header, transactions=tuple(taken)), execution

    def _select(self, block: BlockContext) -> tuple[tuple[Transaction, ...], Execution]:
        return take_all(self._fill(block))

    def _fill(self, block: BlockContext) -> Steps[tuple[tuple[Transaction, ...], Execution]]:
        """The steps of filling a block with what waits."""
        limit = self.params.ledger.max_block_bytes
        return run_selection(self.state, block, self._waiting, self.contracts, max_bytes=limit)

    def _certify_checkpoint(self) -> QuorumCertificate | None:
        """The certificate of the latest checkpoint whose hash is known; none under PBFT, which has no checkpoints."""
        undecided = get_undecided(self.view)
        named = [item for item in undecided if item.block_hash and get_voters(self.view, item.slot).keys]
        if not named:
            return None
        return self._sign_certificate(named[-1].slot, named[-1].block_hash, named[-1].result)

    def _sign_certificate(self, slot: int, block_hash: bytes, result: bytes) -> QuorumCertificate:
        since, keys = get_voters(self.view, slot)
        statement = Statement(chain_id=self.chain_id, slot=slot, block_hash=block_hash, since_slot=since, result=result)
        votes = [sign_statement(statement, self._voters[key]) for key in keys]
        return QuorumCertificate(statement=statement, signatures=tuple((vote.signer, vote.signature) for vote in votes))

    def _sign(self, key: SigningKey, kind: str, payload: tuple[Value, ...], sequence: int) -> Transaction:
        expiry = self.header.height + 2
        return make_transaction(
            key, chain_id=self.chain_id, sequence=sequence, expiry_height=expiry, kind=kind, payload=payload
        )

    def _context(self, now_ms: int) -> BlockContext:
        period = compute_period(
            now_ms,
            genesis_time_ms=self.genesis.time_ms,
            period_ms=self.params.ledger.period_ms,
            parent_period=self.header.period,
        )
        return BlockContext(
            params=self.params,
            chain_id=self.chain_id,
            genesis_time_ms=self.genesis.time_ms,
            height=self.header.height + 1,
            parent=self.header.hash,
            producer=address_of(self.producer.public_key),
            timestamp_ms=now_ms,
            period=period,
            is_first_of_period=period > self.header.period,
            siblings=frozenset(sibling.kind for sibling in self.genesis.siblings),
        )
