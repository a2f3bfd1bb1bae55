"""A directory of results: the manifest, the trials as Parquet parts, and what failed. A driver.

Every file appears whole or not at all. Parts only ever come; `load_table` puts them in order, so that a table does not
show in how many sittings it was computed.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ledger.errors import UnwritableFile
from simulation.errors import BadSweep, MissingExtra, NotASweep, SweepExists, SweepRunning
from simulation.experiments.scenario import Value
from simulation.experiments.sweep import Manifest, Sweep, Task, check_resumed, parse_manifest

if TYPE_CHECKING:
    import pyarrow as pa

KEYS = ("point", "rep", "seed")
SETTING = "set_"  # before the names of the columns that hold settings
_MANIFEST, _FAILURES, _TRIALS, _LOCK = "manifest.json", "failures.json", "trials", ".lock"
_UNFINISHED = ".tmp"
_MAX_MANIFEST_BYTES = 64_000_000


class Failure(NamedTuple):
    """A trial that raised, with what repeats it."""

    point: int
    rep: int
    seed: int
    error: str
    traceback: str
    command: str


class Results:
    """The directory at `path`, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = path / _TRIALS

    # --- writing ---------------------------------------------------------------------------------

    @contextmanager
    def open_for(self, manifest: Manifest, *, resume: bool) -> Iterator[set[tuple[int, int]]]:
        """Own the directory; yields the (point, rep) that it has already.

        Raises `SweepExists`, `SweepChanged`, `NotASweep`, `BadSweep`, `SweepRunning` or `UnwritableFile`.
        """
        self._check(manifest, resume=resume)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / _LOCK, "ab")  # noqa: SIM115
        except OSError as error:
            raise UnwritableFile(file=error.filename or self.path, detail=error.strerror) from error
        with lock:
            _lock(lock.fileno(), self.path)
            self._check(manifest, resume=resume)  # again: another run may just have ended
            for folder in (self.path, self.trials):
                for file in folder.glob(f"*{_UNFINISHED}"):
                    file.unlink()
            write_file(self.path / _MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
            self.trials.mkdir(exist_ok=True)
            yield self._find_done(manifest.sweep)

    def _is_new(self) -> bool:
        """Return True if there is nothing here, or only what a run left that was killed before it had a manifest."""
        ours = {_LOCK, _MANIFEST + _UNFINISHED}
        return not self.path.is_dir() or all(file.name in ours for file in self.path.iterdir())

    def _check(self, manifest: Manifest, *, resume: bool) -> None:
        """Check that the directory is new, or may be gone on with; touches nothing."""
        if self._is_new():
            return
        if not resume:
            raise SweepExists(directory=self.path)
        check_resumed(self.read_manifest(), manifest, self.path)

    def write_part(self, rows: Sequence[Mapping[str, Value]]) -> None:
        """Add rows, each with `point`, `rep` and `seed`. The first names the file, so no two parts share a name."""
        assert all(row.keys() == rows[0].keys() for row in rows), "a scenario's rows have the same columns"
        pa, parquet = _import_pyarrow()
        out = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(list(map(dict, rows))), out, compression="zstd")
        point, rep = rows[0]["point"], rows[0]["rep"]
        write_file(self.trials / f"point-{point:05d}-rep-{rep:08d}.parquet", out.getvalue())

    def write_failures(self, failures: Sequence[Failure]) -> None:
        """Replace the list of what failed; no file where nothing did."""
        if failures:
            document = [failure._asdict() for failure in failures]
            write_file(self.path / _FAILURES, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")
        else:
            (self.path / _FAILURES).unlink(missing_ok=True)

    # --- reading ---------------------------------------------------------------------------------

    def read_manifest(self) -> Manifest:
        """Raises `NotASweep` or `BadSweep`."""
        file = self.path / _MANIFEST
        try:
            with open(file, "rb") as stream:
                raw = stream.read(_MAX_MANIFEST_BYTES + 1)
        except OSError as error:
            raise NotASweep(directory=self.path, detail=f"{_MANIFEST}: {error.strerror}") from None
        if len(raw) > _MAX_MANIFEST_BYTES:
            raise BadSweep(file=file, detail=f"larger than {_MAX_MANIFEST_BYTES} bytes")
        return parse_manifest(raw, file)

    def count_failures(self) -> int:
        """Number of trials that the last run left out because they raised. Raises `BadSweep`."""
        file = self.path / _FAILURES
        try:
            return len(json.loads(file.read_bytes()))
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, TypeError) as error:
            raise BadSweep(file=file, detail=str(error)) from None

    def load_table(self) -> pa.Table:
        """All trials by point and repetition. Raises `NotASweep` where there is none, `BadSweep` for a broken part."""
        pa, _ = _import_pyarrow()
        tables = [self._read_part(file) for file in self._parts()]
        if not tables:
            raise NotASweep(directory=self.path, detail="no trial is finished")
        try:
            if any(set(table.column_names) != set(tables[0].column_names) for table in tables):
                raise BadSweep(file=self.trials, detail="its parts have different columns")
            table = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise BadSweep(file=self.trials, detail=f"its parts do not fit: {error}") from None
        table = table.sort_by([("point", "ascending"), ("rep", "ascending")]).combine_chunks()
        found = list(zip(table["point"].to_pylist(), table["rep"].to_pylist(), strict=True))
        for one, other in pairwise(found):
            if one == other:
                raise BadSweep(file=self.trials, detail=f"point {one[0]}, repetition {one[1]} is there twice")
        return table

    def _find_done(self, sweep: Sweep) -> set[tuple[int, int]]:
        """Find the trials done. Raises `BadSweep` for a trial that the sweep does not have, or that is there twice."""
        done: set[tuple[int, int]] = set()
        for file in self._parts():
            for row in self._read_part(file, columns=list(KEYS)).to_pylist():
                task = Task(**row)
                if task not in sweep:
                    raise BadSweep(file=file, detail=f"{task} is not of this sweep")
                if (task.point, task.rep) in done:
                    raise BadSweep(file=file, detail=f"point {task.point}, repetition {task.rep} is there twice")
                done.add((task.point, task.rep))
        return done

    def _parts(self) -> list[Path]:
        return sorted(self.trials.glob("*.parquet"))

    def _read_part(self, file: Path, columns: list[str] | None = None) -> pa.Table:
        pa, parquet = _import_pyarrow()
        try:
            table = parquet.read_table(file, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise BadSweep(file=file, detail=str(error).splitlines()[0]) from None
        missing = [key for key in columns or KEYS if key not in table.column_names]
        if missing:
            raise BadSweep(file=file, detail=f"no column {missing[0]}")
        return table


def write_file(path: Path, raw: bytes) -> None:
    """Write a file so that after a crash there is the old one or the whole new one. Raises `UnwritableFile`."""
    unfinished = path.with_name(path.name + _UNFINISHED)
    try:
        with open(unfinished, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UnwritableFile(file=path, detail=error.strerror) from error


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SweepRunning(directory=path) from None


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(what="a table of trials", package="pyarrow", extra="lab") from None
    return pyarrow, pyarrow.parquet
