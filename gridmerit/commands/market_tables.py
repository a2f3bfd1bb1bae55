"""The tables of `gridmerit market`: book, quotas, trades, weights and settlement as text."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby

from gridmerit.tables import table
from gridmerit.text import format_count, format_kwh, format_span, format_weight, format_yuan
from market.trading.sessions import Session
from node.queries.answers import (
    BookInfo,
    GateInfo,
    MarketPeriods,
    PeriodInfo,
    PositionInfo,
    PositionsInfo,
    QuotaInfo,
    ResultInfo,
    SettlementInfo,
    TargetInfo,
    TradesInfo,
)


def render_book(periods: MarketPeriods, book: BookInfo) -> str:
    is_twice = periods.sessions > 1
    rows = [
        (
            entry.period,
            *([entry.session] if is_twice else []),
            entry.phase,
            _in(entry.gate_ms - periods.time_ms),
            _in(entry.delivery_start_ms - periods.time_ms),
            entry.gate.status if entry.gate else "–",
        )
        for entry in periods.periods
    ]
    heads = ["period", *(["session"] if is_twice else []), "phase", "gate", "delivery", "result"]
    parts = [table(heads, rows, left=(1, 2, 5) if is_twice else (1, 4))] if rows else []
    parts += [f"{_name(entry)}{why}" for entry in periods.periods if (why := tell_failure(entry.gate))]
    parts.append(f"book of {_name(book)}{_tell_target(book.target)}")
    orders = [("offer", order) for order in reversed(book.offers)] + [("bid", order) for order in book.bids]
    if orders:
        parts.append(
            table(
                ["side", "price", "kWh", "order", "owner"],
                [
                    (
                        side,
                        format_yuan(order.price_uyuan_per_kwh, aligned=True),
                        format_kwh(order.volume_wh),
                        order.order_id,
                        order.owner_name or order.owner,
                    )
                    for side, order in orders
                ],
                left=(0, 4),
            )
        )
    else:
        parts.append("no orders")
    return "\n\n".join(parts)


def _name(found: PeriodInfo | BookInfo | QuotaInfo | TradesInfo) -> str:
    return f"period {found.period}{', intraday' if found.session == Session.INTRADAY.title else ''}"


def _tell_target(target: TargetInfo | None) -> str:
    if target is None:
        return ""
    prices = (
        target.g_to_u_uyuan_per_kwh,
        target.g_to_c_uyuan_per_kwh,
        target.c_to_u_uyuan_per_kwh,
        target.c_to_g_uyuan_per_kwh,
    )
    g_to_u, g_to_c, c_to_u, c_to_g = map(format_yuan, prices)
    return (
        f"\ntarget {g_to_u} yuan per kWh, committed by {target.sender_name or target.sender} in block {target.height}; "
        f"the game's others: G→C {g_to_c}, C→U {c_to_u}, C→G {c_to_g}"
    )


def tell_failure(gate: GateInfo | None) -> str:
    """The reason why a period is void or lapsed, and what to do, to go on after its number; "" where it is neither."""
    return f" is {gate.status}: {gate.detail}\n  try: {gate.remedy}" if gate is not None and gate.reason else ""


def _in(span_ms: int) -> str:
    return f"in {format_span(span_ms)}" if span_ms >= 0 else f"{format_span(-span_ms)} ago"


def render_quota(found: QuotaInfo) -> str:
    rows = [
        (
            line.line,
            format_kwh(line.demand_wh),
            format_kwh(line.supply_wh),
            format_yuan(line.wheeling_uyuan_per_kwh, aligned=True),
        )
        for line in found.lines
    ]
    heads = ["line", "may buy kWh", "may sell kWh", "wheeling yuan/kWh"]
    return f"quotas of {_name(found)}\n\n{table(heads, rows)}"


def render_trades(found: TradesInfo) -> str:
    count = format_count(len(found.trades), "trade")
    head = f"{_name(found)}: {count}, {found.gate.status}, gate block {found.gate.height}"
    if why := tell_failure(found.gate):
        head += f"\nit{why}"
    head += f"\n{render_result(found.gate, found.result)}"
    if not found.trades:
        return head
    by_index = {cut.index: cut for cut in found.curtailments}
    rows: list[tuple[object, ...]] = []
    for trade in found.trades:
        row: tuple[object, ...] = (
            trade.index,
            trade.seller_name or trade.seller,
            trade.buyer_name or trade.buyer,
            format_kwh(trade.volume_wh),
            format_yuan(trade.price_uyuan_per_kwh, aligned=True),
        )
        if by_index:
            cut = by_index.get(trade.index)
            row += ("", "") if cut is None else (format_kwh(cut.accepted_wh), cut.line)
        rows.append(row)
    heads = ["trade", "seller", "buyer", "kWh", "yuan/kWh"]
    if by_index:
        heads += ["accepted kWh", "because of line"]
    return f"{head}\n\n{table(heads, rows, left=(1, 2, 6))}"


def render_result(gate: GateInfo, result: ResultInfo) -> str:
    """The members that have signed the result, and those that have signed something else."""
    alike = [item.name or item.key[:16] for item in result.signed if item.opinion in ("agrees", "unknown")]
    lines = [
        f"result {gate.result_root[:16]}, signed by {len(alike)} of {result.sealers}: {', '.join(alike) or 'nobody'}"
    ]
    if result.slot is None:
        lines[0] += f"; no certificate here, it takes {result.quorum}"
    for item in result.signed:
        name = item.name or item.key[:16]
        if item.opinion == "other-block":
            lines.append(f"not counted: {name} signed another block, {item.block[:16]}")
        elif item.opinion == "other-result":
            said = "no result" if item.root is None else f"result {item.root[:16]} of {item.record_count} trades"
            lines.append(f"not counted: {name} signed {said}; this node's own book says otherwise")
    if result.silent:
        lines.append(f"not heard here: {', '.join(result.silent)}")
    return "\n".join(lines)


def render_weights(found: TradesInfo) -> str:
    """Two lines per trade: the chosen offer's weight, which is w, and the bid's."""
    rows: list[tuple[object, ...]] = []
    for trade in found.trades:
        for side, total, parts in (
            ("offer (w)", trade.weights.w_ppm, trade.weights.offer),
            ("bid", trade.weights.bid_ppm, trade.weights.bid),
        ):
            rows.append((trade.index, side, *map(format_weight, (total, *asdict(parts).values()))))
    heads = ["capacity", "credit", "renewable", "position", "price", "volume", "stability"]
    return table(["trade", "weight of", "total", *heads], rows, left=(1,))


def render_settlement(found: SettlementInfo) -> str:
    is_twice = any(trade.session for trade in found.trades) or any(entry.session for entry in found.grid)
    rows: list[tuple[object, ...]] = [
        (
            *([trade.session] if is_twice else []),
            trade.index,
            trade.buyer_name or trade.buyer,
            trade.seller_name or trade.seller,
            _mark(trade.consumption_wh, trade.is_consumption_imputed),
            _mark(trade.output_wh, trade.is_output_imputed),
            format_yuan(trade.buyer_pays_uyuan, aligned=True),
            format_yuan(trade.seller_receives_uyuan, aligned=True),
            format_yuan(trade.grid_receives_uyuan, aligned=True),
        )
        for trade in found.trades
    ]
    rows += [
        (
            *([entry.session] if is_twice else []),
            "–",
            entry.member_name or entry.member,
            "(grid)",
            format_kwh(entry.consumption_wh),
            format_kwh(entry.output_wh),
            format_yuan(entry.pays_uyuan, aligned=True),
            format_yuan(entry.receives_uyuan, aligned=True),
            format_yuan(entry.pays_uyuan - entry.receives_uyuan, aligned=True),
        )
        for entry in found.grid
    ]
    heads = ["trade", "buyer", "seller", "used kWh", "made kWh", "buyer pays", "seller gets", "grid gets"]
    body = "nothing was metered"
    if rows:
        body = table(["session", *heads], rows, left=(0, 2, 3)) if is_twice else table(heads, rows, left=(1, 2))
    if any(trade.is_consumption_imputed or trade.is_output_imputed for trade in found.trades):
        body += "\n\n~ imputed: that meter was not heard. A buyer took what it agreed to; a seller made nothing."
    why = f"\nit{failure}" if (failure := tell_failure(found.gate)) else ""
    return f"period {found.period}, in yuan{why}\n\n{body}"


def render_positions(found: PositionsInfo) -> str:
    """A line for each session of a member, and one for what they sum to, which is its meter once it is settled."""
    rows: list[tuple[object, ...]] = []
    for member, own in groupby(found.positions, key=lambda position: position.member_name or position.member):
        positions = list(own)
        rows += [(member, position.session, *_show(position)) for position in positions]
        bought_wh, sold_wh = sum(item.bought_wh for item in positions), sum(item.sold_wh for item in positions)
        pays = sum(item.pays_uyuan for item in positions)
        receives = sum(item.receives_uyuan for item in positions)
        net_wh = bought_wh - sold_wh
        net = max(0, net_wh), max(0, -net_wh)
        rows.append((member, "in all", *map(format_kwh, net), *_show_money(pays, receives)))
    heads = ["member", "session", "bought kWh", "sold kWh", "pays", "receives"]
    body = table(heads, rows, left=(0, 1)) if rows else "no trades bind"
    what = "as metered" if found.settled else "not settled yet"
    return f"positions of period {found.period}, {what}, in yuan\n\n{body}"


def _show(position: PositionInfo) -> tuple[str, ...]:
    money = _show_money(position.pays_uyuan, position.receives_uyuan)
    return (format_kwh(position.bought_wh), format_kwh(position.sold_wh), *money)


def _show_money(pays_uyuan: int, receives_uyuan: int) -> tuple[str, str]:
    return format_yuan(pays_uyuan, aligned=True), format_yuan(receives_uyuan, aligned=True)


def _mark(energy_wh: int, is_imputed: bool) -> str:
    return "~" * is_imputed + format_kwh(energy_wh)
