"""The batteries of players with strategies, kept in a file each: a new start goes on with the charge that is there.

A driver. What is kept is on the disk before a reading that follows from it is sent.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from ledger.errors import UnreadableFile

_READINGS_KEPT = 8  # of so many periods, which may be on their way yet


class Battery(NamedTuple):
    """A battery as it is kept: its charge, the latest period that it has been through, and the latest readings."""

    charge_wh: int = 0
    metered: int = 0
    readings: tuple[tuple[int, int], ...] = ()

    def go_on(self, charge_wh: int, period: int, reading_wh: int) -> Battery:
        """The battery after another period."""
        return Battery(charge_wh, period, (*self.readings, (period, reading_wh))[-_READINGS_KEPT:])


def load_battery(file: Path, chain_id: bytes) -> Battery:
    """The battery as it was left on this chain; an empty one where none was. Raises `UnreadableFile`."""
    try:
        kept = json.loads(file.read_text(encoding="ascii"))
        numbers = [kept["charge_wh"], kept["metered"], *(number for pair in kept["readings"] for number in pair)]
        if kept["chain"] != chain_id.hex():
            return Battery()
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("a number in it is none, or below 0")
        readings = tuple((period, reading_wh) for period, reading_wh in kept["readings"])
        return Battery(kept["charge_wh"], kept["metered"], readings)
    except FileNotFoundError:
        return Battery()
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise UnreadableFile(file=file, detail=f"{type(error).__name__}: {error}") from error


def save_battery(file: Path, chain_id: bytes, battery: Battery) -> None:
    """Put it on the disk, all or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".new")
    with beside.open("w", encoding="ascii") as out:
        json.dump({"chain": chain_id.hex(), **battery._asdict()}, out)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(file)
