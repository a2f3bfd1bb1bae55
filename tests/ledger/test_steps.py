"""Execution in steps: the same as at once, to the byte, wherever it rests; nothing is left of one that is dropped."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.contract import Contracts
from ledger.errors import WrongStateRoot
from ledger.execution import (
    EnvelopeCache,
    execute_block,
    execute_body,
    ledger_handlers,
    run_block,
    run_body,
    run_selection,
)
from ledger.inbox import RELAY
from ledger.overlay import Overlay
from ledger.params import MarketParams
from ledger.steps import Run

SHARE = 3  # of what is to be done, a pass does so much


def work_off(view, block):
    left, (height, number, _) = view.get(b"left") or 0, get_share(view, block)
    done = min(left, SHARE)
    if done:
        view.put(b"left", left - done)
        view.put(b"share", (height, number, done))
    if block.is_first_of_period:
        view.put(b"periods", (view.get(b"periods") or 0) + 1)
    view.put(b"passes", (view.get(b"passes") or 0) + 1)


def get_share(view, block):
    share = view.get(b"share") or (0, 1, 0)
    return share if share[0] == block.height else (block.height, 1, 0)


def take_share(view, block):
    height, number, spent = get_share(view, block)
    if not spent or number == block.params.market.passes_per_block:
        return False
    view.put(b"share", (height, number + 1, 0))
    return True


def bring_work(view, block, transaction):
    """A relay: it brings as much to do as it says, and counts as work itself."""
    height, number, spent = get_share(view, block)
    view.put(b"left", (view.get(b"left") or 0) + transaction.payload[0])
    view.put(b"share", (height, number, spent + 1))


def make_working(make_lab, *, passes, relays=0, transactions=2_000):
    contracts = Contracts(
        handlers=ledger_handlers(),
        producer_handlers={RELAY: bring_work},
        hooks=(work_off,),
        further_hooks=(work_off,),
        take_share=take_share,
    )
    limits = {"max_block_relays": relays, "max_block_transactions": transactions}
    return make_lab(ledger=limits, market=MarketParams(passes_per_block=passes), contracts=contracts)


def take_steps(steps):
    """The result, and how many steps it took."""
    run, count = Run(steps), 0
    while not run.is_over:
        run.go_on()
        count += 1
    return run.result, count


def read(execution, key):
    return Overlay(execution.state).get(key)


@settings(max_examples=60, deadline=None)
@given(
    passes=st.integers(1, 5),
    limit=st.integers(0, 12),
    brought=st.lists(st.integers(0, 9), max_size=12),
    transfers=st.integers(0, 9),
    turns=st.lists(st.integers(0, 2), max_size=40),
)
def test_runs_in_any_order_come_to_what_execution_at_once_comes_to(make_lab, passes, limit, brought, transfers, turns):
    lab = make_working(make_lab, passes=passes, relays=limit, transactions=15)
    parent, context = lab.root, lab.context(lab.root)
    relays = [lab.sign("anna", RELAY, amount, number) for number, amount in enumerate(brought)]
    pending = [lab.transfer("bert", "anna", 1, sequence=sequence) for sequence in range(transfers)]
    selection = run_selection(parent.state, context, [*relays, *pending], lab.contracts, max_bytes=10**6)
    (taken, filled), count = take_steps(selection)
    at_once = execute_body(parent.state, context, taken, lab.contracts)
    runs = [Run(run_body(parent.state, context, taken, lab.contracts)) for _ in range(3)]
    for turn in turns:  # one of them is dropped wherever it has come to by then
        if not runs[turn].is_over:
            runs[turn].go_on()
    for run in runs[:2]:
        while not run.is_over:
            run.go_on()
        assert run.result.state.root == at_once.state.root == filled.state.root
        assert run.result.delta == at_once.delta == filled.delta
        assert (run.result.receipts, run.result.events) == (at_once.receipts, at_once.events)
    assert take_steps(run_body(parent.state, context, taken, lab.contracts))[1] == count
    assert (count == 1) if passes == 1 else (count <= 2 * passes + len(taken) + 4)
    block, _ = lab.build(parent, *taken)
    assert execute_block(parent.state, block, context, lab.contracts, EnvelopeCache()).state.root == filled.state.root


def test_a_pass_follows_another_only_where_that_one_has_done_something(make_lab):
    lab = make_working(make_lab, passes=4)
    quiet, count = take_steps(run_body(lab.root.state, lab.context(lab.root), (), lab.contracts))
    assert (read(quiet, b"passes"), count) == (1, 1)
    brought = lab.sign("anna", RELAY, 7)  # three passes after it, and none is left for a fourth
    busy, count = take_steps(run_body(lab.root.state, lab.context(lab.root), (brought,), lab.contracts))
    assert (read(busy, b"passes"), read(busy, b"left")) == (4, 0)
    assert count == 6, "a rest before each of three passes, before what was written is put together, and after it"


def test_what_is_left_is_the_next_blocks_and_only_the_first_pass_begins_a_period(make_lab):
    lab = make_working(make_lab, passes=2)
    first = execute_body(lab.root.state, lab.context(lab.root), (lab.sign("anna", RELAY, 20),), lab.contracts)
    assert read(first, b"left") == 20 - SHARE
    later = lab.context(lab.root, timestamp_ms=lab.genesis.time_ms + lab.params.ledger.period_ms)
    assert later.is_first_of_period
    second = execute_body(first.state, replace(later, height=2), (), lab.contracts)
    assert read(second, b"left") == 20 - 3 * SHARE
    assert read(second, b"periods") == 1


def test_relays_are_taken_in_a_passs_part_at_a_time(make_lab):
    lab = make_working(make_lab, passes=3, relays=9, transactions=100)
    relays = [lab.sign("anna", RELAY, 0, number) for number in range(9)]
    for count, rests in ((2, 0), (3, 1), (5, 1), (6, 2), (9, 3)):
        _, steps = take_steps(run_body(lab.root.state, lab.context(lab.root), relays[:count], lab.contracts))
        assert steps == 1 + rests + 1 + 2, "they are work, after which another pass looks for more"


def test_other_transactions_make_a_block_rest_once_it_is_full_of_them(make_lab):
    lab = make_working(make_lab, passes=3, transactions=4)
    transfers = [lab.transfer("anna", "bert", 1, sequence=sequence) for sequence in range(4)]
    for count, steps in ((3, 1), (4, 4)):
        body = run_body(lab.root.state, lab.context(lab.root), transfers[:count], lab.contracts)
        assert take_steps(body)[1] == steps


def test_a_wrong_root_is_found_after_all_rests(make_lab):
    lab = make_working(make_lab, passes=3, relays=9)
    relays = [lab.sign("anna", RELAY, 5, number) for number in range(6)]
    wrong, _ = lab.build(lab.root, *relays, state_root=bytes(32))
    run = Run(run_block(lab.root.state, wrong, lab.context(lab.root), lab.contracts, EnvelopeCache()))
    for _ in range(6):
        run.go_on()
    with pytest.raises(WrongStateRoot):
        run.go_on()
    assert run.result is None
