"""Records of where members' nodes are: which count, which wait, which go. Pure, so members are what the test says."""

from dataclasses import replace

import pytest

from ledger.codec import encode
from ledger.errors import InvalidSignature, Malformed, NonCanonical, TooLarge, WrongShape
from ledger.signatures import SigningKey
from node.errors import BadContact
from node.peer.records import MAX_AHEAD_MS, MAX_CONTACTS, MIN_APART_MS, ContactBook, MemberStatus, PeerRecord, check_url

NETWORK, OTHER_NETWORK = b"\x4e" * 32, b"\x4f" * 32
NOW_MS = 1_700_000_000_000
OWN, ANNA, BERT = (SigningKey(bytes([index]) * 32) for index in (1, 2, 3))


def make(key=ANNA, *, network=NETWORK, signer=None, **changes):
    facts = {"key": key.public_key, "url": "https://10.0.0.7:9100", "chains": ("jy1",), "sequence": NOW_MS}
    contact = PeerRecord(**{**facts, **changes})
    return replace(contact, signature=(signer or key).sign(contact._digest(network)))


class Town:
    """A book, and what everybody is to the chains; whom nobody has named is unknown."""

    def __init__(self):
        self.standings = {}
        self.book = ContactBook(NETWORK, OWN.public_key, lambda key: self.standings.get(key, MemberStatus.UNKNOWN))

    def offer(self, contact, source=b"neighbour"):
        """The URLs that count as soon as a contact has come, and the keys that are given up for it."""
        is_due = self.book.offer(contact.to_bytes(), NOW_MS, source=source)
        settled = self.book.take_due()
        assert is_due or not settled.added
        return [contact.url for contact in settled.added], list(settled.dropped)

    def settle(self):
        settled = self.book.settle()
        return [contact.url for contact in settled.added], list(settled.dropped)

    def urls(self):
        return [contact.url for contact in self.book]


@pytest.fixture
def town():
    town = Town()
    town.standings = dict.fromkeys((ANNA.public_key, BERT.public_key), MemberStatus.SEALER)
    return town


def test_a_members_record_counts_at_once(town):
    assert town.offer(make()) == (["https://10.0.0.7:9100"], [])
    assert town.offer(make()) == ([], []), "it is no news"
    assert len(town.book) == 1


def test_what_is_signed_is_read_again():
    contact = make(chains=("du1", "jy1"))
    assert PeerRecord.from_bytes(contact.to_bytes()) == contact
    unsigned = PeerRecord(key=ANNA.public_key, url="https://a:1", chains=("jy1",), sequence=5)
    unsigned.signed(ANNA, NETWORK).check(NETWORK)


def test_one_that_is_no_member_yet_waits_for_its_admission(town):
    town.standings.clear()
    assert town.offer(make()) == ([], [])
    town.standings[ANNA.public_key] = MemberStatus.MEMBER
    assert town.settle() == (["https://10.0.0.7:9100"], [])


@pytest.mark.parametrize("standing", [MemberStatus.GONE, MemberStatus.UNKNOWN])
def test_one_that_has_gone_is_dropped_and_one_whose_credential_expired_is_not(town, standing):
    town.offer(make())
    town.standings[ANNA.public_key] = standing
    is_gone = standing is MemberStatus.GONE
    assert town.settle() == ([], [ANNA.public_key] if is_gone else [])
    assert len(town.book) == (not is_gone)
    if is_gone:
        later = make(sequence=NOW_MS + MIN_APART_MS)
        assert town.offer(later) == ([], [])
        town.standings[ANNA.public_key] = MemberStatus.MEMBER
        assert town.settle() == ([], []), "what came while it was gone is not kept"


def test_a_later_record_replaces_an_earlier_one(town):
    town.offer(make())
    assert town.offer(make(url="https://b:1", sequence=NOW_MS + MIN_APART_MS)) == (["https://b:1"], [])
    assert town.offer(make(url="https://c:1")) == ([], []), "an old one is played back"
    assert town.urls() == ["https://b:1"]


def test_records_of_one_member_cannot_follow_each_other_quickly(town):
    town.offer(make())
    assert town.offer(make(url="https://b:1", sequence=NOW_MS + MIN_APART_MS - 1)) == ([], [])
    assert town.offer(make(url="https://c:1", sequence=NOW_MS + MAX_AHEAD_MS + 1)) == ([], [])
    assert town.urls() == ["https://10.0.0.7:9100"]


def test_ones_own_record_is_not_news(town):
    town.standings[OWN.public_key] = MemberStatus.SEALER
    assert town.offer(make(OWN)) == ([], [])


def test_a_record_that_its_key_has_not_signed_for_this_network_is_refused(town):
    for forged in (make(signer=BERT), make(network=OTHER_NETWORK), replace(make(), url="https://evil:1")):
        with pytest.raises(InvalidSignature):
            town.offer(forged)
    assert len(town.book) == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://a:1", "https://", "https://a:0", "https://a:99999", "https://a/path", "https://a/", "https://a?q",
        "https://u:p@a", "https://a#f", "HTTPS://a", "https://[::1", "https://a b", "https://ä:1", "ftp://a", "",
        "https://a:", "https://a:01", "https://a:65536", "https://[fe80::1%25eth0]:1", "https://[::1]a", "https://a%00",
        "https://a\\b", "https://a\n", "https://[v1.x]:1",
    ],
)  # fmt: skip
def test_urls_that_are_more_or_less_than_host_and_port(url):
    with pytest.raises(BadContact):
        check_url(url)
    with pytest.raises(BadContact):
        PeerRecord.from_bytes(make(url=url).to_bytes())


@pytest.mark.parametrize(
    "url", ["https://a", "https://node-1.example:9100", "https://127.0.0.1:1", "https://[::1]:9100"]
)
def test_urls_that_will_do(url):
    check_url(url)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (make(url="https://" + "a" * 300).to_bytes(), Malformed),
        (make(url="https://" + "a" * 2_000).to_bytes(), TooLarge),
        (make(chains=()).to_bytes(), BadContact),
        (make(chains=("jy1", "jy1")).to_bytes(), BadContact),
        (make(chains=tuple(f"c{index}" for index in range(17))).to_bytes(), Malformed),
        (make(chains=("c" * 33,)).to_bytes(), Malformed),
        (make(sequence=-1).to_bytes(), WrongShape),
        (encode((1, 2, 3)), WrongShape),
        (b"\xc1", NonCanonical),
    ],
)
def test_records_beyond_their_bounds_are_refused(raw, error):
    with pytest.raises(error):
        PeerRecord.from_bytes(raw)


def test_a_full_book_takes_sealing_members_before_others():
    town = Town()
    keys = [SigningKey(index.to_bytes(32, "big")) for index in range(1_000, 1_000 + MAX_CONTACTS)]
    for key in keys:
        town.standings[key.public_key] = MemberStatus.MEMBER
        town.offer(make(key))
    assert len(town.book) == MAX_CONTACTS
    town.standings[ANNA.public_key] = MemberStatus.MEMBER
    assert town.offer(make()) == ([], []), "no room"
    town.standings[BERT.public_key] = MemberStatus.SEALER
    assert town.offer(make(BERT)) == (["https://10.0.0.7:9100"], [keys[-1].public_key])
    assert len(town.book) == MAX_CONTACTS


def test_a_record_for_each_of_many_members_may_come_at_once():
    town = Town()
    keys = [SigningKey(index.to_bytes(32, "big")) for index in range(1, 201)]
    town.standings = {key.public_key: MemberStatus.MEMBER for key in keys}
    assert all(town.book.offer(make(key).to_bytes(), NOW_MS, source=b"neighbour") for key in keys)
    assert len(town.book.take_due().added) == len(town.book) == len(keys)


def test_records_of_nobody_crowd_out_nothing_but_their_source_s_own():
    town = Town()
    town.offer(make(ANNA), source=b"honest")
    keys = [SigningKey(index.to_bytes(32, "big")) for index in range(1, 101)]
    for key in keys:
        town.offer(make(key), source=b"hostile")
    town.standings = {key.public_key: MemberStatus.MEMBER for key in (ANNA, *keys)}
    assert len(town.settle()[0]) == 17
    assert {contact.key for contact in town.book} == {key.public_key for key in (ANNA, *keys[-16:])}


def test_a_member_s_record_is_not_lost_among_those_of_nobody(town):
    raws = [make().to_bytes(), *(make(SigningKey(bytes([index]) * 32)).to_bytes() for index in range(10, 60))]
    assert [town.book.offer(raw, NOW_MS, source=b"hostile") for raw in raws] == [True] + [False] * 50
    assert [contact.key for contact in town.book.take_due().added] == [ANNA.public_key]


def test_what_was_held_before_a_restart_is_held_under_a_clock_that_has_been_set_back(town):
    contact = make(sequence=NOW_MS + 86_400_000)
    assert not town.book.offer(contact.to_bytes(), NOW_MS, source=b"neighbour")
    assert town.book.offer(contact.to_bytes(), None, source=OWN.public_key)
