"""Messages, record and evidence of PBFT: their bytes, and what they must prove."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import (
    NotADoubleVote,
    ShortCertificate,
    UnjustifiedProposal,
    UnknownMessage,
    UnknownSigner,
    UnprovenClaim,
    WrongLeader,
)
from consensus.pbft.messages import (
    MAX_VIEW,
    Prepare,
    PreparedCertificate,
    ViewChange,
    build_certificate,
    build_new_view,
    build_prepared,
    decode_message,
    encode_message,
    get_prepared,
    height_of,
    sign_pre_prepare,
    sign_prepare,
    sign_view_change,
    view_of,
)
from consensus.pbft.record import PbftRecord
from consensus.pbft.validators import Committee, DoubleBallot, build_double_ballot, check_double_ballot, check_message
from consensus.quorum import MAX_SIGNERS, Statement, sign_statement
from ledger.codec import decode, encode
from ledger.errors import (
    DuplicateSigner,
    GridmeritError,
    InvalidSignature,
    Malformed,
    NonCanonical,
    TooLarge,
    WrongChain,
    WrongShape,
)
from ledger.signatures import SigningKey

CHAIN, OTHER_CHAIN = b"\x01" * 32, b"\x02" * 32
KEYS = [SigningKey(bytes([seed + 1]) * 32) for seed in range(4)]
STRANGER = SigningKey(b"\xff" * 32)
COMMITTEE = Committee(chain_id=CHAIN, validators=tuple(key.public_key for key in KEYS))
A, B = b"\xaa" * 32, b"\xbb" * 32
HEIGHT = 8  # member v leads view v


def prepare(member: int, view: int = 0, block_hash: bytes = A, *, height: int = HEIGHT) -> Prepare:
    return sign_prepare(KEYS[member], CHAIN, height=height, view=view, block_hash=block_hash)


def prepared(view: int = 0, block_hash: bytes = A, members=(0, 1, 2)) -> PreparedCertificate:
    return build_prepared([prepare(member, view, block_hash) for member in members])


def vote(member: int, view: int = 0, block_hash: bytes = A, *, chain_id: bytes = CHAIN):
    return sign_statement(Statement(chain_id=chain_id, slot=HEIGHT, view=view, block_hash=block_hash), KEYS[member])


def view_change(member: int, view: int = 1, claim: PreparedCertificate | None = None, *, height: int = HEIGHT):
    return sign_view_change(KEYS[member], CHAIN, height=height, view=view, prepared=claim)


def pre_prepare(view: int = 0, block_hash: bytes = A, new_view=(), *, member: int | None = None):
    key = KEYS[view % 4 if member is None else member]
    return sign_pre_prepare(key, CHAIN, height=HEIGHT, view=view, block_hash=block_hash, new_view=tuple(new_view))


NEW_VIEW = build_new_view([view_change(0, 3, prepared()), view_change(1, 3), view_change(2, 3, prepared(1, B))])
CERTIFICATE = build_certificate([vote(member) for member in range(3)])
MESSAGES = (
    pre_prepare(),
    pre_prepare(3, B, NEW_VIEW),
    prepare(1),
    vote(2),
    view_change(1),
    view_change(1, 3, prepared(2)),
    CERTIFICATE,
)


# --- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_survive_the_wire_and_prove_themselves(message):
    again = decode_message(encode_message(message))
    assert again == message
    assert height_of(again) == HEIGHT
    check_message(again, COMMITTEE)


@given(st.sampled_from(MESSAGES), st.data())
def test_changed_bytes_are_refused_or_prove_nothing(message, data):
    raw = bytearray(encode_message(message))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    raw = bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw)
    try:
        again = decode_message(raw)
    except GridmeritError:
        return
    if again != message:
        assert encode_message(again) == raw
        with pytest.raises(GridmeritError):
            check_message(again, COMMITTEE)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_malformed(raw):
    with suppress(Malformed):
        assert encode_message(decode_message(raw)) == raw


hashes = st.binary(min_size=32, max_size=32)
heights = st.integers(0, 2**63 - 1)
views = st.integers(0, MAX_VIEW)


@given(heights, views, hashes, hashes, st.binary(min_size=64, max_size=64))
def test_a_prepare_round_trips_whatever_it_holds(height, view, block_hash, signer, signature):
    message = Prepare(height=height, view=view, block_hash=block_hash, signer=signer, signature=signature)
    assert decode_message(encode_message(message)) == message


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, WrongShape),
        ((1,), WrongShape),
        ((5, ()), UnknownMessage),
        ((-1, ()), WrongShape),
        ((1, (HEIGHT, MAX_VIEW + 1, A, bytes(32), bytes(64))), WrongShape),
        ((1, (HEIGHT, 0, b"short", bytes(32), bytes(64))), WrongShape),
        ((3, (HEIGHT, 0, None, bytes(32), bytes(64))), WrongShape),  # nobody changes to view 0
        ((3, (HEIGHT, 1, (HEIGHT, 1, A, ()), bytes(32), bytes(64))), UnprovenClaim),
        ((3, (HEIGHT, 1, (HEIGHT - 1, 0, A, ()), bytes(32), bytes(64))), UnprovenClaim),
        ((3, (HEIGHT, 1, (HEIGHT, 0, A, ((bytes(32), bytes(64)),) * 2), bytes(32), bytes(64))), DuplicateSigner),
        ((2, ((CHAIN, HEIGHT, MAX_VIEW + 1, A), bytes(32), bytes(64))), WrongShape),
        ((0, (HEIGHT, 1, A, (NEW_VIEW[0].to_value(),) * (MAX_SIGNERS + 1), bytes(32), bytes(64))), TooLarge),
    ],
)
def test_messages_of_the_wrong_shape_are_refused(value, error):
    with pytest.raises(error):
        decode_message(encode(value))


def test_the_largest_proposal_fits_into_a_message():
    n = MAX_SIGNERS
    signatures = tuple((number.to_bytes(32, "big"), bytes(64)) for number in range(n))
    claim = PreparedCertificate(height=2**62, view=MAX_VIEW - 1, block_hash=A, signatures=signatures)
    many = [
        ViewChange(height=2**62, view=MAX_VIEW, prepared=claim, signer=signer, signature=bytes(64))
        for signer, _ in signatures
    ]
    message = replace(pre_prepare(), height=2**62, view=MAX_VIEW, new_view=build_new_view(many))
    assert decode_message(encode_message(message)) == message


# --- what they must prove ------------------------------------------------------------------------


def refuse(message, error) -> None:
    with pytest.raises(error):
        check_message(message, COMMITTEE)


def test_a_signature_holds_for_one_chain_phase_height_and_view():
    good = prepare(1)
    refuse(replace(good, view=1), InvalidSignature)
    refuse(replace(good, height=HEIGHT + 1), InvalidSignature)
    refuse(replace(good, block_hash=B), InvalidSignature)
    refuse(replace(good, signer=COMMITTEE.validators[0]), InvalidSignature)
    refuse(replace(good, signature=vote(1).signature), InvalidSignature)
    refuse(sign_prepare(KEYS[1], OTHER_CHAIN, height=HEIGHT, view=0, block_hash=A), InvalidSignature)
    refuse(sign_prepare(STRANGER, CHAIN, height=HEIGHT, view=0, block_hash=A), UnknownSigner)
    refuse(vote(1, chain_id=OTHER_CHAIN), WrongChain)
    refuse(replace(view_change(1), view=2), InvalidSignature)


def test_a_view_change_proves_its_claim():
    good = view_change(1, 3, prepared(2))
    refuse(good.without_proof(), ShortCertificate)
    refuse(view_change(1, 3, prepared(2, members=(0, 1))), ShortCertificate)
    refuse(view_change(1, 3, replace(prepared(2), block_hash=B)), InvalidSignature)
    refuse(view_change(1, 3, replace(prepared(1), view=2)), InvalidSignature)
    refuse(view_change(1, 2, prepared(2)), UnprovenClaim)
    refuse(replace(good, prepared=None), InvalidSignature)
    doubled = prepared(2).signatures
    refuse(view_change(1, 3, replace(prepared(2), signatures=(doubled[0], *doubled[:2]))), DuplicateSigner)
    refuse(view_change(1, 3, replace(prepared(2), signatures=doubled[::-1])), NonCanonical)


def test_only_the_leader_of_a_view_proposes():
    refuse(pre_prepare(member=1), WrongLeader)
    assert [COMMITTEE.leader(HEIGHT + 1, view) for view in range(4)] == [COMMITTEE.validators[i] for i in (1, 2, 3, 0)]


def test_a_new_view_needs_a_quorum_that_has_come_to_it():
    three = build_new_view([view_change(member) for member in range(3)])
    check_message(pre_prepare(1, B, three), COMMITTEE)
    check_message(pre_prepare(1, B, build_new_view([view_change(member) for member in range(4)])), COMMITTEE)
    refuse(pre_prepare(0, B, three), UnjustifiedProposal)
    refuse(pre_prepare(1, B), ShortCertificate)
    refuse(pre_prepare(1, B, three[:2]), ShortCertificate)
    refuse(pre_prepare(1, B, (three[0], *three[:2])), DuplicateSigner)
    refuse(pre_prepare(1, B, three[::-1]), NonCanonical)
    refuse(pre_prepare(2, B, three), UnjustifiedProposal)
    stranger = sign_view_change(STRANGER, CHAIN, height=HEIGHT, view=1, prepared=None)
    refuse(pre_prepare(1, B, build_new_view([*three[:2], stranger])), UnknownSigner)
    other = view_change(2, height=HEIGHT + 4)
    refuse(
        pre_prepare(1, B, build_new_view([*(view_change(member) for member in range(2)), other])), UnjustifiedProposal
    )


def test_a_new_view_binds_to_the_block_prepared_last():
    proposed = get_prepared(NEW_VIEW)
    assert proposed is not None
    assert (proposed.view, proposed.block_hash) == (1, B)
    refuse(pre_prepare(3, A, NEW_VIEW), UnjustifiedProposal)
    claims = [view_change(0, 3, prepared()), view_change(1, 3), view_change(2, 3, prepared(1, B))]
    everything = sorted(claims, key=lambda one: one.signer)
    refuse(pre_prepare(3, B, everything), UnjustifiedProposal)  # two proofs
    nothing = tuple(one.without_proof() for one in everything)
    refuse(pre_prepare(3, B, nothing), ShortCertificate)
    lower = tuple(one if one.prepared and one.prepared.view == 0 else one.without_proof() for one in everything)
    refuse(pre_prepare(3, B, lower), ShortCertificate)


def test_whoever_hides_what_it_prepared_cannot_hide_what_others_did():
    honest = view_change(2, 1, prepared())
    new_view = build_new_view([view_change(0), view_change(1), honest])
    refuse(pre_prepare(1, B, new_view), UnjustifiedProposal)
    check_message(pre_prepare(1, A, new_view), COMMITTEE)


# --- the record ----------------------------------------------------------------------------------


RECORDS = (
    PbftRecord(),
    PbftRecord(height=HEIGHT, view=2),
    PbftRecord(height=HEIGHT, view=3, block_hash=B, new_view=NEW_VIEW),
    PbftRecord(height=HEIGHT, view=1, block_hash=A, prepared=prepared(1)),
    PbftRecord(height=HEIGHT, view=2, block_hash=A, prepared=prepared(1, B)),
)


@pytest.mark.parametrize("record", RECORDS)
def test_records_survive_the_disk(record):
    assert PbftRecord.from_value(decode(encode(record.to_value()), max_bytes=10_000)) == record


@pytest.mark.parametrize(
    "record",
    [
        PbftRecord(height=HEIGHT, prepared=prepared(1)),
        PbftRecord(height=HEIGHT + 1, view=2, prepared=prepared(1)),
        PbftRecord(height=HEIGHT, view=1, block_hash=B, prepared=prepared(1)),
        PbftRecord(height=HEIGHT, view=3, new_view=NEW_VIEW),
        PbftRecord(height=HEIGHT, view=2, block_hash=A, new_view=NEW_VIEW),
    ],
)
def test_records_that_contradict_themselves_are_refused(record):
    with pytest.raises(WrongShape):
        PbftRecord.from_value(record.to_value())


def test_a_record_admits_one_block_and_one_commit_per_view_and_no_way_back():
    record = PbftRecord(height=HEIGHT).after_prepare(1, A).after_commit(prepared(1))
    assert record.has_committed
    for again in (
        lambda: record.after_prepare(1, B),
        lambda: record.after_prepare(0, B),
        lambda: record.after_commit(prepared(1)),
        lambda: record.after_view_change(1),
        lambda: record.at_height(HEIGHT - 1),
        lambda: PbftRecord(height=HEIGHT).after_prepare(1, A).after_commit(prepared(1, B)),
    ):
        with pytest.raises(AssertionError):
            again()
    assert record.after_view_change(2).prepared == prepared(1)
    assert record.at_height(HEIGHT + 1) == PbftRecord(height=HEIGHT + 1)


# --- evidence ------------------------------------------------------------------------------------


def test_two_prepares_or_two_view_changes_convict():
    for one, other in [
        (prepare(1), prepare(1, 0, B)),
        (view_change(1, 3), view_change(1, 3, prepared(2))),
        (view_change(1, 3, prepared(1, B)), view_change(1, 3, prepared(2))),
    ]:
        evidence = build_double_ballot(one, other)
        assert evidence == build_double_ballot(other, one)
        assert evidence.signer == KEYS[1].public_key
        again = DoubleBallot.from_value(decode(encode(evidence.to_value()), max_bytes=10_000))
        assert again == evidence
        check_double_ballot(again, COMMITTEE)


def test_anything_less_convicts_nobody():
    good = build_double_ballot(prepare(1), prepare(1, 0, B))
    for first, second, error in [
        (prepare(1), prepare(1), NotADoubleVote),
        (good.second, good.first, NotADoubleVote),
        (prepare(1), prepare(2, 0, B), NotADoubleVote),
        (prepare(1), prepare(1, 1, B), NotADoubleVote),
        (prepare(1), prepare(1, 0, B, height=9), NotADoubleVote),
        (view_change(1), prepare(1, 1), NotADoubleVote),
        (prepare(1), replace(prepare(1), block_hash=B), InvalidSignature),
    ]:
        with pytest.raises(error):
            check_double_ballot(DoubleBallot(first=first, second=second), COMMITTEE)
    with pytest.raises(WrongShape):
        DoubleBallot.from_value((0, (), ()))


def test_the_view_of_a_certificate_is_the_one_it_was_decided_in():
    assert view_of(CERTIFICATE) == 0


def test_a_record_tells_of_each_what_it_has_signed_of_what_stands_in_it():
    """A block that a quorum prepared in view 0, taken over by the leader of view 1, and prepared there."""
    before = build_prepared([prepare(member) for member in range(3)])
    changes = [sign_view_change(key, CHAIN, height=HEIGHT, view=1, prepared=before) for key in KEYS[:3]]
    record = PbftRecord(height=HEIGHT).after_view_change(1).after_prepare(1, A, build_new_view(changes))
    again = [prepare(member, view=1) for member in range(4)]
    told = record.after_commit(build_prepared(again))
    assert told.said_by(KEYS[1].public_key) == (again[1], changes[1].without_proof())
    assert told.said_by(KEYS[3].public_key) == (again[3],)
    assert record.said_by(KEYS[3].public_key) == told.said_by(STRANGER.public_key) == ()
    check_message(told.said_by(KEYS[2].public_key)[0], COMMITTEE)
