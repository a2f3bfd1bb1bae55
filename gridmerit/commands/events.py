"""`gridmerit events`: what happens on a node's chains, as it happens."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from difflib import get_close_matches
from typing import Any

import click

from gridmerit.amounts import parse_names
from gridmerit.commands.hosted import list_hosted
from gridmerit.commands.target import Target, node_options, run_async
from gridmerit.output import json_option, note, wants_json
from gridmerit.text import format_clock, format_kwh, format_points, format_yuan
from node.api.client import Client
from node.api.following import CONTROLS, Told, follow
from node.errors import TimedOut
from node.queries.chain import EVENT_FIELDS
from node.system.clock import now_ms

_HASH_SHOWN = 12  # digits
_UNITS: dict[str, Callable[[Any], str]] = {
    "_uyuan_per_kwh": lambda value: f"{format_yuan(int(value))} yuan/kWh",
    "_uyuan": lambda value: f"{format_yuan(int(value))} yuan",
    "_wh": lambda value: f"{format_kwh(value)} kWh",
    "_upt": lambda value: f"{format_points(value)} points",
}


@click.command("events")
@click.option("--kind", "kinds", multiple=True, metavar="KIND,…", help="These alone; repeat it, or name several.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Seconds to wait for --count.")
@node_options
@json_option
def command(kinds: tuple[str, ...], count: int | None, timeout_s: float | None, target: Target) -> None:
    """Follow what happens on a node's chains, a line for each event.

    On all chains of the node, or on the one that --chain names, from now on, until Ctrl-C or SIGTERM. Where the
    connection breaks it is made again, and where events were missed, that is said: by the node how many, where they
    were read too slowly. --json prints a JSON document per line, `subscribed`, `dropped` and `disconnected` among them,
    which are told on stderr otherwise. Where periods are traded twice, what happens to a gate has its session, too.

    \b
    Kinds:
      blocks       head, reorg, block-refused, certificate, certified, relayed,
                   finality-conflict, late-block, result-differs,
                   result-elsewhere, result-conflict
      joining      snapshot-begun, snapshot-taken, snapshot-ended,
                   snapshot-work-differs
      upgrades     upgrade, release-needed, chain-halted
      orders       order, cancelled, trimmed, game-target, second-target
      a period     plan, plan-lapsed, quota, gate, trade, countersigned,
                   certified-result, verdict, accepted, curtailed, reading,
                   register, metered, unmetered, imputed, settlement,
                   grid-settlement, settled, corrected, correction-lapsed,
                   resettlement, grid-resettlement, resettled, actual, void,
                   votes-missing
      credit       credit, credit-corrected, credit-snapshot, credit-applied,
                   digest, punished, violation, violation-withdrawn,
                   coin-issued, coin-expired, coins-moved, coins-merged
      members      admitted, member, renewed, revoked, left, sealers,
                   sealers-announced, sealers-of
      money        transfer, deposit, withdrawal, standing-order, topped-up,
                   standing-order-ended
      assets       asset-issued, asset-moved, asset-sold, asset-spent,
                   asset-renewed, asset-expired, claim-served, voucher-paid,
                   incentive, block-reward, funded, programme, subsidy,
                   programme-ended, bill
      pools        pool-opened, pool-admitted, pool-collected, pool-paid,
                   note-paid, plant-defaulted, pool-status
      this node    not-executed, executable-again, equivocation,
                   signing-restored, signing-waits, signing-record-behind,
                   signing-read-only, signing-signs, bodies-missing

    Exit code 4 when the node cannot be reached at the start; 8 when --count events have not come in --timeout; 0 when
    they have, or after SIGTERM.

    \b
    Examples:
      gridmerit events --node mynet
      gridmerit events --kind gate,trade,settlement --node mynet
      gridmerit events --kind settled --count 1 --timeout 600 --json --node mynet
    """
    if timeout_s is not None and count is None:
        raise click.UsageError("--timeout is for how long to wait for --count events")
    wanted = _parse_kinds(kinds)
    run_async(_follow(target, wanted, count, timeout_s))


def _parse_kinds(texts: Sequence[str]) -> frozenset[str] | None:
    """Those named; None for all."""
    names = [name for text in texts for name in parse_names(text)]
    for name in names:
        if name not in EVENT_FIELDS:
            near = get_close_matches(name, EVENT_FIELDS, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(EVENT_FIELDS)}"
            raise click.UsageError(f"--kind: no event is called {name!r}: {known}")
    return frozenset(names) or None


async def _follow(target: Target, wanted: frozenset[str] | None, count: int | None, timeout_s: float | None) -> None:
    task = asyncio.current_task()
    assert task is not None
    was_ended = asyncio.Event()

    def end() -> None:
        was_ended.set()
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        async with asyncio.timeout(timeout_s):
            await _print(target, wanted, count)
    except TimeoutError:
        raise TimedOut(what=f"the arrival of {count} events", timeout_s=timeout_s) from None
    except asyncio.CancelledError:
        if not was_ended.is_set():
            raise
        task.uncancel()


async def _print(target: Target, wanted: frozenset[str] | None, count: int | None) -> None:
    """Until so many events of the wanted kinds have come."""
    hosted = (await list_hosted(target.url)).running
    names: dict[str, str] = {}
    seen = 0
    async with aclosing(follow(target.url, list(hosted) if target.chain is None else [target.chain])) as stream:
        async for told in stream:
            kind = told.event["event"]
            if kind == "subscribed":
                async with Client(target.url, told.chain) as client:
                    names |= {member.address: member.name for member in await client.members()}
            elif kind == "admitted":
                names[told.event["member"]] = told.event["name"]
            if kind not in CONTROLS and wanted is not None and kind not in wanted:
                continue
            _tell(told, names, now_ms(), is_control=kind in CONTROLS)
            seen += kind not in CONTROLS
            if seen == count:
                return


def _tell(told: Told, names: Mapping[str, str], time_ms: int, *, is_control: bool) -> None:
    if wants_json():
        click.echo(json.dumps({"time_ms": time_ms, "chain": told.chain, **told.event}, ensure_ascii=False))
    elif is_control:
        note(render_control(told))
    else:
        click.echo(f"{format_clock(time_ms)}  {told.chain}  {render_event(told.event, names)}")


def render_control(told: Told) -> str:
    match told.event:
        case {"event": "dropped", "missed": missed}:
            return f"{told.chain}: {missed} events were dropped, as they were not read in time; following again"
        case {"event": "disconnected", "why": why}:
            return f"{told.chain}: {why}; trying again, and what happens meanwhile is not shown"
    return f"{told.chain}: following"


def render_event(event: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """`trade  period 4, buyer homes-1, price 0.45 yuan/kWh`: addresses by name, amounts in units."""
    fields = [_render_field(field, value, names) for field, value in event.items() if field != "event"]
    return f"{event['event']:<12}  {', '.join(filter(None, fields))}".rstrip()


def _render_field(field: str, value: Any, names: Mapping[str, str]) -> str:
    if value is None or value == "":
        return ""
    for suffix, show in _UNITS.items():
        if field.endswith(suffix):
            return f"{field.removesuffix(suffix).replace('_', ' ')} {show(value)}"
    return f"{field.replace('_', ' ')} {_show(value, names)}"


def _show(value: Any, names: Mapping[str, str]) -> str:
    match value:
        case str() if value in names:
            return names[value]
        case str() if len(value) > 2 * _HASH_SHOWN and value.isalnum():
            return f"{value[:_HASH_SHOWN]}…"
        case list():
            return f"[{', '.join(_show(item, names) for item in value)}]"
    return str(value)
