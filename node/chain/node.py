"""One chain instance on one peer: its parts wired together, driven by `step(event, now_ms) -> actions`.

No await, no clock, no socket: the asyncio runtime and the simulator perform the same actions. Parts return what is to
be done and what follows from it (`node.chain.progress`), and here each consequence finds the part that sees to it.
Reading order: `step`, `_hear`, `_see_to`; then `node.chain.arrivals` and `node.chain.head_moves`, a block's way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from consensus.engine import Engine
from consensus.errors import UnknownMessage
from consensus.quorum import QuorumCertificate
from consensus.relays import Relay, RelayName
from consensus.signing_record import SigningRecord
from ledger.errors import GridmeritError, StoreError, StoreReadOnly
from ledger.execution import Executor, run_block
from ledger.genesis import Genesis
from ledger.mempool import MempoolLimits
from ledger.signatures import SigningKey
from ledger.store import KeyValue
from node.chain import messages as wire
from node.chain.acknowledgements import Acknowledgements
from node.chain.admission import MempoolAdmission
from node.chain.arrivals import Arrivals
from node.chain.catching_up import CatchingUp
from node.chain.events import (
    Acknowledge,
    Action,
    Broadcast,
    ClockSet,
    Event,
    HoldsRead,
    MessageReceived,
    PeerConnected,
    PeerId,
    PeerLost,
    PenalisePeer,
    RelayOffered,
    SealFound,
    SetTimer,
    Started,
    TimerFired,
    TransactionsSubmitted,
)
from node.chain.filling import Filling
from node.chain.finality import Finality
from node.chain.gossip import Gossip
from node.chain.head_moves import HeadMoves
from node.chain.importer import Importer
from node.chain.instance import Instance
from node.chain.late_blocks import GateWatch
from node.chain.lower_bodies import LowerBodies
from node.chain.lower_headers import LowerHeaders
from node.chain.missing_votes import MAX_PERIODS, MissingVotes
from node.chain.parts import Parts
from node.chain.pool import Pool
from node.chain.progress import (
    AgreementFollowed,
    Allowed,
    BetterHead,
    BlockReceived,
    BodyReceived,
    CatchUp,
    Certified,
    ClaimsReceived,
    Consequence,
    Final,
    Followed,
    ImportBodies,
    LookAhead,
    Reaction,
    Refresh,
    Silenced,
    SnapshotHere,
    VotesReceived,
    WorkPending,
)
from node.chain.pruning import ALL, Keep, Pruner
from node.chain.relays import Relays
from node.chain.release_watch import ReleaseWatch
from node.chain.results import Results, read_claims
from node.chain.rule_sets import RULE_SETS, RuleBook, RuleSets
from node.chain.rules import choose_rules
from node.chain.signing import Signing, SigningState
from node.chain.snapshot_join import SnapshotJoin
from node.chain.snapshots import Snapshots
from node.chain.trusted_block import TrustedBlock, TrustedBranch
from node.errors import OffAnchor

HEARTBEAT = "heartbeat"
_QUESTIONS = (
    *(wire.Status, wire.GetTransactions, wire.GetHeaders, wire.GetBlocks, wire.GetTradeRecords),
    *(wire.GetSnapshot, wire.GetChunk, wire.GetAncestors, wire.GetBodies),
)
_STALL_MS, _MIN_STALL_BEATS = 15_000, 3  # a skeleton without progress for so long was made up, or its peers are gone


class ChainNode:
    """One chain on one peer.

    Opening raises `BadParameters`, `RulesUnknown`, `StoreCorrupt`, `StoreTooNew`, `RolledBack` or `AnchorContradicted`.

    `key` is the member's; without one the node follows the chain, and seals and signs nothing. With one it begins to
    once others bear out its `signing_record` (`node.chain.signing`), or at once where its owner `is_sure` of it. With
    an `anchor` it follows no chain without that block. A fresh node whose peers are more than `snapshot_distance`
    blocks ahead, or have pruned what comes next, takes a state from them; without a distance it replays the chain.
    `keep` says which bodies it keeps. Rules that are announced and not among `rule_sets` it stops before. A simulation
    may have an `engine` of its own in the place of that which the parameters name, and an `executor` that shares its
    work.
    """

    def __init__(
        self,
        genesis: Genesis,
        store: KeyValue,
        *,
        key: SigningKey | None = None,
        signing_record: SigningRecord | None = None,
        limits: MempoolLimits | None = None,
        anchor: TrustedBlock | None = None,
        is_sure: bool = False,
        snapshot_distance: int | None = None,
        keep: Keep = ALL,
        engine: Engine | None = None,
        executor: Executor = run_block,
        rule_sets: RuleSets = RULE_SETS,
    ) -> None:
        rules = choose_rules(genesis.params)
        engine = engine or rules.engine(genesis)
        own = Instance(genesis, store, key=key, engine=engine, limits=limits, rule_sets=rule_sets)
        self._instance = own
        self.genesis, self.params = genesis, genesis.params
        self.chain, self.chain_id, self.mempool = own.chain, own.chain_id, own.mempool
        self._signing = Signing(own.chain, key, signing_record or SigningRecord(), is_sure=is_sure)
        self.trusted_branch = TrustedBranch(anchor, own.chain)
        admission = MempoolAdmission(own.rules, own.chain_id, own.mempool)
        self._importer = Importer(own, self.trusted_branch, executor=executor, envelopes=admission.envelopes)
        self._gossip = Gossip(
            own.chain,
            own.mempool,
            stall_beats=max(_MIN_STALL_BEATS, -(-_STALL_MS // self._heartbeat_ms)),
            is_known=self._importer.is_known,
            trusted_branch=self.trusted_branch,
        )
        self._finality = Finality(own, self.trusted_branch, self._signing, self._gossip, slot_of=rules.slot_of)
        self._relays = Relays(own, self._finality, self._gossip)
        self._pool = Pool(own, admission, self._gossip)
        self._gates = GateWatch(genesis)
        self._release_watch = ReleaseWatch(own)
        self.pruner = Pruner(own.chain, store, own.params, keep)
        parts = Parts(
            instance=own,
            trusted_branch=self.trusted_branch,
            importer=self._importer,
            signing=self._signing,
            gossip=self._gossip,
            finality=self._finality,
            filling=Filling(own, finality=self._finality, relays=self._relays, pool=self._pool),
            pool=self._pool,
            gates=self._gates,
        )
        self._progress = rules.progress(parts)
        self._catching_up = CatchingUp(parts, self._progress)
        self._arrivals = Arrivals(parts, progress=self._progress, catching_up=self._catching_up)
        self._snapshots = Snapshots(own, self._gossip.serving, self._finality.set_changes)
        self._joining = SnapshotJoin(own, self._gossip, self.trusted_branch, distance=snapshot_distance)
        self._lower_headers = LowerHeaders(own, self._gossip)
        self._lower_bodies = LowerBodies(own, self._gossip, self._importer, self.pruner)
        self._head_moves = HeadMoves(
            parts,
            progress=self._progress,
            relays=self._relays,
            snapshots=self._snapshots,
            joining=self._joining,
            release_watch=self._release_watch,
        )

    # --- the step --------------------------------------------------------------------------------

    def step(self, event: Event, now_ms: int) -> list[Action]:
        """The actions that `event` leads to, strictly in this order. Raises nothing but bugs and `StoreError`s.

        Once started with a refusal of the disk, it answers questions, and none of its actions is a write.

        `now_ms` never jumps, and deadlines are in it; the wall clock may be ahead of it or behind (`ClockSet`).
        """
        actions = self._settle(self._hear(event, now_ms), now_ms)
        if reviewed := self._signing.review():
            actions += self._settle(reviewed, now_ms)
        return actions

    def _settle(self, reaction: Reaction, now_ms: int) -> list[Action]:
        """The actions of a reaction and of all that follows from it: each consequence is seen to where it stands."""
        if not reaction:
            return []
        actions: list[Action] = []
        agenda = [*reversed(reaction)]  # what is next stands last
        while agenda:
            item = agenda.pop()
            if isinstance(item, Followed):
                agenda += reversed(self._see_to(item, now_ms))
            else:
                actions.append(item)
        return actions

    def _hear(self, event: Event, now_ms: int) -> Reaction:
        """Hand an event to the part that hears of it."""
        if (refusal := self._signing.refusal) is not None:
            return self._hear_reading(event, refusal, now_ms)
        match event:
            case Started(refusal=refusal):
                return self._on_started(refusal, now_ms)
            case MessageReceived(peer=peer, message=message):
                return self._on_message(peer, message, now_ms)
            case TransactionsSubmitted(transactions=transactions):
                return self._pool.on_submitted(transactions, now_ms)
            case SealFound(job=job, nonce=nonce):
                return self._progress.on_seal(job, nonce, now_ms)
            case TimerFired(name=name):
                return self._on_timer(name, now_ms)
            case PeerConnected(peer=peer):
                return [*self._gossip.connected(peer), *self._signing.ask((peer,))]
            case RelayOffered(raw=raw):
                return self._relays.on_offered(raw, now_ms)
            case PeerLost(peer=peer):
                self._progress.on_peer_lost(peer)
                self._joining.on_lost(peer)
                self._gossip.lost(peer)
                return self._gossip.fetch(now_ms)
            case ClockSet(ahead_ms=ahead_ms):
                self._instance.wall_ahead_ms = ahead_ms
                return [*self._arrivals.import_deferred(now_ms), CatchUp(), Refresh()]
            case HoldsRead(held_from=held_from):
                self.pruner.held_from = held_from
                return []
            case _:
                assert_never(event)

    def _hear_reading(self, event: Event, refusal: StoreReadOnly, now_ms: int) -> Reaction:
        """The same where the disk takes nothing: questions are answered, and whatever would change the chain is not."""
        match event:
            case TransactionsSubmitted(transactions=transactions):
                return [Acknowledge(outcomes=(refusal,) * len(transactions))]
            case MessageReceived(peer=peer, message=message) if isinstance(message, _QUESTIONS):
                answer = self._on_message(peer, message, now_ms)
                return [step for step in answer if not isinstance(step, Followed)]  # what follows changes the chain
            case TimerFired(name="heartbeat"):
                return [self._beat(now_ms), Broadcast(message=self._gossip.status())]
            case PeerConnected(peer=peer):
                return [*self._gossip.connected(peer)]
            case PeerLost(peer=peer):
                self._gossip.lost(peer)
        return []

    def _see_to(self, consequence: Consequence, now_ms: int) -> Reaction:
        """Hand a consequence to the part that sees to it."""
        match consequence:
            case AgreementFollowed():  # first what comes most often
                return self._progress.on_step(consequence, now_ms)
            case VotesReceived():
                return self._finality.on_votes(consequence, self._progress)
            case CatchUp():
                return self._catching_up.catch_up(now_ms)
            case ImportBodies():
                return self._catching_up.go_on(consequence, now_ms)
            case LookAhead():
                return self._catching_up.look_ahead(now_ms)
            case BlockReceived():
                return self._arrivals.on_block(consequence, now_ms)
            case BodyReceived():
                return self._catching_up.on_body(consequence)
            case BetterHead():
                return self._head_moves.on_better_head(consequence, now_ms)
            case ClaimsReceived():
                return self._finality.on_claims(consequence, now_ms, self._progress)
            case Certified():
                return self._finality.on_certified(consequence, now_ms, self._progress)
            case Final(certificate=certificate):
                return self._head_moves.on_final(certificate, now_ms)
            case WorkPending():
                return self._progress.on_work(now_ms)
            case Refresh():
                return self._progress.refresh(now_ms)
            case SnapshotHere():
                return self._head_moves.on_snapshot_here(now_ms)
            case Silenced():
                self._progress.on_silenced()
                return []
            case Allowed():
                return self._progress.on_allowed(now_ms)
            case _:
                assert_never(consequence)

    # --- time ------------------------------------------------------------------------------------

    def _on_started(self, refusal: StoreReadOnly | None, now_ms: int) -> Reaction:
        """Take up what was left, and begin. Cause: the driver is ready."""
        self._signing.begin(self._instance.date(now_ms), refusal)
        acknowledged = self.acknowledgements.open()
        self._snapshots.on_final(self._finality.final_certificate)
        if refusal is not None:
            return [self._beat(now_ms)]
        self._gates.begin(self._instance.date(now_ms))
        taken_up = [*self._release_watch.review(), *acknowledged.actions, *self._progress.load()]
        taken_up += self._joining.load(now_ms)
        beginnings = [self._beat(now_ms), *self._relays.repeat(now_ms), *self.pruner.begin(now_ms)]
        return [*taken_up, *beginnings, *self._progress.on_started(now_ms)]

    def _on_timer(self, name: str, now_ms: int) -> Reaction:
        """Cause: a timer that some part has set."""
        match name:
            case "heartbeat":
                return self._on_heartbeat(now_ms)
            case "deferred":
                return self._arrivals.import_deferred(now_ms)
            case "execution":
                return self._arrivals.go_on_executing(now_ms)
            case "repeat":
                return self._relays.repeat(now_ms)
            case "catch-up":
                return [CatchUp()]
            case "pass-on":
                return self._gossip.flush()
            case "join":
                return self._joining.on_tick(now_ms)
            case "lower-headers":
                return self._lower_headers.on_timer()
            case "lower-bodies":
                return self._lower_bodies.on_timer()
            case "prune":
                return self.pruner.on_timer(now_ms)
        return self._progress.on_timer(name, now_ms)

    def _on_heartbeat(self, now_ms: int) -> Reaction:
        """Say again what others may have missed, and look for those that are ahead. Cause: a timer."""
        peers = tuple(self._gossip.peers)
        said = [Broadcast(message=self._gossip.status()), *self._finality.repeat_votes()]
        asked = [*self._signing.ask(peers), *self.results.ask(peers)]
        asked += [*self._lower_headers.on_beat(), *self._lower_bodies.on_beat()]
        stalled = self._catching_up.give_up_stalled()
        reminders = self._pool.remind(self._progress.count_age(self._pool.count_beat()))
        return [self._beat(now_ms), *said, *asked, *reminders, *stalled, CatchUp()]

    def _beat(self, now_ms: int) -> SetTimer:
        return SetTimer(name=HEARTBEAT, at_ms=now_ms + self._heartbeat_ms)

    @property
    def _heartbeat_ms(self) -> int:
        return min(5_000, max(500, self.params.consensus.block_interval_ms))

    # --- messages --------------------------------------------------------------------------------

    def _on_message(self, peer: PeerId, message: wire.Message, now_ms: int) -> Reaction:
        """Hear a peer; its fault is a named error and a score. Cause: a message in a signed batch."""
        try:
            return self._handle(peer, message, now_ms)
        except StoreError:
            raise
        except GridmeritError as error:
            if isinstance(error, OffAnchor):
                self._gossip.avoid(peer)
            return [PenalisePeer(peer=peer, error=error)]

    def _handle(self, peer: PeerId, message: wire.Message, now_ms: int) -> Reaction:
        """Hand a message to the part that hears of it."""
        match message:
            case wire.Status():
                return [*self._catching_up.on_status(peer, message, now_ms), *self._joining.on_status(now_ms)]
            case wire.TransactionIds(ids=ids):
                self._gossip.want_transactions(peer, ids)
                return self._gossip.fetch(now_ms)
            case wire.GetTransactions(ids=ids):
                return self._gossip.give_transactions(peer, ids, now_ms)
            case wire.Transactions(raw=raw):
                return self._pool.on_transactions(peer, raw, now_ms)
            case wire.NewBlock():
                return self._arrivals.on_announcement(peer, message, now_ms)
            case wire.GetHeaders(locator=locator):
                return self._catching_up.give_headers(peer, locator, now_ms)
            case wire.Headers() if self._joining.awaits_headers(peer):
                return self._joining.on_headers(peer, message)
            case wire.Headers():
                return self._catching_up.on_headers(peer, message, now_ms)
            case wire.GetBlocks(ids=ids):
                return self._gossip.give_blocks(peer, ids, now_ms)
            case wire.Blocks(raw=raw):
                return self._catching_up.on_blocks(peer, raw, now_ms)
            case wire.Votes():
                return self._progress.on_votes(peer, message, now_ms)
            case wire.Certificate(raw=raw):
                return self._finality.on_certificate(peer, raw, now_ms, self._progress)
            case wire.Evidence():
                return self._finality.on_evidence(peer, message, now_ms, self._progress)
            case wire.Relay(raw=raw):
                return self._relays.on_relay(raw, peer, now_ms)
            case wire.Agreement():
                return self._progress.on_agreement(peer, message, now_ms)
            case wire.GetSigned():
                return self._finality.give_signed(peer, now_ms, self._progress)
            case wire.Signed():
                return self._finality.on_signed(peer, message, self._progress)
            case wire.TradeResult():
                return [ClaimsReceived(peer, read_claims(message))]
            case wire.GetTradeRecords():
                return self._finality.give_records(peer, message, now_ms)
            case wire.TradeRecords():
                return self._finality.on_records(peer, message)
            case wire.GetSnapshot(known=known):
                return self._snapshots.give_snapshots(peer, known, now_ms)
            case wire.Snapshot():
                return self._joining.on_snapshot(peer, message)
            case wire.GetChunk():
                return self._snapshots.give_chunk(peer, message, now_ms)
            case wire.Chunk():
                return self._joining.on_chunk(peer, message)
            case wire.GetAncestors(block_hash=block_hash):
                return self._snapshots.give_ancestors(peer, block_hash, now_ms)
            case wire.Ancestors():
                return self._lower_headers.on_ancestors(peer, message, now_ms)
            case wire.GetBodies(block_hash=block_hash):
                return self._lower_bodies.give(peer, block_hash, now_ms)
            case wire.Bodies():
                return self._lower_bodies.on_bodies(peer, message, now_ms)
            case wire.Contacts():
                raise UnknownMessage(kind=message.code)  # the driver's to read
            case _:
                assert_never(message)

    # --- views -----------------------------------------------------------------------------------

    @property
    def key(self) -> SigningKey | None:
        """The member's key; None where the node only follows the chain."""
        return self._instance.key

    @property
    def engine(self) -> Engine:
        return self._instance.engine

    @property
    def rules(self) -> RuleBook:
        """The versions of the chain's rules that are known here."""
        return self._instance.rules

    @property
    def is_halted(self) -> bool:
        """True while the chain stands right before rules that this release does not know."""
        return self._instance.is_halted

    @property
    def acknowledgements(self) -> Acknowledgements:
        """The promises that have been made to clients."""
        return self._pool.acknowledgements

    @property
    def missing_votes(self) -> MissingVotes:
        """The members whose votes void gates lacked."""
        return self._finality.missing_votes

    @property
    def results(self) -> Results:
        """The results that members have signed, and their certificates."""
        return self._finality.results

    @property
    def handovers(self) -> tuple[Relay, ...]:
        """The proofs of who has followed whom in certifying this chain, in their order."""
        return self._finality.set_changes.all

    @property
    def final_certificate(self) -> QuorumCertificate | None:
        """The certificate of the final block; None before the first."""
        return self._finality.final_certificate

    def get_certificate(self, slot: int) -> QuorumCertificate | None:
        """The certificate of a slot's checkpoint, from memory or store."""
        return self._finality.get_certificate(slot)

    def get_relays(self, destination: bytes) -> list[tuple[str, int, int, bytes]]:
        """(kind, number, part, bytes) of every relay that this node can make for another chain."""
        return self._relays.list_for(destination)

    def needs_relay(self, name: RelayName) -> bool:
        """True where this chain could use a relay of that message."""
        return self._relays.waiting.needs_relay(name, self.chain.head.state)

    @property
    def signing_record(self) -> SigningRecord:
        """The record of what the key has signed; between two steps, the one that is durable."""
        return self._signing.record

    @property
    def signing_state(self) -> SigningState:
        return self._signing.state

    @property
    def refusal(self) -> StoreReadOnly | None:
        """The reason why the disk takes nothing; None where it does."""
        return self._signing.refusal

    @property
    def silent_until(self) -> int:
        """The height that must be final before this node signs, 0 where there is none to wait for."""
        return self._signing.silent_until

    @property
    def blocks_refused(self) -> int:
        """The number of blocks of peers that broke a rule since the start."""
        return self._importer.blocks_refused

    @property
    def peers(self) -> Mapping[PeerId, wire.Status | None]:
        """Connected peers and where they last said they stand."""
        return self._gossip.peers

    @property
    def is_syncing(self) -> bool:
        """True where the node is too far behind to seal or vote: so it is until it has come to its anchor."""
        return self._gossip.is_syncing

    @property
    def is_catching_up(self) -> bool:
        """True while more than a few blocks that hold are known to be missing here, even if none comes just now."""
        return self.is_syncing or self._gossip.sync.was_away

    @property
    def sync_target(self) -> int:
        """Height that the node is catching up to, 0 where it is not known to be behind."""
        return self._gossip.sync.target_height

    def waiting_for(self) -> tuple[bytes, ...]:
        """The members whose message the current step of an agreement has lacked for half a view's time."""
        return self._progress.waiting_for()

    def rests_until(self, wall_ms: int) -> int:
        """The time at which something is due on a chain that has nothing to do, in ms; 0 where it does not rest."""
        return self._progress.rests_until(wall_ms)

    def get_usage(self) -> dict[str, tuple[int, int]]:
        """The amounts of all that peers can make this node hold, and the most that may be, by what it is."""
        return {
            **self._pool.get_usage(),
            **self._importer.get_usage(),
            **self._progress.get_usage(),
            **self._joining.get_usage(),
            "void periods whose missing votes are known": (len(self.missing_votes), MAX_PERIODS),
            **self._gossip.get_usage(),
        }
