"""The hours of a profile as hours of the game: a company with plants and a load of its own, one bureau, some users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from market.errors import BadHour
from market.game.hour import Hour
from market.profile import Profile

Series: TypeAlias = Literal["forecast", "actual"]

OWN_PART = 4  # every fourth consumer is the company's own load
_USERS = 2


class Energy(NamedTuple):
    """An hour's energy in Wh: what plants make, what the company takes of it, and what each user wants."""

    plants_wh: int
    own_load_wh: int
    user_load_wh: tuple[int, ...]


class Roles(NamedTuple):
    """The parts that a profile's consumers play: the company's own load, and the users, each a group of them."""

    own_load: tuple[str, ...]
    users: tuple[tuple[str, ...], ...]


def cast(profile: Profile) -> Roles:
    """Divide consumers as they stand: the first quarter is the company's load, the rest two users. Raises `BadHour`."""
    names = [player.name for player in profile.players if player.role == "consumer"]
    if len(names) <= _USERS:
        raise BadHour(field="players", have=f"{len(names)} consumers", want=f"{_USERS + 1}: two users and an own load")
    if len(names) == len(profile.players):
        raise BadHour(field="players", have="no producer", want="one, the company's plant")
    own = max(1, len(names) // OWN_PART)
    middle = own + (len(names) - own + 1) // _USERS
    return Roles(tuple(names[:own]), (tuple(names[own:middle]), tuple(names[middle:])))


def list_energy(profile: Profile, series: Series, roles: Roles) -> list[Energy]:
    """The energy of each hour, forecast or metered; all producers are the company's plants. Raises `BadHour`."""
    known = {player.name: player.role for player in profile.players}
    for name in (*roles.own_load, *(name for group in roles.users for name in group)):
        if known.get(name) != "consumer":
            raise BadHour(field="player", have=repr(name), want="a consumer of the profile")
    plants = [name for name, role in known.items() if role == "producer"]

    def sum_up(names: Sequence[str], hour_ms: int) -> int:
        return sum(getattr(profile.readings[name, hour_ms], f"{series}_wh") for name in names)

    return [
        Energy(
            sum_up(plants, hour_ms),
            sum_up(roles.own_load, hour_ms),
            tuple(sum_up(group, hour_ms) for group in roles.users),
        )
        for hour_ms in profile.hours_ms
    ]


def make_hours(profile: Profile, series: Series, *, roles: Roles | None = None, **settings: Any) -> list[Hour]:
    """An hour for each of the profile's; `settings` are fields of `Hour`.

    The paper's experiment on the shipped day: 800 kW of sun, 800 kW of wind, one bureau, two users. Raises `BadHour`.
    """
    return [
        Hour(
            surplus_wh=max(0, energy.plants_wh - energy.own_load_wh),
            shortage_wh=max(0, energy.own_load_wh - energy.plants_wh),
            user_load_wh=energy.user_load_wh,
            **settings,
        )
        for energy in list_energy(profile, series, roles or cast(profile))
    ]
