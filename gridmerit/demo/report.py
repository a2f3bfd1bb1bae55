"""The report of a market day: its tables as text, as Markdown and as JSON. Pure functions of a `DayRecord`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from textwrap import fill, wrap
from typing import Any

from gridmerit.demo.checks import run_checks
from gridmerit.demo.day import (
    GRID_COMPANY,
    KINDS,
    ChainRecord,
    DayRecord,
    HourRecord,
    compute_nets,
    compute_payments,
    summarise_hours,
    summarise_lines,
)
from gridmerit.demo.recompute import CreditHistory, SealerCount, compute_credits, count_sealed, replay
from gridmerit.demo.stage_times import Stage, summarise_stages
from gridmerit.tables import WIDTH, fit_columns, table
from gridmerit.text import format_count, format_hour, format_kwh, format_points, format_scaled, format_span, format_yuan
from ledger.params import Kind
from node.queries.answers import ChainStatus, TradeInfo

_ROOT = 12  # characters of a root or a hash that tell it from others


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
        *_make_failures(record),
        _make_timeline(record),
        _make_lines(record),
        _make_curtailed(record),
        _make_payments(record),
        _make_credits(record, history),
        _make_digests(record),
        _make_sealing(record),
        _make_peers(record),
        _make_checks(record),
    ]


def _make_hours(record: DayRecord) -> Section:
    rows: list[tuple[object, ...]] = []
    summaries = summarise_hours(record)
    for entry in summaries:
        prices = [
            "–" if price is None else _show_price(price)
            for price in (entry.low_uyuan_per_kwh, entry.mean_uyuan_per_kwh, entry.high_uyuan_per_kwh)
        ]
        rows.append(
            (
                format_hour(entry.start_ms),
                entry.period,
                entry.status,
                entry.trades,
                format_kwh(entry.volume_wh),
                format_kwh(entry.accepted_wh),
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
            format_kwh(sum(entry.accepted_wh for entry in summaries)),
            *[""] * 3,
            format_kwh(sum(entry.consumed_wh for entry in summaries)),
            format_kwh(sum(entry.produced_wh for entry in summaries)),
        )
    )
    heads = ("hour", "period", "status", "trades", "kWh", "accepted", "low", "mean", "high", "used kWh", "made kWh")
    note = (
        "Prices in yuan per kWh, the mean by volume. kWh: agreed at the gate; accepted by DU1, nothing where the hour "
        "is void; used by all players and made by all producers as metered, traded or not."
    )
    return Section(title="Trades by hour", heads=heads, rows=tuple(rows), left=(0, 2), note=note)


def _make_failures(record: DayRecord) -> Iterator[Section]:
    """A section on a day that has such hours, else none."""
    rows = tuple(
        (format_hour(entry.start_ms), entry.period, entry.status, format_kwh(entry.volume_wh), entry.reason)
        for entry in summarise_hours(record)
        if entry.reason is not None
    )
    if rows:
        heads = ("hour", "period", "status", "kWh", "reason")
        note = "Void: nothing binds. Lapsed: accepted, but neither paid nor scored. Reserves have returned either way."
        yield Section(title="Hours without a delivery", heads=heads, rows=rows, left=(0, 2, 4), note=note)


def _make_timeline(record: DayRecord) -> Section:
    period_ms = record.genesis.params.ledger.period_ms
    shown = choose_hour(record)
    times = record.timeline.get(record.first_period + shown, {})
    start_ms = record.start_ms(record.first_period + shown)
    rows = []
    for summary in summarise_stages(record.timeline, record.start_ms):
        stage, (how, due_ppm) = summary.stage, _due(record, summary.stage)
        seen_ms = times.get(stage.name)
        rows.append(
            (
                stage.name,
                record.chains[stage.chain].name,
                "" if due_ppm is None else f"{how} {due_ppm / 1_000_000:+.2f}",
                *(
                    f"{delay_ms / period_ms:+.2f}"
                    for delay_ms in (summary.earliest_ms, summary.mean_ms, summary.latest_ms)
                ),
                f"{summary.mean_ms / 1_000:+.1f}",
                summary.hours,
                "–" if seen_ms is None else f"{(seen_ms - start_ms) / period_ms:+.2f}",
                "–" if seen_ms is None else f"{(seen_ms - start_ms) / 1_000:+.2f}",
            )
        )
    hour = format_hour(record.hours_ms[shown])
    heads = ("stage", "chain", "due", "earliest", "mean", "latest", "mean s", "hours", hour, f"{hour} s")
    note = (
        f"When one node told of it, from the start of the hour's delivery: in Δt of {format_span(period_ms)}, and in "
        f"seconds where it says so; Δt is the length of a period. {hour} is one hour as an example, the rest is over "
        "all. Due: from when on or until when a chain lets it happen. The snapshot is the first that LH1 takes after "
        "the hour's assessment."
    )
    return Section(title="Period timeline", heads=heads, rows=tuple(rows), left=(0, 1), note=note)


def choose_hour(record: DayRecord) -> int:
    """The hour that is shown in full: the first of those with a curtailed trade, or without any in the middle."""
    curtailed = [record.hour_of(entry.period) for entry in record.hours if entry.curtailments]
    return curtailed[0] if curtailed else len(record.hours_ms) // 2


def _due(record: DayRecord, stage: Stage) -> tuple[str, int | None]:
    """The time when a stage may come by its chain's clock, "from" or "by" so many ppm of Δt after delivery starts."""
    market, scheduling = record.genesis.params.market, record.grid
    due: dict[str, tuple[str, int]] = {
        "plan": ("by", -scheduling.quota_ppm),
        "quota": ("from", -scheduling.quota_ppm),
        "quota received": ("by", -market.gate_ppm),
        "gate": ("from", -market.gate_ppm),
        "verdict": ("by", -scheduling.verdict_ppm),
        "accepted": ("by", -market.deadline_ppm),
        "metered": ("from", scheduling.meter_ppm),
        "settlement": ("by", market.settle_ppm),
    }
    return due.get(stage.name, ("", None))


def _make_lines(record: DayRecord) -> Section:
    rows = tuple(
        (
            line.line,
            line.upstream or "substation",
            line.area,
            format_yuan(line.wheeling_uyuan_per_kwh),
            format_kwh(line.capacity_wh),
            format_kwh(line.demand_quota_wh),
            format_kwh(line.supply_quota_wh),
            format_kwh(line.listed_wh),
            format_kwh(line.accepted_wh),
            format_kwh(line.curtailed_wh),
        )
        for line in summarise_lines(record)
    )
    heads = ("line", "from", "area", "wheeling", "capacity", "buy", "sell", "flow", "accepted", "curtailed")
    note = (
        "Wheeling in yuan per kWh, the rest in kWh. Buy and sell: the largest quota of an hour. Flow: the largest of "
        "an hour in one direction as the trades were agreed, and as DU1 accepted them. Curtailed: what was cut off "
        "trades over the day because of the line."
    )
    return Section(title="Lines", heads=heads, rows=rows, left=(0, 1, 2), note=note)


def _make_curtailed(record: DayRecord) -> Section:
    rows = tuple(
        (
            format_hour(record.hours_ms[record.hour_of(entry.period)]),
            trade.index,
            trade.seller_name,
            trade.buyer_name,
            format_kwh(trade.volume_wh),
            format_kwh(cut.accepted_wh),
            cut.line,
        )
        for entry in record.hours
        for cut in entry.curtailments
        for trade in entry.trades.trades
        if trade.index == cut.index
    )
    heads = ("hour", "trade", "seller", "buyer", "agreed kWh", "accepted kWh", "because of")
    note = "The latest trades of an hour are cut first." if rows else "DU1 found every trade of the day executable."
    return Section(title="Curtailed trades", heads=heads, rows=rows, left=(0, 2, 3, 6), note=note)


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
            record.assets[name].coins,
            format_points(record.assets[name].credit_upt),
        )
        for name, values in history.by_player.items()
    )
    heads = ("player", "first", "lowest", "last", "deliveries", "coins", "in coins")
    note = (
        "In points: on LH1 the mean score of a player's deliveries, Eqs (1) and (2). Every score above zero is also a "
        "coloured coin, a credit asset of its player's, made one with the others when the next hour begins; their sum "
        "is what it holds."
    )
    return Section(title="Credit", heads=heads, rows=rows, note=note)


def _make_digests(record: DayRecord) -> Section:
    rows = tuple(_describe_digests(record, entry) for entry in record.hours)
    heads = ("hour", "contracts", "accepted kWh", "power root", "metered kWh", "actual root", "LH1 holds")
    note = (
        "DU1's power-transaction and actual-transaction blocks of every hour, and which digests LH1 holds: of both, "
        "and of the deliveries that JY1 told of. Roots are cut short; e3b0c44298fc is that of no contract at all."
    )
    return Section(title="Digests on LH1", heads=heads, rows=rows, left=(0, 3, 5, 6), note=note)


def _describe_digests(record: DayRecord, entry: HourRecord) -> tuple[object, ...]:
    power, actual = (None, None) if entry.schedule is None else (entry.schedule.power, entry.schedule.actual)
    return (
        format_hour(record.hours_ms[record.hour_of(entry.period)]),
        "–" if power is None else power.contracts,
        "–" if power is None else format_kwh(power.energy_wh),
        "–" if power is None else power.root[:_ROOT],
        "–" if actual is None else format_kwh(actual.energy_wh),
        "–" if actual is None else actual.root[:_ROOT],
        ", ".join(digest.kind for digest in entry.digests) or "–",
    )


def _make_sealing(record: DayRecord) -> Section:
    rows = tuple(
        (
            record.chains[kind].name,
            count.name,
            count.sealed,
            f"{count.expected:.1f}",
            f"{count.low} … {count.high}",
            "inside" if count.is_inside else "outside",
        )
        for kind, counts in _count_all(record).items()
        for count in counts
    )
    heads = ("chain", "member", "sealed", "expected", "95 % band", "verdict")
    tau = format_points(record.genesis.params.consensus.tau_upt)
    note = (
        f"Expected: the sum over all blocks of Eq. (11)'s share (τ = {tau} points) in the snapshot each was sealed "
        "under, at equal search rates. Band: the central 95 % of the exact Poisson-binomial distribution; about one "
        "member in twenty falls outside by chance, and unequal machine time moves more. A chain under PBFT is not "
        "listed: its members take turns."
    )
    return Section(title="Blocks sealed", heads=heads, rows=rows, left=(0, 1, 5), note=note)


def _count_all(record: DayRecord) -> dict[Kind, list[SealerCount]]:
    """Count sealers of the chains with blocks that are raced for; under PBFT the members take turns."""
    return {
        kind: count_sealed(record.chains[kind], replay(record, kind).in_force)
        for kind in KINDS
        if record.chains[kind].genesis.params.consensus.engine == "poca"
    }


def _make_peers(record: DayRecord) -> Section:
    rows = tuple(
        (
            peer.name,
            status.chain,
            status.height,
            status.head[:_ROOT],
            status.state_root[:_ROOT],
            status.final_height,
            status.forks.side_blocks,
            status.forks.reorgs,
            status.forks.deepest_reorg,
            status.blocks_refused,
        )
        for peer in record.peers
        for status in peer.chains.values()
    )
    heads = ("peer", "chain", "height", "head", "state root", "final", "side blocks", "reorgs", "deepest", "refused")
    note = (
        "As each peer reported at the end. Side blocks and reorgs are forks that it saw and that fork choice resolved; "
        "deepest is the longest reorg in blocks. Refused are blocks that broke a rule where they were checked."
    )
    return Section(title="Peers", heads=heads, rows=rows, left=(0, 1, 3, 4), note=note)


def _make_checks(record: DayRecord) -> Section:
    rows = tuple((check.name, "ok" if check.passed else "FAILED", check.detail) for check in run_checks(record))
    return Section(title="Checks", heads=("check", "", "detail"), rows=rows, left=(0, 1, 2))


def _show_price(price_uyuan_per_kwh: int) -> str:
    """To a tenth of a fen; JSON has all of it."""
    return format_scaled((price_uyuan_per_kwh + 500) // 1_000, 3, least=3)


def _show_amount(amount_uyuan: int) -> str:
    return format_yuan(amount_uyuan, aligned=True) if amount_uyuan else "–"


# --- documents -----------------------------------------------------------------------------------


def render_text(record: DayRecord) -> str:
    """The report for a terminal."""
    parts = [fill(_describe(record), fit_columns(WIDTH))]
    for section in make_sections(record):
        text = f"{section.title}\n\n{table(section.heads, _fold(section), left=section.left)}"
        parts.append(f"{text}\n\n{fill(section.note, fit_columns(WIDTH))}" if section.note else text)
    return "\n\n\n".join(parts)


def _fold(section: Section) -> list[tuple[object, ...]]:
    """The rows, with what is too long for a terminal in the last column on lines of its own."""
    last = len(section.heads) - 1
    cells = [section.heads, *section.rows]
    before = sum(max(len(str(row[column])) for row in cells) + 2 for column in range(last))
    if last not in section.left or before > fit_columns(WIDTH) // 2:
        return list(section.rows)
    rows: list[tuple[object, ...]] = []
    for row in section.rows:
        first, *rest = wrap(str(row[last]), fit_columns(WIDTH) - before) or [""]
        rows += [(*row[:last], first), *((*[""] * last, line) for line in rest)]
    return rows


def render_markdown(record: DayRecord, *, has_plot: bool) -> str:
    """The report as `report.md`."""
    parts = ["# A market day", _describe(record)]
    if has_plot:
        parts.append("![Volume, price, credit and the timeline of the day](day.png)")
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
    payments = compute_payments(record)
    checks = run_checks(record)
    return {
        "passed": all(check.passed for check in checks),
        "checks": [check._asdict() for check in checks],
        "seed": record.seed,
        "duration_ms": record.duration_ms,
        "chains": {chain.name: chain.genesis.chain_id.hex() for chain in record.chains.values()},
        "period_ms": record.genesis.params.ledger.period_ms,
        "first_period": record.first_period,
        "hours": [asdict(entry) for entry in summarise_hours(record)],
        "timeline": _document_timeline(record),
        "trades": [_document_trade(entry, trade) for entry in record.hours for trade in entry.trades.trades],
        "quotas": [
            {"period": entry.period, **asdict(quota)}
            for entry in record.hours
            if entry.schedule is not None
            for quota in entry.schedule.quotas
        ],
        "lines": [asdict(line) for line in summarise_lines(record)],
        "payments": [
            {"from": payer, "to": payee, "amount_uyuan": amount} for (payer, payee), amount in payments.items()
        ],
        "net_uyuan": compute_nets(payments),
        "credit_upt": {name: list(values) for name, values in history.by_player.items()},
        "assets": {
            name: {"coins": assets.coins, "credit_upt": assets.credit_upt} for name, assets in record.assets.items()
        },
        "digests": [asdict(digest) for entry in record.hours for digest in entry.digests],
        "sealing": [
            {"chain": record.chains[kind].name, **_document_count(count)}
            for kind, counts in _count_all(record).items()
            for count in counts
        ],
        "peers": [
            {"name": peer.name, **_document_status(status)} for peer in record.peers for status in peer.chains.values()
        ],
    }


def _document_timeline(record: DayRecord) -> dict[str, Any]:
    """Times in ms: of the stages after the start of delivery, and of every hour's own since the epoch."""
    return {
        "stages": [
            {
                "stage": summary.stage.name,
                "chain": record.chains[summary.stage.chain].name,
                "due_ppm": _due(record, summary.stage)[1],
                **{name: getattr(summary, name) for name in ("hours", "earliest_ms", "mean_ms", "latest_ms")},
            }
            for summary in summarise_stages(record.timeline, record.start_ms)
        ],
        "hours": [
            {"period": period, "delivery_start_ms": record.start_ms(period), **times}
            for period, times in record.timeline.items()
        ],
    }


def _document_trade(entry: HourRecord, trade: TradeInfo) -> dict[str, Any]:
    reasons = {cut.index: cut.line for cut in entry.curtailments}
    return {
        "period": entry.period,
        "index": trade.index,
        "seller": trade.seller_name,
        "buyer": trade.buyer_name,
        "price_uyuan_per_kwh": trade.price_uyuan_per_kwh,
        "volume_wh": trade.volume_wh,
        "accepted_wh": 0 if entry.trades.gate.status == "void" else entry.accepted_wh[trade.index],
        "curtailed_by": reasons.get(trade.index),
    }


def _document_count(count: SealerCount) -> dict[str, Any]:
    return {
        "name": count.name,
        "sealed": count.sealed,
        "expected": round(count.expected, 3),
        "low": count.low,
        "high": count.high,
        "inside": count.is_inside,
    }


def _document_status(status: ChainStatus) -> dict[str, Any]:
    return {
        "chain": status.chain,
        "height": status.height,
        "head": status.head,
        "state_root": status.state_root,
        "final_height": status.final_height,
        "side_blocks": status.forks.side_blocks,
        "reorgs": status.forks.reorgs,
        "deepest_reorg": status.forks.deepest_reorg,
        "blocks_refused": status.blocks_refused,
    }


def _describe(record: DayRecord) -> str:
    params = record.genesis.params
    spacings = "; ".join(
        f"{chain.name} {len(chain.blocks) - 1}, {format_span(_compute_spacing_ms(chain))}"
        for chain in record.chains.values()
    )
    return (
        f"{format_count(len(record.hours_ms), 'hour')} of {format_count(len(record.players), 'player')} "
        f"on {format_count(len(record.peers), 'peer')}, "
        f"seed {record.seed}. "
        f"An hour lasted {format_span(params.ledger.period_ms)}. Blocks and the mean time between them "
        f"(aim: {format_span(params.consensus.block_interval_ms)}): {spacings}. "
        f"The whole run took {format_span(record.duration_ms)}."
    )


def _compute_spacing_ms(chain: ChainRecord) -> int:
    count = len(chain.blocks) - 1
    return (chain.blocks[-1].timestamp_ms - chain.blocks[1].timestamp_ms) // max(1, count - 1) if count else 0
