"""`gridmerit credit`: merit, and what it is worth."""

from __future__ import annotations

import click

from gridmerit.commands import Group
from gridmerit.commands.hosted import connect_to, connect_to_any
from gridmerit.commands.payloads import name_coin
from gridmerit.commands.target import Target, node_options, run_async, to_plain
from gridmerit.output import emit, json_option
from gridmerit.tables import facts, table
from gridmerit.text import format_count, format_percent, format_points, format_scaled
from node.queries.answers import AssetsInfo, CreditInfo, DigestsInfo


@click.group("credit", cls=Group)
def command() -> None:
    """Every player's credit and share of the blocks.

    Where the node hosts a credit chain, credit is what stands on that one: it scores the deliveries, and the other
    chains take over its snapshots. It also keeps digests of their blocks, and credit as assets that can be passed on.
    """


@command.command("show")
@click.argument("member", required=False)
@node_options
@json_option
def show(member: str | None, target: Target) -> None:
    """Credits of all players, or of one, in points.

    From the node's credit chain, where it hosts one, and else from its trading chain; --chain names another.

    `active` is the credit in the snapshot that difficulty follows, fixed at the last period boundary; `share` is
    Eq. (11): the part of the chain's blocks that a sealing member gets at equal search rates.

    \b
    Example:
      gridmerit credit show --node mynet
    """

    entries = run_async(fetch_credits(target, member))
    emit([to_plain(entry) for entry in entries], _render(entries))


async def fetch_credits(target: Target, member: str | None = None) -> list[CreditInfo]:
    """Of all players, or of one by name or address."""
    async with connect_to_any(target, "credit", "trading") as client:
        if member is not None:
            await client.account(member)  # says by itself whom it does not know
        return [entry for entry in await client.credit() if member in (None, entry.name, entry.address)]


@command.command("digests")
@click.argument("period", type=click.IntRange(min=0))
@node_options
@json_option
def digests(period: int, target: Target) -> None:
    """What the credit chain keeps of the other chains' blocks of a delivery period.

    \b
      power      contracts that the scheduling chain accepted
                 (the power-transaction block)
      actual     the same as metered (the actual-transaction block)
      delivered  trades that the trading chain settled, of which credit was scored

    `block` is the certified block of the source that proved it, `digest` is of what it said.

    \b
    Example:
      gridmerit credit digests 118 --node mynet
    """

    found = run_async(fetch_digests(target, period))
    emit(to_plain(found), _render_digests(found))


async def fetch_digests(target: Target, period: int) -> DigestsInfo:
    """The credit chain's digests of a delivery period."""
    async with connect_to(target, "credit") as client:
        return await client.digests(period)


@command.command("assets")
@click.argument("member")
@node_options
@json_option
def assets(member: str, target: Target) -> None:
    """A member's credit assets, by name or 0x… address: coins that its assessments made, or that others passed on.

    As Eqs (3)-(6) of text 000 have it, the credit in a coin is its value less the padding, which only lifts small
    coins above the least value allowed; value and padding are in nominal satoshis, one for a millionth of a point. The
    colour is the assessment that the credit comes from, or on a chain that merges coins (`merged_coins` among its
    parameters) the member whose deliveries earned it. `gridmerit tx send coin-transfer` passes coins on.

    \b
    Example:
      gridmerit credit assets wind-122 --node mynet
    """

    found = run_async(fetch_assets(target, member))
    emit(to_plain(found), _render_assets(found))


async def fetch_assets(target: Target, member: str) -> AssetsInfo:
    """The credit chain's coins of a member."""
    async with connect_to(target, "credit") as client:
        return await client.assets(member)


def _render(entries: list[CreditInfo]) -> str:
    rows = []
    for entry in sorted(entries, key=lambda entry: (entry.share_ppm is None, -entry.credit_upt, entry.name)):
        active = "–" if entry.active_credit_upt is None else format_points(entry.active_credit_upt)
        share = "–" if entry.share_ppm is None else format_percent(entry.share_ppm)
        rows.append((entry.name, format_points(entry.credit_upt), active, share, entry.score_count))
    return table(["player", "credit", "active", "share", "deliveries"], rows)


def _render_digests(found: DigestsInfo) -> str:
    if not found.digests:
        return f"nothing of period {found.period} is recorded: it is not that far yet, or long over"
    return f"period {found.period}\n\n" + "\n\n".join(
        facts(
            [
                ("from", f"{row.source}, {row.kind}"),
                ("block", f"{row.height}  {row.block}"),
                ("digest", row.digest),
            ]
        )
        for row in found.digests
    )


def _render_assets(found: AssetsInfo) -> str:
    count = format_count(found.coins, "coin")
    head = f"{found.name or found.address}: {count}, {_show_points(found.credit_upt)} points"
    if not found.newest:
        return head
    if len(found.newest) < found.coins:
        head += f"; the newest {len(found.newest)}"
    rows = [
        (
            name_coin(coin),
            f"{coin.value_sat:,}",
            f"{coin.padding_sat:,}",
            _show_points(coin.credit_upt),
            coin.colour[:12],
        )
        for coin in found.newest
    ]
    return f"{head}\n\n" + table(["coin", "value", "padding", "points", "colour"], rows, left=(0, 4))


def _show_points(credit_upt: int) -> str:
    """Points with all their decimals, as they are what can be passed on."""
    return format_scaled(credit_upt, 6, least=6)
