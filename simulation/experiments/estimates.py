"""From the rows of many trials to what a report says of them: an interval, and how far theory is from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum, inf, isclose, sqrt

from simulation.errors import BadSweep
from simulation.experiments.scenario import Metric, Scenario, Theory, Value, parse_settings
from simulation.experiments.sweep import Sweep
from simulation.theory.statistics import binomial_z, clopper_pearson, exact_p, mean_interval, mean_p

Columns = Mapping[str, Sequence[Value]]  # one list per column of the table of trials, all as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One metric at one point. `low` and `high` bound it with 95 % confidence.

    A share has `successes` of `attempts`. Beside a theory stand `z`, the distance from it in standard errors, and `p`,
    of the exact binomial test of a share and of Student's test of a mean, both two-sided. They are None without a
    theory, and where there is no spread to measure by.

    With `cut_off` trials, or attempts of a share, that ended before what is measured had come, `value` and `low` are
    lower bounds; `high` holds whatever they would have come to, and no test is made.
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
    cut_off: int = 0
    cut_off_at: str = ""  # by which setting, and what it was

    @property
    def is_bound_only(self) -> bool:
        """True if nothing was seen at all, so that there is but an upper bound, 3/n."""
        return self.successes == 0 and not self.cut_off

    @property
    def agrees(self) -> bool | None:
        """True if theory lies in the interval; None without theory, or where a mean has no spread to judge by."""
        if self.theory is None:
            return None
        if self.metric.kind == "mean" and self.z is None and not self.cut_off:
            return True if isclose(self.value, self.theory.value, rel_tol=1e-12) else None
        return self.low <= self.theory.value <= self.high


def make_estimates(scenario: Scenario, sweep: Sweep, columns: Columns) -> list[Estimate]:
    """All metrics that apply, point by point where there are trials. Raises `BadSweep` where a column is missing."""
    for metric in scenario.metrics:
        for name in (metric.column, metric.out_of, metric.cut_off):
            if name and name not in columns:
                raise BadSweep(file="the table of trials", detail=f"no column {name}, which metric {metric.name} needs")
    rows: dict[int, list[int]] = {}
    for index, point in enumerate(columns["point"]):
        rows.setdefault(int(point), []).append(index)
    return [
        _estimate(scenario, sweep.points[point], metric, point, columns, rows[point])
        for point in sorted(rows)
        for metric in scenario.metrics
        if metric.applies(parse_settings(scenario, sweep.points[point]))
    ]


def _estimate(
    scenario: Scenario, settings: Mapping[str, Value], metric: Metric, point: int, columns: Columns, rows: Sequence[int]
) -> Estimate:
    theory = metric.theory(parse_settings(scenario, settings)) if metric.theory else None
    values = [columns[metric.column][row] for row in rows]
    if metric.kind == "mean":
        estimate = _estimate_mean([float(value) for value in values], metric, point, theory)
    else:
        attempts = [int(columns[metric.out_of][row]) for row in rows] if metric.out_of else [1] * len(rows)
        estimate = _estimate_share(sum(map(int, values)), sum(attempts), len(rows), metric, point, theory)
    cut_off = sum(int(columns[metric.cut_off][row]) for row in rows) if metric.cut_off else 0
    return _bound(estimate, cut_off, f"{metric.limit} {settings[metric.limit]}" if metric.limit else "")


def _bound(estimate: Estimate, cut_off: int, limit: str) -> Estimate:
    """Widen an estimate where so many trials, or attempts of a share, were cut off: their outcome is open."""
    if not cut_off:
        return estimate
    high = inf
    if estimate.successes is not None and estimate.attempts is not None:
        high = clopper_pearson(min(estimate.attempts, estimate.successes + cut_off), estimate.attempts)[1]
    return replace(estimate, high=high, z=None, p=None, cut_off=cut_off, cut_off_at=limit)


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
