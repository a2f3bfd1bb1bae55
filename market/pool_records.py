"""Pools in ledger state: their terms, how they stand, the plants that are pledged to them, and when each is due.

All are bounded by what an originator may have at once; one agenda says which pool is next.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.hashing import Address
from ledger.overlay import Overlay
from market.errors import PlantPledged, UnknownPool
from market.pool_life import Status
from market.pots import pot_address
from market.waterfall import State

NOTE = "note"
SENIOR, MEZZANINE = "senior", "mezzanine"
TRANCHES = (SENIOR, MEZZANINE)
MAX_POOLS = 256  # of all originators
MAX_POOLS_EACH = 8
MAX_PLANTS = 64

_TERMS = b"pool/terms/"
_POOL = b"pool/state/"
_PLANT = b"pool/plant/"
_PLANTS = b"pool/plants/"
_OF = b"pool/of/"
_NOTES = b"pool/notes/"
_AGENDA = b"pool/agenda"
_LAST = b"pool/last"


class Terms(NamedTuple):
    """The terms of a pool, which never change: amounts in µ¥, rates a year and shares in ppm, times in periods."""

    senior_uyuan: int  # the most of each note
    mezz_uyuan: int
    fee_ppm: int
    sen_ppm: int
    mez_ppm: int
    reserve_ppm: int
    default_trigger_ppm: int
    sched_uyuan: int  # the senior principal of an ordinary date
    share_ppm: int  # what the pool gets of its plants' receipts
    start: int  # the period from which on it collects
    every: int  # from a date to the next
    dates: int
    min_age: int
    min_credit_upt: int
    min_availability_ppm: int

    @property
    def end(self) -> int:
        """The period of the last date."""
        return self.start + self.every * self.dates

    def next_date(self, period: int) -> int:
        """The first date after a period, and no later than the last."""
        return min(self.end, self.start + (max(0, period - self.start) // self.every + 1) * self.every)


class Pool(NamedTuple):
    """A pool as it stands: since which period interest runs, and what was collected and paid in all (µ¥).

    `balances` are the waterfall's: before it runs, what is admitted and issued so far.
    """

    originator: Address
    status: Status
    since: int
    collected_uyuan: int
    paid_uyuan: int
    balances: State


class Plant(NamedTuple):
    """A plant that is pledged: what it counts for, and what it has brought in since the last date (µ¥)."""

    pool: int
    value_uyuan: int
    received_uyuan: int = 0
    is_defaulted: int = 0


# --- pools ---------------------------------------------------------------------------------------


def add_pool(view: Overlay, terms: Terms, pool: Pool) -> int:
    """Put down a new pool; its number. Numbers count from 1."""
    number = cast(int, view.get(_LAST) or 0) + 1
    view.put(_LAST, number)
    view.put(_key(_TERMS, number), tuple(terms))
    put_pool(view, number, pool)
    view.put(_OF + pool.originator, (*get_pools_of(view, pool.originator), number))
    return number


def get_pool(view: Overlay, number: int) -> Pool | None:
    """A pool by its number; None where there is none, or none any more."""
    value = view.get(_key(_POOL, number))
    if value is None:
        return None
    originator, status, since, collected_uyuan, paid_uyuan, *balances = cast(
        tuple[Address, str, int, int, int, int], value
    )
    return Pool(originator, Status(status), since, collected_uyuan, paid_uyuan, State._make(balances))


def require_pool(view: Overlay, number: int) -> Pool:
    """Raises `UnknownPool`."""
    pool = get_pool(view, number)
    if pool is None:
        raise UnknownPool(pool=number)
    return pool


def put_pool(view: Overlay, number: int, pool: Pool) -> None:
    view.put(_key(_POOL, number), (pool.originator, str(pool.status), *pool[2:5], *pool.balances))


def get_terms(view: Overlay, number: int) -> Terms:
    """The terms of a pool there is."""
    return Terms._make(cast(tuple[int, ...], view.get(_key(_TERMS, number))))


def get_pools_of(view: Overlay, originator: Address) -> tuple[int, ...]:
    """The numbers of an originator's pools that are kept."""
    return cast(tuple[int, ...], view.get(_OF + originator) or ())


def drop_pool(view: Overlay, number: int, originator: Address) -> None:
    """Forget a pool that has ended."""
    for prefix in (_TERMS, _POOL, _NOTES):
        view.delete(_key(prefix, number))
    left = tuple([other for other in get_pools_of(view, originator) if other != number])
    if left:
        view.put(_OF + originator, left)
    else:
        view.delete(_OF + originator)


def get_pot(number: int) -> Address:
    """The address of the pot that has a pool's collections and its reserve."""
    return pot_address("pool", number.to_bytes(8, "big"))


def notes_key(number: int) -> bytes:
    """The head of the chain of a pool's notes: the mezzanine, then the senior."""
    return _key(_NOTES, number)


# --- plants --------------------------------------------------------------------------------------


def get_plant(view: Overlay, address: Address) -> Plant | None:
    """A pledged plant; None where its receipts are its own."""
    value = view.get(_PLANT + address)
    return None if value is None else Plant._make(cast(tuple[int, ...], value))


def put_plant(view: Overlay, address: Address, plant: Plant) -> None:
    view.put(_PLANT + address, tuple(plant))


def check_unpledged(view: Overlay, address: Address) -> None:
    """Raise `PlantPledged` where a pool has a plant's receipts."""
    plant = get_plant(view, address)
    if plant is not None:
        raise PlantPledged(plant="0x" + address.hex(), pool=plant.pool)


def get_plants(view: Overlay, number: int) -> tuple[Address, ...]:
    """The plants of a pool, in the order of their admission."""
    return cast(tuple[Address, ...], view.get(_key(_PLANTS, number)) or ())


def add_plant(view: Overlay, address: Address, plant: Plant) -> None:
    put_plant(view, address, plant)
    view.put(_key(_PLANTS, plant.pool), (*get_plants(view, plant.pool), address))


def release_plants(view: Overlay, number: int) -> None:
    """Let a pool's plants have their receipts again."""
    for address in get_plants(view, number):
        view.delete(_PLANT + address)
    view.delete(_key(_PLANTS, number))


# --- what is due ---------------------------------------------------------------------------------


def get_agenda(view: Overlay) -> tuple[tuple[int, int], ...]:
    """The pools that are kept, as (period in which it is due, number), the next one first."""
    return cast(tuple[tuple[int, int], ...], view.get(_AGENDA) or ())


def enter(view: Overlay, number: int, due: int | None) -> None:
    """Have a pool be due in a period and no other; in none where that is None."""
    others = [item for item in get_agenda(view) if item[1] != number]
    agenda = sorted(others if due is None else [*others, (due, number)])
    if agenda:
        view.put(_AGENDA, tuple(agenda))
    else:
        view.delete(_AGENDA)


def _key(prefix: bytes, number: int) -> bytes:
    return prefix + number.to_bytes(8, "big")
