"""A network of real `ChainNode`s in virtual time: seeded links, partitions, crashes, faulty machines, attackers.

A `World` is one chain and its peers. Several worlds may share a `VirtualTime`: then a peer of the same name in each is
one machine that hosts several chains, and carries what they say to each other. Same seed, same log hash. Start at
`_step`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Literal, TypeAlias

from consensus.engine import Engine
from consensus.pbft.engine import PbftEngine
from ledger.errors import GridmeritError, StoreReadOnly
from ledger.execution import Executor, run_block
from ledger.genesis import Genesis
from ledger.signatures import SigningKey, remember_signatures
from ledger.transaction import Transaction
from node.chain.events import (
    Acknowledge,
    Action,
    Broadcast,
    ClockSet,
    Compact,
    Event,
    ForwardRelay,
    MessageReceived,
    PeerConnected,
    PeerId,
    PeerLost,
    PenalisePeer,
    Persist,
    PersistSigningRecord,
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
from node.chain.node import ChainNode
from node.chain.progress import RESEAL
from node.chain.pruning import ALL, Keep
from node.chain.rule_sets import RULE_SETS, RuleSets
from node.chain.trusted_block import TrustedBlock
from simulation.attacks.policy import PolicyFactory
from simulation.world.links import Links, SimulatedNetwork, Uniform
from simulation.world.peer import Peer as Peer
from simulation.world.sealing import DrawnEngine, plan_seal
from simulation.world.shared_work import SharedEngine, SharedExecutor
from simulation.world.virtual_time import VirtualTime as VirtualTime
from simulation.world.wire import Wire, describe, receive_corrupted

Sealing: TypeAlias = Literal["real", "drawn"]
Observer: TypeAlias = Callable[[int, str, Event, Sequence[Action]], None]


def open_worlds(
    genesis: Genesis,
    keys: Mapping[str, SigningKey],
    *,
    seed: int = 0,
    links: Links | None = None,
    hash_rate: int | Mapping[str, int] = 1_000,
    sealing: Sealing = "real",
    policies: Mapping[str, PolicyFactory] | None = None,
    neighbours: Mapping[str, Sequence[str]] | None = None,
    pace_ms: Mapping[str, int] | None = None,
    kind: type[World] | None = None,
) -> dict[str, World]:
    """A world, of a `kind` of `World`, for every chain of a network, by name, all peers on all chains."""
    worlds: dict[str, World] = {}
    for chain in genesis.chains:
        worlds[chain.name] = (kind or World)(
            genesis.open(chain.name),
            keys,
            seed=seed,
            links=links,
            hash_rate=hash_rate,
            sealing=sealing,
            policies=policies,
            neighbours=neighbours,
            pace_ms=pace_ms,
            beside=next(iter(worlds.values()), None),
        )
    return worlds


class World:
    """Peers, links and the clock. `seed` decides every delay, loss and drawn seal; nothing else is random.

    With `sealing` "real" nonces are searched, and finding one takes virtual time by the peer's hash rate. With "drawn"
    that time is drawn instead: then a node renews its candidate just before it is sealed, and otherwise once per
    interval, for a search without memory loses nothing by starting anew. `neighbours` are those that each peer is
    connected to, by default all others. `pace_ms` holds back timers by name: a node's beats may come late. A world
    `beside` another shares its time, and the peers of both are the same machines. `keep` says which bodies peers keep
    that do not keep all; `rule_sets` are of peers whose release knows other rules than this one; `hurried` ones search
    faster than the chain's `interval_nonces` allow.
    """

    def __init__(
        self,
        genesis: Genesis,
        keys: Mapping[str, SigningKey],
        *,
        seed: int = 0,
        links: Links | None = None,
        latency_ms: tuple[int, int] = (5, 50),
        hash_rate: int | Mapping[str, int] = 1_000,
        sealing: Sealing = "real",
        policies: Mapping[str, PolicyFactory] | None = None,
        neighbours: Mapping[str, Sequence[str]] | None = None,
        pace_ms: Mapping[str, int] | None = None,
        beside: World | None = None,
        rule_sets: Mapping[str, RuleSets] | None = None,
        keep: Mapping[str, Keep] | None = None,
        hurried: Collection[str] = (),
    ) -> None:
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.seed = seed
        self.sealing: Sealing = sealing
        self.policies = dict(policies or {})
        self._rule_sets = dict(rule_sets or {})
        self._keep = dict(keep or {})
        self._hurried = frozenset(hurried)
        self._pace = genesis.params.consensus.nonces_per_s
        self.time: VirtualTime = VirtualTime(genesis.time_ms) if beside is None else beside.time
        self._worlds: dict[bytes, World] = {} if beside is None else beside._worlds
        self._worlds[self.chain_id] = self
        self.happenings: list[tuple[int, str, str]] = []  # what the script did: (ms, what, to which peer)
        self.peers = {
            name: Peer(name, key, _rate_of(hash_rate, name), self._seeded(f"sealing/{name}"))
            for name, key in keys.items()
        }
        self._by_id: dict[PeerId, Peer] = {key.public_key: self.peers[name] for name, key in keys.items()}
        self._neighbours = {
            name: tuple(
                self.peers[other] for other in (keys if neighbours is None else neighbours[name]) if other != name
            )
            for name in keys
        }
        self._random = Random(seed)
        self._wires = SimulatedNetwork(links or Links(latency=Uniform(*latency_ms)), self._random)
        self._carriage = Wire()
        self._engine, self._executor = self._make_shared()
        self._is_sparse = neighbours is not None
        self._pace_ms = dict(pace_ms or {})
        if sealing == "drawn" and genesis.params.consensus.engine == "poca":
            self._pace_ms.setdefault(RESEAL, genesis.params.consensus.block_interval_ms)
        self._watchers: list[Observer] = []
        for name in self.peers:
            self.start(name, is_sure=self._is_sparse)  # a peer with few neighbours cannot ask enough members

    def _seeded(self, purpose: str) -> Random:
        """A source of chance of its own: what one purpose draws shifts no other's draws."""
        return Random(f"{self.seed}/{self.genesis.params.name}/{purpose}")

    def _make_shared(self) -> tuple[Engine | None, Executor]:
        """Make what the peers have in common: with seals drawn, work that all would do alike."""
        if self.sealing == "real":
            return None, run_block
        remember_signatures()
        return SharedEngine(self._make_engine()), SharedExecutor()

    def _make_engine(self) -> Engine:
        """The engine where seals are drawn; an experiment may have another."""
        is_pbft = self.genesis.params.consensus.engine == "pbft"
        return PbftEngine(self.genesis) if is_pbft else DrawnEngine(self.genesis)

    # --- running ---------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return self.time.now_ms

    def run_for(self, duration_ms: int) -> None:
        """See `VirtualTime.run_for`."""
        self.time.run_for(duration_ms)

    def run_until(self, condition: Callable[[], bool], *, limit_ms: int) -> None:
        """See `VirtualTime.run_until`."""
        self.time.run_until(condition, limit_ms=limit_ms, seed=self.seed)

    def trace_hash(self) -> str:
        """SHA-256 over every event so far."""
        return self.time.log_hash()

    def watch(self, observer: Observer) -> None:
        """Call `observer(now_ms, peer, event, actions)` after each step of a peer, its actions performed."""
        self._watchers.append(observer)

    def at(self, time_ms: int, callback: Callable[[], object]) -> None:
        """Have a script's next lines happen at that time."""
        self.time.at(time_ms, callback)

    # --- events ----------------------------------------------------------------------------------

    def _happen(self, peer: Peer, life: int, event: Event, mark: bytes) -> None:
        """An event's time has come; nothing happens where the peer has crashed or changed its mind meanwhile."""
        if peer.life != life or peer.node is None:
            return
        if isinstance(event, TimerFired) and peer.timers.get(event.name) != self.now_ms:
            return
        if peer.condition.waiting or not peer.condition.can_act(self.now_ms):
            peer.condition.wait(event, mark)
            return
        self._step(peer, event, mark)

    def _step(self, peer: Peer, event: Event, mark: bytes | None = None) -> None:
        """One step of a peer and all that it wants done; where the disk takes nothing, all of it comes to nothing."""
        node, condition = peer.policy or peer.node, peer.condition
        assert node is not None
        self.time.log(b"%b %b %b" % (self.genesis.params.name.encode(), peer.name.encode(), mark or describe(event)))
        actions = node.step(event, self.now_ms + condition.began_ms)
        try:
            for action in actions:
                self._perform(peer, action)
        except StoreReadOnly as refusal:
            if isinstance(event, TransactionsSubmitted):
                peer.outcomes = (refusal,) * len(event.transactions)
            self._begin_anew(peer, refusal)
            return
        if condition.busy_until_ms > self.now_ms:
            self.time.at(condition.busy_until_ms, self._wake, peer, peer.life)
        for watcher in self._watchers:
            watcher(self.now_ms, peer.name, event, actions)

    def _wake(self, peer: Peer, life: int) -> None:
        """Let a peer take in what has waited for it."""
        condition = peer.condition
        while condition.waiting and peer.life == life and peer.node is not None and condition.can_act(self.now_ms):
            self._step(peer, *condition.waiting.popleft())

    def _schedule(self, at_ms: int, peer: Peer, event: Event) -> None:
        self.time.at(at_ms, self._happen, peer, peer.life, event, describe(event))

    # --- actions ---------------------------------------------------------------------------------

    def _perform(self, peer: Peer, action: Action) -> None:
        match action:
            case Persist(changes=changes):
                self._use_disk(peer)
                peer.store.write(changes)
            case PersistSigningRecord(record=record):
                self._use_disk(peer)
                peer.signing_record = record
            case Send(peer=receiver, message=message):
                self._deliver(peer, self._by_id[receiver], MessageReceived(peer=peer.key.public_key, message=message))
            case Broadcast(message=message, but=but):
                received = MessageReceived(peer=peer.key.public_key, message=message)
                for other in self._neighbours[peer.name]:
                    if other.key.public_key != but:
                        self._deliver(peer, other, received)
            case SetTimer(name=name, at_ms=at_ms):
                due_ms = max(at_ms - peer.condition.began_ms, self.now_ms + self._pace_ms.get(name, 1))
                peer.timers[name] = due_ms
                self._schedule(due_ms, peer, TimerFired(name=name))
            case StartSealing():
                self._start_search(peer, action)
            case StopSealing():
                self._start_search(peer, None)
            case PenalisePeer(peer=culprit, error=error):
                peer.faults.append((self._by_id[culprit].name, error))
            case Publish(event=event):
                peer.published.append(event)
            case Acknowledge(outcomes=outcomes):
                peer.outcomes = outcomes
            case Compact():
                pass  # a store in memory has no space to give back
            case ForwardRelay():
                self._hand_over(peer, action)

    def _use_disk(self, peer: Peer) -> None:
        """Raises `StoreReadOnly`."""
        condition = peer.condition
        condition.disk.check()
        if condition.disk.delay_ms:
            condition.busy_until_ms = max(condition.busy_until_ms, self.now_ms) + condition.disk.delay_ms

    def _deliver(self, sender: Peer, receiver: Peer, event: MessageReceived) -> None:
        leaves_ms = max(self.now_ms, sender.condition.busy_until_ms)
        size_of = partial(self._carriage.size_of, event.message)
        arrivals = self._wires.send(leaves_ms, sender.name, receiver.name, size_of)
        if not arrivals or receiver.node is None:
            return
        parcel = self._carriage.pack(event.message)
        received = MessageReceived(peer=event.peer, message=parcel.message)
        for at_ms, is_corrupt in arrivals:
            if is_corrupt:
                self.time.at(at_ms, self._refuse, sender, receiver, received)
            else:
                self.time.at(at_ms, self._happen, receiver, receiver.life, received, event.peer + parcel.digest)

    def _refuse(self, sender: Peer, receiver: Peer, event: MessageReceived) -> None:
        """Bring a damaged message to its receiver, whose decoder must refuse it."""
        error = receive_corrupted(
            event.message,
            sender=sender.key,
            receiver=receiver.key.public_key,
            chain_id=self.chain_id,
            random=self._random,
        )
        receiver.refused.append((sender.name, error))
        self.time.log(b"%b refused %b" % (receiver.name.encode(), error.code.encode()))

    def _hand_over(self, peer: Peer, action: ForwardRelay) -> None:
        """Hand over what one chain tells another on the same machine, where that one lacks it."""
        destination = self._worlds.get(action.chain_id)
        if destination is None or (here := destination.peers.get(peer.name)) is None or here.node is None:
            return
        if here.node.needs_relay(action.name):
            destination._schedule(self.now_ms, here, RelayOffered(raw=action.raw))

    # --- sealing ---------------------------------------------------------------------------------

    def _start_search(self, peer: Peer, job: StartSealing | None) -> None:
        """Search for `job` from now on, and for nothing else; for nothing at all without one."""
        peer.search = job
        peer.searches += 1
        if job is None or not peer.hash_rate:
            return
        hash_rate = peer.hash_rate if peer.name in self._hurried else min(peer.hash_rate, self._pace or peer.hash_rate)
        found = plan_seal(job, hash_rate=hash_rate, random=peer.random if self.sealing == "drawn" else None)
        if found is not None:
            begin_ms = max(self.now_ms, peer.condition.busy_until_ms)
            self.time.at(begin_ms + found.wait_ms, self._find_seal, peer, peer.life, peer.searches, found.nonce)

    def _find_seal(self, peer: Peer, life: int, number: int, nonce: int) -> None:
        """A seal's time has come. Where it was drawn, the candidate is renewed first."""
        if peer.life != life or peer.searches != number:
            return
        if self.sealing == "drawn" and peer.condition.can_act(self.now_ms):
            peer.timers[RESEAL] = self.now_ms
            self._happen(peer, life, TimerFired(name=RESEAL), b"renew")
        if peer.life == life and peer.search is not None:
            event = SealFound(job=peer.search.job, nonce=nonce)
            self._happen(peer, life, event, describe(event))

    # --- what a test or a scenario does ----------------------------------------------------------

    def start(
        self,
        name: str,
        *,
        anchor: TrustedBlock | None = None,
        is_sure: bool = False,
        snapshot_distance: int | None = None,
    ) -> None:
        """Start or restart a peer on its own store and guard. Attackers are always sure of what they sign."""
        peer = self.peers[name]
        assert peer.node is None, f"{name} is running"
        peer.condition.began_ms = peer.condition.skew_ms
        peer.snapshot_distance = snapshot_distance
        self._open_node(peer, anchor, is_sure=is_sure)
        self._tell("start", name)
        self._schedule(self.now_ms, peer, Started())
        for other in self._neighbours[name]:
            if other.node is not None and self.are_connected(name, other.name):
                self._connect(peer, other)

    def _open_node(self, peer: Peer, anchor: TrustedBlock | None, *, is_sure: bool) -> None:
        """A node that knows what is on the peer's disk."""
        name = peer.name
        peer.life += 1
        peer.timers.clear()
        peer.node = ChainNode(
            self.genesis,
            peer.store,
            key=peer.key,
            signing_record=peer.signing_record,
            anchor=anchor,
            is_sure=is_sure or name in self.policies,
            snapshot_distance=peer.snapshot_distance,
            keep=self._keep.get(name, ALL),
            engine=self._engine,
            executor=self._executor,
            rule_sets=self.rule_sets_of(name),
        )
        if name in self.policies:
            peer.policy = self.policies[name](peer.node, self._seeded(f"policy/{name}/{peer.life}"))

    def _begin_anew(self, peer: Peer, refusal: StoreReadOnly | None) -> None:
        """Go on as a driver does whose disk takes nothing, or something again: from what is on it."""
        assert peer.node is not None
        connected, anchor, is_sure = peer.node.peers, peer.node.trusted_branch.anchor, self._is_sparse
        self._open_node(peer, anchor, is_sure=is_sure)
        peer.condition.waiting.clear()
        peer.condition.busy_until_ms = 0
        self._start_search(peer, None)
        self._schedule(self.now_ms, peer, Started(refusal=refusal))
        for other in connected:
            self._schedule(self.now_ms, peer, PeerConnected(peer=other))

    def rule_sets_of(self, name: str) -> RuleSets:
        """The versions of the rules that a peer's release knows."""
        return self._rule_sets.get(name, RULE_SETS)

    def install(self, name: str, rule_sets: RuleSets) -> None:
        """Give a peer that is down another release."""
        assert self.peers[name].node is None, f"{name} is running"
        self._rule_sets[name] = rule_sets

    def crash(self, name: str) -> None:
        """End a peer at once; what it had persisted stays."""
        peer = self.peers[name]
        peer.node = peer.policy = peer.search = None
        peer.condition.clear()
        self._tell("crash", name)
        for other in self._neighbours[name]:
            if other.node is not None:
                self._schedule(self.now_ms, other, PeerLost(peer=peer.key.public_key))

    def pause(self, name: str) -> None:
        """Halt a peer, as a signal does to a process; what comes waits for it, and it seals nothing."""
        self.peers[name].condition.is_paused = True
        self.peers[name].searches += 1
        self._tell("pause", name)

    def resume(self, name: str) -> None:
        peer = self.peers[name]
        peer.condition.is_paused = False
        self._tell("resume", name)
        if peer.node is not None:
            self._start_search(peer, peer.search)
            self._wake(peer, peer.life)

    def set_skew(self, name: str, skew_ms: int) -> None:
        """From now on a peer's wall clock is ahead of virtual time by that, behind where it is negative."""
        peer = self.peers[name]
        is_set = skew_ms != peer.condition.skew_ms
        peer.condition.skew_ms = skew_ms
        self._tell("skew", f"{name} {skew_ms}")
        if is_set and peer.node is not None:
            self._schedule(self.now_ms, peer, ClockSet(ahead_ms=skew_ms - peer.condition.began_ms))

    def set_disk(self, name: str, *, delay_ms: int = 0, full: bool = False) -> None:
        """From now on each write of a peer takes that long; with `full` none is taken, and it only reads."""
        peer = self.peers[name]
        disk = peer.condition.disk
        disk.delay_ms, disk.is_full = delay_ms, full
        self._tell("disk", f"{name} {delay_ms} {'full' if full else ''}".strip())
        if not full and peer.node is not None and peer.node.refusal is not None:
            self._begin_anew(peer, None)

    def partition(self, *groups: Iterable[str]) -> None:
        """Cut every link between peers of different groups; a peer in no group stands alone."""
        sets = [sorted(group) for group in groups]
        self._wires.partition(self.peers, sets)
        self._tell("cut", " | ".join(" ".join(names) for names in sets))

    def cut(self, sender: str, receiver: str, *, one_way: bool = False) -> None:
        """Cut one link; `one_way`: what the second says still comes to the first."""
        self._wires.cut(sender, receiver, one_way=one_way)
        self._tell("cut", f"{sender} {'->' if one_way else '-'} {receiver}")

    def heal(self) -> None:
        """Restore every link."""
        self._wires.heal()
        self._tell("heal", "")
        for peer in self.peers.values():
            for other in self._neighbours[peer.name]:
                if peer.name < other.name and peer.node is not None and other.node is not None:
                    self._connect(peer, other)

    def are_connected(self, one: str, other: str) -> bool:
        """Return True if messages pass both ways."""
        return self._wires.carries(one, other) and self._wires.carries(other, one)

    def _connect(self, one: Peer, other: Peer) -> None:
        self._schedule(self.now_ms, one, PeerConnected(peer=other.key.public_key))
        self._schedule(self.now_ms, other, PeerConnected(peer=one.key.public_key))

    def _tell(self, what: str, detail: str) -> None:
        self.happenings.append((self.now_ms, what, detail))
        self.time.log(f"{self.genesis.params.name} {what} {detail}".encode())

    def submit(self, name: str, *transactions: Transaction) -> tuple[GridmeritError | None, ...]:
        """Hand transactions to a peer as a client would; what it answers."""
        peer = self.peers[name]
        self._step(peer, TransactionsSubmitted(transactions=transactions))
        return peer.outcomes

    def inject(self, name: str, sender: PeerId, event_message: object) -> None:
        """Let a peer receive a message right now, as if `sender` had sent it."""
        self._step(self.peers[name], MessageReceived(peer=sender, message=event_message))  # type: ignore[arg-type]

    def is_up(self, name: str) -> bool:
        """Return True if a peer would answer a client now."""
        peer = self.peers[name]
        return peer.node is not None and peer.condition.can_act(self.now_ms) and not peer.condition.waiting

    def node(self, name: str) -> ChainNode:
        node = self.peers[name].node
        assert node is not None, f"{name} is down"
        return node

    def heads(self) -> set[bytes]:
        """The head hashes of all running peers."""
        return {peer.node.chain.head.hash for peer in self.peers.values() if peer.node is not None}


def _rate_of(hash_rate: int | Mapping[str, int], name: str) -> int:
    return hash_rate if isinstance(hash_rate, int) else hash_rate.get(name, 0)
