"""`gridmerit tx`: send transactions and follow them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import click

from gridmerit.commands import Group
from gridmerit.commands.hosted import connect_to, list_hosted, open_clients
from gridmerit.commands.outcomes import render_transaction, show_outcome
from gridmerit.commands.payloads import make_payload
from gridmerit.commands.target import Target, key_options, node_options, resolve_key, run_async, to_plain
from gridmerit.output import emit, json_option
from ledger.signatures import SigningKey
from node.api.client import Client
from node.errors import RemoteNotFound
from node.queries.answers import TransactionStatus

# The kinds of chain that take these in, where there are several the first that the network has.
_DESTINATIONS = {
    "plan": ("scheduling",),
    "reading": ("scheduling", "trading"),
    "register": ("scheduling", "trading"),
    "coin-transfer": ("credit",),
}
_ANYTHING = ("trading",)


@click.group("tx", cls=Group)
def command() -> None:
    """Send transactions and follow them."""


@command.command("send")
@click.argument("kind")
@click.argument("values", nargs=-1)
@key_options
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until a block holds it.")
@node_options
@json_option
def send(
    kind: str, values: tuple[str, ...], key: str | None, passphrase_file: Path | None, wait: bool, target: Target
) -> None:
    """Sign a transaction with the sender's next sequence and hand it to a node.

    What VALUES are depends on the KIND:

    \b
      transfer TO YUAN                        TO is a member's name or 0x… address
      plan PERIOD LINE=LOAD_KWH:OUTPUT_KWH …  the dispatcher's, of what lines do
      game-target PERIOD G_TO_U G_TO_C C_TO_U C_TO_G
                                              the dispatcher's, in yuan per kWh
      reading PERIOD CONSUMED_KWH MADE_KWH    a meter's, of its member
      register PERIOD CONSUMED_KWH MADE_KWH   a meter's, of its counters
      coin-transfer COIN … TO=POINTS …        credit of your coins to others
      cancel PERIOD ORDER_ID                  see also `gridmerit market cancel`

    A plan says what each line will draw and feed in. It is due some time before its period: 3.25 periods in the
    recommended parameters (quota_ppm), so that it is for the fourth period after the running one or a later one. The
    quotas follow from it when it is due, and without them the market takes no orders. A later plan replaces the lines
    that it names.

    A target is for a market that clears by knn (net new --rule knn): the game's prices of company to user and to
    bureau, of bureau to user and to company. Bids look for offers near the first. It comes before the period's book
    opens, once, within the grid company's tariffs; without one the period clears as price-time does. A second one is
    refused and on record. `gridmerit agents` computes and commits it.

    A reading is taken once its period is over, and for half a period then (meter_ppm). Two registers, of one period and
    of the one before, make a reading. Where any meter of the period was heard in time, others may come late, and each
    may correct what it said, for another 24 periods (correction_ppm).

    COIN is a name as `gridmerit credit assets NAME` lists them, or enough of its beginning. A payment that needs
    credit of several assessments becomes an output for each, as coins of different colours do not mix.

    For any other kind each value is JSON; text of the form "0x…" becomes bytes.

    Plans go to the node's scheduling chain, readings too where the network has one, coins to its credit chain and
    everything else to its trading chain, unless --chain names another.

    \b
    Examples:
      gridmerit tx send transfer homes-3 12.50 --key homes-1 --node mynet
      gridmerit tx send plan 7 hill-1=70:800 village-1=120:0 --key dispatch --node mynet
      gridmerit tx send game-target 9 0.52 0.45 0.5 0.41 --key dispatch --node mynet
      gridmerit tx send reading 7 12.5 0 --key meter-homes-3 --node mynet
      gridmerit tx send coin-transfer 5d0f3a homes-3=12.5 --key homes-1 --node mynet
    """
    signer = resolve_key(target, key, passphrase_file)

    chain, outcome = run_async(send_transaction(target, signer, kind, values, waits=wait))
    show_outcome(outcome, chain=chain)


async def send_transaction(
    target: Target, signer: SigningKey, kind: str, values: Sequence[str], *, waits: bool = True
) -> tuple[str, TransactionStatus | str]:
    """The chain it went to, and what became of it there; its id where that is not waited for."""
    async with connect_to(target, *_DESTINATIONS.get(kind, _ANYTHING)) as client:
        payload = await make_payload(client, kind, values, signer.address)
        identity = await client.send(signer, kind, payload)
        return client.chain, await client.wait_for(identity) if waits else identity.hex()


@command.command("show")
@click.argument("id")
@node_options
@json_option
def show(id: str, target: Target) -> None:
    """Show where a transaction is: pending, or in which block, how deep and with what outcome.

    Of one that the node had acknowledged and that no block will hold, it says why: superseded by which, expired, and so
    on. The node that acknowledged it knows; it remembers the last few thousand.

    Looks on all chains of the node, or on the one that --chain names.

    \b
    Example:
      gridmerit tx show 5d0f… --node mynet
    """

    chain, status = run_async(find_transaction(target, id))
    emit({"chain": chain, **to_plain(status)}, render_transaction(status, {"chain": chain}))


async def find_transaction(target: Target, identity: str) -> tuple[str, TransactionStatus]:
    """The chain that knows a transaction, and what it knows. Raises `RemoteNotFound`."""
    async with _open_chains(target) as (running, out):
        return await _find({**running, **out}, identity)


@asynccontextmanager
async def _open_chains(target: Target) -> AsyncIterator[tuple[dict[str, Client], dict[str, Client]]]:
    """Clients of the node's chains that run and of those that are out, or of the one that --chain names."""
    if target.chain is not None:
        async with open_clients(target.url, [target.chain]) as named:
            yield named, {}
        return
    hosted = await list_hosted(target.url)
    async with open_clients(target.url, hosted.running) as running, open_clients(target.url, hosted.out) as out:
        yield running, out


async def _find(clients: Mapping[str, Client], identity: str) -> tuple[str, TransactionStatus]:
    """The chain that knows a transaction, and what it knows. Raises `RemoteNotFound`."""
    for name, client in clients.items():
        try:
            return name, await client.transaction(identity)
        except RemoteNotFound as error:
            missing = error
    detail = f"transaction {identity} is neither on {', '.join(clients)} nor pending there"
    raise RemoteNotFound(code=missing.code, detail=detail, values=missing.values)


@command.command("wait")
@click.argument("id")
@click.option("--depth", type=click.IntRange(min=1), default=1, show_default=True, help="Blocks, its own included.")
@click.option("--final", is_flag=True, help="Wait until its block is final, too: then nothing undoes it.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds.")
@node_options
@json_option
def wait(id: str, depth: int, final: bool, timeout_s: float, target: Target) -> None:
    """Wait until blocks bury a transaction.

    Exit code 8 when they do not in time; 6 when it was refused, or superseded by another one of its sender, or can no
    longer be executed for another reason. Looks on all chains of the node, or on the one that --chain names.

    \b
    Examples:
      gridmerit tx wait 5d0f… --depth 3 --node mynet
      gridmerit tx wait 5d0f… --final --node mynet
    """

    chain, outcome = run_async(wait_for_transaction(target, id, depth=depth, final=final, timeout_s=timeout_s))
    show_outcome(outcome, chain=chain)


async def wait_for_transaction(
    target: Target, identity: str, *, depth: int, final: bool, timeout_s: float
) -> tuple[str, TransactionStatus]:
    """The chain whose blocks bury a transaction, and what it knows. Raises `TimedOut`."""
    async with _open_chains(target) as (running, out):
        waits = {
            asyncio.ensure_future(client.wait_for(identity, depth=depth, final=final, timeout_s=timeout_s)): name
            for name, client in (running or out).items()
        }
        # An id is of one chain, so that on the others nothing comes of it but the timeout of all.
        done, others = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        first = next(iter(done))
        return waits[first], first.result()
