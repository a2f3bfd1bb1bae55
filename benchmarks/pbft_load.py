"""Four real PBFT nodes under an open-loop load of signed transfers: throughput, latency, CPU and memory, and a kill.

Processes with mutual TLS on real sockets and LevelDB with fsync, as `gridmerit net new --set bft` makes them,
but the trading chain alone: transfers live there, and the other two would only idle. `python benchmarks/pbft_load.py`
needs two cores to itself for some minutes, so it is no part of `python -m benchmarks`: `make bench-load` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.open_loop import Purses, Teller, Ticket, Watcher
from benchmarks.table import Row, print_columns, print_table
from consensus.pbft.validators import Committee
from gridmerit.network.layout import Network, NodeEntry
from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_params_set
from gridmerit.network.processes import find_pid, start_network, start_node, stop_network
from ledger.signatures import SigningKey
from market.profile import HOUR_MS, Player, Profile, Reading
from node.api.client import Client
from node.credentials.keystore import load_key, load_passphrase

NODES = 4
HOT_ACCOUNTS = 10
AIM_RATE, AIM_P95_MS, AIM_WORST_MS = 1_500, 2_000, 3_000
_ACCOUNTS = 64
_DRAIN_S = 30.0
_KILL_AT = 0.4  # of the step
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan of the measurement: rates in transfers per second, each kept up for `step_s` seconds."""

    rates: tuple[int, ...] = (250, 500, 1_000, 1_500, 2_000)
    hot_rates: tuple[int, ...] = (500, 1_500)
    kill_rate: int = 400
    step_s: float = 15.0
    kill_step_s: float = 20.0


QUICK = Plan(rates=(100, 200), hot_rates=(200,), kill_rate=100, step_s=1.0, kill_step_s=3.0)


class Usage(NamedTuple):
    """CPU seconds and resident bytes of a process."""

    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """The outcome of one rate: `nodes` by name, their CPU that of this step alone."""

    name: str
    rate: int
    accounts: int
    tickets: Sequence[Ticket]
    blocks: int
    refusals: Counter[str]
    nodes: dict[str, Usage]
    driver_cpu_s: float

    @property
    def lost(self) -> int:
        """Acknowledged, and never seen committed."""
        return sum(1 for ticket in self.tickets if ticket.acknowledged_s and not ticket.committed_s)

    @property
    def committed_per_s(self) -> float:
        times = sorted(ticket.committed_s for ticket in self.tickets if ticket.committed_s)
        start = min(ticket.due_s for ticket in self.tickets)
        return len(times) / max(times[-1] - start, 1e-9) if times else 0.0

    def latency_ms(self, share: float) -> float:
        """The latency within which this share of the committed ones stayed, in ms."""
        times = sorted(ticket.latency_ms for ticket in self.tickets if ticket.committed_s)
        return times[min(len(times) - 1, int(share * len(times)))] if times else float("inf")

    @property
    def is_kept_up(self) -> bool:
        """True if the cluster keeps up with the rate for good: a queue that grows shows in the latencies."""
        return all(ticket.committed_s for ticket in self.tickets) and self.latency_ms(0.95) < AIM_P95_MS

    @property
    def cpu_us(self) -> float:
        """CPU of all nodes per transfer, in microseconds."""
        return sum(usage.cpu_s for usage in self.nodes.values()) * 1e6 / max(1, len(self.tickets))


class Cluster:
    """The running network with a client per node; the first node's events are watched."""

    def __init__(self, network: Network, keys: Sequence[SigningKey], clients: Sequence[Client]) -> None:
        self.network = network
        self.clients = clients
        self.watcher = Watcher(clients[0])
        self._keys = keys
        self._purses: Purses | None = None

    async def open(self) -> None:
        status = await self.clients[0].status()
        self._purses = Purses(self._keys, bytes.fromhex(status.chain_id))
        await self.watcher.is_ready.wait()

    async def measure(self, name: str, *, rate: int, seconds: float, accounts: int, kill: bool = False) -> Step:
        """Offer `rate` transfers a second for so many seconds, wait until all are committed; perhaps kill a node."""
        assert self._purses is not None
        tickets = self._purses.sign(int(rate * seconds), accounts=accounts)
        tellers = [Teller([*self.clients[i:], *self.clients[:i]]) for i in range(NODES)]
        shares: list[list[Ticket]] = [[] for _ in tellers]
        begin = monotonic() + 0.1
        for number, ticket in enumerate(tickets):
            ticket.due_s = begin + number / rate
            shares[number % accounts % NODES].append(ticket)
        before, driver_before, blocks_before = self.usage(), process_time(), self.watcher.blocks
        self.watcher.expect(tickets)
        async with asyncio.TaskGroup() as group:
            for teller, share in zip(tellers, shares, strict=True):
                group.create_task(teller.run(share))
            if kill:
                group.create_task(self._kill_the_proposer(begin + _KILL_AT * seconds))
        if not await self.watcher.all_committed(timeout_s=_DRAIN_S):
            print(f"{name}: not everything was committed within {_DRAIN_S:.0f} s", file=sys.stderr)
        after = self.usage()
        return Step(
            name=name,
            rate=rate,
            accounts=accounts,
            tickets=tickets,
            blocks=self.watcher.blocks - blocks_before,
            refusals=sum((teller.refusals for teller in tellers), Counter()),
            nodes={
                node: Usage(cpu_s=usage.cpu_s - before[node].cpu_s, rss_bytes=usage.rss_bytes)
                for node, usage in after.items()
                if node in before
            },
            driver_cpu_s=process_time() - driver_before,
        )

    def usage(self) -> dict[str, Usage]:
        """Of every node that runs."""
        pids = {node.name: find_pid(self.network, node) for node in self.network.nodes}
        return {name: read_usage(pid) for name, pid in pids.items() if pid is not None}

    async def _kill_the_proposer(self, at_s: float) -> None:
        """SIGKILL to the node that leads the next height, once that is not the node that is being watched."""
        await asyncio.sleep(at_s - monotonic())
        nodes = {bytes.fromhex(node.key): node for node in self.network.nodes}
        committee = Committee(chain_id=bytes(32), validators=tuple(sorted(nodes)))
        while True:
            status = await self.clients[0].status()
            victim = nodes[committee.leader(status.height + 1, 0)]
            if victim != self.network.nodes[0]:
                break
            await asyncio.sleep(0.01)
        pid = find_pid(self.network, victim)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def revive(self) -> None:
        """Start nodes that are down, and wait until all are connected and at one head."""
        for node in self.network.nodes:
            start_node(self.network, node)
        await start_network(self.network)
        height = max([(await client.status()).height for client in self.clients])
        for client in self.clients:
            await _reach(client, height)

    async def count_missing(self) -> int:
        """Transfers that have been sent and that the state of some node lacks."""
        assert self._purses is not None
        missing = 0
        for client in self.clients:
            for address, sent in self._purses.sent.items():
                missing += sent - (await client.account(address)).sequence
        return missing


def read_usage(pid: int) -> Usage:
    """Of a process, from `/proc`."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    rss_pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return Usage(cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S, rss_bytes=rss_pages * _PAGE_BYTES)


# --- the cluster -----------------------------------------------------------------------------------------


def make_cluster(directory: Path) -> tuple[Network, list[SigningKey]]:
    """A network of `NODES` nodes with `_ACCOUNTS` players that have money, and the players' keys."""
    players = tuple(Player(name=f"player-{number}", role="producer") for number in range(_ACCOUNTS))
    readings = {(player.name, HOUR_MS): Reading(forecast_wh=1_000, actual_wh=1_000) for player in players}
    profile = Profile(players=players, hours_ms=(HOUR_MS,), readings=readings)
    params = [chain for chain in load_params_set("bft") if chain.kind == "trading"]
    network = new_network(directory, nodes=NODES, params=params, profile=profile)
    keys = [
        load_key(directory / player.key_file, load_passphrase(directory / player.passphrase_file))
        for player in network.players
    ]
    return network, keys


async def drive(network: Network, keys: Sequence[SigningKey], plan: Plan) -> Report:
    """Every step of the plan on a running network, and what is missing at the end."""
    steps: list[Step] = []

    async def measure(name: str, rate: int, seconds: float, accounts: int = _ACCOUNTS, *, kill: bool = False) -> None:
        print(f"{name} ...", file=sys.stderr)
        steps.append(await cluster.measure(name, rate=rate, seconds=seconds, accounts=accounts, kill=kill))

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        clients = [await stack.enter_async_context(_open(node, network)) for node in network.nodes]
        cluster = Cluster(network, keys, clients)
        watching = group.create_task(cluster.watcher.run())
        await cluster.open()
        for rate in plan.rates:
            await measure(f"{rate}/s", rate, plan.step_s)
        for rate in plan.hot_rates:
            await measure(f"{rate}/s hot", rate, plan.step_s, HOT_ACCOUNTS)
        await measure(f"{plan.kill_rate}/s kill", plan.kill_rate, plan.kill_step_s, kill=True)
        await cluster.revive()
        missing = await cluster.count_missing()
        watching.cancel()
    return Report(steps=tuple(steps), missing=missing)


async def _reach(client: Client, height: int) -> None:
    async with asyncio.timeout(_DRAIN_S):
        async for event in client.events():
            if event["event"] in ("subscribed", "head") and (await client.status()).height >= height:
                return


def _open(node: NodeEntry, network: Network) -> Client:
    return Client(node.api_url, network.chain, timeout_s=20.0)


# --- the report ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Report:
    """All steps in order, and how many transfers that were sent some node does not have at the end."""

    steps: tuple[Step, ...]
    missing: int

    def show(self) -> None:
        names = list(self.steps[0].nodes)
        head = ["offered", "committed/s", "p50 ms", "p95 ms", "p99 ms", "worst ms", "blocks", "refused", "lost"]
        lines = [[*head, *(f"{name} CPU s / MB" for name in names), "driver CPU s", "CPU µs/transfer"]]
        for step in self.steps:
            times = [f"{step.latency_ms(share):,.0f}" for share in (0.5, 0.95, 0.99, 1.0)]
            nodes = [_show_usage(step.nodes.get(name)) for name in names]
            counts = [str(step.blocks), str(step.refusals.total()), str(step.lost)]
            cpu = [f"{step.driver_cpu_s:.2f}", f"{step.cpu_us:,.0f}"]
            lines.append([step.name, f"{step.committed_per_s:,.0f}", *times, *counts, *nodes, *cpu])
        print_columns(lines)
        refusals = sum((step.refusals for step in self.steps), Counter[str]())
        print("refused and sent again: " + (", ".join(f"{n} {code}" for code, n in refusals.items()) or "none"))
        print(f"sent and missing on some node at the end: {self.missing}")
        kept_up = [step.rate for step in self.steps[:-1] if step.accounts > HOT_ACCOUNTS and step.is_kept_up]
        print(f"highest rate with a p95 below {AIM_P95_MS:,} ms: {max(kept_up, default=0):,}/s (aim: {AIM_RATE:,}/s)")
        worst = self.steps[-1].latency_ms(1.0)
        print(f"worst latency with the proposer killed: {worst:,.0f} ms (aim: {AIM_WORST_MS:,} ms)")

    def rows(self) -> list[Row]:
        base, kill = self.steps[0], self.steps[-1]
        rows: list[Row] = []
        for step in self.steps[:-1]:
            rate, p95, cpu = step.committed_per_s, step.latency_ms(0.95), step.cpu_us
            rows += [
                Row(f"pbft load {step.name}", rate, "transfers/s", "as offered", rate / step.rate),
                Row(f"pbft load {step.name}", p95, "ms, p95", base.name, base.latency_ms(0.95) / p95),
                Row(f"pbft load {step.name}", cpu, "µs CPU/transfer", base.name, base.cpu_us / cpu),
            ]
        worst = kill.latency_ms(1.0)
        return [*rows, Row("pbft load kill", worst, "ms, worst", f"{base.name} worst", base.latency_ms(1.0) / worst)]


def _show_usage(usage: Usage | None) -> str:
    return "killed" if usage is None else f"{usage.cpu_s:.2f} / {usage.rss_bytes / 1e6:.0f}"


def run(quick: bool = False) -> list[Row]:
    """Start the cluster in a directory of its own, drive it, print the steps and return them as rows."""
    plan = QUICK if quick else Plan()
    directory = Path(tempfile.mkdtemp(prefix="pbft-load-"))
    network, keys = make_cluster(directory / "net")
    try:
        asyncio.run(start_network(network))
        report = asyncio.run(drive(network, keys, plan))
    finally:
        stop_network(network)
        shutil.rmtree(directory)
    report.show()
    assert not report.missing, "some node lacks a transfer"
    assert not any(step.lost for step in report.steps), "an acknowledged transfer was lost"
    return report.rows()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="low rates for a second each: that it runs")
    print_table(run(quick=parser.parse_args().quick))
