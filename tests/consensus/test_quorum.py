"""Quorum sizes, votes, certificates, double votes and the tally."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import NotADoubleVote, ShortCertificate, UnknownSigner, VoteTooFarAhead, WrongVoters
from consensus.quorum import (
    MAX_SIGNERS,
    DoubleVote,
    QuorumCertificate,
    Statement,
    Vote,
    VoteTally,
    check_double_vote,
    check_vote,
    checkpoint_quorum,
    max_faulty,
    pbft_quorum,
    sign_statement,
    verify_certificate,
)
from ledger.codec import decode, encode
from ledger.errors import DuplicateSigner, InvalidSignature, NonCanonical, TooLarge, WrongChain, WrongShape
from ledger.sealers import ValidatorSet
from ledger.signatures import SigningKey

CHAIN, OTHER_CHAIN = b"\x01" * 32, b"\x02" * 32
KEYS = sorted((SigningKey(bytes([seed]) * 32) for seed in range(7)), key=lambda key: key.public_key)
MEMBERS = [key.public_key for key in KEYS]  # n = 7: f = 2, quorum 5
VOTERS = ValidatorSet(0, tuple(MEMBERS))
STRANGER = SigningKey(b"\xff" * 32)
A = Statement(chain_id=CHAIN, slot=3, block_hash=b"\xaa" * 32)
B = Statement(chain_id=CHAIN, slot=3, block_hash=b"\xbb" * 32)
WITH_RESULT = replace(A, result=b"\x11" * 32)
OTHER_RESULT = replace(A, result=b"\x22" * 32)


def certify(statement: Statement, keys: list[SigningKey]) -> QuorumCertificate:
    votes = sorted((sign_statement(statement, key) for key in keys), key=lambda vote: vote.signer)
    return QuorumCertificate(statement=statement, signatures=tuple((vote.signer, vote.signature) for vote in votes))


def forged(vote: Vote) -> Vote:
    return replace(vote, signature=bytes([vote.signature[0] ^ 1]) + vote.signature[1:])


# --- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "f", "quorum"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 2), (4, 1, 3), (5, 1, 4), (6, 1, 4), (7, 2, 5), (10, 3, 7), (100, 33, 67)],
)
def test_quorum_sizes(n, f, quorum):
    assert max_faulty(n) == f
    assert checkpoint_quorum(n) == pbft_quorum(n) == quorum


@given(st.integers(1, 10_000))
def test_a_quorum_is_the_least_that_intersects_honestly_and_is_reachable(n):
    f, quorum = max_faulty(n), checkpoint_quorum(n)
    assert 3 * f < n <= 3 * f + 3
    assert 2 * quorum > n + f >= 2 * (quorum - 1)
    assert quorum <= n - f
    assert pbft_quorum(n) == quorum


# --- bytes ---------------------------------------------------------------------------------------


def test_everything_survives_the_wire():
    vote = sign_statement(A, KEYS[0])
    evidence = DoubleVote(first=vote, second=sign_statement(B, KEYS[0]))
    for thing in (A, WITH_RESULT, vote, certify(A, KEYS), evidence):
        again = type(thing).from_value(decode(encode(thing.to_value()), max_bytes=10_000))
        assert again == thing


@pytest.mark.parametrize(
    "value",
    [
        None,
        (),
        (CHAIN, 3, 0, A.block_hash),
        (CHAIN, 3, 0, 0, A.block_hash),
        (CHAIN, 3, 0, 0, b"short", b""),
        (CHAIN, -1, 0, 0, A.block_hash, b""),
        (CHAIN, b"3", 0, 0, A.block_hash, b""),
        (CHAIN, 3, 0, 4, A.block_hash, b""),
        (CHAIN, 3, 0, -1, A.block_hash, b""),
        (CHAIN, 3, 0, 0, A.block_hash, 0),
        (CHAIN, 3, 0, 0, A.block_hash, b"short"),
        (CHAIN, 3, 0, 0, A.block_hash, b"", 0),
    ],
)
def test_a_statement_of_the_wrong_shape_is_refused(value):
    for kind, wrapped in [
        (Statement, value),
        (Vote, (value, MEMBERS[0], bytes(64))),
        (QuorumCertificate, (value, ())),
        (DoubleVote, (sign_statement(A, KEYS[0]).to_value(), (value, MEMBERS[0], bytes(64)))),
    ]:
        with pytest.raises(WrongShape):
            kind.from_value(wrapped)


def test_a_certificate_on_the_wire_is_bounded_sorted_and_free_of_duplicates():
    pairs = certify(A, KEYS).signatures
    with pytest.raises(TooLarge):
        QuorumCertificate.from_value((A.to_value(), (pairs[0],) * (MAX_SIGNERS + 1)))
    with pytest.raises(NonCanonical):
        QuorumCertificate.from_value((A.to_value(), pairs[::-1]))
    with pytest.raises(DuplicateSigner):
        QuorumCertificate.from_value((A.to_value(), (pairs[0], *pairs)))
    with pytest.raises(WrongShape):
        QuorumCertificate.from_value((A.to_value(), ((MEMBERS[0], b"short"),)))


def test_every_field_is_signed():
    changes = {"chain_id": OTHER_CHAIN, "slot": 4, "block_hash": B.block_hash, "view": 1, "since_slot": 2}
    digests = {replace(A, **{name: value}).digest() for name, value in changes.items()}
    assert len(digests | {A.digest()}) == 6


# --- votes ---------------------------------------------------------------------------------------


def test_a_members_vote_passes():
    check_vote(sign_statement(A, KEYS[0]), MEMBERS)
    check_vote(sign_statement(A, KEYS[0]), frozenset(MEMBERS), chain_id=CHAIN)


def test_a_strangers_vote_is_refused():
    with pytest.raises(UnknownSigner):
        check_vote(sign_statement(A, STRANGER), MEMBERS)


def test_a_vote_for_another_chain_is_refused_though_the_key_serves_on_both():
    vote = sign_statement(replace(A, chain_id=OTHER_CHAIN), KEYS[0])
    check_vote(vote, MEMBERS)
    with pytest.raises(WrongChain):
        check_vote(vote, MEMBERS, chain_id=CHAIN)


def test_a_vote_cannot_be_altered_or_taken_over():
    vote = sign_statement(A, KEYS[0])
    for altered in (forged(vote), replace(vote, statement=B), replace(vote, signer=MEMBERS[1])):
        with pytest.raises(InvalidSignature):
            check_vote(altered, MEMBERS)


# --- certificates --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 6, 7])
def test_a_quorum_certifies(count):
    verify_certificate(certify(A, KEYS[:count]), MEMBERS, checkpoint_quorum(7), chain_id=CHAIN)


def test_one_signature_short_of_a_quorum_proves_nothing():
    with pytest.raises(ShortCertificate) as caught:
        verify_certificate(certify(A, KEYS[:4]), MEMBERS, checkpoint_quorum(7))
    assert caught.value.values == {"actual": 4, "quorum": 5}


def test_signing_five_times_is_not_a_quorum():
    certificate = certify(A, KEYS[:4])
    padded = replace(certificate, signatures=(*certificate.signatures, certificate.signatures[-1]))
    with pytest.raises(DuplicateSigner):
        verify_certificate(padded, MEMBERS, 5)


def test_duplicates_cannot_hide_out_of_order():
    pairs = certify(A, KEYS[:4]).signatures
    with pytest.raises(NonCanonical):
        verify_certificate(QuorumCertificate(statement=A, signatures=(*pairs, pairs[0])), MEMBERS, 5)


def test_a_stranger_does_not_count():
    with pytest.raises(UnknownSigner):
        verify_certificate(certify(A, [*KEYS[:4], STRANGER]), MEMBERS, 5)


@pytest.mark.parametrize("position", range(5))
def test_every_signature_of_a_certificate_is_checked(position):
    pairs = list(certify(A, KEYS[:5]).signatures)
    pairs[position] = (pairs[position][0], certify(B, KEYS[:5]).signatures[position][1])
    with pytest.raises(InvalidSignature):
        verify_certificate(QuorumCertificate(statement=A, signatures=tuple(pairs)), MEMBERS, 5)


def test_a_certificate_of_another_chain_is_refused():
    foreign = certify(replace(A, chain_id=OTHER_CHAIN), KEYS)
    with pytest.raises(WrongChain):
        verify_certificate(foreign, MEMBERS, 5, chain_id=CHAIN)


def test_a_quorum_that_cannot_intersect_is_our_bug():
    for quorum in (0, 3):
        with pytest.raises(AssertionError):
            verify_certificate(certify(A, KEYS), MEMBERS, quorum)


def test_votes_count_among_the_voters_that_they_name():
    """Five votes as members of a later set of seven are not five as those of the founders, or the other way round."""
    later = replace(A, since_slot=2)
    for statement, since_slot in [(later, 0), (A, 2), (replace(A, since_slot=3), 2)]:
        with pytest.raises(WrongVoters) as refused:
            verify_certificate(certify(statement, KEYS), MEMBERS, 5, since_slot=since_slot)
        assert refused.value.values == {"expected": since_slot, "actual": statement.since_slot}
        with pytest.raises(WrongVoters):
            check_vote(sign_statement(statement, KEYS[0]), MEMBERS, since_slot=since_slot)
    verify_certificate(certify(later, KEYS), MEMBERS, 5, since_slot=2)
    check_vote(sign_statement(later, KEYS[0]), MEMBERS, since_slot=2)


# --- double votes --------------------------------------------------------------------------------


def test_two_statements_for_one_slot_convict():
    evidence = DoubleVote(first=sign_statement(A, KEYS[0]), second=sign_statement(B, KEYS[0]))
    check_double_vote(evidence, MEMBERS, chain_id=CHAIN)
    assert evidence.signer == MEMBERS[0]


def test_two_statements_that_differ_in_the_voters_alone_convict():
    """An honest member never signs both: its guard knows one statement per slot, see `test_guard`."""
    first, second = sign_statement(A, KEYS[0]), sign_statement(replace(A, since_slot=2), KEYS[0])
    check_double_vote(DoubleVote(first=first, second=second), MEMBERS, chain_id=CHAIN)
    with pytest.raises(NotADoubleVote):
        check_double_vote(DoubleVote(first=second, second=first), MEMBERS, chain_id=CHAIN)


def test_what_does_not_convict():
    first, second = sign_statement(A, KEYS[0]), sign_statement(B, KEYS[0])
    for wrong in (
        DoubleVote(first=first, second=first),
        DoubleVote(first=second, second=first),
        DoubleVote(first=first, second=sign_statement(B, KEYS[1])),
        DoubleVote(first=first, second=sign_statement(replace(B, slot=4), KEYS[0])),
        DoubleVote(first=first, second=sign_statement(replace(B, chain_id=OTHER_CHAIN), KEYS[0])),
    ):
        with pytest.raises(NotADoubleVote):
            check_double_vote(wrong, MEMBERS, chain_id=CHAIN)


def test_evidence_cannot_be_fabricated():
    first, second = sign_statement(A, KEYS[0]), sign_statement(B, KEYS[0])
    for fabricated in (
        DoubleVote(first=forged(first), second=second),
        DoubleVote(first=first, second=forged(second)),
    ):
        with pytest.raises(InvalidSignature):
            check_double_vote(fabricated, MEMBERS)
    with pytest.raises(UnknownSigner):
        check_double_vote(DoubleVote(first=first, second=second), MEMBERS[1:])


# --- the tally -----------------------------------------------------------------------------------


@pytest.fixture
def tally() -> VoteTally:
    return VoteTally(chain_id=CHAIN, voters_at=lambda slot: VOTERS)


def test_more_than_m_identical_votes_form_a_certificate_once(tally):
    outcomes = [tally.add(sign_statement(A, key)) for key in KEYS]
    assert outcomes == [None, None, None, None, certify(A, KEYS[:5]), None, None]
    verify_certificate(outcomes[4], MEMBERS, 5, chain_id=CHAIN)


def test_different_statements_do_not_add_up(tally):
    split = [A, A, A, A, B, B, B]
    assert [tally.add(sign_statement(s, key)) for s, key in zip(split, KEYS, strict=True)] == [None] * 7


def test_repeating_a_vote_adds_nothing(tally):
    for _ in range(10):
        assert tally.add(sign_statement(A, KEYS[0])) is None
    assert tally.votes(3) == (sign_statement(A, KEYS[0]),)


def test_a_second_statement_is_evidence_once_and_the_first_vote_stands(tally):
    c = replace(A, block_hash=b"\xcc" * 32)
    assert tally.add(sign_statement(B, KEYS[0])) is None
    evidence = tally.add(sign_statement(A, KEYS[0]))
    assert evidence == DoubleVote(first=sign_statement(A, KEYS[0]), second=sign_statement(B, KEYS[0]))
    check_double_vote(evidence, MEMBERS, chain_id=CHAIN)
    assert tally.add(sign_statement(A, KEYS[0])) is None
    assert tally.add(sign_statement(c, KEYS[0])) is None
    assert tally.votes(3) == (sign_statement(B, KEYS[0]),)


def test_a_forged_second_statement_frames_nobody(tally):
    tally.add(sign_statement(A, KEYS[0]))
    with pytest.raises(InvalidSignature):
        tally.add(forged(sign_statement(B, KEYS[0])))
    assert isinstance(tally.add(sign_statement(B, KEYS[0])), DoubleVote)


def test_a_bad_vote_leaves_no_trace(tally):
    for error, vote in [
        (InvalidSignature, forged(sign_statement(A, KEYS[0]))),
        (UnknownSigner, sign_statement(A, STRANGER)),
        (WrongVoters, sign_statement(replace(A, since_slot=2), KEYS[0])),
        (WrongChain, sign_statement(replace(A, chain_id=OTHER_CHAIN), KEYS[0])),
        (VoteTooFarAhead, sign_statement(replace(A, slot=5), KEYS[0])),
    ]:
        with pytest.raises(error):
            tally.add(vote)
    assert all(tally.votes(slot) == () for slot in range(10))


def test_the_window_of_slots_moves_with_forget_before(tally):
    late = sign_statement(A, KEYS[0])
    tally.add(late)
    tally.forget_before(4)
    assert tally.votes(3) == ()
    assert tally.add(late) is None
    assert tally.votes(3) == ()
    tally.forget_before(2)
    assert tally.add(late) is None
    assert tally.votes(3) == ()
    tally.add(sign_statement(replace(A, slot=8), KEYS[0]))
    with pytest.raises(VoteTooFarAhead):
        tally.add(sign_statement(replace(A, slot=9), KEYS[0]))


def test_slots_are_counted_apart(tally):
    later = replace(A, slot=4)
    assert [tally.add(sign_statement(A, key)) for key in KEYS[:4]] == [None] * 4
    assert [tally.add(sign_statement(later, key)) for key in KEYS[:4]] == [None] * 4
    assert tally.add(sign_statement(later, KEYS[4])) == certify(later, KEYS[:5])


def test_a_chains_m_may_ask_for_more_than_the_least_quorum():
    tally = VoteTally(chain_id=CHAIN, voters_at=lambda slot: VOTERS, quorum_of=lambda n: n)
    outcomes = [tally.add(sign_statement(A, key)) for key in KEYS]
    assert outcomes == [None] * 6 + [certify(A, KEYS)]


def test_a_member_that_lost_its_right_no_longer_counts():
    present = set(MEMBERS)
    tally = VoteTally(chain_id=CHAIN, voters_at=lambda slot: ValidatorSet(0, tuple(present)))
    for key in KEYS[:4]:
        tally.add(sign_statement(A, key))
    present.remove(MEMBERS[0])  # n = 6: quorum 4
    assert tally.add(sign_statement(A, KEYS[4])) == certify(A, KEYS[1:5])


def test_votes_from_before_and_after_a_change_do_not_add_up():
    voters = [ValidatorSet(0, VOTERS.keys)]
    tally = VoteTally(chain_id=CHAIN, voters_at=lambda slot: voters[0])
    for key in KEYS[:4]:
        tally.add(sign_statement(A, key))
    voters[0] = ValidatorSet(2, VOTERS.keys)
    later = replace(A, since_slot=2)
    assert [tally.add(sign_statement(later, key)) for key in KEYS[4:]] == [None] * 3
    evidence = tally.add(sign_statement(later, KEYS[0]))
    assert evidence == DoubleVote(first=sign_statement(A, KEYS[0]), second=sign_statement(later, KEYS[0]))


def test_any_order_of_arrival_gives_the_same_certificate():
    members = MEMBERS[:4]
    for order in permutations(KEYS[:3]):
        tally = VoteTally(chain_id=CHAIN, voters_at=lambda slot: ValidatorSet(0, tuple(members)))
        assert [tally.add(sign_statement(A, key)) for key in order][-1] == certify(A, KEYS[:3])


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=60))
def test_no_arrival_order_yields_two_certificates_or_loses_a_culprit(arrivals):
    tally = VoteTally(chain_id=CHAIN, voters_at=lambda slot: VOTERS)
    outcomes = [tally.add(VOTES[member, says_a]) for member, says_a in arrivals]
    certificates = [outcome for outcome in outcomes if isinstance(outcome, QuorumCertificate)]
    culprits = [outcome.signer for outcome in outcomes if isinstance(outcome, DoubleVote)]
    assert len(certificates) <= 1
    said = set(arrivals)
    both = {MEMBERS[m] for m in range(7) if (m, True) in said and (m, False) in said}
    assert sorted(culprits) == sorted(both)
    assert len(tally.votes(3)) == len({member for member, _ in arrivals})


VOTES = {(m, says_a): sign_statement(A if says_a else B, KEYS[m]) for m in range(7) for says_a in (True, False)}


# --- results ---------------------------------------------------------------------------------------


def test_identical_means_the_same_block_and_the_same_result():
    tally = VoteTally(chain_id=CHAIN, voters_at=lambda slot: VOTERS)
    for key, statement in zip(KEYS, [WITH_RESULT] * 4 + [OTHER_RESULT, A], strict=False):
        assert tally.add(sign_statement(statement, key)) is None, "four of seven agree, five have to"
    certificate = tally.add(sign_statement(WITH_RESULT, KEYS[6]))
    assert certificate == certify(WITH_RESULT, [*KEYS[:4], KEYS[6]])
    verify_certificate(certificate, MEMBERS, 5, chain_id=CHAIN)


def test_a_certificate_of_one_result_proves_no_other():
    certificate = replace(certify(WITH_RESULT, KEYS[:5]), statement=OTHER_RESULT)
    with pytest.raises(InvalidSignature):
        verify_certificate(certificate, MEMBERS, 5, chain_id=CHAIN)


def test_two_results_of_one_block_convict_their_signer():
    tally = VoteTally(chain_id=CHAIN, voters_at=lambda slot: VOTERS)
    votes = [sign_statement(statement, KEYS[0]) for statement in (OTHER_RESULT, WITH_RESULT)]
    assert tally.add(votes[0]) is None
    evidence = tally.add(votes[1])
    assert evidence == DoubleVote(first=votes[1], second=votes[0]), "the lower result first, whichever came first"
    check_double_vote(evidence, MEMBERS, chain_id=CHAIN)
