"""The delivery periods of a trading chain: those it still has to process, and the closed ones whose records stay."""

from __future__ import annotations

from typing import cast

from ledger.overlay import Overlay

_LIVE = b"market/live"
_CLOSED = b"market/closed"


def get_live_periods(view: Overlay) -> tuple[int, ...]:
    """Periods with quotas, orders, trades or readings that are not closed yet, ascending."""
    return cast(tuple[int, ...], view.get(_LIVE) or ())


def get_closed_periods(view: Overlay) -> tuple[int, ...]:
    """Periods that are over and whose records are still kept, ascending."""
    return cast(tuple[int, ...], view.get(_CLOSED) or ())


def add_live_period(view: Overlay, period: int) -> None:
    """See to it that the period will be processed; nothing changes where it is live already."""
    live = get_live_periods(view)
    if period not in live:
        view.put(_LIVE, tuple(sorted((*live, period))))


def close_period(view: Overlay, period: int, *, retained: int) -> tuple[int, ...]:
    """Remember that the period is over; those beyond the latest `retained` are forgotten, and their records to drop."""
    live = get_live_periods(view)
    if period in live:
        view.put(_LIVE, tuple([other for other in live if other != period]))
    closed = sorted({*get_closed_periods(view), period})
    view.put(_CLOSED, tuple(closed[-retained:]))
    return tuple(closed[:-retained])


def is_closed(view: Overlay, period: int, *, retained: int) -> bool:
    """Return True if the period is over, or older than all of the `retained` that are remembered."""
    closed = get_closed_periods(view)
    return period in closed or (len(closed) >= retained and period < closed[0])
