"""`gridmerit account`: what a member has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from node.commands import Group
from node.commands.target import Target, connect, node_options, run_async, to_plain
from node.output import emit, facts, format_kwh, format_points, format_yuan, json_option

if TYPE_CHECKING:
    from node.answers import AccountInfo


@click.group("account", cls=Group)
def command() -> None:
    """A member's balance, credit and sequence."""


@command.command("show")
@click.argument("member")
@node_options
@json_option
def show(member: str, target: Target) -> None:
    """A member by name or by 0x… address.

    \b
    Example:
      gridmerit account show homes-1 --node mynet
    """

    async def work() -> AccountInfo:
        async with connect(target) as client:
            return await client.account(member)

    account = run_async(work())
    emit(to_plain(account), _render(account))


def _render(account: AccountInfo) -> str:
    lines: list[tuple[str, object]] = [
        ("member", f"{account.name} ({account.role})"),
        ("address", account.address),
        ("balance", f"{format_yuan(account.balance_uyuan)} yuan"),
        ("reserved", f"{format_yuan(account.reserved_uyuan)} yuan for open bids and trades"),
        ("credit", f"{format_points(account.credit_upt)} points from {account.score_count} deliveries"),
    ]
    if account.penalty_upt:
        lines.append(("penalties", f"{format_points(account.penalty_upt)} points"))
    if account.capacity_wh:
        lines.append(("capacity", f"{format_kwh(account.capacity_wh)} kWh per period at {account.position}"))
    pending = account.next_sequence - account.sequence
    lines.append(("sequence", f"{account.sequence}{f', {pending} pending' if pending else ''}"))
    lines.append(("at height", account.height))
    return facts(lines)
