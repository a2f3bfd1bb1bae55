"""The plot of a market day: volume, price and credit by hour. matplotlib is an extra, imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ledger.errors import MissingExtra
from node.day import DayRecord, compute_credits, summarise_hours
from node.output import format_hour

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
    """Write the plot of volume, price and credit over the day. Raises `MissingExtra` without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra(what="the plot", package="matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        3, 1, figsize=(10, 10), sharex=True, height_ratios=(1.0, 1.0, 1.2), layout="constrained"
    )
    _draw_volume(axes[0], record)
    _draw_prices(axes[1], record)
    _draw_credit(axes[2], record)
    hours = len(record.hours_ms)
    step = 1 if hours <= 12 else 2
    axes[2].set_xticks(range(0, hours + 1, step))
    labels = [format_hour(record.hours_ms[0] + 3_600_000 * hour) for hour in range(0, hours + 1, step)]
    axes[2].set_xticklabels(labels)
    axes[2].set_xlim(-0.1, hours + 0.1)
    day = datetime.fromtimestamp(record.hours_ms[0] / 1_000, UTC).strftime("%d %B %Y")
    axes[2].set_xlabel(f"hour of delivery, profile of {day} (UTC)")
    for axis in axes:
        axis.grid(True, axis="y", linewidth=0.5, alpha=0.4)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0.0)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_volume(axis: Any, record: DayRecord) -> None:
    hours = [found.period - record.first_period for found in record.trades]
    sellers = sorted({trade.seller_name or trade.seller for found in record.trades for trade in found.trades})
    bottom = [0.0] * len(record.trades)
    for seller, colour in zip(sellers, _COLOURS, strict=False):
        volumes = [
            sum(trade.volume_wh for trade in found.trades if (trade.seller_name or trade.seller) == seller) / 1_000
            for found in record.trades
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
    metered = {entry.hour: entry.produced_wh / 1_000 for entry in summarise_hours(record)}
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
    ceiling = (market.retail_uyuan_per_kwh - market.wheeling_uyuan_per_kwh) / 1e6
    floor = market.feed_in_uyuan_per_kwh / 1e6
    axis.axhline(ceiling, color=_GREY, linestyle="--", linewidth=1, label="retail less wheeling")
    axis.axhline(floor, color=_GREY, linestyle=":", linewidth=1.2, label="feed-in")
    axis.set_ylim(floor - 0.02, ceiling + 0.02)
    axis.set_ylabel("price (yuan/kWh)")
    axis.set_title("Prices of the trades", loc="left")


def _draw_credit(axis: Any, record: DayRecord) -> None:
    history = compute_credits(record)
    hours = [0, *(found.period - record.first_period + 1 for found in record.trades)]
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
