"""A network of real `ChainNode`s in virtual time: a heap of events, seeded links, partitions, crashes.

A `World` is one chain and its peers. Several worlds may share a `Timeline`: then a peer of the same name in each is one
machine that hosts several chains, and carries what they say to each other. Same seed, same trace hash. Sealing is real:
nonces are searched, and finding one takes virtual time by its hash rate.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from consensus.guard import GuardRecord
from consensus.seal import search
from ledger.codec import decode, encode
from ledger.errors import GridmeritError
from ledger.genesis import Genesis
from ledger.signatures import SigningKey
from ledger.store import MemoryStore
from ledger.transaction import Transaction
from node.core import ChainNode
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
from node.messages import message_from_value, message_to_value

_MAX_SEARCH_MS = 5_000  # virtual time that one search covers; a node renews its candidate sooner than that
_MAX_MESSAGE_BYTES = 8_000_000


@dataclass(slots=True)
class Peer:
    """One simulated machine. Store and guard survive a crash, the node does not."""

    name: str
    key: SigningKey
    hash_rate: int  # nonces per virtual second
    store: MemoryStore = field(default_factory=MemoryStore)
    guard: GuardRecord = field(default_factory=GuardRecord)
    node: ChainNode | None = None
    life: int = 0  # counts restarts, so that events for an earlier life are dropped
    timers: dict[str, int] = field(default_factory=dict)
    job: int = 0
    faults: list[tuple[str, GridmeritError]] = field(default_factory=list)
    published: list[tuple[object, ...]] = field(default_factory=list)
    outcomes: tuple[GridmeritError | None, ...] = ()


def open_worlds(
    genesis: Genesis, keys: dict[str, SigningKey], *, seed: int = 0, hash_rate: int = 1_000
) -> dict[str, World]:
    """A world for every chain of a network, by name, all peers on all chains."""
    timeline = Timeline(genesis.time_ms)
    return {
        chain.name: World(genesis.open(chain.name), keys, seed=seed, hash_rate=hash_rate, timeline=timeline)
        for chain in genesis.chains
    }


class Timeline:
    """Virtual time: what is to happen to which peer of which world, and a trace of all that has happened."""

    def __init__(self, start_ms: int) -> None:
        self.now_ms = start_ms
        self.worlds: dict[bytes, World] = {}  # by chain id
        self._heap: list[tuple[int, int, bytes, str, int, Event]] = []
        self._order = 0
        self._trace = hashlib.sha256()

    def schedule(self, at_ms: int, chain_id: bytes, peer: Peer, event: Event) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at_ms, self._order, chain_id, peer.name, peer.life, event))

    def run_for(self, duration_ms: int) -> None:
        """Let virtual time pass."""
        end_ms = self.now_ms + duration_ms
        while self._heap and self._heap[0][0] <= end_ms:
            self._next()
        self.now_ms = end_ms

    def run_until(self, condition: Callable[[], bool], *, limit_ms: int, seed: int = 0) -> None:
        """Let virtual time pass until the condition holds; an AssertionError names the seed where it never does."""
        end_ms = self.now_ms + limit_ms
        while not condition():
            in_time = bool(self._heap) and self._heap[0][0] <= end_ms
            assert in_time, f"seed {seed}: not within {limit_ms} ms"
            self._next()

    def note(self, name: str, event: Event) -> None:
        """Write an event into the trace."""
        self._trace.update(f"{self.now_ms} {name} {event!r}\n".encode())

    def trace_hash(self) -> str:
        """SHA-256 over every event so far."""
        return self._trace.hexdigest()

    def _next(self) -> None:
        self.now_ms, _, chain_id, name, life, event = heapq.heappop(self._heap)
        self.worlds[chain_id].happen(name, life, event)


class World:
    """Peers, links and the clock. `seed` decides every latency; nothing else is random."""

    def __init__(
        self,
        genesis: Genesis,
        keys: dict[str, SigningKey],
        *,
        seed: int = 0,
        latency_ms: tuple[int, int] = (5, 50),
        hash_rate: int = 1_000,
        timeline: Timeline | None = None,
    ) -> None:
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.seed = seed
        self.timeline = timeline or Timeline(genesis.time_ms)
        self.timeline.worlds[self.chain_id] = self
        self.peers = {name: Peer(name, key, hash_rate) for name, key in keys.items()}
        self._by_id: dict[PeerId, Peer] = {key.public_key: self.peers[name] for name, key in keys.items()}
        self._random = Random(seed)
        self._latency_ms = latency_ms
        self._groups: dict[str, int] = {}
        for name in self.peers:
            self.start(name)

    # --- running ---------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return self.timeline.now_ms

    def run_for(self, duration_ms: int) -> None:
        """See `Timeline.run_for`."""
        self.timeline.run_for(duration_ms)

    def run_until(self, condition: Callable[[], bool], *, limit_ms: int) -> None:
        """See `Timeline.run_until`."""
        self.timeline.run_until(condition, limit_ms=limit_ms, seed=self.seed)

    def trace_hash(self) -> str:
        """SHA-256 over every event so far."""
        return self.timeline.trace_hash()

    def happen(self, name: str, life: int, event: Event) -> None:
        """An event's time has come; nothing happens where the peer has crashed or changed its mind meanwhile."""
        peer = self.peers[name]
        if peer.node is None or peer.life != life:
            return
        match event:
            case TimerFired(name=timer) if peer.timers.get(timer) != self.now_ms:
                return
            case SealFound(job=job) if job != peer.job:
                return
        self._step(peer, event)

    def _step(self, peer: Peer, event: Event) -> None:
        assert peer.node is not None
        self.timeline.note(peer.name, event)
        for action in peer.node.step(event, self.now_ms):
            self._perform(peer, action)

    def _perform(self, peer: Peer, action: Action) -> None:
        match action:
            case Persist(changes=changes):
                peer.store.write(changes)
            case Guard(record=record):
                peer.guard = record
            case Send(peer=receiver, message=message):
                self._deliver(peer, self._by_id[receiver], MessageReceived(peer=peer.key.public_key, message=message))
            case Broadcast(message=message, but=but):
                received = MessageReceived(peer=peer.key.public_key, message=message)
                for other in self.peers.values():
                    if other is not peer and other.key.public_key != but:
                        self._deliver(peer, other, received)
            case SetTimer(name=name, at_ms=at_ms):
                peer.timers[name] = max(at_ms, self.now_ms + 1)
                self._schedule(peer.timers[name], peer, TimerFired(name=name))
            case StartSealing(job=job, root=root, target=target):
                peer.job = job
                count = max(1, peer.hash_rate * _MAX_SEARCH_MS // 1_000)
                nonce = search(root, target, count=count)
                if nonce is not None:
                    found_ms = self.now_ms + 1 + nonce * 1_000 // peer.hash_rate
                    self._schedule(found_ms, peer, SealFound(job=job, nonce=nonce))
            case StopSealing():
                peer.job = 0
            case PenalisePeer(peer=culprit, error=error):
                peer.faults.append((self._by_id[culprit].name, error))
            case Publish(event=event):
                peer.published.append(event)
            case Acknowledge(outcomes=outcomes):
                peer.outcomes = outcomes
            case Deliver(chain_id=chain_id, raw=raw):
                destination = self.timeline.worlds.get(chain_id)
                if destination is not None and peer.name in destination.peers:
                    here = destination.peers[peer.name]
                    self.timeline.schedule(self.now_ms, chain_id, here, RelayOffered(raw=raw))

    def _deliver(self, sender: Peer, receiver: Peer, event: MessageReceived) -> None:
        latency_ms = self._random.randint(*self._latency_ms)
        if not self.are_connected(sender.name, receiver.name) or receiver.node is None:
            return
        raw = encode(message_to_value(event.message))
        message = message_from_value(decode(raw, max_bytes=_MAX_MESSAGE_BYTES))
        self._schedule(self.now_ms + latency_ms, receiver, MessageReceived(peer=event.peer, message=message))

    def _schedule(self, at_ms: int, peer: Peer, event: Event) -> None:
        self.timeline.schedule(at_ms, self.chain_id, peer, event)

    # --- what a test or a scenario does ----------------------------------------------------------

    def start(self, name: str) -> None:
        """Start or restart a peer on its own store and guard."""
        peer = self.peers[name]
        assert peer.node is None, f"{name} is running"
        peer.life += 1
        peer.timers.clear()
        peer.node = ChainNode(self.genesis, peer.store, key=peer.key, guard=peer.guard)
        self._schedule(self.now_ms, peer, Started())
        for other in self.peers.values():
            if other is not peer and other.node is not None and self.are_connected(name, other.name):
                self._connect(peer, other)

    def crash(self, name: str) -> None:
        """End a peer at once; what it had persisted stays."""
        peer = self.peers[name]
        peer.node = None
        for other in self.peers.values():
            if other.node is not None and other is not peer:
                self._schedule(self.now_ms, other, PeerLost(peer=peer.key.public_key))

    def partition(self, *groups: Iterable[str]) -> None:
        """Cut every link between peers of different groups; a peer in no group stands alone."""
        self._groups = {name: index for index, group in enumerate(groups, start=1) for name in group}
        for number, name in enumerate(self.peers):
            self._groups.setdefault(name, -1 - number)

    def heal(self) -> None:
        """Restore every link."""
        self._groups = {}
        for peer in self.peers.values():
            for other in self.peers.values():
                if peer.name < other.name and peer.node is not None and other.node is not None:
                    self._connect(peer, other)

    def are_connected(self, one: str, other: str) -> bool:
        return self._groups.get(one) == self._groups.get(other)

    def _connect(self, one: Peer, other: Peer) -> None:
        self._schedule(self.now_ms, one, PeerConnected(peer=other.key.public_key))
        self._schedule(self.now_ms, other, PeerConnected(peer=one.key.public_key))

    def submit(self, name: str, *transactions: Transaction) -> tuple[GridmeritError | None, ...]:
        """Hand transactions to a peer as a client would; what it answers."""
        peer = self.peers[name]
        self._step(peer, TransactionsSubmitted(transactions=transactions))
        return peer.outcomes

    def inject(self, name: str, sender: PeerId, event_message: object) -> None:
        """Let a peer receive a message right now, as if `sender` had sent it."""
        self._step(self.peers[name], MessageReceived(peer=sender, message=event_message))  # type: ignore[arg-type]

    def node(self, name: str) -> ChainNode:
        node = self.peers[name].node
        assert node is not None, f"{name} is down"
        return node

    def heads(self) -> set[bytes]:
        """The head hashes of all running peers."""
        return {peer.node.chain.head.hash for peer in self.peers.values() if peer.node is not None}
