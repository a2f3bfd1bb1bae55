"""The life of a trading period: every change of a gate's status is a row of the table, and every row is taken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.overlay import Overlay
from market.trading import period as contract
from market.trading.gates import gate_key
from market.trading.life import LIFE, Event, State, find_row, list_rows

from .test_audit import countersign

PERIOD = 10
SCHEDULED = {"siblings": frozenset({"scheduling"})}
AUDITED = {"audit": "required"}
SHARED = {"work_per_block": 64}
MARKETS = ({}, AUDITED, SCHEDULED, {**SCHEDULED, **AUDITED}, SHARED, {**SCHEDULED, **SHARED})
CHANGES = {(row.before, row.after) for row in LIFE}


class Story:
    """A market told by words what happens to one of its periods; whether it may is for the market to say."""

    def __init__(self, market) -> None:
        self.market = market
        self.corrections = 0

    def tell(self, words) -> None:
        for word in words.split():
            getattr(self, f"do_{word}")()

    def do_open(self):
        self.market.go("open")

    def do_quota(self):
        self.market.quota()

    def do_orders(self):
        self.market.bid("carol", price=500_000, volume=100_000)
        self.market.offer("paul", price=400_000, volume=100_000)

    def do_gate(self):
        self.market.go("gate")

    def do_certify(self):
        self.market.certify()

    def do_verdict(self):
        self.market.verdict((0, 50_000, "feeder-1"))

    def do_countersign(self):
        gate = self.market.gate()
        countersign(self.market, bytes(32) if gate is None else gate.result_root)

    def do_deadline(self):
        self.market.go("deadline")

    def do_delivery(self):
        self.market.go("delivery_end")

    def do_read(self):
        self.market.read("carol", consumed=90_000 + self.corrections)

    def do_metered(self):
        self.market.metered(("carol", 90_000, 0), ("paul", 0, 100_000))

    def do_unread(self):
        self.market.metered()

    def do_settle(self):
        self.market.go("settle")

    def do_correct(self):
        self.corrections += 1
        self.do_read()
        self.market.corrected(("carol", 80_000 - self.corrections, 0, self.corrections), number=self.corrections)
        self.market.go_on()


WORDS = sorted(name.removeprefix("do_") for name in vars(Story) if name.startswith("do_"))
STORIES = [
    ({}, "orders gate certify delivery read settle correct"),
    ({}, "orders gate certify settle"),
    ({}, "orders gate deadline delivery read settle correct"),
    ({}, "delivery read settle correct"),
    (AUDITED, "orders gate countersign"),
    (AUDITED, "orders gate certify countersign"),
    (AUDITED, "orders gate certify deadline"),
    (SCHEDULED, "quota orders gate verdict delivery metered correct"),
    (SCHEDULED, "quota orders gate certify verdict settle"),
    (SCHEDULED, "quota orders gate verdict delivery unread"),
    (SCHEDULED, "quota orders gate certify deadline settle"),
    (SCHEDULED, "quota settle"),
    ({**SCHEDULED, **AUDITED}, "quota orders gate verdict countersign"),
    ({**SCHEDULED, **AUDITED}, "quota orders gate verdict deadline delivery metered"),
]


def tell(monkeypatch, make_market, options, words):
    """The changes of the period's status as they are written, and the rows that were taken."""
    changes, rows = [], []
    put, take, resettle = Overlay.put, contract._take, contract._resettle

    def watch_put(view, key, value):
        if key == gate_key(PERIOD):
            before = view.get(key)
            changes.append((State.BOOK if before is None else State(before[3]), State(value[3])))
        put(view, key, value)

    def watch_take(case, row):
        rows.append(row)
        return take(case, row)

    def watch_resettle(case, owners):
        rows.extend(row for row in LIFE if (row.before, row.event) == (case.state, Event.CORRECTION))
        return resettle(case, owners)

    with monkeypatch.context() as patch:
        patch.setattr(Overlay, "put", watch_put)
        patch.setattr(contract, "_take", watch_take)
        patch.setattr(contract, "_resettle", watch_resettle)
        story = Story(make_market(correction_ppm=2_000_000, **options))
        story.tell(words)
    return changes, rows, story.market


def test_every_row_of_the_table_is_taken(monkeypatch, make_market):
    taken = {row for options, words in STORIES for row in tell(monkeypatch, make_market, options, words)[1]}
    assert taken == set(LIFE)


@settings(max_examples=100, deadline=None)
@given(
    options=st.sampled_from(MARKETS),
    first=st.sampled_from(["", "orders", "quota orders", "quota orders gate", "quota orders gate certify"]),
    words=st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
)
def test_whatever_happens_in_whatever_order_no_status_changes_but_by_a_row(make_market, options, first, words):
    """Time may step back, too."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        changes, rows, market = tell(monkeypatch, make_market, options, f"{first} {words}")
    assert set(changes) <= CHANGES
    statuses = [State.BOOK, *(after for _, after in changes)]
    assert [before for before, _ in changes] == statuses[:-1]
    assert [(row.before, row.after) for row in rows if row.before != row.after] == changes
    assert (State.BOOK if market.gate() is None else market.gate().status) == statuses[-1]


def test_rows_of_one_state_and_event_exclude_one_another():
    with pytest.raises(AssertionError):
        find_row(list_rows(State.CERTIFIED, Event.METERED), lambda guard: True)


def test_what_the_table_does_not_have_is_our_bug(market):
    case = contract._Case(None, None, PERIOD, None)
    with pytest.raises(AssertionError, match="nothing is to happen to a period that is book on verdict"):
        contract._happen(case, Event.VERDICT)
