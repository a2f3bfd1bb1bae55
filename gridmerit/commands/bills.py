"""A member's bill of a delivery period, by its settlement: what it received and what it paid, leg by leg.

Where a period is traded twice each leg has its session, and what meters show beyond the trades is in real time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gridmerit.commands.treasury_tables import describe_runway
from gridmerit.tables import table
from gridmerit.text import format_kwh, format_yuan
from node.queries.answers import (
    Decimal,
    GridSettlementInfo,
    RunwayInfo,
    SettledTradeInfo,
    SettlementInfo,
    WhereTwice,
)

_GRID_COMPANY = "(grid)"


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """One leg of a settled row; `trade` is None for what was metered beside the trades. Energy in Wh, money in µ¥."""

    what: str  # "sold", "bought" or, of the grid company between the two sides of a trade, "carried"
    partner: str
    trade: int | None
    energy_wh: int
    income_uyuan: Decimal
    cost_uyuan: Decimal
    is_imputed: bool  # the meter was not heard
    session: WhereTwice = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A member's legs of a period, trades first; its balance has changed by `income_uyuan` less `cost_uyuan`."""

    period: int
    member: str
    income_uyuan: Decimal
    cost_uyuan: Decimal
    lines: tuple[BillLine, ...]
    runway: RunwayInfo | None = None  # how long the member's money lasts now, where the chain has a treasury


def make_bill(settlement: SettlementInfo, name: str, address: str, *, is_operator: bool) -> Bill:
    """The bill of one member; the grid company (`is_operator`) has a leg in every row."""
    rows = [(row.session, _list_legs(row, address, is_operator)) for row in settlement.trades]
    rows += [(rest.session, _list_rest(rest, address, is_operator)) for rest in settlement.grid]
    lines = [replace(line, session=session) for session, legs in rows for line in legs]
    return Bill(
        period=settlement.period,
        member=name,
        income_uyuan=sum(line.income_uyuan for line in lines),
        cost_uyuan=sum(line.cost_uyuan for line in lines),
        lines=tuple(lines),
    )


def _list_legs(row: SettledTradeInfo, address: str, is_operator: bool) -> Iterator[BillLine]:
    buyer, seller = row.buyer_name or row.buyer, row.seller_name or row.seller
    if address == row.buyer:
        imputed = row.is_consumption_imputed
        yield _make_line("bought", seller, row.consumption_wh, -row.buyer_pays_uyuan, row.index, is_imputed=imputed)
    if address == row.seller:
        imputed = row.is_output_imputed
        yield _make_line("sold", buyer, row.output_wh, row.seller_receives_uyuan, row.index, is_imputed=imputed)
    if is_operator:
        yield _make_line("carried", f"{seller} to {buyer}", row.traded_wh, row.grid_receives_uyuan, row.index)


def _list_rest(row: GridSettlementInfo, address: str, is_operator: bool) -> Iterator[BillLine]:
    name, used_wh, made_wh = row.member_name or row.member, row.consumption_wh, row.output_wh
    if address == row.member:
        yield from [_make_line("bought", _GRID_COMPANY, used_wh, -row.pays_uyuan)] if used_wh else []
        yield from [_make_line("sold", _GRID_COMPANY, made_wh, row.receives_uyuan)] if made_wh else []
    if is_operator:
        yield from [_make_line("sold", name, used_wh, row.pays_uyuan)] if used_wh else []
        yield from [_make_line("bought", name, made_wh, -row.receives_uyuan)] if made_wh else []


def _make_line(
    what: str, partner: str, energy_wh: int, gain_uyuan: int, trade: int | None = None, *, is_imputed: bool = False
) -> BillLine:
    """A line of income, or of cost where the gain is a loss."""
    return BillLine(
        what=what,
        partner=partner,
        trade=trade,
        energy_wh=energy_wh,
        income_uyuan=max(0, gain_uyuan),
        cost_uyuan=max(0, -gain_uyuan),
        is_imputed=is_imputed,
    )


def render_bill(bill: Bill) -> str:
    """A bill as text, with its sums as the last row."""
    text = _render_lines(bill)
    return text if bill.runway is None else f"{text}\n\nleft: {describe_runway(bill.runway)}"


def _render_lines(bill: Bill) -> str:
    if not bill.lines:
        return f"period {bill.period}: {bill.member} was paid nothing, and has paid nothing"
    is_twice = any(line.session for line in bill.lines)
    rows: list[tuple[object, ...]] = [
        (
            *([line.session] if is_twice else []),
            line.what,
            line.partner,
            "–" if line.trade is None else line.trade,
            "~" * line.is_imputed + format_kwh(line.energy_wh),
            format_yuan(line.income_uyuan, aligned=True) if line.income_uyuan else "",
            format_yuan(line.cost_uyuan, aligned=True) if line.cost_uyuan else "",
        )
        for line in bill.lines
    ]
    sums = format_yuan(bill.income_uyuan, aligned=True), format_yuan(bill.cost_uyuan, aligned=True)
    rows.append(("in all", *([""] if is_twice else []), "", "", "", *sums))
    heads = [*(["session"] if is_twice else []), "", "with", "trade", "kWh", "income", "cost"]
    body = table(heads, rows, left=(0, 1, 2) if is_twice else (0, 1))
    if any(line.is_imputed for line in bill.lines):
        body += "\n\n~ imputed: that meter was not heard"
    gain = format_yuan(bill.income_uyuan - bill.cost_uyuan)
    return f"period {bill.period}, {bill.member}, in yuan: income less cost {gain}\n\n{body}"
