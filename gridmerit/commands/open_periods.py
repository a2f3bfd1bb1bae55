"""The delivery period that a command is for where none is named: one that takes orders, or the newest with a result.

Where periods are traded twice, a command is for one session of it, and asks by the number of that session's gate.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import click

from gridmerit.errors import NoPeriod, NoSession
from gridmerit.output import note
from market.trading.sessions import Session, get_gate_number
from node.api.client import Client
from node.errors import RemoteNotFound
from node.queries.answers import MarketPeriods, PeriodInfo

_NEAR_INTERVALS = 2  # blocks that an order may take
_SESSIONS = {session.title: session for session in Session}

session_option = click.option(
    "--session",
    type=click.Choice(list(_SESSIONS)),
    help="Of a period that is traded twice.  [default: day-ahead, or without --period the one that closes next]",
)


async def find_number(client: Client, period: int, session: str | None) -> int:
    """The number of a session's gate, the day-ahead one's where none is named. Raises `NoSession`."""
    market, chosen = (await client.genesis()).params.market, _SESSIONS[session or Session.DAY_AHEAD.title]
    if chosen >= market.sessions:
        raise NoSession(session=chosen.title)
    return get_gate_number(market, period, chosen)


def choose_open(periods: MarketPeriods) -> int:
    """The number of the open gate that closes next. Raises `NoPeriod`."""
    return list_open(periods)[0]


def choose_for_order(periods: MarketPeriods, *, at_least_ms: int = 0) -> int:
    """The first open gate for which orders are taken, for `at_least_ms` or longer. Raises `NoPeriod`."""
    open_now = list_open(periods)
    left_ms = _count_left(periods)
    taking = [period for period in open_now if left_ms[period] >= max(1, at_least_ms)]
    if not taking:
        raise NoPeriod(what="open to orders")
    return taking[0]


async def wait_for_open(client: Client) -> int:
    """The first gate that takes orders for as long as one needs to come into a block; waits where there is none."""
    interval_ms = (await client.status()).block_interval_ms
    while True:
        periods = await client.periods()
        left_ms = _count_left(periods)
        try:
            return choose_for_order(periods, at_least_ms=_NEAR_INTERVALS * interval_ms)
        except NoPeriod:
            nearest = choose_for_order(periods)
        period = nearest // periods.sessions
        note(f"orders for period {period} are not taken much longer; waiting for the next period to open …")
        await asyncio.sleep((left_ms[nearest] + interval_ms) / 1_000)


async def find_last(client: Client, what: str) -> Any:
    """The trades or the settlement of the newest period that has some, however long it is over. Raises `NoPeriod`."""
    found = await client.periods()
    for period in sorted({*found.closed, *(entry.period for entry in found.periods)}, reverse=True):
        numbers = range(period * found.sessions, (period + 1) * found.sessions) if what == "trades" else (period,)
        for number in reversed(numbers):
            with suppress(RemoteNotFound):
                return await (client.trades(number) if what == "trades" else client.settlement(number))
    raise NoPeriod(what="settled" if what == "settlement" else "cleared")


def list_open(periods: MarketPeriods) -> list[int]:
    """The numbers of open gates by the time at which they close, one at least. Raises `NoPeriod`."""
    open_now = [(entry.gate_ms, _get_number(periods, entry)) for entry in periods.periods if entry.phase == "open"]
    if not open_now:
        raise NoPeriod(what="open")
    return [number for _, number in sorted(open_now)]


def _count_left(periods: MarketPeriods) -> dict[int, int]:
    """For how long orders are taken, in ms, by the number of a gate."""
    return {_get_number(periods, entry): entry.orders_until_ms - periods.time_ms for entry in periods.periods}


def _get_number(periods: MarketPeriods, entry: PeriodInfo) -> int:
    return entry.period * periods.sessions + _SESSIONS[entry.session]
