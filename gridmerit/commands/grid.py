"""`gridmerit grid`: what the scheduling chain holds of a delivery period."""

from __future__ import annotations

from collections.abc import Iterator

import click

from gridmerit.commands.hosted import connect_to
from gridmerit.commands.open_periods import find_session, session_option
from gridmerit.commands.target import Target, node_options, run_async, to_plain
from gridmerit.errors import NoPeriod
from gridmerit.output import emit, json_option
from gridmerit.tables import facts, table
from gridmerit.text import format_count, format_kwh, format_yuan
from ledger.genesis import Genesis
from market.credit.score import PPM
from market.scheduling.contract import PLANNED_AHEAD
from market.scheduling.records import RETAINED
from market.trading.sessions import Session
from market.trading.times import compute_times
from node.api.client import Client
from node.errors import RemoteNotFound
from node.queries.answers import ContractInfo, DigestInfo, SchedulingInfo

_NONE = "–"


@click.command("grid")
@click.argument("period", type=click.IntRange(min=0), required=False)
@session_option
@node_options
@json_option
def command(period: int | None, session: str | None, target: Target) -> None:
    """Show what the grid allows in a period: plan, quotas, verdict, contracts, metering.

    The answer comes from the node's scheduling chain; --chain need not name it. Without PERIOD it is the delivery
    period whose orders are open now or, where nothing is planned for that one, the newest with a plan.

    \b
      plan       load and output that the dispatcher expects on each line
      quotas     what a line's members may buy and sell; the wheeling price
      verdict    which trades were curtailed, and for which line
      contracts  the accepted trades, and what the meters said after the delivery
      blocks     roots of the power-transaction and the actual-transaction block

    \b
    Examples:
      gridmerit grid --node mynet
      gridmerit grid 118 --node mynet
    """

    chain, found = run_async(fetch_scheduling(target, period, session))
    emit({"chain": chain, **to_plain(found)}, _render(chain, found))


async def fetch_scheduling(
    target: Target, period: int | None = None, session: str | None = None
) -> tuple[str, SchedulingInfo]:
    """The scheduling chain's name, and what it holds of a period, by default the current one. Raises `NoPeriod`."""
    async with connect_to(target, "scheduling") as client:
        if period is None:
            return client.chain, await _find_current(client, session)
        return client.chain, await client.scheduling(period, await find_session(client, session))


async def _find_current(client: Client, session: str | None) -> SchedulingInfo:
    """The period that is open for orders, else the newest with a plan. Raises `NoPeriod` or `NoSession`."""
    genesis, now_ms = await client.genesis(), (await client.status()).time_ms
    chosen = await find_session(client, session)
    for period in _list_candidates(genesis, now_ms):
        try:
            return await client.scheduling(period, chosen)
        except RemoteNotFound as error:
            if error.code != "NoSchedule":
                raise
    raise NoPeriod(what="planned")


def _list_candidates(genesis: Genesis, now_ms: int) -> Iterator[int]:
    """Periods that are open for orders by the clock, then all that may have a plan, newest first."""
    now = max(0, now_ms - genesis.time_ms) // genesis.params.ledger.period_ms
    trading = next(chain for chain in genesis.chains if chain.kind == "trading")
    for period in range(now, now + trading.market.open_ppm // PPM + 2):
        times = compute_times(period, trading, genesis.time_ms)
        if times.open_ms <= now_ms < times.gate_ms:
            yield period
    newest = now + genesis.params.scheduling.quota_ppm // PPM + PLANNED_AHEAD
    yield from range(newest, max(-1, now - RETAINED), -1)


def _render(chain: str, found: SchedulingInfo) -> str:
    session = f", {found.session}" if found.session == Session.INTRADAY.title else ""
    parts = [f"period {found.period}{session} on {chain}", _render_lines(found), _render_verdict(found)]
    if found.contracts:
        parts.append(_render_contracts(found.contracts))
    digests = [("power-transaction block", found.power), ("actual-transaction block", found.actual)]
    parts.append(facts([line for name, digest in digests for line in _render_digest(name, digest)]))
    return "\n\n".join(parts)


def _render_lines(found: SchedulingInfo) -> str:
    planned, quotas = {line.line: line for line in found.plan}, {quota.line: quota for quota in found.quotas}
    rows: list[tuple[object, ...]] = []
    for name in dict.fromkeys((*quotas, *planned)):
        plan, quota = planned.get(name), quotas.get(name)
        expected = (_NONE, _NONE) if plan is None else (format_kwh(plan.load_wh), format_kwh(plan.output_wh))
        allowed = (
            (_NONE, _NONE, _NONE)
            if quota is None
            else (
                format_kwh(quota.demand_wh),
                format_kwh(quota.supply_wh),
                format_yuan(quota.wheeling_uyuan_per_kwh, aligned=True),
            )
        )
        rows.append((name, *expected, *allowed))
    body = table(["line", "load kWh", "output kWh", "may buy kWh", "may sell kWh", "wheeling yuan/kWh"], rows)
    return body if quotas else f"{body}\nno quotas yet: until they are out, the market takes no orders for the period"


def _render_verdict(found: SchedulingInfo) -> str:
    if found.curtailments is None:
        return "verdict: none yet, no trades of the period have been checked"
    if not found.curtailments:
        return "verdict: every trade is accepted whole"
    parties = {contract.index: contract for contract in found.contracts}
    rows = []
    for cut in found.curtailments:
        contract = parties.get(cut.index)
        names = (_NONE, _NONE) if contract is None else _name_parties(contract)
        rows.append((cut.index, *names, format_kwh(cut.accepted_wh), cut.line))
    count = format_count(len(rows), "trade")
    body = table(["trade", "seller", "buyer", "accepted kWh", "because of line"], rows, left=(1, 2, 4))
    return f"verdict: {count} curtailed, the others are accepted whole\n\n{body}"


def _render_contracts(contracts: tuple[ContractInfo, ...]) -> str:
    rows = [
        (
            contract.index,
            *_name_parties(contract),
            format_yuan(contract.price_uyuan_per_kwh, aligned=True),
            format_kwh(contract.accepted_wh),
            _NONE if contract.consumption_wh is None else format_kwh(contract.consumption_wh),
            _NONE if contract.output_wh is None else format_kwh(contract.output_wh),
        )
        for contract in contracts
    ]
    heads = ["contract", "seller", "buyer", "yuan/kWh", "accepted kWh", "used kWh", "made kWh"]
    return table(heads, rows, left=(1, 2))


def _name_parties(contract: ContractInfo) -> tuple[str, str]:
    return contract.seller_name or contract.seller, contract.buyer_name or contract.buyer


def _render_digest(name: str, digest: DigestInfo | None) -> list[tuple[str, str]]:
    if digest is None:
        return [(name, "not yet")]
    count = format_count(digest.contracts, "contract")
    what = f"height {digest.height}, {count}, {format_kwh(digest.energy_wh)} kWh"
    return [(name, what), ("", f"root {digest.root}")]
