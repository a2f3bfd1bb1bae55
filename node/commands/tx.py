"""`gridmerit tx`: send transactions and follow them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.errors import RemoteRejected
from node.commands import Group
from node.commands.target import Target, connect, key_options, node_options, resolve_key, run_async, to_plain
from node.commands.values import parse_kwh, parse_yuan
from node.output import emit, facts, json_option

if TYPE_CHECKING:
    from node.answers import TransactionStatus
    from node.client import Client

_SCHEDULED = frozenset({"plan", "reading"})  # where there is a scheduling chain, it takes these in


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
      transfer TO YUAN                       TO is a member's name or 0x… address
      plan PERIOD '[["LINE", LOAD_WH, OUTPUT_WH], …]'   signed by the dispatcher
      reading PERIOD CONSUMED_KWH MADE_KWH   signed by a meter
      cancel PERIOD ORDER_ID                 see also `gridmerit market cancel`

    For any other kind each value is JSON; text of the form "0x…" becomes bytes.

    Plans and readings go to the node's scheduling chain where it has one, everything else to its trading chain, unless
    --chain names another.

    \b
    Examples:
      gridmerit tx send transfer homes-3 12.50 --key homes-1 --node mynet
      gridmerit tx send plan 7 '[["hill-1", 70000, 800000]]' --key dispatch --node mynet
    """
    signer = resolve_key(target, key, passphrase_file)

    async def work() -> TransactionStatus | str:
        async with connect(target, "scheduling" if kind in _SCHEDULED else "trading") as client:
            payload = await _make_payload(client, kind, values)
            identity = await client.send(signer, kind, payload)
            if not wait:
                return identity.hex()
            return await client.wait_for(identity)

    show_outcome(run_async(work()))


@command.command("show")
@click.argument("id")
@node_options
@json_option
def show(id: str, target: Target) -> None:
    """Where a transaction is: pending, or in which block, how deep and with what outcome.

    \b
    Example:
      gridmerit tx show 5d0f… --node mynet
    """

    async def work() -> TransactionStatus:
        async with connect(target) as client:
            return await client.transaction(id)

    status = run_async(work())
    emit(to_plain(status), _render(status))


@command.command("wait")
@click.argument("id")
@click.option("--depth", type=click.IntRange(min=1), default=1, show_default=True, help="Blocks, its own included.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds.")
@node_options
@json_option
def wait(id: str, depth: int, timeout_s: float, target: Target) -> None:
    """Wait until blocks bury a transaction. Exit code 8 when they do not in time, 6 when it was refused.

    \b
    Example:
      gridmerit tx wait 5d0f… --depth 3 --node mynet
    """

    async def work() -> TransactionStatus:
        async with connect(target) as client:
            return await client.wait_for(id, depth=depth, timeout_s=timeout_s)

    show_outcome(run_async(work()))


def show_outcome(outcome: TransactionStatus | str, **more: object) -> None:
    """Print what became of a transaction (or its id alone), and `more` about it.

    Raises `RemoteRejected` where its block says that it has no effect.
    """
    if isinstance(outcome, str):
        emit({"id": outcome, "status": "submitted"}, outcome)
        return
    if outcome.code:
        detail = f"transaction {outcome.id} stands in block {outcome.height} without effect: {outcome.code}"
        raise RemoteRejected(code=outcome.code, detail=detail, values={"id": outcome.id, "height": outcome.height})
    emit({**more, **to_plain(outcome)}, _render(outcome, more))


def _render(status: TransactionStatus, more: Mapping[str, object] | None = None) -> str:
    lines: list[tuple[str, object]] = [
        (name.replace("_", " "), "–" if value is None else value) for name, value in (more or {}).items()
    ]
    lines += [("transaction", status.id), ("status", status.status)]
    if status.height is not None:
        lines += [
            ("block", f"{status.height}  {status.block}"),
            ("index in block", status.index),
            ("outcome", f"without effect: {status.code}" if status.code else "took effect"),
            ("depth", f"{status.depth}{', final' if status.final else ''}"),
        ]
    return facts(lines)


async def _make_payload(client: Client, kind: str, values: tuple[str, ...]) -> tuple[Any, ...]:
    match kind, values:
        case "transfer", (to, yuan):
            return (bytes.fromhex((await client.account(to)).address[2:]), parse_yuan(yuan))
        case "reading", (period, consumed, made):
            return (_parse_int(period), parse_kwh(consumed), parse_kwh(made))
        case (("transfer" | "reading"), _):
            raise click.UsageError(f"{kind} does not take {len(values)} values; see gridmerit tx send --help")
    return tuple(_parse_json(value) for value in values)


def _parse_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is not a whole number") from None


def _parse_json(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise click.UsageError(f"{text!r} is not JSON; text needs quotes of its own: '\"{text}\"'") from None
    return _to_value(value)


def _to_value(value: Any) -> Any:
    match value:
        case str() if value.startswith("0x"):
            try:
                return bytes.fromhex(value[2:])
            except ValueError:
                raise click.UsageError(f"{value!r} is not hexadecimal") from None
        case list():
            return tuple(_to_value(item) for item in value)
        case bool() | float() | dict():
            raise click.UsageError(f"{value!r} cannot stand in a transaction; whole numbers, text, null and lists can")
    return value
