"""From the packaged week to the files of its page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridmerit.economy.cast import make_cast
from gridmerit.economy.checks import Check, run_checks
from gridmerit.economy.fast import PERIOD_MS, FastWeek
from gridmerit.economy.plot import draw_figures
from gridmerit.economy.report import make_document, make_report
from gridmerit.economy.week import Week
from gridmerit.network.parameters import load_packaged_week
from gridmerit.output import to_json
from gridmerit.paper.layout import PaperReport, render_html, render_markdown
from ledger.errors import UnwritableFile
from simulation.errors import MissingExtra
from simulation.experiments.results import write_file
from simulation.report.figures import Figure

HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class EconomyResult:
    """The week, what was checked of it, its page, and where that was written; why there are no pictures, if so."""

    week: Week
    checks: list[Check]
    report: PaperReport
    document: dict[str, Any]
    files: list[Path]
    plot_problem: MissingExtra | None


def run_economy(*, days: int, seed: int, out: Path, on_day: Callable[[int], None]) -> EconomyResult:
    """Play so many days in virtual time and write their page. Raises `UnwritableFile`."""
    profile = load_packaged_week()
    week = FastWeek(make_cast(profile, PERIOD_MS), days=days, seed=seed, on_day=on_day).run()
    checks = run_checks(week, profile, HOURS * days)
    problem, figures = None, list[Figure]()
    try:
        figures = draw_figures(week)
    except MissingExtra as error:
        problem = error
    report, document = make_report(week, checks, figures), make_document(week, checks)
    files = {
        "economy.html": render_html(report, {name: png for name, _, png in figures}).encode(),
        "economy.md": render_markdown(report, has_plots=bool(figures)).encode(),
        "economy.json": f"{to_json(document)}\n".encode(),
        **{name: png for name, _, png in figures},
    }
    return EconomyResult(
        week=week,
        checks=checks,
        report=report,
        document=document,
        files=_write(out, files),
        plot_problem=problem,
    )


def _write(directory: Path, files: dict[str, bytes]) -> list[Path]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableFile(file=error.filename or directory, detail=error.strerror) from error
    for name, raw in files.items():
        write_file(directory / name, raw)
    return [directory / name for name in files]
