"""Judging a peer's block: every rule of its header, its execution, its place in the tree; not what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from consensus.engine import Ancestry, Weighed
from consensus.timestamps import Ahead, compare_with_clock
from ledger.block import MAX_HEADER_BYTES, Block, Header, compute_tx_root
from ledger.chain import BlockNode
from ledger.errors import GridmeritError, StoreError
from ledger.execution import EnvelopeCache, Execution, Executor
from ledger.steps import Run, Steps, take_all
from node.chain.candidate import Candidate
from node.chain.events import PeerId, SetTimer
from node.chain.instance import Instance
from node.chain.trusted_block import TrustedBranch
from node.errors import LeavesCheckpoint

_MAX_DEFERRED = 64  # blocks ahead of the clock
_MAX_DEFERRED_PER_PRODUCER = 4
_MAX_BAD = 1_024  # hashes of invalid blocks
_MAX_RUNS = 4  # blocks whose execution takes several steps and is under way; one more is executed at once
STEP_SIGNATURES = 512  # of a large body, checked in one step: some 25 ms
DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class Known:
    """It is in the tree, deferred, or has been refused before."""


@dataclass(frozen=True, slots=True)
class MissingParent:
    """The block below it is not here."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """It is dated ahead of the clock: kept until that is due, where there is room."""

    timer: SetTimer | None


@dataclass(frozen=True, slots=True)
class BeyondRules:
    """Its rules are not known to this release: it can neither be executed nor refused."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """It breaks a rule."""

    error: GridmeritError


@dataclass(frozen=True, slots=True)
class Unfinished:
    """It holds as far as it has been executed: it is under way here, and to be judged again in another step."""


@dataclass(frozen=True, slots=True)
class Placed:
    """It holds, has been executed, and is in the tree."""

    block: BlockNode


Outcome: TypeAlias = Known | MissingParent | Deferred | BeyondRules | Invalid | Unfinished | Placed


class _UnderWay(NamedTuple):
    """A block whose execution has rested, and the peer that it is of."""

    block: Block
    peer: PeerId
    run: Run[Execution]


class Importer:
    """The gate into the tree of blocks. Bounded in what it keeps of blocks that are early or invalid."""

    def __init__(
        self, instance: Instance, trusted_branch: TrustedBranch, *, executor: Executor, envelopes: EnvelopeCache
    ) -> None:
        self.blocks_refused = 0
        self._instance = instance
        self._chain = instance.chain
        self._trusted_branch = trusted_branch
        self._run_block = executor
        self._envelopes = envelopes
        self._deferred: dict[bytes, tuple[Block, PeerId]] = {}
        self._bad: dict[bytes, None] = {}
        self._under_way: dict[bytes, _UnderWay] = {}

    def is_known(self, block_hash: bytes) -> bool:
        """True where a block needs no download."""
        known = self._chain.get_header(block_hash) is not None
        return known or block_hash in self._bad or block_hash in self._deferred or block_hash in self._under_way

    def is_under_way(self, block_hash: bytes) -> bool:
        """True where a block's execution has begun, and takes more steps."""
        return block_hash in self._under_way

    def is_bad(self, block_hash: bytes) -> bool:
        """True where a block has been refused for good."""
        return block_hash in self._bad

    def check_header(self, header: Header, parent: BlockNode, chain: Ancestry) -> Weighed:
        """Every rule of a header. Raises the `InvalidBlock` family."""
        self._trusted_branch.check(header)
        return self._instance.engine.check_header(header, parent, chain)

    def check_clock(self, header: Header, now_ms: int) -> bool:
        """True where a header's time is yet to come. Raises `TimestampTooFarAhead`."""
        date_ms, max_ahead_ms = self._instance.date(now_ms), self._instance.params.consensus.max_ahead_ms
        return isinstance(compare_with_clock(header.timestamp_ms, date_ms, max_ahead_ms), Ahead)

    def read_block(self, raw: bytes) -> Block:
        """A block from bytes within the chain's bounds. Raises the `Malformed` family."""
        limits = self._instance.params.ledger
        return Block.from_bytes(
            raw,
            max_bytes=limits.max_block_bytes + MAX_HEADER_BYTES,
            max_transactions=limits.max_block_transactions,
            max_transaction_bytes=limits.max_transaction_bytes,
        )

    def prepare(self, block: Block) -> bool:
        """Check the next signatures of a large body, so that they are no work of the step that executes it.

        True where none is left, or the body does not hold: what is wrong with it, `judge` says.
        """
        if compute_tx_root(block.transactions) != block.header.tx_root:
            return True
        unchecked = [transaction for transaction in block.transactions if transaction not in self._envelopes]
        try:
            for transaction in unchecked[:STEP_SIGNATURES]:
                self._envelopes.check(transaction, self._instance.chain_id)
        except StoreError:
            raise
        except GridmeritError:
            return True
        return not unchecked

    def judge(self, block: Block, peer: PeerId, now_ms: int, *, is_due: bool) -> Outcome:
        """Check, execute and place a block; `is_due` where a quorum's clocks have said so, whatever ours says.

        One that is `Unfinished` is under way until it is judged again, which takes the next step of its execution.
        """
        header = block.header
        under_way = self._under_way.pop(header.hash, None)
        if self.is_known(header.hash):
            return Known()
        below = self._chain.get_header(header.parent)
        if below is None:
            return MissingParent()
        try:
            if under_way is not None and below.height < self._chain.final_height:
                return Known()  # what has become final meanwhile has left it behind: it came in time
            parent = self._find_parent(header, below)
            if not self._instance.knows_rules_on(parent):
                return BeyondRules()
            if not is_due and self.check_clock(header, now_ms):
                self.check_header(header, parent, self._chain)
                return Deferred(self._defer(block, peer))
            weighed = self.check_header(header, parent, self._chain)
            if under_way is None or under_way.block is not block:
                under_way = _UnderWay(block, peer, Run(self._begin(block, parent)))
            execution = self._go_on(under_way)
            if execution is None:
                return Unfinished()
            return Placed(self._place(block, execution, weighed))
        except StoreError:
            raise
        except GridmeritError as error:
            self._note_bad(header.hash, error)
            return Invalid(error)

    def execute(self, block: Block, parent: BlockNode) -> BlockNode:
        """Judge a block on its parent, run it at once and put it into the tree.

        Raises the `InvalidBlock` family, or `RulesUnknown`.
        """
        weighed = self.check_header(block.header, parent, self._chain)
        return self._place(block, take_all(self._begin(block, parent)), weighed)

    def place_own(self, candidate: Candidate, block: Block, parent: BlockNode) -> BlockNode:
        """Put a block of this node, which has been executed as it was filled, into the tree."""
        weighed = self._instance.engine.check_header(block.header, parent, self._chain)
        return self._place(block, candidate.execution, weighed)

    def list_under_way(self) -> list[tuple[Block, PeerId]]:
        """The blocks that are to be judged again, in their turn."""
        return [under_way[:2] for under_way in self._under_way.values()]

    def give_up(self, block_hash: bytes) -> None:
        """Drop a block that is under way: nothing has come of it."""
        self._under_way.pop(block_hash, None)

    def take_due(self, now_ms: int) -> tuple[tuple[Block, PeerId] | None, list[SetTimer]]:
        """The lowest deferred block whose time has come, if any, and the timer for the rest: each has its own step."""
        date_ms = self._instance.date(now_ms)
        due = (pair for pair in self._deferred.values() if pair[0].header.timestamp_ms <= date_ms)
        lowest = min(due, key=lambda pair: (pair[0].header.height, pair[0].hash), default=None)
        if lowest is not None:
            del self._deferred[lowest[0].hash]
        return lowest, [self._make_timer()] if self._deferred else []

    def get_usage(self) -> dict[str, tuple[int, int]]:
        """The amounts that are held, and the most that may be."""
        return {
            "deferred blocks": (len(self._deferred), _MAX_DEFERRED),
            "blocks under way": (len(self._under_way), _MAX_RUNS),
            "condemned blocks": (len(self._bad), _MAX_BAD),
        }

    def _begin(self, block: Block, parent: BlockNode) -> Steps[Execution]:
        """The execution of a block whose header has been judged on its parent. Raises `RulesUnknown`.

        Where many of its transactions were not pending here, their signatures are checked first, in steps of their own.
        """
        header, contracts = block.header, self._instance.rules_on(parent).contracts
        context = self._instance.make_context(parent, header.producer_address, header.timestamp_ms, header.period)
        unchecked = sum(transaction not in self._envelopes for transaction in block.transactions)
        for _ in range(unchecked // STEP_SIGNATURES):
            if self.prepare(block):
                break
            yield
        return (yield from self._run_block(parent.state, block, context, contracts, self._envelopes))

    def _go_on(self, under_way: _UnderWay) -> Execution | None:
        """The next step of an execution; what it comes to, None where it rests. Raises the `InvalidBlock` family.

        Each has its turn after the others, and one for which there is no place among them does not rest.
        """
        run = under_way.run
        run.go_on()
        while not run.is_over and len(self._under_way) >= _MAX_RUNS:
            run.go_on()
        if not run.is_over:
            self._under_way[under_way.block.hash] = under_way
        return run.result

    def _place(self, block: Block, execution: Execution, weighed: Weighed) -> BlockNode:
        return self._chain.add(block, execution, work=weighed.work, base_n_diff=weighed.base_n_diff)

    def _find_parent(self, header: Header, below: Header) -> BlockNode:
        """The entry of `below`, a block's parent. Raises `LeavesCheckpoint` where it lies below the final block:
        to bring back its state would take as long as the chain is deep."""
        if below.height < self._chain.final_height:
            raise LeavesCheckpoint(height=header.height, final=self._chain.final_height)
        parent = self._chain.get(below.hash)
        assert parent is not None, "its header is known"
        return parent

    def _note_bad(self, block_hash: bytes, error: GridmeritError) -> None:
        self.blocks_refused += 1
        if error.is_final:
            self._bad[block_hash] = None
            if len(self._bad) > _MAX_BAD:
                del self._bad[next(iter(self._bad))]

    def _defer(self, block: Block, peer: PeerId) -> SetTimer | None:
        producer = block.header.producer
        of_producer = sum(other.header.producer == producer for other, _ in self._deferred.values())
        if len(self._deferred) >= _MAX_DEFERRED or of_producer >= _MAX_DEFERRED_PER_PRODUCER:
            return None
        self._deferred[block.hash] = (block, peer)
        return self._make_timer()

    def _make_timer(self) -> SetTimer:
        due = min(block.header.timestamp_ms for block, _ in self._deferred.values())
        return SetTimer(name=DEFERRED, at_ms=due - self._instance.wall_ahead_ms)
