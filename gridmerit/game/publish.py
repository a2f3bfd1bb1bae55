"""From an experiment to the files of its report."""

from __future__ import annotations

from pathlib import Path

from gridmerit.game.document import make_document, write_accounts, write_hours
from gridmerit.game.report import make_report
from gridmerit.output import to_json
from gridmerit.paper.layout import render_html, render_markdown
from ledger.errors import UnwritableFile
from simulation.errors import MissingExtra
from simulation.experiments.results import write_file
from simulation.game.experiment import Experiment
from simulation.game.figures import draw_figures
from simulation.report.figures import Figure


def write_report(experiment: Experiment, directory: Path) -> tuple[list[Path], MissingExtra | None]:
    """HTML, Markdown, JSON, tables and figures; without matplotlib all but those, and why. Raises `UnwritableFile`."""
    problem, figures = None, list[Figure]()
    try:
        figures = draw_figures(experiment)
    except MissingExtra as error:
        problem = error
    report = make_report(experiment, figures)
    files = {
        "report.html": render_html(report, {name: png for name, _, png in figures}).encode(),
        "report.md": render_markdown(report, has_plots=bool(figures)).encode(),
        "report.json": f"{to_json(make_document(experiment))}\n".encode(),
        "hours.csv": write_hours(experiment).encode(),
        "accounts.csv": write_accounts(experiment).encode(),
        **{name: png for name, _, png in figures},
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableFile(file=error.filename or directory, detail=error.strerror) from error
    for name, raw in files.items():
        write_file(directory / name, raw)
    return [directory / name for name in files], problem
