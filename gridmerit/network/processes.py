"""Node processes of a network on this machine: start them detached, find them again, stop them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gridmerit.errors import NodeFailed
from gridmerit.network.layout import Network, NodeEntry
from ledger.errors import GridmeritError
from node.api.client import Client
from node.errors import MembershipEnded
from node.queries.answers import ChainOutage, NodeStatus
from node.system.clock import steady_ms
from node.system.log_files import LOG_FILE, read_last_lines
from node.system.pid_file import PID_FILE, is_held, read_pid

_HEALTHY_WITHIN_MS = 120_000  # of a machine that is busy: whoever ends is told of at once
_GRACE_MS = 10_000
_ANSWER_S = 10.0
_POLL_S = 0.1
_LOG_TAIL_LINES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One node as seen from outside: its process, and its own status where it answers."""

    entry: NodeEntry
    pid: int | None
    status: NodeStatus | None
    problem: str = ""

    def runs(self, chain: str) -> bool:
        """True where it answers and the chain is not out."""
        return self.status is not None and any(one.chain == chain for one in self.status.chains)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkStart:
    """The names of the nodes that were started, and the chains that nodes run without, by the node's name."""

    started: list[str]
    outages: list[tuple[str, ChainOutage]]


def find_pid(network: Network, node: NodeEntry) -> int | None:
    """The node's process, whatever has started it; None where it is not running (a stale pid file does not count)."""
    home = network.directory_of(node)
    pid = read_pid(home)
    return pid if pid is not None and _is_running(pid, home) else None


def start_node(network: Network, node: NodeEntry, verb: Sequence[str] = ("start",)) -> bool:
    """Start a node in the background; False where it runs already. Its output goes to `node.log`.

    Raises `NodeFailed`. `verb` is the command that runs it, to which its directory is added.
    """
    if find_pid(network, node) is not None:
        return False
    home = network.directory_of(node).resolve()
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    try:
        with (home / LOG_FILE).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gridmerit", *verb, str(home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        (home / PID_FILE).write_text(f"{process.pid}\n", encoding="ascii")
    except OSError as error:
        raise _failed(network, node, f"could not be started ({error})") from None
    while process.poll() is None and find_pid(network, node) is None:
        time.sleep(_POLL_S / 20)  # a process has no command line for an instant while it starts
    return True


async def start_network(
    network: Network, nodes: Sequence[NodeEntry] | None = None, *, within_ms: int = _HEALTHY_WITHIN_MS
) -> NetworkStart:
    """Start those of the `nodes` (all, where they are not given) that do not run, and wait until all are connected.

    That is with each other, and with all others that run, on the chains that they run.
    Raises `NodeFailed` where one ends or does not become healthy in time. Then, and when interrupted, those that were
    started are stopped again.
    """
    started: list[NodeEntry] = []
    wanted = network.nodes if nodes is None else nodes
    try:
        for node in wanted:
            if start_node(network, node):
                started.append(node)
        states = await _wait_until_healthy(network, wanted, steady_ms() + within_ms)
    except NodeFailed as error:
        raise _stop_again(network, wanted, started, error) from None
    except BaseException:
        stop_nodes(network, started)
        raise
    outages = [(state.entry.name, outage) for state in states if state.status for outage in state.status.outages]
    return NetworkStart(started=[node.name for node in started], outages=outages)


async def _wait_until_healthy(network: Network, nodes: Sequence[NodeEntry], deadline_ms: int) -> list[NodeState]:
    """The states once all of them are connected at one look, and at the next one.

    What an earlier look saw may be over, and a look is not an instant: a node that is asked first may not have heard
    yet that another, asked last, has started anew.
    """
    was_healthy = False
    while True:
        seen = [await get_state(network, node) for node in network.nodes]
        states = [state for state in seen if state.entry in nodes]
        ended = [state for state in states if state.pid is None]
        if ended:
            raise _failed(network, ended[0].entry, "ended before it was healthy")
        impaired = {state.entry.key for state in seen if state.status and state.status.outages}
        impaired |= {state.entry.key for state in seen if state.status is None and state.entry not in nodes}
        waiting = [state for state in states if not is_healthy(network, state, but=impaired)]
        if not waiting and was_healthy:
            return states
        was_healthy = not waiting
        if waiting and steady_ms() > deadline_ms:
            raise _failed(network, waiting[0].entry, f"is not healthy in time ({waiting[0].problem})")
        await asyncio.sleep(_POLL_S)


def _stop_again(
    network: Network, wanted: Sequence[NodeEntry], started: Sequence[NodeEntry], error: NodeFailed
) -> NodeFailed:
    """The same, and what became of the others: why those that ended did so, which were stopped again, which run."""
    others = [node for node in wanted if node.name != error.values["name"]]
    ended = [node for node in others if find_pid(network, node) is None]
    stop_nodes(network, started)
    stopped = [node.name for node in others if node in started and node not in ended]
    running = [node.name for node in others if node not in started and node not in ended]
    more = [f"{node.name} ended, too; its log ends: {read_log_tail(network.directory_of(node))}" for node in ended]
    more += [f"stopped again: {', '.join(stopped)}"] if stopped else []
    more += [f"still running, as before: {', '.join(running)}"] if running else []
    log = "; ".join([str(error.values["log"]), *more])
    return NodeFailed(**{**error.values, "log": log, "stopped": stopped, "running": running})


async def get_state(network: Network, node: NodeEntry) -> NodeState:
    """Look at one node."""
    pid = find_pid(network, node)
    if pid is None:
        return NodeState(entry=node, pid=None, status=None, problem="not running")
    try:
        async with Client(node.api_url, network.chain, timeout_s=_ANSWER_S) as client:
            status = await client.node_status()
    except GridmeritError as error:
        return NodeState(entry=node, pid=pid, status=None, problem=str(error))
    lost = _list_lost(network, status)
    return NodeState(entry=node, pid=pid, status=status, problem=f"no connection to {', '.join(lost)}" if lost else "")


async def look(network: Network) -> tuple[list[NodeState], dict[tuple[str, str], int]]:
    """Every node, and the credit of every member on every chain, as the first node that runs it has it."""
    states = [await get_state(network, node) for node in network.nodes]
    running = [state for state in states if state.status is not None]
    credits_upt: dict[tuple[str, str], int] = {}
    for chain in network.chains:
        url = next((state.entry.api_url for state in running if state.runs(chain)), None)
        if url is not None:
            async with Client(url, chain) as client:
                credits_upt |= {(chain, entry.name): entry.credit_upt for entry in await client.credit()}
    return states, credits_upt


def is_healthy(network: Network, state: NodeState, *, but: Collection[str] = ()) -> bool:
    """True where it answers and is connected to all others but those with these keys."""
    return state.status is not None and not _list_lost(network, state.status, but)


def _list_lost(network: Network, status: NodeStatus, but: Collection[str] = ()) -> list[str]:
    """Names of the network's other nodes that a node is not connected to and should be.

    A node.toml may have more peers; and between nodes whose member has gone and the others there is nothing to say.
    """
    own = {node.key for node in network.nodes} - set(but)
    return [
        peer["name"]
        for peer in status.peers
        if not (peer["connected"] or peer["has_ended"] or peer["refusal"] == MembershipEnded.__name__)
        and peer["key"] in own
    ]


def stop_network(network: Network, *, grace_ms: int = _GRACE_MS) -> dict[str, str]:
    """Ask every node to end, and end it after the grace; by name `stopped`, `killed` or `not running`."""
    return stop_nodes(network, network.nodes, grace_ms=grace_ms)


def stop_nodes(network: Network, nodes: Sequence[NodeEntry], *, grace_ms: int = _GRACE_MS) -> dict[str, str]:
    """As `stop_network`, these nodes alone."""
    homes = {node.name: network.directory_of(node) for node in nodes}
    running = {node.name: pid for node in nodes if (pid := find_pid(network, node)) is not None}
    outcome = {name: "stopped" if name in running else "not running" for name in homes}
    for pid in running.values():
        _signal(pid, signal.SIGTERM)
    deadline_ms = steady_ms() + grace_ms
    for name, pid in running.items():
        if not _wait_until_gone(pid, homes[name], deadline_ms):
            _signal(pid, signal.SIGKILL)
            _wait_until_gone(pid, homes[name], steady_ms() + grace_ms)
            outcome[name] = "killed"
    for home in homes.values():
        (home / PID_FILE).unlink(missing_ok=True)
    return outcome


def read_log_tail(home: Path, lines: int = _LOG_TAIL_LINES) -> str:
    """The end of a node's log: the error that ended the node, where it is told there, else the last lines."""
    if not (home / LOG_FILE).exists():
        return "(no log)"
    last = read_last_lines(home, lines)
    told = max((place for place, line in enumerate(last) if line.startswith("error[")), default=0)
    return " | ".join(line.strip() for line in last[told:]) or "(empty log)"


def _failed(network: Network, node: NodeEntry, detail: str) -> NodeFailed:
    home = network.directory_of(node)
    return NodeFailed(name=node.name, detail=detail, directory=home, log=read_log_tail(home))


def _wait_until_gone(pid: int, home: Path, deadline_ms: int) -> bool:
    while _is_running(pid, home):
        if steady_ms() >= deadline_ms:
            return False
        time.sleep(_POLL_S / 2)
    return True


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_running(pid: int, home: Path) -> bool:
    """Return True if this process lives and is the node of that directory: pids are given out again."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of ours that has ended stays a zombie until it is asked after
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return is_held(home) or str(home.resolve()) in _command_line(pid)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        listing = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return listing.stdout
