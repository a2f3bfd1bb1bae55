"""From the rows of many trials to what a report says of them: an interval, and how far theory is from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isclose, sqrt

from ledger.errors import BadSweep
from simulation.scenario import Metric, Scenario, Theory, Value, parse_settings
from simulation.statistics import binomial_z, clopper_pearson, exact_p, mean_interval, mean_p
from simulation.sweep import Sweep

Columns = Mapping[str, Sequence[Value]]  # one list per column of the table of trials, all as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One metric at one point. `low` and `high` bound it with 95 % confidence.

    A share has `successes` of `attempts`. Beside a theory stand `z`, the distance from it in standard errors, and `p`,
    of the exact binomial test of a share and of Student's test of a mean, both two-sided. They are None without a
    theory, and where there is no spread to measure by.
    """

    point: int
    metric: Metric
    trials: int
    successes: int | None
    attempts: int | None
    value: float
    low: float
    high: float
    theory: Theory | None
    z: float | None
    p: float | None

    @property
    def is_bound_only(self) -> bool:
        """Whether nothing was seen at all, so that there is but an upper bound, 3/n."""
        return self.successes == 0

    @property
    def agrees(self) -> bool | None:
        """Whether theory lies in the interval; None without theory, or where a mean has no spread to judge by."""
        if self.theory is None:
            return None
        if self.metric.kind == "mean" and self.z is None:
            return True if isclose(self.value, self.theory.value, rel_tol=1e-12) else None
        return self.low <= self.theory.value <= self.high


def make_estimates(scenario: Scenario, sweep: Sweep, columns: Columns) -> list[Estimate]:
    """All metrics of all points that have trials, point by point. Raises `BadSweep` where a column is missing."""
    for metric in scenario.metrics:
        for name in (metric.column, metric.out_of):
            if name and name not in columns:
                raise BadSweep(file="the table of trials", detail=f"no column {name}, which metric {metric.name} needs")
    rows: dict[int, list[int]] = {}
    for index, point in enumerate(columns["point"]):
        rows.setdefault(int(point), []).append(index)
    return [
        _estimate(scenario, sweep.points[point], metric, point, columns, rows[point])
        for point in sorted(rows)
        for metric in scenario.metrics
    ]


def _estimate(
    scenario: Scenario, settings: Mapping[str, Value], metric: Metric, point: int, columns: Columns, rows: Sequence[int]
) -> Estimate:
    theory = metric.theory(parse_settings(scenario, settings)) if metric.theory else None
    values = [columns[metric.column][row] for row in rows]
    if metric.kind == "mean":
        return _estimate_mean([float(value) for value in values], metric, point, theory)
    attempts = [int(columns[metric.out_of][row]) for row in rows] if metric.out_of else [1] * len(rows)
    return _estimate_share(sum(map(int, values)), sum(attempts), len(rows), metric, point, theory)


def _estimate_share(
    successes: int, attempts: int, trials: int, metric: Metric, point: int, theory: Theory | None
) -> Estimate:
    if not 0 <= successes <= attempts:
        detail = f"metric {metric.name}, point {point}: {successes} successes of {attempts} attempts"
        raise BadSweep(file="the table of trials", detail=detail)
    low, high = clopper_pearson(successes, attempts)
    p = z = None
    if theory is not None and 0 <= theory.value <= 1:
        p = exact_p(successes, attempts, theory.value)
        z = binomial_z(successes, attempts, theory.value) if 0 < theory.value < 1 else None
    return Estimate(
        point=point,
        metric=metric,
        trials=trials,
        successes=successes,
        attempts=attempts,
        value=successes / attempts if attempts else 0.0,
        low=low,
        high=high,
        theory=theory,
        z=z,
        p=p,
    )


def _estimate_mean(values: Sequence[float], metric: Metric, point: int, theory: Theory | None) -> Estimate:
    count = len(values)
    mean = fsum(values) / count
    low, high = mean_interval(values)
    if min(values) >= 0:
        low = max(0.0, low)  # Student's interval does not know that counts, shares and times have no less
    error = sqrt(fsum((value - mean) ** 2 for value in values) / (count - 1) / count) if count > 1 else 0.0
    return Estimate(
        point=point,
        metric=metric,
        trials=count,
        successes=None,
        attempts=None,
        value=mean,
        low=low,
        high=high,
        theory=theory,
        z=(mean - theory.value) / error if theory is not None and error else None,
        p=mean_p(values, theory.value) if theory is not None and error else None,
    )
