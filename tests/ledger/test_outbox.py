"""The outbox: messages in parts of few rows, provable one by one, and only the latest of a kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import decode, encode
from ledger.inbox import read_part
from ledger.outbox import (
    MAX_PARTS,
    RETAINED,
    ROWS_PER_PART,
    OutboxEntry,
    get_entries,
    iterate_parts,
    outbox_key,
    post,
    post_parts,
)
from ledger.overlay import Overlay
from ledger.state import State, verify_state_proof


def posted(*messages, state=None):
    """The state after posting (kind, number, rows, height), each in a block of its own."""
    state = state or State.empty()
    for kind, number, rows, height in messages:
        view = Overlay(state)
        post(view, kind, number, rows, height=height)
        view.commit()
        state, _ = view.finish()
    return state


def rows_of(count):
    return [(number, b"row") for number in range(count)]


def parts_of(state, **options):
    return [(kind, number, part) for kind, number, part, _ in iterate_parts(state, **options)]


@pytest.mark.parametrize(
    ("rows", "sizes"), [(0, [0]), (1, [1]), (64, [64]), (65, [64, 1]), (128, [64, 64]), (130, [64, 64, 2])]
)
def test_a_message_is_split_into_parts(rows, sizes):
    state = posted(("quota", 5, rows_of(rows), 9))
    assert get_entries(Overlay(state)) == (OutboxEntry(kind="quota", number=5, parts=len(sizes), height=9),)
    read = [read_part(raw) for _, _, _, raw in iterate_parts(state)]
    assert [parts for parts, _ in read] == [len(sizes)] * len(sizes)
    assert [len(piece) for _, piece in read] == sizes
    assert [row for _, piece in read for row in piece] == rows_of(rows)


def test_each_part_is_a_state_value_of_its_own_that_can_be_proved():
    state = posted(("quota", 5, rows_of(100), 9))
    for kind, number, part, raw in iterate_parts(state):
        key = outbox_key(kind, number, part)
        assert state.get(key) == raw == encode(decode(raw, max_bytes=10_000))
        verify_state_proof(state.root, key, raw, state.prove(key))
    assert state.get(outbox_key("quota", 5, 2)) is None


def test_keys_of_parts_differ():
    names = [(kind, number, part) for kind in ("a", "a/", "ab") for number in (0, 1, 256) for part in (0, 1, 256)]
    assert len({outbox_key(*name) for name in names}) == len(names)


def test_entries_stand_in_the_order_of_posting():
    state = posted(("quota", 5, [], 3), ("metered", 2, [], 4), ("quota", 6, [], 4))
    assert [(entry.kind, entry.number) for entry in get_entries(Overlay(state))] == [
        ("quota", 5),
        ("metered", 2),
        ("quota", 6),
    ]


def test_an_empty_outbox_says_nothing():
    assert get_entries(Overlay(State.empty())) == ()
    assert list(iterate_parts(State.empty())) == []


def test_what_was_posted_above_a_height():
    state = posted(("quota", 5, rows_of(65), 3), ("quota", 6, [], 4), ("result", 5, [], 4))
    assert parts_of(state) == [("quota", 5, 0), ("quota", 5, 1), ("quota", 6, 0), ("result", 5, 0)]
    assert parts_of(state, above_height=3) == [("quota", 6, 0), ("result", 5, 0)]
    assert parts_of(state, above_height=4) == []


def test_the_oldest_of_a_kind_leave_nothing_behind():
    kept = [("quota", number, rows_of(70), number) for number in range(100, 100 + RETAINED)]
    others = [("result", 1, rows_of(3), 1)]
    old = [("quota", number, rows_of(200), number) for number in range(90, 100)]
    assert posted(*others, *old, *kept).root == posted(*others, *kept).root


def test_a_number_is_posted_once():
    with pytest.raises(AssertionError, match="quota 5 is posted twice"):
        posted(("quota", 5, [], 1), ("quota", 5, [(1,)], 2))


def test_a_message_has_a_bound():
    assert ROWS_PER_PART * MAX_PARTS == 262_144
    with pytest.raises(AssertionError):
        posted(("quota", 5, [1] * (ROWS_PER_PART * MAX_PARTS + 1), 1))


@given(
    st.lists(st.tuples(st.sampled_from(["quota", "result"]), st.integers(0, 3), st.integers(0, 130)), max_size=30),
)
def test_the_outbox_holds_the_latest_of_each_kind_and_no_other_key(moves):
    numbers, sent, state = {"quota": 0, "result": 0}, [], State.empty()
    for height, (kind, step, count) in enumerate(moves, 1):
        numbers[kind] += 1 + step
        sent.append((kind, numbers[kind], count))
        state = posted((kind, numbers[kind], rows_of(count), height), state=state)
    expected = []
    for kind in numbers:
        expected += [item for item in sent if item[0] == kind][-RETAINED:]
    assert {(entry.kind, entry.number) for entry in get_entries(Overlay(state))} == {item[:2] for item in expected}
    read = {}
    for kind, number, _, raw in iterate_parts(state):
        read.setdefault((kind, number), []).extend(read_part(raw)[1])
    assert read == {(kind, number): rows_of(count) for kind, number, count in expected}
    assert len(state) == len(parts_of(state)) + bool(sent)


# --- by shares ---------------------------------------------------------------------------------------


def share(state, rows, *, first, parts, height, number=5):
    view = Overlay(state)
    post_parts(view, "result", number, rows, parts=parts, first=first, height=height)
    view.commit()
    return view.finish()[0]


def test_a_message_is_posted_by_shares_and_each_is_told_from_its_own_height_on():
    rows = rows_of(150)
    state = share(State.empty(), rows[:64], first=0, parts=3, height=4)
    assert parts_of(state) == [("result", 5, 0)]
    state = share(state, rows[64:], first=1, parts=3, height=6)
    assert parts_of(state) == [("result", 5, part) for part in range(3)]
    assert parts_of(state, above_height=4) == [("result", 5, 1), ("result", 5, 2)]
    assert parts_of(state, above_height=6) == []
    read = [read_part(raw) for _, _, _, raw in iterate_parts(state)]
    assert [parts for parts, _ in read] == [3, 3, 3]
    assert [row for _, piece in read for row in piece] == rows


def test_all_shares_of_a_message_go_with_it():
    state = share(State.empty(), rows_of(64), first=0, parts=2, height=1, number=1)
    state = share(state, rows_of(1), first=1, parts=2, height=2, number=1)
    for number in range(2, RETAINED + 2):
        state = posted(("result", number, [1], number + 1), state=state)
    assert [number for _, number, _ in parts_of(state)] == list(range(2, RETAINED + 2))
    assert len(state) == RETAINED + 1


def test_a_whole_message_is_posted_once():
    view = Overlay(State.empty())
    post(view, "result", 1, [1], height=1)
    with pytest.raises(AssertionError, match="result 1 is posted twice"):
        post(view, "result", 1, [1], height=2)
