"""Which of a node's chains a command is for, chosen by kind, so that nobody needs to know names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from gridmerit.commands.target import Target, connect
from gridmerit.errors import (
    KindMissing,
    KindNotHosted,
)
from node.api.client import Client


@asynccontextmanager
async def connect_to(target: Target, *kinds: str) -> AsyncIterator[Client]:
    """A client of the chain that --chain names, else of the node's chain of the first of `kinds` its network has.

    Raises as `find_hosted` does.
    """
    if target.chain is None:
        target = replace(target, chain=await find_hosted(target, *kinds))
    async with connect(target) as client:
        yield client


async def find_hosted(target: Target, *kinds: str) -> str:
    """The name of the node's chain of the first of `kinds` that its network has.

    Raises `KindMissing` where the network has none of them, and `KindNotHosted` where this node does not host it.
    """
    async with Client(target.url, "") as client:
        status = await client.node_status()
    hosted = {outage.kind: outage.chain for outage in status.outages}
    hosted |= {chain.kind: chain.chain for chain in status.chains}
    if kinds[0] in hosted:
        return hosted[kinds[0]]
    async with Client(target.url, status.chains[0].chain) as client:
        network = {chain.kind: chain.name for chain in (await client.genesis()).chains}
    kind = next((kind for kind in kinds if kind in network), None)
    if kind is None:
        raise KindMissing(kind=kinds[0], hosted=_list(network.items()))
    if kind not in hosted:
        raise KindNotHosted(kind=kind, name=network[kind], hosted=_list(hosted.items()))
    return hosted[kind]


def _list(chains: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({kind})" for kind, name in chains)
