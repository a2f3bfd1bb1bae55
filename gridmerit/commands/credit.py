"""`gridmerit credit`: merit, and what it is worth."""

from __future__ import annotations

from dataclasses import asdict

import click

from gridmerit.commands import Group
from gridmerit.commands.hosted import connect_to, connect_to_any
from gridmerit.commands.payloads import name_coin
from gridmerit.commands.target import Target, node_options, run_async, to_plain
from gridmerit.output import emit, json_option
from gridmerit.tables import facts, table
from gridmerit.text import format_count, format_kwh, format_percent, format_points, format_scaled, format_time
from node.queries.answers import AssetsInfo, CreditInfo, CreditReport, DigestsInfo, ViolationInfo


@click.group("credit", cls=Group)
def command() -> None:
    """Every player's credit and share of the blocks.

    Where the node hosts a credit chain, credit is what stands on that one: it scores the deliveries, and the other
    chains take over its snapshots. It reports who did otherwise than agreed, and keeps digests of their blocks, and
    credit as assets that can be passed on.
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


@command.command("report")
@click.argument("player")
@node_options
@json_option
def report(player: str, target: Target) -> None:
    """A player's credit report, by name or 0x… address: what it did otherwise than agreed, and when.

    From the node's credit chain, live. A violation is found by contract: it is of one side of one trade, or a target.

    \b
      over-delivery    its part of the meter is above the volume agreed by more
                       than the tolerance (tolerance_ppm among the parameters)
      under-delivery   the same, below it
      missing-reading  its meter was not heard in time
      second-target    it committed a target for a period that had one
                       (a dispatcher, where the rule is knn)

    Each kind is counted for good; the newest of all are listed, with the block of the credit chain that has put them
    down. A correction that puts a delivery within tolerance takes it off the count, and its line says `withdrawn`.
    What a delivery costs in credit does not depend on the tolerance: `gridmerit credit show`.

    \b
    Examples:
      gridmerit credit report homes-1 --node mynet
      gridmerit credit report homes-1 --json --node mynet
    """

    found = run_async(fetch_report(target, player))
    emit(to_plain(found), render_report(found))


async def fetch_report(target: Target, player: str) -> CreditReport:
    """The credit chain's report of a member."""
    async with connect_to(target, "credit") as client:
        return await client.credit_report(player)


@command.command("digests")
@click.argument("period", type=click.IntRange(min=0))
@node_options
@json_option
def digests(period: int, target: Target) -> None:
    """Show what the credit chain keeps of the other chains' blocks of a delivery period.

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


def render_report(found: CreditReport) -> str:
    scores = format_count(found.score_count, "delivery score")
    lines = [f"{found.name or found.address}: {format_points(found.credit_upt)} points from {scores}"]
    if found.penalty_upt:
        lines[0] += f", {format_points(found.penalty_upt)} points of penalties taken off"
    if not found.listed:
        lines.append("this chain records no violations: recorded_violations among its parameters is 0")
        return "\n".join(lines)
    counts = asdict(found.counts)
    tolerance = format_percent(found.tolerance_ppm)
    if not any(counts.values()):
        lines.append(f"no violations: all it delivered was within {tolerance} of what was agreed, and metered")
    else:
        told = ", ".join(f"{name.replace('_', '-')} {count:,}" for name, count in counts.items())
        lines.append(f"violations, at a tolerance of {tolerance}: {told}")
    if not found.newest:
        return "\n".join(lines)
    heads = ["period", "trade", "as", "violation", "agreed kWh", "metered kWh", "off by", "block", "time", ""]
    rows = [_show_violation(violation) for violation in found.newest]
    return "\n".join(lines) + "\n\n" + table(heads, rows, left=(2, 3, 8, 9), spare=(8, 7))


def _show_violation(violation: ViolationInfo) -> tuple[object, ...]:
    agreed_wh, metered_wh = violation.agreed_wh, violation.metered_wh
    off = "–"
    if agreed_wh and metered_wh is not None:
        off_ppm = (metered_wh - agreed_wh) * 1_000_000 // agreed_wh
        off = ("+" if off_ppm > 0 else "") + format_percent(off_ppm)
    return (
        violation.period,
        "–" if violation.index is None else violation.index,
        {"bid": "buyer", "offer": "seller"}.get(violation.side or "", "–"),
        violation.kind,
        "–" if agreed_wh is None else format_kwh(agreed_wh),
        "–" if metered_wh is None else format_kwh(metered_wh),
        off,
        violation.height,
        format_time(violation.time_ms),
        "withdrawn" if violation.withdrawn else "corrected" if violation.corrected else "",
    )


def _render_digests(found: DigestsInfo) -> str:
    if not found.digests:
        return f"nothing of period {found.period} is recorded: it is not that far yet, or long over"
    return f"period {found.period}\n\n" + "\n\n".join(
        facts(
            [
                ("from", ", ".join(filter(None, (row.source, row.kind, row.session)))),
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
