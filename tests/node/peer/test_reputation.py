"""Scores decay, bans expire and double, rates are limited: all in the time that the test says it is."""

import pytest

from node.errors import NotAPeer, PeerBanned, RateLimited
from node.peer.reputation import (
    BAN_POINTS,
    DECAY_MS_PER_POINT,
    FIRST_BAN_MS,
    FORGIVEN_AFTER_MS,
    LONGEST_BAN_MS,
    PeerBook,
    PeerLimits,
)

PEER, STRANGER = b"\x01" * 32, b"\x02" * 32
NOW_MS = 1_800_000_000_000


@pytest.fixture
def book():
    return PeerBook([PEER])


def ban(book, now_ms):
    """Ban the peer; until when."""
    assert book.penalise(PEER, BAN_POINTS, now_ms)
    return now_ms + book.get_standing(PEER, now_ms).ban_left_ms


def test_a_stranger_has_no_standing(book):
    with pytest.raises(NotAPeer):
        book.check(STRANGER, NOW_MS)
    with pytest.raises(NotAPeer):
        book.penalise(STRANGER, 1, NOW_MS)
    assert STRANGER not in book


def test_a_few_faults_cost_points_and_are_forgotten_with_time(book):
    assert not book.penalise(PEER, 50, NOW_MS)
    assert book.get_standing(PEER, NOW_MS).score == 50
    assert book.get_standing(PEER, NOW_MS + 20 * DECAY_MS_PER_POINT).score == 30
    assert book.get_standing(PEER, NOW_MS + 999 * DECAY_MS_PER_POINT).score == 0
    book.check(PEER, NOW_MS)


def test_faults_spread_over_time_never_add_up_to_a_ban(book):
    for turn in range(100):
        assert not book.penalise(PEER, 50, NOW_MS + turn * 50 * DECAY_MS_PER_POINT)


def test_a_hundred_points_are_a_ban_that_expires(book):
    assert not book.penalise(PEER, 60, NOW_MS)
    assert book.penalise(PEER, 40, NOW_MS)
    with pytest.raises(PeerBanned) as caught:
        book.check(PEER, NOW_MS)
    assert caught.value.values == {"left_ms": FIRST_BAN_MS}
    assert book.is_banned(PEER, NOW_MS + FIRST_BAN_MS - 1)
    book.check(PEER, NOW_MS + FIRST_BAN_MS)
    assert book.get_standing(PEER, NOW_MS + FIRST_BAN_MS).score == 0


def test_faults_during_a_ban_do_not_prolong_it(book):
    until_ms = ban(book, NOW_MS)
    assert not book.penalise(PEER, BAN_POINTS, NOW_MS + 1)
    assert book.get_standing(PEER, NOW_MS + 1).ban_left_ms == until_ms - NOW_MS - 1


def test_each_ban_is_twice_as_long_as_the_one_before_up_to_an_hour(book):
    now_ms, lengths = NOW_MS, []
    for _ in range(8):
        until_ms = ban(book, now_ms)
        lengths.append((until_ms - now_ms) // 1_000)
        now_ms = until_ms
    assert lengths == [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]
    assert lengths[-1] * 1_000 == LONGEST_BAN_MS


def test_after_a_long_time_in_good_standing_a_ban_is_short_again(book):
    until_ms = ban(book, ban(book, NOW_MS))
    later_ms = until_ms + FORGIVEN_AFTER_MS + 1
    assert ban(book, later_ms) - later_ms == FIRST_BAN_MS


def test_a_peer_that_sends_too_much_is_told_so_and_may_send_again_later():
    limits = PeerLimits(bytes_per_s=1_000, burst_bytes=5_000, messages_per_s=10, burst_messages=20)
    book = PeerBook([PEER], limits)
    book.charge_bytes(PEER, 5_000, NOW_MS)
    with pytest.raises(RateLimited):
        book.charge_bytes(PEER, 1, NOW_MS)
    book.charge_bytes(PEER, 500, NOW_MS + 500)
    book.charge_messages(PEER, 30, NOW_MS)  # ten more than there is room for, all of which are paid for
    for later_ms in (0, 1_000):
        with pytest.raises(RateLimited):
            book.check_messages(PEER, NOW_MS + later_ms)
    book.check_messages(PEER, NOW_MS + 1_001)
