"""Readings that have changed, taken up by shares: from a period's first block on, meter by meter, until none is."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.overlay import Overlay
from market.metering import (
    Corrected,
    drop_corrected_period,
    get_corrected_periods,
    get_last_meter,
    take_marked,
    walk_meters,
)
from market.trading.pages import PAGE_ROWS
from market.trading.work import CORRECTION, METER, get_room, spend

_CORRECTING = b"market/correcting"


def take_share(
    view: Overlay, block: BlockContext, *, is_ready: Callable[[int], bool] = lambda period: True
) -> list[Corrected]:
    """A block's share of the readings that have changed, all of one period; periods that are not ready are left."""
    walk = cast(tuple[int, bytes] | None, view.get(_CORRECTING))
    if walk is None and block.is_first_of_period:
        walk = _begin(view, is_ready)
    if walk is None:
        return []
    period, owner = walk
    found: list[Corrected] = []
    while owner and (room := get_room(view, block, cost=METER)):
        meters, owner = walk_meters(view, period, owner, min(room, PAGE_ROWS))
        taken = take_marked(view, period, meters)
        spend(view, block, len(meters) * METER + len(taken) * CORRECTION)
        found += taken
    following = (period, owner) if owner else _begin(view, is_ready)
    if following:
        view.put(_CORRECTING, following)
    else:
        view.delete(_CORRECTING)
    return found


def find_corrections_due(view: Overlay, _block: BlockContext) -> int | None:
    """The time from which on there is a share to take up: 0 while a walk has not ended."""
    return None if view.get(_CORRECTING) is None else 0


def _begin(view: Overlay, is_ready: Callable[[int], bool]) -> tuple[int, Address] | None:
    """The next period to look through, and the meter to begin with."""
    for period in get_corrected_periods(view):
        if is_ready(period):
            drop_corrected_period(view, period)
            return period, get_last_meter(view, period)
    return None
