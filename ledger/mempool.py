"""Pending transactions: bounded by count and bytes, in all and per sender; gaps in a sender's sequence wait.

No sender can fill the pool, nor a block before the others have had their turn. Holds no rejected transaction, so one
that was refused can be sent again when its reason is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from ledger.errors import AlreadyKnown, PoolFull, SenderQuotaFull, SequenceGapTooWide, SequenceTaken, SequenceTooLow
from ledger.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class MempoolLimits:
    """Bounds of one chain's pool."""

    max_count: int = 20_000
    max_bytes: int = 16_000_000
    max_per_sender: int = 1_024
    max_bytes_per_sender: int = 1_000_000


class Mempool:
    """Pending transactions in the order of their arrival."""

    def __init__(self, limits: MempoolLimits | None = None) -> None:
        self._limits = limits or MempoolLimits()
        self._by_id: dict[bytes, Transaction] = {}
        self._by_sender: dict[bytes, dict[int, Transaction]] = {}
        self._bytes = 0
        self._bytes_by_sender: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, transaction_id: bytes) -> bool:
        return transaction_id in self._by_id

    def __iter__(self) -> Iterator[Transaction]:
        return iter(self._by_id.values())

    def get(self, transaction_id: bytes) -> Transaction | None:
        return self._by_id.get(transaction_id)

    @property
    def limits(self) -> MempoolLimits:
        return self._limits

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def next_sequence(self, sender: bytes, spent: int) -> int:
        """The first sequence from `spent` on that no pending transaction of this sender has."""
        waiting = self._by_sender.get(sender, {})
        sequence = spent
        while sequence in waiting:
            sequence += 1
        return sequence

    def add(self, transaction: Transaction, *, next_sequence: int, limited: bool = True) -> None:
        """Take in a transaction whose envelope has been checked; `next_sequence` is its sender's in the state.

        Without `limited` its bounds do not apply: to what was acknowledged, or stood in a block that a reorg took off.
        Raises `AlreadyKnown`, `SequenceTooLow`, `SequenceTaken`, `SequenceGapTooWide`, `SenderQuotaFull`, `PoolFull`.
        """
        limits, sequence = self._limits, transaction.sequence
        if transaction.id in self._by_id:
            raise AlreadyKnown(transaction_id=transaction.id.hex())
        if sequence < next_sequence:
            raise SequenceTooLow(expected=next_sequence, actual=sequence)
        waiting = self._by_sender.get(transaction.sender, {})
        if sequence in waiting:
            raise SequenceTaken(sequence=sequence)
        if limited:
            if sequence >= next_sequence + limits.max_per_sender:
                raise SequenceGapTooWide(expected=next_sequence, actual=sequence, limit=limits.max_per_sender)
            if len(waiting) >= limits.max_per_sender:
                raise SenderQuotaFull(limit=limits.max_per_sender, unit="transactions")
            if self._bytes_by_sender[transaction.sender] + len(transaction.raw) > limits.max_bytes_per_sender:
                raise SenderQuotaFull(limit=limits.max_bytes_per_sender, unit="bytes of transactions")
            full = len(self._by_id) >= limits.max_count
            if full or self._bytes + len(transaction.raw) > limits.max_bytes:
                raise PoolFull(count=len(self._by_id), size=self._bytes)
        self._by_id[transaction.id] = transaction
        self._by_sender.setdefault(transaction.sender, {})[sequence] = transaction
        self._bytes += len(transaction.raw)
        self._bytes_by_sender[transaction.sender] += len(transaction.raw)

    def remove(self, transaction_ids: Iterable[bytes]) -> None:
        for transaction_id in transaction_ids:
            transaction = self._by_id.pop(transaction_id, None)
            if transaction is None:
                continue
            self._bytes -= len(transaction.raw)
            self._bytes_by_sender[transaction.sender] -= len(transaction.raw)
            waiting = self._by_sender[transaction.sender]
            del waiting[transaction.sequence]
            if not waiting:
                del self._by_sender[transaction.sender], self._bytes_by_sender[transaction.sender]

    def find(self, sender: bytes, sequence: int) -> Transaction | None:
        """The transaction that a sender has pending under a sequence."""
        return self._by_sender.get(sender, {}).get(sequence)

    def drop_stale(self, *, height: int, spent: Callable[[bytes], int]) -> tuple[Transaction, ...]:
        """Drop what cannot enter a block at `height` any more and return it; `spent` gives next sequences."""
        stale = tuple(
            transaction
            for sender, waiting in self._by_sender.items()
            for needed in (spent(sender),)
            for transaction in waiting.values()
            if transaction.sequence < needed or transaction.expiry_height < height
        )
        self.remove(transaction.id for transaction in stale)
        return stale

    def has_candidate(self, spent: Callable[[bytes], int]) -> bool:
        """Return True if `candidates` would list anything."""
        return any(spent(sender) in waiting for sender, waiting in self._by_sender.items())

    def candidates(self, spent: Callable[[bytes], int]) -> list[Transaction]:
        """Executable transactions, those of each sender by sequence; senders take turns, in the order of their oldest.

        A sender with many pending transactions delays no other: the first of every sender comes before the second of
        any.
        """
        turns = [self._run_of(sender, spent(sender)) for sender in self._senders_by_age()]
        return [transaction for turn in zip_longest(*turns) for transaction in turn if transaction is not None]

    def _senders_by_age(self) -> Iterable[bytes]:
        return dict.fromkeys(transaction.sender for transaction in self._by_id.values())

    def _run_of(self, sender: bytes, sequence: int) -> Iterator[Transaction]:
        """A sender's pending transactions from a sequence on, up to the first gap."""
        waiting = self._by_sender[sender]
        while (ready := waiting.get(sequence)) is not None:
            yield ready
            sequence += 1
