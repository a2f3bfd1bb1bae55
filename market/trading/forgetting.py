"""The readings of periods that are no longer kept, dropped by shares: they are as many as there are meters."""

from __future__ import annotations

from typing import cast

from ledger.contract import BlockContext
from ledger.overlay import Overlay
from market.metering import drop_readings
from market.trading.work import METER, get_room, spend

_FORGETTING = b"market/forgetting"


def forget_readings(view: Overlay, period: int) -> None:
    """Have a period's readings dropped by the blocks to come."""
    view.put(_FORGETTING, (*_get_periods(view), period))


def drop_forgotten(view: Overlay, block: BlockContext) -> None:
    """The hook that drops such readings, as far as the block's share of work goes."""
    periods = before = _get_periods(view)
    while periods and (room := get_room(view, block, cost=METER)):
        count = drop_readings(view, periods[0], room)
        spend(view, block, count, cost=METER)
        if count < room:
            periods = periods[1:]
    if periods:
        view.put(_FORGETTING, periods)
    elif before:
        view.delete(_FORGETTING)


def find_forgotten_due(view: Overlay, _block: BlockContext) -> int | None:
    """The time from which on there is something to drop: 0 while there is."""
    return 0 if _get_periods(view) else None


def _get_periods(view: Overlay) -> tuple[int, ...]:
    return cast(tuple[int, ...], view.get(_FORGETTING) or ())
