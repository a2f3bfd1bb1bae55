"""The life of a pool as a table: its states, what may happen to it, and what follows.

`pool_payments.py` reads its every step here. A pool that has ended is kept as long as periods are, and then forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum, unique
from typing import NamedTuple


@unique
class Status(StrEnum):
    """The state of a pool; its plants are pledged, and its notes held, until it is repaid or over."""

    FILLING = "filling"  # plants are admitted and notes issued
    RUNNING = "running"  # it collects, and pays on its dates
    AMORTISING = "amortising"  # as well, but early amortisation has begun, which nothing ends
    REPAID = "repaid"  # no note is owed anything
    OVER = "over"  # its last date has passed with notes owed, or none was issued
    FORGOTTEN = "forgotten"


@unique
class Event(StrEnum):
    """An event in the life of a pool."""

    START = "start"  # the period in which it is to run
    PAID = "paid"  # payments of a date have been made
    END_OF_KEEPING = "end of keeping"  # as many periods after its end as are retained


@unique
class Guard(StrEnum):
    """A condition that must hold besides, for a row to count."""

    ISSUED = "notes were issued"
    UNISSUED = "no note was issued"
    OWED = "notes are owed"
    CLEAR = "no note is owed"
    MORE = "dates are to come"
    LAST = "it was the last date"
    CALM = "no trigger has tripped"
    TRIPPED = "a trigger has tripped"


@unique
class Action(StrEnum):
    """The action on an event, by the name of the function in `pool_payments.py`."""

    GO_ON = "go_on"
    CLOSE = "close"
    FORGET = "forget"


class Row(NamedTuple):
    """One transition: in `before`, on `event`, where all of `guards` hold, `after` is entered and `action` done."""

    before: Status
    event: Event
    guards: tuple[Guard, ...]
    after: Status
    action: Action


LIFE: tuple[Row, ...] = (
    Row(Status.FILLING, Event.START, (Guard.ISSUED,), Status.RUNNING, Action.GO_ON),
    Row(Status.FILLING, Event.START, (Guard.UNISSUED,), Status.OVER, Action.CLOSE),
    Row(Status.RUNNING, Event.PAID, (Guard.OWED, Guard.MORE, Guard.CALM), Status.RUNNING, Action.GO_ON),
    Row(Status.RUNNING, Event.PAID, (Guard.OWED, Guard.MORE, Guard.TRIPPED), Status.AMORTISING, Action.GO_ON),
    Row(Status.RUNNING, Event.PAID, (Guard.OWED, Guard.LAST), Status.OVER, Action.CLOSE),
    Row(Status.RUNNING, Event.PAID, (Guard.CLEAR,), Status.REPAID, Action.CLOSE),
    Row(Status.AMORTISING, Event.PAID, (Guard.OWED, Guard.MORE), Status.AMORTISING, Action.GO_ON),
    Row(Status.AMORTISING, Event.PAID, (Guard.OWED, Guard.LAST), Status.OVER, Action.CLOSE),
    Row(Status.AMORTISING, Event.PAID, (Guard.CLEAR,), Status.REPAID, Action.CLOSE),
    Row(Status.REPAID, Event.END_OF_KEEPING, (), Status.FORGOTTEN, Action.FORGET),
    Row(Status.OVER, Event.END_OF_KEEPING, (), Status.FORGOTTEN, Action.FORGET),
)
COLLECTING = (Status.RUNNING, Status.AMORTISING)


def find_row(status: Status, event: Event, holds: Callable[[Guard], bool]) -> Row:
    """The one row that an event takes in a state."""
    (row,) = [row for row in LIFE if row[:2] == (status, event) and all(map(holds, row.guards))]
    return row
