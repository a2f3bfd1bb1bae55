"""The plots of a laboratory report, as PNG. matplotlib is an extra, imported when a plot is drawn."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from simulation.errors import MissingExtra
from simulation.experiments.estimates import Estimate
from simulation.experiments.scenario import Value
from simulation.experiments.sweep import Sweep
from simulation.report.recording_summary import Summary

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00", "#6a51a3")
_INK, _GRID, _STALE = "#1d2733", "#e3e8ee", "#d55e00"
_WIDE = 8.0  # inches
_MAX_LINES = len(COLOURS)
_CIRCLE = {"linestyle": "none", "marker": "o", "markersize": 9, "markerfacecolor": "none"}
_MAX_TREE = 400
_SKEW = 20  # times the median time beyond which a linear scale shows nothing of it

Axes: TypeAlias = Any
Figure = tuple[str, str, bytes]  # file name, caption, PNG


def draw_estimates(sweep: Sweep, estimates: Sequence[Estimate], abouts: Mapping[str, str]) -> list[Figure]:
    """Every metric over the setting that varies most, a line for each choice of the others, theory as open circles.

    `abouts` says of settings what they mean, with their unit.
    """
    axis = _choose_axis(sweep)
    if axis is None:
        return []
    figures = []
    for name in dict.fromkeys(estimate.metric.name for estimate in estimates):
        chosen = [estimate for estimate in estimates if estimate.metric.name == name]
        figures.append(_draw_metric(sweep, axis, chosen, abouts.get(axis, "")))
    return figures


def draw_film(summary: Summary) -> list[Figure]:
    """Draw the figures of one trial's film: tree, reorganisations, propagation, intervals, targets."""
    figures = []
    if summary.blocks:
        figures.append(_draw_tree(summary))
    if summary.reorg_depths:
        figures.append(
            draw_counts(
                "reorg-depths",
                "How deep the filmed trial's reorganisations went, over all peers.",
                summary.reorg_depths,
                "depth of the reorganisation, blocks",
            )
        )
    if any(len(times) > 1 for times in summary.spread_ms):
        figures.append(_draw_spread(summary))
    if len(summary.intervals) > 1:
        figures.append(_draw_intervals(summary))
    if len(summary.targets) > 1:
        figures.append(_draw_targets(summary))
    return figures


def draw_counts(name: str, caption: str, counts: Mapping[int, int], label: str) -> Figure:
    """A histogram of whole numbers."""

    def draw(axes: Axes) -> None:
        axes.bar(list(counts), list(counts.values()), width=0.8, color=COLOURS[0])
        axes.set(xlabel=label, ylabel="how often", xlim=(-0.6, max(3, *counts) + 0.6))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.get_major_locator().set_params(integer=True)

    return draw_plot(name, caption, draw)


# --- estimates -----------------------------------------------------------------------------------


def _choose_axis(sweep: Sweep) -> str | None:
    """The varied setting with the most numbers; the first of several."""
    best, most = None, 1
    for key in sweep.varied():
        values = {point[key] for point in sweep.points}
        if len(values) > most and all(isinstance(value, int | float) for value in values):
            best, most = key, len(values)
    return best


def _draw_metric(sweep: Sweep, axis: str, estimates: Sequence[Estimate], about: str) -> Figure:
    metric = estimates[0].metric
    others = [key for key in sweep.varied() if key != axis]
    lines: dict[str, list[Estimate]] = {}
    for estimate in estimates:
        point = sweep.points[estimate.point]
        lines.setdefault(", ".join(f"{key} = {point[key]}" for key in others), []).append(estimate)
    shown = list(lines.items())[:_MAX_LINES]
    theories = dict.fromkeys(each.theory.name for each in estimates if each.theory is not None)

    def draw(axes: Axes) -> None:
        for colour, (label, found) in zip(COLOURS, shown, strict=False):
            points = [(_number(sweep.points[each.point][axis]), each) for each in found]
            _draw_line(axes, points, label, colour)
            _draw_theory(axes, points, colour)
        if theories:
            axes.plot([], [], **_CIRCLE, markeredgecolor=_INK, label=", ".join(theories))
        axes.set(
            xlabel=f"{axis}: {about}" if about else axis,
            ylabel=f"{metric.name}{f', {metric.unit}' if metric.unit else ''}",
        )
        axes.legend(frameon=False, fontsize=8)

    left_out = f" The first {_MAX_LINES} of {len(lines)} lines." if len(lines) > _MAX_LINES else ""
    circles = ", theory as open circles" if theories else ""
    bounds = " Where trials were cut off they are lower bounds." if any(each.cut_off for each in estimates) else ""
    caption = f"{metric.name} over {axis}: estimates with 95 % intervals{circles}.{bounds}{left_out}"
    words = metric.name.lower().replace("'", "")
    return draw_plot(f"estimate-{re.sub(r'[^a-z0-9]+', '-', words)}", caption, draw)


def _draw_line(axes: Axes, points: Sequence[tuple[float, Estimate]], label: str, colour: str) -> None:
    ordered = sorted(points, key=lambda pair: pair[0])
    x = [number for number, _ in ordered]
    values = [estimate.value for _, estimate in ordered]
    bars = [
        [_finite(each.value - each.low) for _, each in ordered],
        [_finite(each.high - each.value) for _, each in ordered],
    ]
    axes.errorbar(
        x, values, yerr=bars, color=colour, marker="o", markersize=4, linewidth=1, capsize=3, label=label or "estimate"
    )


def _draw_theory(axes: Axes, points: Sequence[tuple[float, Estimate]], colour: str) -> None:
    known = [(number, each.theory.value) for number, each in points if each.theory is not None]
    axes.plot([x for x, _ in known], [y for _, y in known], **_CIRCLE, markeredgecolor=colour, zorder=5)


def _number(value: Value) -> float:
    return float(value)


def _finite(length: float) -> float:
    """The length of an error bar; none where the interval is unbounded."""
    return max(0.0, length) if length < float("inf") else 0.0


# --- the film ------------------------------------------------------------------------------------


def _draw_tree(summary: Summary) -> Figure:
    """Blocks by height; the canonical chain in one line, what was left below it."""
    blocks = sorted(summary.blocks, key=lambda block: (block.height, not block.is_canonical, block.found_ms))
    blocks = _choose_part(blocks) if len(blocks) > _MAX_TREE else blocks
    lanes: dict[str, int] = {}
    taken: set[tuple[int, int]] = set()
    for block in blocks:
        lane = 0 if block.is_canonical else max(1, lanes.get(block.parent, 1))
        while (block.height, lane) in taken:
            lane += 1
        lanes[block.hash] = lane
        taken.add((block.height, lane))
    heights = {block.hash: block.height for block in blocks}
    depth = max(lanes.values())

    def draw(axes: Axes) -> None:
        for block in blocks:
            if block.parent in lanes:
                ends = [heights[block.parent], block.height], [-lanes[block.parent], -lanes[block.hash]]
                axes.plot(*ends, color=COLOURS[0] if block.is_canonical else _STALE, linewidth=1, zorder=1)
        for is_canonical, colour, label in ((True, COLOURS[0], "canonical"), (False, _STALE, "stale")):
            chosen = [block for block in blocks if block.is_canonical == is_canonical]
            if chosen:
                axes.scatter(
                    [block.height for block in chosen],
                    [-lanes[block.hash] for block in chosen],
                    s=22, marker="s", color=colour, label=label, zorder=2,
                )  # fmt: skip
        axes.set(xlabel="height, blocks", yticks=[], ylim=(-depth - 0.6, 1.2))
        axes.spines["left"].set_visible(False)
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")

    part = f" Heights {blocks[0].height} to {blocks[-1].height}." if len(blocks) < len(summary.blocks) else ""
    count = len(summary.blocks)
    return draw_plot(
        "fork-tree",
        f"The filmed trial's {count} blocks, {summary.stale} of them stale.{part}",
        draw,
        tall=1.2 + 0.3 * min(depth, 20),
    )


def _choose_part(blocks: list[Any]) -> list[Any]:
    """As many blocks as can be told apart, from the height on where most were left."""
    stale = [index for index, block in enumerate(blocks) if not block.is_canonical]
    start = stale[len(stale) // 2] - _MAX_TREE // 2 if stale else 0
    start = max(0, min(start, len(blocks) - _MAX_TREE))
    return blocks[start : start + _MAX_TREE]


def _draw_spread(summary: Summary) -> Figure:
    """After how long a share of the peers has a block: the median block and the middle nine tenths of the blocks."""
    shares, middles, lows, highs = [], [], [], []
    for count in range(1, summary.peers + 1):
        times = sorted(reached[count - 1] for reached in summary.spread_ms if len(reached) >= count)
        if len(times) * 2 < len(summary.spread_ms):
            break
        shares.append(100 * count / summary.peers)
        middles.append(times[len(times) // 2])
        lows.append(times[len(times) // 20])
        highs.append(times[-1 - len(times) // 20])

    is_skew = highs[-1] > _SKEW * max(1, middles[-1])  # some blocks were held back, or came with a healed cut

    def draw(axes: Axes) -> None:
        axes.fill_betweenx(shares, lows, highs, color=COLOURS[0], alpha=0.2, linewidth=0, label="90 % of the blocks")
        axes.plot(middles, shares, color=COLOURS[0], marker="o", markersize=3, label="median block")
        axes.set(xlabel="time since the block was found, ms", ylabel="peers that have it, %", ylim=(0, 103))
        if is_skew:
            axes.set_xscale("symlog", linthresh=max(1, middles[-1]))
            axes.set_xlim(left=0)
        axes.legend(frameon=False, fontsize=8, loc="lower right")

    scale = " Beyond the median, time is on a logarithmic scale." if is_skew else ""
    return draw_plot("propagation", f"How the filmed trial's blocks spread.{scale}", draw)


def _draw_intervals(summary: Summary) -> Figure:
    def draw(axes: Axes) -> None:
        heights, seconds = [height for height, _ in summary.intervals], [ms / 1_000 for _, ms in summary.intervals]
        axes.plot(heights, seconds, color=COLOURS[0], linewidth=0.8, marker="o", markersize=3)
        mean = sum(seconds) / len(seconds)
        axes.axhline(mean, color=_STALE, linewidth=1, linestyle="--", label=f"mean, {mean:.3g} s")
        axes.set(xlabel="height, blocks", ylabel="interval, s", ylim=(0, None))
        axes.legend(frameon=False, fontsize=8)

    return draw_plot("intervals", "Time between the filmed trial's canonical blocks.", draw)


def _draw_targets(summary: Summary) -> Figure:
    def draw(axes: Axes) -> None:
        first = summary.targets[0][1]
        ratios = [target / first for _, target in summary.targets]
        axes.step([height for height, _ in summary.targets], ratios, color=COLOURS[0], where="post")
        axes.set(xlabel="height, blocks", ylabel="N_diff, of the first one's", ylim=(0, None))

    return draw_plot("targets", "The filmed trial's N_diff along the canonical chain; the higher, the easier.", draw)


def draw_plot(name: str, caption: str, draw: Callable[[Axes], None], *, tall: float = 3.2) -> Figure:
    """A figure of one plot, `tall` inches high. The same data gives the same bytes. Raises `MissingExtra`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Drawn
    except ImportError:
        raise MissingExtra(what="a plot", package="matplotlib", extra="lab") from None
    figure = Drawn(figsize=(_WIDE, tall), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes)
    axes.grid(True, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=9)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return f"{name}.png", caption, out.getvalue()
