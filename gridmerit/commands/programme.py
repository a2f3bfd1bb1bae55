"""`gridmerit programme`: subsidies for green energy."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.amounts import parse_price, parse_yuan
from gridmerit.commands import Group
from gridmerit.commands.hosted import connect_to
from gridmerit.commands.outcomes import show_outcome
from gridmerit.commands.programme_tables import render_programmes
from gridmerit.commands.target import Target, key_options, node_options, resolve_key, run_async, to_plain
from gridmerit.output import emit, json_option
from ledger.codec import Value
from ledger.signatures import SigningKey
from market.programmes import PROGRAMME
from node.queries.answers import ProgrammesInfo, TransactionStatus


@click.group("programme", cls=Group)
def command() -> None:
    """Subsidies for green energy: their budgets, and a new one.

    On a network whose chains have economy = 1. Each meter is paid for as its period is settled, as far as the budget
    goes; what is left returns to who opened the programme.
    """


@command.command("show")
@node_options
@json_option
def show(target: Target) -> None:
    """All programmes, what each pays and what is left of its budget.

    \b
    Example:
      gridmerit programme show --node mynet
    """
    found = run_async(_fetch(target))
    emit(to_plain(found), render_programmes(found))


@command.command("open")
@click.argument("name")
@click.argument("yuan")
@click.option("--rate", "rates", multiple=True, required=True, metavar="SOURCE=YUAN", help="Per green kWh; repeatable.")
@click.option("--from", "first", type=click.IntRange(min=0), required=True, help="The first period.")
@click.option("--to", "last", type=click.IntRange(min=0), required=True, help="The last period.")
@key_options
@node_options
@json_option
def open_programme(
    name: str,
    yuan: str,
    rates: tuple[str, ...],
    first: int,
    last: int,
    key: str | None,
    passphrase_file: Path | None,
    target: Target,
) -> None:
    """Set aside a budget that pays for green energy of producers, prosumers or both, in periods to come.

    A bank, the grid company or the authority opens one.

    \b
    Example:
      gridmerit programme open sun 5000 --rate producer=0.05 --from 120 --to 840 --key bank.pem --node mynet
    """
    signer, table = resolve_key(target, key, passphrase_file), tuple(parse_rate(text) for text in rates)
    payload = (name, parse_yuan(yuan), table, first, last)
    show_outcome(run_async(_send(target, signer, payload)), programme=name)


async def _fetch(target: Target) -> ProgrammesInfo:
    async with connect_to(target, "trading") as client:
        return await client.programmes()


async def _send(target: Target, signer: SigningKey, payload: tuple[Value, ...]) -> TransactionStatus:
    async with connect_to(target, "trading") as client:
        return await client.wait_for(await client.send(signer, PROGRAMME, payload))


def parse_rate(text: str) -> tuple[str, int]:
    """`producer=0.05`: a source, and µ¥ per green kWh. Raises a usage error."""
    source, equals, price = text.partition("=")
    if not (source and equals):
        raise click.UsageError(f"--rate: {text[:40]!r} is not SOURCE=YUAN, such as producer=0.05")
    return source, parse_price(price)
