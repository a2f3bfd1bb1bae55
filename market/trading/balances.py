"""Balances: a member's position in all sessions of a period beside what its meter says, kept once they are settled.

They are what members of a period that is traded twice are assessed by, and what a correction goes by.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from ledger.hashing import Address
from ledger.overlay import Overlay
from market.netting import NetDelivery, compute_deliveries
from market.trading.pages import append_rows, drop_rows, get_rows

_BALANCES = b"market/balances/"


class Balance(NamedTuple):
    """The Wh that a member has bought less those it has sold, and its consumption less its output; None: unheard."""

    member: Address
    position_wh: int
    metered_wh: int | None


def list_deliveries(balances: Iterable[Balance]) -> list[NetDelivery]:
    """The deliveries that were due once all is netted, and what was metered of them."""
    balances = list(balances)
    return compute_deliveries(
        {item.member: item.position_wh for item in balances},
        {item.member: item.metered_wh for item in balances if item.metered_wh is not None},
    )


def put_balances(view: Overlay, period: int, balances: Sequence[Balance]) -> None:
    drop_balances(view, period)
    view.put(_key(period), append_rows(view, _name(period), 0, balances))


def get_balances(view: Overlay, period: int) -> list[Balance]:
    """Of every member that has traded, by address; none before it is settled, and once it is no longer kept."""
    return list(map(Balance._make, get_rows(view, _name(period), _count(view, period))))


def drop_balances(view: Overlay, period: int) -> None:
    drop_rows(view, _name(period), _count(view, period))
    view.delete(_key(period))


def _count(view: Overlay, period: int) -> int:
    return cast(int, view.get(_key(period)) or 0)


def _key(period: int) -> bytes:
    return _BALANCES + period.to_bytes(8, "big")


def _name(period: int) -> bytes:
    return b"balances/" + period.to_bytes(8, "big")
