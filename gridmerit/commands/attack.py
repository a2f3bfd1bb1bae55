"""`gridmerit attack`: policies of the laboratory, run by a real node against a disposable network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from textwrap import fill
from typing import Any

import click

from gridmerit.amounts import parse_pairs
from gridmerit.commands import Group
from gridmerit.commands.settings_tables import list_settings, render_settings
from gridmerit.commands.start import run_node
from gridmerit.commands.target import run_async, to_plain
from gridmerit.demo.attack import Assault, AttackOutcome, PaymentView
from gridmerit.network.layout import Network, NodeEntry, load_network
from gridmerit.output import emit, json_option, note
from gridmerit.tables import WIDTH, facts, fit_columns, table
from gridmerit.text import format_points
from node.chain.node import ChainNode
from node.driver.chain_driver import Steppable
from simulation.attacks.registry import POLICIES, Attack, load_attack, make_policy

_DIRECTORY = click.Path(path_type=Path, file_okay=False)
_RUN = "run"


class _AttackGroup(Group):
    """`attack NAME …` is `attack run NAME …`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        is_name = args[0] not in self.commands and not args[0].startswith("-")
        return super().resolve_command(ctx, [_RUN, *args] if is_name else args)


@click.group("attack", cls=_AttackGroup)
def command() -> None:
    """Attack a disposable network of real processes, and see what honest nodes make of it.

    The attacks are those of the laboratory (gridmerit sim), where they run in virtual time and in great numbers. Here
    one node of a network on this machine turns, and the others judge it. A network that was not made to be thrown away
    cannot be attacked: its chains have other ids, and a node refuses to run a policy on them.

    \b
    Start here:
      gridmerit attack list
      gridmerit net new victims --disposable --chains jy1 --period-ms 12000
      gridmerit attack equivocation victims              same as: attack run equivocation victims
    """


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that both ways to run a policy take."""
    for option in (
        click.option("--power", type=click.IntRange(1, 100), default=1, show_default=True, help="Times its hash rate."),
        click.option(
            "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the policy's chance."
        ),
        click.option("--set", "given", multiple=True, metavar="KEY=VALUE", help="A setting; may be repeated."),
    ):
        command = option(command)
    return command


@command.command("list")
@json_option
def list_attacks() -> None:
    """All attacks, one line each.

    \b
    Example:
      gridmerit attack list
    """
    rows = [(name, attack.about) for name, attack in POLICIES.items()]
    text = table(("attack", "what it does"), rows, left=(0, 1), width=WIDTH)
    emit([{"name": name, "about": about} for name, about in rows], f"{text}\n\nsettings: gridmerit attack show NAME")


@command.command("show")
@click.argument("name")
@json_option
def show(name: str) -> None:
    """An attack's settings, and what to expect of it.

    \b
    Example:
      gridmerit attack show spam
    """
    attack = load_attack(name)
    settings = list_settings(attack.settings)
    document = {"name": name, "about": attack.about, "settings": settings, "expects": attack.expects}
    lines = [f"{name}: {attack.about}", render_settings(settings), _show_expected(attack)]
    emit(document, "\n\n".join([*lines, f"try: gridmerit attack {name} DIR"]))


def _show_expected(attack: Attack) -> str:
    text = f"Expected: {attack.expects} In the laboratory: gridmerit sim show {attack.scenario}"
    return fill(text, fit_columns(WIDTH), break_long_words=False, break_on_hyphens=False)


# --- one attack, from start to report ------------------------------------------------------------


@command.command(_RUN)
@click.argument("name")
@click.argument("directory", type=_DIRECTORY)
@click.option("--node", "node_name", metavar="NAME", help="Which node turns.  [default: the last one]")
@click.option("--seconds", type=click.IntRange(1, 3_600), default=20, show_default=True, help="How long it attacks.")
@_options
@json_option
def run(
    name: str,
    directory: Path,
    node_name: str | None,
    seconds: int,
    given: tuple[str, ...],
    seed: int,
    power: int,
) -> None:
    """Turn one node of the network in DIRECTORY into an attacker for a while, and report what it achieved.

    Nodes that do not run are started, and stopped afterwards. The attack is on the trading chain. Clients of honest
    nodes send a transfer twice a second; the attacker pays one yuan, which double-spend tries to take back.

    What it did stays on the chain: a node that an offence has cost its credit seals little afterwards. Attack by
    another --node then, or make a new network.

    \b
    Examples:
      gridmerit attack run equivocation victims
      gridmerit attack double-spend victims --set confirmations=2 --power 4 --seconds 60
      gridmerit attack spam victims --set kind=headers --node homes-1
    """
    attack = load_attack(name)
    network = load_network(directory)
    attacker = _choose_node(network, node_name)
    assault = Assault(network, attacker)
    settings = parse_pairs(given)
    if "victim" in attack.settings.model_fields:
        settings = {"victim": assault.honest[0].key, **settings}
    make_policy(attack, settings)
    if assault.engine == "pbft" and name not in ("spam", "false-head"):
        note("under PBFT nobody seals alone, so that this attack has nothing to work with")
    note(f"{attacker.name} turns for {seconds} s: {attack.about}")
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    verb = ["attack", "start", name, *words, "--seed", str(seed), "--power", str(power)]
    outcome = run_async(assault.run(name, verb, seconds=seconds))
    document = {**to_plain(outcome), "expects": attack.expects}
    emit(document, _render(outcome, attack))


def _choose_node(network: Network, name: str | None) -> NodeEntry:
    if name is None:
        return network.nodes[-1]
    for node in network.nodes:
        if node.name == name:
            return node
    raise click.UsageError(f"--node {name}: the network has {', '.join(node.name for node in network.nodes)}")


def _render(outcome: AttackOutcome, attack: Attack) -> str:
    heads = ("honest node", "height", "final", "side blocks", "reorgs", "deepest", "refused", "its score", "banned it")
    rows = [
        (
            view.node,
            view.height,
            view.final_height,
            view.side_blocks,
            view.reorgs,
            view.deepest_reorg,
            view.blocks_refused,
            view.score,
            "yes" if view.has_banned else "no",
        )
        for view in outcome.honest
    ]
    before, after = format_points(outcome.credit_before_upt), format_points(outcome.credit_after_upt)
    pairs = [
        ("attack", f"{outcome.attack} by {outcome.attacker} on {outcome.chain}, {outcome.seconds} s"),
        ("honest nodes", "agree" if outcome.agree else "do not agree"),
        ("blocks", f"{outcome.attacker_blocks} of {outcome.blocks} added to the chain meanwhile are the attacker's"),
        ("offences", f"{outcome.evidence} recorded on the chain"),
        ("credit", f"{before} before, {after} after"),
        ("payment", _show_payment(outcome.payment)),
        ("others", f"{outcome.transfers_included} of {outcome.transfers} transfers are in the chain"),
    ]
    return f"{table(heads, rows)}\n\n{facts(pairs)}\n\n{_show_expected(attack)}"


def _show_payment(payment: PaymentView) -> str:
    if payment.is_in_chain:
        return "final" if payment.is_final else f"in the chain, {payment.deepest} blocks deep"
    if payment.deepest:
        return f"taken back: it was {payment.deepest} blocks deep"
    return "never came into the chain"


# --- the attacker's process ----------------------------------------------------------------------


@command.command("start")
@click.argument("name")
@click.argument("directory", type=click.Path(path_type=Path))
@_options
@json_option
@click.pass_context
def start(ctx: click.Context, name: str, directory: Path, given: tuple[str, ...], seed: int, power: int) -> None:
    """Run the node in DIRECTORY as an attacker, in the foreground, as `gridmerit start` runs an honest one.

    Its network must be disposable. The attack is on the trading chain.

    \b
    Example:
      gridmerit attack start selfish victims/nodes/homes-2
    """
    policy = make_policy(load_attack(name), parse_pairs(given))

    def wrap(node: ChainNode) -> Steppable:
        if node.key is None:
            raise click.UsageError(f"{directory} is an observer's: without a key there is nothing to attack with")
        return policy(node, Random(seed))

    ctx.exit(run_node(directory, wrap, power=power))
