"""Downloads: one source at a time, the next one on silence, and bounds everywhere."""

from node.chain.downloads import Downloads

A, B, C = b"a", b"b", b"c"
X, Y = b"x", b"y"


def make(**changes):
    return Downloads(**{"timeout_ms": 100, "max_wanted": 10, "max_offered": 10, "max_per_peer": 4, **changes})


def test_one_thing_is_asked_of_one_peer_only():
    fetcher = make()
    for peer in (A, B, C):
        fetcher.offer(X, peer)
    assert fetcher.requests(0) == {A: [X]}
    assert fetcher.requests(50) == {}
    assert fetcher.arrived(X)
    assert not fetcher.arrived(X)
    assert fetcher.requests(200) == {}


def test_a_silent_peer_is_passed_over_for_the_next_source():
    fetcher = make()
    fetcher.offer(X, A)
    fetcher.offer(X, B)
    assert fetcher.requests(0) == {A: [X]}
    assert fetcher.requests(100) == {B: [X]}
    assert fetcher.requests(200) == {}
    assert X not in fetcher, "every source failed: it may be offered again"
    fetcher.offer(X, C)
    assert fetcher.requests(201) == {C: [X]}


def test_a_lost_peer_is_asked_nothing_more():
    fetcher = make()
    fetcher.offer(X, A)
    fetcher.offer(X, B)
    fetcher.offer(Y, A)
    assert fetcher.requests(0) == {A: [X, Y]}
    fetcher.lost(A)
    assert fetcher.requests(1) == {B: [X]}
    assert Y not in fetcher


def test_a_peer_is_not_asked_for_more_than_it_may_carry():
    fetcher = make(max_per_peer=2)
    for number in range(5):
        fetcher.offer(bytes([number]), A)
    assert fetcher.requests(0) == {A: [b"\0", b"\1"]}
    assert fetcher.requests(1) == {}
    fetcher.arrived(b"\0")
    assert fetcher.requests(2) == {A: [b"\2"]}


def test_wants_and_sources_are_bounded():
    fetcher = make(max_wanted=3)
    for number in range(100):
        fetcher.offer(bytes([number]), A)
    assert len(fetcher) == 3
    for number in range(100):
        fetcher.offer(b"\0", bytes([number]))
    asked = set()
    for now in range(0, 10_000, 100):
        asked |= {peer for peer, ids in fetcher.requests(now).items() if b"\0" in ids}
    assert len(asked) <= 8


def test_one_peer_cannot_take_all_places_and_does_not_pay_for_what_others_spoke_of():
    fetcher = make(max_offered=3)
    for number in range(5):
        fetcher.offer(bytes([number]), A)
    assert len(fetcher) == 3
    fetcher.offer(X, B)
    fetcher.offer(X, A)
    assert X in fetcher
    assert fetcher.arrived(bytes([0]))
    fetcher.offer(Y, A)
    assert Y in fetcher, "a place that is free again"


def test_who_keeps_silent_is_asked_last():
    fetcher = make()
    for identity in (X, Y):
        fetcher.offer(identity, A)
        fetcher.offer(identity, B)
    assert fetcher.requests(0) == {A: [X, Y]}
    assert fetcher.requests(100) == {B: [X, Y]}
    assert fetcher.arrived(X)
    fetcher.offer(b"z", A)
    fetcher.offer(b"z", B)
    assert fetcher.requests(150) == {B: [b"z"]}


def test_who_withholds_is_not_asked_while_those_who_answer_are_busy():
    fetcher = make(max_per_peer=1)
    fetcher.offer(X, A)
    fetcher.offer(X, B)
    assert fetcher.requests(0) == {A: [X]}
    assert fetcher.requests(100) == {B: [X]}
    for peer in (A, B):
        fetcher.offer(Y, peer)
    assert fetcher.requests(101) == {}, "B is busy, and A has failed"
    assert fetcher.arrived(X)
    assert fetcher.requests(102) == {B: [Y]}
    assert fetcher.requests(202) == {A: [Y]}, "where the others have failed as well, it is asked again"
