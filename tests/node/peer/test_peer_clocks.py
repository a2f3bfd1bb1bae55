"""A node's clock against its peers': the median of what they sign, which no minority moves, and late batches do not."""

from hypothesis import given
from hypothesis import strategies as st

from node.peer.peer_clocks import ClockView, PeerClocks, find_offset

WALL_MS, STEADY_MS, LIMIT_MS = 1_800_000_000_000, 5_000_000, 2_500
DAY_MS = 86_400_000


def peer(number):
    return bytes([number]) * 32


def make_clocks(*ahead_ms, late_ms=20):
    """Peers whose clocks are ahead of ours by so much, each heard once."""
    clocks = PeerClocks(LIMIT_MS)
    for number, ahead in enumerate(ahead_ms):
        clocks.note(peer(number), sent_ms=WALL_MS + ahead - late_ms, steady_ms=STEADY_MS)
    return clocks


def compare(clocks, *, after_ms=0, set_by_ms=0):
    return clocks.compare(WALL_MS + after_ms + set_by_ms, steady_ms=STEADY_MS + after_ms)


def test_nothing_is_said_where_nobody_is_heard():
    assert compare(PeerClocks(LIMIT_MS)) is None
    assert compare(make_clocks(0, 0), after_ms=60_001) is None


def test_the_clock_is_ahead_or_behind_by_the_median():
    assert compare(make_clocks(-600_000, -600_005, -599_000)) == ClockView(offset_ms=600_020, peers=3, is_off=True)
    assert compare(make_clocks(300_000, 300_100, 300_200)) == ClockView(offset_ms=-300_080, peers=3, is_off=True)
    assert compare(make_clocks(0, 10, -10)) == ClockView(offset_ms=20, peers=3, is_off=False)


def test_a_clock_that_is_set_is_off_at_once_and_right_at_once():
    clocks = make_clocks(0, 0, 0)
    for by_ms, is_off in ((DAY_MS, True), (0, False), (-DAY_MS, True), (0, False)):
        assert compare(clocks, after_ms=1_000, set_by_ms=by_ms).is_off == is_off


def test_batches_that_come_late_say_nothing_of_a_clock():
    clocks = make_clocks(0, 0, 0)
    for turn in range(1, 8):
        for number in range(3):
            clocks.note(peer(number), sent_ms=WALL_MS + turn, steady_ms=STEADY_MS + turn + 10_000)
    assert abs(compare(clocks, after_ms=10_007).offset_ms) <= 20


def test_a_peer_whose_clock_has_been_mended_is_believed_after_a_few_batches():
    clocks = make_clocks(DAY_MS)
    for turn in range(16):
        clocks.note(peer(0), sent_ms=WALL_MS + turn, steady_ms=STEADY_MS + turn)
    assert not compare(clocks, after_ms=16).is_off


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=20),
    st.lists(st.integers(-(2**62), 2**62), max_size=20),
)
def test_no_minority_moves_the_offset_out_of_what_the_others_span(honest, liars):
    liars = liars[: len(honest) - 1]
    assert min(*honest, 0) <= find_offset([*honest, *liars]) <= max(*honest, 0)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=20), st.integers(1_000, 2**62))
def test_half_of_the_peers_raise_no_alarm(honest, lie):
    for liars in ([lie] * len(honest), [-lie] * len(honest)):
        assert abs(find_offset([*honest, *liars])) <= 50


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=21))
def test_of_an_odd_number_it_is_the_median(differences):
    if len(differences) % 2:
        assert find_offset(differences) == sorted(differences)[len(differences) // 2]
