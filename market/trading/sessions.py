"""The sessions of a delivery period, and the numbers of their gates (text 001, decision 54).

What belongs to a gate (book, quotas, target, trades, their certificate and verdict) is kept under its number, what
belongs to delivery (readings, settlement) under that of the period. Where there is one session they are the same.
"""

from __future__ import annotations

from enum import IntEnum

from ledger.params import MarketParams


class Session(IntEnum):
    """The session in which a period is traded."""

    DAY_AHEAD = 0
    INTRADAY = 1

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name.lower().replace("_", "-")


SESSIONS = {session.title: session for session in Session}


def is_firm(market: MarketParams) -> bool:
    """Return True if trades are paid as agreed: what is traded in two sessions has no delivery of its own."""
    return market.sessions > 1


def list_gates(market: MarketParams, period: int) -> range:
    """The numbers of a period's gates, in the order of its sessions."""
    return range(period * market.sessions, (period + 1) * market.sessions)


def list_earlier_gates(market: MarketParams, gate: int) -> range:
    """The numbers of the gates before this one that its period has."""
    return range(gate - gate % market.sessions, gate)


def get_gate_number(market: MarketParams, period: int, session: Session = Session.DAY_AHEAD) -> int:
    """The number of a session's gate, of a session that the market has."""
    assert session < market.sessions, session
    return period * market.sessions + session


def get_period(market: MarketParams, gate: int) -> int:
    """The period that a gate is of."""
    return gate // market.sessions


def get_session(market: MarketParams, gate: int) -> Session:
    """The session that a gate is of."""
    return Session(gate % market.sessions)
