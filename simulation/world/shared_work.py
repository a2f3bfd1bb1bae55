"""Work that all peers of one chain would do alike, done once: checking a header, executing a block (decision 21).

Only where the result follows from the bytes alone, and only results, never refusals: what raises is done again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from consensus.engine import Ancestry, Engine, Proposal, Weighed
from ledger.block import Block, Header
from ledger.chain import Ancestor, BlockNode
from ledger.contract import BlockContext, Contracts
from ledger.errors import GridmeritError
from ledger.execution import EnvelopeCache, Execution, run_block
from ledger.state import State
from ledger.steps import Run, Steps

_KEPT = 1_024

T = TypeVar("T")


class Memory(Generic[T]):
    """Results by what they follow from; the latest are kept."""

    def __init__(self, limit: int = _KEPT) -> None:
        self._limit = limit
        self._results: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        if key in self._results:
            return self._results[key]
        result = self._results[key] = compute()
        if len(self._results) > self._limit:
            self._results.popitem(last=False)
        return result

    def forget(self, key: Hashable) -> None:
        self._results.pop(key, None)


class SharedEngine:
    """An engine whose judgement on a header serves every peer.

    A header names its parent, and with it the whole chain below it and the state it is judged by. The key is its hash
    and its signature, for the hash does not cover that.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._checked: Memory[Weighed] = Memory()

    def check_header(self, header: Header, parent: BlockNode, chain: Ancestry) -> Weighed:
        """See `Engine.check_header`."""
        assert header.parent == parent.hash
        key = (header.hash, header.signature)
        return self._checked.get(key, lambda: self._engine.check_header(header, parent, chain))

    def work_of(self, header: Header) -> int:
        """See `Engine.work_of`."""
        return self._engine.work_of(header)

    def find_work(self, header: Header) -> int | None:
        """See `Engine.find_work`."""
        return self._engine.find_work(header)

    def find_base(self, header: Header, parent: Ancestor, chain: Ancestry) -> int | None:
        """See `Engine.find_base`."""
        return self._engine.find_base(header, parent, chain)

    def propose(self, producer: bytes, parent: BlockNode, chain: Ancestry, now_ms: int) -> Proposal | None:
        """See `Engine.propose`."""
        return self._engine.propose(producer, parent, chain, now_ms)

    def is_better(self, candidate: BlockNode, head: BlockNode) -> bool:
        """See `Engine.is_better`."""
        return self._engine.is_better(candidate, head)


class _SharedRun:
    """One execution that several peers follow, each in as many steps as if it were alone: the first does the work."""

    def __init__(self, steps: Steps[Execution]) -> None:
        self._run = Run(steps)
        self._taken = 0
        self._error: GridmeritError | None = None

    @property
    def has_failed(self) -> bool:
        return self._error is not None

    def follow(self) -> Steps[Execution]:
        at = 0
        while True:
            at += 1
            if at > self._taken and self._error is None:
                self._go_on()
            if at == self._taken and self._error is not None:
                raise self._error
            if at == self._taken and self._run.result is not None:
                return self._run.result
            yield

    def _go_on(self) -> None:
        self._taken += 1
        try:
            self._run.go_on()
        except GridmeritError as error:
            self._error = error


class SharedExecutor:
    """Executes each block once. The key holds the body's bytes, for a liar may put another under a header."""

    def __init__(self) -> None:
        self._runs: Memory[_SharedRun] = Memory()

    def __call__(
        self, state: State, block: Block, context: BlockContext, contracts: Contracts, envelopes: EnvelopeCache
    ) -> Steps[Execution]:
        """See `run_block`."""
        key = (state.root, block.hash, tuple(transaction.raw for transaction in block.transactions))
        shared = self._runs.get(key, lambda: _SharedRun(run_block(state, block, context, contracts, envelopes)))
        try:
            return (yield from shared.follow())
        finally:
            if shared.has_failed:
                self._runs.forget(key)
