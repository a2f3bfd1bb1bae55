"""A whole market day on this machine: real node processes, agents for every player, and a report that checks it all.

The hours of the profile are compressed to a few seconds each. Reading order: `run_demo`, `_run_day`, `_collect`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.errors import (
    BusyDirectory,
    GridmeritError,
    MissingExtra,
    NetworkRunning,
    NodeFailed,
    NoNetwork,
    RemoteNotFound,
    TimedOut,
)
from ledger.genesis import Genesis
from ledger.params import ChainParams
from market.profile import Profile
from node.agents import Agent, Day, Sender, Sent, get_problems, order_clients, run_agents
from node.answers import BlockSummary, ChainStatus, SettlementInfo, TradesInfo
from node.client import Client
from node.clock import now_ms
from node.config import load_genesis
from node.day import DayRecord, PeerRecord
from node.keystore import load_key, load_passphrase
from node.network import (
    Network,
    get_packaged_params,
    load_chain_params,
    load_network,
    load_packaged_profile,
    make_directory,
    new_network,
    scale_params,
)
from node.plot import draw_day
from node.processes import find_pid, read_log_tail, start_network, stop_network
from node.proofs import verify_document
from node.report import make_document, render_markdown

_PERIOD_MS = 2_200
_PERIOD_MS_PER_PEER = 400  # so that many peers on few cores have time to hear of a block before the next one
_POLL_S = 0.25
_SETTLED_WITHIN_MS = 20_000
_AGREED_WITHIN_MS = 20_000
_BLOCKS_PER_REQUEST = 1_000
_FILES = ("report.md", "report.json", "day.png", "trade-proof.json", "genesis.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """What the user chose."""

    seed: int
    hours: int
    peers: int
    directory: Path
    keep: bool
    period_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the day is: hours whose gate has closed and hours that are settled, of `hours`."""

    stage: str
    hours: int
    cleared: int = 0
    settled: int = 0
    trades: int = 0
    volume_wh: int = 0
    height: int = 0


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """The record of the day, the report as a document, and where the files are."""

    record: DayRecord
    document: Mapping[str, Any]
    network: Network
    files: tuple[Path, ...]
    plot_problem: GridmeritError | None


def choose_period_ms(peers: int) -> int:
    """How long an hour takes: 24 of them end in little over a minute up to five peers, in two for ten."""
    return max(_PERIOD_MS, _PERIOD_MS_PER_PEER * peers)


def make_demo_params(period_ms: int) -> ChainParams:
    """The recommended parameters at a period of seconds, and a few changes that this takes.

    Orders open 4 Δt before delivery instead of 3, readings are taken until 3 Δt after its start instead of 2, members
    sign a gate block one block deep, and a stall is relieved after 6 intervals: a hiccup of two seconds on a busy
    machine then neither changes the trades nor loses a reading.
    """
    params = scale_params(load_chain_params(get_packaged_params()), period_ms)
    consensus = params.consensus.model_copy(
        update={"checkpoint_depth": 1, "relief_after": 6, "max_ahead_ms": 3 * params.consensus.block_interval_ms}
    )
    market = params.market.model_copy(update={"open_ppm": 4_000_000, "settle_ppm": 3_000_000})
    return ChainParams.model_validate(params.model_copy(update={"consensus": consensus, "market": market}).model_dump())


def run_demo(plan: DemoPlan, on_progress: OnProgress) -> DemoResult:
    """Run the day and write its report. The nodes are stopped whatever happens, unless the plan keeps them.

    Raises `BusyDirectory`, `NetworkRunning`, `NodeFailed`, `TimedOut` and what clients raise; checks that fail are in
    the document.
    """
    begin_ms = now_ms()
    on_progress(Progress(stage="making the network", hours=plan.hours))
    profile = load_packaged_profile()
    network_directory = _clear(plan.directory)
    params = make_demo_params(plan.period_ms)
    network = new_network(network_directory, nodes=plan.peers, params=params, profile=profile, seed=plan.seed)
    is_done = False
    try:
        record, proof = asyncio.run(_run(plan, network, profile, begin_ms, on_progress))
        is_done = True
    finally:
        if not (plan.keep and is_done):
            stop_network(network)
    on_progress(Progress(stage="writing the report", hours=plan.hours))
    return _write_report(plan, network, record, proof)


# --- the day -------------------------------------------------------------------------------------


async def _run(
    plan: DemoPlan, network: Network, profile: Profile, begin_ms: int, on_progress: OnProgress
) -> tuple[DayRecord, dict[str, Any] | None]:
    on_progress(Progress(stage="starting the nodes", hours=plan.hours))
    await start_network(network)
    async with AsyncExitStack() as stack:
        clients = {
            node.name: await stack.enter_async_context(Client(node.api_url, network.chain)) for node in network.nodes
        }
        genesis = load_genesis(network.genesis_path)
        day = _plan_day(plan, genesis, profile)
        agents = _make_agents(network, day, clients)
        watch = _Watch(network, day, clients, on_progress)
        await asyncio.gather(run_agents(agents), watch.until_settled())
        statuses = await _wait_for_agreement(clients)
        return await _collect(plan, day, agents, clients, statuses, begin_ms)


def _plan_day(plan: DemoPlan, genesis: Genesis, profile: Profile) -> Day:
    """The first hour is delivered in the first period whose market opens in a moment or later."""
    params = genesis.params
    elapsed_ms = now_ms() + params.ledger.period_ms // 10 - genesis.time_ms
    opening = -(-elapsed_ms // params.ledger.period_ms)
    ahead = -(-params.market.open_ppm // 1_000_000)
    return Day(
        genesis=genesis,
        chain_id=genesis.chain_id,
        profile=profile,
        first_period=opening + ahead,
        hours=plan.hours,
        seed=plan.seed,
    )


def _make_agents(network: Network, day: Day, clients: Mapping[str, Client]) -> list[Agent]:
    agents = []
    home = network.directory
    for player in network.players:
        own = order_clients(player.node, clients)
        key = load_key(home / player.key_file, load_passphrase(home / player.passphrase_file))
        meter = load_key(home / player.meter_key_file, load_passphrase(home / player.meter_passphrase_file))
        agents.append(
            Agent(
                name=player.name,
                day=day,
                trader=Sender(key, own, day.chain_id),
                meter=Sender(meter, own, day.chain_id),
            )
        )
    return agents


class _Watch:
    """Follows the day through one node, and notices when a node ends."""

    def __init__(self, network: Network, day: Day, clients: Mapping[str, Client], on_progress: OnProgress) -> None:
        self._network = network
        self._day = day
        self._clients = clients
        self._client = next(iter(clients.values()))
        self._on_progress = on_progress
        self._trades: list[TradesInfo] = []
        self._settled = 0

    async def until_settled(self) -> None:
        """Until every node has settled the last hour. Raises `NodeFailed` or `TimedOut`."""
        last = self._day.first_period + self._day.hours - 1
        deadline_ms = self._day.times_of(self._day.hours - 1).settle_ms + _SETTLED_WITHIN_MS
        while not await self._is_settled_everywhere(last):
            if now_ms() > deadline_ms:
                raise TimedOut(what=f"settlement of period {last} on every node", timeout_s=_SETTLED_WITHIN_MS // 1_000)
            self._check_nodes()
            await self._look()
            await asyncio.sleep(_POLL_S)
        await self._look()

    async def _is_settled_everywhere(self, period: int) -> bool:
        if now_ms() < self._day.times_of(self._day.hours - 1).settle_ms:
            return False
        found = [await _find(client.settlement(period)) for client in self._clients.values()]
        return all(settlement is not None for settlement in found)

    async def _look(self) -> None:
        status = await self._client.status()
        first, hours = self._day.first_period, self._day.hours
        while len(self._trades) < hours and now_ms() > self._day.times_of(len(self._trades)).gate_ms:
            found = await _find(self._client.trades(first + len(self._trades)))
            if found is None:
                break
            self._trades.append(found)
        while self._settled < len(self._trades) and now_ms() > self._day.times_of(self._settled).settle_ms:
            if await _find(self._client.settlement(first + self._settled)) is None:
                break
            self._settled += 1
        self._on_progress(
            Progress(
                stage="trading",
                hours=hours,
                cleared=len(self._trades),
                settled=self._settled,
                trades=sum(len(found.trades) for found in self._trades),
                volume_wh=sum(trade.volume_wh for found in self._trades for trade in found.trades),
                height=status.height,
            )
        )

    def _check_nodes(self) -> None:
        for node in self._network.nodes:
            if find_pid(self._network, node) is None:
                home = self._network.directory_of(node)
                raise NodeFailed(name=node.name, detail="ended", directory=home, log=read_log_tail(home))


async def _wait_for_agreement(clients: Mapping[str, Client]) -> dict[str, ChainStatus]:
    """Look at all nodes at once until they report one head; the last look, agreed or not, when time is up."""
    deadline_ms = now_ms() + _AGREED_WITHIN_MS
    while True:
        statuses = await asyncio.gather(*(client.status() for client in clients.values()))
        if len({status.head for status in statuses}) == 1 or now_ms() > deadline_ms:
            return dict(zip(clients, statuses, strict=True))
        await asyncio.sleep(_POLL_S / 5)


# --- collecting ----------------------------------------------------------------------------------


async def _collect(
    plan: DemoPlan,
    day: Day,
    agents: list[Agent],
    clients: Mapping[str, Client],
    statuses: Mapping[str, ChainStatus],
    begin_ms: int,
) -> tuple[DayRecord, dict[str, Any] | None]:
    """Ask the first node for everything the report is made from, up to the head that it agreed on."""
    client = next(iter(clients.values()))
    height = next(iter(statuses.values())).height
    periods = range(day.first_period, day.first_period + day.hours)
    trades = [found for period in periods if (found := await _find(client.trades(period))) is not None]
    settlements = [await _find(client.settlement(found.period)) for found in trades]
    sent = [entry for agent in agents for entry in agent.sent]
    lost, refused = await _compare(client, sent, height)
    proof, statement, problem = await _prove_a_trade(client, trades, day.genesis)
    record = DayRecord(
        genesis=day.genesis,
        seed=plan.seed,
        first_period=day.first_period,
        hours_ms=day.profile.hours_ms[: day.hours],
        trades=tuple(trades),
        settlements=tuple(
            found or SettlementInfo(period=gate.period, trades=(), grid=())
            for gate, found in zip(trades, settlements, strict=True)
        ),
        blocks=await _fetch_blocks(client, height),
        accounts={member.name: await client.account(member.name) for member in day.genesis.members},
        peers=tuple(PeerRecord(name=name, status=status) for name, status in statuses.items()),
        sent=len(sent),
        lost=tuple(lost),
        refused=tuple(refused),
        problems=tuple(get_problems(agents)),
        proof_statement=statement,
        proof_problem=problem,
        duration_ms=now_ms() - begin_ms,
    )
    return record, proof


async def _compare(client: Client, sent: Iterable[Sent], height: int) -> tuple[list[str], list[str]]:
    """What was sent against what stands in the blocks: the ids that are lost, and in words what had no effect."""
    codes: dict[str, str] = {}
    for number in range(1, height + 1):
        for transaction in (await client.block(number)).transactions:
            codes[transaction.id] = transaction.code
    lost = [entry.transaction_id for entry in sent if entry.transaction_id not in codes]
    refused = [
        f"{entry.player}, {entry.kind} of period {entry.period}: {codes[entry.transaction_id]}"
        for entry in sent
        if codes.get(entry.transaction_id)
    ]
    return lost, refused


async def _fetch_blocks(client: Client, height: int) -> tuple[BlockSummary, ...]:
    blocks: list[BlockSummary] = []
    while len(blocks) <= height:
        end = min(height, len(blocks) + _BLOCKS_PER_REQUEST - 1)
        blocks += await client.blocks(len(blocks), end)
    return tuple(blocks)


async def _prove_a_trade(
    client: Client, trades: Iterable[TradesInfo], genesis: Genesis
) -> tuple[dict[str, Any] | None, str | None, str | None]:
    """The proof of the day's first trade, what it proves and what is wrong with it, from the genesis alone."""
    first = next((found for found in trades if found.trades), None)
    if first is None:
        return None, None, "there was no trade to prove"
    try:
        document = await client.proof_trade(first.period, 0)
        return document, verify_document(document, genesis).statement, None
    except GridmeritError as error:
        return None, None, f"{error.code}: {error}"


async def _find(answer: Any) -> Any:
    try:
        return await answer
    except RemoteNotFound:
        return None


# --- files ---------------------------------------------------------------------------------------


def _clear(directory: Path) -> Path:
    """The directory for the network, empty; what an earlier demo left is removed, nothing else.

    Raises `BusyDirectory`, `NetworkRunning` or `UnusableDirectory`.
    """
    home = directory / "network"
    if home.exists():
        try:
            old = load_network(home)
        except NoNetwork:
            raise BusyDirectory(directory=home) from None
        if any(find_pid(old, node) is not None for node in old.nodes):
            raise NetworkRunning(directory=home)
        shutil.rmtree(home)
    make_directory(directory)
    for name in _FILES:
        (directory / name).unlink(missing_ok=True)
    return home


def _write_report(plan: DemoPlan, network: Network, record: DayRecord, proof: Mapping[str, Any] | None) -> DemoResult:
    home = plan.directory
    plot_problem: GridmeritError | None = None
    try:
        draw_day(record, home / "day.png")
    except MissingExtra as error:
        plot_problem = error
    document = make_document(record)
    (home / "report.md").write_text(render_markdown(record, has_plot=plot_problem is None), encoding="utf-8")
    (home / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copyfile(network.genesis_path, home / "genesis.json")
    if proof is not None:
        (home / "trade-proof.json").write_text(json.dumps(proof, indent=2) + "\n", encoding="utf-8")
    files = tuple(home / name for name in _FILES if (home / name).exists())
    return DemoResult(record=record, document=document, network=network, files=files, plot_problem=plot_problem)
