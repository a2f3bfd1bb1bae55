"""A PBFT network of real processes over mutual TLS: f of n are killed, paused and cut off under load, nothing is lost.

    python -m tests.processes.pbft_faults [--nodes 4|7|10] [--seed N] [--seconds S] [--chains jy1]

Their clocks are set wrong, too, and their disks full or read-only, where this machine lets its users mount some. Peers
reach each other through `tcp_links.Links` alone. `drive` raises `Lost` where something does not hold: with f down
the rest goes on, with f + 1 nothing is committed, whoever comes back catches up, and in the end all nodes have the same
chain with everything in it that any node has ever acknowledged, once, and all the money.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from gridmerit.network.layout import Network, load_network
from gridmerit.network.processes import find_pid, start_network, start_node, stop_network
from ledger.errors import GridmeritError
from ledger.hashing import show_address
from ledger.transaction import Transaction
from node.api.client import Client
from node.config import load_genesis
from node.queries.answers import BlockDetail, ChainStatus
from node.system.tasks import Tasks
from tests.processes.payers import is_included, open_payers
from tests.processes.tcp_links import Links
from tests.processes.wall_clock import WallClock
from tests.support.small_disk import fill, has_small_disks, make_room

PERIOD_MS = 24_000  # an idle chain makes a block in each, views time out after 1 s … 6 s
GOES_ON_S = 30.0  # within so long the rest goes on with f down, and all do when f + 1 are back
CATCHES_UP_S = 60.0  # within so long whoever was lost has what the others had when it came back
STALLED_S = 5.0  # for so long nothing is committed with f + 1 down
HOLD_S = 25.0  # how long a fault lasts at most, after each has been seen once: longer than any timeout of a connection
FAULTS = ("kill", "pause", "partition")
ONE_WAY = ("mute", "deaf")  # cut off one way: nobody hears it, or it hears nobody
CLOCKS = ("clock",)  # set minutes wrong
DISKS = ("full", "read-only")
_POLL_S = 0.1
_DISK_MB = 128
_WRONG_MS = 600_000
_HURRIED_S = 2.0  # what who pays waits for an answer before it tries the next node


class Lost(AssertionError):
    """A promise that does not hold."""


@dataclass(kw_only=True)
class Tally:
    """All that a run has seen; times in s."""

    acknowledged: dict[str, float] = field(default_factory=dict)  # id -> when it was signed
    faults: Counter[str] = field(default_factory=Counter)
    went_on_s: list[float] = field(default_factory=list)
    caught_up_s: list[float] = field(default_factory=list)
    blocks: int = 0
    later_views: int = 0  # blocks of another than the height's first leader

    def __str__(self) -> str:
        faults = ", ".join(f"{number} x {kind}" for kind, number in self.faults.items())
        return (
            f"{len(self.acknowledged)} acknowledged, all of them in {self.blocks} blocks, {self.later_views} of these "
            f"by a later view's leader; {faults}; the others went on within {max(self.went_on_s):.1f} s, "
            f"the lost ones had caught up within {max(self.caught_up_s):.1f} s"
        )


async def wait_for(what: str, condition: Callable[[], Awaitable[bool]], within_s: float) -> float:
    """Seconds until a condition holds; a node that does not answer does not fulfil it yet. Raises `Lost`."""
    begin, detail = time.monotonic(), ""
    while True:
        try:
            if await condition():
                return time.monotonic() - begin
            detail = ""
        except GridmeritError as error:
            detail = f" ({error})"
        if time.monotonic() - begin > within_s:
            raise Lost(f"not within {within_s:.0f} s: {what}{detail}")
        await asyncio.sleep(_POLL_S)


# --- faults --------------------------------------------------------------------------------------


class Faults:
    """Faults of a running network, and what must hold meanwhile."""

    def __init__(
        self,
        network: Network,
        links: Links,
        clients: dict[tuple[str, str], Client],  # by chain and node
        tally: Tally,
        draw: random.Random,
    ):
        self.network, self.links, self.clients, self.tally, self.draw = network, links, clients, tally, draw
        self.genesis = load_genesis(network.genesis_path)
        *self.payers, self.bidder, self.probe, receiver = open_payers(network, self.genesis, tally.acknowledged)
        self.receiver = receiver.address
        self.nodes = {node.name: node for node in network.nodes}
        self.names = list(self.nodes)
        self.faulty = (len(self.names) - 1) // 3
        self.leaders = [node.name for node in sorted(network.nodes, key=lambda node: node.key)]
        self.begin = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.begin:6.1f} s  {text}", flush=True)

    def on(self, name: str) -> Client:
        return self.clients[self.network.chain, name]

    async def choose(self, number: int) -> list[str]:
        """The leader of the height that is under way, and others."""
        leader = self.leaders[((await self.on(self.names[0]).status()).height + 1) % len(self.names)]
        return [leader, *self.draw.sample([name for name in self.names if name != leader], number - 1)]

    def hurt(self, kind: str, victims: Sequence[str]) -> None:
        rest = [name for name in self.names if name not in victims]
        self.tally.faults[kind] += 1
        if kind in ("kill", "pause"):
            self.signal(victims, signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        if kind in ("partition", "mute"):
            self.links.cut(victims, rest)
        if kind in ("partition", "deaf"):
            self.links.cut(rest, victims)
        if kind == "full":
            for name in victims:
                fill(self.disk(name))

    async def restart(self, kind: str, victims: Sequence[str]) -> None:
        """Kill them and start them under a fault, or without one.

        A disk with files that are open for writing cannot be mounted read-only, and a process whose clock is not the
        machine's is slower by much.
        """
        self.signal(victims, signal.SIGKILL)
        for name in victims:
            await self.gone(name)
            if kind == "read-only":
                await asyncio.to_thread(mount, "-o", "remount,ro", self.disk(name))
            if kind == "clock":
                clock = WallClock(self.network.directory_of(self.nodes[name]) / "clock")
                clock.set(self.draw.choice((-_WRONG_MS, _WRONG_MS)))
                with clock.followed():
                    await self.start(name)
            else:
                await self.start(name)

    def disk(self, name: str) -> Path:
        return self.network.directory_of(self.nodes[name]) / "data"

    async def mend(self, kind: str, victims: Sequence[str]) -> None:
        self.links.heal()
        if kind == "pause":
            self.signal(victims, signal.SIGCONT)
        for name in victims:
            match kind:
                case "kill":
                    await self.start(name)
                case "clock":
                    await self.restart("", [name])
                case "full":
                    make_room(self.disk(name))
                case "read-only":
                    await asyncio.to_thread(mount, "-o", "remount,rw", self.disk(name))

    async def start(self, name: str) -> None:
        await asyncio.to_thread(start_node, self.network, self.nodes[name])

    async def gone(self, name: str) -> None:
        async def is_gone() -> bool:
            return find_pid(self.network, self.nodes[name]) is None

        await wait_for(f"{name} has ended", is_gone, GOES_ON_S)

    def signal(self, names: Sequence[str], number: int) -> None:
        for name in names:
            if (pid := find_pid(self.network, self.nodes[name])) is None:
                raise Lost(f"{name} has ended by itself")
            os.kill(pid, number)

    async def lose_f(self, kind: str, hold_s: float = 0.0) -> None:
        """The rest goes on without f of n; these come back, at the earliest after so long, and catch up."""
        victims = await self.choose(self.faulty)
        rest = [name for name in self.names if name not in victims]
        self.hurt(kind, victims)
        if kind in ("read-only", "clock"):
            await self.restart(kind, victims)
        begin = time.monotonic()
        probe = await self.send_probe(rest)
        went_on_s = await self.goes_on(rest, probe, begin)
        await asyncio.sleep(hold_s)
        if kind in ("partition", "deaf"):
            for name in victims:
                if await is_included(self.on(name), probe.id.hex()):
                    raise Lost(f"{name} hears of what was committed without it: it is not cut off")
        caught_up_s = await self.come_back(kind, victims)
        took = f"the other {len(rest)} went on within {went_on_s:.1f} s, it had caught up after {caught_up_s:.1f} s"
        self.say(f"{kind} {', '.join(victims)}: {took}")

    async def lose_more_than_f(self, kind: str) -> None:
        """Nothing made after f + 1 of n are down is committed, for none of them can have voted for it."""
        victims = await self.choose(self.faulty + 1)
        rest = [name for name in self.names if name not in victims]
        self.hurt(kind, victims)
        down_s = time.monotonic()
        probe = await self.send_probe(rest)
        await asyncio.sleep(STALLED_S)
        late = [identity for identity, made_s in self.tally.acknowledged.items() if made_s >= down_s]
        asked = [self.on(name) for name in (self.names if kind == "partition" else rest)]
        if committed := [identity for client in asked for identity in late if await is_included(client, identity)]:
            raise Lost(f"{kind} of {', '.join(victims)}: {committed} committed without a quorum")
        caught_up_s = await self.come_back(kind, victims)
        went_on_s = await self.goes_on(self.names, probe, time.monotonic())
        took = (
            f"nothing committed of {len(late)} acknowledged; mended, all had them {caught_up_s + went_on_s:.1f} s later"
        )
        self.say(f"{kind} {', '.join(victims)} (f + 1): {took}")

    async def goes_on(self, names: Sequence[str], probe: Transaction, since_s: float) -> float:
        """Seconds until a transaction is final on these nodes; each member's turn to lead its chain comes, too.

        The other chains have no load and rest: there the first block of a period comes.
        """
        before = await self.statuses(names)

        async def is_final() -> bool:
            return all([(await self.on(name).transaction(probe.id)).final for name in names])

        async def has_turned() -> bool:
            now = await self.statuses(names)
            return all(
                now[chain, name].height >= then.height + len(self.names)
                if chain == self.network.chain
                else now[chain, name].period > then.period
                for (chain, name), then in before.items()
            )

        await wait_for(f"a transaction final on {', '.join(names)}", is_final, GOES_ON_S)
        went_on_s = time.monotonic() - since_s
        self.tally.went_on_s.append(went_on_s)
        turned = f"{len(self.names)} blocks, and a period's first one of chains that rest, on {', '.join(names)}"
        await wait_for(turned, has_turned, GOES_ON_S * len(self.names) / 2)
        return went_on_s

    async def come_back(self, kind: str, victims: Sequence[str]) -> float:
        """Mend; seconds until the lost have what the rest had, on every chain."""
        reached = await self.heights([name for name in self.names if name not in victims])
        await self.mend(kind, victims)
        begin = time.monotonic()
        for chain in self.network.chains:
            await self.agree(chain, max(height for (other, _), height in reached.items() if other == chain))
        self.tally.caught_up_s.append(time.monotonic() - begin)
        return self.tally.caught_up_s[-1]

    async def agree(self, chain: str, height: int) -> None:
        """All nodes come to have the same block at a height."""

        async def are_there() -> bool:
            now = await self.heights(self.names)
            return all(now[chain, name] >= height for name in self.names)

        await wait_for(f"all nodes at {chain} {height}", are_there, CATCHES_UP_S)
        hashes = {name: (await self.clients[chain, name].block(height)).hash for name in self.names}
        if len(set(hashes.values())) > 1:
            raise Lost(f"{chain} {height} is not the same everywhere: {hashes}")

    async def statuses(self, names: Sequence[str]) -> dict[tuple[str, str], ChainStatus]:
        """By chain and node."""
        keys = [(chain, name) for chain in self.network.chains for name in names]
        statuses = await asyncio.gather(*(self.clients[key].status() for key in keys))
        return dict(zip(keys, statuses, strict=True))

    async def heights(self, names: Sequence[str]) -> dict[tuple[str, str], int]:
        """By chain and node."""
        return {key: status.height for key, status in (await self.statuses(names)).items()}

    async def send_probe(self, names: Sequence[str]) -> Transaction:
        """A transfer that one of these nodes takes on."""
        clients = [self.on(name) for name in self.draw.sample(names, len(names))]
        try:
            async with asyncio.timeout(GOES_ON_S):
                return await self.probe.send(clients, self.receiver)
        except TimeoutError:
            raise Lost(f"none of {', '.join(names)} takes a transaction on: {self.probe.refusal}") from None

    # --- the end ---------------------------------------------------------------------------------

    async def audit(self) -> None:
        """The same chain everywhere, and in it all that was acknowledged, once; nobody convicted, no money lost."""
        reached = await self.heights(self.names)
        for chain in self.network.chains:
            await self.agree(chain, max(height for (other, _), height in reached.items() if other == chain))
        height = max(reached[self.network.chain, name] for name in self.names)
        copies = [[await self.on(name).block(number) for number in range(1, height + 1)] for name in self.names]
        if any([block.hash for block in copy] != [block.hash for block in copies[0]] for copy in copies):
            raise Lost("the chains differ below their heads")
        for name, blocks in zip(self.names, copies, strict=True):
            check_included(name, self.tally.acknowledged, blocks)
            await self.check_accounts(name, blocks)
        self.tally.blocks = height
        first_leaders = [self.leaders[block.height % len(self.leaders)] for block in copies[0]]
        self.tally.later_views = sum(
            block.producer_name != leader for block, leader in zip(copies[0], first_leaders, strict=True)
        )
        self.check_processes()

    async def check_accounts(self, name: str, blocks: Sequence[BlockDetail]) -> None:
        """Every member has what genesis and the transfers in the blocks give it, and no penalty."""
        flows: Counter[str] = Counter()
        for entry in (entry for block in blocks for entry in block.transactions):
            if entry.kind == "transfer" and not entry.code:
                flows[entry.sender] -= 1
                flows[show_address(self.receiver)] += 1
        for member in self.genesis.members:
            account = await self.on(name).account(member.name)
            held_uyuan = account.balance_uyuan + account.reserved_uyuan
            if (expected_uyuan := member.balance_uyuan + flows[account.address]) != held_uyuan:
                raise Lost(f"{name}: {member.name} has {held_uyuan} µ¥ instead of {expected_uyuan}")
            if account.penalty_upt:
                raise Lost(f"{name}: {member.name} is said to have signed twice")

    def check_processes(self) -> None:
        for node in self.network.nodes:
            log = (self.network.directory_of(node) / "node.log").read_text(encoding="utf-8", errors="replace")
            if "Traceback" in log or find_pid(self.network, node) is None:
                raise Lost(f"{node.name} has failed: {log[-2_000:]}")


def check_included(name: str, acknowledged: Collection[str], blocks: Sequence[BlockDetail]) -> None:
    """That the blocks of a node hold all that was acknowledged, and nothing twice. Raises `Lost`."""
    times = Counter(entry.id for block in blocks for entry in block.transactions)
    missing = [identity for identity in acknowledged if identity not in times]
    twice = [identity for identity, number in times.items() if number > 1]
    if missing or twice:
        raise Lost(f"{name}: {len(missing)} acknowledged are missing {missing[:3]}, {len(twice)} twice {twice[:3]}")


# --- a run ---------------------------------------------------------------------------------------


async def drive(
    home: Path,
    *,
    nodes: int,
    seed: int = 0,
    seconds: float = 0.0,
    chains: str = "jy1",
    kinds: Sequence[str] = FAULTS,
) -> Tally:
    """Every one of these kinds of faults once, and then others until so many seconds have passed. Raises `Lost`."""
    options = [] if chains == "all" else ["--chains", chains]
    await gridmerit(
        "net",
        "new",
        str(home),
        "--base-port",
        "0",
        "--engine",
        "pbft",
        "--nodes",
        f"{nodes}",
        "--period-ms",
        f"{PERIOD_MS}",
        *options,
    )
    network, links, tally = load_network(home), Links(), Tally()
    await reroute(network, links)
    disks = [network.directory_of(node) / "data" for node in network.nodes] if set(DISKS) & set(kinds) else []
    for disk in disks:
        disk.mkdir(exist_ok=True)
        mount("-t", "tmpfs", "-o", f"size={_DISK_MB}m", "small", disk)
    try:
        async with AsyncExitStack() as stack:
            clients = {
                (chain, node.name): await stack.enter_async_context(Client(node.api_url, chain))
                for chain in network.chains
                for node in network.nodes
            }
            hurried = [
                await stack.enter_async_context(Client(node.api_url, network.chain, timeout_s=_HURRIED_S))
                for node in network.nodes
            ]
            faults = Faults(network, links, clients, tally, random.Random(seed))
            for node in network.nodes:
                await faults.start(node.name)
            await start_network(network)
            await harass(faults, hurried, seconds, kinds)
    finally:
        for node in network.nodes:
            if (pid := find_pid(network, node)) is not None:
                os.kill(pid, signal.SIGCONT)
        await asyncio.to_thread(stop_network, network)
        await links.close()
        for disk in disks:
            await asyncio.to_thread(subprocess.run, ["umount", disk], check=True)
    return tally


async def gridmerit(*words: str) -> None:
    """Run the command as a user does."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gridmerit", *words, stdout=subprocess.DEVNULL)
    if code := await process.wait():
        raise Lost(f"gridmerit {' '.join(words)} ended with {code}")


async def reroute(network: Network, links: Links) -> None:
    """Have each node's configuration name the links where it names its peers, who name no other place themselves."""
    for node in network.nodes:
        file = network.directory_of(node) / "node.toml"
        text = f'advertise = "https://127.0.0.1:9"\n{file.read_text(encoding="utf-8")}'
        for other in network.nodes:
            if other != node:
                host, _, port = other.peer_url.rpartition(":")
                named = f'url = "{other.peer_url}"'
                assert text.count(named) == 1
                text = text.replace(named, f'url = "{host}:{await links.open(node.name, other.name, int(port))}"')
        file.write_text(text, encoding="utf-8")


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


async def harass(faults: Faults, clients: Sequence[Client], seconds: float, kinds: Sequence[str]) -> None:
    """Load by these clients, and one fault after the other."""
    failures: list[BaseException] = []
    paying = Tasks(failures.append)
    try:
        for turn, payer in enumerate(faults.payers):
            first = turn % len(clients)
            paying.start(payer.pay((*clients[first:], *clients[:first]), faults.receiver), name=payer.name)
        paying.start(faults.bidder.bid(clients[0]), name=faults.bidder.name)
        await faults.goes_on(faults.names, await faults.send_probe(faults.names), time.monotonic())
        faults.say(f"{len(faults.names)} nodes commit under load")
        for kind in faults.draw.sample(kinds, len(kinds)):
            await faults.lose_f(kind)
        await faults.lose_more_than_f(faults.draw.choice(FAULTS))
        for turn in count(1):
            if time.monotonic() > faults.begin + seconds:
                break
            if turn % 4:
                await faults.lose_f(faults.draw.choice((*kinds, *ONE_WAY)), faults.draw.uniform(0, HOLD_S))
            else:
                await faults.lose_more_than_f(faults.draw.choice(FAULTS))
    finally:
        await paying.stop()
    if failures:
        raise failures[0]
    await faults.goes_on(faults.names, await faults.send_probe(faults.names), time.monotonic())
    await faults.audit()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, choices=(4, 7, 10), default=4)
    parser.add_argument("--seed", type=int, default=0, help="who is hit, and in which order")
    parser.add_argument("--seconds", type=float, default=0.0, help="go on for so long; 0: every fault once")
    parser.add_argument("--chains", default="all", help="those that the nodes host; the load is on the trading chain")
    parser.add_argument("--small-disks", action="store_true", help="mount one for each node, in a namespace of our own")
    options = parser.parse_args()
    if has_small_disks() and not options.small_disks:
        words = [sys.executable, "-m", "tests.processes.pbft_faults", *sys.argv[1:], "--small-disks"]
        os.execvp("unshare", ["unshare", "--map-root-user", "--mount", *words])
    kinds = FAULTS + CLOCKS + (DISKS if options.small_disks else ())
    if not options.small_disks:
        print("no user may mount a disk here: full and read-only ones are left out", file=sys.stderr)
    home = Path(tempfile.mkdtemp(prefix="gridmerit-faults-"))
    try:
        run = drive(
            home / "net",
            nodes=options.nodes,
            seed=options.seed,
            seconds=options.seconds,
            chains=options.chains,
            kinds=kinds,
        )
        tally = asyncio.run(run)
    except Lost as failure:
        print(f"faults: FAILED: {failure}\nthe nodes' logs are in {home}", file=sys.stderr)
        return 1
    shutil.rmtree(home)
    print(f"{options.nodes} nodes: {tally}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
