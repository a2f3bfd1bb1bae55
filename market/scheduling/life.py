"""The life of a delivery period on the scheduling chain, as a table: what may happen to it in each state, what follows.

`contract.py` reads its every step from `LIFE`; where there is no row, the event changes nothing or is refused.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import NamedTuple


@unique
class State(StrEnum):
    """The state of a period; all but `NEW` and `CLOSED` are live."""

    NEW = "new"  # nothing is known of it, or its plan has lapsed
    PLANNED = "planned"  # a plan has come, its quotas are not due yet
    QUOTED = "quoted"  # its quotas are out
    CHECKED = "checked"  # the verdict on its trades is given, its contracts stand
    REQUOTED = "requoted"  # its intraday quotas are out
    RECHECKED = "rechecked"  # the verdict on its intraday trades is given
    UNPLANNED = "unplanned"  # it never had quotas, but a meter was read
    CLOSED = "closed"  # its metering is closed, and may only be corrected


@unique
class Event(StrEnum):
    """An event in the life of a period; times are the block's, and hold for every block from then on."""

    PLAN = "plan"  # a dispatcher's or the grid operator's, before quotas are due
    QUOTAS = "quotas"  # the time at which quotas are due
    RESULT = "result"  # all parts of the trading chain's list are there, before the deadline of its session
    INTRADAY = "intraday"  # the time at which intraday quotas are due, where there is such a session
    DEADLINE = "deadline"  # the time by which the verdict must be given
    READING = "reading"  # a meter's, or its register's, after delivery
    METERING = "metering"  # the time at which the metering closes


@unique
class Action(StrEnum):
    """The action on an event, by the name of the function in `contract.py`."""

    KEEP_PLAN = "keep_plan"
    PUBLISH_QUOTAS = "publish_quotas"
    PUBLISH_INTRADAY = "publish_intraday"
    LAPSE_PLAN = "lapse_plan"
    GIVE_VERDICT = "give_verdict"
    TAKE_IN = "take_in"
    CLOSE_METERING = "close_metering"


class Row(NamedTuple):
    """One transition: in `before`, on `event`, `action` is done and `after` entered."""

    before: State
    event: Event
    after: State
    action: Action


LIFE: tuple[Row, ...] = (
    Row(State.NEW, Event.PLAN, State.PLANNED, Action.KEEP_PLAN),
    Row(State.PLANNED, Event.PLAN, State.PLANNED, Action.KEEP_PLAN),
    Row(State.PLANNED, Event.QUOTAS, State.QUOTED, Action.PUBLISH_QUOTAS),
    Row(State.PLANNED, Event.DEADLINE, State.NEW, Action.LAPSE_PLAN),
    Row(State.QUOTED, Event.RESULT, State.CHECKED, Action.GIVE_VERDICT),
    Row(State.QUOTED, Event.INTRADAY, State.REQUOTED, Action.PUBLISH_INTRADAY),
    Row(State.CHECKED, Event.INTRADAY, State.REQUOTED, Action.PUBLISH_INTRADAY),
    Row(State.REQUOTED, Event.RESULT, State.RECHECKED, Action.GIVE_VERDICT),
    Row(State.NEW, Event.READING, State.UNPLANNED, Action.TAKE_IN),
    Row(State.UNPLANNED, Event.READING, State.UNPLANNED, Action.TAKE_IN),
    Row(State.QUOTED, Event.READING, State.QUOTED, Action.TAKE_IN),
    Row(State.CHECKED, Event.READING, State.CHECKED, Action.TAKE_IN),
    Row(State.REQUOTED, Event.READING, State.REQUOTED, Action.TAKE_IN),
    Row(State.RECHECKED, Event.READING, State.RECHECKED, Action.TAKE_IN),
    Row(State.CLOSED, Event.READING, State.CLOSED, Action.TAKE_IN),
    Row(State.UNPLANNED, Event.METERING, State.CLOSED, Action.CLOSE_METERING),
    Row(State.QUOTED, Event.METERING, State.CLOSED, Action.CLOSE_METERING),
    Row(State.CHECKED, Event.METERING, State.CLOSED, Action.CLOSE_METERING),
    Row(State.REQUOTED, Event.METERING, State.CLOSED, Action.CLOSE_METERING),
    Row(State.RECHECKED, Event.METERING, State.CLOSED, Action.CLOSE_METERING),
)

_BY_CAUSE = {(row.before, row.event): row for row in LIFE}


def find_row(state: State, event: Event) -> Row | None:
    """The row that counts, None where there is none."""
    return _BY_CAUSE.get((state, event))
