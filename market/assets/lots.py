"""Lots: who holds how much of which series, one sorted row for each class and owner, oldest expiry first.

A lot is worth something while now < expiry. Nothing is done to holders as a series expires: readers pass over what has
expired, and it goes when the row is next written. Spending takes the oldest lots that may be spent, all or nothing.

Of a class whose holders are paid a series has a second row: who holds how much of it, in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias, cast

from ledger.hashing import Address, show_address
from ledger.overlay import Overlay
from market.errors import TooFewLots, TooManyHolders, TooManyLots

MAX_LOTS = 64
MAX_HOLDERS = 256

_HELD = b"asset/held/"
_HOLDERS = b"asset/holders/"


class Lot(NamedTuple):
    """So much of a series; lots sort by (expiry, series)."""

    expiry: int
    series: int
    amount: int


Lots: TypeAlias = tuple[tuple[int, int, int], ...]
Holders: TypeAlias = tuple[tuple[Address, int], ...]
MaySpend: TypeAlias = Callable[[int], bool]  # of a series, by its number


# --- rows ----------------------------------------------------------------------------------------


def drop_expired(lots: Lots, now: int) -> Lots:
    """The lots that are worth something."""
    if not lots or lots[0][0] > now:
        return lots
    return tuple([lot for lot in lots if lot[0] > now])


def add_lot(lots: Lots, lot: Lot, owner: Address) -> Lots:
    """The lots with this one, joined with what there is of its series. Raises `TooManyLots`."""
    expiry, series, amount = lot
    for place, (_, other, have) in enumerate(lots):
        if other == series:
            return (*lots[:place], (expiry, series, have + amount), *lots[place + 1 :])
    if len(lots) >= MAX_LOTS:
        raise TooManyLots(owner=show_address(owner), limit=MAX_LOTS)
    return tuple(sorted((*lots, (expiry, series, amount))))


def take_lots(lots: Lots, amount: int, may_spend: MaySpend | None = None) -> tuple[list[Lot], Lots]:
    """Take so much of the oldest lots that may be spent; what was taken, and what is left.

    A lot that may not be is passed over and keeps its place. Raises `TooFewLots`.
    """
    taken: list[Lot] = []
    left: list[tuple[int, int, int]] = []
    missing = amount
    for place, (expiry, series, have) in enumerate(lots):
        if not missing:
            left += lots[place:]
            break
        if may_spend is not None and not may_spend(series):
            left.append((expiry, series, have))
            continue
        part = min(have, missing)
        taken.append(Lot(expiry, series, part))
        if part < have:
            left.append((expiry, series, have - part))
        missing -= part
    if missing:
        raise TooFewLots(have=amount - missing, want=amount)
    return taken, tuple(left)


# --- in the state --------------------------------------------------------------------------------


def get_lots(view: Overlay, asset_class: str, owner: Address, now: int) -> Lots:
    """The lots that an owner has of a class and that are worth something in period `now`, oldest expiry first."""
    return drop_expired(cast(Lots, view.get(held_key(asset_class, owner)) or ()), now)


def has_place(view: Overlay, asset_class: str, owner: Address, series: int, now: int) -> bool:
    """Return True if an owner can be given of a series."""
    held = get_lots(view, asset_class, owner, now)
    return len(held) < MAX_LOTS or any(lot[1] == series for lot in held)


def give(view: Overlay, asset_class: str, owner: Address, lots: Iterable[Lot], now: int) -> None:
    """Give lots to an owner. Raises `TooManyLots`."""
    held = get_lots(view, asset_class, owner, now)
    for lot in lots:
        held = add_lot(held, lot, owner)
    _put(view, asset_class, owner, held)


def take(
    view: Overlay, asset_class: str, owner: Address, amount: int, now: int, may_spend: MaySpend | None = None
) -> list[Lot]:
    """Take so much from an owner, of its oldest lots that may be spent. Raises `TooFewLots`."""
    taken, left = take_lots(get_lots(view, asset_class, owner, now), amount, may_spend)
    _put(view, asset_class, owner, left)
    return taken


def strip(view: Overlay, asset_class: str, owner: Address, series: int, now: int) -> None:
    """Take all that an owner has of a series; nothing where it has none."""
    held = get_lots(view, asset_class, owner, now)
    _put(view, asset_class, owner, tuple([lot for lot in held if lot[1] != series]))


def _put(view: Overlay, asset_class: str, owner: Address, lots: Lots) -> None:
    if lots:
        view.put(held_key(asset_class, owner), lots)
    else:
        view.delete(held_key(asset_class, owner))


def held_key(asset_class: str, owner: Address) -> bytes:
    """The state key of an owner's lots, for proofs."""
    return _HELD + asset_class.encode() + b"/" + owner


# --- who is paid ---------------------------------------------------------------------------------


def get_holders(view: Overlay, series: int) -> Holders:
    """The holders of a series, and how much each holds, in the order in which they came to."""
    return cast(Holders, view.get(holders_key(series)) or ())


def shift(view: Overlay, series: int, owner: Address, change: int) -> None:
    """Count so much more, or less, for a holder; one with nothing is none. Raises `TooManyHolders`."""
    holders = dict(get_holders(view, series))
    holders[owner] = holders.get(owner, 0) + change
    assert holders[owner] >= 0, (series, owner, change)
    if not holders[owner]:
        del holders[owner]
    if len(holders) > MAX_HOLDERS:
        raise TooManyHolders(series=series, limit=MAX_HOLDERS)
    put_holders(view, series, holders.items())


def put_holders(view: Overlay, series: int, holders: Iterable[tuple[Address, int]]) -> None:
    """Put down who holds how much, without those who hold nothing."""
    left = tuple([holder for holder in holders if holder[1]])
    if left:
        view.put(holders_key(series), left)
    else:
        drop_holders(view, series)


def drop_holders(view: Overlay, series: int) -> None:
    view.delete(holders_key(series))


def holders_key(series: int) -> bytes:
    """The state key of a series' holders, for proofs."""
    return _HOLDERS + series.to_bytes(8, "big")
