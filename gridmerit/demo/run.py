"""A whole market day on this machine: real node processes, agents for every player, and a report that checks it all.

The hours of the profile are compressed to a few seconds each, and run over the three chains of every node. Reading
order: `run_demo`, `_run`, and `gridmerit/demo/collect.py`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridmerit.demo.collect import Clients, Collected, Hours, collect_day, find
from gridmerit.demo.day import KINDS, DayRecord
from gridmerit.demo.plot import draw_day
from gridmerit.demo.report import make_document, render_markdown
from gridmerit.demo.stage_times import Sighting, follow
from gridmerit.errors import BusyDirectory, NetworkRunning, NodeFailed, NoNetwork
from gridmerit.network.layout import Network, load_network, make_directory
from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_packaged_profile, make_demo_params
from gridmerit.network.processes import find_pid, read_log_tail, start_network, stop_network
from gridmerit.output import to_json
from gridmerit.players.agents import Agent, Day, Dispatcher, Participant, Sender, order_clients, run_all
from gridmerit.players.game_target import Forecaster, load_solver
from ledger.errors import GridmeritError
from ledger.genesis import Genesis
from ledger.params import ChainParams, Kind
from market.messages import ACTUAL, DELIVERED
from market.profile import Profile
from market.trading.clearing_rules import is_by_target
from node.api.client import Client
from node.config import load_genesis
from node.credentials.keystore import load_key, load_passphrase
from node.errors import TimedOut
from node.queries.answers import TradesInfo
from node.system.clock import now_ms
from node.system.tasks import Tasks
from simulation.errors import MissingExtra

_PERIOD_MS = 2_500
_PERIOD_MS_PER_PEER = 950  # beyond four, so that many on few cores hear of a block before the next one
_POLL_S = 0.25
_SETTLED_WITHIN_MS = 30_000
_PROOF_FILES = {"a trade": "trade-proof.json", "an account": "credit-proof.json"}
_FILES = ("report.md", "report.json", "day.png", *_PROOF_FILES.values(), "genesis.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """The user's choices; `params` are of all three chains, as they were chosen and before they are quickened."""

    params: tuple[ChainParams, ...]
    seed: int
    hours: int
    peers: int
    directory: Path
    keep: bool
    period_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of the day: hours whose gate has closed and hours that are settled, of `hours`."""

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
    """The length of an hour: 24 of them end in a hundred seconds up to four peers, in under six minutes for ten."""
    return _PERIOD_MS + _PERIOD_MS_PER_PEER * max(0, peers - 4)


def run_demo(plan: DemoPlan, on_progress: OnProgress) -> DemoResult:
    """Run the day and write its report. The nodes are stopped whatever happens, unless the plan keeps them.

    Raises `BusyDirectory`, `NetworkRunning`, `NodeFailed`, `TimedOut` and what clients raise; checks that fail are in
    the document.
    """
    begin_ms = now_ms()
    on_progress(Progress(stage="making the network", hours=plan.hours))
    profile = load_packaged_profile()
    network_directory = _clear(plan.directory)
    params = make_demo_params(plan.period_ms, plan.params)
    network = new_network(network_directory, nodes=plan.peers, params=params, profile=profile, seed=plan.seed)
    is_done = False
    try:
        collected = asyncio.run(_run(plan, network, profile, begin_ms, on_progress))
        is_done = True
    finally:
        if not (plan.keep and is_done):
            stop_network(network)
    on_progress(Progress(stage="writing the report", hours=plan.hours))
    return _write_report(plan, network, collected)


# --- the day -------------------------------------------------------------------------------------


async def _run(plan: DemoPlan, network: Network, profile: Profile, begin_ms: int, on_progress: OnProgress) -> Collected:
    on_progress(Progress(stage="starting the nodes", hours=plan.hours))
    await start_network(network)
    async with AsyncExitStack() as stack:
        clients: dict[Kind, dict[str, Client]] = {kind: {} for kind in KINDS}
        for kind in KINDS:
            for node in network.nodes:
                client = Client(node.api_url, network.find_chain(kind) or "")
                clients[kind][node.name] = await stack.enter_async_context(client)
        genesis = load_genesis(network.genesis_path)
        day = _plan_day(plan, genesis, profile)
        participants = _make_participants(network, day, clients)
        watch = _Watch(network, day, clients, on_progress)
        sightings, failures = list[Sighting](), list[BaseException]()
        listeners = Tasks(failures.append)
        for kind in KINDS:
            listeners.start(follow(next(iter(clients[kind].values())), kind, sightings.append), name=f"follow {kind}")
        try:
            await asyncio.gather(run_all(participants), watch.until_settled())
        finally:
            await listeners.stop()
        for failure in failures:
            raise failure
        hours = Hours(seed=plan.seed, first_period=day.first_period, hours_ms=profile.hours_ms[: plan.hours])
        return await collect_day(hours, genesis, clients, participants, sightings, begin_ms)


def _plan_day(plan: DemoPlan, genesis: Genesis, profile: Profile) -> Day:
    """Plan the day: its first hour is delivered in the first period whose plan is due in a period or later."""
    scheduling = next(chain for chain in genesis.chains if chain.kind == "scheduling")
    period_ms = genesis.params.ledger.period_ms
    notice_ms = period_ms + period_ms * scheduling.scheduling.quota_ppm // 1_000_000
    return Day(
        genesis=genesis,
        scheduling=genesis.open(scheduling.name),
        profile=profile,
        first_period=-(-(now_ms() + notice_ms - genesis.time_ms) // period_ms),
        hours=plan.hours,
        seed=plan.seed,
    )


def _make_participants(network: Network, day: Day, clients: Clients) -> list[Participant]:
    """The dispatcher, and all players with their meters."""
    home = network.directory

    def make_sender(key_file: str, passphrase_file: str, node: str, genesis: Genesis) -> Sender:
        key = load_key(home / key_file, load_passphrase(home / passphrase_file))
        return Sender(key, order_clients(node, clients[genesis.params.kind]), genesis.chain_id)

    dispatcher = network.dispatcher
    assert dispatcher is not None, "a network with a scheduling chain has one"
    first = network.nodes[0].name
    sender = make_sender(dispatcher.key_file, dispatcher.passphrase_file, first, day.scheduling)
    agents = [
        Agent(
            name=player.name,
            day=day,
            client=clients["trading"][player.node],
            trader=make_sender(player.key_file, player.passphrase_file, player.node, day.genesis),
            meter=make_sender(player.meter_key_file, player.meter_passphrase_file, player.node, day.scheduling),
        )
        for player in network.players
    ]
    planners: list[Participant] = [Dispatcher(name=dispatcher.name, day=day, sender=sender)]
    if is_by_target(day.genesis.params.market.clearing_rule):
        to_market = make_sender(dispatcher.key_file, dispatcher.passphrase_file, first, day.genesis)
        client = clients["trading"][first]
        planners.append(Forecaster(name=dispatcher.name, day=day, sender=to_market, client=client, solve=load_solver()))
    return [*planners, *agents]


class _Watch:
    """Follows the day through one node, and notices when a node ends."""

    def __init__(self, network: Network, day: Day, clients: Clients, on_progress: OnProgress) -> None:
        self._network = network
        self._day = day
        self._clients = clients
        self._client = next(iter(clients["trading"].values()))
        self._on_progress = on_progress
        self._trades: dict[int, TradesInfo] = {}  # by hour, as the gates had them
        self._settled: set[int] = set()

    async def until_settled(self) -> None:
        """Until the last hour is settled on every node, assessed, and its credit known on every chain.

        Raises `NodeFailed` or `TimedOut`.
        """
        last = self._day.first_period + self._day.hours - 1
        deadline_ms = self._day.times_of(self._day.hours - 1).settle_ms + _SETTLED_WITHIN_MS
        while not await self._is_over(last):
            if now_ms() > deadline_ms:
                raise TimedOut(what=f"settlement of period {last} on every node", timeout_s=_SETTLED_WITHIN_MS // 1_000)
            self._check_nodes()
            await self._look()
            await asyncio.sleep(_POLL_S)
        await self._look()

    async def _is_over(self, period: int) -> bool:
        """Return True if all nodes have settled the period, LH1 has heard of it, and all hold its credits."""
        if now_ms() < self._day.scheduling_times_of(self._day.hours - 1).meter_ms:
            return False
        found = await asyncio.gather(*(find(client.settlement(period)) for client in self._clients["trading"].values()))
        settlements = [settlement for settlement in found if settlement is not None]
        if len(settlements) < len(found):
            return False
        wanted = {ACTUAL, *([DELIVERED] if settlements[0].trades else [])}
        for client in self._clients["credit"].values():
            digests = await find(client.digests(period))
            if digests is None or not wanted <= {digest.kind for digest in digests.digests}:
                return False
        lists = await asyncio.gather(*(client.credit() for kind in KINDS for client in self._clients[kind].values()))
        return len({tuple((row.name, row.credit_upt) for row in rows) for rows in lists}) == 1

    async def _look(self) -> None:
        status = await self._client.status()
        first, hours = self._day.first_period, self._day.hours
        for hour in range(hours):  # a void hour has no trades or no settlement, and must not hide the next one's
            if hour not in self._trades and now_ms() > self._day.times_of(hour).gate_ms:
                found = await find(self._client.trades(first + hour))
                if found is not None:
                    self._trades[hour] = found
            is_due = hour not in self._settled and now_ms() > self._day.scheduling_times_of(hour).meter_ms
            if is_due and await find(self._client.settlement(first + hour)) is not None:
                self._settled.add(hour)
        self._on_progress(
            Progress(
                stage="trading",
                hours=hours,
                cleared=len(self._trades),
                settled=len(self._settled),
                trades=sum(len(found.trades) for found in self._trades.values()),
                volume_wh=sum(trade.volume_wh for found in self._trades.values() for trade in found.trades),
                height=status.height,
            )
        )

    def _check_nodes(self) -> None:
        for node in self._network.nodes:
            if find_pid(self._network, node) is None:
                home = self._network.directory_of(node)
                raise NodeFailed(name=node.name, detail="ended", directory=home, log=read_log_tail(home))


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


def _write_report(plan: DemoPlan, network: Network, collected: Collected) -> DemoResult:
    home, record = plan.directory, collected.record
    plot_problem: GridmeritError | None = None
    try:
        draw_day(record, home / "day.png")
    except MissingExtra as error:
        plot_problem = error
    document = make_document(record)
    (home / "report.md").write_text(render_markdown(record, has_plot=plot_problem is None), encoding="utf-8")
    (home / "report.json").write_text(to_json(document) + "\n", encoding="utf-8")
    shutil.copyfile(network.genesis_path, home / "genesis.json")
    for what, proof in collected.proofs.items():
        (home / _PROOF_FILES[what]).write_text(json.dumps(proof, indent=2) + "\n", encoding="utf-8")
    files = tuple(home / name for name in _FILES if (home / name).exists())
    return DemoResult(record=record, document=document, network=network, files=files, plot_problem=plot_problem)
