"""Lines that repeat: each is written or told of, none of a kind twice within a minute, in bounded memory."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from node.system.repeats import Repeats

PAUSE_MS, KINDS = 60, 3


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=80))
def test_every_line_is_written_or_counted_and_none_too_often(steps):
    repeats, now_ms, came, told, written = Repeats(max, pause_ms=PAUSE_MS), 0, Counter(), Counter(), {}

    def write(kind, count):
        assert now_ms - written.get(kind, -PAUSE_MS) >= PAUSE_MS
        written[kind] = now_ms
        told[kind] += count

    for kind, pause_ms in steps:
        now_ms += pause_ms
        for line, count in repeats.take_due(now_ms):
            write(line[0], count)
        came[kind] += 1
        if repeats.is_new(kind, (kind, now_ms), now_ms):
            write(kind, 1)
        assert repeats.due_ms is not None
    for (kind, _), count in repeats.take_all():
        told[kind] += count
    assert told == came
    assert repeats.due_ms is None


@given(st.lists(st.integers(0, 9), max_size=60))
def test_the_kind_that_was_first_makes_room(kinds):
    repeats, told = Repeats(max, pause_ms=PAUSE_MS, max_kinds=KINDS), 0
    for kind in kinds:
        told += repeats.is_new(kind, kind, 0)
        told += sum(count for _, count in repeats.take_due(0))
        assert len(repeats._known) <= KINDS
    assert told + sum(count for _, count in repeats.take_all()) == len(kinds)


def test_the_last_of_them_is_told_when_the_pause_is_over():
    repeats = Repeats(lambda held, line: f"{held}+{line}", pause_ms=PAUSE_MS)
    assert [repeats.is_new("a", line, at) for at, line in enumerate("xyz")] == [True, False, False]
    assert (list(repeats.take_due(59)), repeats.due_ms) == ([], 60)
    assert (list(repeats.take_due(60)), repeats.due_ms) == ([("y+z", 2)], 120)
    assert (list(repeats.take_due(120)), repeats.due_ms) == ([], None)
    assert repeats.is_new("a", "x", 120)
