"""The inbox: every part of a message counts once, whatever their order, and old messages are forgotten for good."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.errors import AlreadyRelayed, NonCanonical, RelayTooOld, TooLarge, WrongShape
from ledger.inbox import REMEMBERED, is_received, read_part, receive
from ledger.outbox import MAX_PARTS, ROWS_PER_PART
from ledger.overlay import Overlay
from ledger.state import State


class Inbox:
    """An inbox that takes each part as a transaction does: all of it or nothing."""

    def __init__(self):
        self.view = Overlay(State.empty())

    def receive(self, number, part, parts, *, source="DU1", kind="quota"):
        try:
            is_complete = receive(self.view, source, kind, number, part, parts)
        except Exception:
            self.view.rollback()
            raise
        self.view.commit()
        return is_complete

    def has(self, number, part, *, source="DU1", kind="quota"):
        return is_received(self.view, source, kind, number, part)

    @property
    def state(self):
        return self.view.finish()[0]


@pytest.fixture
def inbox():
    return Inbox()


# --- the bytes of a part ---------------------------------------------------------------------------


def test_a_part_says_how_many_there_are():
    assert read_part(encode((3, ((1, b"a"), (2, b"b"))))) == (3, ((1, b"a"), (2, b"b")))
    assert read_part(encode((1, ()))) == (1, ())


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, WrongShape),
        ((), WrongShape),
        ((1,), WrongShape),
        ((1, (), ()), WrongShape),
        ((0, ()), WrongShape),
        ((-1, ()), WrongShape),
        ((MAX_PARTS + 1, ()), WrongShape),
        ((b"1", ()), WrongShape),
        ((1, None), WrongShape),
        ((1, 5), WrongShape),
        ((1, (0,) * (ROWS_PER_PART + 1)), TooLarge),
        ((1, (bytes(1_000_000),)), TooLarge),
    ],
)
def test_a_part_of_the_wrong_shape_is_refused(value, error):
    with pytest.raises(error):
        read_part(encode(value))


@pytest.mark.parametrize("raw", [b"", b"\x92\x01", b"\x92\x01\x90\x00", b"\x92\xcc\x01\x90"])
def test_a_part_that_is_not_canonical_is_refused(raw):
    with pytest.raises(NonCanonical):
        read_part(raw)


# --- counting parts --------------------------------------------------------------------------------


def test_a_message_is_complete_with_its_last_part_in_any_order(inbox):
    assert [inbox.receive(7, part, 3) for part in (2, 0, 1)] == [False, False, True]
    assert inbox.receive(8, 0, 1)
    assert [inbox.has(7, part) for part in range(4)] == [True, True, True, False]


def test_a_second_copy_is_named(inbox):
    inbox.receive(7, 1, 3)
    for _ in range(2):
        with pytest.raises(AlreadyRelayed) as caught:
            inbox.receive(7, 1, 3)
        assert caught.value.values == {"kind": "quota", "number": 7, "part": 1}
    assert not inbox.receive(7, 0, 3)
    assert inbox.receive(7, 2, 3)
    with pytest.raises(AlreadyRelayed, match="part 2 of quota 7 has come already"):
        inbox.receive(7, 2, 3)


@pytest.mark.parametrize(("part", "parts"), [(1, 4), (1, 2), (2, 2), (0, 1), (3, 3), (5, 3)])
def test_parts_that_contradict_each_other_are_refused(inbox, part, parts):
    inbox.receive(7, 0, 3)
    before = inbox.state.root
    with pytest.raises(WrongShape, match=f"quota 7 has the wrong shape: part {part} of {parts}"):
        inbox.receive(7, part, parts)
    assert inbox.state.root == before
    assert not inbox.receive(7, 1, 3)


def test_a_part_beyond_its_own_count_is_refused_though_it_comes_first(inbox):
    with pytest.raises(WrongShape, match="part 1 of 1"):
        inbox.receive(7, 1, 1)
    assert inbox.state.root == State.empty().root


def test_sources_kinds_and_numbers_are_counted_apart(inbox):
    names = [
        {"number": number, "source": source, "kind": kind}
        for number in (7, 8)
        for source in ("DU1", "JY1")
        for kind in ("quota", "verdict")
    ]
    for name in names:
        assert not inbox.has(part=0, **name)
        assert inbox.receive(part=0, parts=1, **name)
        assert inbox.has(part=0, **name)


def test_the_largest_message_fits(inbox):
    assert not inbox.receive(7, MAX_PARTS - 1, MAX_PARTS)
    assert inbox.has(7, MAX_PARTS - 1)
    assert not inbox.has(7, 0)


# --- bounded memory --------------------------------------------------------------------------------


def test_what_is_older_than_all_that_is_remembered_is_refused(inbox):
    for number in range(10, 10 + REMEMBERED):
        inbox.receive(number, 0, 2)
    assert not inbox.receive(11_000, 0, 2), "this pushes 10 out"
    for number in (0, 9, 10):
        assert inbox.has(number, 0)
        assert inbox.has(number, 1), "whatever part of it, it is never taken again"
        with pytest.raises(RelayTooOld) as caught:
            inbox.receive(number, 1, 2)
        assert caught.value.values == {"kind": "quota", "number": number, "oldest": 11}
    assert inbox.receive(11, 1, 2)
    assert inbox.receive(9, 0, 1, kind="verdict"), "each kind has its own memory"


def test_a_gap_may_be_filled_late(inbox):
    inbox.receive(20, 0, 1)
    assert inbox.receive(5, 0, 1)
    assert inbox.receive(12, 0, 1)


def test_memory_is_bounded(inbox):
    sizes = []
    for number in range(3 * REMEMBERED):
        inbox.receive(number, 0, 2)
        sizes.append(len(inbox.state))
    assert max(sizes) == sizes[-1] == REMEMBERED + 1


@given(st.lists(st.integers(0, 3 * REMEMBERED), max_size=300))
def test_no_message_is_taken_twice_however_much_is_forgotten(numbers):
    inbox, taken = Inbox(), set()
    for number in numbers:
        was_received = inbox.has(number, 0)
        try:
            assert inbox.receive(number, 0, 1)
        except (AlreadyRelayed, RelayTooOld):
            assert was_received
            continue
        assert not was_received
        assert number not in taken
        taken.add(number)
    assert len(inbox.state) <= REMEMBERED + 1


@st.composite
def interleavings(draw):
    """Parts of several messages, each at least once, shuffled together: (name, part, parts)."""
    names = draw(st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 5)), min_size=1, max_size=4, unique=True))
    parts = {name: draw(st.integers(1, 6)) for name in names}
    once = [(name, part) for name in names for part in range(parts[name])]
    again = draw(st.lists(st.sampled_from(once), max_size=10))
    return [(name, part, parts[name]) for name, part in draw(st.permutations([*once, *again]))]


@given(interleavings())
def test_any_interleaving_completes_every_message_exactly_once(arrivals):
    inbox, completed, seen = Inbox(), [], set()
    for (kind, number), part, parts in arrivals:
        assert inbox.has(number, part, kind=kind) == ((kind, number, part) in seen)
        if (kind, number, part) in seen:
            with pytest.raises(AlreadyRelayed):
                inbox.receive(number, part, parts, kind=kind)
            continue
        seen.add((kind, number, part))
        if inbox.receive(number, part, parts, kind=kind):
            assert {(kind, number, every) for every in range(parts)} <= seen
            completed.append((kind, number))
    assert sorted(completed) == sorted({name for name, _, _ in arrivals})
