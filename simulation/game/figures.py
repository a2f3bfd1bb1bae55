"""Figs 2 to 5 of text 001 for an experiment: energy forecast and metered, what is for sale, and the prices."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan

from market.game.day import cast, list_energy
from market.game.hour import DIRECTIONS, as_tuple
from market.profile import HOUR_MS
from simulation.game.experiment import PAPER_NOON, Experiment
from simulation.report.figures import COLOURS, Axes, Figure, draw_plot

LABELS = {"g_to_u": "G→U", "g_to_c": "G→C", "c_to_u": "C→U", "c_to_g": "C→G"}
_MARKERS = dict(zip(DIRECTIONS, "os^D", strict=True))
_COLOUR = dict(zip(DIRECTIONS, COLOURS, strict=False))
_TALL = 3.6
_MOST_TICKS = 25
_OUTSIDE = {"frameon": False, "fontsize": 8, "loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}


def draw_figures(experiment: Experiment) -> list[Figure]:
    """All of them. Raises `MissingExtra` without matplotlib."""
    return [
        _draw_load(experiment),
        _draw_generation(experiment),
        _draw_for_sale(experiment),
        _draw_traded(experiment),
        _draw_best(experiment),
    ]


# --- Figs 2 and 3: energy ----------------------------------------------------------------------------


def _draw_load(experiment: Experiment) -> Figure:
    profile = experiment.profile
    pair = [list_energy(profile, series, cast(profile)) for series in ("forecast", "actual")]
    users = [[sum(hour.user_load_wh) / 1_000 for hour in series] for series in pair]
    own = [[hour.own_load_wh / 1_000 for hour in series] for series in pair]

    def draw(axes: Axes) -> None:
        _compare(axes, "ordinary users", COLOURS[0], *users)
        _compare(axes, "microgrid company", COLOURS[1], *own)
        axes.set_ylim(bottom=0)
        _finish(axes, experiment, "energy, kWh")

    caption = "Fig. 2: the load of users and of the company, metered (lines) and forecast (dashes)."
    return draw_plot("figure-2-load", caption, draw, tall=_TALL)


def _draw_generation(experiment: Experiment) -> Figure:
    profile = experiment.profile
    plants = [player.name for player in profile.players if player.role == "producer"][: len(COLOURS)]

    def draw(axes: Axes) -> None:
        for name, colour in zip(plants, COLOURS, strict=False):
            readings = [profile.readings[name, hour_ms] for hour_ms in profile.hours_ms]
            forecast, actual = ([wh / 1_000 for wh in series] for series in zip(*readings, strict=True))
            _compare(axes, name, colour, forecast, actual)
        _finish(axes, experiment, "energy, kWh")

    caption = "To Fig. 2: what the company's plants make, metered (lines) and forecast (dashes)."
    return draw_plot("figure-2-generation", caption, draw, tall=_TALL)


def _compare(axes: Axes, name: str, colour: str, forecast: Sequence[float], actual: Sequence[float]) -> None:
    axes.stairs(actual, color=colour, linewidth=1.8, label=f"{name},\nmetered", baseline=None)
    axes.stairs(forecast, color=colour, linewidth=1.2, linestyle="--", label="forecast", baseline=None)


def _draw_for_sale(experiment: Experiment) -> Figure:
    hours = [one.hour for one in experiment.hours]
    surplus = [sum(as_tuple(hour.surplus_wh)) / 1_000 for hour in hours]
    capacity = [sum(hour.kwh("bureau_capacity_wh")) for hour in hours]
    lacked = [sum(hour.kwh("shortage_wh")) for hour in hours]

    def draw(axes: Axes) -> None:
        axes.stairs(capacity, color=COLOURS[2], alpha=0.25, fill=True, label="energy bureaus")
        axes.stairs(surplus, color=COLOURS[0], linewidth=1.8, label="microgrid companies", baseline=None)
        if any(lacked):
            axes.stairs([-kwh for kwh in lacked], color=COLOURS[5], fill=True, alpha=0.6, label="lacked by\ncompanies")
        _finish(axes, experiment, "energy, kWh")

    caption = (
        "Fig. 3: the energy that producers can sell: what companies' own loads leave, and what bureaus can generate."
    )
    return draw_plot("figure-3-for-sale", caption, draw, tall=_TALL)


# --- Figs 4 and 5: prices ----------------------------------------------------------------------------


def _draw_traded(experiment: Experiment) -> Figure:
    def draw(axes: Axes) -> None:
        _draw_prices(axes, experiment, only_traded=True)

    caption = (
        "Fig. 4: the prices at which energy is sold; a direction has none in an hour in which nothing goes that way."
    )
    return draw_plot("figure-4-traded-prices", caption, draw, tall=_TALL)


def _draw_best(experiment: Experiment) -> Figure:
    noon = experiment.noon

    def draw(axes: Axes) -> None:
        _draw_prices(axes, experiment, only_traded=False)
        if noon is not None:
            place = experiment.hours.index(noon.solved) + 0.5
            for direction in DIRECTIONS:
                axes.plot(place, PAPER_NOON.of(direction)[0], "x", color=_COLOUR[direction], markersize=9, zorder=5)
            axes.plot([], [], "x", color="black", markersize=8, label="the paper's\nat 12:00")
            axes.legend(**_OUTSIDE)

    caption = (
        "Fig. 5: the best price of each direction. Where nothing goes that way (open marks) a price is arbitrary, here "
        "the least that may be asked. Crosses are the paper's prices of 12:00, which are no equilibrium."
    )
    return draw_plot("figure-5-best-prices", caption, draw, tall=_TALL)


def _draw_prices(axes: Axes, experiment: Experiment, *, only_traded: bool) -> None:
    hours = experiment.hours
    middles = [index + 0.5 for index in range(len(hours))]
    for direction in DIRECTIONS:
        traded = [one.mean_price(direction) if one.sum_volume(direction) > 0 else nan for one in hours]
        line = {"color": _COLOUR[direction], "linewidth": 1}
        mark = {"marker": _MARKERS[direction], "markersize": 4}
        if not only_traded:
            prices = [one.mean_price(direction) for one in hours]
            axes.plot(middles, prices, **line, **mark, markerfacecolor="white")
            line["linestyle"] = "none"
        label = LABELS[direction] + (": not sold" if all(map(isnan, traded)) else "")
        axes.plot(middles, traded, **line, **mark, label=label)
    for index, one in enumerate(hours):
        if not one.is_settled:
            axes.axvspan(index, index + 1, color=COLOURS[5], alpha=0.15, linewidth=0)
    bounds = [bound for pair in hours[0].hour.bounds.values() for bound in pair]
    axes.set_ylim(min(bounds) - 0.02, max(bounds) + 0.02)
    _finish(axes, experiment, "price, yuan/kWh")


def _finish(axes: Axes, experiment: Experiment, label: str) -> None:
    """The axis of hours, and a legend beside the plot."""
    hours = [one.start_ms // HOUR_MS for one in experiment.hours]
    step = next(step for step in (1, 2, 3, 6, 12, 24, 24 * 7, len(hours) + 1) if len(hours) / step < _MOST_TICKS / 2)
    ticks = [index for index in range(len(hours) + 1) if (hours[0] + index) % step == 0]
    labels = [f"{(hours[0] + index) % 24}:00" if step < 24 else f"{index // 24 + 1}" for index in ticks]
    axes.set_xticks(ticks, labels)
    axes.set(xlabel="hour of the day, UTC" if step < 24 else "day", ylabel=label, xlim=(-0.2, len(hours) + 0.2))
    axes.legend(**_OUTSIDE)
