"""Acknowledged transactions: from a node's word to a client until blocks bury them, or they can never be executed.

What was acknowledged is kept on disk and pending. It ends without being executed when another transaction of its sender
takes its sequence, when it expires, when its sender goes, or when after a restart or a reorg the rules refuse it. Such
an ending is told once and remembered, the oldest of very many forgotten; a reorg may undo it. The pool itself evicts
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ledger import journal
from ledger.accounts import get_account
from ledger.chain import WINDOW, BlockNode, Chain, Changes
from ledger.errors import (
    AlreadyKnown,
    CredentialExpired,
    CredentialTooEarly,
    ExpiryTooFar,
    GridmeritError,
    NotYetMember,
    SequenceTooLow,
    StoreError,
    UnknownMember,
)
from ledger.journal import BURIED_DEPTH, Ending
from ledger.membership import is_gone
from ledger.mempool import Mempool
from ledger.overlay import Event, Overlay
from ledger.store import KeyValue
from ledger.transaction import Transaction
from node.chain.admission import MempoolAdmission
from node.chain.events import Action, Persist, Publish
from node.errors import Superseded

Slot: TypeAlias = tuple[bytes, int]  # a sender and a sequence: one transaction takes it
InPlace: TypeAlias = Mapping[Slot, bytes]  # and the id of the transaction there

MAX_ENDINGS = 4_096
_ALL_SEQUENCES = 2**63
NOT_EXECUTED, EXECUTABLE_AGAIN = "not-executed", "executable-again"
_PASSING = frozenset(
    error.__name__
    for error in (CredentialExpired, CredentialTooEarly, ExpiryTooFar, NotYetMember, Superseded, UnknownMember)
)  # the next block may put these right; what supersedes may itself come to nothing after a reorg


@dataclass(slots=True)
class News:
    """Rows to be persisted, and what subscribers are told once it is."""

    changes: Changes = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def actions(self) -> list[Action]:
        kept: list[Action] = [Persist(changes=self.changes)] if self.changes else []
        return [*kept, *(Publish(event=event) for event in self.events)]


class Acknowledgements:
    """The acknowledged transactions of one chain, and its pool as the head moves. Raises `StoreCorrupt`."""

    def __init__(self, chain: Chain, store: KeyValue, pool: Mempool, admission: MempoolAdmission) -> None:
        self._chain = chain
        self._store = store
        self._pool = pool
        self._admission = admission
        self._open: dict[bytes, None] = {}  # neither buried nor ended
        self._endings = {identity: (number, ending) for number, identity, ending in journal.load_endings(store)}
        self._last_number = max((number for number, _ in self._endings.values()), default=0)
        self._fresh: dict[bytes, Slot] = {}  # ended, but so lately that a reorg may bring them back
        self.told = 0  # endings told since the node started

    def __contains__(self, transaction_id: bytes) -> bool:
        return transaction_id in self._open

    def get_ending(self, transaction_id: bytes) -> Ending | None:
        """The end of an acknowledged transaction that will not be executed; None where it may be, or is not known."""
        found = self._endings.get(transaction_id)
        return None if found is None else found[1]

    @property
    def ending_count(self) -> int:
        """The number of endings remembered."""
        return len(self._endings)

    # --- what happens ----------------------------------------------------------------------------

    def open(self) -> News:
        """Take up what was acknowledged before a restart."""
        news, lost = News(), list[tuple[Transaction, GridmeritError]]()
        for transaction in journal.load(self._store, max_bytes=self._max_bytes):
            obstacle = self._take_back(transaction)
            place = None if obstacle is None else self._chain.find_transaction(transaction.id)
            if obstacle is None or (place is not None and not self._is_buried(self._height_of(place[0]))):
                self._open[transaction.id] = None
            elif place is not None:
                news.changes += journal.rows_to_forget([transaction.id])
            else:
                lost.append((transaction, obstacle))
        in_place = self._list_recent_sequences() if lost else {}
        for transaction, obstacle in lost:
            if transaction.id in self._endings:
                self._fresh[transaction.id] = _slot_of(transaction)
            else:
                self._end(transaction, obstacle, in_place, news)
        self._forget_settled(news)
        return news

    def keep(self, transactions: Sequence[Transaction]) -> Changes:
        """Rows that must be on disk before these are acknowledged."""
        news = News(changes=journal.rows_to_keep(transactions))
        for transaction in transactions:
            self._open[transaction.id] = None
            self._drop_ending(transaction.id, news)
        return news.changes

    def on_head(self, removed: Sequence[BlockNode], added: Sequence[BlockNode]) -> News:
        """Bring the pool up to the head: what a reorg took off comes back, what the blocks put on holds leaves.

        Cause: the head has moved.
        """
        self._admission.on_head()
        news = News()
        placed = [transaction for entry in added for transaction in _get_body(entry)]
        self._pool.remove(transaction.id for transaction in placed)
        in_place = self._by_sequence(placed)
        self._note_placed(placed, news)
        self._take_back_removed(removed, {transaction.id for transaction in placed}, in_place, news)
        head = self._chain.head
        view = Overlay(head.state)
        stale = self._pool.drop_stale(height=head.height + 1, spent=lambda sender: count_spent(view, sender))
        self._end_those_acknowledged(stale, in_place, news)
        self._try_again(news, in_place, is_reorg=bool(removed))
        self._forget_buried(added, news)
        self._forget_settled(news)
        return news

    # --- coming back -----------------------------------------------------------------------------

    def _take_back(self, transaction: Transaction) -> GridmeritError | None:
        """Put a transaction into the pool again; why not, where that cannot be."""
        try:
            self._admission.readmit(transaction, self._chain.head)
        except AlreadyKnown:
            return None
        except StoreError:
            raise
        except GridmeritError as error:
            return error
        return None

    def _take_back_removed(
        self,
        removed: Sequence[BlockNode],
        placed: set[bytes],
        in_place: InPlace,
        news: News,
    ) -> None:
        """Put back what a reorg took off. What stood so deep that it may have been forgotten counts as acknowledged."""
        old_height = removed[0].height if removed else 0
        for entry in reversed(removed):
            for transaction in _get_body(entry):
                if not self._admission.spends_sequence(transaction):
                    continue
                if entry.height + BURIED_DEPTH <= old_height and transaction.id not in self._open:
                    self._open[transaction.id] = None
                    news.changes += journal.rows_to_keep([transaction])
                obstacle = None if transaction.id in placed else self._take_back(transaction)
                if obstacle is not None and transaction.id in self._open:
                    self._end(transaction, obstacle, in_place, news)

    def _try_again(self, news: News, in_place: InPlace, *, is_reorg: bool) -> None:
        """Try ended ones again, which may be executable now: after a reorg all, else those with a passing obstacle."""
        view = Overlay(self._chain.head.state)
        for identity, slot in tuple(self._fresh.items()):
            number, ending = self._endings[identity]
            if (by := in_place.get(slot, ending.by)) != ending.by:
                self._put_ending(number, identity, _superseded(ending.height, by), news)
            rival = self._pool.find(*slot)
            is_taken = count_spent(view, slot[0]) > slot[1] or (rival is not None and rival.id != identity)
            if is_taken or not (is_reorg or ending.code in _PASSING):
                continue
            transaction = journal.find(self._store, identity, max_bytes=self._max_bytes)
            obstacle = None if transaction is None else self._take_back(transaction)
            if transaction is None or obstacle is not None:
                continue
            self._drop_ending(identity, news)
            self._open[identity] = None
            news.events.append((EXECUTABLE_AGAIN, identity))

    def _note_placed(self, placed: Sequence[Transaction], news: News) -> None:
        """A block holds after all what had ended: kept until it is buried there."""
        for transaction in placed if self._endings else ():
            if transaction.id in self._endings:
                self._drop_ending(transaction.id, news)
                self._open[transaction.id] = None
                news.changes += journal.rows_to_keep([transaction])
                news.events.append((EXECUTABLE_AGAIN, transaction.id))

    # --- ending ----------------------------------------------------------------------------------

    def _end_those_acknowledged(self, dropped: Sequence[Transaction], in_place: InPlace, news: News) -> None:
        for transaction in dropped:
            if transaction.id in self._open and (obstacle := self._take_back(transaction)) is not None:
                self._end(transaction, obstacle, in_place, news)

    def _end(
        self,
        transaction: Transaction,
        obstacle: GridmeritError,
        in_place: InPlace,
        news: News,
    ) -> None:
        identity = transaction.id
        self._open.pop(identity, None)
        self._last_number += 1
        ending = self._explain(transaction, obstacle, in_place)
        self._put_ending(self._last_number, identity, ending, news)
        self._fresh[identity] = _slot_of(transaction)
        self.told += 1
        news.events.append((NOT_EXECUTED, identity, transaction.sender, ending.code, ending.height, ending.by or b""))
        if len(self._endings) > MAX_ENDINGS:
            oldest = next(iter(self._endings))
            self._drop_ending(oldest, news)
            news.changes += journal.rows_to_forget([oldest])

    def _explain(self, transaction: Transaction, obstacle: GridmeritError, in_place: InPlace) -> Ending:
        height, slot = self._chain.head.height, _slot_of(transaction)
        rival = self._pool.find(*slot)
        by = in_place.get(slot) or (None if rival is None else rival.id)
        is_taken = by is not None or isinstance(obstacle, SequenceTooLow)
        return _superseded(height, by) if is_taken else Ending(code=obstacle.code, height=height)

    def _put_ending(self, number: int, identity: bytes, ending: Ending, news: News) -> None:
        self._endings[identity] = number, ending
        news.changes.append(journal.row_of_ending(number, identity, ending))

    def _drop_ending(self, identity: bytes, news: News) -> None:
        found = self._endings.pop(identity, None)
        self._fresh.pop(identity, None)
        if found is not None:
            news.changes.append(journal.row_without_ending(found[0]))

    # --- forgetting ------------------------------------------------------------------------------

    def _forget_buried(self, added: Sequence[BlockNode], news: News) -> None:
        for entry in added if self._open else ():
            buried_hash = self._chain.hash_at(entry.height - BURIED_DEPTH)
            buried = self._chain.get_block(buried_hash) if buried_hash else None
            for transaction in () if buried is None else buried.transactions:
                if transaction.id in self._open:
                    del self._open[transaction.id]
                    news.changes += journal.rows_to_forget([transaction.id])

    def _forget_settled(self, news: News) -> None:
        """Let go of the bytes of those that ended so long ago that no reorg is expected to undo it."""
        for identity in tuple(self._fresh):
            if self._is_buried(self._endings[identity][1].height):
                del self._fresh[identity]
                news.changes += journal.rows_to_forget([identity])

    # --- small things ----------------------------------------------------------------------------

    def _by_sequence(self, transactions: Sequence[Transaction]) -> dict[Slot, bytes]:
        return {_slot_of(tx): tx.id for tx in transactions if self._admission.spends_sequence(tx)}

    def _list_recent_sequences(self) -> dict[Slot, bytes]:
        """The transactions of the blocks below the head, by sender and sequence."""
        top = self._chain.head.height
        hashes = [self._chain.hash_at(height) for height in range(max(0, top - WINDOW), top + 1)]
        blocks = [self._chain.get_block(block_hash) for block_hash in hashes if block_hash is not None]
        return self._by_sequence([tx for block in blocks if block is not None for tx in block.transactions])

    def _is_buried(self, height: int) -> bool:
        return height + BURIED_DEPTH <= self._chain.head.height

    def _height_of(self, block_hash: bytes) -> int:
        header = self._chain.get_header(block_hash)
        assert header is not None, "a block that the chain has told of"
        return header.height

    @property
    def _max_bytes(self) -> int:
        return self._chain.genesis.params.ledger.max_transaction_bytes


def count_spent(view: Overlay, sender: bytes) -> int:
    """A sender's next sequence; of a sender whose membership is over, the end of all sequences."""
    return _ALL_SEQUENCES if is_gone(view, sender) else get_account(view, sender).sequence


def _slot_of(transaction: Transaction) -> Slot:
    return transaction.sender, transaction.sequence


def _superseded(height: int, by: bytes | None) -> Ending:
    return Ending(code=Superseded.__name__, height=height, by=by)


def _get_body(entry: BlockNode) -> Sequence[Transaction]:
    assert entry.block is not None, "what moves has its body"
    return entry.block.transactions
