"""The violations in a member's credit report: what it did otherwise than agreed, by contract and never by opinion.

A violation is of one side of one trade, whose part of the meter is more than the chain's tolerance above or below what
was agreed, or was not heard at all; or it is a target that a member committed for a period that had one. Each kind is
counted for good, and of all kinds together the newest `recorded_violations` are kept with what and when.

A correction has the last word. What it puts within tolerance is not counted any more, and its record stays, marked as
withdrawn. Messages come in any order: counts are sums of changes, and of two words on one delivery the later one of the
trading chain stands, whichever came first (decision 55).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, TypeAlias, cast

from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.overlay import Overlay
from market.credit.score import PPM
from market.orders import Side

_REPORT = b"credit/violations/"

_NO_TRADE = -1

_Row: TypeAlias = tuple[int, int, int, int, int, int | None, int, int, int, int]  # a `Violation` in the state
_Value: TypeAlias = tuple[tuple[int, ...], tuple[_Row, ...]]


class Kind(IntEnum):
    """The ways to violate what was agreed, by which they are counted."""

    OVER_DELIVERY = 0
    UNDER_DELIVERY = 1
    MISSING_READING = 2
    SECOND_TARGET = 3

    @property
    def label(self) -> str:
        """The kind as it is told of: "over-delivery"."""
        return _LABELS[self]


_LABELS = tuple([kind.name.lower().replace("_", "-") for kind in Kind])


class Delivery(NamedTuple):
    """One side of a trade: the volume agreed and what was metered of it (Wh), None where the meter was not heard."""

    period: int
    trade_index: int
    side: Side
    agreed_wh: int
    metered_wh: int | None


class Violation(NamedTuple):
    """A record: the block of the credit chain says since when it is what it is.

    `trade_index` and `side` are None of what is no delivery, and nothing was agreed of that. `revision` is 0 until a
    correction has changed it, and then by which of them, counted from 1.
    """

    period: int
    trade_index: int | None
    side: Side | None
    kind: Kind
    agreed_wh: int
    metered_wh: int | None
    height: int
    time_ms: int
    revision: int = 0
    is_withdrawn: bool = False

    def to_row(self) -> _Row:
        """A row whose first three fields say what it is about; newer ones are greater."""
        period, trade_index, side, kind, agreed_wh, metered_wh, height, time_ms, revision, is_withdrawn = self
        of_trade = (_NO_TRADE, _NO_TRADE) if trade_index is None or side is None else (trade_index, int(side))
        return (period, *of_trade, int(kind), agreed_wh, metered_wh, height, time_ms, revision, int(is_withdrawn))

    @classmethod
    def from_row(cls, row: _Row) -> Violation:
        period, trade_index, side, kind, agreed_wh, metered_wh, height, time_ms, revision, is_withdrawn = row
        is_delivery = trade_index != _NO_TRADE
        return cls(
            period=period,
            trade_index=trade_index if is_delivery else None,
            side=Side(side) if is_delivery else None,
            kind=Kind(kind),
            agreed_wh=agreed_wh,
            metered_wh=metered_wh,
            height=height,
            time_ms=time_ms,
            revision=revision,
            is_withdrawn=bool(is_withdrawn),
        )


class Report(NamedTuple):
    """A member's violations: how many of each kind stand, and the newest of all, the newest period first.

    A count is below 0 while a correction has come before what it corrects.
    """

    counts: tuple[int, ...]
    newest: tuple[Violation, ...]


_NOTHING: _Value = ((0,) * len(Kind), ())


def find_violation(delivery: Delivery, tolerance_ppm: int) -> Kind | None:
    """The violation that a delivery is; None within tolerance, its bounds included."""
    if delivery.metered_wh is None:
        return Kind.MISSING_READING
    excess = (delivery.metered_wh - delivery.agreed_wh) * PPM
    if abs(excess) <= delivery.agreed_wh * tolerance_ppm:
        return None
    return Kind.OVER_DELIVERY if excess > 0 else Kind.UNDER_DELIVERY


def is_recording(block: BlockContext) -> bool:
    return block.params.market.recorded_violations > 0


def get_report(view: Overlay, member: Address) -> Report:
    """A member's violations, none where there never were any."""
    counts, rows = cast(_Value, view.get(_REPORT + member) or _NOTHING)
    return Report(counts, tuple(map(Violation.from_row, rows)))


def record_delivery(view: Overlay, block: BlockContext, member: Address, delivery: Delivery) -> None:
    """Record a delivery, as it is told of for the first time, where it is a violation."""
    kind = find_violation(delivery, block.params.market.tolerance_ppm)
    if is_recording(block) and kind is not None:
        _record(view, block, member, _make(block, delivery, kind), counted=(kind,))


def correct_delivery(
    view: Overlay, block: BlockContext, member: Address, before: Delivery, now: Delivery, *, revision: int
) -> None:
    """Amend the report by a delivery that has been corrected, which may have been told of or is yet to be."""
    tolerance_ppm = block.params.market.tolerance_ppm
    old, new = find_violation(before, tolerance_ppm), find_violation(now, tolerance_ppm)
    kind = old if new is None else new
    if not is_recording(block) or before == now or kind is None:
        return
    violation = _make(block, now, kind)._replace(revision=revision, is_withdrawn=new is None)
    _record(
        view, block, member, violation, counted=() if new is None else (new,), uncounted=() if old is None else (old,)
    )


def record_second_target(view: Overlay, block: BlockContext, member: Address, period: int) -> None:
    """Record that a member has committed a target for a period that had one."""
    if is_recording(block):
        kind = Kind.SECOND_TARGET
        violation = Violation(period, None, None, kind, 0, None, block.height, block.timestamp_ms)
        _record(view, block, member, violation, counted=(kind,))


def _make(block: BlockContext, delivery: Delivery, kind: Kind) -> Violation:
    period, trade_index, side, agreed_wh, metered_wh = delivery
    return Violation(period, trade_index, side, kind, agreed_wh, metered_wh, block.height, block.timestamp_ms)


def _record(
    view: Overlay,
    block: BlockContext,
    member: Address,
    violation: Violation,
    *,
    counted: tuple[Kind, ...],
    uncounted: tuple[Kind, ...] = (),
) -> None:
    """Count, and keep the record unless there is one of a later revision, or it is older than all that are kept."""
    counts, rows = cast(_Value, view.get(_REPORT + member) or _NOTHING)
    changed = list(counts)
    for kind in counted:
        changed[kind] += 1
    for kind in uncounted:
        changed[kind] -= 1
    row = violation.to_row()
    at = next((at for at, other in enumerate(rows) if other[:3] <= row[:3]), len(rows))
    known = rows[at] if at < len(rows) and rows[at][:3] == row[:3] else None
    if known is None:
        rows = (*rows[:at], row, *rows[at:])[: block.params.market.recorded_violations]
    elif Violation.from_row(known).revision <= violation.revision:
        rows = (*rows[:at], row, *rows[at + 1 :])
    view.put(_REPORT + member, (tuple(changed), rows))
    told = violation.period, violation.trade_index, member, violation.kind.label
    if violation.is_withdrawn:
        view.emit("violation-withdrawn", *told)
    else:
        view.emit("violation", *told, violation.agreed_wh, violation.metered_wh)
