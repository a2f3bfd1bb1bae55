"""Sweeps that are killed, resumed, spread over processes and over a cluster: always the same table."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import distributed
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gridmerit.main import run
from ledger.errors import UnwritableFile
from simulation.errors import (
    BadSweep,
    ClusterUnusable,
    ForeignWorker,
    MissingExtra,
    NotASweep,
    SweepChanged,
    SweepExists,
    SweepRunning,
    WorkerLost,
)
from simulation.experiments import executors, results
from simulation.experiments.provenance import describe_code, hash_sources
from simulation.experiments.results import Results
from simulation.experiments.runner import Run, run_sweep
from simulation.experiments.scenario import Scenario
from simulation.experiments.sweep import Sweep, derive_seed, make_sweep
from tests.support.patience import PATIENCE_S, until
from tests.support.signals import heard

ROOT = Path(__file__).parents[3]
GATE = "COIN_GATE"


def _quiet(_done: int, _total: int) -> None:
    pass


def _run(sweep: Sweep, out: Path, *, jobs: int = 1, **options: Any) -> Run:
    return run_sweep(sweep, out, jobs=jobs, on_progress=_quiet, **options)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def sweep(coin: Scenario) -> Sweep:
    return make_sweep(coin, {"p": ["0.2", "0.7"]}, reps=20, seed=3)


# --- the table -----------------------------------------------------------------------------------


def test_the_table_has_a_row_for_every_trial_in_order(sweep: Sweep, coin: Scenario, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    result = run_sweep(sweep, tmp_path / "out", jobs=1, on_progress=lambda *progress: seen.append(progress))
    table = Results(tmp_path / "out").load_table()
    rows = table.to_pylist()
    assert [(row["point"], row["rep"]) for row in rows] == [(point, rep) for point in range(2) for rep in range(20)]
    for row in rows:
        assert row["seed"] == derive_seed(3, row["point"], row["rep"])
        assert row["set_p"] == [0.2, 0.7][row["point"]]
        assert row["heads"] == coin.run(coin.settings(p=row["set_p"]), row["seed"]).row["heads"]
    assert seen[0] == (0, 40)
    assert seen[-1] == (40, 40)
    assert (result.trials, result.had, result.failures) == (40, 0, ())


def test_two_processes_make_the_same_table_as_one(sweep: Sweep, tmp_path: Path) -> None:
    _run(sweep, tmp_path / "one")
    _run(sweep, tmp_path / "two", jobs=2)
    assert Results(tmp_path / "two").load_table().equals(Results(tmp_path / "one").load_table())


def test_a_killed_run_leaves_no_worker_and_resumes_to_the_same_table(
    sweep: Sweep, coin: Scenario, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with _sweeping(out) as process:
        family = _children(process.pid)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(family) >= 2
    until(lambda: not any(_is_alive(pid) for pid in family))
    done = Results(out).load_table().num_rows
    assert 0 < done < len(sweep)

    resumed = subprocess.run([*_command(out), "--resume"], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert f"40 trials of coin, {40 - done} of them now" in resumed.stdout
    assert re.fullmatch(r"(\d+ of 40 trials\n)+", resumed.stderr), "no bar where there is no terminal, but lines"
    _run(sweep, tmp_path / "undisturbed")
    assert Results(out).load_table().equals(Results(tmp_path / "undisturbed").load_table())
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_writes_what_is_finished_and_leaves_no_worker(
    number: signal.Signals, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with heard(number), _sweeping(out) as process:
        family = _children(process.pid)
        if number == signal.SIGHUP:  # as a terminal that is closed says to all of them
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert f"what was finished is in {out}; to go on: the same command with --resume" in err
    assert "error[" not in err
    until(lambda: not any(_is_alive(pid) for pid in family))
    assert Results(out).load_table().num_rows


@contextmanager
def _sweeping(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has finished some of its trials and never finishes all, in a session of its own."""
    with subprocess.Popen(
        _command(out),
        cwd=ROOT,
        env={**os.environ, GATE: "closed"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            until(lambda: process.poll() is not None or any((out / "trials").glob("*.parquet")))
            assert process.poll() is None
            yield process
        finally:
            process.kill()


def _command(out: Path) -> list[str]:
    run = ["sim", "run", "coin", "--set", "p=0.2,0.7", "--reps", "20", "--seed", "3", "--jobs", "2", "--out", str(out)]
    return [sys.executable, "-m", "tests.support.coin_lab", *run]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_interrupted_run_writes_what_is_finished(
    sweep: Sweep, coin: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, tmp_path / "out", jobs=1, on_progress=interrupt)
    assert Results(tmp_path / "out").load_table().num_rows >= 5
    result = _run(sweep, tmp_path / "out", resume=True)
    assert 5 <= result.had < 40
    assert Results(tmp_path / "out").load_table().num_rows == 40


def test_more_repetitions_add_to_what_is_there(sweep: Sweep, tmp_path: Path) -> None:
    _run(sweep, tmp_path / "grown")
    longer = replace(sweep, reps=30)
    assert _run(longer, tmp_path / "grown", resume=True).had == 40
    _run(longer, tmp_path / "at-once")
    assert Results(tmp_path / "grown").load_table().equals(Results(tmp_path / "at-once").load_table())
    assert _run(longer, tmp_path / "grown", resume=True).had == 60


# --- trials and workers that fail ----------------------------------------------------------------


def test_a_trial_that_fails_is_left_out_and_the_command_repeats_it(
    coin: Scenario, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep(coin, {"faulty_below": ["0", "40"]}, reps=25, seed=1)
    result = _run(sweep, tmp_path)
    expected = [task for task in sweep.tasks() if task.point == 1 and task.seed % 100 < 40]
    assert [(each.point, each.rep, each.seed) for each in result.failures] == [tuple(task) for task in expected]
    assert Results(tmp_path).load_table().num_rows == 50 - len(expected)
    assert Results(tmp_path).count_failures() == len(expected)
    first = result.failures[0]
    assert first.error == f"ValueError: coin {first.seed} stands on its edge"
    assert "in flip" in first.traceback
    assert first.command == f"gridmerit sim trial coin --seed {first.seed} --set faulty_below=40"
    assert run(first.command.split()[1:]) == 1
    assert first.error in capsys.readouterr().err
    again = _run(sweep, tmp_path, resume=True)
    assert again.failures == result.failures


def test_a_worker_that_dies_is_an_error_and_costs_nothing_else(coin: Scenario, tmp_path: Path) -> None:
    sweep = make_sweep(coin, {"is_deadly": ["true"]}, reps=3, seed=1)
    with pytest.raises(WorkerLost, match="died"):
        _run(sweep, tmp_path / "out", jobs=2)
    with pytest.raises(NotASweep, match="no trial is finished"):
        Results(tmp_path / "out").load_table()


def test_a_worker_with_other_code_is_refused(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.experiments.batches.hash_sources", lambda: "f" * 64)
    with pytest.raises(ForeignWorker, match="ffffffffffffffff"):
        _run(sweep, tmp_path / "out")
    assert not list((tmp_path / "out" / "trials").iterdir())


# --- the directory -------------------------------------------------------------------------------


def test_files_are_never_overwritten_and_a_changed_sweep_is_not_resumed(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(SweepExists, match="nothing there is overwritten"):
        _run(sweep, tmp_path)
    with pytest.raises(NotASweep, match=r"manifest\.json"):
        _run(sweep, tmp_path, resume=True)
    assert (tmp_path / "mine.txt").read_text() == "dear"
    _run(sweep, tmp_path / "out")
    with pytest.raises(SweepExists):
        _run(sweep, tmp_path / "out")
    with pytest.raises(SweepChanged, match="differs in its seed"):
        _run(replace(sweep, seed=4), tmp_path / "out", resume=True)


def test_changed_sources_are_noticed(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(sweep, tmp_path)
    other = describe_code().model_copy(update={"hash": "0" * 64})
    monkeypatch.setattr("simulation.experiments.runner.describe_code", lambda: other)
    with pytest.raises(SweepChanged, match="differs in its code"):
        _run(sweep, tmp_path, resume=True)


def test_the_hash_of_the_sources_follows_each_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "simulation" / "scenarios" / "new.py"
    file.parent.mkdir(parents=True)
    file.write_text("x = 1\n")
    monkeypatch.setattr("simulation.experiments.provenance.ROOT", tmp_path)
    first = hash_sources.__wrapped__()
    file.write_text("x = 2\n")
    second = hash_sources.__wrapped__()
    file.rename(file.with_name("other.py"))
    assert len({first, second, hash_sources.__wrapped__(), hash_sources()}) == 4
    assert describe_code.__wrapped__().commit == ""


def test_one_run_at_a_time_writes_to_a_directory(sweep: Sweep, tmp_path: Path) -> None:
    _run(sweep, tmp_path)
    with open(tmp_path / ".lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SweepRunning):
            _run(sweep, tmp_path, resume=True)


def test_what_a_kill_left_half_written_is_swept_away(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "manifest.json.tmp").write_text("{")
    _run(sweep, tmp_path, resume=True)
    (tmp_path / "trials" / "point-00000-rep-00000000.parquet.tmp").write_bytes(b"PAR1")
    _run(sweep, tmp_path, resume=True)
    assert not list(tmp_path.rglob("*.tmp"))
    assert Results(tmp_path).load_table().num_rows == 40


def test_a_place_that_cannot_be_written_is_named(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableFile, match="file"):
        _run(sweep, tmp_path / "file" / "out")
    with pytest.raises(UnwritableFile, match=r"x\.json"):
        results.write_file(tmp_path / "missing" / "x.json", b"")


def test_broken_parts_are_named(sweep: Sweep, tmp_path: Path) -> None:
    _run(sweep, tmp_path)
    part = next((tmp_path / "trials").glob("*.parquet"))
    table, raw = pq.read_table(part), part.read_bytes()
    twin = part.with_name("point-99999-rep-00000000.parquet")
    pq.write_table(table, twin)
    with pytest.raises(BadSweep, match="is there twice"):
        Results(tmp_path).load_table()
    pq.write_table(table.drop_columns(["heads"]), twin)
    with pytest.raises(BadSweep, match="different columns"):
        Results(tmp_path).load_table()
    pq.write_table(table.set_column(4, "heads", pa.array(["x"] * table.num_rows)), twin)
    with pytest.raises(BadSweep):
        Results(tmp_path).load_table()
    pq.write_table(table.drop_columns(["seed"]), twin)
    with pytest.raises(BadSweep, match="no column seed"):
        Results(tmp_path).load_table()
    twin.unlink()
    part.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(BadSweep, match=part.name):
        _run(sweep, tmp_path, resume=True)
    (tmp_path / "failures.json").write_text("{")
    with pytest.raises(BadSweep, match=r"failures\.json"):
        Results(tmp_path).count_failures()


def test_rows_of_another_sweep_are_not_taken_for_finished_trials(sweep: Sweep, coin: Scenario, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    _run(sweep, out)
    _run(make_sweep(coin, {"p": ["0.2", "0.7"]}, reps=20, seed=4), other)
    stray = out / "trials" / "point-00099-rep-00000000.parquet"
    for directory, match in ((other, "not of this sweep"), (out, "is there twice")):
        stray.write_bytes(next((directory / "trials").glob("*.parquet")).read_bytes())
        with pytest.raises(BadSweep, match=match):
            _run(sweep, out, resume=True)
        stray.unlink()
    assert _run(sweep, out, resume=True).had == 40


# --- a cluster -----------------------------------------------------------------------------------


@contextmanager
def _cluster(directory: Path, workers: int) -> Iterator[str]:
    """A Dask scheduler and worker processes that can import the coin; its address."""
    file = directory / "scheduler.json"
    where = ["--scheduler-file", str(file)]
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *where]
    worker = ["worker", "--no-nanny", "--no-dashboard", "--nthreads", "1", "--local-directory", str(directory), *where]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    processes: list[subprocess.Popen[bytes]] = []

    def start(arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "dask", *arguments]
        with open(directory / "log", "ab") as log:
            processes.append(subprocess.Popen(command, cwd=directory, env=env, stdout=log, stderr=log))

    try:
        start(scheduler)
        for _ in range(workers):
            start(worker)
        until(lambda: file.exists() and file.stat().st_size)
        yield json.loads(file.read_text())["address"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_cluster_makes_the_same_table(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_PATIENCE_S", PATIENCE_S)
    _run(sweep, tmp_path / "here")
    with _cluster(tmp_path, 2) as address:
        with distributed.Client(address, timeout=PATIENCE_S, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=PATIENCE_S)
        assert _run(sweep, tmp_path / "there", scheduler=address).failures == ()
    assert Results(tmp_path / "there").load_table().equals(Results(tmp_path / "here").load_table())


def test_a_cluster_that_is_not_there_is_named(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_PATIENCE_S", 0.2)
    with pytest.raises(ClusterUnusable, match=r"tcp://127\.0\.0\.1:1"):
        _run(sweep, tmp_path / "out", scheduler="tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra) as caught:
        _run(sweep, tmp_path / "other", scheduler="tcp://127.0.0.1:1")
    assert caught.value.values["extra"] == "dask"
