"""The delivery period that a command is for where none is named: one that takes orders, or the newest with a result.

Where periods are traded twice, a command is for one session of it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple

import click

from gridmerit.errors import NoPeriod
from gridmerit.output import note
from market.trading.sessions import SESSIONS, Session
from node.api.client import Client
from node.errors import NoSession, RemoteNotFound
from node.queries.answers import MarketPeriods, PeriodInfo, SettlementInfo, TradesInfo

_NEAR_INTERVALS = 2  # blocks that an order may take

session_option = click.option(
    "--session",
    type=click.Choice(list(SESSIONS)),
    help="Of a period that is traded twice.  [default: day-ahead, or without a period the one that closes next]",
)


class Traded(NamedTuple):
    """A period, and the session of it that is meant."""

    period: int
    session: Session = Session.DAY_AHEAD


async def find_session(client: Client, title: str | None) -> Session:
    """The session with this title, the day-ahead one where none is named. Raises `NoSession`."""
    if title is not None:
        _check_session(title, (await client.genesis()).params.market.sessions)
    return SESSIONS[title or Session.DAY_AHEAD.title]


def choose_open(periods: MarketPeriods, title: str | None = None) -> Traded:
    """The open gate that closes next, of the session with this title if there is one. Raises `NoPeriod`."""
    return list_open(periods, title)[0]


def choose_for_order(periods: MarketPeriods, title: str | None = None, *, at_least_ms: int = 0) -> Traded:
    """The first open gate for which orders are taken, for `at_least_ms` or longer. Raises `NoPeriod`."""
    open_now = list_open(periods, title)
    left_ms = _count_left(periods)
    taking = [traded for traded in open_now if left_ms[traded] >= max(1, at_least_ms)]
    if not taking:
        raise NoPeriod(what="open to orders")
    return taking[0]


async def wait_for_open(client: Client, title: str | None = None) -> Traded:
    """The first gate that takes orders for as long as one needs to come into a block; waits where there is none."""
    interval_ms = (await client.status()).block_interval_ms
    while True:
        periods = await client.periods()
        left_ms = _count_left(periods)
        try:
            return choose_for_order(periods, title, at_least_ms=_NEAR_INTERVALS * interval_ms)
        except NoPeriod:
            nearest = choose_for_order(periods, title)
        note(f"orders for period {nearest.period} are not taken much longer; waiting for the next period to open …")
        await asyncio.sleep((left_ms[nearest] + interval_ms) / 1_000)


async def find_last_trades(client: Client, title: str | None = None) -> TradesInfo:
    """The trades of the newest gate that has some, however long it is over. Raises `NoPeriod` or `NoSession`."""
    found = await client.periods()
    _check_session(title, found.sessions)
    sessions = [session for session in reversed(Session) if session < found.sessions and title in (None, session.title)]
    for period in _list_newest(found):
        for session in sessions:
            with suppress(RemoteNotFound):
                return await client.trades(period, session)
    raise NoPeriod(what="cleared")


async def find_last_settlement(client: Client) -> SettlementInfo:
    """The settlement of the newest period that has one, however long it is over. Raises `NoPeriod`."""
    for period in _list_newest(await client.periods()):
        with suppress(RemoteNotFound):
            return await client.settlement(period)
    raise NoPeriod(what="settled")


def list_open(periods: MarketPeriods, title: str | None = None) -> list[Traded]:
    """Open gates by the time at which they close, one at least. Raises `NoPeriod` or `NoSession`."""
    _check_session(title, periods.sessions)
    open_now = [
        (entry.gate_ms, _name(entry))
        for entry in periods.periods
        if entry.phase == "open" and title in (None, entry.session)
    ]
    if not open_now:
        raise NoPeriod(what="open")
    return [traded for _, traded in sorted(open_now)]


def _check_session(title: str | None, sessions: int) -> None:
    if title is not None and SESSIONS[title] >= sessions:
        raise NoSession(session=title)


def _list_newest(found: MarketPeriods) -> list[int]:
    return sorted({*found.closed, *(entry.period for entry in found.periods)}, reverse=True)


def _count_left(periods: MarketPeriods) -> dict[Traded, int]:
    """For how long orders are taken for each gate, in ms."""
    return {_name(entry): entry.orders_until_ms - periods.time_ms for entry in periods.periods}


def _name(entry: PeriodInfo) -> Traded:
    return Traded(entry.period, SESSIONS[entry.session])
