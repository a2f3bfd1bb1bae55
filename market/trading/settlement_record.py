"""The record of a settled delivery period: each trade as metered, and what each meter shows beside the trades.

It is one state value, or counts of rows in pages where the chain spreads work over blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.overlay import Overlay
from market.claim_records import Served
from market.metering import Reading
from market.trading.pages import append_rows, as_value, drop_rows, get_rows
from market.trading.work import is_limited

_SETTLEMENT = b"market/settlement/"


class SettledTrade(NamedTuple):
    """One trade as metered: the parts of both readings that fall on it (Wh) and its three legs (µ¥).

    Indexes have gaps where the scheduling chain accepted nothing of a trade. An imputed side's meter was not heard.
    """

    trade_index: int
    buyer: Address
    seller: Address
    consumption_wh: int
    output_wh: int
    buyer_pays_uyuan: int
    seller_receives_uyuan: int
    grid_receives_uyuan: int
    traded_wh: int
    is_consumption_imputed: int = 0
    is_output_imputed: int = 0

    @property
    def legs(self) -> tuple[int, ...]:
        """The money that buyer, seller and grid company pay or receive, and the Wh it is for, as events tell them."""
        return (self.buyer_pays_uyuan, self.seller_receives_uyuan, self.grid_receives_uyuan, self.traded_wh)

    @property
    def metered_consumption_wh(self) -> int:
        return 0 if self.is_consumption_imputed else self.consumption_wh


class SettledWithGrid(NamedTuple):
    """One member's consumption at retail and output at feed-in, outside all trades."""

    member: Address
    consumption_wh: int
    output_wh: int
    pays_uyuan: int
    receives_uyuan: int


class SettledShare(NamedTuple):
    """The rows that one share of work has settled of a period, and the meters that were settled in it, each once."""

    period: int
    claims: Sequence[Served]
    trades: Sequence[SettledTrade]
    grid: Sequence[SettledWithGrid]
    meters: Sequence[Reading] = ()


class PeriodSettlement(NamedTuple):
    """A settled period: its trades by index (none where it was void or lapsed), and the rest by order of reading."""

    trades: tuple[SettledTrade, ...]
    grid: tuple[SettledWithGrid, ...]


def get_settlement(view: Overlay, period: int) -> PeriodSettlement | None:
    """The record of a period that is over; None before that, and once it is no longer kept."""
    value = cast(tuple[Any, Any] | None, view.get(_key(period)))
    if value is None:
        return None
    trades, grid = value
    if isinstance(trades, int):
        trades, grid = get_rows(view, trades_name(period), trades), get_rows(view, grid_name(period), grid)
    return PeriodSettlement(
        trades=tuple([SettledTrade._make(row) for row in trades]),
        grid=tuple([SettledWithGrid._make(row) for row in grid]),
    )


def has_settlement(view: Overlay, period: int) -> bool:
    return view.get(_key(period)) is not None


def put_settlement(
    view: Overlay,
    block: BlockContext,
    period: int,
    trades: Sequence[SettledTrade],
    grid: Sequence[SettledWithGrid],
) -> None:
    """Put down what a period is settled at: in pages where the chain spreads work over blocks, else as one value."""
    drop_settlement(view, period)
    if is_limited(block):
        counts = append_rows(view, trades_name(period), 0, trades), append_rows(view, grid_name(period), 0, grid)
        put_paged(view, period, *counts)
    else:
        view.put(_key(period), (as_value(trades), as_value(grid)))


def put_paged(view: Overlay, period: int, trades: int, grid: int) -> None:
    """Put down that a period is settled at so many rows, which stand in pages."""
    view.put(_key(period), (trades, grid))


def put_nothing(view: Overlay, period: int) -> None:
    """Put down that nothing is settled of a period."""
    view.put(_key(period), ((), ()))


def drop_settlement(view: Overlay, period: int) -> None:
    value = cast(tuple[Any, Any] | None, view.get(_key(period)))
    if value is not None and isinstance(value[0], int):
        drop_rows(view, trades_name(period), value[0])
        drop_rows(view, grid_name(period), value[1])
    view.delete(_key(period))


def trades_name(period: int) -> bytes:
    return b"settled/" + period.to_bytes(8, "big")


def grid_name(period: int) -> bytes:
    return b"with-grid/" + period.to_bytes(8, "big")


def _key(period: int) -> bytes:
    return _SETTLEMENT + period.to_bytes(8, "big")
