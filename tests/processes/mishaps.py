"""Mishaps, which befall a node by nobody's will: an absence, a directory that is put back, a damaged store and more.

`MISHAPS` by name. Each says what it saw, and what of it is wrong.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp

from gridmerit.network.layout import Host, Network, NodeEntry
from gridmerit.network.make import find_free_ports, new_network
from gridmerit.network.parameters import load_engine_params, load_packaged_profile, scale_params
from gridmerit.network.processes import find_pid, read_log_tail, start_node, stop_nodes
from ledger.errors import GridmeritError
from node.api.client import Client
from node.chain.messages import MAX_ITEMS
from node.chain.sync import FAR_BEHIND
from node.queries.answers import ChainStatus, NodeStatus
from tests.processes.grown import build_grown_network
from tests.processes.liars import ELSEWHERE
from tests.processes.stage import CHAIN, HONEST, Mishap, Program, Report, Stage, Window, build_network, open_stage
from tests.processes.wall_clock import WallClock

T = TypeVar("T")
NODE = ("-m", "gridmerit", "start")
_RATE = 20.0
_POLL_S = 0.25
_WITHIN_S = 60.0
_CUT_OFF_S = 10.0  # for so long a restored node is alone: it would seal a block every few seconds
_FEW_FILES, _STREAMS = 64, 80
_CATCH_UP_BLOCKS_PER_S = 40  # of a window, grown beforehand
_STEPS, _SIDE_BLOCKS = 10, 2
_ANSWER_MS, _PAGE = 100, 49
_SPOILT, _IDLE_PERIOD_MS = "lh1", 6_000  # in which a chain without load makes one block


async def until(condition: Callable[[], Awaitable[bool]], within_s: float, *, poll_s: float = _POLL_S) -> bool:
    """Tell whether it came true in time; a node that does not answer does not fulfil it yet."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            if await condition():
                return True
        except GridmeritError:
            pass
        await asyncio.sleep(poll_s)
    return False


# --- a directory that is put back ----------------------------------------------------------------


async def restore_copy(home: Path, seconds: float) -> Report:
    """A node's data are copied, it seals on, and the copy is put back: alone first, then with the others."""
    network = build_network(home, engine="poca", honest=3, liar_votes=False, liar_seals=False)
    async with open_stage(network, rate=_RATE) as stage:
        victim = stage.honest[-1]
        directory, faults = network.directory_of(victim), []
        await asyncio.to_thread(stop_nodes, network, [victim])
        copy = shutil.copytree(directory / "data", directory / "copy")
        copied_at = (await stage.clients[stage.honest[0].name].status()).height
        await asyncio.to_thread(start_node, network, victim)
        if not await until(lambda: _has_sealed(stage, victim, copied_at, 2), _WITHIN_S):
            return Report(seen="", faults=(f"{victim.name} seals nothing after a clean stop",))
        await asyncio.to_thread(stop_nodes, network, [victim])

        alone = await _run_alone(network, victim, copy)
        if alone is None:
            faults.append("alone, it does not answer")
        elif alone.grown:
            faults.append(f"alone, it sealed {alone.grown} blocks at heights it had sealed at before")

        put_back(directory, copy)
        back_at = (await stage.clients[stage.honest[0].name].status()).height
        await asyncio.to_thread(start_node, network, victim)
        if not await until(lambda: _has_sealed(stage, victim, back_at, 1), _WITHIN_S):
            faults.append("with the others, it seals no more")
        penalty_upt = (await stage.clients[stage.honest[0].name].account(victim.name)).penalty_upt
        if penalty_upt:
            faults.append(f"it signed twice, for {penalty_upt // 1_000_000} points")
        seen = f"copied at {copied_at}, put back at {back_at}"
        return Report(seen=seen, faults=(*faults, *stage.check_processes()))


async def _has_sealed(stage: Stage, node: NodeEntry, above: int, count: int) -> bool:
    """As the first node sees it."""
    blocks = await stage.clients[stage.honest[0].name].blocks(above + 1, above + 1_000)
    return sum(block.producer_name == node.name for block in blocks) >= count


@dataclass(frozen=True, kw_only=True)
class _Alone:
    grown: int


async def _run_alone(network: Network, node: NodeEntry, copy: Path) -> _Alone | None:
    """Run a restored node where nobody reaches it and it reaches nobody, and see what it does."""
    directory = network.directory_of(node)
    put_back(directory, copy)
    file = directory / "node.toml"
    text = file.read_text(encoding="utf-8")
    ports = {other.peer_url.rpartition(":")[2] for other in network.nodes}
    cut_off = text
    for port, free in zip(sorted(ports), find_free_ports(len(ports)), strict=True):
        cut_off = cut_off.replace(f':{port}"', f':{free}"')
    file.write_text(cut_off, encoding="utf-8")
    await asyncio.to_thread(start_node, network, node)
    heights: list[int] = []
    try:
        async with Client(node.api_url, CHAIN, timeout_s=5) as client:

            async def answers() -> bool:
                heights.append((await client.status()).height)
                return True

            if not await until(answers, _WITHIN_S):
                return None
            await asyncio.sleep(_CUT_OFF_S)
            await until(answers, _WITHIN_S)
    finally:
        await asyncio.to_thread(stop_nodes, network, [node])
        file.write_text(text, encoding="utf-8")
    return _Alone(grown=heights[-1] - heights[0])


def put_back(directory: Path, copy: Path) -> None:
    shutil.rmtree(directory / "data")
    shutil.copytree(copy, directory / "data")


# --- a clock that is wrong -----------------------------------------------------------------------


async def shift_clock(home: Path, seconds: float) -> Report:
    """A node's clock is ten minutes fast, right after a restart, five minutes slow after the next, and then set."""
    network = build_network(home, engine="poca", honest=3, liar_votes=False, liar_seals=False)
    victim = network.nodes[2]
    directory = network.directory_of(victim)
    clock = WallClock(directory / "clock")
    program = Program(words=NODE, environment=tuple(clock.environment.items()))
    clock.set(600_000)
    async with open_stage(network, rate=_RATE, programs={victim.name: program}) as stage:
        log = directory / "node.log"
        faults = await _look_at_clock(stage, victim, "ten minutes fast", await stage.measure(seconds))

        async def restart(offset_ms: int) -> int:
            await asyncio.to_thread(stop_nodes, network, [victim])
            log.rename(directory / f"before-{offset_ms}.log")
            clock.set(offset_ms)
            height = (await stage.clients[stage.honest[0].name].status()).height
            await asyncio.to_thread(program.start, network, victim)
            return height

        height = await restart(0)
        if not await until(lambda: _has_sealed(stage, victim, height, 1), _WITHIN_S):
            faults.append("restarted with the right time, it seals nothing that others hear of")
        await restart(-300_000)  # all blocks of the others are ahead of its clock: it waits, and they go on
        faults += await _look_at_clock(
            stage, victim, "five minutes slow", await stage.measure(seconds, but=victim.name)
        )
        clock.set(0)
        height = (await stage.clients[stage.honest[0].name].status()).height
        if not await until(lambda: _has_sealed(stage, victim, height, 1), _WITHIN_S):
            faults.append("set right, it seals nothing that others hear of")
        return Report(seen=f"{victim.name}'s clock", faults=(*faults, *stage.check_processes()))


async def _look_at_clock(stage: Stage, victim: NodeEntry, how: str, window: Window) -> list[str]:
    """Faults of a node of a wrong clock, and of what others make of it."""
    faults = []
    if window.committed_per_s < 0.8 * window.offered_per_s:
        faults.append(f"{how}: {100 * window.committed_per_s / window.offered_per_s:.0f} % committed")
    log = (stage.network.directory_of(victim) / "node.log").read_text(encoding="utf-8")
    if not any('"event": "clock' in line and '"level": "warning"' in line for line in log.splitlines()):
        faults.append(f"{how}: its log says nothing of it")
    for name, status in (await stage.ask_all()).items():
        for peer in status.peers if status is not None else ():
            is_about_it = victim.name in (name, peer["name"])
            if is_about_it and (peer["score"] or peer["banned_until_ms"] is not None):
                faults.append(f"{how}: {name} holds {peer['score']} points against {peer['name']}")
    return faults


# --- catching up ---------------------------------------------------------------------------------


async def catch_up(home: Path, seconds: float) -> Report:
    """A node that has lost its data is asked again and again while it catches up with hundreds of blocks."""
    blocks = int(seconds) * _CATCH_UP_BLOCKS_PER_S
    network = await asyncio.to_thread(build_grown_network, home, honest=4, blocks=blocks)
    async with open_stage(network, rate=_RATE) as stage:
        victim, witness = stage.honest[-1], stage.clients[stage.honest[0].name]
        await asyncio.to_thread(stop_nodes, network, [victim])
        shutil.rmtree(network.directory_of(victim) / "data")
        await asyncio.to_thread(start_node, network, victim)
        begin = (await witness.status()).height
        told, took = await _watch_catching_up(network, victim, begin)
        if not told or told[-1].loop is None:
            return Report(seen="", faults=("it does not answer", *stage.check_processes()))
        faults = _judge_progress([status.chains[0] for status in told], begin) + stage.check_processes()
        turn_ms = told[-1].loop.longest_ms
        if turn_ms > _ANSWER_MS:
            faults.append(f"stall of {turn_ms} ms")
        for what, costs_ms in took.items():
            if (cost_ms := sorted(costs_ms)[9 * len(costs_ms) // 10]) > _ANSWER_MS:
                faults.append(f"one in ten answers to {what} comes after more than {cost_ms} ms of CPU")
        grown = told[-1].chains[0].height - told[0].chains[0].height
        most = ", ".join(f"{what} {max(costs_ms)}" for what, costs_ms in took.items())
        seen = f"{grown} blocks told in {len(told)} answers; ms of CPU at most: a turn {turn_ms}, {most}"
        return Report(seen=seen, faults=tuple(faults))


async def _watch_catching_up(
    network: Network, node: NodeEntry, target: int
) -> tuple[list[NodeStatus], dict[str, list[int]]]:
    """A node's words about itself until it has a block, and what it computed from each question to its answer, in ms.

    In CPU time of all its threads, which others' work on this machine does not lengthen; but it goes on while whoever
    asks is kept waiting for a processor, so that no single answer proves anything.
    """
    told: list[NodeStatus] = []
    took: dict[str, list[int]] = {"status": [], "metrics": [], "blocks": []}
    async with Client(node.api_url, CHAIN, timeout_s=5) as client, aiohttp.ClientSession(node.api_url) as session:
        pid = find_pid(network, node)
        assert pid is not None

        async def get_metrics() -> None:
            async with session.get("/metrics") as answer:
                await answer.read()

        async def ask(what: str, question: Awaitable[T]) -> T:
            begin_ns = read_cpu_ns(pid)
            answer = await question
            took[what].append((read_cpu_ns(pid) - begin_ns) // 1_000_000)
            return answer

        async def is_open() -> bool:
            await client.node_status()
            return True

        async def has_arrived() -> bool:
            told.append(await ask("status", client.node_status()))
            height = told[-1].chains[0].height
            await ask("metrics", get_metrics())
            await ask("blocks", client.blocks(max(0, height - _PAGE), height))
            return height >= target

        await until(is_open, _WITHIN_S, poll_s=0)  # what it takes to open the node is not the first answer's
        await until(has_arrived, _WITHIN_S, poll_s=0)
    return told, took


def read_cpu_ns(pid: int) -> int:
    """CPU time that a process of this machine has used, all its threads together."""
    return time.clock_gettime_ns((~pid << 3) | 2)  # as clock_getcpuclockid(3) names its clock


def _judge_progress(told: Sequence[ChainStatus], begin: int) -> list[str]:
    """Untruths in what a node said while it caught up with the last height; others had one to begin with."""
    heights = [chain.height for chain in told]
    begun = next((index for index, chain in enumerate(told) if chain.syncing), None)
    if begun is None:
        return ["it never said that it catches up"]
    target = heights[-1] - 2 * FAR_BEHIND
    midway = [chain for chain in told[begun:] if chain.height < target]
    faults = []
    if heights != sorted(heights):
        faults.append("its height fell")
    if len({chain.height for chain in midway}) < _STEPS:
        faults.append("its height does not show how far it is")
    least = min(target, begin - FAR_BEHIND)
    if untrue := [chain for chain in midway if not chain.syncing or chain.sync_target < _find_target(chain, least)]:
        faults.append(
            f"at {untrue[0].height} of {target} it said: syncing {untrue[0].syncing}, to {untrue[0].sync_target}"
        )
    if told[-1].forks.side_blocks > _SIDE_BLOCKS:
        faults.append(f"{told[-1].forks.side_blocks} side blocks")
    return faults


def _find_target(chain: ChainStatus, least: int) -> int:
    """The lowest target that is true: as far as headers have been checked, of which one message brings so many."""
    return least if chain.height >= MAX_ITEMS else chain.height + 1


# --- few file descriptors ------------------------------------------------------------------------


async def run_out_of_files(home: Path, seconds: float) -> Report:
    """One node has 64 file descriptors, and 80 readers of events."""
    network = build_network(home, engine="pbft", honest=4, liar_votes=False, liar_seals=False)
    few = Program(words=NODE, max_files=_FEW_FILES)
    async with open_stage(network, rate=_RATE, programs={HONEST[0]: few}) as stage:
        before = await stage.measure(seconds)
        connector = aiohttp.TCPConnector(limit=0, local_addr=(ELSEWHERE, 0))
        patience = aiohttp.ClientTimeout(total=None, sock_read=5)
        streams, refused = 0, 0
        async with (
            aiohttp.ClientSession(stage.honest[0].api_url, connector=connector) as session,
            AsyncExitStack() as held,
        ):
            for _ in range(_STREAMS):
                try:
                    answer = await held.enter_async_context(session.get(f"/v1/{CHAIN}/events", timeout=patience))
                    streams += answer.status == 200
                    refused += answer.status != 200
                except (aiohttp.ClientError, OSError, TimeoutError):
                    refused += 1
            during = await stage.measure(seconds)
        faults = stage.check_processes()
        if during.committed_per_s < 0.8 * before.committed_per_s:
            faults.append(f"kept {100 * during.committed_per_s / max(before.committed_per_s, 0.1):.0f} %")
        return Report(seen=f"{streams} streams open, {refused} refused", faults=tuple(faults))


# --- a damaged store -----------------------------------------------------------------------------


async def damage_one_chain(home: Path, seconds: float) -> Report:
    """A node of three chains whose credit chain has one bit flipped on disk."""
    params = [scale_params(chain, _IDLE_PERIOD_MS) for chain in load_engine_params("pbft")]
    network = new_network(home, nodes=[Host(name=HONEST[0])], params=params, profile=load_packaged_profile())
    (node,) = network.nodes
    directory = network.directory_of(node)

    async def have_grown() -> bool:
        async with Client(node.api_url, CHAIN, timeout_s=5) as client:
            return min(chain.height for chain in (await client.node_status()).chains) >= 5

    try:
        await asyncio.to_thread(start_node, network, node)
        if not await until(have_grown, _WITHIN_S):
            return Report(seen="", faults=(f"it does not run: {read_log_tail(directory)[-300:]}",))
        await asyncio.to_thread(stop_nodes, network, [node])
        spoilt = _flip_a_bit(directory / "data" / _SPOILT / "ledger")
        before = (directory / "node.log").stat().st_size
        await asyncio.to_thread(start_node, network, node)
        chains: dict[str, ChainStatus] = {}

        async def go_on() -> bool:
            async with Client(node.api_url, CHAIN, timeout_s=5) as client:
                now = {chain.chain: chain for chain in (await client.node_status()).chains}
            had, _ = dict(chains), chains.update({name: chain for name, chain in now.items() if name not in chains})
            others = [name for name in network.chains if name != _SPOILT]
            return all(name in had and now[name].height > had[name].height for name in others)

        faults = []
        if not await until(go_on, _WITHIN_S / 2):
            faults.append("the other chains do not go on")
        if find_pid(network, node) is None:
            faults.append("the node has ended")
        with (directory / "node.log").open("rb") as log:
            log.seek(before)
            said = log.read().decode(errors="replace")
        if not any(_SPOILT in line and "damaged" in line for line in said.splitlines()):
            faults.append("the log does not say which chain is damaged")
        return Report(seen=f"one bit of {spoilt.name}", faults=tuple(faults))
    finally:
        await asyncio.to_thread(stop_nodes, network, [node])


def _flip_a_bit(store: Path) -> Path:
    """In the middle of the largest file of a store."""
    file = max(store.iterdir(), key=lambda path: path.stat().st_size)
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    return file


MISHAPS: dict[str, Mishap] = {
    "catching-up": catch_up,
    "wrong-clock": shift_clock,
    "copied-directory": restore_copy,
    "few-descriptors": run_out_of_files,
    "damaged-chain": damage_one_chain,
}
