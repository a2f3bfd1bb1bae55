"""`gridmerit net`: a network of nodes on this machine."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from gridmerit.amounts import parse_names
from gridmerit.commands import Group
from gridmerit.commands.chain_options import ChainChoice, chain_options
from gridmerit.commands.net_tables import (
    describe_new,
    describe_state,
    render_new,
    render_states,
)
from gridmerit.commands.target import run_async, to_plain
from gridmerit.network.compose import choose_cluster, choose_params, list_candidates, render_compose, save_compose
from gridmerit.network.compose import provision as fill_volumes
from gridmerit.network.layout import Network, NodeEntry, load_network
from gridmerit.network.make import new_network
from gridmerit.network.parameters import choose_chains, load_packaged_profile, scale_params
from gridmerit.network.processes import look, start_network, stop_nodes
from gridmerit.network.service import describe_service
from gridmerit.output import emit, json_option, note
from gridmerit.tables import table
from gridmerit.text import quote_path
from node.errors import ChainOut
from node.system.log_files import follow, read_last_lines
from simulation.attacks.registry import load_attack

_BASE_PORT = 9_100
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_DIRECTORY = click.Path(path_type=Path, file_okay=False)


def _check_user(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _USER.fullmatch(value):
        raise click.UsageError(f"--user {value!r}: want the name of a user, such as gridmerit")
    return value


@click.group("net", cls=Group)
def command() -> None:
    """Make, start, watch and stop a network of nodes on this machine.

    \b
    Example:
      gridmerit net new mynet --nodes 4
      gridmerit net up mynet
      gridmerit net status mynet
      gridmerit net logs -f mynet wind-122
      gridmerit net down mynet
    """


@command.command("new")
@click.argument("directory", type=_DIRECTORY)
@click.option("--nodes", type=click.IntRange(1, 10), default=4, show_default=True, help="Members that run a node.")
@click.option(
    "--chains",
    metavar="NAME,…",
    help="Which chains of the parameters, such as `jy1` to trade without the other two.  [default: all of them]",
)
@chain_options
@click.option("--period-ms", type=click.IntRange(min=800), help="Length of a period; deadlines scale with it.")
@click.option(
    "--base-port",
    type=click.IntRange(0, 65_000),
    default=_BASE_PORT,
    show_default=True,
    help="The first node's port for peers; its API's is 100 above, and each further node's one more. 0: any free ones.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Make all keys from this number. For rehearsals only.")
@click.option("--disposable", is_flag=True, help="Mark the network, for ever, as one that gridmerit attack may attack.")
@click.option("--compose", is_flag=True, help="Write a compose file for as many containers instead, and nothing else.")
@click.option(
    "--players",
    type=click.IntRange(0, 8),
    default=0,
    help="With --compose: so many more containers, of market players with the trading chain alone.",
)
@json_option
def new(
    directory: Path,
    nodes: int,
    chains: str | None,
    choice: ChainChoice,
    period_ms: int | None,
    base_port: int,
    seed: int | None,
    disposable: bool,
    compose: bool,
    players: int,
) -> None:
    """Write a genesis, keys and a directory per node. Nothing is started.

    --set paper is text 000 as it is written: merit clears (Table 1), each delivery counts once (Eqs (1) and (2)), τ is
    1 point (Eq. (10)), and orders are taken for 0.1 Δt once quotas are there. docs/text-000.md goes through it.

    A network has up to three chains: du1 schedules (plans, quotas, verdicts, meters), jy1 trades and settles, lh1 keeps
    the credits. All of them grow from one genesis file, and every node here hosts and seals all of them. A trading
    chain alone does everything itself.

    The members are the players of the packaged day: two producers and eight groups of households, each with a meter,
    the grid company and, where there is a du1, a dispatcher. The first --nodes players run a node and seal; the others
    are their clients.

    With --intraday each period is traded twice. What players forecast intraday is made up: the packaged day's data has
    a day-ahead forecast and what was metered, and they take the middle of both.

    Under poca the starting difficulty follows from this machine's measured search rate, so that blocks come at their
    interval. Under pbft there is nothing to search: more than two thirds of the nodes agree on each block.

    Accounts are printed with what is in them, and where their keys are. Each node's ports stand in its own node.toml;
    two networks with the same ones cannot run at one time.

    With --compose, the organisations are the dispatch centre, the grid company and then the players. What is written is
    DIRECTORY/docker-compose.yml; keys, certificates and the genesis are made by a service of it, when it starts.

    \b
    Examples:
      gridmerit net new mynet --nodes 4 --period-ms 60000
      gridmerit net new plain --chains jy1
      gridmerit net new paper --set paper --alpha 0.15
      gridmerit net new merit --rule credit-weighted
      gridmerit net new twice --intraday --period-ms 60000
      gridmerit net new agreed --engine pbft --nodes 4
      gridmerit net new victims --disposable --chains jy1
      gridmerit net new cluster --compose --nodes 4 --players 3
      gridmerit net new agreed-cluster --compose --nodes 4 --engine pbft
      gridmerit net new paper-cluster --compose --set paper
    """
    alone = (chains, period_ms, seed)
    if compose and (disposable or base_port != _BASE_PORT or any(option is not None for option in alone)):
        raise click.UsageError("--compose goes with --nodes, --players, --set, --rule, --alpha and --engine alone")
    if players and not compose:
        raise click.UsageError("--players goes with --compose")
    params = choice.load()
    if compose:
        _write_compose(directory, nodes, players, choice)
        return
    if chains is not None:
        params = choose_chains(params, parse_names(chains), choice.params_set)
    if period_ms is not None:
        params = tuple(scale_params(chain, period_ms) for chain in params)
    if seed is not None:
        note("keys made from a seed are public knowledge: use this network for rehearsals only")
    profile = load_packaged_profile()
    network = new_network(
        directory, nodes=nodes, params=params, profile=profile, seed=seed, disposable=disposable, base_port=base_port
    )
    emit(describe_new(network, params, is_disposable=disposable), render_new(network, params, is_disposable=disposable))


def _write_compose(directory: Path, nodes: int, players: int, choice: ChainChoice) -> None:
    profile = load_packaged_profile()
    if nodes + players > (most := len(list_candidates(profile))):
        raise click.UsageError(f"--nodes and --players: there are {most} members for {nodes + players} containers")
    cluster = choose_cluster(profile, organisations=nodes, players=players, attacked=True)
    file = save_compose(directory, render_compose(cluster, choice.to_words()))
    rows = [(name, "all" if name in cluster.organisations else cluster.trading) for name in cluster.honest]
    text = f"{table(['service', 'chains'], rows, left=(0, 1))}\n\nnext: docker compose -f {quote_path(file)} up -d"
    emit({"file": str(file), "organisations": cluster.organisations, "players": cluster.players}, text)


@command.command("provision")
@click.argument("directory", type=_DIRECTORY)
@click.option("--nodes", type=click.IntRange(1, 10), required=True, help="Organisations that host all chains.")
@click.option(
    "--players", type=click.IntRange(0, 8), default=0, help="Market players that host the trading chain alone."
)
@click.option("--period-ms", type=click.IntRange(min=800), required=True, help="Length of a period.")
@chain_options
@click.option("--attack", metavar="NAME", help="Make a disposable network with one member more, which attacks so.")
@json_option
def provision(
    directory: Path,
    nodes: int,
    players: int,
    period_ms: int,
    choice: ChainChoice,
    attack: str | None,
) -> None:
    """Make keys, certificates and the genesis for containers, once: a directory per volume.

    The init service of a compose file runs this. Where the network is made already, it does nothing. Periods below half
    a minute get the clock of the demo, which leaves more of them to what passes from chain to chain.

    \b
    Example:
      gridmerit net provision /gridmerit --nodes 4 --players 3 --period-ms 60000
    """
    if attack:
        load_attack(attack)
    profile = load_packaged_profile()
    cluster = choose_cluster(profile, organisations=nodes, players=players, attacked=bool(attack))
    params = choose_params(period_ms, choice.load())
    is_new = fill_volumes(directory, cluster, params=params, profile=profile)
    text = f"{'made' if is_new else 'found'} a network of {', '.join(cluster.names)}"
    emit({"directory": str(directory), "made": is_new, "nodes": cluster.names}, text)


@command.command("up")
@click.argument("directory", type=_DIRECTORY)
@click.argument("names", nargs=-1, metavar="[NODE]...")
@json_option
@click.pass_context
def up(ctx: click.Context, directory: Path, names: tuple[str, ...]) -> None:
    """Start the nodes that do not run, all or those named, and wait until they are connected.

    Each node is a process of its own; its output goes to `node.log` in its directory. Running nodes are left alone,
    also those that were started by hand, with gridmerit start. Where one does not come up, those that were started are
    stopped again. Where one comes up without a chain, whose store is damaged, all go on running; the exit code is 4.

    \b
    Examples:
      gridmerit net up mynet
      gridmerit net up mynet wind-122
    """
    network = load_network(directory)
    _start(ctx, network, network.choose_nodes(names))


def _start(ctx: click.Context, network: Network, nodes: Sequence[NodeEntry]) -> None:
    start = run_async(start_network(network, nodes))
    already = [node.name for node in nodes if node.name not in start.started]
    lines = [f"started {', '.join(start.started)}"] if start.started else []
    if already:
        lines.append(f"running already: {', '.join(already)}")
    lines += [f"{name} runs without {outage.chain}: {outage.message}" for name, outage in start.outages]
    lines.append(f"next: gridmerit net status {quote_path(network.directory)}")
    out = [{"node": name, **to_plain(outage)} for name, outage in start.outages]
    emit({"started": start.started, "already_running": already, "out": out}, "\n".join(lines))
    if start.outages:
        ctx.exit(ChainOut.exit_code)


@command.command("restart")
@click.argument("directory", type=_DIRECTORY)
@click.argument("names", nargs=-1, metavar="[NODE]...")
@click.option("--grace", "grace_s", type=click.IntRange(0, 600), default=10, show_default=True, help="Seconds to wait.")
@json_option
@click.pass_context
def restart(ctx: click.Context, directory: Path, names: tuple[str, ...], grace_s: int) -> None:
    """Stop nodes, all or those named, and start them again, by what stands in their node.toml now.

    \b
    Examples:
      gridmerit net restart mynet wind-122
      gridmerit net restart mynet
    """
    network = load_network(directory)
    nodes = network.choose_nodes(names)
    stop_nodes(network, nodes, grace_ms=1_000 * grace_s)
    _start(ctx, network, nodes)


@command.command("logs")
@click.argument("directory", type=_DIRECTORY)
@click.argument("name", metavar="NODE")
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0, 100_000), default=20, show_default=True, help="How many.")
@json_option
def logs(directory: Path, name: str, follows: bool, lines: int) -> None:
    """The last lines of a node's log, each an event in JSON as it was written; with --json they are one list.

    The log of a node that gridmerit net has started is node.log in its directory; a full one is kept as node.log.1 and
    so on (`log_file_bytes`, `log_files` under [limits] of node.toml). What was started by hand logs to where it was.

    \b
    Examples:
      gridmerit net logs mynet wind-122
      gridmerit net logs -f mynet wind-122
    """
    network = load_network(directory)
    [node] = network.choose_nodes([name])
    home = network.directory_of(node)
    added = follow(home)  # from here on, so that nothing falls between the two
    last = read_last_lines(home, lines)
    if not follows:
        emit({"node": name, "lines": last}, "\n".join(last))
        return
    click.echo("".join(f"{line}\n" for line in last), nl=False)
    for chunk in added:
        click.echo(chunk, nl=False)
        sys.stdout.flush()


@command.command("unit")
@click.argument("directory", type=click.Path(path_type=Path), default=".")
@click.option(
    "--user", default="gridmerit", show_default=True, callback=_check_user, help="The user that the node runs as."
)
@click.option("--sysusers", is_flag=True, help="The line of sysusers.d that makes that user, instead of the unit.")
@json_option
def unit(directory: Path, user: str, sysusers: bool) -> None:
    """Print a unit of systemd that runs a node as a service. Nothing is installed.

    DIRECTORY is that of a node, as gridmerit start takes it; the service may write there, and nowhere else. It starts
    the program that you are running now. What comes again at every start, such as a mistake in node.toml or a damaged
    guard, is not tried again; all else is, after five seconds. The unit begins with the commands that install it.

    \b
    Examples:
      gridmerit net unit mynet/nodes/wind-122 > gridmerit-wind-122.service
      gridmerit net unit --sysusers mynet/nodes/wind-122 > gridmerit.conf
    """
    service = describe_service(directory, user)
    text = service.sysusers if sysusers else service.unit
    emit({"name": service.name, "unit": service.unit, "sysusers": service.sysusers}, text.removesuffix("\n"))


@command.command("status")
@click.argument("directory", type=_DIRECTORY)
@json_option
def status(directory: Path) -> None:
    """One line per node and chain: process, head, finality, peers, credit.

    \b
    Example:
      gridmerit net status mynet
    """
    network = load_network(directory)
    states, credits_upt = run_async(look(network))
    emit([describe_state(state) for state in states], render_states(states, credits_upt))


@command.command("down")
@click.argument("directory", type=_DIRECTORY)
@click.argument("names", nargs=-1, metavar="[NODE]...")
@click.option("--grace", "grace_s", type=click.IntRange(0, 600), default=10, show_default=True, help="Seconds to wait.")
@json_option
def down(directory: Path, names: tuple[str, ...], grace_s: int) -> None:
    """Ask nodes to end, all or those named, wait for them, and end those that do not.

    \b
    Examples:
      gridmerit net down mynet
      gridmerit net down mynet wind-122
    """
    network = load_network(directory)
    outcome = stop_nodes(network, network.choose_nodes(names), grace_ms=1_000 * grace_s)
    emit(outcome, "\n".join(f"{name}: {what}" for name, what in outcome.items()))
