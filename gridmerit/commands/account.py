"""`gridmerit account`: what a member has."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import click

from gridmerit.commands import Group
from gridmerit.commands.bills import Bill, make_bill, render_bill
from gridmerit.commands.hosted import choose_chain, connect_to, connect_to_any, list_hosted
from gridmerit.commands.open_periods import find_last_settlement
from gridmerit.commands.target import Target, node_options, run_async, to_plain
from gridmerit.commands.treasury_tables import describe_runway
from gridmerit.output import emit, json_option
from gridmerit.tables import facts
from gridmerit.text import format_count, format_kwh, format_points, format_yuan
from node.api.client import Client
from node.queries.answers import AccountInfo


@click.group("account", cls=Group)
def command() -> None:
    """A member's balance, income and cost, credit and sequence; its bills."""


@command.command("show")
@click.argument("member")
@node_options
@json_option
def show(member: str, target: Target) -> None:
    """A member by name or by 0x… address.

    Balance and sequence are those on the trading chain. Beside the balance stand the two columns of its account, the
    sales and the purchase account of text 001: income is all that settlements have paid it (trades and feed-in), cost
    all that they have had it pay (trades, wheeling and retail), corrections included. What the balance has besides was
    paid in, or passed on between members: payments are neither. `gridmerit account bill` has a period's part.

    Where the node hosts a credit chain, credit is what stands
    there, and the trading chain follows it at the next period boundary; --chain NAME shows one chain's account alone.

    \b
    Example:
      gridmerit account show homes-1 --node mynet
    """

    found = run_async(_fetch(target, member))
    index = None if found.credit_chain is None else {"chain": found.credit_chain, **to_plain(found.merit)}
    emit({**to_plain(found.account), "credit_index": index}, _render(found))


@command.command("bill")
@click.argument("member")
@click.option("--period", type=click.IntRange(min=0), help="[default: the last one that is settled]")
@node_options
@json_option
def bill(member: str, period: int | None, target: Target) -> None:
    """A member's bill of a delivered period, by name or by 0x… address: what it received and what it paid for what.

    By the period's settlement as it stands, corrections included. Of the grid company it has every row: `carried` is
    what a trade leaves it, wheeling and what the two meters differ by. Where periods are traded twice, each line has
    its session; in real time is what the meter says beyond all that was traded, bought from or sold to the grid
    company. Where the chain has a treasury the bill ends with how long the member's money lasts now.

    \b
    Examples:
      gridmerit account bill homes-1 --node mynet
      gridmerit account bill homes-1 --period 112 --node mynet
    """
    found = run_async(fetch_bill(target, member, period))
    emit(to_plain(found), render_bill(found))


async def fetch_bill(target: Target, member: str, period: int | None = None) -> Bill:
    """A member's bill, by default of the last settled period. Raises `NoPeriod`."""
    async with connect_to(target, "trading") as client:
        account = await client.account(member)
        settlement = await (client.settlement(period) if period is not None else find_last_settlement(client))
    bill = make_bill(settlement, account.name, account.address, is_operator=account.role == "grid-operator")
    return replace(bill, runway=account.runway)


class _Found(NamedTuple):
    """An account and the kind of its chain; `merit` says what credit there is: it, or that on the credit chain."""

    account: AccountInfo
    kind: str
    merit: AccountInfo
    credit_chain: str | None


async def _fetch(target: Target, member: str) -> _Found:
    async with connect_to_any(target, "trading") as client:
        account, kind = await client.account(member), (await client.status()).kind
    hosted = (await list_hosted(target.url)).running if target.chain is None else {}
    credit_chain = choose_chain(hosted, "credit")
    if credit_chain is None:
        return _Found(account, kind, account, None)
    async with Client(target.url, credit_chain) as client:
        return _Found(account, kind, await client.account(member), credit_chain)


def _render(found: _Found) -> str:
    account, merit = found.account, found.merit
    balance = f"{format_yuan(account.balance_uyuan)} yuan"
    if found.kind != "trading":
        balance += " at genesis: money moves on the trading chain"
    credit = f"{format_points(merit.credit_upt)} points"
    if merit.score_count:
        credit += f" from {format_count(merit.score_count, 'delivery score')}"
    if found.credit_chain is not None:
        credit += f" on {found.credit_chain}; {format_points(account.credit_upt)} on the trading chain"
    lines: list[tuple[str, object]] = [
        ("member", f"{account.name} ({account.role})"),
        ("address", account.address),
        ("balance", balance),
        ("reserved", f"{format_yuan(account.reserved_uyuan)} yuan for open bids and trades"),
        *_tell_columns(account),
        *([] if account.runway is None else [("lasts", describe_runway(account.runway))]),
        ("credit", credit),
    ]
    if merit.penalty_upt:
        lines.append(("penalties", f"{format_points(merit.penalty_upt)} points"))
    if account.capacity_wh:
        lines.append(("capacity", f"{format_kwh(account.capacity_wh)} kWh per period at {account.position}"))
    pending = account.next_sequence - account.sequence
    lines.append(("sequence", f"{account.sequence}{f', {pending} pending' if pending else ''}"))
    lines.append(("at height", account.height))
    return facts(lines)


def _tell_columns(account: AccountInfo) -> list[tuple[str, object]]:
    """The two columns, and what the balance has besides; nothing where the chain does not keep them."""
    if account.income_uyuan is None or account.cost_uyuan is None:
        return []
    besides_uyuan = account.balance_uyuan + account.reserved_uyuan - account.income_uyuan + account.cost_uyuan
    return [
        ("income", f"{format_yuan(account.income_uyuan)} yuan for what it sold"),
        ("cost", f"{format_yuan(account.cost_uyuan)} yuan for what it bought, wheeling included"),
        ("besides", f"{format_yuan(besides_uyuan)} yuan paid in, or by and to other members"),
    ]
