"""Amounts, times and counts as a person reads them.

Those of energy and money are written in `ledger/units.py`, and passed on from here.
"""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

from ledger.units import format_kwh as format_kwh
from ledger.units import format_scaled as format_scaled
from ledger.units import format_yuan as format_yuan

_MOMENT = re.compile(r"\b(\d{13}) ms\b")  # since the epoch, as the errors of the ledger have it


def format_points(credit_upt: int) -> str:
    """Credit in points, to a thousandth; JSON has all of it."""
    return format_scaled((credit_upt + 500) // 1_000, 3, least=3)


def format_weight(weight_ppm: int) -> str:
    """A matching weight to a thousandth, as Table 1 of text 000 writes them; JSON has all of it."""
    return format_scaled((weight_ppm + 500) // 1_000, 3, least=3)


def format_percent(ratio_ppm: int) -> str:
    return format_scaled((ratio_ppm + 50) // 100, 2, least=2) + " %"


def format_time(time_ms: int) -> str:
    """UTC to the second."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def format_clock(time_ms: int) -> str:
    """The UTC time of day to the second."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%H:%M:%S")


def format_hour(start_ms: int) -> str:
    """The UTC time of day."""
    return datetime.fromtimestamp(start_ms / 1_000, UTC).strftime("%H:%M")


def format_count(count: int, noun: str) -> str:
    """A number of things, in the grammar's number: `1 hour`, `2 hours`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_span(span_ms: int) -> str:
    """A duration a person reads at a glance: `850 ms`, `12.3 s`, `3 min 20 s`, `5 h 02 min`, `3 d 4 h`."""
    seconds = span_ms // 1_000
    if span_ms < 1_000:
        return f"{span_ms} ms"
    if seconds < 60:
        return f"{span_ms / 1_000:.1f} s"
    if seconds < 3_600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    if seconds < 172_800:
        return f"{seconds // 3_600} h {seconds // 60 % 60:02d} min"
    return f"{seconds // 86_400} d {seconds // 3_600 % 24} h"


def format_megabytes(size_bytes: int) -> str:
    """A size on disk in MB, of a million bytes."""
    return format_scaled((size_bytes + 5_000) // 10_000, 2, least=2)


def quote_path(path: Path) -> str:
    """A path as it stands in a command line that is to be copied."""
    return shlex.quote(str(path))


def show_moments(message: str) -> str:
    """The message of an error, with moments as a date and a time of day instead of milliseconds since the epoch."""
    return _MOMENT.sub(lambda found: f"{format_time(int(found[1]))} UTC", message)
