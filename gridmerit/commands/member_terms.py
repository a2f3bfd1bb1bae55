"""The terms that an applicant may ask for, as typed: checked against the genesis of the network that it is to join."""

from __future__ import annotations

import re
from pathlib import Path

import click

from gridmerit.amounts import parse_names
from gridmerit.commands.acts import open_chains
from gridmerit.commands.target import Target, run_async
from gridmerit.network.layout import GENESIS_FILE
from ledger.errors import WrongChain, WrongShape
from ledger.genesis import Genesis
from ledger.hashing import address_of, parse_address
from ledger.names import normalise_name


def find_genesis(directory: Path, target: Target) -> Path:
    """The network's file in the new directory, or else in that of --node."""
    places = [directory, *([] if target.directory is None else [target.directory])]
    found = next((place / GENESIS_FILE for place in places if (place / GENESIS_FILE).exists()), None)
    if found is None:
        raise click.UsageError(f"--genesis FILE: which network? {directory / GENESIS_FILE} is not there")
    return found


def check_name(name: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name) is None:
        raise click.UsageError(f"--name {name!r}: want up to 32 letters, digits, _ and -, a letter or digit first")


def check_position(genesis: Genesis, position: str) -> str:
    """A line of the network's grid, where it has one. Raises `BadName`, too."""
    position = normalise_name(position)
    scheduling = next((chain for chain in genesis.chains if chain.kind == "scheduling"), None)
    known = [] if scheduling is None else [line.name for line in scheduling.scheduling.lines]
    if position and known and position not in known:
        raise click.UsageError(f"--position {position!r}: the grid has no such line, it has {', '.join(known)}")
    return position


def find_owner(genesis: Genesis, role: str, owner: str | None, target: Target) -> bytes:
    """The owner's address: a founder's by the genesis, another's by the members that a node knows."""
    if (role == "device") != (owner is not None):
        raise click.UsageError("--owner goes with --role device, and a device needs it: the member whose meter it is")
    if owner is None:
        return b""
    founder = next((member for member in genesis.members if member.name == owner), None)
    if founder is not None:
        return address_of(founder.key)
    address = owner if owner.startswith("0x") else run_async(_look_up(genesis, owner, target))
    try:
        return parse_address(address)
    except WrongShape as error:
        raise click.UsageError(f"--owner: {error}") from None


async def _look_up(genesis: Genesis, name: str, target: Target) -> str:
    """A member's address, as a node of this network knows it. Raises `RemoteNotFound` or `WrongChain`."""
    async with open_chains(target) as chains:
        if (actual := chains.genesis.network_id) != genesis.network_id:
            raise WrongChain(
                actual=f"network {actual.hex()[:16]}", expected=f"network {genesis.network_id.hex()[:16]}, of --genesis"
            )
        return (await chains.any.member(name)).address


def parse_seals(genesis: Genesis, text: str | None) -> tuple[str, ...]:
    known = [chain.name for chain in genesis.chains]
    if text in (None, "none"):
        return ()
    names = known if text == "all" else parse_names(text or "")
    for name in names:
        if name not in known:
            raise click.UsageError(f"--seals: the network has no chain {name!r}, it has {', '.join(known)}")
    return tuple(names)
