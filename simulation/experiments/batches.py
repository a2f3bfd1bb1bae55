"""A worker's batch: a few trials one after the other, and a word on each that failed. Pure but for a stopwatch.

Everything that goes in or out can be pickled, and names the scenario by its module: so a worker in another process, or
on another machine, runs the same.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from simulation.experiments.provenance import hash_sources
from simulation.experiments.results import SETTING, Failure
from simulation.experiments.scenario import (
    SCENARIOS,
    Scenario,
    Settings,
    Value,
    load_scenario,
    parse_settings,
    trial_command,
)
from simulation.experiments.sweep import Task

_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Trials of one scenario; `points` holds the settings of those points that occur."""

    scenario: str
    module: str  # as in SCENARIOS
    points: Mapping[int, Mapping[str, Value]]
    tasks: tuple[Task, ...]
    code_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a batch, its duration, and the code that ran it."""

    rows: tuple[Mapping[str, Value], ...]
    failures: tuple[Failure, ...]
    elapsed_s: float
    code_hash: str


def run_batch(batch: Batch) -> Outcome:
    """Run the trials. One that raises is reported, and the others go on; none is run by other code than was asked."""
    if hash_sources() != batch.code_hash:
        return Outcome(rows=(), failures=(), elapsed_s=0.0, code_hash=hash_sources())
    SCENARIOS.setdefault(batch.scenario, batch.module)
    scenario = load_scenario(batch.scenario)
    settings = {index: parse_settings(scenario, point) for index, point in batch.points.items()}
    started_s = time.perf_counter()
    rows, failures = [], []
    for task in batch.tasks:
        try:
            row = _run(scenario, settings[task.point], task.seed)
        except Exception as error:
            failures.append(_describe(error, scenario, settings[task.point], task))
        else:
            keys = {"point": task.point, "rep": task.rep, "seed": task.seed}
            named = {f"{SETTING}{key}": value for key, value in batch.points[task.point].items()}
            rows.append({**keys, **named, **row})
    return Outcome(
        rows=tuple(rows),
        failures=tuple(failures),
        elapsed_s=time.perf_counter() - started_s,
        code_hash=hash_sources(),
    )


def _run(scenario: Scenario, settings: Settings, seed: int) -> Mapping[str, Value]:
    row = scenario.run(settings, seed).row
    for column, value in row.items():
        assert isinstance(value, int | float | str), f"column {column} holds a {type(value).__name__}"
        assert not isinstance(value, int) or value in _INT64, f"column {column} holds {value}, more than 64 bits"
    return row


def _describe(error: Exception, scenario: Scenario, settings: Settings, task: Task) -> Failure:
    return Failure(
        point=task.point,
        rep=task.rep,
        seed=task.seed,
        error=f"{type(error).__name__}: {error}",
        traceback="".join(traceback.format_exception(error)),
        command=trial_command(scenario.name, settings, task.seed),
    )
