"""A laboratory report as Markdown, and as one HTML page that needs nothing beside it. Pure but for its own assets."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from simulation.experiments.estimates import Estimate
from simulation.experiments.scenario import Value
from simulation.experiments.sweep import Code, Manifest, Sweep
from simulation.recording import Recording, dump_replay
from simulation.report.figures import Figure
from simulation.theory.statistics import rule_of_three

MAX_SHOWN_FRAMES = 60_000
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_TEXT_COLUMNS = {"metric", "by theory", "cut off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmedTrial:
    """The film in a report, and what repeats it."""

    replay: Recording
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaboratoryReport:
    """Everything that both forms show."""

    about: str
    manifest: Manifest
    reporter: Code  # which code makes the report
    estimates: Sequence[Estimate]
    finished: int
    failed: int
    figures: Sequence[Figure]
    film: FilmedTrial | None = None

    @property
    def sweep(self) -> Sweep:
        return self.manifest.sweep


# --- what both forms say -------------------------------------------------------------------------


def list_facts(report: LaboratoryReport) -> list[tuple[str, str]]:
    """The facts that one needs in order to do it again."""
    manifest, sweep, code = report.manifest, report.sweep, report.manifest.code
    varied = sweep.varied()
    fixed = [f"{key} = {value}" for key, value in sweep.points[0].items() if key not in varied]
    lists = [f"{key} = {', '.join(dict.fromkeys(str(point[key]) for point in sweep.points))}" for key in varied]
    commit = f"{code.commit}{', modified' if code.is_modified else ''}" if code.commit else "none: no checkout"
    facts = [
        ("scenario", f"{manifest.scenario}, hash {manifest.scenario_hash}"),
        ("varied", "; ".join(lists) or "nothing"),
        ("fixed", "; ".join(fixed) or "nothing"),
        ("trials", f"{report.finished} of {len(sweep)}: {len(sweep.points)} points, {sweep.reps} repetitions each"),
        ("seed", f"{sweep.seed}; each trial's own is SHA-256 of it, the point and the repetition"),
        ("commit", commit),
        ("sources", f"hash {code.hash}"),
        ("versions", f"gridmerit {code.gridmerit}, Python {code.python}, numpy {code.numpy or 'none'}"),
    ]
    if report.failed:
        facts.insert(4, ("failed trials", f"{report.failed}, missing from every estimate; see failures.json"))
    return facts


def list_warnings(report: LaboratoryReport) -> list[str]:
    """The warnings that a reader must know before believing the table."""
    warnings = []
    if report.finished < len(report.sweep):
        warnings.append(f"{len(report.sweep) - report.finished} trials are missing: the sweep is not finished.")
    if report.failed:
        warnings.append(f"{report.failed} trials failed. What is estimated, is so of those that did not.")
    if report.reporter.hash != report.manifest.code.hash:
        warnings.append("The trials ran on other sources than made this report, its theory and its film.")
    if report.manifest.code.is_modified:
        warnings.append("The checkout was modified: the commit alone does not give these sources.")
    return warnings


def make_rows(
    sweep: Sweep, estimates: Sequence[Estimate], *, names_theories: bool = True
) -> tuple[list[str], list[list[str]]]:
    """The table of estimates: heads and cells, without the columns that would be empty."""
    varied = sweep.varied()
    heads = [*varied, "metric", "trials", "seen", "estimate", "95 % interval"]
    heads += ["cut off", "theory", "by theory", "z", "p"]
    rows = []
    for each in estimates:
        point = sweep.points[each.point]
        unit = f", {each.metric.unit}" if each.metric.unit else ""
        rows.append(
            [
                *(str(point[key]) for key in varied),
                f"{each.metric.name}{unit}",
                str(each.trials),
                "" if each.successes is None else f"{each.successes:,} of {each.attempts:,}",
                show_estimate(each),
                f"{show_number(each.low)} … {show_number(each.high)}",
                show_cut_off(each),
                "" if each.theory is None else show_number(each.theory.value),
                each.theory.name if each.theory is not None and names_theories else "",
                "" if each.z is None else f"{each.z:+.2f}",
                "" if each.p is None else f"{each.p:.2g}",
            ]
        )
    filled = [index for index in range(len(heads)) if any(row[index] for row in rows)]
    return [heads[index] for index in filled], [[row[index] for index in filled] for row in rows]


def show_estimate(estimate: Estimate) -> str:
    """The value; `≥` where trials were cut off, `< 3/n` where nothing was seen in n attempts."""
    if estimate.cut_off:
        return f"≥ {show_number(estimate.value)}"
    if estimate.is_bound_only and estimate.attempts:
        return f"< {show_number(rule_of_three(estimate.attempts))} (3/n)"
    return show_number(estimate.value)


def show_cut_off(estimate: Estimate) -> str:
    """Of how many trials the end was not awaited; empty where of none."""
    if not estimate.cut_off:
        return ""
    total = estimate.trials if estimate.attempts is None else estimate.attempts
    what = "trials" if estimate.attempts is None else "attempts"
    return f"{estimate.cut_off:,} of {total:,} {what}{f' at {estimate.cut_off_at}' if estimate.cut_off_at else ''}"


def show_number(value: float) -> str:
    """Four significant digits; thousands in full."""
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e9 else f"{value:.4g}"


def summarise_agreement(report: LaboratoryReport) -> str:
    """In how many intervals theory lies, and how many that should be."""
    judged = [estimate.agrees for estimate in report.estimates if estimate.agrees is not None]
    if not judged:
        return "No theory is known for these metrics."
    return (
        f"Theory lies in {sum(judged)} of {len(judged)} intervals. "
        f"Of 95 % intervals, one in twenty misses a theory that is true: {len(judged) / 20:.2g} of these."
    )


def list_sources(estimates: Sequence[Estimate]) -> list[tuple[str, str]]:
    """Each theory that stands beside an estimate, and where it is from."""
    theories = [estimate.theory for estimate in estimates if estimate.theory is not None]
    return list(dict.fromkeys((theory.name, theory.source) for theory in theories))


def _method() -> str:
    return (
        "Shares: Clopper–Pearson intervals and the p of the exact binomial test; 0 of n is shown as < 3/n. "
        "Means: Student's interval, cut off at 0, and the p of his test; where all trials are alike, they say nothing. "
        "All of them are two-sided. "
        "Where trials were cut off before what is measured had come, the estimate is a lower bound (≥), the interval "
        "holds whatever they would have come to, and there is no test. "
        "z: the distance of the estimate from theory, in standard errors."
    )


# --- Markdown ------------------------------------------------------------------------------------


def render_markdown(report: LaboratoryReport) -> str:
    """The report with its figures as files beside it."""
    heads, rows = make_rows(report.sweep, report.estimates)
    marks = [":---" if head in _TEXT_COLUMNS else "---:" for head in heads]
    table = [f"| {' | '.join(_cell(item) for item in row)} |" for row in [heads, marks, *rows]]
    parts = [f"# {report.manifest.scenario}", report.about]
    parts += [f"> **Note:** {warning}" for warning in list_warnings(report)]
    parts += ["## Results", "\n".join(table), summarise_agreement(report), _method()]
    parts += [f"![{caption}]({name})\n\n*{caption}*" for name, caption, _ in report.figures]
    if sources := list_sources(report.estimates):
        parts += ["## Theory", "\n".join(f"- `{name}`: {source}" for name, source in sources)]
    if report.film is not None:
        parts += ["## Film", f"`report.html` plays one trial, which `{report.film.command}` repeats."]
    parts += ["## Doing it again", "\n".join(f"- {name}: {value}" for name, value in list_facts(report))]
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# --- HTML ----------------------------------------------------------------------------------------


def render_html(report: LaboratoryReport) -> str:
    """One page: style, script, plots and film are inside, and its policy forbids it to load anything."""
    parts = [f"<h1>{escape(report.manifest.scenario)}</h1>", f"<p>{escape(report.about)}</p>"]
    parts += [f'<p class="warning">{escape(warning)}</p>' for warning in list_warnings(report)]
    parts += ["<h2>Results</h2>", _render_table(report)]
    parts += [f"<p>{escape(summarise_agreement(report))}</p>", f"<p>{escape(_method())}</p>"]
    parts += [render_figure(figure) for figure in report.figures]
    if sources := list_sources(report.estimates):
        items = "".join(f"<li><code>{escape(name)}</code>: {escape(source)}</li>" for name, source in sources)
        parts += ["<h2>Theory</h2>", f"<ul>{items}</ul>"]
    if report.film is not None:
        parts += ["<h2>Film</h2>", render_viewer(report.film)]
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in list_facts(report))
    parts += ["<h2>Doing it again</h2>", f"<dl>{facts}</dl>"]
    return render_page(report.manifest.scenario, parts)


def render_film_page(film: FilmedTrial) -> str:
    """The viewer alone."""
    replay = film.replay
    settings = show_all(replay.settings)
    parts = [f"<h1>{escape(replay.scenario)}</h1>", f"<p>{escape(settings)}</p>", render_viewer(film)]
    return render_page(replay.scenario, parts)


def show_all(settings: Mapping[str, Value]) -> str:
    return "; ".join(f"{key} = {value}" for key, value in settings.items())


def render_viewer(film: FilmedTrial) -> str:
    """The film in a page, with its controls. A long one is cut."""
    replay = film.replay
    frames = replay.frames[:MAX_SHOWN_FRAMES]
    end_ms = replay.end_ms if len(frames) == len(replay.frames) else frames[-1][0]
    shown = Recording(
        scenario=replay.scenario,
        settings=replay.settings,
        seed=replay.seed,
        peers=replay.peers,
        start_ms=replay.start_ms,
        end_ms=end_ms,
        frames=frames,
    )
    document = dump_replay(shown).decode().replace("<", "\\u003c")
    cut = f" The first {len(frames):,} of {len(replay.frames):,} events." if end_ms != replay.end_ms else ""
    speeds = "".join(
        f'<option value="{speed}"{" selected" if speed == 1 else ""}>{speed}×</option>'
        for speed in (0.1, 1, 10, 100, 1000)
    )
    script = (files("simulation") / "page" / "viewer.js").read_text(encoding="utf-8")
    return f"""<p>One trial, seed {replay.seed}; a block's colour is its producer's, pale blocks are stale, and a
peer's bar has the colour of its head's producer. Repeat it with <code>{escape(film.command)}</code>.{cut}</p>
<div class="controls"><button id="play">Play</button><button id="back" title="previous event">‹</button>
<button id="forward" title="next event">›</button><input id="slider" type="range" aria-label="time">
<select id="speed" aria-label="speed">{speeds}</select><span id="clock"></span></div>
<div id="net"></div><svg id="tree" role="img" aria-label="tree of blocks"></svg>
<div id="peers"></div><pre id="log" class="mono"></pre>
<script type="application/json" id="film">{document}</script>
<script>{script}</script>"""


def _render_table(report: LaboratoryReport) -> str:
    heads, rows = make_rows(report.sweep, report.estimates)
    left = [index for index, head in enumerate(heads) if head in _TEXT_COLUMNS]
    return render_table(heads, rows, left=left, off=[estimate.agrees is False for estimate in report.estimates])


def render_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int], off: Sequence[bool] | None = None
) -> str:
    """A table as HTML: columns not in `left` are aligned to the right, rows that are `off` stand out."""
    kinds = [' class="text"' if index in left else "" for index in range(len(heads))]
    top = "".join(f"<th{kind}>{escape(head)}</th>" for kind, head in zip(kinds, heads, strict=True))
    lines = []
    for is_off, row in zip(off or [False] * len(rows), rows, strict=True):
        cells = "".join(f"<td{kind}>{escape(item)}</td>" for kind, item in zip(kinds, row, strict=True))
        lines.append(f"<tr{' class=off' if is_off else ''}>{cells}</tr>")
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def render_figure(figure: Figure) -> str:
    """A figure and its caption as HTML, the picture inside."""
    name, caption, png = figure
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return f'<figure><img alt="{escape(name)}" src="{source}"><figcaption>{escape(caption)}</figcaption></figure>'


def render_page(title: str, parts: Sequence[str]) -> str:
    """A page of these parts that needs nothing beside it, and may load nothing."""
    style = (files("simulation") / "page" / "style.css").read_text(encoding="utf-8")
    head = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title><style>{style}</style></head><body>
"""
    return head + "\n".join(parts) + "\n</body></html>\n"
