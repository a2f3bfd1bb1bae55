"""Runs a sweep: hands out batches, writes what comes back, and goes on where it was killed. A driver.

Batches grow until one takes about a second. Rows are written when the last writing lies a second back, or a hundredth
of the run so far: a kill loses no more finished work than that, and a long run does not end in many thousand files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ledger.errors import GridmeritError
from simulation.errors import ForeignWorker, WorkerLost
from simulation.experiments.batches import Batch, Outcome, run_batch
from simulation.experiments.executors import open_executor
from simulation.experiments.provenance import describe_code
from simulation.experiments.results import Failure, Results
from simulation.experiments.scenario import SCENARIOS, Value
from simulation.experiments.sweep import Sweep, Task, make_manifest

OnProgress = Callable[[int, int], None]  # trials that are finished or failed, of so many

_BATCH_S = 1.0
_MAX_BATCH = 1_000
_WRITE_S, _WRITE_SHARE = 1.0, 0.01
_MAX_ROWS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The outcome of a sitting."""

    directory: Path
    trials: int
    had: int  # trials that were there when it began
    failures: tuple[Failure, ...]
    elapsed_s: float


def run_sweep(
    sweep: Sweep,
    directory: Path,
    *,
    jobs: int,
    on_progress: OnProgress,
    resume: bool = False,
    scheduler: str | None = None,
) -> Run:
    """Run what is missing of a sweep. A trial that raises is left out, listed in failures.json, and tried on resume.

    Raises what `Results.open_for` and `open_executor` do, and `WorkerLost` or `ForeignWorker`.
    """
    results = Results(directory)
    with results.open_for(make_manifest(sweep, describe_code()), resume=resume) as done:
        had = len(done)
        on_progress(had, len(sweep))
        sitting = _Sitting(results, len(sweep), had, on_progress)
        missing = (task for task in sweep.tasks() if (task.point, task.rep) not in done)
        try:
            if had < len(sweep):
                with open_executor(jobs, scheduler) as (executor, slots):
                    _drive(sweep, missing, executor, slots, sitting)
        finally:
            sitting.flush()
        results.write_failures(sorted(sitting.failures))
    return Run(
        directory=directory,
        trials=len(sweep),
        had=had,
        failures=tuple(sorted(sitting.failures)),
        elapsed_s=time.monotonic() - sitting.started_s,
    )


@dataclass(slots=True)
class _Sitting:
    """Results that have come back, and not yet been written."""

    results: Results
    total: int
    finished: int
    on_progress: OnProgress
    rows: list[Mapping[str, Value]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    trial_s: float = 0.0  # a running mean of how long a trial takes
    started_s: float = field(default_factory=time.monotonic)
    written_s: float = float("-inf")  # the first rows are written at once

    def take(self, outcome: Outcome) -> None:
        expected = describe_code().hash
        if outcome.code_hash != expected:
            raise ForeignWorker(actual=outcome.code_hash[:16], expected=expected[:16])
        count = len(outcome.rows) + len(outcome.failures)
        trial_s = outcome.elapsed_s / count
        self.trial_s = trial_s if not self.trial_s else (self.trial_s + trial_s) / 2
        self.rows += outcome.rows
        self.failures += outcome.failures
        self.finished += count
        now_s = time.monotonic()
        due_s = self.written_s + max(_WRITE_S, _WRITE_SHARE * (now_s - self.started_s))
        if now_s >= due_s or len(self.rows) >= _MAX_ROWS:
            self.flush()
        self.on_progress(self.finished, self.total)

    def flush(self) -> None:
        if self.rows:
            self.results.write_part(self.rows)
            self.rows = []
        self.written_s = time.monotonic()

    def choose_size(self, left: int, slots: int) -> int:
        """Number of trials to hand out together: about a second's worth, and few enough to keep all cores busy."""
        if not self.trial_s:
            return 1
        return max(1, min(int(_BATCH_S / self.trial_s), left // (2 * slots), _MAX_BATCH))


def _drive(sweep: Sweep, missing: Iterator[Task], executor: Executor, slots: int, sitting: _Sitting) -> None:
    module = SCENARIOS[sweep.scenario]
    left = sitting.total - sitting.finished
    running: set[Future[Outcome]] = set()
    while left or running:
        while left and len(running) < 2 * slots:
            tasks = tuple(islice(missing, sitting.choose_size(left, slots)))
            left -= len(tasks)
            points = {task.point: sweep.points[task.point] for task in tasks}
            batch = Batch(
                scenario=sweep.scenario, module=module, points=points, tasks=tasks, code_hash=describe_code().hash
            )
            running.add(executor.submit(run_batch, batch))
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            sitting.take(_get(future))


def _get(future: Future[Outcome]) -> Outcome:
    """A batch catches what its trials raise: whatever comes here instead is the worker's."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise WorkerLost(detail=str(error)) from error
    except GridmeritError:
        raise
    except Exception as error:
        raise WorkerLost(detail=f"{type(error).__name__}: {error}") from error
