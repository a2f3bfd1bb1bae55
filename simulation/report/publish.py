"""From a directory of results to the files of its report, and from a film to its page. A driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import UnreadableFile, UnwritableFile
from simulation.errors import NoFilm, SweepChanged
from simulation.experiments.estimates import Columns, Estimate, make_estimates
from simulation.experiments.provenance import describe_code
from simulation.experiments.results import Results, write_file
from simulation.experiments.scenario import Scenario, Settings, Trial, load_scenario, parse_settings, trial_command
from simulation.experiments.sweep import Manifest, Sweep, derive_seed, hash_scenario
from simulation.recording import MAX_BYTES, Recording, dump_replay, parse_replay
from simulation.report.document import FilmedTrial, LaboratoryReport, render_film_page, render_html, render_markdown
from simulation.report.figures import Figure, draw_counts, draw_estimates, draw_film
from simulation.report.recording_summary import summarise

_DEPTHS = "deepest_reorg"  # a column of trials that is drawn as a histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A directory of results and what its trials come to."""

    scenario: Scenario
    manifest: Manifest
    columns: Columns
    estimates: Sequence[Estimate]

    @property
    def trials(self) -> int:
        return len(self.columns["point"])


def estimate_results(directory: Path) -> Estimated:
    """Raises `NotASweep`, `BadSweep`, `UnknownScenario`, `SweepChanged` or `MissingExtra`."""
    results = Results(directory)
    manifest = results.read_manifest()
    scenario = load_scenario(manifest.scenario)
    now = hash_scenario(scenario)
    if now != manifest.scenario_hash:
        have = manifest.scenario_hash[:16]
        raise SweepChanged(directory=directory, what="definition of the scenario", have=have, want=now[:16])
    columns: Columns = results.load_table().to_pydict()
    estimates = make_estimates(scenario, manifest.sweep, columns)
    return Estimated(scenario=scenario, manifest=manifest, columns=columns, estimates=estimates)


def make_report(directory: Path, *, film: tuple[int, int] | None) -> LaboratoryReport:
    """Estimate, draw, and film the trial `(point, rep)` where the scenario can. Raises as `estimate_results` does."""
    estimated = estimate_results(directory)
    sweep, scenario = estimated.manifest.sweep, estimated.scenario
    abouts = {key: field.description or "" for key, field in scenario.settings.model_fields.items()}
    figures = [*draw_estimates(sweep, estimated.estimates, abouts), *_draw_depths(estimated.columns)]
    filmed = None
    if film is not None and scenario.film is not None:
        filmed = _film_of(scenario, sweep, *film)
        figures += draw_film(summarise(filmed.replay))
    return LaboratoryReport(
        about=scenario.about,
        manifest=estimated.manifest,
        reporter=describe_code(),
        estimates=estimated.estimates,
        finished=estimated.trials,
        failed=Results(directory).count_failures(),
        figures=figures,
        film=filmed,
    )


def film_trial(scenario: Scenario, settings: Settings, seed: int) -> tuple[Trial, Recording]:
    """Run one trial with the camera on. Raises `NoFilm`."""
    trial = scenario.film(settings, seed) if scenario.film is not None else None
    if trial is None or trial.replay is None:
        raise NoFilm(scenario=scenario.name)
    return trial, trial.replay


def _film_of(scenario: Scenario, sweep: Sweep, point: int, rep: int) -> FilmedTrial:
    settings, seed = parse_settings(scenario, sweep.points[point]), derive_seed(sweep.seed, point, rep)
    _, replay = film_trial(scenario, settings, seed)
    return FilmedTrial(replay=replay, command=trial_command(scenario.name, settings, seed))


def write_report(report: LaboratoryReport, directory: Path) -> list[Path]:
    """HTML, Markdown, plots and film; plots of an earlier report go. Raises `UnwritableFile`."""
    files = {"report.html": render_html(report).encode(), "report.md": render_markdown(report).encode()}
    files |= {name: png for name, _, png in report.figures}
    if report.film is not None:
        files["replay.json"] = dump_replay(report.film.replay)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for old in [*directory.glob("*.png"), *directory.glob("replay.json")]:
            if old.name not in files:
                old.unlink()
    except OSError as error:
        raise UnwritableFile(file=error.filename or directory, detail=error.strerror) from error
    for name, raw in files.items():
        write_file(directory / name, raw)
    return [directory / name for name in files]


def read_replay(file: Path) -> Recording:
    """Raises `UnreadableFile` or `BadReplay`."""
    try:
        with open(file, "rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(file=file, detail=error.strerror) from error
    return parse_replay(raw, file)


def write_replay(replay: Recording, file: Path) -> None:
    """Raises `UnwritableFile`."""
    write_file(file, dump_replay(replay))


def write_film_page(replay: Recording, file: Path) -> None:
    """A page that plays a film. Raises `UnwritableFile`."""
    given = " ".join(f"--set {key}={value}" for key, value in replay.settings.items())
    command = f"gridmerit sim trial {replay.scenario} --seed {replay.seed} {given}".rstrip()
    write_file(file, render_film_page(FilmedTrial(replay=replay, command=command)).encode())


def _draw_depths(columns: Columns) -> list[Figure]:
    if _DEPTHS not in columns:
        return []
    counts = dict(sorted(Counter(map(int, columns[_DEPTHS])).items()))
    caption = "Each trial's deepest reorganisation, over all trials."
    return [draw_counts("deepest-reorgs", caption, counts, "depth of the deepest reorganisation, blocks")]
