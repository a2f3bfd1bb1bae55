"""`gridmerit treasury`: money in and out by banks, and standing orders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from gridmerit.amounts import parse_yuan
from gridmerit.commands import Group
from gridmerit.commands.hosted import connect_to
from gridmerit.commands.outcomes import show_outcome
from gridmerit.commands.target import Target, key_options, node_options, resolve_key, run_async, to_plain
from gridmerit.commands.treasury_tables import render_treasury
from gridmerit.output import emit, json_option
from ledger.codec import Value
from ledger.hashing import Address, parse_address
from ledger.signatures import SigningKey
from market.standing_orders import MAX_EVERY, STANDING_ORDER
from market.treasury import MAX_NUMBER, Payment
from node.api.client import Client
from node.queries.answers import TransactionStatus, TreasuryInfo


@click.group("treasury", cls=Group)
def command() -> None:
    """Money in and out by banks, and standing orders.

    On a network whose chains have economy = 1. A bank is a member with that role, which the authority admits. It books
    each payment of its outside account once, by the payment's place in its account statements: STATEMENT/LINE, such as
    212/4. It books in their order: one at or before the last is refused.
    """


payment_option = click.option(
    "--payment", required=True, metavar="STATEMENT/LINE", help="The outside payment's place in the bank's statements."
)


@command.command("show")
@node_options
@json_option
def show(target: Target) -> None:
    """All the money there is, who has brought it, standing orders, and whose money does not last.

    The sum of all accounts is what the genesis gave out, plus deposits, less withdrawals. An account is low where what
    is left to it lasts for fewer than 24 periods like the last 24, and not until its standing order tops it up.

    \b
    Example:
      gridmerit treasury show --node mynet
    """
    found = run_async(fetch_treasury(target))
    emit(to_plain(found), render_treasury(found))


@command.command("deposit")
@click.argument("member")
@click.argument("yuan")
@payment_option
@key_options
@node_options
@json_option
def deposit(
    member: str, yuan: str, payment: str, key: str | None, passphrase_file: Path | None, target: Target
) -> None:
    """Put money that the bank has received outside on a member's account, by name or 0x… address.

    \b
    Example:
      gridmerit treasury deposit homes-1 250 --payment 212/4 --key bank.pem --node mynet
    """
    signer, amount_uyuan, place = resolve_key(target, key, passphrase_file), parse_yuan(yuan), parse_payment(payment)
    outcome = run_async(send(target, signer, "deposit", member, lambda address: (address, amount_uyuan, *place)))
    show_outcome(outcome, member=member, payment=payment)


@command.command("withdraw")
@click.argument("yuan")
@payment_option
@key_options
@node_options
@json_option
def withdraw(yuan: str, payment: str, key: str | None, passphrase_file: Path | None, target: Target) -> None:
    """Take money that the bank has paid out outside off its own account.

    Who wants to be paid out sends the bank the money first: gridmerit tx send transfer BANK YUAN.

    \b
    Example:
      gridmerit treasury withdraw 120 --payment 212/5 --key bank.pem --node mynet
    """
    signer, amount_uyuan, place = resolve_key(target, key, passphrase_file), parse_yuan(yuan), parse_payment(payment)
    outcome = run_async(send(target, signer, "withdraw", None, lambda _: (amount_uyuan, *place)))
    show_outcome(outcome, payment=payment)


@command.command("order")
@click.argument("member")
@click.option("--limit", metavar="YUAN", help="What the account is topped up to.")
@click.option("--every", type=click.IntRange(1, MAX_EVERY), metavar="PERIODS", help="At every so many periods.")
@click.option("--end", is_flag=True, help="End the standing order that there is.")
@key_options
@node_options
@json_option
def order(
    member: str,
    limit: str | None,
    every: int | None,
    end: bool,
    key: str | None,
    passphrase_file: Path | None,
    target: Target,
) -> None:
    """Top a member's account up to a limit at every so many periods, out of the bank's own account.

    The first time in the next period. A bank that has too little pays what it has. An account has one standing order; a
    change counts from its next payment on.

    \b
    Examples:
      gridmerit treasury order homes-1 --limit 500 --every 720 --key bank.pem --node mynet
      gridmerit treasury order homes-1 --end --key bank.pem --node mynet
    """
    if end == (limit is not None and every is not None) or (end and (limit or every)):
        raise click.UsageError("name --limit and --every, or --end")
    signer, limit_uyuan = resolve_key(target, key, passphrase_file), 0 if limit is None else parse_yuan(limit)
    outcome = run_async(
        send(target, signer, STANDING_ORDER, member, lambda address: (address, limit_uyuan, every or 1))
    )
    show_outcome(outcome, member=member)


async def fetch_treasury(target: Target) -> TreasuryInfo:
    """The treasury of the node's trading chain."""
    async with connect_to(target, "trading") as client:
        return await client.treasury()


async def send(
    target: Target,
    signer: SigningKey,
    kind: str,
    member: str | None,
    make_payload: Callable[[Address], tuple[Value, ...]],
) -> TransactionStatus:
    """Send what is made of a member's address, and wait for its block."""
    async with connect_to(target, "trading") as client:
        address = signer.address if member is None else await _find_address(client, member)
        return await client.wait_for(await client.send(signer, kind, make_payload(address)))


async def _find_address(client: Client, member: str) -> Address:
    return parse_address((await client.account(member)).address)


def parse_payment(text: str) -> Payment:
    """`212/4`. Raises a usage error."""
    statement, slash, line = text.partition("/")
    numbers = [int(part) for part in (statement, line) if part.isascii() and part.isdecimal() and len(part) <= 16]
    if not slash or len(numbers) != 2 or max(numbers) > MAX_NUMBER:
        raise click.UsageError(f"--payment: {text[:40]!r} is not STATEMENT/LINE, such as 212/4")
    return Payment(*numbers)
