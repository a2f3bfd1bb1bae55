"""Meter readings of each delivery period, in ledger state from their arrival until the period is settled.

Readings form a chain, each naming the meter read before it, so that all are found without a list that grows. A
trading chain beside a scheduling chain takes no readings from devices: it hears of them all in one message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from ledger.accounts import require_member
from ledger.codec import Value, expect_array, expect_bytes, expect_int
from ledger.errors import DuplicateReading, ImplausibleReading, NotADevice
from ledger.hashing import ADDRESS_SIZE, Address, show_address
from ledger.overlay import Overlay
from ledger.transaction import Transaction

MAX_ENERGY_WH = 10**11  # 100 GWh in one period is more than any plant; amounts of money stay far below 2**63
PLAUSIBLE_CAPACITIES = 10  # a reading beyond so many times the registered capacity is a broken meter

_LAST = b"market/metered/"
_READING = b"market/reading/"


class Reading(NamedTuple):
    """What the meter of `owner` counted in one delivery period."""

    owner: Address
    consumed_wh: int
    produced_wh: int


def read_meter(view: Overlay, transaction: Transaction, check_time: Callable[[int], None]) -> tuple[int, Reading]:
    """Record what `reading [period, consumed_wh, produced_wh]` of a device says of its owner; the period, and that.

    `check_time` raises where the period takes no readings now. Raises that, `WrongShape`, `NotADevice`,
    `ImplausibleReading` or `DuplicateReading`.
    """
    fields = expect_array(transaction.payload, 3, "reading")
    period = expect_int(fields[0], "period")
    consumed_wh, produced_wh = expect_int(fields[1], "consumption"), expect_int(fields[2], "output")
    device = require_member(view, transaction.sender)
    if device.role != "device":
        raise NotADevice(role=device.role)
    check_time(period)
    capacity_wh = require_member(view, device.owner).capacity_wh
    limit_wh = min(PLAUSIBLE_CAPACITIES * capacity_wh, MAX_ENERGY_WH)
    if max(consumed_wh, produced_wh) > limit_wh:
        raise ImplausibleReading(actual=max(consumed_wh, produced_wh), limit=limit_wh)
    reading = Reading(device.owner, consumed_wh, produced_wh)
    add_reading(view, period, reading)
    return period, reading


def add_reading(view: Overlay, period: int, reading: Reading) -> None:
    """Record a reading. Raises `DuplicateReading`."""
    key = _reading_key(period, reading.owner)
    if view.get(key) is not None:
        raise DuplicateReading(period=period, owner=show_address(reading.owner))
    last = view.get(_last_key(period)) or b""
    view.put(key, (reading.consumed_wh, reading.produced_wh, last))
    view.put(_last_key(period), reading.owner)


def get_readings(view: Overlay, period: int) -> list[Reading]:
    """A period's readings in order of arrival; none once it is settled."""
    readings = []
    owner = cast(bytes, view.get(_last_key(period)) or b"")
    while owner:
        value = view.get(_reading_key(period, owner))
        consumed_wh, produced_wh, previous = cast(tuple[int, int, bytes], value)
        readings.append(Reading(owner, consumed_wh, produced_wh))
        owner = previous
    readings.reverse()
    return readings


def take_readings(view: Overlay, period: int) -> list[Reading]:
    """A period's readings in order of arrival, deleted from the state."""
    readings = get_readings(view, period)
    for reading in readings:
        view.delete(_reading_key(period, reading.owner))
    if readings:
        view.delete(_last_key(period))
    return readings


def parse_reading(view: Overlay, row: Value) -> Reading:
    """A row (owner address, consumed_wh, produced_wh) of `metered`. Raises `WrongShape` or `UnknownMember`."""
    owner, consumed, produced = expect_array(row, 3, "metered row")
    address = expect_bytes(owner, "meter's owner", size=ADDRESS_SIZE)
    require_member(view, address)
    return Reading(
        address,
        expect_int(consumed, "consumption", high=MAX_ENERGY_WH),
        expect_int(produced, "output", high=MAX_ENERGY_WH),
    )


def check_distinct(readings: Sequence[Reading], period: int) -> None:
    """Raise `DuplicateReading` where a meter is read twice."""
    owners = set()
    for reading in readings:
        if reading.owner in owners:
            raise DuplicateReading(period=period, owner=show_address(reading.owner))
        owners.add(reading.owner)


def _last_key(period: int) -> bytes:
    return _LAST + period.to_bytes(8, "big")


def _reading_key(period: int, owner: Address) -> bytes:
    return _READING + period.to_bytes(8, "big") + owner
