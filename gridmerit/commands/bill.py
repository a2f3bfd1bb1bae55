"""`gridmerit bill`: what a member paid for energy of a period, and whose part of it is how much."""

from __future__ import annotations

import click

from gridmerit.commands.bill_tables import render_bill_parts
from gridmerit.commands.hosted import connect_to
from gridmerit.commands.target import Target, node_options, run_async, to_plain
from gridmerit.output import emit, json_option
from node.queries.answers import BillInfo


@click.command("bill")
@click.argument("period", type=click.IntRange(min=0))
@click.argument("member")
@node_options
@json_option
def command(period: int, member: str, target: Target) -> None:
    """Show what a member paid for energy of a period, and whose part is how much.

    Split among producer, transmission, distribution and tax by the chain's shares, where it has any. The legs of the
    settlement, with who was paid, are in gridmerit account bill.

    \b
    Example:
      gridmerit bill 112 homes-1 --node mynet
    """
    found = run_async(_fetch(target, period, member))
    emit(to_plain(found), render_bill_parts(found))


async def _fetch(target: Target, period: int, member: str) -> BillInfo:
    async with connect_to(target, "trading") as client:
        return await client.bill(period, member)
