"""The plots of `gridmerit paper`. matplotlib is an extra, imported when it is used; the files carry no metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gridmerit.paper.claims import DAY_FIGURE, HOUR_MS, compute_delays
from gridmerit.paper.results import FIGURE_3, FIGURE_4
from simulation.errors import MissingExtra
from simulation.paper.credit import CreditCurve
from simulation.paper.reproduce import Comparison, Reproduction
from simulation.paper.sealing import Race

_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#e69f00", "#009e73", "#555555"  # Okabe and Ito's, safe for colour blindness
_MARKERS = ("o", "s", "^", "D")
_BASES = {"ours": "from the outputs of Table 2", "printed": "from the credits Table 2 prints"}
_POINT = 1_000_000


def draw_plots(result: Reproduction, directory: Path) -> list[Path]:
    """Write the three plots. Raises `MissingExtra` without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra(what="the plots", package="matplotlib", extra="plot") from None
    matplotlib.use("Agg")
    races = result.races
    _draw(directory / FIGURE_3, (1, 2), (10, 4.2), lambda axes: _draw_credit(axes, result.curves))
    _draw(directory / FIGURE_4, (1, len(races)), (4 * len(races), 4.6), lambda axes: _draw_races(axes, races))
    _draw(directory / DAY_FIGURE, (2, 1), (10, 7), lambda axes: _draw_day(axes, result.comparison))
    return [directory / name for name in (FIGURE_3, FIGURE_4, DAY_FIGURE)]


def _draw(path: Path, shape: tuple[int, int], size: tuple[float, float], draw: Callable[[list[Any]], None]) -> None:
    """One file with `shape` (rows, columns) of axes on `size` inches."""
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
    axes = list(grid.flat)
    draw(axes)
    for axis in axes:
        axis.grid(True, axis="y", linewidth=0.5, alpha=0.4)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


# --- Fig. 3 --------------------------------------------------------------------------------------


def _draw_credit(axes: Sequence[Any], curves: Sequence[CreditCurve]) -> None:
    lowest = min(min(curve.credits_upt) for curve in curves) / _POINT
    for axis, (basis, title) in zip(axes, _BASES.items(), strict=True):
        groups = _group_equal([curve for curve in curves if curve.basis == basis])
        for group, colour, marker in zip(groups, (_BLUE, _ORANGE, _GREEN, _GREY), _MARKERS, strict=False):
            credits_points = [credit_upt / _POINT for credit_upt in group[0].credits_upt]
            label = "α = " + " and ".join(f"{curve.natural_factor_ppm / 1e6:g}" for curve in group)
            tests = range(1, len(credits_points) + 1)
            axis.plot(tests, credits_points, color=colour, marker=marker, markersize=5, linewidth=1.6, label=label)
        axis.set_title(title, loc="left")
        axis.set_xlabel("test")
        axis.set_xticks(range(1, 8))
        axis.set_ylim(lowest - 0.5, 100.5)
        axis.legend(loc="lower left", frameon=False)
    axes[0].set_ylabel("seller's integrated credit (points)")


def _group_equal(curves: Sequence[CreditCurve]) -> list[list[CreditCurve]]:
    """Curves that would cover each other, drawn as one."""
    groups: dict[tuple[int, ...], list[CreditCurve]] = {}
    for curve in curves:
        groups.setdefault(curve.credits_upt, []).append(curve)
    return list(groups.values())


# --- Fig. 4 --------------------------------------------------------------------------------------


def _draw_races(axes: Sequence[Any], races: Sequence[Race]) -> None:
    for axis, race in zip(axes, races, strict=True):
        points = [racer.credit_upt / _POINT for racer in race.racers]
        expected = [float(racer.share * race.blocks) for racer in race.racers]
        axis.vlines(
            points,
            [racer.low for racer in race.racers],
            [racer.high for racer in race.racers],
            color=_BLUE,
            alpha=0.3,
            linewidth=9,
            label="central 95 %, binomial",
        )
        axis.plot(points, expected, color=_BLUE, linewidth=1.4, label="expected, Eq. (11)")
        axis.plot(
            points,
            [racer.sealed for racer in race.racers],
            linestyle="none",
            marker="o",
            markersize=6,
            color=_ORANGE,
            markeredgecolor="black",
            markeredgewidth=0.6,
            label="sealed",
        )
        unit = "point, the paper's formula" if race.tau_upt == _POINT else "points"
        axis.set_title(f"τ = {race.tau_upt / _POINT:g} {unit}", loc="left")
        axis.set_xlabel("credit (points)")
        axis.set_xlim(89, 101)
        axis.set_ylim(bottom=-0.5)
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.legend(loc="upper left", frameon=False)
    axes[0].set_ylabel(f"blocks, of {races[0].blocks}")


# --- the day -------------------------------------------------------------------------------------


def _draw_day(axes: Sequence[Any], comparison: Comparison) -> None:
    _draw_shortfalls(axes[0], comparison)
    _draw_waits(axes[1], comparison)
    hours = comparison.central.hours
    for axis in axes:
        axis.set_xlim(-0.2, hours + 0.2)
        axis.set_xticks(range(0, hours + 1, 2 if hours > 12 else 1))
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0.0)
    axes[1].set_xlabel("hour of delivery (UTC)")


def _draw_shortfalls(axis: Any, comparison: Comparison) -> None:
    central, chain, shaded = (
        [short_wh / 1_000 for short_wh in day.short_wh_by_hour()]
        for day in (comparison.central, comparison.on_chain, comparison.shaded)
    )
    bars = [(central, _ORANGE, "central and chain\n(the same)")]
    if chain != central:
        bars = [(central, _ORANGE, "central"), (chain, _GREEN, "chain")]
    bars.append((shaded, _BLUE, "if players promise less\nwhen their credit falls\n(an assumption)"))
    width = 0.8 / len(bars)
    for number, (values, colour, label) in enumerate(bars):
        places = [hour + 0.1 + width * (number + 0.5) for hour in range(len(values))]
        axis.bar(places, values, width=width, color=colour, label=label)
    axis.set_ylabel("energy short (kWh)")
    axis.set_title("Energy delivered short of what was agreed, both sides of every trade", loc="left")


def _draw_waits(axis: Any, comparison: Comparison) -> None:
    delays = compute_delays(comparison)
    series = (
        (delays.central_settled_ms, _ORANGE, "s", "central:\nsettled daily"),
        (delays.chain_settled_ms, _BLUE, "o", "chain:\nsettled hourly"),
    )
    for waits_ms, colour, marker, label in series:
        places = [hour + 0.5 for hour in range(len(waits_ms))]
        hours = [wait_ms / HOUR_MS for wait_ms in waits_ms]
        axis.plot(places, hours, color=colour, marker=marker, markersize=5, linewidth=1.2, label=label)
    axis.set_ylim(bottom=-0.5)
    axis.set_ylabel("wait (hours)")
    axis.set_title("From the end of an hour's delivery to its settlement", loc="left")
