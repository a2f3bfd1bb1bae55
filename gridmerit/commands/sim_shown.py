"""What `gridmerit sim` prints: scenarios, theories and estimates, as text and as JSON."""

from __future__ import annotations

import re
from math import isfinite
from textwrap import fill
from typing import TYPE_CHECKING, Any

from gridmerit.tables import WIDTH, facts, fit_columns, table
from gridmerit.text import format_span

if TYPE_CHECKING:
    from simulation.experiments.runner import Run
    from simulation.experiments.scenario import Scenario, Settings
    from simulation.experiments.sweep import Sweep
    from simulation.report.publish import Estimated
    from simulation.theory.formulas import Evaluation

_END_OF_SENTENCE = re.compile(r"\.\s+(?=[A-Z])")
_LONGEST_ALLOWED = 40  # characters; more would leave no room for what a setting means

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


def list_settings(settings: type[Settings]) -> list[dict[str, Any]]:
    """Each setting with its default, its bounds and what it means."""
    properties: dict[str, Any] = settings.model_json_schema().get("properties", {})
    return [
        {
            "name": key,
            "default": field.get("default"),
            "allowed": _show_allowed(field),
            "about": field.get("description", ""),
        }
        for key, field in properties.items()
    ]


def render_settings(settings: list[dict[str, Any]]) -> str:
    """What `list_settings` made, as a table; many words to choose from stand behind what they mean."""
    rows = []
    for row in settings:
        allowed, about = row["allowed"], row["about"]
        if len(allowed) > _LONGEST_ALLOWED:
            allowed, about = "one of these", f"{about}: {allowed}"
        rows.append((row["name"], show_value(row["default"]), allowed, about))
    return table(("setting", "default", "allowed", "what it means"), rows, left=(0, 2, 3), width=WIDTH)


def show_value(value: object) -> str:
    """As one would write it: a number to six digits, `true` or `false`, text as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float) or not isfinite(value):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _show_allowed(field: dict[str, Any]) -> str:
    """The bounds that a JSON schema states."""
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    if "anyOf" in field:
        return ", ".join(map(_show_allowed, field["anyOf"]))
    marks = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    bounds = [f"{mark} {show_value(field[key])}" for key, mark in marks if key in field]
    kinds = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}
    return ", ".join([kinds[field["type"]], *bounds])


# --- theories ------------------------------------------------------------------------------------


def list_theories() -> list[dict[str, Any]]:
    """All formulas."""
    from simulation.theory.formulas import THEORIES

    return [
        {"name": each.name, "parameters": [item.name for item in each.parameters], "about": each.about}
        for each in THEORIES.values()
    ]


def render_theories() -> str:
    rows = [(each["name"], ", ".join(each["parameters"]), each["about"]) for each in list_theories()]
    return table(("theory", "parameters", "what it is"), rows, left=(0, 1, 2), width=WIDTH)


def render_theory(result: Evaluation) -> str:
    """Parameters, values and source."""
    from simulation.theory.formulas import THEORIES

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
    """What `sim run` prints: the estimates so far, and what to do next."""
    from simulation.report.document import list_sources, make_rows

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
    next_step = f"wrote {directory}; a report of it: gridmerit sim report {directory}"
    lines = "\n".join([*theories, done, next_step])
    return f"{table(heads, rows, left=(heads.index('metric'),))}\n\n{lines}"


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
