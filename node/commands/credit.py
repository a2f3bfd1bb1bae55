"""`gridmerit credit`: merit, and what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from node.commands import Group
from node.commands.target import Target, connect, node_options, run_async, to_plain
from node.output import emit, format_percent, format_points, json_option, table

if TYPE_CHECKING:
    from node.answers import CreditInfo


@click.group("credit", cls=Group)
def command() -> None:
    """Every player's credit and share of the blocks."""


@command.command("show")
@click.argument("member", required=False)
@node_options
@json_option
def show(member: str | None, target: Target) -> None:
    """Credits of all players, or of one, in points.

    `active` is the credit in the snapshot that difficulty follows, fixed at the last period boundary; `share` is
    Eq. (11): the part of the blocks that a sealing member gets at equal search rates.

    \b
    Example:
      gridmerit credit show --node mynet
    """

    async def work() -> tuple[CreditInfo, ...]:
        async with connect(target) as client:
            if member is not None:
                await client.account(member)  # says by itself whom it does not know
            return await client.credit()

    entries = [entry for entry in run_async(work()) if member in (None, entry.name, entry.address)]
    emit([to_plain(entry) for entry in entries], _render(entries))


def _render(entries: list[CreditInfo]) -> str:
    rows = []
    for entry in sorted(entries, key=lambda entry: (entry.share_ppm is None, -entry.credit_upt, entry.name)):
        active = "–" if entry.active_credit_upt is None else format_points(entry.active_credit_upt)
        share = "–" if entry.share_ppm is None else format_percent(entry.share_ppm)
        rows.append((entry.name, format_points(entry.credit_upt), active, share, entry.score_count))
    return table(["player", "credit", "active", "share", "deliveries"], rows)
