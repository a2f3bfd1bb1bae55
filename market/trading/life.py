"""The life of a delivery period on a trading chain, as a table: what may happen to it in each state, and what follows.

`period.py` reads its every step from `LIFE`: nothing else changes a gate's status. Of rows with one state and event
the guards exclude one another; where none of them holds, or there is no row, the event changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum, unique
from typing import NamedTuple


@unique
class State(StrEnum):
    """The state of a period: the status of its gate's record, `BOOK` while it has none.

    No member can trade in a period that is over: it stays as it is, and only what was metered of it may be corrected.
    """

    BOOK = "book"  # its gate is not closed yet, or no member had an order when it was
    OPEN = "open"  # the book is cleared, its trades are not certified yet
    CERTIFIED = "certified"  # trades bind from here on, where no scheduling chain has a say
    ACCEPTED = "accepted"  # trades bind as far as the scheduling chain's verdict accepts them
    VOID = "void"  # what its trades needed did not come in time
    SETTLED = "settled"
    LAPSED = "lapsed"  # its trades bound, but their delivery was never metered


@unique
class Event(StrEnum):
    """An event in the life of a period; times are the block's, and hold for every block from then on."""

    GATE = "gate"  # the time at which its book closes
    CERTIFICATE = "certificate"  # of members, for a block of the chain
    VERDICT = "verdict"  # all parts of the scheduling chain's verdict are there
    COUNTERSIGNATURE = "countersignature"  # the authority's, of the trade list
    DEADLINE = "deadline"  # the time by which trades must bind
    METERED = "metered"  # the scheduling chain's metering is there; on a chain alone, the time of settlement
    UNMETERED = "unmetered"  # the time of settlement, and the scheduling chain's metering is not there
    CORRECTION = "correction"  # meters were read late or again; once a period


@unique
class Guard(StrEnum):
    """A condition that must hold besides, for a row to count."""

    HAS_BOOK = "somebody has placed an order"
    IS_CERTIFIED = "the certified block is the gate's or above it"
    ALONE = "no scheduling chain"
    SCHEDULED = "beside a scheduling chain"
    UNSIGNED = "a countersignature is required, and not there"
    HEARD = "a meter was read, or there is no trade"
    UNHEARD = "there are trades, and not a meter was read"
    IS_OVER = "it is over, and its settlement kept"


@unique
class Action(StrEnum):
    """The action on an event, by the name of the function in `period.py`."""

    CLOSE_GATE = "close_gate"
    CERTIFY = "certify"
    ACCEPT = "accept"
    MARK_COUNTERSIGNED = "mark_countersigned"
    VOID = "void"
    SETTLE = "settle"
    SETTLE_WITH_GRID = "settle_with_grid"
    LAPSE = "lapse"
    END_UNMETERED = "end_unmetered"
    RESETTLE = "resettle"


@unique
class Lack(StrEnum):
    """The thing that did not come in time: the reason why a period is void or lapsed."""

    NOTHING = ""
    CERTIFICATE = "no-certificate"
    VERDICT = "no-verdict"
    COUNTERSIGNATURE = "no-countersignature"
    METERING = "unmetered"


class Row(NamedTuple):
    """One transition: in `before`, on `event`, where all of `guards` hold, `action` is done and `after` entered."""

    before: State
    event: Event
    guards: tuple[Guard, ...]
    after: State
    action: Action
    reason: Lack = Lack.NOTHING


LIFE: tuple[Row, ...] = (
    Row(State.BOOK, Event.GATE, (Guard.HAS_BOOK,), State.OPEN, Action.CLOSE_GATE),
    Row(State.OPEN, Event.CERTIFICATE, (Guard.IS_CERTIFIED,), State.CERTIFIED, Action.CERTIFY),
    Row(State.OPEN, Event.VERDICT, (Guard.SCHEDULED,), State.ACCEPTED, Action.ACCEPT),
    Row(State.CERTIFIED, Event.VERDICT, (Guard.SCHEDULED,), State.ACCEPTED, Action.ACCEPT),
    Row(State.OPEN, Event.COUNTERSIGNATURE, (), State.OPEN, Action.MARK_COUNTERSIGNED),
    Row(State.CERTIFIED, Event.COUNTERSIGNATURE, (), State.CERTIFIED, Action.MARK_COUNTERSIGNED),
    Row(State.ACCEPTED, Event.COUNTERSIGNATURE, (), State.ACCEPTED, Action.MARK_COUNTERSIGNED),
    Row(State.OPEN, Event.DEADLINE, (), State.VOID, Action.VOID, Lack.CERTIFICATE),
    Row(State.CERTIFIED, Event.DEADLINE, (Guard.SCHEDULED,), State.VOID, Action.VOID, Lack.VERDICT),
    Row(State.CERTIFIED, Event.DEADLINE, (Guard.ALONE, Guard.UNSIGNED), State.VOID, Action.VOID, Lack.COUNTERSIGNATURE),
    Row(State.ACCEPTED, Event.DEADLINE, (Guard.UNSIGNED,), State.VOID, Action.VOID, Lack.COUNTERSIGNATURE),
    Row(State.CERTIFIED, Event.METERED, (Guard.ALONE, Guard.HEARD), State.SETTLED, Action.SETTLE),
    Row(State.CERTIFIED, Event.METERED, (Guard.ALONE, Guard.UNHEARD), State.LAPSED, Action.LAPSE, Lack.METERING),
    Row(State.ACCEPTED, Event.METERED, (Guard.HEARD,), State.SETTLED, Action.SETTLE),
    Row(State.ACCEPTED, Event.METERED, (Guard.UNHEARD,), State.LAPSED, Action.LAPSE, Lack.METERING),
    Row(State.ACCEPTED, Event.UNMETERED, (), State.LAPSED, Action.LAPSE, Lack.METERING),
    Row(State.VOID, Event.METERED, (), State.VOID, Action.SETTLE_WITH_GRID),
    Row(State.VOID, Event.UNMETERED, (), State.VOID, Action.END_UNMETERED),
    Row(State.BOOK, Event.METERED, (), State.BOOK, Action.SETTLE_WITH_GRID),
    Row(State.BOOK, Event.UNMETERED, (), State.BOOK, Action.END_UNMETERED),
    Row(State.SETTLED, Event.CORRECTION, (Guard.IS_OVER,), State.SETTLED, Action.RESETTLE),
    Row(State.VOID, Event.CORRECTION, (Guard.IS_OVER,), State.VOID, Action.RESETTLE),
    Row(State.BOOK, Event.CORRECTION, (Guard.IS_OVER,), State.BOOK, Action.RESETTLE),
)

_BY_CAUSE: dict[tuple[State, Event], list[Row]] = {}
for _row in LIFE:
    _BY_CAUSE.setdefault((_row.before, _row.event), []).append(_row)


def list_rows(state: State, event: Event) -> Sequence[Row]:
    """The rows that an event may take in a state."""
    return _BY_CAUSE.get((state, event), ())


def find_row(rows: Sequence[Row], holds: Callable[[Guard], bool]) -> Row | None:
    """The one of them whose guards hold, None where there is none."""
    found = [row for row in rows if all(map(holds, row.guards))]
    assert len(found) <= 1, found
    return found[0] if found else None
