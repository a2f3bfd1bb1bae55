"""`gridmerit sim recommend`: every attack with its mitigation off and on, and the parameters that follow from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import click

from gridmerit.commands.progress import show_progress
from gridmerit.commands.settings_tables import show_value
from gridmerit.network.parameters import load_params_set
from gridmerit.output import emit, json_option, note
from gridmerit.tables import WIDTH, fit_columns
from simulation.experiments.executors import count_cores, open_executor
from simulation.experiments.recommendation import (
    QUESTIONS,
    Job,
    make_answers,
    make_document,
    plan_trials,
    render_markdown,
    run_job,
    show_bound,
)
from simulation.experiments.scenario import Value


@click.command("recommend")
@click.option("--quick", is_flag=True, help="A few trials of each: a minute, and wide intervals.")
@click.option("--only", multiple=True, metavar="PARAMETER", help="Such as consensus.tau_upt; may be repeated.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Of all trials.")
@click.option("--jobs", type=click.IntRange(1, 1024), help="Processes on this machine.  [default: all cores]")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The directory for the report."
)
@json_option
def recommend(quick: bool, only: tuple[str, ...], seed: int, jobs: int | None, out: Path) -> None:
    """Measure what each mitigation does, and recommend parameters.

    Prints each attack with its mitigation off and on, with 95 % intervals and theory, and where configs/recommended has
    another value than the one recommended. OUT/recommendation.md and OUT/recommendation.json have the same.

    \b
    Example:
      gridmerit sim recommend --quick --out why
    """
    known = [question.name for question in QUESTIONS]
    for name in only:
        if name not in known:
            raise click.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint="--only")
    planned = list(plan_trials(is_quick=quick, seed=seed, only=only))
    rows = _run(planned, jobs or count_cores())
    answers = make_answers(rows, load_params_set("recommended"), is_quick=quick, seed=seed)
    document, text = make_document(answers), render_markdown(answers)
    out.mkdir(parents=True, exist_ok=True)
    (out / "recommendation.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (out / "recommendation.md").write_text(text, encoding="utf-8")
    emit({"directory": str(out), "seed": seed, "trials": len(planned), "answers": document}, _render(document))
    note(f"wrote {out / 'recommendation.md'}")


def _run(planned: list[Job], jobs: int) -> list[tuple[Job, Mapping[str, Value]]]:
    """The rows, in the order planned, whichever process was first."""
    rows = []
    with open_executor(jobs, None) as (executor, _), show_progress(len(planned)) as on_progress:
        futures = [executor.submit(run_job, job) for job in planned]
        for job, future in zip(planned, futures, strict=True):
            rows.append((job, future.result()))
            on_progress(len(rows), len(planned))
    return rows


def _render(document: list[dict[str, Any]]) -> str:
    """The same for a terminal: a paragraph per parameter."""
    paragraphs = []
    for row in document:
        packaged = ", ".join(f"{chain} {value}" for chain, value in row["deviating"].items()) or "the same"
        pairs = [
            ("against", row["attack"]),
            ("off", _show_side(row["metric"], row["off"])),
            ("on", f"{_show_side(row['metric'], row['on'])}{'' if row['has_effect'] else '; the intervals overlap'}"),
            ("why", row["why"]),
        ]
        lines = [fill(f"  {name:9}{text}", fit_columns(WIDTH), subsequent_indent=" " * 11) for name, text in pairs]
        paragraphs.append("\n".join([f"{row['parameter']} = {row['recommended']}; packaged: {packaged}", *lines]))
    return "\n\n".join(paragraphs)


def _show_side(metric: str, side: dict[str, Any]) -> str:
    settings = ", ".join(f"{key} = {show_value(value)}" for key, value in side["settings"].items())
    theory = "" if side["theory"] is None else f", theory {side['theory']:.3g} ({side['theory_name']})"
    value = f"{'≥ ' if side['cut_off'] else ''}{side['value']:.3g}"
    cut_off = f", {side['cut_off']} of {side['trials']} cut off at {side['cut_off_at']}" if side["cut_off"] else ""
    return (
        f"{settings}: {metric} {value}, 95 % interval {side['low']:.3g} … {show_bound(side['high'])}{cut_off}{theory}"
    )
