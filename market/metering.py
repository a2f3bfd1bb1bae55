"""Meter readings of each delivery period, in ledger state as long as the period's other records.

A meter's word on a period is a `reading`, what it counted in it, or a `register`, what its counters stood at when it
ended; two registers in a row make a reading. Words come late, twice and wrong: the latest stands, an equal one is
refused as a duplicate, and after `MAX_CORRECTIONS` others the meter is not heard any more on that period. What changes
once the period is settled is marked, for the contract that settles the difference (decision 32).

The words on a period form a chain, each naming the meter heard before it, so that all are found without a list that
grows. A trading chain beside a scheduling chain hears no devices, but what that chain makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, cast

from ledger.accounts import Member, check_member, require_member
from ledger.codec import Value, expect_array, expect_bytes, expect_int
from ledger.hashing import ADDRESS_SIZE, Address, show_address
from ledger.overlay import Overlay
from ledger.params import MarketParams
from ledger.transaction import Transaction
from market.credit.score import PPM
from market.errors import (
    DuplicateReading,
    ImplausibleReading,
    NotADevice,
    OutputNotAllowed,
    RegisterTurnedBack,
    TooManyCorrections,
)
from market.roles import Act, may

MAX_ENERGY_WH = 10**11  # 100 GWh in one period is more than any plant; amounts of money stay far below 2**63
MAX_REGISTER_WH = 10**15
MAX_CORRECTIONS = 3  # per meter and period

_LAST = b"market/metered/"
_READING = b"market/reading/"
_CORRECTED = b"market/corrected"

_Energy: TypeAlias = tuple[int, int]  # consumed and produced, Wh
_Row: TypeAlias = tuple[_Energy | None, _Energy | None, int, int, int, bytes]  # a `_Record` in the state


class Reading(NamedTuple):
    """One delivery period's reading of the meter of `owner`."""

    owner: Address
    consumed_wh: int
    produced_wh: int


class Corrected(NamedTuple):
    """A reading that came, or changed, after its period was closed; of two the one with the higher revision stands."""

    period: int
    owner: Address
    consumed_wh: int
    produced_wh: int
    revision: int

    @classmethod
    def from_value(cls, view: Overlay, row: Value) -> Corrected:
        """Raises `WrongShape` or `UnknownMember`."""
        period, owner, consumed, produced, revision = expect_array(row, 5, "corrected row")
        reading = parse_reading(view, (owner, consumed, produced))
        return cls(expect_int(period, "period"), *reading, expect_int(revision, "revision"))


class Meter(NamedTuple):
    """All that is told of one meter of a period; `is_pending` where its reading has changed since it was settled."""

    owner: Address
    energy: _Energy | None
    revision: int
    is_pending: bool

    @property
    def reading(self) -> Reading | None:
        return None if self.energy is None else Reading(self.owner, *self.energy)


class _Record(NamedTuple):
    """All that is known from one meter of one period."""

    reading: _Energy | None = None
    register: _Energy | None = None
    words: int = 0
    revision: int = 0  # how often the reading has changed
    is_pending: int = 0  # it has changed since the difference was last settled
    previous: Address = b""  # the owner whose meter was heard before

    def describe(self, owner: Address) -> Meter:
        return Meter(owner, self.reading, self.revision, bool(self.is_pending))


class Clock(NamedTuple):
    """A chain's clock for a period's meters: `check` raises where no reading may come now."""

    check: Callable[[int], None]
    is_closed: Callable[[int], bool]


# --- what devices say ----------------------------------------------------------------------------


def read_meter(view: Overlay, transaction: Transaction, params: MarketParams, clock: Clock) -> list[Corrected]:
    """Take `reading [period, consumed_wh, produced_wh]` of a device; what its owner's reading is now.

    Raises what the clock does, `WrongShape`, `NotADevice`, `DuplicateReading`, `TooManyCorrections`, `OutputNotAllowed`
    or `ImplausibleReading`.
    """
    period, energy, owner = _parse(view, transaction, clock, high=2**63 - 1)
    member, record = require_member(view, owner), _get(view, period, owner)
    record = _hear(record, is_same=energy == record.reading, period=period, owner=owner)
    return [_set_reading(view, period, owner, member, record, energy, params, clock)]


def read_register(view: Overlay, transaction: Transaction, params: MarketParams, clock: Clock) -> list[Corrected]:
    """Take `register [period, consumed_wh, produced_wh]` of a device: its counters as the period ended.

    The readings that follow from it: of this period where the register before is known, and of the next where that
    one's is. Raises what `read_meter` does, or `RegisterTurnedBack`.
    """
    period, energy, owner = _parse(view, transaction, clock, high=MAX_REGISTER_WH)
    member, record = require_member(view, owner), _get(view, period, owner)
    before, after = _get(view, period - 1, owner).register if period else None, _get(view, period + 1, owner)
    record = _hear(record, is_same=energy == record.register, period=period, owner=owner)._replace(register=energy)
    _put(view, period, owner, record)
    found = []
    if before is not None:
        found.append(_set_reading(view, period, owner, member, record, _subtract(energy, before), params, clock))
    if after.register is not None:
        counted = _subtract(after.register, energy)
        found.append(_set_reading(view, period + 1, owner, member, after, counted, params, clock))
    return found


def announce_register(view: Overlay, transaction: Transaction) -> int:
    """Tell subscribers of a register that was taken: period, owner, consumed, produced. Its period."""
    period, *energy = cast(tuple[int, int, int], transaction.payload)
    view.emit("register", period, require_member(view, transaction.sender).owner, *energy)
    return period


def _parse(view: Overlay, transaction: Transaction, clock: Clock, *, high: int) -> tuple[int, _Energy, Address]:
    fields = expect_array(transaction.payload, 3, transaction.kind)
    period = expect_int(fields[0], "period")
    energy = expect_int(fields[1], "consumption", high=high), expect_int(fields[2], "output", high=high)
    device = require_member(view, transaction.sender)
    if not may(device.role, Act.READ):
        raise NotADevice(role=device.role)
    clock.check(period)
    return period, energy, device.owner


def _hear(record: _Record, *, is_same: bool, period: int, owner: Address) -> _Record:
    if is_same:
        raise DuplicateReading(period=period, owner=show_address(owner))
    if record.words > MAX_CORRECTIONS:
        raise TooManyCorrections(period=period, owner=show_address(owner), limit=MAX_CORRECTIONS)
    return record._replace(words=record.words + 1)


def _set_reading(
    view: Overlay,
    period: int,
    owner: Address,
    member: Member,
    record: _Record,
    energy: _Energy,
    params: MarketParams,
    clock: Clock,
) -> Corrected:
    """Make this the meter's reading of the period, marked where the period is closed."""
    _check_plausible(member, energy, params)
    revision = record.revision + (record.reading is not None)
    _put(view, period, owner, record._replace(reading=energy, revision=revision))
    if clock.is_closed(period):
        mark_corrected(view, period, owner)
    return Corrected(period, owner, *energy, revision)


def _check_plausible(owner: Member, energy: _Energy, params: MarketParams) -> None:
    """Raise unless a member with output is a generator, and no energy is much above its registered capacity."""
    if energy[1] and not may(owner.role, Act.GENERATE):
        raise OutputNotAllowed(role=owner.role, actual=energy[1])
    limit_wh = min(owner.capacity_wh * params.plausible_ppm // PPM, MAX_ENERGY_WH)
    if max(energy) > limit_wh:
        raise ImplausibleReading(actual=max(energy), limit=limit_wh)


def _subtract(register: _Energy, before: _Energy) -> _Energy:
    for now_wh, then_wh in zip(register, before, strict=True):
        if now_wh < then_wh:
            raise RegisterTurnedBack(actual=now_wh, before=then_wh)
    return register[0] - before[0], register[1] - before[1]


# --- what another chain says of them -------------------------------------------------------------


def parse_reading(view: Overlay, row: Value) -> Reading:
    """A row (owner address, consumed_wh, produced_wh) of `metered`. Raises `WrongShape` or `UnknownMember`."""
    owner, consumed, produced = expect_array(row, 3, "metered row")
    address = expect_bytes(owner, "meter's owner", size=ADDRESS_SIZE)
    check_member(view, address)
    consumed_wh = expect_int(consumed, "consumption", high=MAX_ENERGY_WH)
    return Reading(address, consumed_wh, expect_int(produced, "output", high=MAX_ENERGY_WH))


def take_part(view: Overlay, period: int, readings: Iterable[Reading]) -> None:
    """Keep readings that are told of a period for the first time, as `add_reading` does, and in their order.

    A meter of which a later word has come stays as it is. Raises `DuplicateReading` for one that was told before.
    """
    last = previous = get_last_meter(view, period)
    prefix = _reading_key(period, b"")
    for owner, consumed_wh, produced_wh in readings:
        key = prefix + owner
        if view.get(key) is None:
            view.put(key, ((consumed_wh, produced_wh), None, 0, 0, 0, previous))
            previous = owner
            continue
        known = _get(view, period, owner)
        if known.reading is not None and not known.revision:
            raise DuplicateReading(period=period, owner=show_address(owner))
        add_reading(view, Corrected(period, owner, consumed_wh, produced_wh, revision=0))
    if previous != last:
        view.put(_last_key(period), previous)


def check_distinct(readings: Sequence[Reading], period: int) -> None:
    """Raise `DuplicateReading` where a meter is read twice."""
    if len({reading.owner for reading in readings}) == len(readings):
        return
    owners = set()
    for reading in readings:
        if reading.owner in owners:
            raise DuplicateReading(period=period, owner=show_address(reading.owner))
        owners.add(reading.owner)


def add_reading(view: Overlay, row: Corrected) -> bool:
    """Keep a reading, unless the meter's is of this revision or a higher one; whether it was kept."""
    known = _get(view, row.period, row.owner)
    if known.reading is not None and row.revision <= known.revision:
        return False
    energy = row.consumed_wh, row.produced_wh
    _put(view, row.period, row.owner, known._replace(reading=energy, revision=row.revision))
    return True


# --- what they have said -------------------------------------------------------------------------


def get_readings(view: Overlay, period: int) -> list[Reading]:
    """A period's readings by the order in which its meters were first heard; none once it is long over."""
    found = [Reading(owner, *record.reading) for owner, record in _iterate(view, period) if record.reading]
    found.reverse()
    return found


def get_meter(view: Overlay, period: int, owner: Address) -> Meter:
    """One meter of a period, as far as it is known."""
    return _get(view, period, owner).describe(owner)


def get_reading(view: Overlay, period: int, owner: Address) -> Reading | None:
    """One meter's reading of a period; None where it was not heard."""
    return get_meter(view, period, owner).reading


def has_reading(view: Overlay, period: int) -> bool:
    """Return True if any reading came of the period."""
    return any(record.reading for _, record in _iterate(view, period))


def get_energy(view: Overlay, period: int, owner: Address) -> _Energy | None:
    """The Wh that one meter's reading of a period says were consumed and produced; None where it was not heard."""
    value = view.get(_reading_key(period, owner))
    return None if value is None else cast(_Row, value)[0]


def get_last_meter(view: Overlay, period: int) -> Address:
    """The owner of the meter heard last, empty where none was; the others follow in `walk_meters`."""
    return cast(bytes, view.get(_last_key(period)) or b"")


def walk_meters(view: Overlay, period: int, owner: Address, limit: int | None) -> tuple[list[Meter], Address]:
    """Up to `limit` meters from this one on, each heard before the one ahead of it; and whose comes next."""
    found: list[Meter] = []
    while owner and (limit is None or len(found) < limit):
        record = _get(view, period, owner)
        found.append(record.describe(owner))
        owner = record.previous
    return found, owner


def walk_energy(view: Overlay, period: int, owner: Address, limit: int | None) -> tuple[int, list[Reading], Address]:
    """Up to `limit` meters as `walk_meters` has them: how many they are, the readings of those that have one, the next.

    For where they are many, and nothing else is asked of them.
    """
    count, found, prefix = 0, [], _reading_key(period, b"")
    while owner and count != limit:
        energy, _, _, _, _, previous = cast(_Row, view.get(prefix + owner))
        if energy is not None:
            found.append(Reading(owner, *energy))
        owner, count = previous, count + 1
    return count, found, owner


def is_heard(view: Overlay, period: int) -> bool:
    """Return True if any meter was heard of the period."""
    return view.get(_last_key(period)) is not None


def drop_readings(view: Overlay, period: int, limit: int | None = None) -> int:
    """Forget what was said of a period, of up to `limit` meters; of how many it was."""
    meters, owner = walk_meters(view, period, get_last_meter(view, period), limit)
    for meter in meters:
        view.delete(_reading_key(period, meter.owner))
    if owner:
        view.put(_last_key(period), owner)
    else:
        view.delete(_last_key(period))
    return len(meters)


# --- what has changed since it was settled -------------------------------------------------------


def mark_corrected(view: Overlay, period: int, owner: Address) -> None:
    """Remember that a reading changed after its period was closed."""
    _put(view, period, owner, _get(view, period, owner)._replace(is_pending=1))
    periods = get_corrected_periods(view)
    if period not in periods:
        view.put(_CORRECTED, tuple(sorted((*periods, period))))


def take_corrected(view: Overlay) -> dict[int, list[Corrected]]:
    """Take the readings marked since the last call, by period; none of them is marked any more."""
    found = {}
    for period in get_corrected_periods(view):
        meters, _ = walk_meters(view, period, get_last_meter(view, period), None)
        found[period] = take_marked(view, period, meters)
    if found:
        view.delete(_CORRECTED)
    return found


def take_marked(view: Overlay, period: int, meters: Iterable[Meter]) -> list[Corrected]:
    """The readings of those that are marked, in their order; none of them is marked any more."""
    found = [
        Corrected(period, meter.owner, *meter.energy, meter.revision)
        for meter in meters
        if meter.is_pending and meter.energy
    ]
    for row in found:
        _put(view, period, row.owner, _get(view, period, row.owner)._replace(is_pending=0))
    return found


def get_corrected_periods(view: Overlay) -> tuple[int, ...]:
    """The periods of which a reading is marked, ascending."""
    return cast(tuple[int, ...], view.get(_CORRECTED) or ())


def drop_corrected_period(view: Overlay, period: int) -> None:
    """Take a period off that list."""
    left = tuple([other for other in get_corrected_periods(view) if other != period])
    if left:
        view.put(_CORRECTED, left)
    else:
        view.delete(_CORRECTED)


# --- in the state --------------------------------------------------------------------------------


def _iterate(view: Overlay, period: int) -> Iterator[tuple[Address, _Record]]:
    """The meters heard, the last of them first."""
    owner = cast(bytes, view.get(_last_key(period)) or b"")
    while owner:
        record = _get(view, period, owner)
        yield owner, record
        owner = record.previous


def _get(view: Overlay, period: int, owner: Address) -> _Record:
    value = view.get(_reading_key(period, owner))
    return _Record() if value is None else _Record._make(cast(_Row, value))


def _put(view: Overlay, period: int, owner: Address, record: _Record) -> None:
    """Keep a record; its place in the chain is the one that it has, or the last."""
    key = _reading_key(period, owner)
    if view.get(key) is None:
        previous = cast(bytes, view.get(_last_key(period)) or b"")
        view.put(_last_key(period), owner)
    else:
        previous = _get(view, period, owner).previous
    view.put(key, tuple(record._replace(previous=previous)))


def _last_key(period: int) -> bytes:
    return _LAST + period.to_bytes(8, "big")


def _reading_key(period: int, owner: Address) -> bytes:
    return _READING + period.to_bytes(8, "big") + owner
