"""The hours of a profile as hours of the game: a company with plants and a load of its own, one bureau, some users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from market.errors import BadHour
from market.game.hour import Hour
from market.profile import Profile

OWN_LOAD = ("homes-1", "homes-2")
USERS = (("homes-3", "homes-4", "homes-5"), ("homes-6", "homes-7", "homes-8"))


def make_hours(
    profile: Profile,
    series: Literal["forecast", "actual"],
    *,
    own_load: Sequence[str] = OWN_LOAD,
    users: Sequence[Sequence[str]] = USERS,
    **settings: Any,
) -> list[Hour]:
    """An hour for each of the profile's, whose producers are the company's plants; `settings` are fields of `Hour`.

    The paper's experiment on the shipped day: 800 kW of sun, 800 kW of wind, one bureau, two users. Raises `BadHour`.
    """
    roles = {player.name: player.role for player in profile.players}
    for name in (*own_load, *(name for group in users for name in group)):
        if roles.get(name) != "consumer":
            raise BadHour(field="player", have=repr(name), want="a consumer of the profile")
    plants = [name for name, role in roles.items() if role == "producer"]

    def sum_up(names: Sequence[str], hour_ms: int) -> int:
        return sum(getattr(profile.readings[name, hour_ms], f"{series}_wh") for name in names)

    hours = []
    for hour_ms in profile.hours_ms:
        balance_wh = sum_up(plants, hour_ms) - sum_up(own_load, hour_ms)
        hours.append(
            Hour(
                surplus_wh=max(0, balance_wh),
                shortage_wh=max(0, -balance_wh),
                user_load_wh=[sum_up(group, hour_ms) for group in users],
                **settings,
            )
        )
    return hours
