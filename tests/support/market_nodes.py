"""A small market on real chain nodes under virtual time, and its nodes behind a real API on 127.0.0.1."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest
from aiohttp import web

from consensus.seal import search
from ledger.errors import GridmeritError
from ledger.genesis import Genesis, GenesisMember
from ledger.params import ChainParams, ConsensusParams, LedgerParams, MarketParams
from ledger.store import MemoryStore
from ledger.transaction import Transaction, make_transaction
from market.orders import Side
from market.trading.contract import TradeIntention
from node.api.server import build_api
from node.chain.events import (
    Acknowledge,
    Action,
    Broadcast,
    Event,
    MessageReceived,
    Persist,
    Publish,
    RelayOffered,
    SealFound,
    Send,
    Started,
    StartSealing,
    TimerFired,
    TransactionsSubmitted,
)
from node.chain.node import ChainNode
from node.chain.progress import RESEAL
from node.config import ChainConfig, Limits, ListenAddress, NodeConfig
from node.driver.outages import Outage
from node.driver.subscribers import Subscribers, Subscription
from node.peer.peer_clocks import ClockView
from node.queries.answers import DiskStatus
from tests.support.keys import key_of

T = TypeVar("T")
CHAIN = "jy1"
GENESIS_MS = 1_700_000_000_000
PERIOD_MS, INTERVAL_MS = 2_000, 200
PERIOD = 4  # the delivery period that the story trades in
CAPACITY_WH = 50_000


@cache
def make_genesis(
    sealers: int, chain: str = CHAIN, market: MarketParams | None = None, has_credit_chain: bool = False
) -> Genesis:
    """A network's genesis of one chain; with a credit chain "lh1" beside it, or of that one by its name."""

    def member(name: str, role: str, **fields: object) -> GenesisMember:
        return GenesisMember(name=name, role=role, key=key_of(name).public_key, **fields)  # type: ignore[arg-type]

    trader = {"balance_uyuan": 100_000_000, "capacity_wh": CAPACITY_WH, "position": "feeder-1"}
    consensus = ConsensusParams(
        n_diff_initial=2**240,
        n_diff_max=2**241,
        block_interval_ms=INTERVAL_MS,
        max_ahead_ms=1_000,
        checkpoint_depth=1,
    )
    params = ChainParams(
        name=CHAIN if has_credit_chain else chain,
        ledger=LedgerParams(period_ms=PERIOD_MS),
        consensus=consensus,
        market=market or MarketParams(),
    )
    credit = params.model_copy(update={"name": "lh1", "kind": "credit"})
    genesis = Genesis(
        params=params,
        siblings=(credit,) if has_credit_chain else (),
        time_ms=GENESIS_MS,
        members=(
            member("grid", "grid-operator", seals=True),
            *(member(f"dispatch-{index}", "dispatcher", seals=True) for index in range(1, sealers)),
            member("pv-101", "producer", **trader),
            member("homes-2", "consumer", **trader),
            member("meter-pv-101", "device", owner="pv-101"),
            member("meter-homes-2", "device", owner="homes-2"),
            *([member("bank", "bank")] if params.market.economy else []),
        ),
    )
    return genesis.open(chain)


class World:
    """Chain nodes that hear each other at once. They seal in turn, one block per interval of virtual time."""

    def __init__(
        self,
        sealers: int = 1,
        chain: str = CHAIN,
        market: MarketParams | None = None,
        *,
        has_credit_chain: bool = False,
    ) -> None:
        self.genesis = make_genesis(sealers, chain, market, has_credit_chain)
        self.now_ms = GENESIS_MS
        names = [member.name for member in self.genesis.members if member.seals]
        self.keys = {name: key_of(name) for name in names}
        self.stores = {name: MemoryStore() for name in names}
        self.nodes = {
            name: ChainNode(self.genesis, self.stores[name], key=self.keys[name], is_sure=True) for name in names
        }
        self.jobs: dict[str, StartSealing] = {}
        self.sequences: dict[str, int] = {}
        self._silent: set[str] = set()
        self.on_publish: list[Callable[[tuple[object, ...]], None]] = []
        self._answer: tuple[GridmeritError | None, ...] = ()
        for name in names:
            self.step(name, Started())

    @property
    def first(self) -> str:
        return next(iter(self.nodes))

    @property
    def node(self) -> ChainNode:
        return self.nodes[self.first]

    # --- driving -------------------------------------------------------------------------------------

    def step(self, name: str, event: Event) -> None:
        """One event, and everything that follows from it at this instant, on every node."""
        waiting = deque([(name, event)])
        while waiting:
            target, current = waiting.popleft()
            for action in self.nodes[target].step(current, self.now_ms):
                waiting.extend(self._perform(target, action))

    def _perform(self, name: str, action: Action) -> list[tuple[str, Event]]:
        match action:
            case Persist(changes=changes):
                self.stores[name].write(changes)
            case StartSealing():
                self.jobs[name] = action
            case Acknowledge(outcomes=outcomes):
                self._answer = outcomes
            case Publish(event=event) if name == self.first:
                for listener in self.on_publish:
                    listener(event)
            case Send() | Broadcast() if name in self._silent:
                pass
            case Send(peer=peer, message=message):
                received = MessageReceived(peer=self.keys[name].public_key, message=message)
                return [(other, received) for other, key in self.keys.items() if key.public_key == peer]
            case Broadcast(message=message):
                received = MessageReceived(peer=self.keys[name].public_key, message=message)
                return [(other, received) for other in self.nodes if other != name]
        return []

    def silence(self, *names: str) -> None:
        """From now on these nodes hear, but neither speak nor seal."""
        self._silent.update(names)

    def make_block(self, sealer: str = "") -> None:
        """Let an interval pass, at the end of which the next node in turn, or that one, seals a block."""
        self.now_ms += INTERVAL_MS
        names = [name for name in self.nodes if name not in self._silent]
        name = sealer or names[self.node.chain.head.height % len(names)]
        self.step(name, TimerFired(name=RESEAL))
        job = self.jobs[name]
        nonce = search(job.root, job.target, count=1_000_000)
        assert nonce is not None
        self.step(name, SealFound(job=job.job, nonce=nonce))

    def run_until(self, period: int, ppm: int = 0) -> None:
        """Make blocks until so far into a period."""
        end_ms = GENESIS_MS + period * PERIOD_MS + ppm * PERIOD_MS // 1_000_000
        while self.now_ms < end_ms:
            self.make_block()

    # --- transactions --------------------------------------------------------------------------------

    def submit(self, transactions: list[Transaction]) -> tuple[GridmeritError | None, ...]:
        self.step(self.first, TransactionsSubmitted(transactions=tuple(transactions)))
        return self._answer

    def make(self, sender: str, kind: str, *payload: object) -> Transaction:
        sequence = self.sequences.get(sender, 0)
        self.sequences[sender] = sequence + 1
        return make_transaction(
            key_of(sender),
            chain_id=self.genesis.chain_id,
            sequence=sequence,
            expiry_height=self.node.chain.head.height + 100,
            kind=kind,
            payload=payload,  # type: ignore[arg-type]
        )

    def send(self, sender: str, kind: str, *payload: object) -> Transaction:
        transaction = self.make(sender, kind, *payload)
        assert self.submit([transaction]) == (None,)
        return transaction

    def supersede(self) -> tuple[Transaction, Transaction]:
        """A payment that the first node has acknowledged, and the second's with its sequence, which a block holds."""
        first, second, *_ = self.nodes
        self.silence(first)
        mine = self.send("pv-101", "transfer", key_of("homes-2").address, 5)
        self.sequences["pv-101"] = mine.sequence
        theirs = self.make("pv-101", "transfer", key_of("homes-2").address, 6)
        self.step(second, TransactionsSubmitted(transactions=(theirs,)))
        self._silent.clear()
        self.make_block(second)
        return mine, theirs

    def order(self, sender: str, side: Side, *, price: int, volume: int, period: int = PERIOD) -> Transaction:
        intention = TradeIntention(side, period, price, volume)
        return self.send(sender, "intention", *intention.to_payload())


def tell_story(
    sealers: int, market: MarketParams | None = None, *, has_credit_chain: bool = False
) -> tuple[World, dict[str, Transaction]]:
    """From genesis until period 4 is settled: two trades, one refused transfer, deliveries a little short."""
    world, said = World(sealers, market=market, has_credit_chain=has_credit_chain), {}
    world.run_until(PERIOD - 3)
    said["offer"] = world.order("pv-101", Side.OFFER, price=500_000, volume=10_000)
    world.order("pv-101", Side.OFFER, price=510_000, volume=5_000)
    said["bid"] = world.order("homes-2", Side.BID, price=525_000, volume=12_000)
    world.make_block()
    world.send("pv-101", "transfer", key_of("homes-2").address, 60_000_000)
    world.make_block()
    said["refused"] = world.make("pv-101", "transfer", key_of("homes-2").address, 60_000_000)
    world.node.mempool.add(said["refused"], next_sequence=said["refused"].sequence)  # past the door: refused in a block
    world.run_until(PERIOD + 1)
    world.send("meter-pv-101", "reading", PERIOD, 0, 11_000)
    world.send("meter-homes-2", "reading", PERIOD, 12_500, 0)
    world.run_until(PERIOD + 2, 300_000)
    return world, said


# --- behind an API -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PeerRow:
    name: str
    key: bytes
    connected: bool


@dataclass(frozen=True)
class SealingRow:
    native: bool
    path: str
    rate_per_s: int


class MemoryHost:
    """A world's first node as the API sees a hosted chain."""

    def __init__(self, world: World, limits: Limits) -> None:
        self.world = world
        self.name = world.genesis.params.name
        self.node = world.node
        self._subscribers = Subscribers(max_subscribers=limits.api_subscribers, max_bytes=limits.event_backlog_bytes)
        world.on_publish.append(self._subscribers.publish)

    async def ask(self, question: Callable[[ChainNode], T]) -> T:
        return question(self.node)

    async def submit(self, transactions: list[Transaction]) -> tuple[GridmeritError | None, ...]:
        return self.world.submit(transactions)

    def offer_relay(self, raw: bytes) -> None:
        self.world.step(self.world.first, RelayOffered(raw=raw))

    def subscribe(self) -> Subscription:
        return self._subscribers.add()

    def close(self) -> None:
        self._subscribers.close()


class PromptHost(MemoryHost):
    """One whose world makes a block of whatever comes."""

    async def submit(self, transactions: list[Transaction]) -> tuple[GridmeritError | None, ...]:
        outcomes = await super().submit(transactions)
        self.world.make_block()
        return outcomes


class MemoryRuntime:
    """Worlds, one per chain, as the API sees a node."""

    def __init__(self, *worlds: World, **limits: int) -> None:
        self.config = NodeConfig(
            data_dir=Path("unused"),
            peer_listen=ListenAddress("127.0.0.1", 0),
            api_listen=ListenAddress("127.0.0.1", 0),
            chains=(ChainConfig(genesis=Path("unused")),),
            limits=Limits(**limits),
        )
        self.chains = {world.genesis.params.name: MemoryHost(world, self.config.limits) for world in worlds}
        self.outages: dict[str, Outage] = {}
        self.member = worlds[0].first
        self.address = key_of(self.member).address
        self.clock = lambda: worlds[0].now_ms

    @property
    def uptime_ms(self) -> int:
        return self.clock() - GENESIS_MS

    def peer_views(self) -> list[PeerRow]:
        return [PeerRow(name="dispatch-1", key=key_of("dispatch-1").public_key, connected=True)]

    def clock_view(self) -> ClockView:
        return ClockView(offset_ms=-1_500, peers=3, is_off=False)

    def disk_views(self) -> tuple[DiskStatus, ...]:
        return ()

    def sealing_view(self) -> SealingRow:
        return SealingRow(native=False, path="hashlib", rate_per_s=1_000)

    def certificate_view(self) -> None:
        return None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """The API's URL, while it is served."""
        runner = web.AppRunner(build_api(self, clock=self.clock), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            yield f"http://{host}:{port}"
        finally:
            for chain in self.chains.values():
                chain.close()
            await runner.cleanup()


@pytest.fixture(scope="session")
def story() -> tuple[World, dict[str, Transaction]]:
    """Four sealers' finished story, to be read only."""
    return tell_story(4)


@pytest.fixture(scope="session")
def story_by_merit() -> World:
    """The same story on a chain that clears by merit, to be read only."""
    return tell_story(1, MarketParams(clearing_rule="credit-weighted"))[0]


@pytest.fixture
def neighbours() -> tuple[World, World]:
    """JY1 after the story, whose deliveries it has to tell, certified; and LH1 of the same network at its genesis."""
    trading, _ = tell_story(1, has_credit_chain=True)
    trading.run_until(PERIOD + 3)
    return trading, World(1, "lh1", has_credit_chain=True)


@pytest.fixture
def world() -> World:
    """A chain of one sealer at its genesis."""
    return World()


@pytest.fixture(scope="session")
def make_runtime() -> type[MemoryRuntime]:
    """Called with worlds, one per chain, and limits that differ from the defaults."""
    return MemoryRuntime


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """Called with a number of sealers and, if it matters, the chain's name and whether "lh1" is beside it."""
    return World
