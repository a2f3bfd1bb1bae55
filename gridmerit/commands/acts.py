"""Acts of the authority on their way to the chains: what each chain has of one already, sending it, and waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from gridmerit.commands.hosted import list_hosted, open_clients
from gridmerit.commands.outcomes import check_effect
from gridmerit.commands.target import Target, resolve_key
from gridmerit.errors import ActNotEverywhere
from gridmerit.network.enrolment import Act, Application, AuthorityFiles, claim_application, save_act, sign_as_far
from gridmerit.network.layout import AUTHORITY_DIRECTORY, Network, is_network, load_network
from ledger.errors import GridmeritError, WrongChain
from ledger.genesis import Genesis
from ledger.hashing import Address
from ledger.signatures import SigningKey
from market.errors import CountersignedAlready
from node.api.client import Client
from node.errors import RemoteNotFound, RemoteRejected, TimedOut, UnknownChainName
from node.queries.answers import MemberInfo

_T = TypeVar("_T")

TIMEOUT_S = 60.0
authority_option = click.option(
    "--authority",
    type=click.Path(path_type=Path, file_okay=False),
    help="The authority's directory.  [default: that of the local network]",
)
_POLL_S = 0.2
_SLACK_S = 30.0  # after a boundary, for its first block


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """The chains that a command acts on, by name, and the network's genesis as the node has it."""

    clients: Mapping[str, Client]
    genesis: Genesis

    @property
    def missing(self) -> tuple[str, ...]:
        """Chains of the network that this node does not host, or that were not asked for."""
        return tuple(chain.name for chain in self.genesis.chains if chain.name not in self.clients)

    def choose(self, act: Act) -> tuple[str, ...]:
        """Those that an act is for. Raises `WrongChain` where it is for another one alone."""
        names = tuple(name for name in self.clients if act.chain_id in (None, self.genesis.chain_id_of(name)))
        if not names:
            assert act.chain_id is not None
            raise WrongChain(actual=act.chain_id.hex()[:16], expected=", ".join(self.clients))
        return names

    def lacks(self, act: Act) -> tuple[str, ...]:
        """Those that an act is for, and that are missing here."""
        return self.missing if act.chain_id is None else ()

    @property
    def any(self) -> Client:
        return next(iter(self.clients.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of an act on one chain: "done" now, in a block of this height, or "already" before."""

    chain: str
    status: str
    height: int | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """Acts that were signed: the first of them, all their files, what became of them, and where they have not been.

    There are no outcomes where more keys must sign, `threshold` in all.
    """

    act: Act
    files: tuple[Path, ...]
    threshold: int
    outcomes: list[Outcome] | None
    missing: tuple[str, ...]


@asynccontextmanager
async def open_chains(target: Target) -> AsyncIterator[Chains]:
    """Clients of all chains that the node hosts, or of the one that --chain names."""
    hosted = (await list_hosted(target.url)).running
    if target.chain is not None and target.chain not in hosted:
        raise UnknownChainName(name=target.chain, known=", ".join(hosted))
    async with open_clients(target.url, hosted if target.chain is None else [target.chain]) as clients:
        yield Chains(clients=clients, genesis=await next(iter(clients.values())).genesis())


def resolve_sponsor(target: Target, key: str | None, passphrase_file: Path | None) -> SigningKey:
    """The sender of an act: --key, else the node's own key; in a network directory that of its first node."""
    network = find_network(target)
    if key is None and network is not None:
        key = str(network.directory_of(network.nodes[0]) / "key.pem")
    return resolve_key(target, key, passphrase_file)


def find_network(target: Target) -> Network | None:
    """The local network whose directory --node names."""
    directory = target.directory
    return load_network(directory) if directory is not None and is_network(directory) else None


def find_authority(target: Target, authority: Path | None) -> Path:
    """The authority's directory: --authority, else that of the local network."""
    network = find_network(target)
    if authority is not None:
        return authority
    if network is None:
        raise click.UsageError("--authority DIR: whose keys sign? only the directory of a local network has them, too")
    return network.directory / AUTHORITY_DIRECTORY


async def sign_and_submit(
    chains: Chains,
    acts: dict[str, Act],
    files: AuthorityFiles,
    name: str,
    sponsor: SigningKey,
    application: Application | None = None,
) -> Brought:
    """Sign acts, keep them, and bring them to their chains; usually they are one and the same."""
    signed = {chain: sign_as_far(act, files, chains.genesis.authority) for chain, act in acts.items()}
    kept: dict[Act, Path] = {}
    for chain, act in signed.items():
        if act in kept:
            continue
        if application is not None and not kept:
            kept[act] = claim_application(files, application, act)
        else:
            kept[act] = files.act_file(act, name if not kept else f"{name}-{chain}")
            save_act(kept[act], act)
    return await bring(chains, signed, tuple(kept.values()), sponsor)


async def bring(chains: Chains, acts: Mapping[str, Act], files: tuple[Path, ...], sponsor: SigningKey) -> Brought:
    """Bring acts, which are kept in `files`, to their chains, unless more keys must sign them before."""
    first, threshold = next(iter(acts.values())), chains.genesis.authority.threshold
    is_signed = len(first.signatures) >= threshold
    outcomes = await submit_acts(chains, acts, sponsor) if is_signed else None
    return Brought(act=first, files=files, threshold=threshold, outcomes=outcomes, missing=chains.lacks(first))


async def submit_acts(chains: Chains, acts: Mapping[str, Act], sponsor: SigningKey) -> list[Outcome]:
    """Bring each chain its act, and wait until a block holds it. An act that a chain has already is not sent again.

    Raises what a chain refuses it with where no chain takes it, and `ActNotEverywhere` where some do.
    """

    async def bring(name: str, act: Act) -> Outcome:
        client = chains.clients[name]
        if act.chain_id is None and await _has_act(client, act):
            return Outcome(chain=name, status="already")
        try:
            return await send_and_wait(client, sponsor, act.kind, act.payload)
        except RemoteRejected as error:
            if error.code != CountersignedAlready.__name__:
                raise
            return Outcome(chain=name, status="already")

    return await on_every(acts, bring)


async def on_every(acts: Mapping[str, _T], work: Callable[[str, _T], Awaitable[Outcome]]) -> list[Outcome]:
    """Do something on several chains at once. Raises as `submit_acts`."""
    results = await asyncio.gather(*(work(name, act) for name, act in acts.items()), return_exceptions=True)
    failed: dict[str, GridmeritError] = {}
    for name, result in zip(acts, results, strict=True):
        if isinstance(result, GridmeritError):
            failed[name] = result
        elif isinstance(result, BaseException):
            raise result
    if failed:
        first = next(iter(failed.values()))
        done = [name for name in acts if name not in failed]
        if not done:
            raise first
        raise ActNotEverywhere(done=", ".join(done), missing=", ".join(failed), detail=first)
    return [result for result in results if isinstance(result, Outcome)]


async def send_and_wait(client: Client, key: SigningKey, kind: str, payload: tuple[object, ...]) -> Outcome:
    """Send a transaction. Raises `RemoteRejected` where the chain refuses it, at once or in its block."""
    identity = await client.send(key, kind, payload)  # type: ignore[arg-type]
    status = await client.wait_for(identity, timeout_s=TIMEOUT_S)
    check_effect(status)
    return Outcome(chain=client.chain, status="done", height=status.height, id=status.id)


async def _has_act(client: Client, act: Act) -> bool:
    for member in await client.members():
        if member.serial == act.serial:
            return act.kind != "revoke" or member.status == "revoked"
    return False


async def find_member(client: Client, ref: str | Address) -> MemberInfo | None:
    try:
        return await client.member(ref)
    except RemoteNotFound:
        return None


async def wait_until_active(chains: Chains, address: Address, timeout_s: float | None) -> None:
    """Wait for the next boundary of every chain. Raises `TimedOut`."""
    await asyncio.gather(*(_wait_on(client, address, timeout_s) for client in chains.clients.values()))


async def _wait_on(client: Client, address: Address, timeout_s: float | None) -> None:
    limit_s = await _compute_patience_s(client) if timeout_s is None else timeout_s
    try:
        async with asyncio.timeout(limit_s):
            while not await _is_active(client, address):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        what = f"the first block of the next period on {client.chain}, with which the admission takes effect"
        raise TimedOut(what=what, timeout_s=round(limit_s, 1)) from None


async def _is_active(client: Client, address: Address) -> bool:
    member = await find_member(client, address)  # None for a moment where a reorg takes the block of the act off
    return member is not None and member.status == "active"


async def _compute_patience_s(client: Client) -> float:
    status = await client.status()
    since_ms = status.time_ms - status.genesis_time_ms
    return (status.period_ms - since_ms % status.period_ms) / 1_000 + _SLACK_S
