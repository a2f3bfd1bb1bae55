"""`gridmerit state`: what a chain keeps."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from gridmerit.commands import Group
from gridmerit.commands.hosted import list_hosted, open_clients
from gridmerit.commands.target import Target, node_options, run_async, to_plain
from gridmerit.errors import NeverRun
from gridmerit.network.layout import find_node_file
from gridmerit.output import emit, json_option
from gridmerit.tables import table
from ledger.chain import Chain
from ledger.genesis import Genesis
from ledger.store import LevelStore
from node.config import load_chains, load_config
from node.errors import NoSuchChain
from node.queries.answers import StateInfo
from node.queries.state import StateCount


@click.group("state", cls=Group)
def command() -> None:
    """Show what a chain keeps: entries and bytes by kind."""


@command.command("show")
@click.option("--offline", is_flag=True, help="Read the directory of a node that does not run.")
@node_options
@json_option
def show(offline: bool, target: Target) -> None:
    """Entries and bytes of each chain's state by kind, beside how many there may be at most.

    What a chain keeps is bounded by its members and the periods it retains, never by time: `at most` says by which, and
    comes to `limit`. `largest` is the longest value of the kind, of `up to` so many bytes. A kind that has passed
    either is marked; docs/protocol.md has the same table.

    A node that runs counts for itself. With --offline its store is read instead, which it must have let go of (exit
    code 9 where it has not).

    \b
    Examples:
      gridmerit state show --node mynet
      gridmerit state show --node mynet/nodes/wind-122 --offline --chain lh1
    """

    found = read_states(target) if offline else run_async(fetch_states(target))
    emit([to_plain(state) for state in found], "\n\n".join(map(_render, found)))


async def fetch_states(target: Target) -> list[StateInfo]:
    """Of the chain that --chain names, or of all that the node runs."""
    names = [target.chain] if target.chain else list((await list_hosted(target.url)).running)
    async with open_clients(target.url, names) as clients:
        return [await client.state() for client in clients.values()]


def read_states(target: Target) -> list[StateInfo]:
    """The same from a node's directory. Raises `NotANode`, `NoSuchChain`, `NeverRun` and what opening a store does."""
    file = find_node_file(target.directory or Path())
    config = load_config(file)
    chains = {genesis.params.name: genesis for genesis in load_chains(config)}
    if target.chain is not None and target.chain not in chains:
        raise NoSuchChain(file=str(file), name=target.chain, known=", ".join(chains))
    wanted = chains if target.chain is None else [target.chain]
    return [_read_state(chains[name], config.data_dir / name / "ledger") for name in wanted]


def _read_state(genesis: Genesis, store: Path) -> StateInfo:
    if not store.is_dir():
        raise NeverRun(directory=store, chain=genesis.params.name)
    with closing(LevelStore(store)) as opened:
        head = Chain(genesis, opened).head
    count = StateCount(genesis, head.header, head.state)
    while (found := count.go_on()) is None:
        pass
    return found


def _render(found: StateInfo) -> str:
    rows = [
        (
            kind.key,
            f"{kind.entries:,}",
            "–" if kind.max_entries is None else f"{kind.max_entries:,}",
            kind.bound,
            f"{kind.bytes:,}",
            f"{kind.largest_bytes:,}",
            f"{kind.max_value_bytes:,}",
            "" if kind.within else "PASSED",
        )
        for kind in found.kinds
    ]
    heads = ["kind", "entries", "limit", "at most", "bytes", "largest", "up to", ""]
    passed = [kind.key for kind in found.kinds if not kind.within]
    verdict = f"past its bound: {', '.join(passed)}" if passed else "every kind is within its bound"
    head = f"{found.chain}, after block {found.height}: {found.entries:,} entries, {found.bytes:,} bytes; {verdict}"
    return f"{head}\n\n{table(heads, rows, left=(0, 3, 7), spare=(3, 5, 6))}"
