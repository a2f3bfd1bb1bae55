"""The short form of `make hostile`: some of its liars for some seconds each, and how it judges what it sees."""

from dataclasses import replace

import pytest

from node.queries.answers import LoopStatus, TurnsWithin
from tests.processes.hostile import LONG, SHORT, SHORT_GROUPS, drive, judge
from tests.processes.liars import LIARS, Liar
from tests.processes.stage import UNANSWERED_MS, Seen, Window, compare_turns


@pytest.mark.live
@pytest.mark.alone
async def test_no_members_word_stops_the_others(tmp_path):
    assert await drive(tmp_path, SHORT_GROUPS, SHORT) == {}


def test_every_liar_does_one_thing():
    for name, liar in LIARS.items():
        assert (liar.act is not None) + (liar.turns is not None) <= 1, name
        assert liar.act or liar.turns or liar.judge, name


# --- how it judges --------------------------------------------------------------------------------


QUIET = Window(offered_per_s=50, committed_per_s=50, blocks=20, final=20)
MEMBER, ANYBODY = Liar(about="a member"), Liar(about="anybody", is_scored=False)


def with_committed(per_s):
    return replace(QUIET, committed_per_s=per_s)


@pytest.mark.parametrize(
    ("liar", "during", "after", "seen", "faults"),
    [
        (ANYBODY, 50, 50, Seen(stall_ms=100), []),
        (ANYBODY, 40, 40, Seen(), []),
        (ANYBODY, 39.9, 50, Seen(), ["kept 80 % during"]),
        (ANYBODY, 50, 10, Seen(), ["kept 20 % after"]),
        (ANYBODY, 50, 50, Seen(stall_ms=101), ["stall of 101 ms"]),
        (ANYBODY, 50, 50, Seen(silent={"b", "a"}), ["a, b silent"]),
        (MEMBER, 50, 50, Seen(), ["no score"]),
        (MEMBER, 50, 50, Seen(score=1), []),
        (MEMBER, 50, 50, Seen(is_banned=True), []),
    ],
)
def test_a_bound_that_is_missed_is_named(liar, during, after, seen, faults):
    assert judge(liar, QUIET, with_committed(during), with_committed(after), seen, LONG) == faults


def test_the_short_form_blames_nobody_for_a_busy_machine():
    assert judge(ANYBODY, QUIET, QUIET, QUIET, Seen(stall_ms=200, silent={"a"}), SHORT) == []


def describe(*turns_ms):
    """The status of a loop that has had these turns."""
    bounds = (10, 100, 1_000)
    return LoopStatus(
        turns=len(turns_ms),
        cpu_ms=sum(turns_ms),
        longest_ms=max(turns_ms, default=0),
        within=tuple(TurnsWithin(limit_ms=limit, turns=sum(one <= limit for one in turns_ms)) for limit in bounds),
    )


@pytest.mark.parametrize(
    ("before", "since", "longest"),
    [
        ((3,), (7,), (7, True)),
        ((500,), (501,), (501, True)),
        ((500,), (5, 50), (100, False)),
        ((500,), (500,), (500, False)),
        ((50,), (7,), (10, False)),
        ((5,), (), (5, False)),
    ],
)
def test_the_longest_turn_between_two_looks(before, since, longest):
    assert compare_turns(describe(*before), describe(*before, *since)) == longest


def test_a_loop_that_never_answers_stood_still_all_the_time():
    assert compare_turns(describe(5), None) == compare_turns(None, describe(5)) == (UNANSWERED_MS, False)
