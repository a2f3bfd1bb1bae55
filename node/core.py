"""One chain instance: ledger, engine, contracts and mempool wired together, driven by `step(event, now_ms) -> actions`.

No await, no clock, no socket: the asyncio runtime and the simulator perform the same actions. Reading order:
`step`, `_import_block`, `_move_head`, `_restart_sealing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from consensus.checkpoints import Checkpoints
from consensus.contracts import CERTIFICATE, DOUBLE_VOTE, EQUIVOCATION, is_recorded
from consensus.engine import Engine, Proposal
from consensus.evidence import Equivocation, EquivocationWatch, check_equivocation
from consensus.guard import GuardRecord
from consensus.poca import PocaEngine, check_params
from consensus.quorum import (
    DoubleVote,
    QuorumCertificate,
    Statement,
    Vote,
    check_double_vote,
    sign_statement,
)
from consensus.relays import RELAY, Relay, RelayName
from consensus.timestamps import Ahead, compare_with_clock
from ledger import journal
from ledger.accounts import get_account, get_sealers
from ledger.block import MAX_HEADER_BYTES, Block, Header, compute_tx_root
from ledger.chain import WINDOW, Chain, Changes, Entry
from ledger.codec import decode, encode
from ledger.errors import (
    AlreadyKnown,
    GridmeritError,
    LeavesCheckpoint,
    Rejected,
    RolledBack,
    StoreError,
    UnknownMessage,
    UnknownSigner,
)
from ledger.execution import BlockContext, compute_period, execute_block
from ledger.genesis import Genesis
from ledger.mempool import Mempool, MempoolLimits
from ledger.overlay import Overlay
from ledger.signatures import SigningKey
from ledger.store import KeyValue
from ledger.transaction import Transaction
from node import messages as wire
from node.admission import Admission
from node.candidate import Candidate, build_candidate, make_context
from node.contracts import build_contracts, routes_of
from node.events import (
    Acknowledge,
    Action,
    Broadcast,
    Deliver,
    Event,
    Guard,
    MessageReceived,
    PeerConnected,
    PeerId,
    PeerLost,
    PenalisePeer,
    Persist,
    Publish,
    RelayOffered,
    SealFound,
    Send,
    SetTimer,
    Started,
    StartSealing,
    StopSealing,
    TimerFired,
    TransactionsSubmitted,
)
from node.gossip import Gossip, announce_block, broadcast_transactions
from node.relays import Outgoing, Waiting

_MAX_DEFERRED = 64  # blocks ahead of the clock
_MAX_BAD = 1_024  # hashes of condemned blocks
_MAX_CERTIFICATE_BYTES = 1_000_000
_MAX_RELAY_BYTES = 2_000_000
_MAX_FINAL_DEPTH = 4 * WINDOW
_PASSED_OVER_BLOCKS = 3  # a pending transaction that so many leave out is announced again
HEARTBEAT, RESEAL, DEFERRED, REPEAT = "heartbeat", "reseal", "deferred", "repeat"
_CERTIFICATE_ROW, _FINAL_CERTIFICATE_ROW = b"c", b"C"


class ChainNode:
    """One chain on one peer. Raises `BadParameters`, `StoreCorrupt` or `RolledBack` when opened.

    `key` is the member's; without one the node follows the chain, and seals and signs nothing.
    """

    def __init__(
        self,
        genesis: Genesis,
        store: KeyValue,
        *,
        key: SigningKey | None = None,
        guard: GuardRecord | None = None,
        limits: MempoolLimits | None = None,
    ) -> None:
        check_params(genesis.params)
        self.genesis = genesis
        self.params = genesis.params
        self.chain = Chain(genesis, store)
        self.chain_id = self.chain.chain_id
        self.mempool = Mempool(limits)
        self._store = store
        self._key = key
        self._guard = guard or GuardRecord()
        if self.chain.head.height < self._guard.height:
            raise RolledBack(expected=self._guard.height, actual=self.chain.head.height)
        self._contracts = build_contracts(genesis)
        self._engine: Engine = PocaEngine(genesis)
        self._checkpoints = Checkpoints(self.params.consensus, self.chain_id)
        self._admission = Admission(self.params, self.chain_id, self._contracts, self.mempool)
        self._outgoing = Outgoing(genesis)
        self._relays = Waiting(routes_of(self.params.kind))
        self._watch = EquivocationWatch()
        self._gossip = Gossip(self.chain, self.mempool, self._engine, is_known=self._is_known)
        self._sync = self._gossip.sync
        self._deferred: dict[bytes, tuple[Block, PeerId]] = {}
        self._bad: dict[bytes, None] = {}
        self.blocks_refused = 0
        self._acknowledged: dict[bytes, None] = {}
        self._waiting_since: dict[bytes, int] = {}  # head's height when a pending transaction was first noticed
        self._final_certificate = self._load_certificate(_FINAL_CERTIFICATE_ROW)
        self._candidate: Candidate | None = None
        self._job = 0
        self._sealers = frozenset(get_sealers(Overlay(self.chain.head.state)))
        self._due_statements()

    # --- the step --------------------------------------------------------------------------------

    def step(self, event: Event, now_ms: int) -> list[Action]:
        """What to do about `event`, strictly in this order. Raises nothing but bugs and `StoreCorrupt`."""
        match event:
            case Started():
                return self._on_started(now_ms)
            case MessageReceived(peer=peer, message=message):
                return self._on_message(peer, message, now_ms)
            case TransactionsSubmitted(transactions=transactions):
                return self._on_submitted(transactions, now_ms)
            case SealFound(job=job, nonce=nonce):
                return self._on_seal_found(job, nonce, now_ms)
            case TimerFired(name=name):
                return self._on_timer(name, now_ms)
            case PeerConnected(peer=peer):
                return self._gossip.connected(peer)
            case RelayOffered(raw=raw):
                return self._on_relay_offered(raw, now_ms)
            case PeerLost(peer=peer):
                self._gossip.lost(peer)
                return self._gossip.fetch(now_ms)
            case _:
                assert_never(event)

    def _on_started(self, now_ms: int) -> list[Action]:
        limit = self.params.ledger.max_transaction_bytes
        lost: list[bytes] = []
        for transaction in journal.load(self._store, max_bytes=limit):
            try:
                self._admission.readmit(transaction, self.chain.head)
            except GridmeritError:
                place = self.chain.find_transaction(transaction.id)
                if place is None or self._is_buried(place[0]):
                    lost.append(transaction.id)
                    continue
            self._acknowledged[transaction.id] = None
        forget: list[Action] = [Persist(changes=journal.rows_to_forget(lost))] if lost else []
        beat = SetTimer(name=HEARTBEAT, at_ms=now_ms + self._heartbeat_ms)
        return [*forget, beat, *self._repeat(now_ms), *self._sign_due(), *self._restart_sealing(now_ms)]

    def _on_timer(self, name: str, now_ms: int) -> list[Action]:
        match name:
            case "heartbeat":
                again = SetTimer(name=HEARTBEAT, at_ms=now_ms + self._heartbeat_ms)
                votes = self._pending_votes()
                repeat: list[Action] = [Broadcast(message=wire.Votes(raw=votes))] if votes else []
                status = Broadcast(message=self._gossip.status())
                return [again, status, *repeat, *self._remind_of_pending(), *self._catch_up(now_ms)]
            case "reseal":
                return self._restart_sealing(now_ms)
            case "deferred":
                return self._import_deferred(now_ms)
            case "repeat":
                return self._repeat(now_ms)
        raise AssertionError(f"unknown timer {name}")

    # --- messages --------------------------------------------------------------------------------

    def _on_message(self, peer: PeerId, message: wire.Message, now_ms: int) -> list[Action]:
        try:
            return self._handle(peer, message, now_ms)
        except StoreError:
            raise
        except GridmeritError as error:
            return [PenalisePeer(peer=peer, error=error)]

    def _handle(self, peer: PeerId, message: wire.Message, now_ms: int) -> list[Action]:
        match message:
            case wire.Status():
                return self._on_status(peer, message, now_ms)
            case wire.TransactionIds(ids=ids):
                self._gossip.want_transactions(peer, ids)
                return self._gossip.fetch(now_ms)
            case wire.GetTransactions(ids=ids):
                return self._gossip.give_transactions(peer, ids)
            case wire.Transactions(raw=raw):
                return self._on_transactions(peer, raw)
            case wire.NewBlock():
                return self._on_new_block(peer, message, now_ms)
            case wire.GetHeaders(locator=locator):
                return self._gossip.give_headers(peer, locator)
            case wire.Headers(raw=raw):
                return self._on_headers(peer, raw, now_ms)
            case wire.GetBlocks(ids=ids):
                return self._gossip.give_blocks(peer, ids)
            case wire.Blocks(raw=raw):
                return self._on_blocks(peer, raw, now_ms)
            case wire.Votes(raw=raw):
                return self._on_votes(peer, raw, now_ms)
            case wire.Certificate(raw=raw):
                return self._on_certificate(peer, raw, now_ms)
            case wire.Evidence():
                return self._on_evidence(peer, message)
            case wire.Relay(raw=raw):
                return self._on_relay(raw, peer, now_ms)
            case _:
                assert_never(message)

    def _on_status(self, peer: PeerId, status: wire.Status, now_ms: int) -> list[Action]:
        """Note where a peer stands, and show one that has not heard of our final block its certificate."""
        self._gossip.note_status(peer, status)
        actions: list[Action] = []
        if status.final_height < self.chain.final_height and self._final_certificate is not None:
            raw = encode(self._final_certificate.to_value())
            actions.append(Send(peer=peer, message=wire.Certificate(raw=raw)))
        return [*actions, *self._catch_up(now_ms)]

    def _on_transactions(self, peer: PeerId, raw: tuple[bytes, ...]) -> list[Action]:
        accepted, actions = [], list[Action]()
        for item in raw:
            try:
                transaction = Transaction.from_bytes(item, max_bytes=self.params.ledger.max_transaction_bytes)
                if not self._gossip.took_transaction(transaction.id):
                    continue
                self._admission.admit(transaction, self.chain.head)
                accepted.append(transaction.id)
            except Rejected:
                continue  # good on the sender's head, perhaps
            except GridmeritError as error:
                actions.append(PenalisePeer(peer=peer, error=error))
        return [*actions, *broadcast_transactions(accepted, but=peer)]

    def _on_new_block(self, peer: PeerId, message: wire.NewBlock, now_ms: int) -> list[Action]:
        header = Header.from_value(decode(message.header, max_bytes=MAX_HEADER_BYTES))
        if self._gossip.is_wanted(header.hash):
            self._gossip.want_block(peer, header.hash)
            return []
        if self._is_known(header.hash):
            return []
        self._engine.screen_header(header, self._sealers)
        actions = self._observe(header)
        if not self.chain.is_recent(header.parent):  # unknown, or so old that its branch must first show its work
            return [*actions, *self._gossip.ask_headers(peer, now_ms)]
        if self._gossip.is_stray(peer, header):
            return actions
        known = [self.mempool.get(identity) for identity in message.ids]
        transactions = tuple(transaction for transaction in known if transaction is not None)
        if len(transactions) == len(known) and compute_tx_root(transactions) == header.tx_root:
            return [*actions, *self._import_block(Block(header=header, transactions=transactions), peer, now_ms)]
        self._gossip.want_block(peer, header.hash)
        return [*actions, *self._gossip.fetch(now_ms)]

    def _on_headers(self, peer: PeerId, raw: tuple[bytes, ...], now_ms: int) -> list[Action]:
        if not self._sync.expects(peer):
            return []
        headers = tuple(Header.from_value(decode(item, max_bytes=MAX_HEADER_BYTES)) for item in raw)
        fork = next((header for header in headers if not self.chain.is_canonical(header)), None)
        if fork is not None and self._gossip.is_stray(peer, fork):
            return []
        for header in headers:
            self._engine.screen_header(header, self._sealers)
        more = self._gossip.on_headers(peer, headers, now_ms)
        if not more and self._sync.headers and not self._is_worth_following():
            self._sync.reset()  # our head has moved meanwhile, or the peer claimed what it does not have
        return [*more, *self._catch_up(now_ms)]

    def _is_worth_following(self) -> bool:
        """Whether the skeleton claims more work than our head, or holds a block that a certificate makes final."""
        if self._gossip.claimed_work() > self.chain.head.work:
            return True
        return any(self._checkpoints.certificate_of(header.hash) for header in self._sync.headers)

    def _on_blocks(self, peer: PeerId, raw: tuple[bytes, ...], now_ms: int) -> list[Action]:
        actions: list[Action] = []
        limits = self.params.ledger
        for item in raw:
            try:
                block = Block.from_bytes(
                    item,
                    max_bytes=limits.max_block_bytes + MAX_HEADER_BYTES,
                    max_transactions=limits.max_block_transactions,
                    max_transaction_bytes=limits.max_transaction_bytes,
                )
            except GridmeritError as error:
                actions.append(PenalisePeer(peer=peer, error=error))  # what came before it has been done
                break
            if not self._gossip.took_block(block.hash) or self._is_known(block.hash):
                continue
            if not self._sync.on_block(block, peer):
                actions += self._import_block(block, peer, now_ms)
        return [*actions, *self._catch_up(now_ms)]

    def _on_votes(self, peer: PeerId, raw: tuple[bytes, ...], now_ms: int) -> list[Action]:
        actions: list[Action] = []
        for item in raw:
            try:
                vote = Vote.from_value(decode(item, max_bytes=MAX_HEADER_BYTES))
                actions += self._count(vote, now_ms)
            except StoreError:
                raise
            except GridmeritError as error:
                actions.append(PenalisePeer(peer=peer, error=error))  # what came before it has been done
                break
        return actions

    def _on_certificate(self, peer: PeerId, raw: bytes, now_ms: int) -> list[Action]:
        certificate = QuorumCertificate.from_value(decode(raw, max_bytes=_MAX_CERTIFICATE_BYTES))
        header = self.chain.get_header(certificate.statement.block_hash)
        if header is not None and header.height <= self.chain.final_height and self.chain.is_canonical(header):
            return []  # it says nothing new
        if self._checkpoints.add_certificate(certificate):
            return self._on_certified(certificate, peer, now_ms)
        if self.chain.get_header(certificate.statement.block_hash) is None:
            return self._gossip.ask_headers(peer, now_ms)
        return []

    def _on_evidence(self, peer: PeerId, message: wire.Evidence) -> list[Action]:
        value = decode(message.raw, max_bytes=4 * MAX_HEADER_BYTES)
        evidence: Equivocation | DoubleVote
        if message.kind == EQUIVOCATION:
            evidence = Equivocation.from_value(value)
            if evidence.producer not in self._sealers:
                raise UnknownSigner(signer=evidence.producer.hex()[:16])
            check_equivocation(evidence, self.chain_id)
        elif message.kind == DOUBLE_VOTE:
            evidence = DoubleVote.from_value(value)
            check_double_vote(evidence, self._sealers, chain_id=self.chain_id)
        else:
            raise UnknownMessage(kind=message.kind)
        if is_recorded(Overlay(self.chain.head.state), evidence) or not self._checkpoints.add_evidence(evidence):
            return []
        return [Broadcast(message=message, but=peer)]

    # --- relays ----------------------------------------------------------------------------------

    def _on_relay_offered(self, raw: bytes, now_ms: int) -> list[Action]:
        try:
            return self._on_relay(raw, None, now_ms)
        except GridmeritError:
            return []  # whoever brings it is nobody in particular

    def _on_relay(self, raw: bytes, peer: PeerId | None, now_ms: int) -> list[Action]:
        """Keep a relay for the next block and pass it on, where it would take effect there."""
        relay = Relay.from_value(decode(raw, max_bytes=_MAX_RELAY_BYTES))
        try:
            is_news = self._relays.add(relay, self.chain.head, self._next_context(now_ms))
        except Rejected:
            return []  # too early or too late for it here
        return [Broadcast(message=wire.Relay(raw=raw), but=peer)] if is_news else []

    def _repeat(self, now_ms: int) -> list[Action]:
        """Offer other chains all they may still lack: they may have been down when it was news."""
        if not self.genesis.siblings:
            return []
        return [SetTimer(name=REPEAT, at_ms=now_ms + self._repeat_ms), *self._deliver_above(0)]

    def _deliver_above(self, height: int) -> list[Action]:
        """What the final block has for other chains that was posted above a height."""
        is_deep = self.chain.head.height - self.chain.final_height > _MAX_FINAL_DEPTH  # its state would be rebuilt
        certificate = self._final_certificate
        checkpoint = None if certificate is None or is_deep else self.chain.get(self.chain.final_hash)
        if certificate is None or checkpoint is None or self._sync.is_far_behind:
            return []
        return self._outgoing.deliver(certificate, checkpoint, above_height=height)

    def get_relays(self, destination: bytes) -> list[tuple[str, int, int, bytes]]:
        """(kind, number, part, bytes) of every relay that this node can make for another chain."""
        return [
            (*action.name[1:], action.raw)
            for action in self._deliver_above(0)
            if isinstance(action, Deliver) and action.chain_id == destination
        ]

    def lacks(self, name: RelayName) -> bool:
        """Whether this chain could use a relay of that message."""
        return self._relays.lacks(name, self.chain.head.state)

    # --- importing blocks ------------------------------------------------------------------------

    def _import_block(self, block: Block, peer: PeerId, now_ms: int) -> list[Action]:
        """Check, execute and place a peer's block, and follow it where it leads to a better head."""
        header = block.header
        if self._is_known(header.hash):
            return []
        parent = self.chain.get(header.parent)
        if parent is None:
            return self._gossip.ask_headers(peer, now_ms)
        try:
            if isinstance(compare_with_clock(header.timestamp_ms, now_ms, self._max_ahead_ms), Ahead):
                return self._defer(block, peer)
            entry = self._execute(block, parent)
        except StoreError:
            raise
        except GridmeritError as error:
            return [*self._condemn(header.hash, error), PenalisePeer(peer=peer, error=error)]
        actions = self._observe(header)
        certificate = self._checkpoints.certificate_of(entry.hash)
        if certificate is not None:
            return [*actions, *self._on_certified(certificate, peer, now_ms)]
        if self._may_follow(entry) and self._engine.is_better(entry, self.chain.head):
            actions += self._move_head(entry, now_ms, source=peer)
        return actions

    def _execute(self, block: Block, parent: Entry) -> Entry:
        header = block.header
        if parent.height < self.chain.final_height:
            raise LeavesCheckpoint(height=header.height, final=self.chain.final_height)
        weighed = self._engine.check_header(header, parent, self.chain)
        context = self._context(parent, header.producer_address, header.timestamp_ms, header.period)
        envelopes = self._admission.envelopes
        execution = execute_block(parent.state, block, context, self._contracts, envelopes)
        return self.chain.add(block, execution, work=weighed.work, base_n_diff=weighed.base_n_diff)

    def _condemn(self, block_hash: bytes, error: GridmeritError) -> list[Action]:
        """Remember a block that can never become valid, and give up a skeleton built on it."""
        self.blocks_refused += 1
        if error.is_final:
            self._bad[block_hash] = None
            if len(self._bad) > _MAX_BAD:
                del self._bad[next(iter(self._bad))]
        if any(header.parent == block_hash for header in self._sync.headers[:1]):
            self._sync.reset()
        return [Publish(event=("block-refused", block_hash, error.code))]

    def _defer(self, block: Block, peer: PeerId) -> list[Action]:
        if len(self._deferred) >= _MAX_DEFERRED:
            return []
        self._deferred[block.hash] = (block, peer)
        return [self._deferred_timer()]

    def _deferred_timer(self) -> SetTimer:
        due = min(block.header.timestamp_ms for block, _ in self._deferred.values())
        return SetTimer(name=DEFERRED, at_ms=due)

    def _import_deferred(self, now_ms: int) -> list[Action]:
        due = [pair for pair in self._deferred.values() if pair[0].header.timestamp_ms <= now_ms]
        actions: list[Action] = []
        for block, peer in sorted(due, key=lambda pair: (pair[0].header.height, pair[0].hash)):
            del self._deferred[block.hash]
            actions += self._import_block(block, peer, now_ms)
        if self._deferred:
            actions.append(self._deferred_timer())
        return actions

    def _may_follow(self, entry: Entry) -> bool:
        """Fork choice never leaves the final block."""
        return self.chain.fork_point(entry).height >= self.chain.final_height

    def _observe(self, header: Header) -> list[Action]:
        """Notice a producer's second block on one parent; the header's signature has been checked."""
        evidence = self._watch.observe(header)
        if evidence is None or not self._checkpoints.add_evidence(evidence):
            return []
        raw = encode(evidence.to_value())
        return [
            Publish(event=("equivocation", header.producer_address)),
            Broadcast(message=wire.Evidence(kind=EQUIVOCATION, raw=raw)),
        ]

    # --- moving the head -------------------------------------------------------------------------

    def _move_head(self, entry: Entry, now_ms: int, *, source: PeerId | None) -> list[Action]:
        """Make `entry` the head: one batch on disk first, then peers, subscribers, votes and the next candidate."""
        sealed_here = self._key is not None and entry.header.producer == self._key.public_key
        move = self.chain.move_head(entry)
        forgotten = self._settle_mempool(move.removed, move.added)
        certified = [
            QuorumCertificate.from_value(tx.payload[0])
            for added in move.added
            if added.block is not None
            for tx in added.block.transactions
            if tx.kind == CERTIFICATE
        ]
        self._relays.on_head(entry.height)
        final_before = self.chain.final_height
        rows: Changes = [*move.changes, *forgotten]
        for certificate in certified:
            rows += self._finalise(certificate)
            rows.append(_certificate_row(certificate))
        actions: list[Action] = [Persist(changes=rows)]
        is_new = sealed_here and source is None and self._guard.may_seal_on(entry.header.parent)
        if is_new:  # else a certificate led back to a block of one's own
            self._guard = self._guard.after_seal(height=entry.height, parent=entry.header.parent)
            actions.append(Guard(record=self._guard))
        elif entry.height < self._guard.height:
            self._guard = self._guard.after_head(entry.height)
            actions.insert(0, Guard(record=self._guard))  # else a crash between the two would look like a rollback
        if not self._sync.is_far_behind:
            actions.append(Broadcast(message=announce_block(entry), but=source))
        actions += [Publish(event=event) for event in move.events]
        if move.removed:
            actions.append(Publish(event=("reorg", len(move.removed), len(move.added))))
        actions.append(Publish(event=("head", entry.height, entry.hash, entry.header.producer_address)))
        self._sealers = frozenset(get_sealers(Overlay(entry.state)))
        if self.chain.final_height > final_before:
            actions += self._deliver_above(final_before)
        return [*actions, *self._sign_due(), *self._restart_sealing(now_ms)]

    def _settle_mempool(self, removed: tuple[Entry, ...], added: tuple[Entry, ...]) -> Changes:
        """Return what a reorg took off the chain, drop what it put on; rows of acknowledgements no longer needed."""
        self._admission.on_head()
        dug_up: list[Transaction] = []  # their acknowledgements may have been forgotten already
        for entry in added:
            assert entry.block is not None
            self.mempool.remove(tx.id for tx in entry.block.transactions)
        for entry in reversed(removed):
            block = self.chain.get_block(entry.hash)
            assert block is not None
            for transaction in block.transactions:
                try:
                    self._admission.readmit(transaction, self.chain.head)
                except GridmeritError:
                    continue
                if len(removed) > journal.BURIED_DEPTH:
                    dug_up.append(transaction)
        head = self.chain.head
        view = Overlay(head.state)
        stale = self.mempool.drop_stale(height=head.height + 1, spent=lambda sender: get_account(view, sender).sequence)
        done = [identity for identity in stale if identity in self._acknowledged]
        for entry in added if self._acknowledged else ():
            buried_hash = self.chain.hash_at(entry.height - journal.BURIED_DEPTH)
            buried = self.chain.get_block(buried_hash) if buried_hash else None
            if buried is not None:
                done += [tx.id for tx in buried.transactions if tx.id in self._acknowledged]
        for identity in done:
            del self._acknowledged[identity]
        self._acknowledged.update((transaction.id, None) for transaction in dug_up)
        return [*journal.rows_to_forget(done), *journal.rows_to_keep(dug_up)]

    def _is_buried(self, block_hash: bytes) -> bool:
        header = self.chain.get_header(block_hash)
        return header is not None and header.height + journal.BURIED_DEPTH <= self.chain.head.height

    def _finalise(self, certificate: QuorumCertificate) -> Changes:
        entry = self.chain.get(certificate.statement.block_hash)
        if entry is None or entry.height <= self.chain.final_height or not self.chain.is_canonical(entry.header):
            return []
        self._final_certificate = certificate
        return [*self.chain.finalise(entry), (_FINAL_CERTIFICATE_ROW, encode(certificate.to_value()))]

    # --- sealing ---------------------------------------------------------------------------------

    def _restart_sealing(self, now_ms: int) -> list[Action]:
        """Build a fresh candidate on the head and search for its seal; again soon, for time and mempool move on."""
        head = self.chain.head
        if self._key is None or not self._guard.may_seal_on(head.hash):
            self._candidate = None
            return [StopSealing()]
        again = SetTimer(name=RESEAL, at_ms=now_ms + self._reseal_ms)
        is_behind = self._sync.is_far_behind
        proposal = None if is_behind else self._engine.propose(self._key.public_key, head, self.chain, now_ms)
        if proposal is None:
            self._candidate = None
            return [StopSealing(), again]
        self._candidate = self._build_candidate(self._key, proposal)
        self._job += 1
        if proposal.target is None:
            return [again, *self._on_seal_found(self._job, 0, now_ms)]
        root = self._candidate.header.root
        return [StartSealing(job=self._job, root=root, target=proposal.target), again]

    def _build_candidate(self, key: SigningKey, proposal: Proposal) -> Candidate:
        """Fill a block on the head; relays that it refused without being full are given up."""
        head = self.chain.head
        relays = dict(self._relays.for_the_next_block(head.state))
        candidate = build_candidate(
            key,
            proposal,
            head,
            genesis=self.genesis,
            contracts=self._contracts,
            producers=[*self._checkpoints.for_the_next_block(head.state), *relays.values()],
            pending=self._executable(),
        )
        if not candidate.is_full(self.params.ledger):
            taken = [tx.payload[0] for tx in candidate.transactions if tx.kind == RELAY]
            self._relays.drop(name for name, (_, relay) in relays.items() if relay not in taken)
        return candidate

    def _executable(self) -> list[Transaction]:
        """Pending transactions that the next block may take, in its order."""
        view = Overlay(self.chain.head.state)
        return self.mempool.candidates(lambda sender: get_account(view, sender).sequence)

    def _remind_of_pending(self) -> list[Action]:
        """Announce again what blocks pass over: an announcement may be lost, a reorg brings back what was settled."""
        height, oldest = self.chain.head.height, self._executable()[: wire.MAX_ITEMS]
        self._waiting_since = {tx.id: self._waiting_since.get(tx.id, height) for tx in oldest}
        since = height - _PASSED_OVER_BLOCKS
        return broadcast_transactions(tx_id for tx_id, noticed in self._waiting_since.items() if noticed <= since)

    def _on_seal_found(self, job: int, nonce: int, now_ms: int) -> list[Action]:
        candidate = self._candidate
        if job != self._job or candidate is None or self._key is None:
            return []
        self._candidate = None
        block = candidate.sealed(nonce, self._key)
        parent = self.chain.get(block.header.parent)
        if parent is None or not self._guard.may_seal_on(parent.hash):
            return []
        weighed = self._engine.check_header(block.header, parent, self.chain)
        entry = self.chain.add(block, candidate.execution, work=weighed.work, base_n_diff=weighed.base_n_diff)
        self._watch.observe(block.header)
        return self._move_head(entry, now_ms, source=None)

    # --- checkpoints -----------------------------------------------------------------------------

    def _sign_due(self) -> list[Action]:
        """Sign the statements that are due, each durably recorded before it leaves."""
        head = self.chain.head
        due = self._due_statements()
        if self._key is None or self._key.public_key not in self._sealers or self._sync.is_far_behind:
            return []
        actions: list[Action] = []
        for statement in due:
            if self._has_signed(statement) or not self._guard.may_sign(statement):
                continue
            if self._checkpoints.is_locked(head.state, statement, self._guard):
                continue
            self._guard = self._guard.after_vote(statement)
            vote = sign_statement(statement, self._key)
            actions.append(Guard(record=self._guard))
            actions += self._count(vote, head.header.timestamp_ms)
        return actions

    def _due_statements(self) -> tuple[Statement, ...]:
        head = self.chain.head
        return self._checkpoints.on_head(head.state, height=head.height)

    def _has_signed(self, statement: Statement) -> bool:
        assert self._key is not None
        return any(vote.signer == self._key.public_key for vote in self._checkpoints.votes(statement.slot))

    def _count(self, vote: Vote, now_ms: int) -> list[Action]:
        """Count a vote and pass it on where it was news."""
        before = self._checkpoints.votes(vote.statement.slot)
        outcome = self._checkpoints.add_vote(vote)
        actions: list[Action] = []
        if len(self._checkpoints.votes(vote.statement.slot)) > len(before):
            actions.append(Broadcast(message=wire.Votes(raw=(encode(vote.to_value()),))))
        match outcome:
            case QuorumCertificate():
                actions += self._on_certified(outcome, None, now_ms)
            case DoubleVote():
                raw = encode(outcome.to_value())
                actions.append(Broadcast(message=wire.Evidence(kind=DOUBLE_VOTE, raw=raw)))
        return actions

    def _on_certified(self, certificate: QuorumCertificate, peer: PeerId | None, now_ms: int) -> list[Action]:
        """The checkpoint is final, at once and whatever the branch: follow the best branch that holds it."""
        statement = certificate.statement
        actions: list[Action] = [Broadcast(message=wire.Certificate(raw=encode(certificate.to_value())), but=peer)]
        entry = self.chain.get(statement.block_hash)
        if entry is None:
            return [*actions, *(self._gossip.ask_headers(peer, now_ms) if peer is not None else [])]
        if self.chain.fork_point(entry).height < min(entry.height, self.chain.final_height):
            conflict = ("finality-conflict", statement.slot, statement.block_hash)
            return [*actions, Publish(event=conflict)]  # more than f members lied, or votes took longer than a deadline
        if entry.height > self.chain.final_height and not self.chain.is_canonical(entry.header):
            best = self.chain.best_descendant(entry, self._engine.is_better)
            actions += self._move_head(best, now_ms, source=peer)
        final_before = self.chain.final_height
        rows = [*self._finalise(certificate), _certificate_row(certificate)]
        event = ("certificate", statement.slot, entry.height, statement.block_hash, len(certificate.signatures))
        news = self._deliver_above(final_before) if self.chain.final_height > final_before else []
        return [*actions, Persist(changes=rows), Publish(event=event), *news]

    def get_certificate(self, slot: int) -> QuorumCertificate | None:
        """The certificate of a slot's checkpoint, from memory or store."""
        known = self._checkpoints.get_certificate(slot)
        return known or self._load_certificate(_CERTIFICATE_ROW + slot.to_bytes(8, "big"))

    @property
    def final_certificate(self) -> QuorumCertificate | None:
        """The certificate of the final block; None before the first."""
        return self._final_certificate

    def _load_certificate(self, row: bytes) -> QuorumCertificate | None:
        raw = self._store.get(row)
        return None if raw is None else QuorumCertificate.from_value(decode(raw, max_bytes=_MAX_CERTIFICATE_BYTES))

    def _pending_votes(self) -> tuple[bytes, ...]:
        """Votes on checkpoints that are still open, said again for whoever missed them."""
        due = self._due_statements()
        held = [vote for statement in due for vote in self._checkpoints.votes(statement.slot)]
        return tuple(encode(vote.to_value()) for vote in held[: wire.MAX_ITEMS])

    # --- transactions from clients ---------------------------------------------------------------

    def _on_submitted(self, transactions: tuple[Transaction, ...], now_ms: int) -> list[Action]:
        head, context = self.chain.head, self._next_context(now_ms)
        outcomes: list[GridmeritError | None] = []
        accepted: list[Transaction] = []
        for transaction in transactions:
            try:
                self._admission.submit(transaction, head, context)
            except AlreadyKnown as error:
                outcomes.append(None if transaction.id in self._acknowledged else error)
                continue
            except GridmeritError as error:
                outcomes.append(error)
                continue
            outcomes.append(None)
            accepted.append(transaction)
        answer = Acknowledge(outcomes=tuple(outcomes))
        if not accepted:
            return [answer]
        self._acknowledged.update((transaction.id, None) for transaction in accepted)
        announcements = broadcast_transactions(transaction.id for transaction in accepted)
        return [Persist(changes=journal.rows_to_keep(accepted)), answer, *announcements]

    # --- catching up -----------------------------------------------------------------------------

    def _catch_up(self, now_ms: int) -> list[Action]:
        """Import bodies whose turn has come and ask for more; seal again once the skeleton is done."""
        was_far_behind = self._sync.is_far_behind
        actions: list[Action] = []
        while (ready := self._sync.next_block(now_ms)) is not None:
            actions += self._import_block(*ready, now_ms)
        actions += self._gossip.catch_up(now_ms)
        if was_far_behind and not self._sync.is_far_behind:
            actions += self._restart_sealing(now_ms)
        return actions

    # --- small things ----------------------------------------------------------------------------

    def _is_known(self, block_hash: bytes) -> bool:
        return self.chain.get_header(block_hash) is not None or block_hash in self._bad or block_hash in self._deferred

    def _context(self, parent: Entry, producer: bytes, timestamp_ms: int, period: int) -> BlockContext:
        return make_context(
            self.genesis,
            self.chain_id,
            parent=parent,
            producer=producer,
            timestamp_ms=timestamp_ms,
            period=period,
        )

    def _next_context(self, now_ms: int) -> BlockContext:
        """The context of a block that anybody might build on the head now."""
        head = self.chain.head
        timestamp_ms = max(now_ms, head.header.timestamp_ms + 1)
        period = compute_period(
            timestamp_ms,
            genesis_time_ms=self.genesis.time_ms,
            period_ms=self.params.ledger.period_ms,
            parent_period=head.header.period,
        )
        return self._context(head, bytes(20), timestamp_ms, period)

    @property
    def peers(self) -> Mapping[PeerId, wire.Status | None]:
        """Connected peers and where they last said they stand."""
        return self._gossip.peers

    @property
    def is_syncing(self) -> bool:
        """Whether the node is too far behind to seal or vote."""
        return self._sync.is_far_behind

    @property
    def sync_target(self) -> int:
        """Height that the node is catching up to, 0 where it is not known to be behind."""
        return self._sync.target_height

    @property
    def _max_ahead_ms(self) -> int:
        return self.params.consensus.max_ahead_ms

    @property
    def _heartbeat_ms(self) -> int:
        return min(5_000, max(500, self.params.consensus.block_interval_ms))

    @property
    def _repeat_ms(self) -> int:
        return min(60_000, max(500, self.params.ledger.period_ms // 2))

    @property
    def _reseal_ms(self) -> int:
        return min(2_000, max(100, self.params.consensus.block_interval_ms // 2))


def _certificate_row(certificate: QuorumCertificate) -> tuple[bytes, bytes]:
    return (_CERTIFICATE_ROW + certificate.statement.slot.to_bytes(8, "big"), encode(certificate.to_value()))
