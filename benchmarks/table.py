"""The report of a benchmark: figures, each with its ratio to a baseline measured in the same run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure; `ratio` says how many times better it is than the named baseline, measured in the same run."""

    name: str
    value: float
    unit: str
    baseline: str
    ratio: float


def print_table(rows: Iterable[Row]) -> None:
    """Print the rows as aligned columns on stdout."""
    cells = [("name", "value", "unit", "ratio", "baseline")]
    cells += [(r.name, f"{r.value:,.4g}", r.unit, f"{r.ratio:.2f}x", r.baseline) for r in rows]
    print_columns(cells)


def print_columns(lines: Sequence[Sequence[str]]) -> None:
    """Print lines of equally many words as aligned columns on stdout."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
