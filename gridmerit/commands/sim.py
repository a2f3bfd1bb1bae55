"""`gridmerit sim`: scenarios of the laboratory, what theory says, sweeps and their reports."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import click

from gridmerit.amounts import parse_pairs
from gridmerit.commands import Group
from gridmerit.commands.interruption import end_as_interrupted
from gridmerit.commands.progress import show_progress
from gridmerit.commands.settings_tables import show_value
from gridmerit.commands.sim_recommend import recommend
from gridmerit.commands.sim_tables import (
    list_theories,
    make_run_document,
    make_scenario_document,
    render_run,
    render_scenario,
    render_theories,
    render_theory,
    show_first_sentence,
)
from gridmerit.errors import TrialsFailed
from gridmerit.output import emit, format_error, json_option, note
from gridmerit.tables import WIDTH, facts, table
from simulation.errors import MissingExtra
from simulation.experiments.executors import count_cores
from simulation.experiments.results import Failure
from simulation.experiments.runner import Run, run_sweep
from simulation.experiments.scenario import SCENARIOS, Scenario, load_scenario, parse_settings
from simulation.experiments.sweep import Sweep, make_sweep
from simulation.report.publish import (
    estimate_results,
    film_trial,
    make_report,
    read_replay,
    write_film_page,
    write_replay,
    write_report,
)
from simulation.theory.formulas import evaluate_theory

_LAB = ("numpy", "pyarrow", "tqdm")


@click.group("sim", cls=Group)
def command() -> None:
    """The laboratory: attacks and forks in virtual time, beside their theory.

    Peers run the ledger, the consensus and the market of a real node. A scenario is an experiment with settings. One
    trial of it follows from its settings and a seed alone; a sweep runs many trials over a grid of settings, on all
    cores, and a report puts theory beside every estimate.

    \b
    Start here:
      gridmerit sim list                               what can be run
      gridmerit sim show NAME                          its settings
      gridmerit sim run double-spend-race --set q=0.1,0.3 --reps 100 --out results
      gridmerit sim report results                     writes results/report/report.html
      gridmerit sim theory double_spend_exact q=0.3 z=6

    Sweeps need more packages than a node: pip install "gridmerit[lab]".
    """


def _parse_grid(texts: tuple[str, ...]) -> dict[str, list[str]]:
    """`k=v,v2` of the command line."""
    grid = {key: value.split(",") for key, value in parse_pairs(texts).items()}
    for key, values in grid.items():
        if not all(values):
            raise click.UsageError(f"an empty value in {key}={','.join(values)}")
    return grid


def _need_lab() -> None:
    for package in _LAB:
        if find_spec(package) is None:
            raise MissingExtra(what="a sweep", package=package, extra="lab")


def _load(name: str) -> Scenario:
    try:
        return load_scenario(name)
    except ModuleNotFoundError as error:
        if error.name not in _LAB:
            raise
        raise MissingExtra(what=f"scenario {name}", package=error.name, extra="lab") from None


# --- what there is -------------------------------------------------------------------------------


@command.command("list")
@json_option
def list_scenarios() -> None:
    """All scenarios, one line each.

    \b
    Example:
      gridmerit sim list
    """
    scenarios = [_load(name) for name in SCENARIOS]
    document = [{"name": each.name, "about": each.about, "film": each.film is not None} for each in scenarios]
    rows = [(each.name, show_first_sentence(each.about)) for each in scenarios]
    text = table(("scenario", "what it is"), rows, left=(0, 1), width=WIDTH)
    emit(document, f"{text}\n\nsettings: gridmerit sim show NAME")


@command.command("show")
@click.argument("name")
@json_option
def show(name: str) -> None:
    """A scenario's settings, with defaults and bounds, and metrics.

    \b
    Example:
      gridmerit sim show selfish
    """
    scenario = _load(name)
    emit(make_scenario_document(scenario), render_scenario(scenario))


@command.command("theory")
@click.argument("name", required=False)
@click.argument("values", nargs=-1, metavar="[KEY=VALUE]...")
@json_option
def theory(name: str | None, values: tuple[str, ...]) -> None:
    """Show what a formula gives, with its source.

    Without NAME, all formulas. A parameter that is not given has its default; a list has commas: credits=90,95,100.

    \b
    Examples:
      gridmerit sim theory
      gridmerit sim theory double_spend_exact q=0.3 z=50
      gridmerit sim theory poca_shares credits=100,100,90 tau=5
    """
    if name is None:
        emit(list_theories(), render_theories())
        return
    result = evaluate_theory(name, parse_pairs(values))
    emit(asdict(result), render_theory(result))


# --- running -------------------------------------------------------------------------------------


@command.command("run")
@click.argument("name")
@click.option(
    "--set", "given", multiple=True, metavar="KEY=V[,V2…]", help="A setting's values; the grid is their product."
)
@click.option("--reps", type=click.IntRange(min=1), default=10, show_default=True, help="Trials at each point.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=1,
    show_default=True,
    help="Every trial's seed follows from it.",
)
@click.option("--jobs", type=click.IntRange(1, 1024), help="Processes on this machine.  [default: all cores]")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A new directory for the results."
)
@click.option("--resume", is_flag=True, help="Go on with what --out has already.")
@click.option("--scheduler", metavar="TCP", help="Run on this Dask cluster instead, such as tcp://10.0.0.5:8786.")
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    name: str,
    given: tuple[str, ...],
    reps: int,
    seed: int,
    jobs: int | None,
    out: Path,
    resume: bool,
    scheduler: str | None,
) -> None:
    """Run a scenario over a grid of settings, many trials each.

    A trial takes less than a second in a *-race, some seconds in a network, more in one of many peers or blocks: try
    one first with `gridmerit sim trial`. The grid is the product of all values given.

    Writes OUT/trials/*.parquet, a row for every trial, and OUT/manifest.json, which says what made them: pandas, Polars
    and DuckDB read the directory OUT/trials as one table. The same --seed gives the same table, however many processes
    compute it and however often it is stopped.

    Killed or interrupted, the same command with --resume goes on; with more --reps, it adds to what is there. It
    refuses when the scenario, a setting, the seed or the code has changed. A trial that fails is left out: it is listed
    in OUT/failures.json with the command that repeats it, and --resume tries it again. The exit code is 7 then.

    On a cluster every worker needs the same gridmerit. Start one with
    `dask scheduler` and, on each machine, `dask worker tcp://HOST:8786`.

    \b
    Examples:
      gridmerit sim run selfish-race --set alpha=0.2,0.3,0.4 --set gamma=0,0.5 --reps 100 --out selfish
      gridmerit sim run selfish-race --set alpha=0.2,0.3,0.4 --set gamma=0,0.5 --reps 100 --out selfish --resume
    """
    _need_lab()
    sweep = make_sweep(_load(name), _parse_grid(given), reps=reps, seed=seed)
    result = _run(sweep, out, jobs or count_cores(), resume=resume, scheduler=scheduler)
    estimated = estimate_results(out) if len(result.failures) < result.trials else None
    emit(make_run_document(sweep, result, estimated), render_run(sweep, result, estimated))
    if result.failures:
        error = _make_error(result.failures, result.trials)
        note(format_error(error))
        ctx.exit(error.exit_code)


def _run(sweep: Sweep, out: Path, jobs: int, *, resume: bool, scheduler: str | None) -> Run:
    """Run a sweep with its progress shown; interrupted or told to end, it writes what is finished."""
    end_as_interrupted()
    try:
        with show_progress(len(sweep)) as on_progress:
            return run_sweep(sweep, out, jobs=jobs, on_progress=on_progress, resume=resume, scheduler=scheduler)
    except KeyboardInterrupt:
        note(f"\nwhat was finished is in {out}; to go on: the same command with --resume")
        raise


def _make_error(failures: tuple[Failure, ...], total: int) -> TrialsFailed:
    first = failures[0]
    return TrialsFailed(
        failed=len(failures),
        total=total,
        point=first.point,
        rep=first.rep,
        seed=first.seed,
        detail=first.error,
        command=first.command,
    )


# --- one trial, reports and films ----------------------------------------------------------------


@command.command("trial")
@click.argument("name")
@click.option("--set", "given", multiple=True, metavar="KEY=V", help="A setting.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="The trial's own seed.")
@click.option("--film", type=click.Path(path_type=Path, dir_okay=False), help="Write a replay file of it.")
@json_option
def trial(name: str, given: tuple[str, ...], seed: int, film: Path | None) -> None:
    """Run one trial here and print its row, and the hash of its event log.

    The same settings, seed and code give the same hash on every machine. A race without peers has no such log: there
    it is the row's.

    To look closer at one of a sweep, or at one that failed.

    A sweep's table has each trial's own seed in column `seed`.

    \b
    Examples:
      gridmerit sim trial double-spend --set q=0.3 --seed 7
      gridmerit sim trial double-spend --seed 7 --film film.json && gridmerit sim replay film.json
    """
    scenario = _load(name)
    settings = parse_settings(scenario, parse_pairs(given))
    if film is None:
        result = scenario.run(settings, seed)
    else:
        result, replay = film_trial(scenario, settings, seed)
        write_replay(replay, film)
        note(f"wrote {film}")
    document = {
        "scenario": name,
        "settings": settings.model_dump(),
        "seed": seed,
        "log": result.log,
        "row": dict(result.row),
    }
    pairs = [(column, show_value(value)) for column, value in result.row.items() if column != "log"]
    emit(document, facts([*pairs, ("log", result.log)]))


@command.command("report")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--film", metavar="POINT:REP", default="0:0", show_default=True, help="The trial to film.")
@click.option("--no-film", is_flag=True, help="Film none: for scenarios whose trials take long.")
@json_option
def report(directory: Path, film: str, no_film: bool) -> None:
    """Write a sweep's report: one HTML page, Markdown, plots.

    It goes to DIRECTORY/report. The page needs nothing beside it.

    Every estimate stands with its 95 % interval and, where a formula is known, with what theory says, its name and its
    source. Where the scenario can, one trial is run again with the camera on: the page plays it.

    \b
    Example:
      gridmerit sim report selfish --film 3:17
    """
    _need_lab()
    chosen = None if no_film else _choose_film(film, directory)
    files = write_report(make_report(directory, film=chosen), directory / "report")
    emit({"files": [str(file) for file in files]}, "wrote\n" + "\n".join(f"  {file}" for file in files))


def _choose_film(text: str, directory: Path) -> tuple[int, int]:
    """The point and the repetition that --film names, of the sweep in a directory."""
    point, rep = _parse_film(text)
    sweep = estimate_results(directory).manifest.sweep
    if not (point < len(sweep.points) and rep < sweep.reps):
        raise click.UsageError(
            f"--film {text}: there are {len(sweep.points)} points and {sweep.reps} repetitions, from 0"
        )
    return point, rep


def _parse_film(text: str) -> tuple[int, int]:
    point, _, rep = text.partition(":")
    if not (point.isdecimal() and rep.isdecimal()):
        raise click.UsageError(f"--film {text!r} is not of the form POINT:REP, such as 0:0")
    return int(point), int(rep)


@command.command("replay")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The page.  [default: FILE with .html]")
@json_option
def replay(file: Path, out: Path | None) -> None:
    """Make a page that plays a replay FILE.

    `sim trial --film` and `sim report` write such files.

    \b
    Example:
      gridmerit sim replay results/report/replay.json --out film.html
    """
    film, page = read_replay(file), out or file.with_suffix(".html")
    write_film_page(film, page)
    text = f"wrote {page}: {len(film.frames)} events of {len(film.peers)} peers; open it in a browser"
    emit({"file": str(page), "events": len(film.frames), "peers": len(film.peers)}, text)


command.add_command(recommend)
