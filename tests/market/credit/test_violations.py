"""Violations in LH1's credit report: what is one, how they are counted, and what corrections make of them."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.accounts import get_account
from ledger.codec import encode
from ledger.errors import GridmeritError, Malformed, UnknownMember, WrongShape
from ledger.overlay import Overlay
from market.credit.violations import Delivery, Kind, Violation, find_violation, get_report
from market.orders import Side
from tests.market.credit.test_contract import GENESIS_MS, KWH, POINT, Node, redelivered, trade
from tests.support.keys import address

TENTH = 100_000
RECORDING = {"recorded_violations": 4, "tolerance_ppm": TENTH}


def make_lh1(**market):
    """LH1 with these parameters of its market."""
    lh1 = Node()
    params = lh1.genesis.params
    market = params.market.model_copy(update={**RECORDING, **market})
    lh1.genesis = lh1.genesis.model_copy(update={"params": params.model_copy(update={"market": market})})
    return lh1


@pytest.fixture
def lh1():
    return make_lh1()


def told(index, buyer, seller, agreed, consumed, produced):
    """A row of `delivered`, energy in kWh, None for a meter that was not heard."""
    energy = [None if kwh is None else kwh * KWH for kwh in (consumed, produced)]
    return (index, address(buyer), address(seller), agreed * KWH, *energy)


def report(lh1, name):
    return get_report(Overlay(lh1.state), address(name))


def counts(lh1, name):
    return {kind.label: count for kind, count in zip(Kind, report(lh1, name).counts, strict=True) if count}


def shown(lh1, name):
    """The records but for their blocks: period, trade, kind, kWh metered, and whether it is withdrawn."""
    return [
        (item.period, item.trade_index, item.kind.label, item.metered_wh and item.metered_wh // KWH, item.is_withdrawn)
        for item in report(lh1, name).newest
    ]


def heard(lh1):
    return [event for event in lh1.events if str(event[0]).startswith("violation")]


# --- what is one -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agreed_wh", "metered_wh", "tolerance_ppm", "kind"),
    [
        (1_000, 1_000, 0, None),
        (1_000, 999, 0, Kind.UNDER_DELIVERY),
        (1_000, 1_001, 0, Kind.OVER_DELIVERY),
        (1_000, 900, TENTH, None),
        (1_000, 899, TENTH, Kind.UNDER_DELIVERY),
        (1_000, 1_100, TENTH, None),
        (1_000, 1_101, TENTH, Kind.OVER_DELIVERY),
        (1_000, 0, 1_000_000, None),
        (1_000, 2_001, 1_000_000, Kind.OVER_DELIVERY),
        (1, 0, 999_999, Kind.UNDER_DELIVERY),
        (1_000, 0, TENTH, Kind.UNDER_DELIVERY),
        (1_000, None, 1_000_000, Kind.MISSING_READING),
        (10**11, 2**62, TENTH, Kind.OVER_DELIVERY),
    ],
)
def test_a_violation_is_beyond_the_tolerance_and_not_at_it(agreed_wh, metered_wh, tolerance_ppm, kind):
    assert find_violation(Delivery(5, 0, Side.BID, agreed_wh, metered_wh), tolerance_ppm) is kind


def test_every_side_of_every_trade_is_held_to_what_was_agreed(lh1):
    lh1.deliver(3, told(0, "carol", "paul", 100, 60, 130), told(1, "chen", "paul", 100, None, 95))
    assert counts(lh1, "carol") == {"under-delivery": 1}
    assert counts(lh1, "paul") == {"over-delivery": 1}
    assert counts(lh1, "chen") == {"missing-reading": 1}
    assert counts(lh1, "pia") == {}
    assert report(lh1, "pia").newest == ()
    time_ms = GENESIS_MS + 1
    assert report(lh1, "carol").newest == (
        Violation(3, 0, Side.BID, Kind.UNDER_DELIVERY, 100 * KWH, 60 * KWH, height=2, time_ms=time_ms),
    )
    assert report(lh1, "chen").newest[0].metered_wh is None
    assert heard(lh1) == [
        ("violation", 3, 0, address("carol"), "under-delivery", 100 * KWH, 60 * KWH),
        ("violation", 3, 0, address("paul"), "over-delivery", 100 * KWH, 130 * KWH),
        ("violation", 3, 1, address("chen"), "missing-reading", 100 * KWH, None),
    ]


def test_a_silent_meter_scores_as_one_that_stood_still(lh1):
    lh1.deliver(3, told(0, "carol", "paul", 100, None, 100))
    still = make_lh1()
    still.deliver(3, told(0, "carol", "paul", 100, 0, 100))
    for name in ("carol", "paul"):
        assert lh1.account(name) == still.account(name)
    assert (counts(lh1, "carol"), counts(still, "carol")) == ({"missing-reading": 1}, {"under-delivery": 1})


def test_nothing_is_recorded_and_no_meter_is_silent_where_the_chain_records_none():
    rows = [trade(0, "carol", "paul", 200, 10, 400)]
    without, recording = Node(), make_lh1()
    for lh1 in (without, recording):
        lh1.deliver(3, *rows)
    keys = {key for key, _ in recording.state.items()} - {key for key, _ in without.state.items()}
    assert keys == {b"credit/violations/" + address(name) for name in ("carol", "paul")}
    assert [event for event in recording.events if event not in heard(recording)] == list(without.events)
    for row in (told(0, "carol", "paul", 1, None, 1), told(0, "carol", "paul", 1, 1, None)):
        with pytest.raises(WrongShape, match="expected an integer"):
            without.deliver(4, row)


@pytest.mark.parametrize("energy", [-1, 2**63, "5", b"5", ()])
def test_energy_is_an_amount_or_nil(lh1, energy):
    with pytest.raises((Malformed, WrongShape)):
        lh1.deliver(3, (0, address("carol"), address("paul"), 1, energy, 1))
    with pytest.raises((Malformed, WrongShape)):
        lh1.receive("trading", "redelivered", 7, (3, *told(0, "carol", "paul", 1, 1, 1), 1, energy))


# --- how many are kept -----------------------------------------------------------------------------


def test_all_are_counted_and_the_newest_are_kept_whatever_comes_when(lh1):
    for period in (5, 9, 3, 7, 8, 1, 6):
        lh1.deliver(period, told(0, "carol", "paul", 10, 0, 10), told(1, "carol", "pia", 10, 1, 10))
    assert counts(lh1, "carol") == {"under-delivery": 14}
    assert [item[:2] for item in shown(lh1, "carol")] == [(9, 1), (9, 0), (8, 1), (8, 0)]


def test_a_report_is_no_larger_than_the_page_says():
    lh1 = make_lh1(recorded_violations=64, tolerance_ppm=0)
    rows = [(2**62 + index, address("carol"), address("paul"), 2**62, 2**61, 2**62) for index in range(64)]
    lh1.height, lh1.period = 2**62, 2**32
    lh1.deliver(2**62, *rows)
    lh1.receive("trading", "redelivered", 2**62, *[(2**62, *row[:4], 2**61 - 1, *row[5:], *row[4:]) for row in rows])
    value = lh1.state.get(b"credit/violations/" + address("carol"))
    assert len(report(lh1, "carol").newest) == 64
    assert len(value) <= 45 + 67 * 64


# --- corrections -----------------------------------------------------------------------------------


def test_a_correction_that_puts_a_delivery_within_tolerance_withdraws_its_violation(lh1):
    lh1.deliver(3, told(0, "carol", "paul", 100, None, 100))
    lh1.receive("trading", "redelivered", 7, (3, *told(0, "carol", "paul", 100, 95, 100), None, 100 * KWH))
    assert counts(lh1, "carol") == {}
    assert shown(lh1, "carol") == [(3, 0, "missing-reading", 95, True)]
    assert heard(lh1) == [("violation-withdrawn", 3, 0, address("carol"), "missing-reading")]
    assert report(lh1, "paul").newest == (), "nothing has changed for the other side"
    lh1.receive("trading", "redelivered", 9, redelivered(3, trade(0, "carol", "paul", 100, 50, 100), 95, 100))
    assert counts(lh1, "carol") == {"under-delivery": 1}
    assert shown(lh1, "carol") == [(3, 0, "under-delivery", 50, False)]


def test_a_correction_changes_the_kind_and_the_amount(lh1):
    lh1.deliver(3, told(0, "carol", "paul", 100, None, 100))
    lh1.receive("trading", "redelivered", 7, (3, *told(0, "carol", "paul", 100, 40, 100), None, 100 * KWH))
    assert counts(lh1, "carol") == {"under-delivery": 1}
    lh1.receive("trading", "redelivered", 8, redelivered(3, trade(0, "carol", "paul", 100, 50, 100), 40, 100))
    assert counts(lh1, "carol") == {"under-delivery": 1}
    assert shown(lh1, "carol") == [(3, 0, "under-delivery", 50, False)]
    assert report(lh1, "carol").newest[0].revision == 9


def test_a_delivery_that_was_in_order_may_turn_out_not_to_have_been(lh1):
    lh1.deliver(3, told(0, "carol", "paul", 100, 100, 100))
    lh1.receive("trading", "redelivered", 7, redelivered(3, trade(0, "carol", "paul", 100, 100, 80), 100, 100))
    assert (counts(lh1, "carol"), counts(lh1, "paul")) == ({}, {"under-delivery": 1})


amounts = st.sampled_from([None, 0, 40, 95, 100, 105, 150])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(amounts, min_size=1, max_size=4), min_size=1, max_size=2), st.data())
def test_in_whatever_order_messages_come_the_report_is_that_of_what_was_metered_last(chains, data):
    """Each trade is delivered and then corrected some times; the messages come in any order."""
    messages = []
    for index, chain in enumerate(chains):
        messages.append(("delivered", index, told(0, "carol", "paul", 100, chain[0], 100)))
        for number, (was, now) in enumerate(pairwise(chain), start=5):
            row = (index, *told(0, "carol", "paul", 100, now, 100), None if was is None else was * KWH, 100 * KWH)
            messages.append(("redelivered", 10 * number + index, row))
    lh1 = make_lh1()
    for kind, number, row in data.draw(st.permutations(messages)):
        lh1.receive("trading", kind, number, row)
    found = [find_violation(Delivery(index, 0, Side.BID, 100, chain[-1]), TENTH) for index, chain in enumerate(chains)]
    stand = [kind.label for kind in found if kind is not None]
    assert counts(lh1, "carol") == {label: stand.count(label) for label in stand}
    last = {index: chain[-1] for index, chain in enumerate(chains)}
    for period, _, label, metered, is_withdrawn in shown(lh1, "carol"):
        assert is_withdrawn == (found[period] is None)
        if not is_withdrawn:
            assert (label, metered) == (found[period].label, last[period])
    assert {item[0] for item in shown(lh1, "carol") if not item[4]} == {
        index for index in last if found[index] is not None
    }
    assert counts(lh1, "paul") == {}


def test_the_newest_do_not_depend_on_the_order_either():
    messages = [
        ("delivered", 5, told(0, "carol", "paul", 100, 0, 100)),
        ("delivered", 6, told(0, "carol", "paul", 100, 0, 100)),
        ("redelivered", 8, redelivered(5, trade(0, "carol", "paul", 100, 100, 100), 0, 100)),
        ("delivered", 7, told(0, "carol", "paul", 100, 0, 100)),
    ]
    for order in permutations(messages):
        lh1 = make_lh1(recorded_violations=2)
        for kind, number, row in order:
            lh1.receive("trading", kind, number, row)
        assert shown(lh1, "carol") == [(7, 0, "under-delivery", 0, False), (6, 0, "under-delivery", 0, False)]
        assert counts(lh1, "carol") == {"under-delivery": 2}


# --- second targets --------------------------------------------------------------------------------


def test_a_second_target_is_recorded_of_whoever_sent_it(lh1):
    lh1.receive("trading", "second-target", 0, (12, address("grid")))
    assert counts(lh1, "grid") == {"second-target": 1}
    assert report(lh1, "grid").newest == (
        Violation(12, None, None, Kind.SECOND_TARGET, 0, None, height=2, time_ms=GENESIS_MS + 1),
    )
    assert heard(lh1) == [("violation", 12, None, address("grid"), "second-target", 0, None)]
    account = get_account(Overlay(lh1.state), address("grid"))
    assert account.credit_upt == 90 * POINT, "it is no delivery, and scores nothing"


@pytest.mark.parametrize(
    ("error", "rows"),
    [
        (WrongShape, []),
        (WrongShape, [(12, address("grid"))] * 2),
        (WrongShape, [(12,)]),
        (WrongShape, [(12, address("grid"), 1)]),
        (WrongShape, [(-1, address("grid"))]),
        (WrongShape, [(12, address("grid")[:19])]),
        (WrongShape, [(12, "grid")]),
        (UnknownMember, [(12, address("eve"))]),
    ],
)
def test_a_second_target_of_another_shape_is_refused(lh1, error, rows):
    with pytest.raises(error):
        lh1.receive("trading", "second-target", 0, *rows)
    assert issubclass(error, GridmeritError)


def test_rows_are_canonical(lh1):
    lh1.deliver(3, told(0, "carol", "paul", 100, None, 130))
    lh1.receive("trading", "second-target", 0, (12, address("carol")))
    for name in ("carol", "paul"):
        found = report(lh1, name)
        assert [Violation.from_row(item.to_row()) for item in found.newest] == list(found.newest)
        assert encode((found.counts, tuple(item.to_row() for item in found.newest)))
