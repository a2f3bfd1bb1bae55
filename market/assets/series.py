"""Series: what was issued of an asset, by whom, with which attributes and until when; who holds it is `lots.py`'s.

The class of a series names the policy that it lives by. Its counters keep `issued = live + spent + expired`: a series
ends once nothing of it is live, and a timed one in a single step at its expiry, however many hold it.

Series form chains, each naming the one before it under the same head, so that all are found without a list that grows.
Times are periods, and a timed series ends with a day of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from ledger.codec import Value
from ledger.hashing import Address
from ledger.overlay import Overlay
from market.errors import TooMuchIssued, UnknownSeries

DAY = 24  # periods
MAX_AMOUNT = 10**12  # of one act: Wh, units of a currency, µ¥ of a note
MAX_ISSUED = 10**15  # of a series in all

_SERIES = b"asset/series/"
_DUE = b"asset/due/"
_LAST = b"asset/last"
_new_tuple = tuple.__new__


class Series(NamedTuple):
    """One series; amounts are in what its class counts in. `previous` is the series before it in its chain, 0: none."""

    asset_class: str
    issuer: Address
    attributes: tuple[Value, ...]
    expiry: int  # the period from which on it is worth nothing
    issued: int = 0
    live: int = 0
    spent: int = 0
    expired: int = 0
    previous: int = 0


def end_of_day(period: int) -> int:
    """The first end of a day of periods that is not before this one begins."""
    return -(-period // DAY) * DAY


def get_series(view: Overlay, number: int) -> Series | None:
    """A series by its number; None where there is none, or none any more."""
    value = view.get(series_key(number))
    return None if value is None else _new_tuple(Series, cast(tuple[Value, ...], value))


def require_series(view: Overlay, number: int, asset_class: str) -> Series:
    """Raises `UnknownSeries`."""
    series = get_series(view, number)
    if series is None or series.asset_class != asset_class:
        raise UnknownSeries(asset_class=asset_class, series=number)
    return series


def add_series(view: Overlay, head: bytes, series: Series) -> int:
    """Begin a series, the last of the chain under `head`; its number. Numbers count from 1 in order of issue."""
    number = cast(int, view.get(_LAST) or 0) + 1
    view.put(_LAST, number)
    put_series(view, number, series._replace(previous=get_head(view, head)))
    view.put(head, number)
    return number


def put_series(view: Overlay, number: int, series: Series) -> None:
    view.put(series_key(number), tuple(series))


def drop_series(view: Overlay, number: int) -> None:
    view.delete(series_key(number))


def walk_series(view: Overlay, head: bytes) -> Iterator[tuple[int, Series]]:
    """The series of a chain with their numbers, the last one first."""
    number = get_head(view, head)
    while number:
        series = get_series(view, number)
        assert series is not None, number
        yield number, series
        number = series.previous


def get_head(view: Overlay, head: bytes) -> int:
    """The number of the last series of a chain, 0 where it has none."""
    return cast(int, view.get(head) or 0)


def issue_more(view: Overlay, number: int, amount: int) -> Series:
    """Issue so much more of a series. Raises `TooMuchIssued`."""
    series = get_series(view, number)
    assert series is not None, number
    if series.issued + amount > MAX_ISSUED:
        raise TooMuchIssued(series=number, want=series.issued + amount, limit=MAX_ISSUED)
    series = series._replace(issued=series.issued + amount, live=series.live + amount)
    put_series(view, number, series)
    return series


def spend(view: Overlay, number: int, amount: int) -> Series:
    """Count so much of a series as spent."""
    series = get_series(view, number)
    assert series is not None, number
    assert amount <= series.live, (number, series, amount)
    series = series._replace(live=series.live - amount, spent=series.spent + amount)
    put_series(view, number, series)
    return series


def expire(view: Overlay, number: int) -> int:
    """Have all expire that is live of a series; how much it was."""
    series = get_series(view, number)
    assert series is not None, number
    put_series(view, number, series._replace(live=0, expired=series.expired + series.live))
    return series.live


def series_key(number: int) -> bytes:
    """The state key of a series, for proofs."""
    return _SERIES + number.to_bytes(8, "big")


def due_key(expiry: int) -> bytes:
    """The head of the chain of timed series that end with this period."""
    return _DUE + expiry.to_bytes(8, "big")
