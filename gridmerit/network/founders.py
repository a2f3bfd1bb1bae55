"""The founding members of a network: who hosts what, where each is, and what it is registered with in the genesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from consensus.errors import BadParameters
from gridmerit.network.layout import Host
from ledger.genesis import Authority, Genesis, GenesisMember
from ledger.params import ChainParams
from ledger.signatures import SigningKey
from market.profile import Player, Profile
from node.system.clock import now_ms

MAX_NODES = 10
GRID = "grid"
DISPATCH = "dispatch"
POSITION = "feeder-1"  # where all players of a profile are, where no scheduling chain has lines
_PPM = 1_000_000
_HOUSE_BALANCE_UYUAN = 5_000_000_000


def deal_positions(scheduling: ChainParams | None, players: Sequence[str]) -> dict[str, str]:
    """The place of each player: dealt over the feeder's lines in order, all in one without a scheduling chain."""
    lines = [line.name for line in scheduling.scheduling.lines] if scheduling is not None else [POSITION]
    return {player: lines[index % len(lines)] for index, player in enumerate(players)}


def choose_hosts(nodes: int | Sequence[Host], players: Sequence[str]) -> tuple[Host, ...]:
    """The members that run a node: the first `nodes` players with all chains, or those that are named."""
    if isinstance(nodes, int):
        assert 1 <= nodes <= min(MAX_NODES, len(players)), nodes
        return tuple(Host(name=name) for name in players[:nodes])
    assert {host.name for host in nodes} <= {*players, GRID, DISPATCH}, nodes
    return tuple(nodes)


class AuthorityKeys(NamedTuple):
    """The weak centre of a new network: its key for acts on the chains, and the one that issues certificates."""

    act: SigningKey
    ca: SigningKey


def make_genesis(
    params: Sequence[ChainParams], members: tuple[GenesisMember, ...], authority: AuthorityKeys, disposable: bool
) -> Genesis:
    """The trading chain's genesis. Raises `BadParameters` where the chains do not fit together."""
    first, *others = sorted(params, key=lambda chain: chain.kind != "trading")
    try:
        return Genesis(
            params=first,
            time_ms=now_ms(),
            members=members,
            siblings=tuple(others),
            authority=Authority(keys=(authority.act.public_key,)),
            disposable=disposable,
        )
    except ValidationError as error:
        raise BadParameters(detail=error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def make_members(
    profile: Profile,
    keys: dict[str, SigningKey],
    sealing: Mapping[str, Host],
    positions: dict[str, str],
    tls_keys: Mapping[str, SigningKey],
) -> tuple[GenesisMember, ...]:
    seals = {name: host.chains for name, host in sealing.items()}
    members = [
        GenesisMember(name=GRID, role="grid-operator", key=keys[GRID].public_key, seals=seals.get(GRID, ())),
    ]
    if DISPATCH in keys:
        key = keys[DISPATCH].public_key
        members.append(GenesisMember(name=DISPATCH, role="dispatcher", key=key, seals=seals.get(DISPATCH, ())))
    for player in profile.players:
        member = GenesisMember(
            name=player.name,
            role="producer" if player.role == "producer" else "consumer",
            key=keys[player.name].public_key,
            seals=seals.get(player.name, ()),
            balance_uyuan=_HOUSE_BALANCE_UYUAN,
            capacity_wh=compute_capacity_wh(profile, player.name),
            position=positions[player.name],
            renewable_ppm=get_renewable_ppm(player),
            stability_ppm=compute_stability_ppm(profile, player),
        )
        meter = GenesisMember(
            name=f"meter-{player.name}",
            role="device",
            key=keys[f"meter-{player.name}"].public_key,
            owner=player.name,
        )
        members += [member, meter]
    return tuple(
        member.model_copy(update={"tls_key": tls_keys[member.name].public_key}) if member.name in tls_keys else member
        for member in members
    )


def compute_capacity_wh(profile: Profile, player: str) -> int:
    """The capacity that a player is registered with: its largest hour, forecast or actual, rounded up to 10 kWh."""
    largest_wh = max(max(profile.readings[player, hour]) for hour in profile.hours_ms)
    return -(-largest_wh // 10_000) * 10_000


def get_renewable_ppm(player: Player) -> int:
    """The renewable share of what a player generates: a profile's producers are wind and sun."""
    return _PPM if player.role == "producer" else 0


def compute_stability_ppm(profile: Profile, player: Player) -> int:
    """Generation stability: how much of what a producer forecast or made it did both forecast and make, by the hour."""
    if player.role != "producer":
        return 0
    hours = [profile.readings[player.name, hour_ms] for hour_ms in profile.hours_ms]
    return _PPM * sum(map(min, hours)) // max(1, sum(map(max, hours)))
