"""The page about a week: words and tables, and the same as one document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gridmerit.economy.accounts import compute_output
from gridmerit.economy.cast import (
    BILL_SHARES_PPM,
    BUDGET_UYUAN,
    CLAIM_PRICE_UYUAN_PER_KWH,
    CLAIMED_PPM,
    COLLECTED_PPM,
    POOL,
    RATE_UYUAN_PER_KWH,
)
from gridmerit.economy.checks import Check
from gridmerit.economy.plot import compute_mean, sum_sources, sum_uses
from gridmerit.economy.week import Week
from gridmerit.paper.layout import Image, PaperReport, Part, Table
from gridmerit.text import format_count, format_kwh, format_percent, format_time, format_yuan
from simulation.report.figures import Figure

_BESIDE = "It is accounted for here from the settled rows, and the money moves by transfers."


def make_report(week: Week, checks: Sequence[Check], figures: Sequence[Figure]) -> PaperReport:
    """The whole page; the same week always gives the same words."""
    return PaperReport(
        title="A week of the economy",
        introduction=(
            f"{format_count(len(week.hours), 'hour')} from {format_time(week.hours[0].hour_ms)} UTC, with "
            f"{format_count(len(week.plants), 'plant')} and {format_count(len(week.homes), 'group')} of homes, from "
            f"real forecasts and measurements, in {format_count(week.blocks, 'block')} of each of three chains. Plants "
            f"sell {format_percent(CLAIMED_PPM)} of their forecast ahead as claims, the market clears the rest; "
            "vouchers reward who uses energy when the sun shines; a programme subsidises it; and a pool sells part of "
            "the plants' receipts to investors."
        ),
        parts=(
            _make_checks(checks),
            _make_energy(week, figures),
            _make_prices(week, figures),
            _make_bills(week, figures),
            _make_subsidies(week, figures),
            _make_pool(week, figures),
            _make_vouchers(week, figures),
        ),
    )


def _images(figures: Sequence[Figure], *prefixes: str) -> tuple[Image, ...]:
    return tuple(Image(alt=caption, file=name) for name, caption, _ in figures if name.startswith(prefixes))


def _make_checks(checks: Sequence[Check]) -> Part:
    rows = tuple((check.name, "yes" if check.passed else "NO", check.detail) for check in checks)
    return Part(title="What was checked", blocks=(Table(heads=("what", "holds", "detail"), rows=rows, left=(0, 1, 2)),))


def _make_energy(week: Week, figures: Sequence[Figure]) -> Part:
    sources, uses, made = Counter[str](), Counter[str](), Counter[str]()
    for hour in week.hours:
        sources.update(sum_sources(hour, week))
        uses.update(sum_uses(hour, week))
        made.update(compute_output(hour, week.names))
    rows = [(f"homes used, from {name}", format_kwh(wh)) for name, wh in sorted(sources.items())]
    rows += [(f"{plant} made", format_kwh(made[plant])) for plant in week.plants]
    rows += [(f"of that: {name}", format_kwh(wh)) for name, wh in uses.items()]
    table = Table(heads=("energy", "kWh"), rows=tuple(rows))
    return Part(title="Energy by source and use", blocks=(table, *_images(figures, "energy")))


def _make_prices(week: Week, figures: Sequence[Figure]) -> Part:
    trades = [trade for hour in week.hours for trade in hour.agreed]
    volume_wh = sum(trade.volume_wh for trade in trades)
    text = f"Claims were sold at {format_yuan(CLAIM_PRICE_UYUAN_PER_KWH)} yuan per kWh."
    if volume_wh:
        text += f" Trades came to {format_kwh(volume_wh)} kWh at {format_yuan(compute_mean(trades))} on average."
    return Part(title="Prices", blocks=(text, *_images(figures, "prices")))


def _make_bills(week: Week, figures: Sequence[Figure]) -> Part:
    rows = []
    for home in week.homes:
        bills = [bill for day in week.days for bill in day.bills if bill.home == home]
        sums = (sum(column) for column in zip(*(_bill_row(bill) for bill in bills), strict=True))
        used_wh, *amounts = sums
        rows.append((home, format_kwh(used_wh), *map(format_yuan, amounts)))
    heads = ("home", "kWh", "at retail", "settled", "by vouchers", "after", *BILL_SHARES_PPM)
    shares = ", ".join(f"{name} {format_percent(share)}" for name, share in BILL_SHARES_PPM.items())
    text = (
        "Before: all at the grid company's retail price. Settled: claims, trades, wheeling and what the grid company "
        "delivered, less penalties for claims that fell short and what was fed in of claims beyond need. After: less "
        f"what vouchers paid. What of it is the grid company's is shared: {shares}. In yuan."
    )
    return Part(
        title="Bills before and after",
        blocks=(text, Table(heads=heads, rows=tuple(rows)), *_images(figures, "bills")),
    )


def _bill_row(bill: Any) -> tuple[int, ...]:
    amounts = bill.retail_uyuan, bill.settled_uyuan, bill.vouchers_uyuan, bill.after_uyuan
    return bill.consumed_wh, *amounts, *(bill.parts_uyuan[name] for name in BILL_SHARES_PPM)


def _make_subsidies(week: Week, figures: Sequence[Figure]) -> Part:
    text = (
        f"A budget of {format_yuan(BUDGET_UYUAN)} yuan pays {format_yuan(RATE_UYUAN_PER_KWH)} for each green kWh that "
        f"was delivered, once. {_BESIDE}"
    )
    rows = tuple(
        (
            f"day {day.number + 1}",
            *(format_yuan(day.subsidies_uyuan.get(plant, 0)) for plant in week.plants),
            format_yuan(day.budget_left_uyuan),
        )
        for day in week.days
    )
    table = Table(heads=("", *week.plants, "left"), rows=rows)
    return Part(title="Subsidies", blocks=(text, table, *_images(figures, "subsidies")))


def _make_pool(week: Week, figures: Sequence[Figure]) -> Part:
    text = (
        f"{format_percent(COLLECTED_PPM)} of the plants' receipts are collected each day and paid out in the "
        f"waterfall's order to a senior note of {format_yuan(POOL.senior)} yuan, a mezzanine note of "
        f"{format_yuan(POOL.mezz)}, and equity. {_BESIDE}"
    )
    rows = tuple(
        (
            f"day {day.number + 1}",
            *map(
                format_yuan,
                (
                    day.collections_uyuan,
                    day.payments.fee,
                    day.payments.sen_int + day.payments.mez_int,
                    day.payments.sen_prin,
                    day.payments.mez_prin,
                    day.payments.equity,
                    day.pool.reserve,
                    day.pool.senior,
                    day.pool.mezz,
                ),
            ),
        )
        for day in week.days
    )
    heads = (
        "",
        "collected",
        "fee",
        "interest",
        "senior",
        "mezzanine",
        "equity",
        "reserve",
        "senior left",
        "mezz. left",
    )
    return Part(
        title="The pool and its notes", blocks=(text, Table(heads=heads, rows=rows), *_images(figures, "tranches"))
    )


def _make_vouchers(week: Week, figures: Sequence[Figure]) -> Part:
    rows = tuple((f"day {number}", *row) for number, row in enumerate(week.vouchers, start=1))
    table = Table(heads=("", "issued", "live", "spent", "expired"), rows=rows)
    return Part(title="Vouchers", blocks=(table, *_images(figures, "vouchers")))


def make_document(week: Week, checks: Sequence[Check]) -> dict[str, Any]:
    """The week for programs: integers in µ¥ and Wh."""
    return {
        "hours": [
            {
                "period": hour.period,
                "hour_ms": hour.hour_ms,
                "sources_wh": dict(sum_sources(hour, week)),
                "uses_wh": dict(sum_uses(hour, week)),
                "trades": [[trade.price_uyuan_per_kwh, trade.volume_wh] for trade in hour.agreed],
            }
            for hour in week.hours
        ],
        "days": [
            {
                "bills": [
                    {
                        **bill._asdict(),
                        "settled_uyuan": bill.settled_uyuan,
                        "parts_uyuan": dict(bill.parts_uyuan),
                        "after_uyuan": bill.after_uyuan,
                    }
                    for bill in day.bills
                ],
                "subsidies_uyuan": dict(day.subsidies_uyuan),
                "budget_left_uyuan": day.budget_left_uyuan,
                "collections_uyuan": day.collections_uyuan,
                "payments_uyuan": day.payments._asdict(),
                "pool_uyuan": day.pool._asdict(),
            }
            for day in week.days
        ],
        "vouchers": [row._asdict() for row in week.vouchers],
        "claims": {"sold": len(week.sales), "sold_wh": sum(sale.volume_wh for sale in week.sales)},
        "money_uyuan": {
            "founding": week.founding_uyuan,
            "deposited": week.deposited_uyuan,
            "withdrawn": week.withdrawn_uyuan,
        },
        "blocks": week.blocks,
        "events": dict(week.events),
        "refused": dict(week.refused),
        "checks": [check._asdict() for check in checks],
    }
