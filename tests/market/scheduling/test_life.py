"""The life of a scheduling period: every change of where it stands is a row of the table, and every row is taken."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.scheduling import contract, records
from market.scheduling.life import LIFE, Event, State
from market.scheduling.views import get_plan, get_quotas, get_verdict, live_periods

from .test_contract import CLOCK_TWICE, JY1, LH1, MARKET_TWICE, Grid, trade

PERIOD = 10


class Story:
    """A chain told by words what happens to one of its periods; whether it may is for the chain to say."""

    def __init__(self) -> None:
        market = MarketParams(correction_ppm=3_000_000)
        self.grid = Grid(JY1.model_copy(update={"market": market}), LH1, market=market)
        self.gates = [PERIOD]
        self.seen = [State.NEW]

    def tell(self, words) -> None:
        for word in words.split():
            getattr(self, f"do_{word}")()
            if self.look() != self.seen[-1]:
                self.seen.append(self.look())

    def look(self) -> State:
        """The state of the period, by what all can see of it."""
        state = self.grid.state
        if PERIOD not in live_periods(state):
            return State.CLOSED if records.is_closed(Overlay(state), PERIOD) else State.NEW
        for number, (quoted, checked) in reversed(list(zip(self.gates, STATES, strict=False))):
            if get_verdict(state, number) is not None:
                return checked
            if get_quotas(state, number):
                return quoted
        return State.PLANNED if get_plan(state, PERIOD) else State.UNPLANNED

    def do_plan(self):
        self.grid.plan()

    def do_quota(self):
        self.grid.go("quota")

    def do_result(self):
        number = self.gates[0]
        self.grid.report(trade(0, "paul", "carol", 15, period=number), period=number)

    def do_deadline(self):
        self.grid.go("verdict")

    def do_delivery(self):
        self.grid.go("delivery_end")

    def do_read(self):
        self.grid.read("carol", consumed=15_000)

    def do_read_another(self):
        self.grid.read("chen", consumed=5_000)

    def do_register(self):
        self.grid.register("carol", consumed=15_000, period=PERIOD)

    def do_meter(self):
        self.grid.go("meter")

    def do_next(self):
        self.grid.go_on()


STATES = ((State.QUOTED, State.CHECKED), (State.REQUOTED, State.RECHECKED))  # of each session


class Twice(Story):
    """The same of a chain whose periods are traded twice."""

    def __init__(self) -> None:
        market = MARKET_TWICE.model_copy(update={"correction_ppm": 3_000_000})
        self.grid = Grid(JY1.model_copy(update={"market": market}), LH1, market=market, **CLOCK_TWICE)
        self.gates = [2 * PERIOD, 2 * PERIOD + 1]
        self.seen = [State.NEW]

    def do_intraday(self):
        self.grid.go("intraday_quota")

    def do_change(self):
        number = self.gates[1]
        self.grid.report(trade(0, "carol", "chen", 5, period=number), period=number)


WORDS = sorted(name.removeprefix("do_") for name in vars(Story) if name.startswith("do_"))
STORIES = [
    "plan plan quota result delivery read meter",
    "plan quota delivery read meter register",
    "plan deadline delivery read read_another meter",
]
WORDS_TWICE = [*WORDS, "intraday", "change"]
STORIES_TWICE = [
    "plan quota intraday delivery read meter",
    "plan quota result intraday change delivery read meter",
]


def list_reachable(state: State) -> set[State]:
    """The states that rows can lead to, one after the other, from a state."""
    found = {state}
    while more := {row.after for row in LIFE if row.before in found} - found:
        found |= more
    return found


def tell(monkeypatch, words, story_of=Story):
    """The states that the period has had, and the rows taken."""
    rows, enter = [], contract._enter

    def watch(view, market, period, event):
        row = enter(view, market, period, event)
        if period == PERIOD:
            rows.append(row)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(contract, "_enter", watch)
        story = story_of()
        story.tell(words)
    return story.seen, rows


def test_every_row_of_the_table_is_taken(monkeypatch):
    once = {row for words in STORIES for row in tell(monkeypatch, words)[1]}
    assert once | {row for words in STORIES_TWICE for row in tell(monkeypatch, words, Twice)[1]} == set(LIFE)
    assert {row.after for row in once}.isdisjoint(STATES[1])


@settings(max_examples=60, deadline=None)
@given(
    first=st.sampled_from(["", "plan", "plan quota", "plan quota result"]),
    words=st.lists(st.sampled_from(WORDS_TWICE), max_size=12),
    story_of=st.sampled_from([Story, Twice]),
)
def test_whatever_happens_in_whatever_order_a_period_moves_by_rows_alone(first, words, story_of):
    """Time may step back, too."""
    told = " ".join([word for word in words if hasattr(story_of, f"do_{word}")])
    with pytest.MonkeyPatch.context() as monkeypatch:
        seen, rows = tell(monkeypatch, f"{first} {told}", story_of)
    assert seen[-1] == ([row.after for row in rows] or [State.NEW])[-1]
    for before, after in pairwise(seen):
        assert after in list_reachable(before)
    for row, following in pairwise(rows):
        assert row.after == following.before


def test_what_the_table_does_not_have_is_our_bug(planned_view):
    with pytest.raises(AssertionError, match="nothing is to happen to a period that is planned on reading"):
        contract._enter(planned_view, MarketParams(), PERIOD, Event.READING)


@pytest.fixture
def planned_view():
    story = Story()
    story.tell("plan")
    return Overlay(story.grid.state)
