"""Real seals on the small chain of `ledger_lab`, with its engine.

N_diff is so large that a member with 90 points tries some eight nonces.
"""

from __future__ import annotations

from dataclasses import replace

from consensus.contracts import consensus_handlers
from consensus.engine import Weighed
from consensus.poca.eligibility import eligibility_for
from consensus.poca.engine import PocaEngine
from consensus.quorum import QuorumCertificate, Statement, sign_statement
from consensus.seal import search
from ledger.accounts import get_account, put_account
from ledger.block import Block, Header
from ledger.chain import BlockNode
from ledger.contract import Contracts
from ledger.execution import EnvelopeCache, execute_block
from tests.support.ledger_lab import Lab

POINT = 1_000_000
CONSENSUS = {"n_diff_initial": 2**240, "n_diff_max": 2**241, "equivocation_cost_upt": 20 * POINT}


def process_earn(view, block, transaction):
    """`earn [address, credit_upt, balance_uyuan]`: what settlement does to an account."""
    address, credit_upt, balance_uyuan = transaction.payload
    account = get_account(view, address)
    put_account(view, address, account._replace(credit_upt=credit_upt, balance_uyuan=balance_uyuan))


CONTRACTS = Contracts(handlers={"earn": process_earn}, producer_handlers=consensus_handlers())


class SealedChain:
    """A lab whose blocks are sealed. Times are ms after genesis."""

    def __init__(self, *, consensus=None, **options):
        self.lab = Lab(consensus={**CONSENSUS, **(consensus or {})}, contracts=CONTRACTS, **options)
        self.engine = PocaEngine(self.lab.genesis)
        self.params = self.lab.params.consensus
        self.chain_id = self.lab.chain_id
        self.eligibility = eligibility_for(self.params.eligibility, self.params.tau_upt)
        self.sealers = frozenset(self.key(name).public_key for name in ("anna", "bert", "cleo", "dora"))

    @property
    def chain(self):
        return self.lab.chain

    @property
    def root(self) -> BlockNode:
        return self.lab.root

    def key(self, name):
        return self.lab.key(name)

    def time(self, after_ms: int) -> int:
        return self.lab.genesis.time_ms + after_ms

    # --- sealing -----------------------------------------------------------------------------------

    def propose(self, parent: BlockNode, name: str, at: int):
        return self.engine.propose(self.key(name).public_key, parent, self.chain, self.time(at))

    def build(self, parent: BlockNode, name: str, *transactions, at: int | None = None) -> Block:
        """A block that the named member may build at that time, not sealed yet."""
        if at is None:
            at = parent.header.timestamp_ms - self.lab.genesis.time_ms + self.params.block_interval_ms
        proposal = self.propose(parent, name, at)
        assert proposal is not None
        block, _ = self.lab.build(
            parent,
            *transactions,
            producer=name,
            timestamp_ms=proposal.timestamp_ms,
            credit_upt=proposal.credit_upt,
            n_diff=proposal.n_diff,
        )
        assert block.header.period == proposal.period
        return block

    def seal(self, header: Header, name: str) -> Header:
        """The header with a nonce good enough for what it claims itself, signed by the named member."""
        if not self.eligibility.searches_nonce:
            return header.sealed(0, self.key(name))
        nonce = search(header.root, self.eligibility.target(header.n_diff, header.credit_upt, 0), count=10**7)
        assert nonce is not None
        return header.sealed(nonce, self.key(name))

    def seal_missing(self, header: Header, name: str, target: int) -> Header:
        """The header with a nonce that misses the target."""
        nonce = 0
        while self.value_of(replace(header, nonce=nonce)) <= target:
            nonce += 1
        return header.sealed(nonce, self.key(name))

    def value_of(self, header: Header) -> int:
        return int.from_bytes(header.hash, "big")

    # --- growing -----------------------------------------------------------------------------------

    def check(self, header: Header, parent: BlockNode) -> Weighed:
        return self.engine.check_header(header, parent, self.chain)

    def add(self, parent: BlockNode, name: str, *transactions, at: int | None = None) -> BlockNode:
        """Seal, judge and execute a block as a peer does."""
        block = self.build(parent, name, *transactions, at=at)
        block = replace(block, header=self.seal(block.header, name))
        weighed = self.check(block.header, parent)
        context = self.lab.context(parent, producer=name, timestamp_ms=block.header.timestamp_ms)
        execution = execute_block(parent.state, block, context, self.lab.contracts, EnvelopeCache())
        assert not [receipt for receipt in execution.receipts if receipt.code], execution.receipts
        return self.chain.add(block, execution, work=weighed.work, base_n_diff=weighed.base_n_diff)

    def extend(self, name: str, *transactions, at: int | None = None) -> BlockNode:
        entry = self.add(self.chain.head, name, *transactions, at=at)
        self.lab.move(entry)
        return entry

    def begin_of(self, slot: int) -> int:
        """The beginning of a slot, in ms after genesis."""
        return slot * self.lab.params.ledger.period_ms // self.params.checkpoints_per_period

    def open_slot(self, name: str, slot: int, *transactions) -> BlockNode:
        """The slot's first block, which is its checkpoint, on the head."""
        return self.extend(name, *transactions, at=self.begin_of(slot))

    # --- transactions ------------------------------------------------------------------------------

    def earn(self, sender: str, name: str, credit_upt: int, balance_uyuan: int = 1_000, *, sequence: int = 0):
        return self.lab.sign(sender, "earn", self.lab.address(name), credit_upt, balance_uyuan, sequence=sequence)

    # --- votes -------------------------------------------------------------------------------------

    def statement(self, slot: int, block_hash: bytes) -> Statement:
        return Statement(chain_id=self.chain_id, slot=slot, block_hash=block_hash)

    def vote(self, name: str, statement: Statement):
        return sign_statement(statement, self.key(name))

    def certify(self, statement: Statement, *names: str) -> QuorumCertificate:
        votes = sorted((self.vote(name, statement) for name in names), key=lambda vote: vote.signer)
        return QuorumCertificate(statement=statement, signatures=tuple((vote.signer, vote.signature) for vote in votes))
