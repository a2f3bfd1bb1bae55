"""A network of real processes with one seat left to a liar, honest clients who pay all the time, and what comes of it.

Every honest node has customers of its own, who pay through it and no other at a steady rate. What is counted is, of
the payments due in a window, how many the node worst off has in its chain soon after the window's end.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gridmerit.network.layout import Host, Network, NodeEntry
from gridmerit.network.make import new_network
from gridmerit.network.parameters import choose_chains, load_engine_params, load_packaged_profile, scale_params
from gridmerit.network.processes import find_pid, get_state, read_log_tail, start_node, stop_nodes
from ledger.errors import GridmeritError
from ledger.genesis import ALL_CHAINS
from ledger.hashing import address_of, show_address
from ledger.signatures import SigningKey
from ledger.transaction import Transaction, make_transaction
from node.api.client import Client
from node.config import load_genesis
from node.credentials.keystore import load_key, load_passphrase
from node.queries.answers import LoopStatus, NodeStatus
from node.system.tasks import Tasks

PERIOD_MS = 24_000  # a block a second
HONEST = ("pv-101", "wind-122", "homes-1", "homes-2")
LIAR = "homes-3"
CHAIN = "jy1"
_ROOT = Path(__file__).resolve().parents[2]
UNANSWERED_MS = 60_000  # a loop that has not answered for so long is taken to have stood still for so long
_STARTS_WITHIN_S = 60.0
_GRACE_S = {"pbft": 3.0, "poca": 8.0}  # under POCA blocks come at random: without it, the last one would decide
_STEP_S, _POLL_S, _ANSWER_S = 0.1, 0.25, 5.0
_MAX_TOGETHER = 256  # transfers in one request
_LIFETIME_BLOCKS = 5_000
_HAD = frozenset({"SequenceTooLow", "AlreadyKnown"})  # an answer that was lost had accepted it


class Unfit(AssertionError):
    """The stage itself does not work, liar or not."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The work of honest nodes over a while."""

    offered_per_s: float
    committed_per_s: float  # by the node worst off
    blocks: int  # since the window's beginning, by the node worst off
    final: int  # of these


@dataclass(kw_only=True)
class Seen:
    """The worst that honest nodes have said during a while; stalls in ms of CPU."""

    stall_ms: int = 0
    is_stall_exact: bool = True  # else it is the least bound that no turn passed
    score: int = 0
    is_banned: bool = False
    silent: set[str] = field(default_factory=set)  # nodes that did not answer in time at some moment
    slowest_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was seen on a network of its own, and what of it is wrong."""

    seen: str
    faults: tuple[str, ...]


Mishap = Callable[[Path, float], Awaitable[Report]]  # in a directory, with windows of so many seconds


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that runs a node in the place of `gridmerit start`; its directory is added to the words."""

    words: tuple[str, ...]
    max_files: int | None = None  # so few file descriptors, and no way to more
    environment: tuple[tuple[str, str], ...] = ()

    def start(self, network: Network, node: NodeEntry) -> None:
        home = network.directory_of(node).resolve()
        limit = [] if self.max_files is None else ["prlimit", f"--nofile={self.max_files}:{self.max_files}"]
        with (home / "node.log").open("ab") as log:
            process = subprocess.Popen(
                [*limit, sys.executable, *self.words, str(home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **dict(self.environment), "PYTHONPATH": str(_ROOT)},
                start_new_session=True,
            )
        (home / "node.pid").write_text(f"{process.pid}\n", encoding="ascii")


def run_script(name: str, *words: str) -> Program:
    """A program among these drivers."""
    return Program(words=("-m", f"tests.processes.{name}", *words))


class Customer:
    """One account, whose payments of 1 µ¥ fall due at a steady rate and go to one node, in order, until it has them."""

    def __init__(self, key: SigningKey, client: Client, chain_id: bytes, receiver: bytes, rate: float):
        self.ref = show_address(key.address)
        self._key, self._client, self._chain_id, self._receiver = key, client, chain_id, receiver
        self._rate = rate
        self._begin_s = time.monotonic()
        self._sent = 0

    @property
    def due(self) -> int:
        return int((time.monotonic() - self._begin_s) * self._rate)

    async def pay(self) -> None:
        """Go on for ever."""
        self._begin_s = time.monotonic()
        while True:
            batch = [self._make(sequence) for sequence in range(self._sent, min(self.due, self._sent + _MAX_TOGETHER))]
            if batch:
                self._sent += await self._hand_over(batch)
            await asyncio.sleep(_STEP_S)

    async def _hand_over(self, batch: list[Transaction]) -> int:
        """The number of them that the node has, from the first on."""
        try:
            outcomes = await self._client.submit(batch)
        except GridmeritError:
            return 0
        had = [error is None or error.code in _HAD for error in outcomes]
        return had.index(False) if False in had else len(had)

    def _make(self, sequence: int) -> Transaction:
        return make_transaction(
            self._key,
            chain_id=self._chain_id,
            sequence=sequence,
            expiry_height=_LIFETIME_BLOCKS,
            kind="transfer",
            payload=(self._receiver, 1),
        )


@dataclass(kw_only=True)
class Stage:
    """A network that runs, and its honest clients; `liar` is the seat that nobody honest takes."""

    network: Network
    honest: tuple[NodeEntry, ...]
    liar: NodeEntry
    clients: Mapping[str, Client]
    customers: list[Customer]
    committed: dict[str, list[int]]  # by node, of each customer, as last heard

    @property
    def engine(self) -> str:
        return load_genesis(self.network.genesis_path).params.consensus.engine

    # --- looking ---------------------------------------------------------------------------------

    async def ask_all(self) -> dict[str, NodeStatus | None]:
        """Every honest node's status, None where it does not answer in time."""
        answers = await asyncio.gather(*(self._ask(node) for node in self.honest))
        return {node.name: answer for node, answer in zip(self.honest, answers, strict=True)}

    async def _ask(self, node: NodeEntry) -> NodeStatus | None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self.clients[node.name].node_status()
        except (GridmeritError, TimeoutError):
            return None

    async def measure(self, seconds: float, *, but: str = "") -> Window:
        """Wait for so long, and see what has become of the payments due meanwhile, with all nodes but one."""
        before = await self._heights()
        begin, begin_s = [customer.due for customer in self.customers], time.monotonic()
        await asyncio.sleep(seconds)
        end, seconds = [customer.due for customer in self.customers], time.monotonic() - begin_s
        deadline_s = time.monotonic() + _GRACE_S[self.engine]
        counted = [counts for name, counts in self.committed.items() if name != but]
        while time.monotonic() < deadline_s:
            await self._look()
            if all(have >= due for counts in counted for have, due in zip(counts, end, strict=True)):
                break
            await asyncio.sleep(_POLL_S)
        after = await self._heights()
        worst = min(
            sum(min(max(have - low, 0), high - low) for have, low, high in zip(counts, begin, end, strict=True))
            for counts in counted
        )
        grown = [
            (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in before if name in after
        ]
        return Window(
            offered_per_s=sum(high - low for low, high in zip(begin, end, strict=True)) / seconds,
            committed_per_s=worst / seconds,
            blocks=min((height for height, _ in grown), default=0) if len(after) == len(self.honest) else 0,
            final=min((height for _, height in grown), default=0) if len(after) == len(self.honest) else 0,
        )

    async def _heights(self) -> dict[str, tuple[int, int]]:
        """Head and final block of every node that answers."""
        answers = await self.ask_all()
        return {
            name: (status.chains[0].height, status.chains[0].final_height)
            for name, status in answers.items()
            if status is not None
        }

    async def _look(self) -> None:
        await asyncio.gather(*(self._look_at(node) for node in self.honest))

    async def _look_at(self, node: NodeEntry) -> None:
        client, counts = self.clients[node.name], self.committed[node.name]
        try:
            async with asyncio.timeout(_ANSWER_S):
                for index, customer in enumerate(self.customers):
                    counts[index] = (await client.account(customer.ref)).sequence
        except (GridmeritError, TimeoutError):
            pass  # it has what it had

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Seen]:
        """Look at the honest nodes all the time; what they said is complete once the block has been left."""
        seen, tasks = Seen(), Tasks(_raise)
        before = await self.ask_all()
        watch = tasks.start(self._watch(seen), name="watch")
        try:
            yield seen
        finally:
            watch.cancel()
            await tasks.stop()
            await self._note_stalls(seen, before)

    async def _watch(self, seen: Seen) -> None:
        while True:
            begin_s = time.monotonic()
            self._note(seen, await self.ask_all())
            seen.slowest_s = max(seen.slowest_s, time.monotonic() - begin_s)
            await asyncio.sleep(1)

    def _note(self, seen: Seen, answers: Mapping[str, NodeStatus | None]) -> None:
        for name, status in answers.items():
            if status is None:
                seen.silent.add(name)
                continue
            peer = next(peer for peer in status.peers if peer["key"] == self.liar.key)
            seen.score = max(seen.score, peer["score"])
            seen.is_banned |= peer["banned_until_ms"] is not None

    async def _note_stalls(self, seen: Seen, before: Mapping[str, NodeStatus | None]) -> None:
        deadline_s = time.monotonic() + UNANSWERED_MS / 1_000
        answers = await self.ask_all()
        while None in answers.values() and time.monotonic() < deadline_s:
            await asyncio.sleep(_POLL_S)
            answers = await self.ask_all()
        self._note(seen, answers)
        stalls = [compare_turns(_turns_of(before[name]), _turns_of(status)) for name, status in answers.items()]
        seen.stall_ms, seen.is_stall_exact = max(stalls)

    # --- the end ---------------------------------------------------------------------------------

    def check_processes(self) -> list[str]:
        """Faults of honest nodes' processes."""
        problems = []
        for node in self.honest:
            home = self.network.directory_of(node)
            log = (home / "node.log").read_text(encoding="utf-8", errors="replace")
            if find_pid(self.network, node) is None:
                problems.append(f"{node.name} has ended: {read_log_tail(home)[-300:]}")
            elif "Traceback" in log:
                problems.append(f"{node.name} logged a traceback")
        return problems

    async def turn(self, program: Program) -> None:
        """Have the liar's node run another program, and wait until it answers. Raises `Unfit`."""
        await asyncio.to_thread(stop_nodes, self.network, [self.liar])
        await asyncio.to_thread(program.start, self.network, self.liar)
        deadline_s = time.monotonic() + _STARTS_WITHIN_S
        while (await get_state(self.network, self.liar)).status is None:
            if time.monotonic() > deadline_s:
                raise Unfit(f"the liar does not start: {read_log_tail(self.network.directory_of(self.liar))}")
            await asyncio.sleep(_POLL_S)

    async def wait_for(self, what: str, is_so: Any, within_s: float) -> None:
        """Wait until the honest nodes' statuses satisfy a condition, all of them answering. Raises `Unfit`."""
        deadline_s = time.monotonic() + within_s
        while True:
            answers = await self.ask_all()
            if None not in answers.values() and is_so(answers):
                return
            if problems := self.check_processes():
                raise Unfit("; ".join(problems))
            if time.monotonic() > deadline_s:
                raise Unfit(f"not within {within_s:.0f} s: {what}")
            await asyncio.sleep(_POLL_S)


def compare_turns(before: LoopStatus | None, after: LoopStatus | None) -> tuple[int, bool]:
    """The longest turn between two looks in ms, and whether that is the figure itself, not only a bound it kept."""
    if before is None or after is None:
        return UNANSWERED_MS, False
    if after.longest_ms > before.longest_ms:
        return after.longest_ms, True
    longer = [
        later.limit_ms
        for earlier, later in zip(before.within, after.within, strict=True)
        if after.turns - later.turns == before.turns - earlier.turns
    ]
    return min([after.longest_ms, *longer]), False


def _turns_of(status: NodeStatus | None) -> LoopStatus | None:
    return None if status is None else status.loop


def _raise(error: BaseException) -> None:
    raise error


# --- setting up ----------------------------------------------------------------------------------


def build_network(
    directory: Path,
    *,
    engine: str,
    honest: int,
    liar_votes: bool,
    liar_seals: bool,
    period_ms: int = PERIOD_MS,
    market: Mapping[str, object] = MappingProxyType({}),
) -> Network:
    """A disposable network on the trading chain: so many honest seats, and the liar's, which may be an observer's.

    A liar that votes need not seal: then under POCA all blocks are of honest nodes. `market` is what of the market's
    parameters is not as recommended.
    """
    chains = choose_chains(load_engine_params(None if engine == "poca" else engine), [CHAIN], "the recommended set")
    seats = [Host(name=name) for name in HONEST[:honest]]
    seats.append(Host(name=LIAR, chains=(ALL_CHAINS,) if liar_votes else ()))
    chains = tuple(
        chain.model_copy(update={"market": chain.market.model_copy(update=dict(market))}) for chain in chains
    )
    network = new_network(
        directory,
        nodes=seats,
        params=[scale_params(chain, period_ms) for chain in chains],
        profile=load_packaged_profile(),
        disposable=True,
    )
    if not liar_seals:
        file = network.directory_of(network.nodes[-1]) / "node.toml"
        file.write_text(file.read_text(encoding="utf-8").replace("threads = 1", "threads = 0"), encoding="utf-8")
    return network


@asynccontextmanager
async def open_stage(
    network: Network, *, rate: float, has_liar: bool = False, programs: Mapping[str, Program] | None = None
) -> AsyncIterator[Stage]:
    """Start the honest nodes and their customers, `rate` payments a second in all; in the end all are stopped.

    `has_liar` starts the liar's node, too, honest for the time being. Nodes for which there is a program run that.
    """
    *honest, liar = network.nodes
    programs = programs or {}
    running = network.nodes if has_liar else honest
    try:
        for node in running:
            start = programs[node.name].start if node.name in programs else start_node
            await asyncio.to_thread(start, network, node)
        async with AsyncExitStack() as stack:
            clients = {
                node.name: await stack.enter_async_context(Client(node.api_url, CHAIN, timeout_s=_ANSWER_S))
                for node in honest
            }
            customers = _open_customers(network, honest, clients, rate)
            stage = Stage(
                network=network,
                honest=tuple(honest),
                liar=liar,
                clients=clients,
                customers=customers,
                committed={node.name: [0] * len(customers) for node in honest},
            )
            await stage.wait_for("all nodes connected", _are_connected(running), _STARTS_WITHIN_S)
            failures: list[BaseException] = []
            tasks = Tasks(failures.append)
            try:
                for customer in customers:
                    tasks.start(customer.pay(), name=customer.ref)
                await stage.wait_for("two blocks", lambda answers: _lowest(answers) >= 2, _STARTS_WITHIN_S)
                yield stage
            finally:
                await tasks.stop()
            if failures:
                raise failures[0]
    finally:
        await asyncio.to_thread(stop_nodes, network, network.nodes, grace_ms=5_000)


def _open_customers(
    network: Network, honest: Sequence[NodeEntry], clients: Mapping[str, Client], rate: float
) -> list[Customer]:
    chain_id = load_genesis(network.genesis_path).chain_id
    seats = {node.name for node in network.nodes}
    players = [player for player in network.players if player.name not in seats][: len(honest)]
    customers = []
    for player, node in zip(players, honest, strict=True):
        passphrase = load_passphrase(network.directory / player.passphrase_file)
        key = load_key(network.directory / player.key_file, passphrase)
        receiver = address_of(bytes.fromhex(network.nodes[0].key))
        customers.append(Customer(key, clients[node.name], chain_id, receiver, rate / len(honest)))
    return customers


def _are_connected(running: Sequence[NodeEntry]) -> Any:
    keys = {node.key for node in running}

    def check(answers: Mapping[str, NodeStatus]) -> bool:
        return all(peer["connected"] for status in answers.values() for peer in status.peers if peer["key"] in keys)

    return check


def _lowest(answers: Mapping[str, NodeStatus]) -> int:
    return min(status.chains[0].height for status in answers.values())
