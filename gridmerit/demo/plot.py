"""The plot of a market day: volume, price, credit and timeline. matplotlib is an extra, imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gridmerit.demo.day import DayRecord, summarise_hours
from gridmerit.demo.recompute import compute_credits
from gridmerit.demo.stage_times import summarise_stages
from gridmerit.text import format_hour
from simulation.errors import MissingExtra

_COLOURS = (
    "#e69f00",
    "#0072b2",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
)  # Okabe and Ito's, safe for colour blindness
_GREY = "#555555"
_ALIKE_UPT = 3_000_000  # players that never differ by more are drawn as one band


def draw_day(record: DayRecord, path: Path) -> None:
    """Write the plot of volume, price, credit and timeline. Raises `MissingExtra` without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra(what="the plot", package="matplotlib", extra="plot") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 1, figsize=(10, 14), height_ratios=(1.0, 1.0, 1.2, 1.4), layout="constrained")
    _draw_volume(axes[0], record)
    _draw_prices(axes[1], record)
    _draw_credit(axes[2], record)
    _draw_timeline(axes[3], record)
    hours = len(record.hours_ms)
    ticks = range(0, hours + 1, 1 if hours <= 12 else 2)
    labels = [format_hour(record.hours_ms[0] + 3_600_000 * hour) for hour in ticks]
    for axis in axes[:3]:
        axis.set_xlim(-0.1, hours + 0.1)
        axis.set_xticks(ticks, labels if axis is axes[2] else [])
    day = datetime.fromtimestamp(record.hours_ms[0] / 1_000, UTC).strftime("%d %B %Y")
    axes[2].set_xlabel(f"hour of delivery, profile of {day} (UTC)")
    for axis in axes:
        axis.grid(True, axis="x" if axis is axes[3] else "y", linewidth=0.5, alpha=0.4)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0.0)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_volume(axis: Any, record: DayRecord) -> None:
    hours = [record.hour_of(entry.period) for entry in record.hours]
    trades = [entry.trades.trades for entry in record.hours]
    sellers = sorted({trade.seller_name or trade.seller for listed in trades for trade in listed})
    bottom = [0.0] * len(trades)
    for seller, colour in zip(sellers, _COLOURS, strict=False):
        volumes = [
            sum(trade.volume_wh for trade in listed if (trade.seller_name or trade.seller) == seller) / 1_000
            for listed in trades
        ]
        axis.bar(
            [hour + 0.5 for hour in hours],
            volumes,
            width=0.8,
            bottom=bottom,
            color=colour,
            label=f"agreed, from {seller}",
        )
        bottom = [low + volume for low, volume in zip(bottom, volumes, strict=True)]
    summaries = summarise_hours(record)
    curtailed = [entry for entry in summaries if entry.accepted_wh < entry.volume_wh]
    if curtailed:
        axis.plot(
            [entry.hour + 0.5 for entry in curtailed],
            [entry.accepted_wh / 1_000 for entry in curtailed],
            "_",
            color="black",
            markersize=14,
            markeredgewidth=2,
            label="accepted, where\nit is less",
        )
    metered = {entry.hour: entry.produced_wh / 1_000 for entry in summaries}
    made = [metered.get(hour, 0.0) for hour in range(len(record.hours_ms))]
    axis.stairs(made, color=_GREY, linewidth=1.4, label="metered output,\nboth producers")
    axis.set_ylabel("energy (kWh)")
    axis.set_title("Energy agreed at the gate, and what the meters showed", loc="left")


def _draw_prices(axis: Any, record: DayRecord) -> None:
    market = record.genesis.params.market
    cleared = [entry for entry in summarise_hours(record) if entry.mean_uyuan_per_kwh is not None]
    middles = [entry.hour + 0.5 for entry in cleared]
    means = [(entry.mean_uyuan_per_kwh or 0) / 1e6 for entry in cleared]
    below = [mean - (entry.low_uyuan_per_kwh or 0) / 1e6 for mean, entry in zip(means, cleared, strict=True)]
    above = [(entry.high_uyuan_per_kwh or 0) / 1e6 - mean for mean, entry in zip(means, cleared, strict=True)]
    axis.errorbar(
        middles,
        means,
        yerr=(below, above),
        fmt="o",
        markersize=4,
        capsize=3,
        color=_COLOURS[1],
        label="mean by volume,\nlow to high",
    )
    wheeling = min((area.wheeling_uyuan_per_kwh for area in record.grid.areas), default=0)
    ceiling = (market.retail_uyuan_per_kwh - wheeling) / 1e6
    floor = market.feed_in_uyuan_per_kwh / 1e6
    axis.axhline(ceiling, color=_GREY, linestyle="--", linewidth=1, label="retail less the\nlowest wheeling")
    axis.axhline(floor, color=_GREY, linestyle=":", linewidth=1.2, label="feed-in")
    axis.set_ylim(floor - 0.02, ceiling + 0.02)
    axis.set_ylabel("price (yuan/kWh)")
    axis.set_title("Prices of the trades", loc="left")


def _draw_credit(axis: Any, record: DayRecord) -> None:
    history = compute_credits(record)
    hours = [0, *(record.hour_of(entry.period) + 1 for entry in record.hours)]
    for names, colour in zip(_group_alike(history.by_player), _COLOURS * 2, strict=False):
        label = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}\n({len(names)} players, low to high)"
        columns = list(zip(*(history.by_player[name] for name in names), strict=True))
        low, high = ([choose(values) / 1e6 for values in columns] for choose in (min, max))
        axis.step(hours, high, where="post", color=colour, linewidth=1.8, label=label)
        if len(names) > 1:
            axis.step(hours, low, where="post", color=colour, linewidth=0.8)
            axis.fill_between(hours, low, high, step="post", color=colour, alpha=0.25, linewidth=0)
    axis.set_ylim(0, 102)
    axis.set_ylabel("credit (points)")
    axis.set_title("Credit after each hour's settlement", loc="left")


def _draw_timeline(axis: Any, record: DayRecord) -> None:
    """From when to when each stage came over all hours, and on average, from the start of delivery."""
    period_ms = record.genesis.params.ledger.period_ms
    summaries = summarise_stages(record.timeline, record.start_ms)
    for kind, colour in zip(("scheduling", "trading", "credit"), _COLOURS[1:4], strict=True):
        rows = [(place, entry) for place, entry in enumerate(summaries) if entry.stage.chain == kind]
        if not rows:
            continue
        places = [-place for place, _ in rows]
        left = [entry.earliest_ms / period_ms for _, entry in rows]
        widths = [(entry.latest_ms - entry.earliest_ms) / period_ms for _, entry in rows]
        axis.barh(places, widths, left=left, height=0.55, color=colour, alpha=0.35)
        means = [entry.mean_ms / period_ms for _, entry in rows]
        name = record.chains[rows[0][1].stage.chain].name.upper()
        axis.plot(means, places, "o", color=colour, markersize=5, label=f"{name}: mean, and\nearliest to latest")
    axis.axvspan(0, 1, color=_GREY, alpha=0.12, linewidth=0)
    axis.set_yticks([-place for place in range(len(summaries))], [entry.stage.name for entry in summaries])
    axis.set_xlabel(f"Δt of {period_ms / 1_000:g} s after the start of delivery (grey: delivery)")
    axis.set_title("What happens when to an hour, over the three chains", loc="left")


def _group_alike(series: Mapping[str, Sequence[int]]) -> list[list[str]]:
    """Players whose credits never differ much from the first one's of their group."""
    groups: list[list[str]] = []
    for name, values in series.items():
        for names in groups:
            first = series[names[0]]
            if max(abs(left - right) for left, right in zip(values, first, strict=True)) <= _ALIKE_UPT:
                names.append(name)
                break
        else:
            groups.append([name])
    return groups
