"""Derive `rts_gmlc_day.csv` and `rts_gmlc_week.csv` from data in gridx-prescient 2.2.3; see the README here.

    pip download --no-deps gridx-prescient==2.2.3
    python configs/profiles/build.py gridx_prescient-2.2.3-py3-none-any.whl [--check]

Decimal text is read into exact fractions and rounded once, so every machine writes the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import TypeAlias

Table: TypeAlias = list[dict[str, str]]  # the week's 168 hours in order, by column name
Series: TypeAlias = dict[str, list[Fraction]]  # MW by player, one value per hour

FOLDER = "prescient/simulator/tests/regression_tests_data/deterministic_with_network_scenarios_csv"
DAY = datetime(2020, 7, 15, tzinfo=UTC)  # on which homes consume as much as is made
WEEK = [datetime(2020, 7, day, tzinfo=UTC) for day in range(10, 17)]
OUTPUTS = {"rts_gmlc_day.csv": [DAY], "rts_gmlc_week.csv": WEEK}
PRODUCERS = {"pv-101": "101_PV_1", "wind-122": "122_WIND_1"}
LOADS = ("Abel", "Adams", "Adler", "Agricola", "Aiken", "Alber", "Alder", "Alger")
CONSUMERS = {f"homes-{number}": load for number, load in enumerate(LOADS, start=1)}
PEAK_WH = 800_000  # a producer's largest hour of the week


def read_table(source: Path, name: str) -> Table:
    """A table of the package, from the wheel itself or from a folder it was unpacked into."""
    if source.is_dir():
        text = (source / FOLDER / name).read_text(encoding="utf-8")
    else:
        with zipfile.ZipFile(source) as wheel:
            text = wheel.read(f"{FOLDER}/{name}").decode("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def select_hours(table: Table, columns: dict[str, str], days: list[datetime]) -> Series:
    """The values of each player's column on these days; period 1 is the hour that starts at 0:00."""
    rows = []
    for day in days:
        date = str(day.year), str(day.month), str(day.day)
        hours = [row for row in table if (row["Year"], row["Month"], row["Day"]) == date]
        if [row["Period"] for row in hours] != [str(period) for period in range(1, 25)]:
            raise SystemExit(f"error: the source does not have the 24 hours of {day:%Y-%m-%d} in order")
        rows += hours
    return {player: [Fraction(row[column]) for row in rows] for player, column in columns.items()}


def compute_peak(column: str, *tables: Table) -> Fraction:
    """The largest value of a column in the week, in MW."""
    return max(Fraction(row[column]) for table in tables for row in table)


def scale(series: Series, wh_per_mw: dict[str, Fraction]) -> Series:
    return {player: [value * wh_per_mw[player] for value in values] for player, values in series.items()}


def total(series: Series) -> Fraction:
    return sum((value for values in series.values() for value in values), Fraction())


def build_lines(source: Path, days: list[datetime]) -> Iterator[str]:
    """The profile's lines: producers make 800 kWh in their best hour, homes consume on `DAY` as much as they make."""
    made_forecast = read_table(source, "forecasts_renewables_max_p.csv")
    made_actual = read_table(source, "actuals_renewables_max_p.csv")
    peaks = {player: compute_peak(column, made_forecast, made_actual) for player, column in PRODUCERS.items()}
    made_factors = {player: PEAK_WH / peak for player, peak in peaks.items()}
    made_on_day = total(scale(select_hours(made_actual, PRODUCERS, [DAY]), made_factors))

    used_forecast, used_actual = read_table(source, "forecasts_load.csv"), read_table(source, "actuals_load.csv")
    used_on_day = total(select_hours(used_actual, CONSUMERS, [DAY]))
    used_factors = dict.fromkeys(CONSUMERS, made_on_day / used_on_day)

    forecast = scale(select_hours(made_forecast, PRODUCERS, days), made_factors)
    actual = scale(select_hours(made_actual, PRODUCERS, days), made_factors)
    forecast |= scale(select_hours(used_forecast, CONSUMERS, days), used_factors)
    actual |= scale(select_hours(used_actual, CONSUMERS, days), used_factors)

    yield "hour,player,role,forecast_wh,actual_wh"
    for place in range(24 * len(days)):
        hour = f"{days[place // 24] + timedelta(hours=place % 24):%Y-%m-%dT%H:%M:%SZ}"
        for player in (*PRODUCERS, *CONSUMERS):
            role = "producer" if player in PRODUCERS else "consumer"
            expected, metered = (floor(values[player][place] + Fraction(1, 2)) for values in (forecast, actual))
            yield f"{hour},{player},{role},{expected},{metered}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the profiles here from the gridx-prescient 2.2.3 package.")
    parser.add_argument("source", type=Path, help="the wheel, or the folder it was unpacked into")
    parser.add_argument("--check", action="store_true", help="compare with the shipped files instead of writing them")
    arguments = parser.parse_args()
    for name, days in OUTPUTS.items():
        built = "".join(f"{line}\n" for line in build_lines(arguments.source, days)).encode("ascii")
        output = Path(__file__).with_name(name)
        if not arguments.check:
            output.write_bytes(built)
        elif built != output.read_bytes():
            sys.exit(f"error: {arguments.source} builds another {name} than the one here")


if __name__ == "__main__":
    main()
