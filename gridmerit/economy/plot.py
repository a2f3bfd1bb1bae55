"""The pictures of a week. matplotlib is an extra, imported when they are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from gridmerit.economy.accounts import compute_output
from gridmerit.economy.cast import BILL_SHARES_PPM, BUDGET_UYUAN, POOL
from gridmerit.economy.week import Bill, Hour, Week
from market.trading.trades import TradeRecord
from simulation.report.figures import COLOURS, Axes, Figure, draw_plot

_TALL = 3.6
_GREY = "#777777"
_OUTSIDE = {"frameon": False, "fontsize": 8, "loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
_YUAN = 1e6


def draw_figures(week: Week) -> list[Figure]:
    """All of them. Raises `MissingExtra` without matplotlib."""
    return [
        _draw_sources(week),
        _draw_uses(week),
        _draw_prices(week),
        _draw_bills(week),
        _draw_subsidies(week),
        _draw_tranches(week),
        _draw_vouchers(week),
    ]


# --- energy --------------------------------------------------------------------------------------


def sum_sources(hour: Hour, week: Week) -> Counter[str]:
    """The Wh that homes used in an hour, by what it came from: a plant by claim or trade, or the grid company."""
    sources: Counter[str] = Counter()
    for claim in hour.claims:
        sources[f"{week.names[claim.producer]}, claims"] += claim.redeemed_wh
    for trade in hour.trades:
        sources[f"{week.names[trade.seller]}, trades"] += trade.traded_wh
        sources["grid company"] += trade.consumption_wh - trade.traded_wh
    for row in hour.grid:
        if week.names[row.member] in week.homes:
            sources["grid company"] += row.consumption_wh - row.output_wh
    return sources


def sum_uses(hour: Hour, week: Week) -> Counter[str]:
    """The Wh that the plants made in an hour, by what became of it."""
    uses: Counter[str] = Counter()
    uses["claims"] = sum(claim.redeemed_wh for claim in hour.claims)
    uses["trades"] = sum(trade.traded_wh for trade in hour.trades)
    made_wh = sum(compute_output(hour, week.names)[plant] for plant in week.plants)
    uses["fed in"] = made_wh - uses["claims"] - uses["trades"]
    return uses


def _draw_sources(week: Week) -> Figure:
    rows = [sum_sources(hour, week) for hour in week.hours]
    keys = [f"{plant}, {how}" for plant in week.plants for how in ("claims", "trades")] + ["grid company"]

    def draw(axes: Axes) -> None:
        _stack(axes, [[row[key] / 1_000 for row in rows] for key in keys], keys, [*COLOURS[:4], "#cccccc"])
        _finish(axes, week, "energy, kWh")

    return draw_plot("energy-by-source", "What homes used, by source.", draw, tall=_TALL)


def _draw_uses(week: Week) -> Figure:
    rows = [sum_uses(hour, week) for hour in week.hours]
    keys = ["claims", "trades", "fed in"]

    def draw(axes: Axes) -> None:
        colours = [COLOURS[0], COLOURS[2], COLOURS[1]]
        _stack(axes, [[row[key] / 1_000 for row in rows] for key in keys], keys, colours)
        _finish(axes, week, "energy, kWh")

    return draw_plot("energy-by-use", "What became of what the plants made.", draw, tall=_TALL)


def _stack(axes: Axes, series: Sequence[Sequence[float]], labels: Sequence[str], colours: Sequence[str]) -> None:
    bottom = [0.0] * len(series[0])
    for values, label, colour in zip(series, labels, colours, strict=True):
        top = [low + value for low, value in zip(bottom, values, strict=True)]
        axes.stairs(top, baseline=bottom, fill=True, color=colour, label=label)
        bottom = top


# --- money ---------------------------------------------------------------------------------------


def _draw_prices(week: Week) -> Figure:
    prices = [[trade.price_uyuan_per_kwh / _YUAN for trade in hour.agreed] for hour in week.hours]
    traded = [place for place, listed in enumerate(prices) if listed]

    def draw(axes: Axes) -> None:
        middles = [place + 0.5 for place in traded]
        low, high = ([end(prices[place]) for place in traded] for end in (min, max))
        axes.vlines(middles, low, high, color=COLOURS[0], alpha=0.35, linewidth=2, label="lowest to highest")
        means = [compute_mean(week.hours[place].agreed) / _YUAN for place in traded]
        axes.plot(middles, means, "o", markersize=2.5, color=COLOURS[0], label="mean by volume")
        sold = [sale.price_uyuan / sale.volume_wh * 1_000 / _YUAN for sale in week.sales[:1]]
        if sold:
            axes.axhline(sold[0], color=COLOURS[5], linewidth=1.2, linestyle="--", label="claims")
        _finish(axes, week, "yuan per kWh")

    return draw_plot("prices", "Prices of trades by hour, and of claims.", draw, tall=_TALL)


def compute_mean(trades: Sequence[TradeRecord]) -> int:
    """The mean price of trades by volume, µ¥ per kWh, rounded down."""
    volume_wh = sum(trade.volume_wh for trade in trades)
    return sum(trade.price_uyuan_per_kwh * trade.volume_wh for trade in trades) // volume_wh


def _draw_bills(week: Week) -> Figure:
    bills = {home: [bill for day in week.days for bill in day.bills if bill.home == home] for home in week.homes}
    before = [sum(bill.retail_uyuan for bill in bills[home]) / _YUAN for home in week.homes]

    def draw(axes: Axes) -> None:
        places = range(len(week.homes))
        axes.barh([place - 0.2 for place in places], before, height=0.36, color="#cccccc", label="at retail alone")
        left = [0.0] * len(week.homes)
        for part, colour in zip(("claims and trades", *BILL_SHARES_PPM), (COLOURS[2], *COLOURS[3:7]), strict=True):
            sums = [sum(_part_of(bill, part) for bill in bills[home]) / _YUAN for home in week.homes]
            name = part if part == "claims and trades" else f"grid company: {part}"
            axes.barh([place + 0.2 for place in places], sums, left=left, height=0.36, color=colour, label=name)
            left = [low + more for low, more in zip(left, sums, strict=True)]
        vouchers = [sum(bill.vouchers_uyuan for bill in bills[home]) / _YUAN for home in week.homes]
        credited = [sum(bill.credited_uyuan for bill in bills[home]) / _YUAN for home in week.homes]
        ends = [total - paid - back for total, paid, back in zip(left, vouchers, credited, strict=True)]
        axes.plot(
            ends,
            [place + 0.2 for place in places],
            "|",
            color="black",
            markersize=13,
            label="less vouchers\nand what was fed in",
        )
        axes.set_yticks(list(places), week.homes)
        axes.invert_yaxis()
        axes.set_xlabel("yuan")
        axes.legend(**_OUTSIDE)

    return draw_plot("bills", "Bills of the homes before and after.", draw, tall=4.4)


def _part_of(bill: Bill, part: str) -> int:
    return bill.plants_uyuan if part == "claims and trades" else bill.parts_uyuan[part]


def _draw_subsidies(week: Week) -> Figure:
    def draw(axes: Axes) -> None:
        days = range(1, len(week.days) + 1)
        bottom = [0.0] * len(week.days)
        for plant, colour in zip(week.plants, COLOURS[1:], strict=False):
            paid = [day.subsidies_uyuan.get(plant, 0) / _YUAN for day in week.days]
            axes.bar(days, paid, bottom=bottom, width=0.6, color=colour, label=f"to {plant}")
            bottom = [low + more for low, more in zip(bottom, paid, strict=True)]
        left = [BUDGET_UYUAN / _YUAN, *(day.budget_left_uyuan / _YUAN for day in week.days)]
        axes.plot(range(len(left)), left, "o-", color=_GREY, markersize=3, label="left of the budget")
        _finish_days(axes, len(week.days), "yuan")

    return draw_plot("subsidies", "Subsidies paid by day, and what is left of the budget.", draw, tall=_TALL)


def _draw_tranches(week: Week) -> Figure:
    def draw(axes: Axes) -> None:
        states = [POOL, *(day.pool for day in week.days)]
        days = range(len(states))
        for name, field, colour in (("senior", "senior", COLOURS[0]), ("mezzanine", "mezz", COLOURS[1])):
            axes.plot(days, [getattr(state, field) / _YUAN for state in states], "o-", color=colour, label=name)
        axes.plot(days, [state.reserve / _YUAN for state in states], "o-", color=COLOURS[2], label="reserve")
        collected = [day.collections_uyuan / _YUAN for day in week.days]
        axes.bar(days[1:], collected, width=0.5, color="#dddddd", label="collections\nof the day")
        axes.set_ylim(bottom=0)
        _finish_days(axes, len(week.days), "yuan")

    return draw_plot(
        "tranches", "Balances of the pool's notes and its reserve, and what it collects.", draw, tall=_TALL
    )


def _draw_vouchers(week: Week) -> Figure:
    def draw(axes: Axes) -> None:
        days = range(1, len(week.vouchers) + 1)
        for field, colour in (("issued", _GREY), ("spent", COLOURS[2]), ("live", COLOURS[0]), ("expired", COLOURS[5])):
            axes.plot(days, [getattr(row, field) for row in week.vouchers], "o-", color=colour, label=field)
        axes.set_ylim(bottom=0)
        _finish_days(axes, len(week.vouchers), "vouchers")

    return draw_plot("vouchers", "Vouchers issued so far, and what became of them.", draw, tall=_TALL)


# --- axes ----------------------------------------------------------------------------------------


def _finish(axes: Axes, week: Week, label: str) -> None:
    """Hours along the axis, with a tick at each midnight."""
    count = len(week.hours)
    step = 24 if count > 48 else 4
    ticks = range(0, count + 1, step)
    first_ms = week.hours[0].hour_ms
    form = "%d %b" if step == 24 else "%H:%M"
    labels = [datetime.fromtimestamp(first_ms / 1_000 + 3_600 * tick, UTC).strftime(form) for tick in ticks]
    axes.set_xticks(list(ticks), labels)
    axes.set_xlim(0, count)
    axes.set_ylabel(label)
    axes.legend(**_OUTSIDE)


def _finish_days(axes: Axes, days: int, label: str) -> None:
    axes.set_xticks(range(days + 1), [f"day {day}" if day else "start" for day in range(days + 1)])
    axes.set_ylabel(label)
    axes.legend(**_OUTSIDE)
