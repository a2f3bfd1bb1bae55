"""The delivery period that a command is for where none is named: one that takes orders, or the newest with a result."""

from __future__ import annotations

import asyncio
from typing import Any

from gridmerit.errors import NoPeriod
from gridmerit.output import note
from node.api.client import Client
from node.errors import RemoteNotFound
from node.queries.answers import MarketPeriods

_NEAR_INTERVALS = 2  # blocks that an order may take


def choose_open(periods: MarketPeriods) -> int:
    """The open period whose gate closes next. Raises `NoPeriod`."""
    return list_open(periods)[0]


def choose_for_order(periods: MarketPeriods, *, at_least_ms: int = 0) -> int:
    """The first open period for which orders are taken, for `at_least_ms` or longer. Raises `NoPeriod`."""
    open_now = list_open(periods)
    left_ms = {entry.period: entry.orders_until_ms - periods.time_ms for entry in periods.periods}
    taking = [period for period in open_now if left_ms[period] >= max(1, at_least_ms)]
    if not taking:
        raise NoPeriod(what="open to orders")
    return taking[0]


async def wait_for_open(client: Client) -> int:
    """The first period that takes orders for as long as one needs to come into a block; waits where there is none."""
    interval_ms = (await client.status()).block_interval_ms
    while True:
        periods = await client.periods()
        left_ms = {entry.period: entry.orders_until_ms - periods.time_ms for entry in periods.periods}
        try:
            return choose_for_order(periods, at_least_ms=_NEAR_INTERVALS * interval_ms)
        except NoPeriod:
            nearest = choose_for_order(periods)
        note(f"orders for period {nearest} are not taken much longer; waiting for the next period to open …")
        await asyncio.sleep((left_ms[nearest] + interval_ms) / 1_000)


async def find_last(client: Client, what: str) -> Any:
    """The trades or the settlement of the newest period that has some, however long it is over. Raises `NoPeriod`."""
    found = await client.periods()
    for period in sorted({*found.closed, *(entry.period for entry in found.periods)}, reverse=True):
        try:
            return await (client.trades(period) if what == "trades" else client.settlement(period))
        except RemoteNotFound:
            continue
    raise NoPeriod(what="settled" if what == "settlement" else "cleared")


def list_open(periods: MarketPeriods) -> list[int]:
    """The open periods, ascending, one at least. Raises `NoPeriod`."""
    open_now = [entry.period for entry in periods.periods if entry.phase == "open"]
    if not open_now:
        raise NoPeriod(what="open")
    return sorted(open_now)
