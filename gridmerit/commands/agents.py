"""`gridmerit agents`: the players of the packaged day, round the clock."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from gridmerit.amounts import parse_names
from gridmerit.commands.hosted import choose_chain, list_hosted
from gridmerit.errors import KindNotHosted, NotAPlayer
from gridmerit.network.layout import load_network
from gridmerit.network.parameters import load_packaged_profile, load_packaged_week
from gridmerit.output import json_option, note, wants_json
from gridmerit.players.round_the_clock import Acknowledged, Listeners, Rounds, find_posts
from ledger.errors import GridmeritError
from ledger.genesis import Genesis
from ledger.signatures import SigningKey
from market.profile import Profile
from market.strategies.built_in import BUILT_IN
from market.strategies.strategy import Strategy
from node.api.client import Client
from node.config import load_genesis
from node.credentials.keystore import load_key, load_passphrase
from simulation.seclusion import open_strategy

_DUTIES = ("plans", "orders", "readings", "money")
_PATIENCE_S = 3.0


@click.command("agents")
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--api", "apis", multiple=True, metavar="URL", help="A node to talk to, instead of a network's; repeat it."
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --api: a key file, its `passphrase` beside it; repeat it.",
)
@click.option(
    "--only", metavar="WHAT,…", help=f"Some of {', '.join(_DUTIES)}; `--only plans` leaves the market to you."
)
@click.option("--but", default="", metavar="NAME,…", help="Players to place no orders for, because you do.")
@click.option(
    "--strategy",
    "chosen",
    multiple=True,
    metavar="NAME=STRATEGY",
    help=f"How a player orders: {', '.join(BUILT_IN)}, FILE.py:CLASS or an entry point; repeat it.",
)
@click.option("--week", is_flag=True, help="Play the packaged week, of which the day is one, hour by hour.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="What prices are drawn from.")
@click.option("--alive", type=click.Path(path_type=Path, dir_okay=False), help="Touch this file while a node answers.")
@json_option
def command(
    directory: Path | None,
    apis: tuple[str, ...],
    keys: tuple[Path, ...],
    only: str | None,
    but: str,
    chosen: tuple[str, ...],
    week: bool,
    seed: int,
    alive: Path | None,
) -> None:
    """Play the packaged day round the clock: plans, orders, readings.

    The dispatcher plans, the players place orders, and their meters are read. Each period is one hour of the day. With
    a bank's key, on a network with economy = 1, all that trade are topped up each day, and those with much money have
    it paid out. What each key is good for follows from its member's role. Runs until Ctrl-C or SIGTERM, and may be
    started again at any time; where a node does not answer, the next one is asked. Every transaction that a node has
    acknowledged is one line on stdout; progress goes to stderr.

    \b
    Examples:
      gridmerit agents mynet
      gridmerit agents mynet --only plans
      gridmerit agents mynet --but homes-3
      gridmerit agents mynet --week
      gridmerit agents mynet --strategy homes-1=best-response --strategy pv-101=my.py:Mine
      gridmerit agents --api http://127.0.0.1:9200 --key keys/homes-1.pem --key keys/meter-homes-1.pem
    """
    if (directory is None) == (not apis) or bool(apis) != bool(keys):
        raise click.UsageError("name a network's DIRECTORY, or nodes and keys by --api and --key")
    duties = _DUTIES if only is None else _parse_duties(only)
    left_out = parse_names(but) if but else []
    strategies = _load_strategies(chosen)
    profile = load_packaged_week() if week else load_packaged_profile()
    asyncio.run(_run(profile, directory, apis, keys, duties, left_out, strategies, seed, alive))


def _load_strategies(chosen: Sequence[str]) -> dict[str, Strategy]:
    strategies: dict[str, Strategy] = {}
    for text in chosen:
        player, equals, reference = text.partition("=")
        if not (player and equals and reference):
            raise click.UsageError(f"--strategy: want NAME=STRATEGY, have {text}")
        if player in strategies:
            raise click.UsageError(f"--strategy: {player} has two")
        strategies[player] = open_strategy(reference)
    return strategies


def _parse_duties(only: str) -> tuple[str, ...]:
    names = tuple(name if name in _DUTIES else f"{name}s" for name in parse_names(only))
    if not names or not set(names) <= set(_DUTIES):
        raise click.UsageError(f"--only: want some of {', '.join(_DUTIES)}, have {only}")
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """Nodes by name with their URL and the chains they host, and the keys to act with."""

    genesis: Genesis
    nodes: Mapping[str, tuple[str, tuple[str, ...]]]
    keys: Sequence[SigningKey]
    prefers: Mapping[str, tuple[str, ...]]


async def _run(
    profile: Profile,
    directory: Path | None,
    apis: Sequence[str],
    keys: Sequence[Path],
    duties: Sequence[str],
    left_out: Sequence[str],
    strategies: Mapping[str, Strategy],
    seed: int,
    alive: Path | None,
) -> None:
    setting = _read_network(directory) if directory is not None else await _ask_nodes(apis, keys)
    if {chain.kind for chain in setting.genesis.chains} != {"trading", "scheduling", "credit"}:
        raise click.UsageError("the day is played on networks with all three chains")
    known = {player.name for player in profile.players}
    posts = [
        post
        for post in find_posts(setting.genesis, setting.keys, duties, setting.prefers)
        if post.duty in ("plans", "money")
        or ((post.member.owner or post.member.name) in known and post.member.name not in left_out)
    ]
    if not posts:
        raise click.UsageError(f"none of the keys is good for {', '.join(duties)} of the packaged day")
    ordering = sorted(post.member.name for post in posts if post.duty == "orders")
    for player in strategies:
        if player not in ordering:
            raise NotAPlayer(player=player, known=", ".join(ordering) or "nobody")
    note(f"playing {', '.join(sorted(post.member.name for post in posts))} at {', '.join(setting.nodes)}")
    async with AsyncExitStack() as stack:
        clients = await _connect(stack, setting)
        listeners = _make_listeners(alive)
        rounds = Rounds(
            setting.genesis,
            profile,
            posts,
            clients,
            seed=seed,
            listeners=listeners,
            strategies=strategies,
            batteries=(directory or keys[0].parent) / "batteries",
        )
        await _run_until_signal(rounds.run())


def _make_listeners(alive: Path | None) -> Listeners:
    as_json = wants_json()

    def on_taken(taken: Acknowledged) -> None:
        line = f"{taken.chain} {taken.transaction_id} {taken.kind} of {taken.name}"
        click.echo(json.dumps(asdict(taken)) if as_json else line)

    def on_alive() -> None:
        if alive is not None:
            alive.touch()

    return Listeners(on_taken=on_taken, on_progress=note, on_alive=on_alive)


async def _connect(stack: AsyncExitStack, setting: _Setting) -> dict[str, dict[str, Client]]:
    clients: dict[str, dict[str, Client]] = {chain.name: {} for chain in setting.genesis.chains}
    for name, (url, chains) in setting.nodes.items():
        for chain in chains or tuple(clients):
            client = Client(url, chain, timeout_s=_PATIENCE_S)
            clients[chain][name] = await stack.enter_async_context(client)
    return clients


async def _run_until_signal(work: Coroutine[None, None, None]) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await work
    except asyncio.CancelledError:
        note("stopped")


def _read_network(directory: Path) -> _Setting:
    """All keys of a network's players, meters and dispatcher; players talk to their own node first."""
    network = load_network(directory)
    files = []
    prefers = {}
    for player in network.players:
        files += [(player.key_file, player.passphrase_file), (player.meter_key_file, player.meter_passphrase_file)]
        prefers[player.name] = prefers[player.meter] = (player.node,)
    if network.dispatcher is not None:
        files.append((network.dispatcher.key_file, network.dispatcher.passphrase_file))
        prefers[network.dispatcher.name] = (network.dispatcher.name,)
    keys = [load_key(directory / key, load_passphrase(directory / passphrase)) for key, passphrase in files]
    nodes = {node.name: (node.api_url, node.chains) for node in network.nodes}
    return _Setting(genesis=load_genesis(network.genesis_path), nodes=nodes, keys=keys, prefers=prefers)


async def _ask_nodes(apis: Sequence[str], files: Sequence[Path]) -> _Setting:
    """The genesis as the first node that answers has it; a node that does not answer may host every chain."""
    keys = [load_key(file, load_passphrase(file.with_name("passphrase"))) for file in files]
    genesis: Genesis | None = None
    problem: GridmeritError | None = None
    nodes: dict[str, tuple[str, tuple[str, ...]]] = {}
    for url in apis:
        nodes[url] = (url, ())
        try:
            hosted = await list_hosted(url, timeout_s=_PATIENCE_S)
            nodes[url] = (url, tuple(hosted.running))
            trading = choose_chain(hosted.all, "trading")
            if trading is None:
                raise KindNotHosted(kind="trading", name="a trading chain", hosted=", ".join(hosted.all))
            async with Client(url, trading, timeout_s=_PATIENCE_S) as client:
                genesis = genesis or await client.genesis()
        except GridmeritError as error:
            problem = error
            note(f"{url}: {error}")
    if genesis is None:
        assert problem is not None
        raise problem
    return _Setting(genesis=genesis, nodes=nodes, keys=keys, prefers={})
