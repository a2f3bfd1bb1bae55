"""Pending transactions: from clients and peers into the pool, and told again while blocks pass them over."""

from __future__ import annotations

from ledger.accounts import get_account
from ledger.errors import AlreadyKnown, GridmeritError, Rejected, StoreError
from ledger.overlay import Overlay
from ledger.transaction import Transaction
from node.chain import messages as wire
from node.chain.acknowledgements import MAX_ENDINGS, Acknowledgements
from node.chain.admission import MempoolAdmission
from node.chain.events import Acknowledge, Action, PeerId, PenalisePeer, Persist, SetTimer
from node.chain.gossip import PASS_ON_AFTER_MS, Gossip, broadcast_transactions, push_transactions
from node.chain.instance import Instance
from node.chain.progress import Reaction, Step, WorkPending
from node.errors import RulesUnknown

PASS_ON = "pass-on"
_PASSED_OVER_BLOCKS = 3  # a pending transaction that so many leave out is announced again


class Pool:
    """The pool of one chain instance, who may come in, and what has been promised to clients."""

    def __init__(self, instance: Instance, admission: MempoolAdmission, gossip: Gossip) -> None:
        self.acknowledgements = Acknowledgements(instance.chain, instance.store, instance.mempool, admission)
        self._admission = admission
        self._instance = instance
        self._gossip = gossip
        self._waiting_since: dict[bytes, int] = {}  # height or heartbeat at which one was first noticed pending
        self._beats = 0  # heartbeats so far

    def on_submitted(self, transactions: tuple[Transaction, ...], now_ms: int) -> Reaction:
        """Take in what holds, and answer once that is on disk. Cause: a client of this node."""
        head = self._instance.chain.head
        try:
            context = self._instance.make_next_context(now_ms)
        except RulesUnknown as error:
            return [Acknowledge(outcomes=(error,) * len(transactions))]
        outcomes: list[GridmeritError | None] = []
        accepted: list[Transaction] = []
        for transaction in transactions:
            try:
                self._admission.submit(transaction, head, context)
            except AlreadyKnown as error:
                outcomes.append(None if transaction.id in self.acknowledgements else error)
                continue
            except StoreError:
                raise
            except GridmeritError as error:
                outcomes.append(error)
                continue
            outcomes.append(None)
            accepted.append(transaction)
        answer = Acknowledge(outcomes=tuple(outcomes))
        if not accepted:
            return [answer]
        keep = Persist(changes=self.acknowledgements.keep(accepted))
        return [keep, answer, *push_transactions(accepted), WorkPending()]

    def on_transactions(self, peer: PeerId, raw: tuple[bytes, ...], now_ms: int) -> Reaction:
        """Take in what holds, and pass it on a little later. Cause: a peer gives transactions."""
        accepted: list[bytes] = []
        reaction: list[Step] = []
        for item in raw:
            try:
                transaction = Transaction.from_bytes(item, max_bytes=self._instance.params.ledger.max_transaction_bytes)
                if not self._gossip.took_transaction(transaction.id):
                    continue
                self._admission.admit(transaction, self._instance.chain.head)
                accepted.append(transaction.id)
            except Rejected:
                continue  # good on the sender's head, perhaps
            except StoreError:
                raise
            except GridmeritError as error:
                reaction.append(PenalisePeer(peer=peer, error=error))
        if self._gossip.pass_on(peer, accepted):
            reaction.append(SetTimer(name=PASS_ON, at_ms=now_ms + PASS_ON_AFTER_MS))
        return [*reaction, WorkPending()] if accepted else reaction

    def list_executable(self) -> list[Transaction]:
        """Pending transactions that the next block may take, in its order."""
        view = Overlay(self._instance.chain.head.state)
        return self._instance.mempool.candidates(lambda sender: get_account(view, sender).sequence)

    def has_executable(self) -> bool:
        """True where there are some."""
        view = Overlay(self._instance.chain.head.state)
        return self._instance.mempool.has_candidate(lambda sender: get_account(view, sender).sequence)

    def count_beat(self) -> int:
        """Count a heartbeat; how many there have been."""
        self._beats += 1
        return self._beats

    def remind(self, age: int) -> list[Action]:
        """Announce again what blocks pass over: an announcement may be lost, a reorg brings back what was settled.

        `age` counts blocks; heartbeats, where there may be no block before the others hear of it. Cause: a heartbeat.
        """
        oldest = self.list_executable()[: wire.MAX_ITEMS]
        self._waiting_since = {tx.id: self._waiting_since.get(tx.id, age) for tx in oldest}
        since = age - _PASSED_OVER_BLOCKS
        return broadcast_transactions(tx_id for tx_id, noticed in self._waiting_since.items() if noticed <= since)

    def get_usage(self) -> dict[str, tuple[int, int]]:
        """The amounts that are held, and the most that may be."""
        pool = self._instance.mempool
        return {
            "pending transactions": (len(pool), pool.limits.max_count),
            "bytes of pending transactions": (pool.size_bytes, pool.limits.max_bytes),
            "endings of acknowledged transactions": (self.acknowledgements.ending_count, MAX_ENDINGS),
        }
