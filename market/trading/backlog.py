"""Periods that are no longer kept, whose rows are dropped by shares of work, one thing after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from ledger.contract import BlockContext
from ledger.overlay import Overlay
from market.trading.work import METER, get_room, spend


class Backlog(NamedTuple):
    """The row of such periods, and what drops one thing of a period: how many rows it had, and 0 where none is left."""

    key: bytes
    drop_last: Callable[[Overlay, int], int]

    def add(self, view: Overlay, period: int) -> None:
        """Have what there is of a period dropped by the blocks to come."""
        view.put(self.key, (*self._get_periods(view), period))

    def work_off(self, view: Overlay, block: BlockContext) -> None:
        """The hook that drops it, as far as the block's share of work goes."""
        periods = before = self._get_periods(view)
        while periods and get_room(view, block, cost=METER) != 0:
            count = self.drop_last(view, periods[0])
            spend(view, block, count, cost=METER)
            if not count:
                periods = periods[1:]
        if periods:
            view.put(self.key, periods)
        elif before:
            view.delete(self.key)

    def find_due(self, view: Overlay, _block: BlockContext) -> int | None:
        """The time from which on there is something to drop: 0 while there is."""
        return 0 if self._get_periods(view) else None

    def _get_periods(self, view: Overlay) -> tuple[int, ...]:
        return cast(tuple[int, ...], view.get(self.key) or ())
