"""The chain of a node that a command is for: the one that --chain names, else the one of its kind.

What one kind of chain alone can do goes by `connect_to`; what every chain tells of itself, such as its blocks and
members, goes by `connect_to_any`. Where more than one chain may be meant, both ask for --chain.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from gridmerit.commands.target import Target
from gridmerit.errors import AmbiguousChain, KindMissing, KindNotHosted
from node.api.client import Client
from node.queries.answers import NodeStatus


class Hosted(NamedTuple):
    """The kinds of a node's chains by name: of those that run, and of those that are out."""

    running: Mapping[str, str]
    out: Mapping[str, str]

    @property
    def all(self) -> dict[str, str]:
        return {**self.out, **self.running}


# --- what a node hosts ---------------------------------------------------------------------------


async def fetch_status(url: str, *, timeout_s: float = 10.0) -> NodeStatus:
    """The status that a node tells of itself."""
    async with Client(url, "", timeout_s=timeout_s) as client:
        return await client.node_status()


async def list_hosted(url: str, *, timeout_s: float = 10.0) -> Hosted:
    """All chains of a node."""
    status = await fetch_status(url, timeout_s=timeout_s)
    return Hosted(
        running={chain.chain: chain.kind for chain in status.chains},
        out={outage.chain: outage.kind for outage in status.outages},
    )


def choose_chain(hosted: Mapping[str, str], *kinds: str) -> str | None:
    """The chain, of kinds by name, that is of the first of these kinds; None where there is none of any.

    Raises `AmbiguousChain` where there are several, as on a node of several networks.
    """
    for kind in kinds:
        found = {name: kind for name, its_kind in hosted.items() if its_kind == kind}
        if len(found) > 1:
            raise AmbiguousChain(hosted=list_chains(found))
        if found:
            return next(iter(found))
    return None


def list_chains(chains: Mapping[str, str]) -> str:
    """Kinds by name in words: `du1 (scheduling), jy1 (trading)`."""
    return ", ".join(f"{name} ({kind})" for name, kind in chains.items())


# --- the chain that is meant ---------------------------------------------------------------------


@asynccontextmanager
async def connect_to(target: Target, *kinds: str) -> AsyncIterator[Client]:
    """A client of the chain that --chain names, else of the chain of the first of `kinds` that the network has.

    Raises `KindMissing` where the network has none of them, `KindNotHosted` where this node does not host it, and
    `AmbiguousChain` where it hosts several.
    """
    async with Client(target.url, target.chain or await _find_of_kind(target.url, *kinds)) as client:
        yield client


async def _find_of_kind(url: str, *kinds: str) -> str:
    hosted = await list_hosted(url)
    if (first := choose_chain(hosted.all, kinds[0])) is not None:
        return first
    async with Client(url, next(iter(hosted.running))) as client:
        network = {chain.name: chain.kind for chain in (await client.genesis()).chains}
    wanted = choose_chain(network, *kinds)
    if wanted is None:
        raise KindMissing(kind=kinds[0], hosted=list_chains(network))
    found = choose_chain(hosted.all, network[wanted])
    if found is None:
        raise KindNotHosted(kind=network[wanted], name=wanted, hosted=list_chains(hosted.all))
    return found


@asynccontextmanager
async def connect_to_any(target: Target, *preferred: str) -> AsyncIterator[Client]:
    """A client of the chain that --chain names, else of that of the first preferred kind hosted, else of the only one.

    Raises `AmbiguousChain` where none is preferred and there are several.
    """
    async with Client(target.url, target.chain or await _find_any(target.url, *preferred)) as client:
        yield client


async def _find_any(url: str, *preferred: str) -> str:
    hosted = (await list_hosted(url)).all
    chosen = choose_chain(hosted, *preferred)
    if chosen is None and len(hosted) > 1:
        raise AmbiguousChain(hosted=list_chains(hosted))
    return chosen or next(iter(hosted))


@asynccontextmanager
async def open_clients(url: str, names: Iterable[str]) -> AsyncIterator[dict[str, Client]]:
    """Clients of several chains of a node, by name."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(Client(url, name)) for name in names}
