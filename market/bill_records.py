"""Bills in ledger state: one row for each member that paid for energy of a period, and how they are found.

The rows of a period form a chain, each naming the member before it, so that they are dropped by shares once the period
is no longer kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from ledger.hashing import Address
from ledger.overlay import Overlay
from market.trading.backlog import Backlog

_BILL = b"bill/of/"
_LAST = b"bill/last/"
_FORGOTTEN = b"bill/forgotten"


class Bill(NamedTuple):
    """The energy (Wh) that a member has paid for in a period, what it paid (µ¥), and who shares in that."""

    energy_wh: int = 0
    paid_uyuan: int = 0
    producer_uyuan: int = 0
    transmission_uyuan: int = 0
    distribution_uyuan: int = 0
    tax_uyuan: int = 0
    previous: Address = b""

    @property
    def parts(self) -> dict[str, int]:
        """The shares in what was paid (µ¥), by name."""
        return dict(zip(("producer", "transmission", "distribution", "tax"), self[2:6], strict=True))


def get_bill(view: Overlay, period: int, member: Address) -> Bill | None:
    """A member's bill of a period; None where it has paid nothing, or the period is no longer kept."""
    value = view.get(bill_key(period, member))
    return None if value is None else Bill._make(cast(tuple[int, int, int, int, int, int, bytes], value))


def put_bill(view: Overlay, period: int, member: Address, bill: Bill) -> None:
    """Put a bill down, as the last of its period where it is a new one."""
    if view.get(bill_key(period, member)) is None:
        bill = bill._replace(previous=_get_last(view, period))
        view.put(_last_key(period), member)
    view.put(bill_key(period, member), tuple(bill))


def walk_bills(view: Overlay, period: int) -> Iterator[tuple[Address, Bill]]:
    """The bills of a period by member, the last one first."""
    member = _get_last(view, period)
    while member:
        bill = get_bill(view, period, member)
        assert bill is not None, member
        yield member, bill
        member = bill.previous


# --- forgetting ----------------------------------------------------------------------------------


def forget_bills(view: Overlay, period: int) -> None:
    """Have the bills of a period that is no longer kept dropped by the blocks to come."""
    if _get_last(view, period):
        FORGOTTEN_BILLS.add(view, period)


def drop_last_bill(view: Overlay, period: int) -> int:
    """Drop the last bill of a period: 1, and 0 where there is none."""
    member = _get_last(view, period)
    if not member:
        view.delete(_last_key(period))
        return 0
    bill = get_bill(view, period, member)
    assert bill is not None, member
    view.delete(bill_key(period, member))
    view.put(_last_key(period), bill.previous)
    return 1


FORGOTTEN_BILLS = Backlog(_FORGOTTEN, drop_last_bill)


def _get_last(view: Overlay, period: int) -> Address:
    return cast(bytes, view.get(_last_key(period)) or b"")


def bill_key(period: int, member: Address) -> bytes:
    """The state key of a bill, for proofs."""
    return _BILL + period.to_bytes(8, "big") + member


def _last_key(period: int) -> bytes:
    return _LAST + period.to_bytes(8, "big")
