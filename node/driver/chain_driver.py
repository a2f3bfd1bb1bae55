"""One chain on one node: events in, one step at a time, and its actions performed strictly in order.

A step is taken, and written to disk, in the chain's own thread; whatever it does outside, in the event loop's, which no
step keeps waiting. Nothing goes on as if what could not be written had been: the chain ends, or, where the disk takes
nothing for now, begins anew from what is on it, to answer questions alone until there is room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar, assert_never

from consensus.relays import RelayName
from ledger.errors import GridmeritError, StoreReadOnly
from ledger.genesis import Genesis
from ledger.mempool import MempoolLimits
from ledger.signatures import SigningKey
from ledger.transaction import Transaction
from node.chain.acknowledgements import EXECUTABLE_AGAIN, NOT_EXECUTED
from node.chain.catching_up import BODIES_MISSING, STEP_BYTES
from node.chain.events import (
    Acknowledge,
    Action,
    Broadcast,
    ClockSet,
    Compact,
    Event,
    ForwardRelay,
    HoldsRead,
    MessageReceived,
    PeerConnected,
    PeerId,
    PenalisePeer,
    Persist,
    PersistSigningRecord,
    Publish,
    Send,
    SetTimer,
    Started,
    StartSealing,
    StopSealing,
    TimerFired,
)
from node.chain.lower_headers import WORK_DIFFERS
from node.chain.messages import Message, split_blocks
from node.chain.missing_votes import VOTES_MISSING
from node.chain.node import ChainNode
from node.chain.pruning import ALL, PRUNE, Keep
from node.chain.release_watch import CHAIN_HALTED, RELEASE_NEEDED
from node.chain.snapshot_join import BEGUN, ENDED, TAKEN
from node.chain.trusted_block import TrustedBlock
from node.driver.chain_disk import ChainDisk
from node.driver.chain_thread import ChainThread
from node.driver.event_queue import MAX_GROUP, Inbox, Submission
from node.driver.holds import read_holds
from node.driver.outages import REMEDIES
from node.driver.scrub import PERIOD_MS, Scrub
from node.driver.subscribers import Subscribers, Subscription
from node.driver.write_times import WriteTimes
from node.errors import BadHold, NodeStopping, NotDisposable
from node.peer.active_members import FinalMembers
from node.queries.answers import DiskStatus
from node.queries.chain import describe_event
from node.system.clock import ChainClock, thread_cpu_ns
from node.system.logs import get_logger, log_event

T = TypeVar("T")
_MAX_MESSAGES = 32  # of peers in one call of the chain's thread, as far as
_MAX_WORK_US = 2_000  # go: a call costs more than a small message
_DISK, _DISK_MS = "disk", 1_000  # between two tries to write again
_SCRUB = "scrub"
_TURN_S = 0.005  # how long a step's actions keep the event loop before all else has its turn
_LEVELS = {
    **dict.fromkeys((NOT_EXECUTED, "signing-record-behind", "equivocation", "finality-conflict"), logging.WARNING),
    **dict.fromkeys(("void", VOTES_MISSING, "unmetered", "result-differs", "result-conflict"), logging.WARNING),
    **dict.fromkeys(("block-refused", "late-block", "reorg", "certificate", EXECUTABLE_AGAIN), logging.INFO),
    **dict.fromkeys(("result-elsewhere", "upgrade", BEGUN, TAKEN, ENDED), logging.INFO),
    WORK_DIFFERS: logging.WARNING,
    **dict.fromkeys((RELEASE_NEEDED, CHAIN_HALTED), logging.ERROR),
    **dict.fromkeys((BODIES_MISSING,), logging.WARNING),
    **dict.fromkeys(("signing-restored", "signing-waits", "signing-read-only", "signing-signs"), logging.INFO),
}  # of events in the log; others are there for debugging


class DriverPort(Protocol):
    """A chain's access to all beyond itself; the runtime provides it."""

    def send(self, chain: ChainDriver, peer: PeerId, message: Message) -> None: ...
    def broadcast(self, chain: ChainDriver, message: Message, but: PeerId | None) -> None: ...
    def penalise(self, chain: ChainDriver, peer: PeerId, error: GridmeritError) -> None: ...
    def start_job(self, chain: str, *, job: int, root: bytes, target: int, nonces_per_s: int) -> None: ...
    def stop_job(self, chain: str) -> None: ...
    def deliver(self, message: ForwardRelay) -> None: ...


class Steppable(Protocol):
    """The machine that a host drives: a `ChainNode`, or an attacker round one."""

    def step(self, event: Event, now_ms: int) -> list[Action]: ...


@dataclass(slots=True)
class _Work:
    """The outcome of some events in one call: actions that are still to be performed, and what was left for another."""

    actions: list[Action] = field(default_factory=list)
    spent_us: list[tuple[PeerId, int]] = field(default_factory=list)
    total_us: int = 0
    left: list[MessageReceived] = field(default_factory=list)


Policy: TypeAlias = Callable[[ChainNode], Steppable]


class ChainDriver:
    """A chain's directory, its `ChainNode` and the worker that drives it.

    The node belongs to the chain's thread: others `ask`. What may be looked at from the event loop at any time are
    `members`, and what is replaced as a whole: the head, whose state never changes, the final hash, what a peer last
    said of itself, a relay that waits. On a disposable network, and there alone, a `policy` may be wrapped round the
    node: an attack.
    """

    def __init__(
        self,
        genesis: Genesis,
        directory: Path,
        *,
        key: SigningKey | None,
        outside: DriverPort,
        mempool_limits: MempoolLimits,
        subscribers: Subscribers,
        anchor: TrustedBlock | None = None,
        is_sure: bool = False,
        snapshot_distance: int | None = None,
        keep: Keep = ALL,
        policy: Policy | None = None,
    ) -> None:
        """Open the chain. Raises `BadParameters`, `NotDisposable` and the `StoreError` family."""
        self.name = genesis.params.name
        if policy is not None and not genesis.disposable:
            raise NotDisposable(chain=self.name)
        self.chain_id = genesis.chain_id
        self._outside = outside
        self._log = get_logger(self.name)
        self._subscribers = subscribers
        self._inbox = Inbox()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._clock = ChainClock()
        self._stopping = False
        self._is_closed = False
        self._directory = directory
        self._write_times = WriteTimes(self._log)
        self._disk = ChainDisk(directory, self.chain_id, self._write_times)
        self._scrub = Scrub()
        self._chores = {_DISK: self._look_for_room, _SCRUB: self._read_on}
        self._policy = policy
        self._make_node = partial(
            ChainNode,
            genesis,
            key=key,
            limits=mempool_limits,
            anchor=anchor,
            is_sure=is_sure or policy is not None,
            snapshot_distance=snapshot_distance,
            keep=keep,
        )
        try:
            self._open_node()
            self.members = FinalMembers(self.node)
        except BaseException:
            self._disk.close()
            raise
        self._thread = ChainThread(self.name)

    # --- from outside ----------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Hand over an event of the node's own; from the event loop's thread."""
        if not self._stopping:
            self._inbox.put_event(event)

    def receive(self, peer: PeerId, messages: tuple[Message, ...], size_bytes: int) -> None:
        """Hand over a peer's batch; many blocks in it are as many messages. Raises `InboxFull` or `NodeStopping`."""
        if self._stopping:
            raise NodeStopping
        parts = [part for message in messages for part in split_blocks(message, STEP_BYTES)]
        self._inbox.put_batch(peer, tuple(parts), size_bytes)

    def offer_relay(self, raw: bytes) -> None:
        """Hand over a relay from another chain, from any sender. Raises `InboxFull` or `NodeStopping`."""
        if self._stopping:
            raise NodeStopping
        self._inbox.put_relay(raw)

    def take_relay(self, name: RelayName, raw: bytes) -> None:
        """Hand over what another chain of this node says, where this one lacks it. Raises as `offer_relay` does."""
        if self._stopping:
            raise NodeStopping
        if self.node.needs_relay(name):
            self._inbox.put_relay(raw, name)

    def forget(self, peer: PeerId) -> None:
        """Drop what waits from a peer."""
        self._inbox.drop_peer(peer)

    async def ask(self, question: Callable[[ChainNode], T]) -> T:
        """Ask the node between two steps, of what is on disk alone. The question must change nothing.

        Raises as the question does, or `NodeStopping`.
        """
        return await self._thread.read(lambda: question(self.node))

    async def submit(self, transactions: list[Transaction]) -> tuple[GridmeritError | None, ...]:
        """A client's transactions: None for each that is accepted and on disk, else why not, in their order.

        Raises `InboxFull` or `NodeStopping`; what was said of earlier transactions then holds all the same.
        """
        outcomes: list[GridmeritError | None] = []
        for start in range(0, len(transactions), MAX_GROUP):
            if self._stopping:
                raise NodeStopping
            submission = Submission(
                transactions=tuple(transactions[start : start + MAX_GROUP]),
                outcomes=asyncio.get_running_loop().create_future(),
            )
            self._inbox.put_submission(submission)
            outcomes += await submission.outcomes
        return tuple(outcomes)

    def subscribe(self) -> Subscription:
        """Events as they are committed. Raises `TooManySubscribers`."""
        return self._subscribers.add()

    def end_subscriptions(self) -> None:
        """Tell every reader that there is no more to come."""
        self._subscribers.close()

    def disk_view(self) -> DiskStatus:
        """The state of the disk; from any thread."""
        scrub, writes = self._scrub, self._write_times.describe()
        return DiskStatus(chain=self.name, writes=writes, passes=scrub.passes, damage=scrub.damage)

    # --- the worker ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Step and perform until stopped. A `StoreError` is fatal for the chain, all else for the node."""
        before, version = self.node.chain.versions
        if before < version:
            log_event(self._log, logging.INFO, "store-migrated", of=before, to=version)
        log_event(self._log, logging.INFO, "chain-opened", **self._describe_head())
        event: Event = Started(refusal=self._disk.refusal)  # before anything that others have sent meanwhile
        submissions: list[Submission] = []
        try:
            self._set_timer(_SCRUB, self._clock.now_ms() + PERIOD_MS)
            if self._disk.refusal is not None:
                self._wait_for_room(self._disk.refusal)
            while not self._stopping:
                async with self._thread.settled:
                    await self._handle(event, submissions)
                event, submissions = await self._inbox.take()
        finally:
            self._refuse_waiting()

    async def stop(self) -> None:
        """Finish the step at work, take no further one, and close the store."""
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()
        async with self._thread.settled:
            self._refuse_waiting()
            self.end_subscriptions()
            self.close()

    def close(self) -> None:
        """Let go of the directory."""
        if not self._is_closed:
            self._is_closed = True
            self._outside.stop_job(self.name)
            self._thread.close()
            self._disk.close()
            log_event(self._log, logging.INFO, "chain-closed", **self._describe_head())

    def _refuse_waiting(self) -> None:
        self._stopping = True
        for submission in self._inbox.close():
            _refuse(submission, NodeStopping())

    async def _handle(self, event: Event, submissions: list[Submission]) -> None:
        if self._stopping or (isinstance(event, TimerFired) and event.name in self._timers):
            return  # in the second case it has been set anew since it fired
        try:
            if isinstance(event, TimerFired) and event.name in self._chores:
                await self._chores[event.name]()
            else:
                await self._take(event, submissions)
        except StoreReadOnly as refusal:
            for submission in submissions:
                _refuse(submission, refusal)
            await self._turn_to_reading(refusal)
        except BaseException:
            self._stopping = True
            raise
        finally:
            for submission in submissions:
                _refuse(submission, NodeStopping())

    async def _take(self, event: Event, submissions: list[Submission]) -> None:
        events: list[Event] = [event]
        if isinstance(event, MessageReceived):
            events += self._inbox.take_messages(_MAX_MESSAGES - 1)
        if not isinstance(event, Started) and (ahead_ms := self._clock.find_step()) is not None:
            events.insert(0, ClockSet(ahead_ms=ahead_ms))
        if isinstance(event, TimerFired) and event.name == PRUNE:
            events.insert(0, HoldsRead(held_from=self._read_holds()))
        work = await self._thread.run(lambda: self._step(events))
        self._inbox.put_back(work.left)
        for peer, spent_us in work.spent_us:
            self._inbox.charge(peer, spent_us)
        await self._perform_all(work.actions, submissions)

    def _step(self, events: list[Event]) -> _Work:
        """In the chain's thread: steps and all their writes, as far as the first few milliseconds go."""
        work = _Work()
        for event in events:
            if work.total_us > _MAX_WORK_US and isinstance(event, MessageReceived):
                work.left.append(event)
                continue
            started_ns = thread_cpu_ns()
            work.actions += self._write(self._core.step(event, self._clock.now_ms()))
            spent_us = (thread_cpu_ns() - started_ns) // 1_000
            work.total_us += spent_us
            if isinstance(event, MessageReceived):
                work.spent_us.append((event.peer, spent_us))
        self.members.refresh()
        return work

    def _write(self, actions: Iterable[Action]) -> list[Action]:
        """Write what is to be written, in its order: sooner than asked for does no harm. The other actions."""
        others: list[Action] = []
        for action in join_writes(actions):
            match action:
                case Persist(changes=changes):
                    self._disk.write(changes)
                case PersistSigningRecord(record=record):
                    self._disk.write_record(record)
                case _:
                    others.append(action)
        return others

    # --- a disk that takes nothing ---------------------------------------------------------------

    async def _turn_to_reading(self, refusal: StoreReadOnly) -> None:
        """Forget the step whose writes the disk has not taken, none of which has left this machine, and only read."""
        self._outside.stop_job(self.name)
        self._wait_for_room(refusal)
        await self._begin_anew(lambda: self._disk.turn_to_reading(refusal))

    async def _look_for_room(self) -> None:
        """Go on as after a start where the disk takes something again."""
        if not await self._thread.run(self._disk.try_to_write_again):
            self._set_timer(_DISK, self._clock.now_ms() + _DISK_MS)
            return
        log_event(self._log, logging.WARNING, "disk-takes-writes", **self._describe_head())
        await self._begin_anew(lambda: None)

    def _wait_for_room(self, refusal: StoreReadOnly) -> None:
        fields = {
            "detail": str(refusal),
            "path": self._directory,
            "remedy": REMEDIES[refusal.code].format(path=self._directory),
        }
        log_event(self._log, logging.CRITICAL, "disk-takes-nothing", **fields)
        self._set_timer(_DISK, self._clock.now_ms() + _DISK_MS)

    async def _read_on(self) -> None:
        """Read the next rows of the store for their checksums, and tell a damage that nothing has stumbled upon."""
        damage = await self._thread.run(lambda: self._scrub.read_slice(self._disk.store))
        if damage is not None:
            remedy = REMEDIES["StoreCorrupt"].format(chain=self.name, path=self._directory)
            fields = {"detail": str(damage), "path": self._directory, "remedy": remedy}
            log_event(self._log, logging.ERROR, "store-damaged", **fields)
        self._set_timer(_SCRUB, self._clock.now_ms() + PERIOD_MS)

    async def _begin_anew(self, turn: Callable[[], None]) -> None:
        """Drive a node that knows what is on disk, and nothing else but its peers."""

        def begin() -> _Work:
            turn()
            events: list[Event] = [Started(refusal=self._disk.refusal)]
            events += [PeerConnected(peer=peer) for peer in self.node.peers]
            self._open_node()
            self.members.turn_to(self.node)
            return self._step(events)

        for name in self._timers.keys() - self._chores.keys():
            self._timers.pop(name).cancel()
        work = await self._thread.run(begin)
        await self._perform_all(work.actions, [])

    def _open_node(self) -> None:
        """A node that knows what is on disk. Raises `BadParameters` and the `StoreError` family."""
        disk = self._disk
        self.node: ChainNode = self._make_node(store=disk.store, signing_record=disk.record)
        self._core: Steppable = self.node if self._policy is None else self._policy(self.node)

    # --- actions ---------------------------------------------------------------------------------

    async def _perform_all(self, actions: list[Action], submissions: list[Submission]) -> None:
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        for action in actions:
            self._perform(action, submissions)
            if loop.time() - since_s > _TURN_S:
                await asyncio.sleep(0)
                since_s = loop.time()

    def _perform(self, action: Action, submissions: list[Submission]) -> None:
        match action:
            case Send(peer=peer, message=message):
                self._outside.send(self, peer, message)
            case Broadcast(message=message, but=but):
                self._outside.broadcast(self, message, but)
            case SetTimer(name=name, at_ms=at_ms):
                self._set_timer(name, at_ms)
            case StartSealing(job=job, root=root, target=target):
                pace = self.node.params.consensus.nonces_per_s
                self._outside.start_job(self.name, job=job, root=root, target=target, nonces_per_s=pace)
            case StopSealing():
                self._outside.stop_job(self.name)
            case PenalisePeer(peer=peer, error=error):
                self._outside.penalise(self, peer, error)
            case Acknowledge(outcomes=outcomes):
                _answer(submissions, outcomes)
            case Publish(event=event):
                level = _LEVELS.get(str(event[0]), logging.DEBUG)
                if self._log.isEnabledFor(level):
                    told = describe_event(event, self.node.params.market)
                    log_event(self._log, level, str(told.pop("event")), **told)
                self._subscribers.publish(event)
            case ForwardRelay():
                self._outside.deliver(action)
            case Compact(ranges=ranges):
                self._disk.compact(ranges)
            case Persist() | PersistSigningRecord():
                raise AssertionError("a step's writes are done before its other actions")
            case _:
                assert_never(action)

    def _read_holds(self) -> int | None:
        """The lowest height that a companion holds; all of them where it cannot be told."""
        try:
            return min(read_holds(self._directory).values(), default=None)
        except BadHold as error:
            log_event(self._log, logging.WARNING, "hold-unreadable", detail=str(error))
            return 0

    def _set_timer(self, name: str, at_ms: int) -> None:
        if (old := self._timers.pop(name, None)) is not None:
            old.cancel()
        delay_s = max(0, at_ms - self._clock.now_ms()) / 1_000
        self._timers[name] = asyncio.get_running_loop().call_later(delay_s, self._on_timer, name)

    def _on_timer(self, name: str) -> None:
        del self._timers[name]
        self.post(TimerFired(name=name))

    def _describe_head(self) -> dict[str, object]:
        head = self.node.chain.head
        return {"height": head.height, "head": head.hash, "state_root": head.state.root}


def join_writes(actions: Iterable[Action]) -> list[Action]:
    """The same with fewer writes: a batch takes along those that follow it, as far as no vote is recorded between them.

    What is on disk sooner than asked for does no harm; what was to wait for it still does.
    """
    joined: list[Action] = []
    rows: list[tuple[bytes, bytes | None]] | None = None
    for action in actions:
        match action:
            case Persist(changes=changes):
                if rows is None:
                    rows = []
                    joined.append(Persist(changes=rows))
                rows += changes
                continue
            case PersistSigningRecord():
                rows = None
        joined.append(action)
    return joined


def _answer(submissions: list[Submission], outcomes: tuple[GridmeritError | None, ...]) -> None:
    start = 0
    for submission in submissions:
        end = start + len(submission.transactions)
        if not submission.outcomes.done():
            submission.outcomes.set_result(outcomes[start:end])
        start = end


def _refuse(submission: Submission, error: GridmeritError) -> None:
    if not submission.outcomes.done():
        submission.outcomes.set_exception(error)
