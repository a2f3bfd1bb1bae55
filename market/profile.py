"""Forecast and metered energy per player and hour, parsed from CSV text; opens no file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from market.errors import BadProfile

COLUMNS = ("hour", "player", "role", "forecast_wh", "actual_wh")
ROLES = ("producer", "consumer")
HOUR_MS = 3_600_000

_HOUR = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:00:00Z", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ENERGY = re.compile(r"[0-9]{1,15}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Player(NamedTuple):
    """A market player; the readings of a "producer" are output, those of a "consumer" consumption."""

    name: str
    role: str


class Reading(NamedTuple):
    """One player's hour: what it expected when it placed its order, and what the meter said."""

    forecast_wh: int
    actual_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A reading for every player and hour. Players as they appear; hours rising, in ms since the epoch."""

    players: tuple[Player, ...]
    hours_ms: tuple[int, ...]
    readings: Mapping[tuple[str, int], Reading]  # by (player name, hour in ms)


def parse_profile(text: str) -> Profile:
    """Read a profile from CSV text: a header line, then `hour,player,role,forecast_wh,actual_wh` lines.

    An hour is the ISO 8601 start of the period in UTC, such as `2020-07-15T07:00:00Z`; the hours must
    follow each other without a gap, and every player must have a reading in each. Raises `BadProfile` with
    the line number.
    """
    lines = text.splitlines()
    if not lines or lines[0] != ",".join(COLUMNS):
        raise BadProfile(line=1, have=repr(lines[0] if lines else ""), want=f"the header {','.join(COLUMNS)}")
    roles: dict[str, str] = {}
    readings: dict[tuple[str, int], Reading] = {}
    for number, line in enumerate(lines[1:], start=2):
        player, hour_ms, reading = _parse_line(number, line)
        if roles.setdefault(player.name, player.role) != player.role:
            raise BadProfile(
                line=number, have=f"{player.name} as {player.role}", want=f"{roles[player.name]}, as before"
            )
        if (player.name, hour_ms) in readings:
            raise BadProfile(line=number, have=f"a second reading of {player.name} for this hour", want="one")
        readings[player.name, hour_ms] = reading
    hours_ms = tuple(sorted({hour_ms for _, hour_ms in readings}))
    _check_complete(len(lines), tuple(roles), hours_ms, readings)
    return Profile(
        players=tuple(Player(name, role) for name, role in roles.items()),
        hours_ms=hours_ms,
        readings=MappingProxyType(readings),
    )


def _parse_line(number: int, line: str) -> tuple[Player, int, Reading]:
    fields = line.split(",")
    if len(fields) != len(COLUMNS):
        raise BadProfile(line=number, have=f"{len(fields)} fields", want=f"{len(COLUMNS)}")
    hour, name, role, forecast, actual = fields
    if not _NAME.fullmatch(name):
        raise BadProfile(line=number, have=repr(name), want="a player such as homes-1, at most 32 characters")
    if role not in ROLES:
        raise BadProfile(line=number, have=repr(role), want=" or ".join(ROLES))
    for energy in (forecast, actual):
        if not _ENERGY.fullmatch(energy):
            raise BadProfile(line=number, have=repr(energy), want="whole Wh, not negative, at most 15 digits")
    return Player(name, role), _parse_hour(number, hour), Reading(int(forecast), int(actual))


def _parse_hour(number: int, hour: str) -> int:
    want = "the UTC start of an hour, such as 2020-07-15T07:00:00Z"
    if not _HOUR.fullmatch(hour):
        raise BadProfile(line=number, have=repr(hour), want=want)
    try:
        start = datetime.fromisoformat(hour)
    except ValueError as no_such_hour:
        raise BadProfile(line=number, have=repr(hour), want=want) from no_such_hour
    return (start - _EPOCH) // timedelta(milliseconds=1)


def _check_complete(
    last: int, names: tuple[str, ...], hours_ms: tuple[int, ...], readings: Mapping[tuple[str, int], Reading]
) -> None:
    if not readings:
        raise BadProfile(line=last, have="no readings", want="one for every player and hour")
    if hours_ms[-1] - hours_ms[0] != (len(hours_ms) - 1) * HOUR_MS:
        raise BadProfile(line=last, have="a gap between the hours", want="hours that follow each other")
    for hour_ms in hours_ms:
        for name in names:
            if (name, hour_ms) not in readings:
                hour = f"{_EPOCH + timedelta(milliseconds=hour_ms):%Y-%m-%dT%H:%MZ}"
                raise BadProfile(line=last, have=f"no reading of {name} for {hour}", want="one")
