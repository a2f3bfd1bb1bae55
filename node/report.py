"""The report of a market day: its tables as text, as Markdown and as JSON. Pure functions of a `DayRecord`."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import Any

from node.day import (
    GRID_COMPANY,
    CreditHistory,
    DayRecord,
    HourSummary,
    compute_active_credits,
    compute_credits,
    compute_nets,
    compute_payments,
    count_sealed,
    run_checks,
    summarise_hours,
)
from node.output import format_count, format_hour, format_kwh, format_points, format_span, format_yuan, table

_TEXT_WIDTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table of the report with its title and a sentence or two below it."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    left: tuple[int, ...] = (0,)
    note: str = ""


# --- sections ------------------------------------------------------------------------------------


def make_sections(record: DayRecord) -> list[Section]:
    """The report's tables, in the order they are read."""
    history = compute_credits(record)
    return [
        _make_hours(record),
        _make_payments(record),
        _make_credits(record, history),
        _make_sealing(record, history),
        _make_peers(record),
        _make_checks(record),
    ]


def _make_hours(record: DayRecord) -> Section:
    rows: list[tuple[object, ...]] = []
    summaries = summarise_hours(record)
    for entry in summaries:
        prices = [
            "–" if price is None else format_yuan(price, aligned=True)
            for price in (entry.low_uyuan_per_kwh, entry.mean_uyuan_per_kwh, entry.high_uyuan_per_kwh)
        ]
        rows.append(
            (
                format_hour(entry.start_ms),
                entry.period,
                entry.status,
                entry.trades,
                format_kwh(entry.volume_wh),
                *prices,
                format_kwh(entry.consumed_wh),
                format_kwh(entry.produced_wh),
            )
        )
    rows.append(
        (
            "day",
            "",
            "",
            sum(entry.trades for entry in summaries),
            format_kwh(sum(entry.volume_wh for entry in summaries)),
            *[""] * 3,
            format_kwh(sum(entry.consumed_wh for entry in summaries)),
            format_kwh(sum(entry.produced_wh for entry in summaries)),
        )
    )
    heads = ("hour", "period", "status", "trades", "kWh", "low", "mean", "high", "used kWh", "made kWh")
    note = "Prices in yuan per kWh, the mean by volume; kWh as agreed at the gate, used and made as metered."
    return Section(title="Trades by hour", heads=heads, rows=tuple(rows), left=(0, 2), note=note)


def _make_payments(record: DayRecord) -> Section:
    payments = compute_payments(record)
    nets = compute_nets(payments)
    order = [*record.players, GRID_COMPANY]
    payees = [name for name in order if any(payee == name for _, payee in payments)]
    rows = [
        (payer, *(_show_amount(payments.get((payer, payee), 0)) for payee in payees), _show_amount(nets.get(payer, 0)))
        for payer in order
    ]
    received = (sum(amount for (_, to), amount in payments.items() if to == payee) for payee in payees)
    rows.append(("sum", *map(_show_amount, received), format_yuan(sum(nets.values()), aligned=True)))
    heads = ("from", *(f"to {payee}" for payee in payees), "net")
    note = "In yuan. Net is what a party has more for the day, or less; the nets sum to zero, to the micro-yuan."
    return Section(title="Who paid whom", heads=heads, rows=tuple(rows), note=note)


def _make_credits(record: DayRecord, history: CreditHistory) -> Section:
    rows = tuple(
        (
            name,
            format_points(values[0]),
            format_points(min(values)),
            format_points(values[-1]),
            history.deliveries[name],
        )
        for name, values in history.by_player.items()
    )
    heads = ("player", "first", "lowest", "last", "deliveries")
    note = "In points: the mean score of a player's deliveries, Eqs (1) and (2)."
    return Section(title="Credit", heads=heads, rows=rows, note=note)


def _make_sealing(record: DayRecord, history: CreditHistory) -> Section:
    counts = count_sealed(record, compute_active_credits(record, history))
    rows = tuple(
        (
            count.name,
            count.sealed,
            f"{count.expected:.1f}",
            f"{count.low} … {count.high}",
            "inside" if count.is_inside else "outside",
        )
        for count in counts
    )
    heads = ("member", "sealed", "expected", "95 % band", "verdict")
    tau = format_points(record.genesis.params.consensus.tau_upt)
    note = (
        f"Expected: the sum over all blocks of Eq. (11)'s share (τ = {tau} points) in the snapshot each was sealed "
        "under, at equal search rates. Band: the central 95 % of the exact Poisson-binomial distribution; about one "
        "member in twenty falls outside by chance, and unequal machine time moves more."
    )
    return Section(title="Blocks sealed", heads=heads, rows=rows, left=(0, 4), note=note)


def _make_peers(record: DayRecord) -> Section:
    rows = tuple(
        (
            peer.name,
            peer.status.height,
            peer.status.head[:16],
            peer.status.state_root[:16],
            peer.status.final_height,
            peer.status.forks.side_blocks,
            peer.status.forks.reorgs,
            peer.status.forks.deepest_reorg,
            peer.status.blocks_refused,
        )
        for peer in record.peers
    )
    heads = ("peer", "height", "head", "state root", "final", "side blocks", "reorgs", "deepest", "refused")
    note = (
        "As each peer reported at the end. Side blocks and reorgs are forks that it saw and that fork choice resolved."
    )
    return Section(title="Peers", heads=heads, rows=rows, left=(0, 2, 3), note=note)


def _make_checks(record: DayRecord) -> Section:
    rows = tuple((check.name, "ok" if check.passed else "FAILED", check.detail) for check in run_checks(record))
    return Section(title="Checks", heads=("check", "", "detail"), rows=rows, left=(0, 1, 2))


def _show_amount(amount_uyuan: int) -> str:
    return format_yuan(amount_uyuan, aligned=True) if amount_uyuan else "–"


# --- documents -----------------------------------------------------------------------------------


def render_text(record: DayRecord) -> str:
    """The report for a terminal."""
    parts = [fill(_describe(record), _TEXT_WIDTH)]
    for section in make_sections(record):
        text = f"{section.title}\n\n{table(section.heads, section.rows, left=section.left)}"
        parts.append(f"{text}\n\n{fill(section.note, _TEXT_WIDTH)}" if section.note else text)
    return "\n\n\n".join(parts)


def render_markdown(record: DayRecord, *, has_plot: bool) -> str:
    """The report as `report.md`."""
    parts = ["# A market day", _describe(record)]
    if has_plot:
        parts.append("![Volume, price and credit over the day](day.png)")
    for section in make_sections(record):
        aligns = [":--" if column in section.left else "--:" for column in range(len(section.heads))]
        lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in (section.heads, aligns, *section.rows)]
        parts += [f"## {section.title}", "\n".join(lines)]
        if section.note:
            parts.append(section.note)
    return "\n\n".join(parts) + "\n"


def make_document(record: DayRecord) -> dict[str, Any]:
    """The report as `report.json`: integers in the smallest units, expectations as floats."""
    history = compute_credits(record)
    counts = count_sealed(record, compute_active_credits(record, history))
    payments = compute_payments(record)
    checks = run_checks(record)
    return {
        "passed": all(check.passed for check in checks),
        "checks": [check._asdict() for check in checks],
        "seed": record.seed,
        "duration_ms": record.duration_ms,
        "chain_id": record.genesis.chain_id.hex(),
        "first_period": record.first_period,
        "hours": [
            {field: getattr(entry, field) for field in HourSummary.__slots__} for entry in summarise_hours(record)
        ],
        "trades": [
            {
                "period": found.period,
                "index": trade.index,
                "seller": trade.seller_name,
                "buyer": trade.buyer_name,
                "price_uyuan_per_kwh": trade.price_uyuan_per_kwh,
                "volume_wh": trade.volume_wh,
            }
            for found in record.trades
            for trade in found.trades
        ],
        "payments": [
            {"from": payer, "to": payee, "amount_uyuan": amount} for (payer, payee), amount in payments.items()
        ],
        "net_uyuan": compute_nets(payments),
        "credit_upt": {name: list(values) for name, values in history.by_player.items()},
        "sealing": [
            {
                "name": count.name,
                "sealed": count.sealed,
                "expected": round(count.expected, 3),
                "low": count.low,
                "high": count.high,
                "inside": count.is_inside,
            }
            for count in counts
        ],
        "peers": [
            {
                "name": peer.name,
                "height": peer.status.height,
                "head": peer.status.head,
                "state_root": peer.status.state_root,
                "final_height": peer.status.final_height,
                "side_blocks": peer.status.forks.side_blocks,
                "reorgs": peer.status.forks.reorgs,
                "deepest_reorg": peer.status.forks.deepest_reorg,
                "blocks_refused": peer.status.blocks_refused,
            }
            for peer in record.peers
        ],
    }


def _describe(record: DayRecord) -> str:
    params = record.genesis.params
    blocks = len(record.blocks) - 1
    spacing_ms = (record.blocks[-1].timestamp_ms - record.blocks[1].timestamp_ms) // max(1, blocks - 1) if blocks else 0
    return (
        f"{format_count(len(record.hours_ms), 'hour')} of {format_count(len(record.players), 'player')} "
        f"on {format_count(len(record.peers), 'peer')}, "
        f"seed {record.seed}. "
        f"An hour lasted {format_span(params.ledger.period_ms)}, a block {format_span(spacing_ms)} on average "
        f"(aim: {format_span(params.consensus.block_interval_ms)}); {blocks} blocks. "
        f"The whole run took {format_span(record.duration_ms)}."
    )
