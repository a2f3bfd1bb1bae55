"""Claims in ledger state: what is promised of each period, by whom, and what of it was served.

A producer's claim on a period is one series; those of a period form a chain. Once the period is settled, each series
has its rows, and each member what it has received and delivered by claims: so much of its meter is accounted for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

from ledger.hashing import Address
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.assets.series import Series, drop_series, get_head, get_series, walk_series
from market.metering import Reading, get_energy

CLAIM = "claim"

_OF = b"claim/of/"
_LAST = b"claim/last/"
_LINE = b"claim/line/"
_ENERGY = b"claim/energy/"
_ROWS = b"claim/rows/"


class Served(NamedTuple):
    """The end of one holder's part of a claim: it adds up to what was held."""

    series: int
    producer: Address
    holder: Address
    redeemed_wh: int
    short_wh: int
    cancelled_wh: int
    penalty_uyuan: int  # the producer pays the holder
    wheeling_uyuan: int = 0  # the holder pays the grid company

    @property
    def held_wh(self) -> int:
        return self.redeemed_wh + self.short_wh + self.cancelled_wh


# --- promised ------------------------------------------------------------------------------------


def get_claim(view: Overlay, period: int, producer: Address) -> int:
    """The number of the series that a producer has issued of a period, 0 where it has none."""
    return cast(int, view.get(claim_key(period, producer)) or 0)


def put_claim(view: Overlay, period: int, producer: Address, number: int) -> None:
    view.put(claim_key(period, producer), number)


def get_promised_wh(view: Overlay, period: int, producer: Address) -> int:
    """The Wh of a period that a producer has promised by claims."""
    series = get_series(view, get_claim(view, period, producer))
    return 0 if series is None else series.live


def get_promised_on(view: Overlay, period: int, line: str) -> int:
    """The Wh of a period that all producers on a line have promised, where lines have quotas."""
    return cast(int, view.get(_line_key(period, line)) or 0)


def promise_on(view: Overlay, period: int, line: str, change_wh: int) -> None:
    """Count so much more, or less, as promised on a line."""
    promised_wh = get_promised_on(view, period, line) + change_wh
    if promised_wh:
        view.put(_line_key(period, line), promised_wh)
    else:
        view.delete(_line_key(period, line))


def walk_claims(view: Overlay, period: int) -> Iterator[tuple[int, Series]]:
    """All claims on a period, the last issued first."""
    return walk_series(view, last_claim_key(period))


# --- served --------------------------------------------------------------------------------------


def get_served(view: Overlay, series: int) -> list[Served]:
    """The rows of a claim, by holder; none until its period is settled."""
    rows = cast(tuple[tuple[int, ...], ...], view.get(_rows_key(series)) or ())
    return [Served._make(row) for row in rows]


def put_served(view: Overlay, period: int, series: int, rows: Sequence[Served]) -> None:
    """Keep what became of a claim, and count it for its members' meters."""
    view.put(_rows_key(series), tuple([row[:] for row in rows]))
    for row in rows:
        if row.redeemed_wh:
            _count(view, period, row.holder, row.redeemed_wh, 0)
            _count(view, period, row.producer, 0, row.redeemed_wh)


def get_net_energy(view: Overlay, params: MarketParams, period: int, owner: Address) -> tuple[int, int] | None:
    """A meter's reading (consumed and produced, Wh) less what claims account for; None where it was not heard."""
    energy = get_energy(view, period, owner)
    if energy is None or not params.economy:
        return energy
    return subtract_claims(energy, *_get_counted(view, period, owner))


def get_net_readings(view: Overlay, params: MarketParams, period: int, readings: Iterable[Reading]) -> list[Reading]:
    """The same of several readings."""
    if not params.economy:
        return list(readings)
    return [Reading(owner, *subtract_claims(energy, *_get_counted(view, period, owner))) for owner, *energy in readings]


def subtract_claims(energy: Iterable[int], received_wh: int, delivered_wh: int) -> tuple[int, int]:
    """Consumption and output (Wh) without what was received and delivered by claims.

    Whoever received more than it has taken has the rest to feed in, whoever delivered more than it has made (a
    correction may say so) has the rest to buy: consumption less output changes by what was received less delivered.
    """
    consumed_wh, produced_wh = energy
    left_wh, surplus_wh = consumed_wh - received_wh, produced_wh - delivered_wh
    return max(0, left_wh) + max(0, -surplus_wh), max(0, surplus_wh) + max(0, -left_wh)


def _count(view: Overlay, period: int, owner: Address, received_wh: int, delivered_wh: int) -> None:
    received, delivered = _get_counted(view, period, owner)
    view.put(_energy_key(period, owner), (received + received_wh, delivered + delivered_wh))


def _get_counted(view: Overlay, period: int, owner: Address) -> tuple[int, int]:
    return cast(tuple[int, int], view.get(_energy_key(period, owner)) or (0, 0))


# --- forgotten -----------------------------------------------------------------------------------


def drop_last_claim(view: Overlay, period: int) -> int:
    """Forget the last claim on a period that is no longer kept; how many rows it had, and 0 where there is none."""
    number = get_head(view, last_claim_key(period))
    series = get_series(view, number)
    if series is None:
        return 0
    rows = get_served(view, number)
    for owner in (series.issuer, *(row.holder for row in rows)):
        view.delete(_energy_key(period, owner))
    _, line, _ = series.attributes
    view.delete(_line_key(period, cast(str, line)))
    view.delete(_rows_key(number))
    view.delete(claim_key(period, series.issuer))
    drop_series(view, number)
    if series.previous:
        view.put(last_claim_key(period), series.previous)
    else:
        view.delete(last_claim_key(period))
    return 1 + len(rows)


def claim_key(period: int, producer: Address) -> bytes:
    """The state key of the number of a producer's claim on a period."""
    return _OF + period.to_bytes(8, "big") + producer


def last_claim_key(period: int) -> bytes:
    """The head of the chain of a period's claims."""
    return _LAST + period.to_bytes(8, "big")


def _line_key(period: int, line: str) -> bytes:
    return _LINE + period.to_bytes(8, "big") + line.encode()


def _energy_key(period: int, owner: Address) -> bytes:
    return _ENERGY + period.to_bytes(8, "big") + owner


def _rows_key(series: int) -> bytes:
    return _ROWS + series.to_bytes(8, "big")
