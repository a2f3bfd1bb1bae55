"""A sweep: the points of a grid of settings, so many trials at each, every seed derived from one. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulation.errors import BadSweep, RepeatedPoint, SweepChanged, SweepTooLarge
from simulation.experiments.scenario import Scenario, Value, parse_settings

MAX_POINTS = 10_000
MAX_TRIALS = 10_000_000


class Task(NamedTuple):
    """One trial to run: the index of its point, which repetition it is, and its own seed."""

    point: int
    rep: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A plan of trials. `points` are whole settings, in the order of the grid."""

    scenario: str
    scenario_hash: str
    points: tuple[Mapping[str, Value], ...]
    reps: int
    seed: int

    def __len__(self) -> int:
        return len(self.points) * self.reps

    def __contains__(self, task: Task) -> bool:
        point, rep, seed = task
        is_inside = 0 <= point < len(self.points) and 0 <= rep < self.reps
        return is_inside and seed == derive_seed(self.seed, point, rep)

    def tasks(self) -> Iterator[Task]:
        """All trials, repetition by repetition: half-way, every point has half of its trials."""
        for rep in range(self.reps):
            for point in range(len(self.points)):
                yield Task(point, rep, derive_seed(self.seed, point, rep))

    def varied(self) -> tuple[str, ...]:
        """The settings that differ between points."""
        first = self.points[0]
        return tuple(key for key in first if any(point[key] != first[key] for point in self.points))


def make_sweep(scenario: Scenario, given: Mapping[str, Sequence[str | Value]], *, reps: int, seed: int) -> Sweep:
    """The product of the lists in `given`, the last of them varying fastest, with defaults for what is not given.

    Raises `UnknownSetting`, `BadSetting`, `RepeatedPoint` or `SweepTooLarge`.
    """
    count = prod(len(values) for values in given.values())
    if count > MAX_POINTS:
        raise SweepTooLarge(actual=count, limit=MAX_POINTS, what="points")
    if count * reps > MAX_TRIALS:
        raise SweepTooLarge(actual=count * reps, limit=MAX_TRIALS, what="trials")
    points: list[Mapping[str, Value]] = []
    seen = set()
    for values in product(*given.values()):
        point = parse_settings(scenario, dict(zip(given, values, strict=True))).model_dump()
        if (text := show_settings(point)) in seen:
            raise RepeatedPoint(settings=text)
        seen.add(text)
        points.append(point)
    return Sweep(
        scenario=scenario.name, scenario_hash=hash_scenario(scenario), points=tuple(points), reps=reps, seed=seed
    )


def derive_seed(seed: int, point: int, rep: int) -> int:
    """A trial's own seed, 63 bits of SHA-256: it depends on neither the number of repetitions nor the machine."""
    digest = hashlib.sha256(f"gridmerit/trial/{seed}/{point}/{rep}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def hash_scenario(scenario: Scenario) -> str:
    """SHA-256 over what a stored row means: the name, the schema of the settings and the metrics."""
    metrics = [[metric.name, metric.kind, metric.column, metric.out_of, metric.unit] for metric in scenario.metrics]
    described = {"name": scenario.name, "settings": scenario.settings.model_json_schema(), "metrics": metrics}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def show_settings(settings: Mapping[str, Value]) -> str:
    """`k=v k=v`, as `--set` takes them."""
    return " ".join(f"{key}={value}" for key, value in settings.items())


# --- what a directory of results says of itself --------------------------------------------------


class Code(BaseModel):
    """The code that ran the trials. `hash` covers the sources; `commit` is empty outside a checkout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hash: str
    commit: str
    is_modified: bool
    gridmerit: str
    python: str
    numpy: str


class Manifest(BaseModel):
    """The sweep of a directory and the code behind it. The same manifest means the same rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(1, ge=1, le=1)
    scenario: str
    scenario_hash: str
    points: list[dict[str, bool | int | float | str]] = Field(min_length=1, max_length=MAX_POINTS)
    reps: int = Field(ge=1, le=MAX_TRIALS)
    seed: int = Field(ge=0)
    code: Code

    @property
    def sweep(self) -> Sweep:
        return Sweep(
            scenario=self.scenario,
            scenario_hash=self.scenario_hash,
            points=tuple(self.points),
            reps=self.reps,
            seed=self.seed,
        )


def make_manifest(sweep: Sweep, code: Code) -> Manifest:
    return Manifest(
        version=1,
        scenario=sweep.scenario,
        scenario_hash=sweep.scenario_hash,
        points=[dict(point) for point in sweep.points],
        reps=sweep.reps,
        seed=sweep.seed,
        code=code,
    )


def parse_manifest(text: str | bytes, file: object) -> Manifest:
    """Raises `BadSweep`, which names `file` and the field."""
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise BadSweep(file=file, detail=f"{where}: {first['msg']}") from None
    keys = manifest.points[0].keys()
    if any(point.keys() != keys for point in manifest.points):
        raise BadSweep(file=file, detail="points: they differ in their settings' names")
    return manifest


def check_resumed(stored: Manifest, wanted: Manifest, directory: object) -> None:
    """Check that rows of `stored` and of `wanted` may stand in one table; there may be more repetitions than before.

    Raises `SweepChanged`, which says what is another.
    """
    pairs: list[tuple[str, object, object]] = [
        ("scenario", stored.scenario, wanted.scenario),
        ("definition of the scenario", stored.scenario_hash[:16], wanted.scenario_hash[:16]),
        ("settings", _show_points(stored), _show_points(wanted)),
        ("seed", stored.seed, wanted.seed),
        ("code", stored.code.hash[:16], wanted.code.hash[:16]),
        ("numpy", stored.code.numpy, wanted.code.numpy),
    ]
    for what, have, want in pairs:
        if have != want:
            raise SweepChanged(directory=directory, what=what, have=have, want=want)
    if stored.reps > wanted.reps:
        raise SweepChanged(
            directory=directory, what="number of repetitions", have=stored.reps, want=f"{wanted.reps}, which is fewer"
        )


def _show_points(manifest: Manifest) -> str:
    """Each setting with its values over the points."""
    values = {key: dict.fromkeys(str(point[key]) for point in manifest.points) for key in manifest.points[0]}
    return " ".join(f"{key}={','.join(found)}" for key, found in values.items())
