"""The texts of `gridmerit sim`: scenarios, theories and estimates, as text and as JSON."""

from __future__ import annotations

import re
from math import isfinite
from textwrap import fill
from typing import Any

from gridmerit.commands.settings_tables import list_settings, render_settings, show_value
from gridmerit.tables import WIDTH, facts, fit_columns, table
from gridmerit.text import format_span, quote_path
from simulation.experiments.runner import Run
from simulation.experiments.scenario import Scenario
from simulation.experiments.sweep import Sweep
from simulation.report.document import list_sources, make_rows
from simulation.report.publish import Estimated
from simulation.theory.formulas import THEORIES, Evaluation

_END_OF_SENTENCE = re.compile(r"\.\s+(?=[A-Z])")

# --- scenarios -----------------------------------------------------------------------------------


def show_first_sentence(text: str) -> str:
    """For a list."""
    return _END_OF_SENTENCE.split(text.strip())[0].removesuffix(".").replace("\n", " ")


def make_scenario_document(scenario: Scenario) -> dict[str, Any]:
    """Settings with defaults and bounds, and metrics."""
    return {
        "name": scenario.name,
        "about": scenario.about,
        "film": scenario.film is not None,
        "settings": list_settings(scenario.settings),
        "metrics": [
            {"name": each.name, "kind": each.kind, "unit": each.unit, "has_theory": each.theory is not None}
            for each in scenario.metrics
        ],
    }


def render_scenario(scenario: Scenario) -> str:
    """The same as text, with a command to try."""
    document = make_scenario_document(scenario)
    settings = document["settings"]
    metrics = [
        (row["name"], row["kind"], row["unit"], "yes" if row["has_theory"] else "no") for row in document["metrics"]
    ]
    given = f" --set {settings[0]['name']}={show_value(settings[0]['default'])}" if settings else ""
    return "\n\n".join(
        [
            fill(f"{scenario.name}: {scenario.about}", fit_columns(WIDTH), break_on_hyphens=False),
            render_settings(settings),
            table(("metric", "estimated as", "unit", "theory"), metrics, left=(0, 1, 2, 3)),
            f"try: gridmerit sim run {scenario.name}{given} --reps 10 --out results",
        ]
    )


# --- theories ------------------------------------------------------------------------------------


def list_theories() -> list[dict[str, Any]]:
    """All formulas."""
    return [
        {"name": each.name, "parameters": [item.name for item in each.parameters], "about": each.about}
        for each in THEORIES.values()
    ]


def render_theories() -> str:
    rows = [(each["name"], ", ".join(each["parameters"]), each["about"]) for each in list_theories()]
    return table(("theory", "parameters", "what it is"), rows, left=(0, 1, 2), width=WIDTH)


def render_theory(result: Evaluation) -> str:
    """Parameters, values and source."""
    known = {item.name: item for item in THEORIES[result.name].parameters}
    rows = [
        (key, _show_argument(value), f"{known[key].kind} in {known[key].bounds}", known[key].about)
        for key, value in result.parameters.items()
    ]
    return "\n\n".join(
        [
            result.about,
            table(("parameter", "value", "allowed", "what it means"), rows, left=(0, 1, 2, 3), width=WIDTH),
            facts([(key, f"{value:.6g}") for key, value in result.values.items()]),
            fill(f"source: {result.source}", fit_columns(WIDTH), break_on_hyphens=False),
        ]
    )


def _show_argument(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(show_value, value)) or "none"
    return show_value(value)


# --- estimates -----------------------------------------------------------------------------------


def render_run(sweep: Sweep, result: Run, estimated: Estimated | None) -> str:
    """The text of `sim run`: the estimates so far, and what to do next."""
    spent, now = format_span(int(result.elapsed_s * 1_000)), len(sweep) - result.had
    done = f"{len(sweep)} trials of {sweep.scenario}{f', {now} of them now' if result.had else ''}, in {spent}"
    if estimated is None:
        return done
    heads, rows = make_rows(sweep, estimated.estimates, names_theories=False)
    theories = [
        fill(f"theory: {name}, {source}", fit_columns(WIDTH), subsequent_indent="  ", break_on_hyphens=False)
        for name, source in list_sources(estimated.estimates)
    ]
    directory = result.directory
    next_step = f"wrote {directory}; a report of it: gridmerit sim report {quote_path(directory)}"
    lines = "\n".join([*theories, done, next_step])
    return f"{table(heads, rows, left=(heads.index('metric'),))}\n\n{lines}"


def make_run_document(sweep: Sweep, result: Run, estimated: Estimated | None) -> dict[str, object]:
    """The same for --json."""
    return {
        "directory": str(result.directory),
        "scenario": sweep.scenario,
        "points": len(sweep.points),
        "reps": sweep.reps,
        "seed": sweep.seed,
        "trials": result.trials,
        "resumed_at": result.had,
        "failures": [failure._asdict() for failure in result.failures],
        "elapsed_ms": int(result.elapsed_s * 1_000),
        "estimates": [] if estimated is None else make_estimates_document(estimated),
    }


def make_estimates_document(estimated: Estimated) -> list[dict[str, object]]:
    """Every estimate with its point's settings. JSON knows no infinity: what has no bound has None."""
    return [
        {
            "settings": dict(estimated.manifest.points[each.point]),
            "metric": each.metric.name,
            "unit": each.metric.unit,
            "trials": each.trials,
            "successes": each.successes,
            "attempts": each.attempts,
            "estimate": each.value,
            "cut_off": each.cut_off,
            "cut_off_at": each.cut_off_at,
            "low": _finite(each.low),
            "high": _finite(each.high),
            "theory": None if each.theory is None else {"name": each.theory.name, "value": each.theory.value},
            "z": _finite(each.z),
            "p": each.p,
        }
        for each in estimated.estimates
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
