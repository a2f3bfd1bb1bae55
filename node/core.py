"""One chain instance: ledger, engine, contracts and mempool wired together, driven by `step(event, now_ms) -> actions`.

No await, no clock, no socket: the asyncio runtime and the simulator perform the same actions. Reading order:
`step`, `_import_block`, `_move_head`, `_restart_sealing`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from consensus.checkpoints import Checkpoints
from consensus.contracts import (
    CERTIFICATE,
    DOUBLE_BALLOT,
    DOUBLE_VOTE,
    EQUIVOCATION,
    Evidence,
    check_ballot_evidence,
    is_recorded,
    kind_of,
)
from consensus.engine import Ancestry, Engine, Proposal, Weighed
from consensus.evidence import Equivocation, EquivocationWatch, check_equivocation
from consensus.guard import GuardRecord
from consensus.pbft import Pbft, Timeouts
from consensus.pbft_committee import DoubleBallot
from consensus.pbft_engine import PbftEngine
from consensus.pbft_messages import Ballot, encode_message, height_of
from consensus.pbft_record import PbftRecord
from consensus.poca import PocaEngine, check_params
from consensus.quorum import (
    DoubleVote,
    QuorumCertificate,
    Statement,
    Vote,
    check_double_vote,
    read_vote,
    sign_statement,
)
from consensus.relays import RELAY, Relay, RelayName
from consensus.timestamps import Ahead, compare_with_clock
from ledger.accounts import get_account, get_sealers
from ledger.block import MAX_HEADER_BYTES, Block, Header, compute_tx_root, read_header
from ledger.chain import WINDOW, Chain, Changes, Entry
from ledger.checkpoints import compute_slot
from ledger.codec import decode, encode
from ledger.errors import (
    AlreadyKnown,
    BlocksWithheld,
    BrokenHeaders,
    FalseHead,
    GridmeritError,
    LeavesCheckpoint,
    OffAnchor,
    Rejected,
    RolledBack,
    StoreError,
    SyncStalled,
    UnknownMessage,
    UnknownSigner,
    VoteTooFarAhead,
    WrongVoters,
)
from ledger.execution import BlockContext, Executor, compute_period, execute_block
from ledger.genesis import Genesis
from ledger.hashing import address_of
from ledger.mempool import Mempool, MempoolLimits
from ledger.overlay import Overlay
from ledger.results import compute_digest, get_results
from ledger.sealers import get_known_sealers, get_voters
from ledger.signatures import SigningKey
from ledger.store import KeyValue, as_stored
from ledger.transaction import Transaction
from node import messages as wire
from node.acknowledgements import MAX_ENDINGS, Acknowledgements
from node.admission import Admission
from node.agreement import Agreement
from node.anchor import Anchor, Mooring
from node.announcements import Announcement, Announcements
from node.candidate import Candidate, build_candidate, make_context
from node.contracts import build_contracts, routes_of
from node.events import (
    Acknowledge,
    Action,
    Broadcast,
    ClockSet,
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
from node.gates import GateWatch
from node.gossip import PASS_ON_AFTER_MS, Gossip, announce_block, broadcast_transactions, push_transactions
from node.handovers import Handovers
from node.header_proofs import prove_headers, read_header_proof
from node.missing_votes import MAX_PERIODS, MissingVotes
from node.relays import Outgoing, Waiting
from node.results import Results, announce_claims, check_shown, read_claims
from node.signing import Signing, SigningState, Standing, read_own_ballot
from node.skeleton import Skeleton

_MAX_DEFERRED = 64  # blocks ahead of the clock
_MAX_DEFERRED_PER_PRODUCER = 4
_MAX_BAD = 1_024  # hashes of condemned blocks
_MAX_RELAY_BYTES = 2_000_000
_MAX_FINAL_DEPTH = 4 * WINDOW
_PASSED_OVER_BLOCKS = 3  # a pending transaction that so many leave out is announced again
_MAX_UNPROVEN = 4  # of one peer
_MAX_PROPOSALS = 16  # undecided blocks under PBFT; the agreement remembers as many verdicts
_STALL_MS, _MIN_STALL_BEATS = 15_000, 3  # a skeleton without progress for so long was made up, or its peers are gone
_STEP_BLOCKS, _STEP_TRANSACTIONS = 8, 256  # imported in one step of catching up, and not much more
HEARTBEAT, RESEAL, DEFERRED, REPEAT, PASS_ON = "heartbeat", "reseal", "deferred", "repeat", "pass-on"
CATCH_UP, SEAL, NEXT_HEIGHT = "catch-up", "seal", "next-height"
_CERTIFICATE_ROW, _FINAL_CERTIFICATE_ROW, _PROPOSAL_ROW = b"c", b"C", b"P"


class ChainNode:
    """One chain on one peer. Raises `BadParameters`, `StoreCorrupt`, `RolledBack` or `AnchorContradicted` when opened.

    `key` is the member's; without one the node follows the chain, and seals and signs nothing. With one it begins to
    once others bear out its `guard` record (`node.signing`), or at once where its owner `is_sure` of it. With an
    `anchor` it follows no chain without that block. A simulation may have an `engine` of its own in the place of that
    which the parameters name, and an `executor` that shares its work.
    """

    def __init__(
        self,
        genesis: Genesis,
        store: KeyValue,
        *,
        key: SigningKey | None = None,
        guard: GuardRecord | None = None,
        limits: MempoolLimits | None = None,
        anchor: Anchor | None = None,
        is_sure: bool = False,
        engine: Engine | None = None,
        executor: Executor = execute_block,
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
        signed_height = max(self._guard.height, self._guard.agreement.height - 1)
        if self.chain.head.height < signed_height:
            raise RolledBack(expected=signed_height, actual=self.chain.head.height)
        self.mooring = Mooring(anchor, self.chain)
        self._signing = Signing(self.chain, None if key is None else key.public_key, is_sure=is_sure)
        self._signing_state: SigningState | None = None  # as last told
        self._contracts = build_contracts(genesis)
        self._run_block = executor
        self._engine: Engine = engine or (PbftEngine(genesis) if self._is_pbft else PocaEngine(genesis))
        self._agreement = Agreement(self._make_pbft(), self) if self._is_pbft else None
        self._proposals: dict[bytes, Header] = {}  # undecided blocks under PBFT
        self._announced = Announcements()
        self._checkpoints = Checkpoints(self.params.consensus, self.chain_id)
        self.missing_votes = MissingVotes(self._checkpoints)
        self._results = Results(self.chain, store, self._checkpoints, self.get_certificate, is_pbft=self._is_pbft)
        self._admission = Admission(self.params, self.chain_id, self._contracts, self.mempool)
        self.acknowledgements = Acknowledgements(self.chain, store, self.mempool, self._admission)
        self._outgoing = Outgoing(genesis)
        self._handovers = Handovers(genesis, store)
        self._relays = Waiting(routes_of(self.params.kind))
        self._watch = EquivocationWatch()
        self._gates = GateWatch(genesis)
        self._gossip = Gossip(
            self.chain,
            self.mempool,
            stall_beats=max(_MIN_STALL_BEATS, -(-_STALL_MS // self._heartbeat_ms)),
            is_known=self._is_known,
            mooring=self.mooring,
        )
        self._sync = self._gossip.sync
        self._deferred: dict[bytes, tuple[Block, PeerId]] = {}
        self._bad: dict[bytes, None] = {}
        self._unproven: dict[PeerId, deque[bytes]] = {}  # blocks said to be certified, by members not known here
        self.blocks_refused = 0
        self._waiting_since: dict[bytes, int] = {}  # height or heartbeat at which one was first noticed pending
        self._beats = 0  # heartbeats so far
        self._wall_ahead_ms = 0
        self._height_began_ms = 0  # under PBFT, when the agreement on the next block did
        self._final_certificate = self._load_certificate(_FINAL_CERTIFICATE_ROW)
        self._candidate: Candidate | None = None
        self._job = 0
        self._sealers = get_known_sealers(Overlay(self.chain.head.state))
        self._due_statements()

    # --- the step --------------------------------------------------------------------------------

    def step(self, event: Event, now_ms: int) -> list[Action]:
        """What to do about `event`, strictly in this order. Raises nothing but bugs and `StoreCorrupt`.

        `now_ms` never jumps, and deadlines are in it; `_date` tells what the wall clock shows.
        """
        return [*self._on_event(event, now_ms), *self._review_signing(now_ms)]

    def _on_event(self, event: Event, now_ms: int) -> list[Action]:
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
                return [*self._gossip.connected(peer), *self._ask_for_own((peer,))]
            case RelayOffered(raw=raw):
                return self._on_relay_offered(raw, now_ms)
            case PeerLost(peer=peer):
                self._unproven.pop(peer, None)
                self._gossip.lost(peer)
                return self._gossip.fetch(now_ms)
            case ClockSet(ahead_ms=ahead_ms):
                self._wall_ahead_ms = ahead_ms
                return [*self._import_deferred(now_ms), *self._catch_up(now_ms), *self._restart_sealing(now_ms)]
            case _:
                assert_never(event)

    def _on_started(self, now_ms: int) -> list[Action]:
        self._signing.begin(self._date(now_ms))
        self._gates.begin(self._date(now_ms))
        taken_up = self.acknowledgements.open().actions
        beat = SetTimer(name=HEARTBEAT, at_ms=now_ms + self._heartbeat_ms)
        if self._agreement is not None:
            taken_up += self._load_proposals()
            return [*taken_up, beat, *self._repeat(now_ms), *self._begin_height(now_ms)]
        return [*taken_up, beat, *self._repeat(now_ms), *self._sign_due(now_ms), *self._restart_sealing(now_ms)]

    def _on_timer(self, name: str, now_ms: int) -> list[Action]:
        match name:
            case "heartbeat":
                again = SetTimer(name=HEARTBEAT, at_ms=now_ms + self._heartbeat_ms)
                repeat = self._repeat_votes()
                status = Broadcast(message=self._gossip.status())
                repeat += [*self._ask_for_own(self._gossip.peers), *self._results.ask(tuple(self._gossip.peers))]
                stalled = self._give_up_stalled()
                return [again, status, *repeat, *self._remind_of_pending(), *stalled, *self._catch_up(now_ms)]
            case "reseal":
                return self._restart_sealing(now_ms)
            case "seal":
                return self._on_seal_found(self._job, 0, now_ms)
            case "next-height":
                return self._begin_height(now_ms)
            case "deferred":
                return self._import_deferred(now_ms)
            case "repeat":
                return self._repeat(now_ms)
            case "catch-up":
                return self._catch_up(now_ms)
            case "pass-on":
                return self._gossip.flush()
            case "agreement":
                assert self._agreement is not None
                return self._agreement.on_timer(now_ms)
        raise AssertionError(f"unknown timer {name}")

    # --- messages --------------------------------------------------------------------------------

    def _on_message(self, peer: PeerId, message: wire.Message, now_ms: int) -> list[Action]:
        try:
            return self._handle(peer, message, now_ms)
        except StoreError:
            raise
        except GridmeritError as error:
            if isinstance(error, OffAnchor):
                self._gossip.avoid(peer)
            return [PenalisePeer(peer=peer, error=error)]

    def _handle(self, peer: PeerId, message: wire.Message, now_ms: int) -> list[Action]:
        match message:
            case wire.Status():
                return self._on_status(peer, message, now_ms)
            case wire.TransactionIds(ids=ids):
                self._gossip.want_transactions(peer, ids)
                return self._gossip.fetch(now_ms)
            case wire.GetTransactions(ids=ids):
                return self._gossip.give_transactions(peer, ids, now_ms)
            case wire.Transactions(raw=raw):
                return self._on_transactions(peer, raw, now_ms)
            case wire.NewBlock():
                return self._on_new_block(peer, message, now_ms)
            case wire.GetHeaders(locator=locator):
                return self._give_headers(peer, locator, now_ms)
            case wire.Headers():
                return self._on_headers(peer, message, now_ms)
            case wire.GetBlocks(ids=ids):
                return self._gossip.give_blocks(peer, ids, now_ms)
            case wire.Blocks(raw=raw):
                return self._on_blocks(peer, raw, now_ms)
            case wire.Votes(raw=raw) if self._agreement is None:
                return self._on_votes(peer, raw, now_ms)
            case wire.Certificate(raw=raw):
                return self._on_certificate(peer, raw, now_ms)
            case wire.Evidence():
                return self._on_evidence(peer, message)
            case wire.Relay(raw=raw):
                return self._on_relay(raw, peer, now_ms)
            case wire.Agreement(raw=raw):
                if self._agreement is None:
                    raise UnknownMessage(kind=message.code)
                return self._agreement.receive(peer, raw, now_ms)
            case wire.GetSigned():
                return self._give_signed(peer, now_ms)
            case wire.Signed():
                return self._on_signed(peer, message)
            case wire.TradeResult():
                return self._on_trade_result(peer, message, now_ms)
            case wire.GetTradeRecords():
                return self._give_records(peer, message, now_ms)
            case wire.TradeRecords():
                return self._on_records(peer, message)
            case wire.Votes() | wire.Contacts():  # under PBFT votes come as messages of the agreement
                raise UnknownMessage(kind=message.code)
            case _:
                assert_never(message)

    def _on_status(self, peer: PeerId, status: wire.Status, now_ms: int) -> list[Action]:
        """Note where a peer stands, and show one that has not heard of our final block its certificate.

        Under PBFT certificates are not on the chain, so it is shown those that lead to the members of now, too.
        """
        self._gossip.note_status(peer, status)
        actions: list[Action] = []
        is_behind = status.final_height < self.chain.final_height
        if is_behind and self._final_certificate is not None and not self._gossip.serving.is_spent(peer, now_ms):
            before = self._handovers.certificates_above(status.final_height) if self._is_pbft else []
            actions += self._gossip.give_certificates(peer, (*before, self._final_certificate), now_ms)
        return [*actions, *self._catch_up(now_ms)]

    def _on_transactions(self, peer: PeerId, raw: tuple[bytes, ...], now_ms: int) -> list[Action]:
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
        if self._gossip.pass_on(peer, accepted):
            actions.append(SetTimer(name=PASS_ON, at_ms=now_ms + PASS_ON_AFTER_MS))
        return [*actions, *self._note_work(now_ms)] if accepted else actions

    def _on_new_block(self, peer: PeerId, message: wire.NewBlock, now_ms: int) -> list[Action]:
        header = read_header(message.header)
        if self._gossip.is_wanted(header.hash):
            self._gossip.want_block(peer, header.hash)
            return []
        if self._agreement is not None:
            return self._on_proposal(peer, message, header, now_ms)
        if self._is_known(header.hash):
            return []
        parent = self.chain.get(header.parent) if self.chain.is_recent(header.parent) else None
        if parent is None:  # unknown, or so old that its branch must first show its work
            return self._gossip.ask_headers(peer, now_ms)
        compare_with_clock(header.timestamp_ms, self._date(now_ms), self._max_ahead_ms)
        self._judge(header, parent, self.chain)
        self._gates.note(header, self._date(now_ms))
        actions = self._observe(header)  # also where a branch from here cannot be followed any more
        if self._gossip.is_stray(peer, header):
            return actions
        return [*actions, *self._take_announced(peer, message, header, now_ms)]

    def _judge(self, header: Header, parent: Entry, chain: Ancestry) -> Weighed:
        """Every rule of a header. Raises the `InvalidBlock` family."""
        self.mooring.check(header)
        return self._engine.check_header(header, parent, chain)

    def _take_announced(self, peer: PeerId, message: wire.NewBlock, header: Header, now_ms: int) -> list[Action]:
        """Put the block together from pending transactions, or get it whole."""
        known = [self.mempool.get(identity) for identity in message.ids]
        transactions = tuple(transaction for transaction in known if transaction is not None)
        if len(transactions) == len(known) and compute_tx_root(transactions) == header.tx_root:
            return self._import_block(Block(header=header, transactions=transactions), peer, now_ms)
        self._gossip.want_block(peer, header.hash)
        return self._gossip.fetch(now_ms)

    def _give_headers(self, peer: PeerId, locator: tuple[bytes, ...], now_ms: int) -> list[Action]:
        self._gossip.serving.check(peer, now_ms)
        wanted = provable = self.chain.heights_after(locator, wire.MAX_ITEMS)
        certificate = b""
        if self._is_pbft:
            changes = self._handovers.heights
            provable, certificate = prove_headers(wanted, self.chain, self.get_certificate, changes=changes)
        looked_up = len(locator) + len(wanted) - len(provable)
        return self._gossip.give_headers(peer, provable, certificate, now_ms, looked_up=looked_up)

    def _on_headers(self, peer: PeerId, message: wire.Headers, now_ms: int) -> list[Action]:
        asked = self._sync.answered(peer)
        if asked is None:
            return []
        headers = tuple(read_header(item) for item in message.raw)
        is_all = len(headers) < wire.MAX_ITEMS and not self._is_pbft  # there, it may be all that can be proven
        fork = next((header for header in headers if not self.chain.is_canonical(header)), None)
        if fork is None and len(headers) < wire.MAX_ITEMS:
            if is_all and asked.claimed_work > self.chain.head.work:
                self._gossip.disbelieve(peer)
                raise FalseHead(claimed=asked.claimed_work, actual=self.chain.head.work)
            return []
        if self._sync.is_out_of_place(peer, asked, headers):
            return []
        if fork is not None and self._gossip.is_stray(peer, fork):
            return []
        for header in headers:
            self.mooring.check(header)
            if header.hash in self._bad:
                raise BrokenHeaders(detail=f"the block at height {header.height} has been condemned")
        certificate = None
        if self._is_pbft:
            certificate = read_header_proof(headers, message.certificate)
            try:
                self._checkpoints.check_certificate(certificate)
            except (VoteTooFarAhead, WrongVoters):
                return []  # the members change before: once those blocks are here, the peer is asked again
        after = self._sync.on_headers(
            peer,
            headers,
            self._date(now_ms),
            check=self._judge,
            certificate=certificate,
            claimed_work=asked.claimed_work if is_all else 0,
        )
        more = [] if is_all else self._gossip.ask_more_headers(peer, after, now_ms)
        return [*more, *self._follow_skeleton(now_ms)]

    def _on_blocks(self, peer: PeerId, raw: tuple[bytes, ...], now_ms: int) -> list[Action]:
        actions: list[Action] = []
        for item in raw:
            try:
                block = self._read_block(item)
            except GridmeritError as error:
                actions.append(PenalisePeer(peer=peer, error=error))  # what came before it has been done
                break
            if not self._gossip.took_block(block.hash) or self._is_known(block.hash):
                continue
            if not self._sync.on_block(block, peer):
                actions += self._import_block(block, peer, now_ms)
        return [*actions, *self._catch_up(now_ms)]

    def _read_block(self, raw: bytes) -> Block:
        limits = self.params.ledger
        return Block.from_bytes(
            raw,
            max_bytes=limits.max_block_bytes + MAX_HEADER_BYTES,
            max_transactions=limits.max_block_transactions,
            max_transaction_bytes=limits.max_transaction_bytes,
        )

    def _on_votes(self, peer: PeerId, raw: tuple[bytes, ...], now_ms: int) -> list[Action]:
        actions: list[Action] = []
        for item in raw:
            try:
                vote = read_vote(item)
                check_shown(vote)
                actions += self._count(vote, now_ms)
            except StoreError:
                raise
            except GridmeritError as error:
                actions.append(PenalisePeer(peer=peer, error=error))  # what came before it has been done
                break
        return actions

    def _on_trade_result(self, peer: PeerId, message: wire.TradeResult, now_ms: int) -> list[Action]:
        """Members have computed and signed results: keep who signed what, and count the votes."""
        actions: list[Action] = []
        try:
            for claim in read_claims(message):
                actions += self._results.take(claim, peer)
                actions += self._count_elsewhere(peer, claim.vote, now_ms)
        except StoreError:
            raise
        except GridmeritError as error:
            actions.append(PenalisePeer(peer=peer, error=error))  # what came before it has been done
        return actions

    def _count_elsewhere(self, peer: PeerId, vote: Vote, now_ms: int) -> list[Action]:
        if self._agreement is None:
            return self._count(vote, now_ms)
        if vote.statement.slot < self._agreement.height and vote.signer != peer:
            return []  # whoever passes on what is decided need not be told of it
        return self._agreement.receive_vote(peer, vote, now_ms)

    def _give_records(self, peer: PeerId, question: wire.GetTradeRecords, now_ms: int) -> list[Action]:
        self._gossip.serving.check(peer, now_ms)
        answer, looked_up = self._results.answer(question)
        return self._gossip.give_records(peer, answer, now_ms, looked_up=looked_up)

    def _on_records(self, peer: PeerId, message: wire.TradeRecords) -> list[Action]:
        """The certificate of a result that was missed here."""
        try:
            found = self._results.accept(peer, message)
        except (VoteTooFarAhead, WrongVoters):
            return []  # the members have changed since
        if found is None:
            return []
        certificate, rows = found
        self._checkpoints.keep_certificate(certificate)
        return [Persist(changes=[*rows, _certificate_row(certificate)])]

    def _on_certificate(self, peer: PeerId, raw: bytes, now_ms: int) -> list[Action]:
        certificate = QuorumCertificate.from_bytes(raw)
        block_hash = certificate.statement.block_hash
        header = self.chain.get_header(block_hash)
        if header is not None and header.height <= self.chain.final_height and self.chain.is_canonical(header):
            return []  # it says nothing new
        entry = self.chain.get(block_hash) if self.chain.is_recent(block_hash) else None
        try:
            if self._checkpoints.add_certificate(certificate, None if entry is None else entry.state):
                return self._on_certified(certificate, peer, now_ms)
        except (VoteTooFarAhead, WrongVoters):
            if entry is not None:
                raise
            if not self._is_pbft:  # the members may have changed: the blocks up to it will tell
                self._unproven.setdefault(peer, deque(maxlen=_MAX_UNPROVEN)).append(block_hash)
        if header is None:
            return self._gossip.ask_headers(peer, now_ms)
        return []

    def _on_evidence(self, peer: PeerId, message: wire.Evidence) -> list[Action]:
        value = decode(message.raw, max_bytes=4 * MAX_HEADER_BYTES)
        evidence: Evidence
        if message.kind == EQUIVOCATION and not self._is_pbft:
            evidence = Equivocation.from_value(value)
            if evidence.producer not in self._sealers:
                raise UnknownSigner(signer=evidence.producer.hex()[:16])
            check_equivocation(evidence, self.chain_id)
        elif message.kind == DOUBLE_VOTE:
            evidence = DoubleVote.from_value(value)
            check_double_vote(evidence, self._sealers, chain_id=self.chain_id)
        elif message.kind == DOUBLE_BALLOT:
            evidence = DoubleBallot.from_value(value)
            check_ballot_evidence(evidence, self._sealers, chain_id=self.chain_id)
        else:
            raise UnknownMessage(kind=message.kind)
        if is_recorded(Overlay(self.chain.head.state), evidence) or not self._checkpoints.add_evidence(evidence):
            return []
        return [Broadcast(message=message, but=peer)]

    # --- relays ----------------------------------------------------------------------------------

    def _on_relay_offered(self, raw: bytes, now_ms: int) -> list[Action]:
        try:
            return self._on_relay(raw, None, now_ms)
        except StoreError:
            raise
        except GridmeritError:
            return []  # whoever brings it is nobody in particular

    def _on_relay(self, raw: bytes, peer: PeerId | None, now_ms: int) -> list[Action]:
        """Keep a relay for the next block and pass it on, where it would take effect there."""
        relay = Relay.from_value(decode(raw, max_bytes=_MAX_RELAY_BYTES))
        try:
            is_news = self._relays.add(relay, self.chain.head, self._next_context(now_ms))
        except (Rejected, WrongVoters):
            return []  # too early or too late for it here, or the source's members have changed
        return [Broadcast(message=wire.Relay(raw=raw), but=peer), *self._note_work(now_ms)] if is_news else []

    def _repeat(self, now_ms: int) -> list[Action]:
        """Offer other chains all they may still lack: they may have been down when it was news."""
        if not self.genesis.siblings:
            return []
        again = SetTimer(name=REPEAT, at_ms=now_ms + self._repeat_ms)
        return [again, *self._handovers.repeat(), *self._deliver_above(0)]

    def _deliver_above(self, height: int) -> list[Action]:
        """What the final block has for other chains that was posted above a height."""
        is_deep = self.chain.head.height - self.chain.final_height > _MAX_FINAL_DEPTH  # its state would be rebuilt
        certificate = self._final_certificate
        checkpoint = None if certificate is None or is_deep else self.chain.get(self.chain.final_hash)
        if certificate is None or checkpoint is None or self.is_syncing:
            return []
        if not height:
            return self._outgoing.deliver_all(certificate, checkpoint)
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
        if self._agreement is not None and header.height <= self.chain.final_height:
            return []  # a proposal that comes late; what was decided there is here
        below = self.chain.get_header(header.parent)
        if below is None:
            return self._gossip.ask_headers(peer, now_ms)
        skeleton = self._sync.skeleton
        is_certified = skeleton is not None and skeleton.is_certified(header.hash)
        certificate = self._checkpoints.certificate_of(header.hash)
        if certificate is None and skeleton is not None:
            certificate = skeleton.certificate_of(header.hash)
        is_due = is_certified or certificate is not None  # a quorum's clocks have said so, whatever ours says
        is_news = not is_due and not self.mooring.is_awaited and not self._sync.was_away  # else it is we who are late
        try:
            parent = self._find_parent(header, below)
            if not is_due and self._is_ahead(header, now_ms):
                self._judge(header, parent, self.chain)
                return self._defer(block, peer)
            entry = self._execute(block, parent)
        except StoreError:
            raise
        except GridmeritError as error:
            condemned = [*self._condemn(header.hash, error), PenalisePeer(peer=peer, error=error)]
            if self._agreement is not None and header.parent == self.chain.head.hash:
                condemned += self._agreement.on_block(header.hash, now_ms, is_valid=False)
            return condemned
        actions = [*self._observe(header), *self._results.on_block(entry.hash)]
        if certificate is not None:
            return [*actions, *self._on_certified(certificate, peer, now_ms)]
        is_late = is_news and self._gates.is_late(header, self._date(now_ms))
        if is_late:
            actions.append(Publish(event=("late-block", header.height, header.hash, header.producer_address)))
        if self._agreement is not None:
            undecided = self._on_undecided(entry, now_ms, source=peer, is_certified=is_certified, is_late=is_late)
            return [*actions, *undecided]
        if is_late:
            return actions  # it is followed once another block stands on it
        is_better = self.mooring.leads_to((header,)) or self._engine.is_better(entry, self.chain.head)
        if is_better and self._may_follow(entry):
            actions += self._move_head(entry, now_ms, source=peer)
        return actions

    def _is_ahead(self, header: Header, now_ms: int) -> bool:
        """Whether a header's time is yet to come. Raises `TimestampTooFarAhead`."""
        return isinstance(compare_with_clock(header.timestamp_ms, self._date(now_ms), self._max_ahead_ms), Ahead)

    def _find_parent(self, header: Header, below: Header) -> Entry:
        """The entry of `below`, a block's parent. Raises `LeavesCheckpoint` where it lies below the final block:
        to bring back its state would take as long as the chain is deep."""
        if below.height < self.chain.final_height:
            raise LeavesCheckpoint(height=header.height, final=self.chain.final_height)
        parent = self.chain.get(below.hash)
        assert parent is not None, "its header is known"
        return parent

    def _execute(self, block: Block, parent: Entry) -> Entry:
        header = block.header
        weighed = self._judge(header, parent, self.chain)
        context = self._context(parent, header.producer_address, header.timestamp_ms, header.period)
        envelopes = self._admission.envelopes
        execution = self._run_block(parent.state, block, context, self._contracts, envelopes)
        return self.chain.add(block, execution, work=weighed.work, base_n_diff=weighed.base_n_diff)

    def _condemn(self, block_hash: bytes, error: GridmeritError) -> list[Action]:
        """Remember a block that can never become valid, and give up a skeleton built on it."""
        self.blocks_refused += 1
        if error.is_final:
            self._bad[block_hash] = None
            if len(self._bad) > _MAX_BAD:
                del self._bad[next(iter(self._bad))]
        if self._sync.skeleton is not None and block_hash in self._sync.skeleton:
            self._sync.reset()
        return [Publish(event=("block-refused", block_hash, error.code))]

    def _defer(self, block: Block, peer: PeerId) -> list[Action]:
        producer = block.header.producer
        of_producer = sum(other.header.producer == producer for other, _ in self._deferred.values())
        if len(self._deferred) >= _MAX_DEFERRED or of_producer >= _MAX_DEFERRED_PER_PRODUCER:
            return []
        self._deferred[block.hash] = (block, peer)
        return [self._deferred_timer()]

    def _deferred_timer(self) -> SetTimer:
        due = min(block.header.timestamp_ms for block, _ in self._deferred.values())
        return SetTimer(name=DEFERRED, at_ms=due - self._wall_ahead_ms)

    def _import_deferred(self, now_ms: int) -> list[Action]:
        due = [pair for pair in self._deferred.values() if pair[0].header.timestamp_ms <= self._date(now_ms)]
        actions: list[Action] = []
        for block, peer in sorted(due, key=lambda pair: (pair[0].header.height, pair[0].hash)):
            del self._deferred[block.hash]
            actions += self._import_block(block, peer, now_ms)
        if self._deferred:
            actions.append(self._deferred_timer())
        return actions

    def _may_follow(self, entry: Entry) -> bool:
        """Fork choice never leaves the final block, nor the anchor."""
        return self.chain.fork_point(entry).height >= self.mooring.settled_height

    def _observe(self, header: Header) -> list[Action]:
        """Notice a producer's second block on one parent; the header has been judged on it.

        Under PBFT a member may lead several views, and what it must not sign twice are votes.
        """
        if self._agreement is not None:
            return []
        evidence = self._watch.observe(header)
        silence = self._fall_silent(header.height) if self._is_strange(header, evidence) else []
        if evidence is None or not self._checkpoints.add_evidence(evidence):
            return silence
        raw = encode(evidence.to_value())
        return [
            *silence,
            Publish(event=("equivocation", header.producer_address)),
            Broadcast(message=wire.Evidence(kind=EQUIVOCATION, raw=raw)),
        ]

    # --- moving the head -------------------------------------------------------------------------

    def _move_head(self, entry: Entry, now_ms: int, *, source: PeerId | None) -> list[Action]:
        """Make `entry` the head: one batch on disk first, then peers, subscribers, votes and the next candidate."""
        sealed_here = self._key is not None and entry.header.producer == self._key.public_key
        move = self.chain.move_head(entry)
        settled = self.acknowledgements.on_head(move.removed, move.added)
        certified = [
            QuorumCertificate.from_value(tx.payload[0])
            for added in move.added
            if added.block is not None
            for tx in added.block.transactions
            if tx.kind == CERTIFICATE
        ]
        self._relays.on_head(entry.height)
        final_before = self.chain.final_height
        rows: Changes = [*move.changes, *settled.changes]
        for certificate in certified:
            rows += self._finalise(certificate)
            rows.append(_certificate_row(certificate))
        silence = [action for certificate in certified for action in self._notice_own(certificate)]
        actions: list[Action] = [*silence, Persist(changes=rows)]
        is_new = sealed_here and source is None and self._guard.may_seal_on(entry.header.parent)
        is_new = is_new and self._agreement is None
        if is_new:  # else a certificate led back to a block of one's own
            self._guard = self._guard.after_seal(height=entry.height, parent=entry.header.parent)
            actions.append(Guard(record=self._guard))
        elif entry.height < self._guard.height:
            self._guard = self._guard.after_head(entry.height)
            actions.insert(0, Guard(record=self._guard))  # else a crash between the two would look like a rollback
        if not self.is_syncing and self._agreement is None:
            actions.append(Broadcast(message=announce_block(entry), but=source))
        actions += [Publish(event=event) for event in (*move.events, *settled.events)]
        if entry.execution is not None and not self.is_syncing:  # else the votes have long been forgotten
            told = self.missing_votes.on_head(entry.execution.events, entry.state)
            actions += [Publish(event=event) for event in told]
        if move.removed:
            actions.append(Publish(event=("reorg", len(move.removed), len(move.added))))
        actions.append(Publish(event=("head", entry.height, entry.hash, entry.header.producer_address)))
        self._sealers = get_known_sealers(Overlay(entry.state))
        if self.chain.final_height > final_before:
            actions += self._deliver_above(final_before)
        return [*actions, *self._sign_due(now_ms), *self._restart_sealing(now_ms)]

    def _finalise(self, certificate: QuorumCertificate) -> Changes:
        entry = self.chain.get(certificate.statement.block_hash)
        if entry is None or entry.height <= self.chain.final_height or not self.chain.is_canonical(entry.header):
            return []
        self._final_certificate = certificate
        handover = self._handovers.keep(certificate, entry)
        results = self._results.keep(certificate, entry)
        return [*self.chain.finalise(entry), (_FINAL_CERTIFICATE_ROW, certificate.raw), *handover, *results]

    # --- sealing ---------------------------------------------------------------------------------

    def _restart_sealing(self, now_ms: int) -> list[Action]:
        """Build a fresh candidate on the head and search for its seal; again soon, for time and mempool move on.

        A candidate that needs no search is sealed in a step of its own: each may be followed by the next at once.
        """
        if self._agreement is not None:
            return [SetTimer(name=RESEAL, at_ms=now_ms + self._reseal_ms), *self._note_work(now_ms)]
        head = self.chain.head
        if self._key is None or not self._may_sign or not self._guard.may_seal_on(head.hash):
            self._candidate = None
            return [StopSealing()]
        is_behind = self.is_syncing
        date_ms = self._date(now_ms)
        gate_ms = self._gates.find_next_ms(date_ms)  # what is found after it must not be dated before it
        wait_ms = self._reseal_ms if gate_ms is None else min(self._reseal_ms, gate_ms - date_ms)
        again = SetTimer(name=RESEAL, at_ms=now_ms + wait_ms)
        proposal = None if is_behind else self._engine.propose(self._key.public_key, head, self.chain, date_ms)
        if proposal is None:
            self._candidate = None
            return [StopSealing(), again]
        self._candidate = self._build_candidate(self._key, proposal)
        self._job += 1
        if proposal.target is None:
            return [SetTimer(name=SEAL, at_ms=now_ms), again]
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

    def _has_executable(self) -> bool:
        view = Overlay(self.chain.head.state)
        return self.mempool.has_candidate(lambda sender: get_account(view, sender).sequence)

    def _remind_of_pending(self) -> list[Action]:
        """Announce again what blocks pass over: an announcement may be lost, a reorg brings back what was settled.

        Under PBFT there may be no block before the others hear of it: there it is heartbeats that count.
        """
        self._beats += 1
        age = self.chain.head.height if self._agreement is None else self._beats
        oldest = self._executable()[: wire.MAX_ITEMS]
        self._waiting_since = {tx.id: self._waiting_since.get(tx.id, age) for tx in oldest}
        since = age - _PASSED_OVER_BLOCKS
        return broadcast_transactions(tx_id for tx_id, noticed in self._waiting_since.items() if noticed <= since)

    def _on_seal_found(self, job: int, nonce: int, now_ms: int) -> list[Action]:
        candidate = self._candidate
        if job != self._job or candidate is None or self._key is None:
            return []
        self._candidate = None
        block = candidate.sealed(nonce, self._key)
        parent = self.chain.get(block.header.parent)
        if parent is None or not self._may_sign or not self._guard.may_seal_on(parent.hash):
            return []
        weighed = self._engine.check_header(block.header, parent, self.chain)
        entry = self.chain.add(block, candidate.execution, work=weighed.work, base_n_diff=weighed.base_n_diff)
        self._watch.observe(block.header)
        return self._move_head(entry, now_ms, source=None)

    # --- checkpoints -----------------------------------------------------------------------------

    def _void_early_votes(self, now_ms: int) -> list[Action]:
        """Give up what was signed for slots that no clock but a wrong one has come to."""
        elapsed_ms = self._date(now_ms) + self._max_ahead_ms - self.genesis.time_ms
        record = self._guard.after_clock(compute_slot(max(0, elapsed_ms), self.params))
        if record is self._guard:
            return []
        self._guard = record
        return [Guard(record=record)]

    def _sign_due(self, now_ms: int) -> list[Action]:
        """Sign the statements that are due, each durably recorded before it leaves."""
        head = self.chain.head
        due = self._due_statements()
        voters = get_sealers(Overlay(head.state))
        if self._key is None or not self._may_sign or self._key.public_key not in voters or self.is_syncing:
            return []
        actions = self._void_early_votes(now_ms)
        for statement in due:
            if self._has_signed(statement) or not self._guard.may_sign(statement):
                continue
            if self._checkpoints.is_locked(head.state, statement, self._guard):
                continue
            if self._stands_on_late(statement.block_hash, now_ms):
                continue
            if statement.result and not self._can_show(statement.block_hash):
                continue
            self._guard = self._guard.after_vote(statement)
            vote = sign_statement(statement, self._key)
            actions.append(Guard(record=self._guard))
            actions += self._results.tell(vote) if statement.result else []
            actions += self._count(vote, head.header.timestamp_ms)
        return actions

    def _can_show(self, block_hash: bytes) -> bool:
        """Whether the results of a checkpoint can be shown: it may lie so deep that its state is not brought back."""
        header = self.chain.get_header(block_hash)
        is_near = header is not None and self.chain.head.height - header.height <= _MAX_FINAL_DEPTH
        return is_near and self.chain.get(block_hash) is not None

    def _stands_on_late(self, block_hash: bytes, now_ms: int) -> bool:
        """Whether a checkpoint of this chain is one of the blocks that came too late for their gate, or above one."""
        header = self.chain.get_header(block_hash)
        return header is not None and any(
            height <= header.height and self.chain.hash_at(height) == late_hash
            for late_hash, height in self._gates.list_late(self._date(now_ms))
        )

    def _due_statements(self) -> tuple[Statement, ...]:
        head = self.chain.head
        self._results.on_head(head)
        return self._checkpoints.on_head(head.state, height=head.height)

    def _has_signed(self, statement: Statement) -> bool:
        assert self._key is not None
        return any(vote.signer == self._key.public_key for vote in self._checkpoints.votes(statement.slot))

    def _count(self, vote: Vote, now_ms: int) -> list[Action]:
        """Count a vote and pass it on where it was news; one for results is passed on with them."""
        before = self._checkpoints.count_votes(vote.statement.slot)
        outcome = self._checkpoints.add_vote(vote)
        actions: list[Action] = []
        if self._checkpoints.count_votes(vote.statement.slot) > before:
            actions += self._notice(vote)
            if not vote.statement.result:
                actions.append(Broadcast(message=wire.Votes(raw=(encode(vote.to_value()),))))
        match outcome:
            case QuorumCertificate():
                actions += self._on_certified(outcome, None, now_ms)
            case DoubleVote():
                actions += self._notice(vote)
                raw = encode(outcome.to_value())
                actions.append(Broadcast(message=wire.Evidence(kind=DOUBLE_VOTE, raw=raw)))
        return actions

    def _on_certified(self, certificate: QuorumCertificate, peer: PeerId | None, now_ms: int) -> list[Action]:
        """The checkpoint is final, at once and whatever the branch: follow the best branch that holds it."""
        statement = certificate.statement
        actions = [*self._notice_own(certificate), *self._tell_certificate(certificate, peer)]
        actions += self._results.review(statement.slot)
        entry = self.chain.get(statement.block_hash)
        if entry is None:
            return [*actions, *(self._gossip.ask_headers(peer, now_ms) if peer is not None else [])]
        if self.chain.fork_point(entry).height < min(entry.height, self.mooring.settled_height):
            conflict = ("finality-conflict", statement.slot, statement.block_hash)
            return [*actions, Publish(event=conflict)]  # more than f members lied, or votes took longer than a deadline
        if compute_digest(get_results(Overlay(entry.state))) != statement.result:
            unlike = ("result-conflict", statement.slot, statement.block_hash, statement.result)
            return [*actions, Publish(event=unlike)]  # more than f members lied
        if entry.height > self.chain.final_height and not self.chain.is_canonical(entry.header):
            best = self.chain.best_descendant(entry, self._engine.is_better)
            actions += self._move_head(best, now_ms, source=peer)
        final_before = self.chain.final_height
        rows = [*self._finalise(certificate), _certificate_row(certificate)]
        event = ("certificate", statement.slot, entry.height, statement.block_hash, len(certificate.signatures))
        news = self._deliver_above(final_before) if self.chain.final_height > final_before else []
        following = [] if self._agreement is None else self._go_on(certificate, now_ms)
        return [*actions, Persist(changes=rows), Publish(event=event), *news, *following]

    def _go_on(self, certificate: QuorumCertificate, now_ms: int) -> list[Action]:
        """The next height; where one validator decides alone, and as soon as it proposes, in a step of its own."""
        is_lone = len(certificate.signatures) == 1
        return [SetTimer(name=NEXT_HEIGHT, at_ms=now_ms)] if is_lone else self._begin_height(now_ms)

    def _tell_certificate(self, certificate: QuorumCertificate, source: PeerId | None) -> list[Action]:
        """Under PBFT only to those who may not see it by themselves: whoever signed it hears the other signers, too."""
        message = wire.Certificate(raw=certificate.raw)
        if self._agreement is None:
            return [Broadcast(message=message, but=source)]
        told = {source, *(signer for signer, _ in certificate.signatures)}
        return [Send(peer=peer, message=message) for peer in self._gossip.peers if peer not in told]

    def get_certificate(self, slot: int) -> QuorumCertificate | None:
        """The certificate of a slot's checkpoint, from memory or store."""
        known = self._checkpoints.get_certificate(slot)
        return known or self._load_certificate(_CERTIFICATE_ROW + slot.to_bytes(8, "big"))

    @property
    def results(self) -> Results:
        """Who has signed which results, and their certificates."""
        return self._results

    @property
    def handovers(self) -> tuple[Relay, ...]:
        """The proofs of who has followed whom in certifying this chain, in their order."""
        return self._handovers.all

    @property
    def final_certificate(self) -> QuorumCertificate | None:
        """The certificate of the final block; None before the first."""
        return self._final_certificate

    def _load_certificate(self, row: bytes) -> QuorumCertificate | None:
        raw = self._store.get(row)
        if raw is None:
            return None
        with as_stored("a certificate"):
            return QuorumCertificate.from_bytes(raw)

    def _repeat_votes(self) -> list[Action]:
        """Votes on checkpoints that are still open, said again for whoever missed them."""
        slots = [statement.slot for statement in self._due_statements()]
        held = [vote for slot in slots for vote in self._checkpoints.votes(slot) if not vote.statement.result]
        votes = tuple(encode(vote.to_value()) for vote in held[: wire.MAX_ITEMS])
        results = announce_claims([claim for slot in slots for claim in self._results.claims(slot)])
        plain = [Broadcast(message=wire.Votes(raw=votes))] if votes else []
        return [*plain, *(Broadcast(message=message) for message in results)]

    # --- whether this node may sign: `node.signing` --------------------------------------------------

    @property
    def signing_state(self) -> SigningState:
        return self._signing.get_state(self._guard.silent_until)

    @property
    def silent_until(self) -> int:
        """The height that must be final before this node signs, 0 where there is none to wait for."""
        return self._guard.silent_until if self.signing_state == "record-behind" else 0

    @property
    def _may_sign(self) -> bool:
        return self.signing_state == "signs"

    def _ask_for_own(self, peers: Iterable[PeerId]) -> list[Action]:
        return [Send(peer=peer, message=wire.GetSigned()) for peer in self._signing.unasked(peers)]

    def _give_signed(self, peer: PeerId, now_ms: int) -> list[Action]:
        """Tell a peer what is held under its key; later, where the blocks that tell are still to come."""
        self._gossip.serving.check(peer, now_ms)
        if self.is_syncing:
            return []
        ballots: Iterable[Ballot]
        if self._agreement is None:
            held = [vote for statement in self._due_statements() for vote in self._checkpoints.votes(statement.slot)]
            ballots = [vote for vote in held if vote.signer == peer]
        else:
            ballots = self._agreement.said_by(peer)
        raw = tuple(encode_message(ballot) for ballot in ballots)
        return self._gossip.give_signed(peer, raw[: wire.MAX_ITEMS], now_ms)

    def _on_signed(self, peer: PeerId, message: wire.Signed) -> list[Action]:
        if self._key is None or not self._signing.is_waiting:
            return []
        actions: list[Action] = []
        for raw in message.raw:
            actions += self._notice(read_own_ballot(raw, self._key.public_key, self.chain_id))
        work = int.from_bytes(message.work, "big")
        self._signing.hear(peer, Standing(message.head, work, message.final_height))
        return actions

    def _is_strange(self, header: Header, evidence: Equivocation | None) -> bool:
        """Whether it is this node's own block, and its record does not account for it. What is final binds nobody."""
        if self._key is None or header.producer != self._key.public_key or header.height <= self.chain.final_height:
            return False
        return evidence is not None or not self._guard.knows_seal(header)

    def _notice_own(self, certificate: QuorumCertificate) -> list[Action]:
        """Notice this node's own vote in a certificate that has been checked."""
        own = None if self._key is None else dict(certificate.signatures).get(self._key.public_key)
        if self._key is None or own is None:
            return []
        return self._notice(Vote(statement=certificate.statement, signer=self._key.public_key, signature=own))

    def _notice(self, ballot: Ballot) -> list[Action]:
        """Fall silent at a checked ballot that is this node's, and of which its record does not know."""
        if self._key is None or ballot.signer != self._key.public_key:
            return []
        if self._agreement is not None:
            return [] if self._guard.agreement.knows(ballot) else self._fall_silent(height_of(ballot))
        assert isinstance(ballot, Vote), "under POCA nothing else is voted on"
        return [] if self._guard.knows_statement(ballot.statement) else self._fall_silent(0)

    def _fall_silent(self, height: int) -> list[Action]:
        """Somebody has signed with this node's key: its record is an old one, or another process has the key too."""
        if self._signing.is_sure:
            return []
        self._signing.has_met_stranger = True
        if self._agreement is not None:
            self._agreement.fall_silent()
        self._guard = self._guard.after_stranger(max(height, self.chain.head.height))
        return [Guard(record=self._guard)]

    def _review_signing(self, now_ms: int) -> list[Action]:
        """Begin to sign where that has become possible, and say so; say so, too, where it no longer is."""
        actions: list[Action] = []
        is_confirmed = self._signing.is_waiting and self._signing.confirm(get_sealers(Overlay(self.chain.head.state)))
        if is_confirmed and self._signing.has_met_stranger:  # who may have seen all that the others have
            actions += self._fall_silent(0)
        state = self.signing_state
        if state == self._signing_state or state == "observer":
            return actions
        self._signing_state = state
        actions.append(Publish(event=(f"signing-{state}", self.chain.head.height, self.silent_until)))
        if state != "signs":
            return [*actions, StopSealing()]
        if self._agreement is not None:
            return [*actions, *self._agreement.allow(now_ms)]
        return [*actions, *self._sign_due(now_ms), *self._restart_sealing(now_ms)]

    # --- agreement, under PBFT (what `node.agreement.Chamber` asks for) ---------------------------

    def _make_pbft(self) -> Pbft:
        params = self.params.consensus
        timeouts = Timeouts(base_ms=params.view_timeout_ms, max_ms=params.view_timeout_max_ms)
        return Pbft(
            chain_id=self.chain_id, key=self._key, timeouts=timeouts, record=self._guard.agreement, is_silent=True
        )

    def _begin_height(self, now_ms: int) -> list[Action]:
        """Agree on the block after the head; blocks for it may have come already."""
        assert self._agreement is not None
        head = self.chain.head
        if self._agreement.height > head.height:
            return []
        self._height_began_ms = now_ms
        stale = [block_hash for block_hash, header in self._proposals.items() if header.height <= head.height]
        for block_hash in stale:
            del self._proposals[block_hash]
        self._announced.forget_up_to(head.height)
        actions: list[Action] = [Persist(changes=[(_PROPOSAL_ROW + key, None) for key in stale])] if stale else []
        certificate = self._final_certificate
        last = certificate if certificate and certificate.statement.block_hash == head.hash else None
        voters = get_voters(Overlay(head.state), head.height + 1)
        actions += self._agreement.start(head.height + 1, voters, now_ms, last=last)
        for block_hash, header in tuple(self._proposals.items()):
            if header.parent == head.hash:
                actions += self._agreement.on_block(block_hash, now_ms, is_valid=True)
        return [*actions, *self._restart_sealing(now_ms)]

    def _note_work(self, now_ms: int) -> list[Action]:
        """Tell the agreement whether the next block has anything to hold."""
        if self._agreement is None or self.is_syncing:
            return []
        is_pending = self._is_empty_block_due(now_ms) or self._has_executable()
        return self._agreement.on_work(now_ms, is_pending=is_pending)

    def _is_empty_block_due(self, now_ms: int) -> bool:
        """By the head's date or by how long it has been the head here: that may be dated ahead of a wrong clock."""
        after_ms = self.params.consensus.empty_after_ms
        elapsed_ms = max(self._date(now_ms) - self.chain.head.header.timestamp_ms, now_ms - self._height_began_ms)
        return elapsed_ms >= after_ms > 0

    def _on_proposal(self, peer: PeerId, message: wire.NewBlock, header: Header, now_ms: int) -> list[Action]:
        """A member shows a block that is, or may be, proposed for a height to come: keep it until it is asked for."""
        parent = self.chain.get(header.parent) if self.chain.is_recent(header.parent) else None
        if parent is None or self._is_known(header.hash) or header.height <= self.chain.head.height:
            return []
        self._judge(header, parent, self.chain)
        self._gates.note(header, self._date(now_ms))
        self._announced.keep(Announcement(peer, message, header))
        return []

    def _on_undecided(
        self, entry: Entry, now_ms: int, *, source: PeerId, is_certified: bool, is_late: bool
    ) -> list[Action]:
        """A valid block that no certificate names: one of those below a certified one, or a proposal.

        Below a certified one there may be a proposal that was here already, and is decided with it.
        """
        assert self._agreement is not None
        assert entry.block is not None
        if is_certified and self.chain.fork_point(entry).hash == self.chain.head.hash:
            return self._move_head(entry, now_ms, source=source)
        keep = self._keep_proposal(entry)
        if entry.header.parent != self.chain.head.hash or entry.height != self._agreement.height:
            return [keep]
        return [keep, *self._agreement.on_block(entry.hash, now_ms, is_valid=True, is_late=is_late)]

    def _keep_proposal(self, entry: Entry) -> Persist:
        """Keep an undecided block; the oldest goes, but for what this member has prepared."""
        assert entry.block is not None
        self._proposals[entry.hash] = entry.header
        record = self._guard.agreement
        bound = {record.block_hash, None if record.prepared is None else record.prepared.block_hash}
        free = [block_hash for block_hash in self._proposals if block_hash not in bound]
        gone = free[: max(0, len(self._proposals) - _MAX_PROPOSALS)]
        for block_hash in gone:
            del self._proposals[block_hash]
        rows: Changes = [(_PROPOSAL_ROW + block_hash, None) for block_hash in gone]
        return Persist(changes=[*rows, (_PROPOSAL_ROW + entry.hash, entry.block.raw)])

    def _load_proposals(self) -> list[Action]:
        """Undecided blocks from before a restart: what was prepared must be at hand to be proposed again."""
        with as_stored("an undecided block"):
            blocks = [self._read_block(raw) for _, raw in self._store.scan(_PROPOSAL_ROW)]
        stale = []
        for block in sorted(blocks, key=lambda one: one.header.height):
            parent = self.chain.get(block.header.parent)
            is_ahead = block.header.height > self.chain.head.height and not self.mooring.is_awaited
            if parent is not None and is_ahead:
                self._proposals[self._execute(block, parent).hash] = block.header
            else:
                stale.append(block.hash)  # the end came between a decision and the clearing away
        return [Persist(changes=[(_PROPOSAL_ROW + key, None) for key in stale])] if stale else []

    def remember(self, record: PbftRecord) -> list[Action]:
        self._guard = replace(self._guard, agreement=record)
        return [Guard(record=self._guard)]

    def propose_block(self, now_ms: int) -> tuple[bytes, list[Action]] | None:
        """A new block on the head, if there is anything for it to hold.

        While the head moves up below a certified block, it is not the agreement's height that a block would be for.
        """
        assert self._key is not None
        assert self._agreement is not None
        head = self.chain.head
        if self.is_syncing or not self._may_sign or self._agreement.height != head.height + 1:
            return None
        proposal = self._engine.propose(self._key.public_key, head, self.chain, self._date(now_ms))
        if proposal is None:
            return None
        candidate = self._build_candidate(self._key, proposal)
        if not candidate.transactions and not self._is_empty_block_due(now_ms):
            return None
        block = candidate.sealed(0, self._key)
        weighed = self._engine.check_header(block.header, head, self.chain)
        entry = self.chain.add(block, candidate.execution, work=weighed.work, base_n_diff=weighed.base_n_diff)
        return entry.hash, [self._keep_proposal(entry), Broadcast(message=announce_block(entry))]

    def show_block(self, block_hash: bytes) -> list[Action] | None:
        """Announce an undecided block again; None where it is not here."""
        entry = self.chain.get(block_hash) if block_hash in self._proposals else None
        return None if entry is None else [Broadcast(message=announce_block(entry))]

    def fetch_block(self, block_hash: bytes, peers: tuple[PeerId, ...], now_ms: int) -> list[Action]:
        if self._is_known(block_hash):
            return []
        if (announced := self._announced.take(block_hash)) is not None:
            return self._take_announced(*announced, now_ms)
        for peer in peers:
            if peer in self._gossip.peers:
                self._gossip.want_block(peer, block_hash)
        return self._gossip.fetch(now_ms)

    def decide(self, certificate: QuorumCertificate, now_ms: int) -> list[Action]:
        self._checkpoints.keep_certificate(certificate)
        signers = tuple(signer for signer, _ in certificate.signatures)
        fetch = self.fetch_block(certificate.statement.block_hash, signers, now_ms)
        return [*fetch, *self._on_certified(certificate, None, now_ms)]

    def result_of(self, block_hash: bytes) -> bytes:
        return self._results.result_of(block_hash)

    def tell_result(self, vote: Vote) -> list[Action]:
        return self._results.tell(vote)

    def look_ahead(self) -> list[Action]:
        """Tell peers where this node stands: one that is ahead answers with its final certificate."""
        return [Broadcast(message=self._gossip.status())]

    def convict(self, evidence: DoubleVote | DoubleBallot) -> list[Action]:
        if is_recorded(Overlay(self.chain.head.state), evidence) or not self._checkpoints.add_evidence(evidence):
            return []
        message = wire.Evidence(kind=kind_of(evidence), raw=encode(evidence.to_value()))
        event = ("equivocation", address_of(evidence.signer))
        return [Publish(event=event), Broadcast(message=message)]

    # --- transactions from clients ---------------------------------------------------------------

    def _on_submitted(self, transactions: tuple[Transaction, ...], now_ms: int) -> list[Action]:
        head, context = self.chain.head, self._next_context(now_ms)
        outcomes: list[GridmeritError | None] = []
        accepted: list[Transaction] = []
        for transaction in transactions:
            try:
                self._admission.submit(transaction, head, context)
            except AlreadyKnown as error:
                outcomes.append(None if transaction.id in self.acknowledgements else error)
                continue
            except GridmeritError as error:
                outcomes.append(error)
                continue
            outcomes.append(None)
            accepted.append(transaction)
        answer = Acknowledge(outcomes=tuple(outcomes))
        if not accepted:
            return [answer]
        keep = Persist(changes=self.acknowledgements.keep(accepted))
        return [keep, answer, *push_transactions(accepted), *self._note_work(now_ms)]

    # --- catching up -----------------------------------------------------------------------------

    def _catch_up(self, now_ms: int) -> list[Action]:
        """Go on with the skeleton; without one that makes progress, look for a peer that is ahead."""
        actions = self._follow_skeleton(now_ms)
        return actions if self._sync.is_moving else [*actions, *self._gossip.look_ahead(now_ms)]

    def _follow_skeleton(self, now_ms: int) -> list[Action]:
        """Import bodies whose turn has come, a step's worth, and ask for more; seal again once the skeleton is done."""
        was_far_behind = self.is_syncing
        actions: list[Action] = []
        room, transactions = _STEP_BLOCKS, _STEP_TRANSACTIONS
        self._sync.skip_known()
        while room > 0 and transactions > 0 and (ready := self._sync.next_block()) is not None:
            actions += self._import_block(*ready, now_ms)
            self._sync.skip_known()
            room, transactions = room - 1, transactions - len(ready[0].transactions)
        if room <= 0 or transactions <= 0:
            actions.append(SetTimer(name=CATCH_UP, at_ms=now_ms))
        actions += [*self._judge_skeleton(now_ms), *self._gossip.want_bodies(now_ms)]
        if was_far_behind and not self.is_syncing:
            actions += self._restart_sealing(now_ms)
        return actions

    def _judge_skeleton(self, now_ms: int) -> list[Action]:
        """Judge on as far as the state allows now, and give up what breaks a rule or leads to less than it claimed."""
        skeleton = self._sync.skeleton
        if skeleton is None:
            return []
        try:
            self._sync.judge(self._judge, self._date(now_ms))
            if self._is_worth_following(skeleton):
                return []
            self._sync.reset()
            if skeleton.claimed_work > skeleton.work:
                self._gossip.disbelieve(skeleton.source)
                raise FalseHead(claimed=skeleton.claimed_work, actual=skeleton.work)
        except GridmeritError as error:
            self._sync.reset()
            return [PenalisePeer(peer=skeleton.source, error=error)]
        return []

    def _is_worth_following(self, skeleton: Skeleton) -> bool:
        """Whether a skeleton has more work than our head, or may have, or holds the anchor or what is certified."""
        if skeleton.sound_count < len(skeleton) or skeleton.work > self.chain.head.work:
            return True
        if self.mooring.leads_to(skeleton.headers):
            return True
        certified = (*self._checkpoints.certified, *(one for said in self._unproven.values() for one in said))
        return any(block_hash in skeleton for block_hash in certified)

    def _give_up_stalled(self) -> list[Action]:
        """A heartbeat: drop a skeleton that has made no progress for too many of them, and blame who sent it."""
        stalled = self._sync.on_beat()
        if stalled is None or not stalled.was_asked_for or stalled.source not in self._gossip.peers:
            return []
        error = (
            SyncStalled(imported=stalled.imported) if stalled.imported else BlocksWithheld(count=stalled.sound_count)
        )
        return [PenalisePeer(peer=stalled.source, error=error)]

    # --- small things ----------------------------------------------------------------------------

    def _date(self, now_ms: int) -> int:
        """What the wall clock shows."""
        return now_ms + self._wall_ahead_ms

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
        timestamp_ms = max(self._date(now_ms), head.header.timestamp_ms + 1)
        period = compute_period(
            timestamp_ms,
            genesis_time_ms=self.genesis.time_ms,
            period_ms=self.params.ledger.period_ms,
            parent_period=head.header.period,
        )
        return self._context(head, bytes(20), timestamp_ms, period)

    @property
    def key(self) -> SigningKey | None:
        """The member's key; None where the node only follows the chain."""
        return self._key

    @property
    def engine(self) -> Engine:
        return self._engine

    def get_loads(self) -> dict[str, tuple[int, int]]:
        """How much is held of all that peers can make this node hold, and how much at most, by what it is."""
        limits = self.mempool.limits
        return {
            "pending transactions": (len(self.mempool), limits.max_count),
            "bytes of pending transactions": (self.mempool.size_bytes, limits.max_bytes),
            "deferred blocks": (len(self._deferred), _MAX_DEFERRED),
            "condemned blocks": (len(self._bad), _MAX_BAD),
            "unproven certificates": (
                sum(map(len, self._unproven.values())),
                _MAX_UNPROVEN * max(1, len(self._gossip.peers)),
            ),
            "announced proposals": (len(self._announced), self._announced.limit),
            "undecided proposals": (len(self._proposals), _MAX_PROPOSALS + 2),
            "endings of acknowledged transactions": (self.acknowledgements.ending_count, MAX_ENDINGS),
            "void periods whose missing votes are known": (len(self.missing_votes), MAX_PERIODS),
            **self._gossip.get_loads(),
        }

    @property
    def peers(self) -> Mapping[PeerId, wire.Status | None]:
        """Connected peers and where they last said they stand."""
        return self._gossip.peers

    @property
    def is_syncing(self) -> bool:
        """Whether the node is too far behind to seal or vote: so it is until it has come to its anchor."""
        return self._sync.is_far_behind or self.mooring.is_awaited

    @property
    def sync_target(self) -> int:
        """Height that the node is catching up to, 0 where it is not known to be behind."""
        return self._sync.target_height

    def waiting_for(self) -> tuple[bytes, ...]:
        """Under PBFT, the members whose message the current step has lacked for half a view's time."""
        return () if self._agreement is None else self._agreement.waiting_for()

    @property
    def _is_pbft(self) -> bool:
        return self.params.consensus.engine == "pbft"

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
    return (_CERTIFICATE_ROW + certificate.statement.slot.to_bytes(8, "big"), certificate.raw)
