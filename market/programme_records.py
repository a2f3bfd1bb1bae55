"""Programmes in ledger state: what each pays, what is left of its budget, and how it has ended.

Their names stand in one row, so that all are found; what is left of a budget is in a pot of the programme's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias, cast

from ledger.accounts import get_account
from ledger.codec import Value
from ledger.hashing import Address
from ledger.overlay import Overlay
from market.pots import pot_address

MAX_PROGRAMMES = 12  # that are kept at once: the least share of work has room for a meter that all pay for
OPEN, EXHAUSTED, OVER = "open", "exhausted", "over"

_PROGRAMME = b"programme/of/"
_NAMES = b"programme/names"

Rates: TypeAlias = tuple[tuple[str, int], ...]


class Programme(NamedTuple):
    """A subsidy: `rates` (source, µ¥ per green kWh) for what is delivered in periods `first` to `last`."""

    funder: Address
    budget_uyuan: int
    rates: Rates
    first: int
    last: int
    paid_uyuan: int = 0
    state: str = OPEN
    ended: int = 0  # the period in which it did, 0 while it is open

    def get_rate(self, source: str) -> int:
        """The µ¥ per green kWh of a source; 0 for one that is not in the table."""
        return dict(self.rates).get(source, 0)

    def pays_for(self, period: int) -> bool:
        """Return True if deliveries of a period are paid for."""
        return self.state == OPEN and self.first <= period <= self.last


def get_pot(name: str) -> Address:
    """The address of the pot that holds what is left of a programme's budget."""
    return pot_address("programme", name.encode())


def get_names(view: Overlay) -> tuple[str, ...]:
    """The names of all programmes that are kept, in the order in which they were opened."""
    return cast(tuple[str, ...], view.get(_NAMES) or ())


def get_programme(view: Overlay, name: str) -> Programme | None:
    """A programme by its name; None where there is none, or none any more."""
    value = view.get(programme_key(name))
    return None if value is None else Programme._make(cast(tuple[Value, ...], value))


def put_programme(view: Overlay, name: str, programme: Programme) -> None:
    view.put(programme_key(name), tuple(programme))


def add_programme(view: Overlay, name: str, programme: Programme) -> None:
    """Keep a programme that is opened."""
    put_programme(view, name, programme)
    view.put(_NAMES, (*get_names(view), name))


def drop_programme(view: Overlay, name: str) -> None:
    """Forget a programme that has ended."""
    view.delete(programme_key(name))
    names = tuple([other for other in get_names(view) if other != name])
    if names:
        view.put(_NAMES, names)
    else:
        view.delete(_NAMES)


def walk_programmes(view: Overlay) -> Iterator[tuple[str, Programme]]:
    """All programmes that are kept, with their names."""
    for name in get_names(view):
        programme = get_programme(view, name)
        assert programme is not None, name
        yield name, programme


def list_paying(view: Overlay, period: int) -> list[tuple[str, Programme]]:
    """The programmes that pay for deliveries of a period."""
    return [(name, programme) for name, programme in walk_programmes(view) if programme.pays_for(period)]


def get_left_uyuan(view: Overlay, name: str) -> int:
    """The µ¥ that are left of a programme's budget: budget = left + paid, until what is left returns to its funder."""
    return get_account(view, get_pot(name)).balance_uyuan


def programme_key(name: str) -> bytes:
    """The state key of a programme, for proofs."""
    return _PROGRAMME + name.encode()
