"""Certificates say who a member is, and only the authority's own key makes them."""

from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidKey
from ledger.signatures import SigningKey
from node.credentials.certificates import (
    DAY_MS,
    MAX_SERIAL,
    MemberCertificate,
    Subject,
    check_ca,
    issue,
    make_ca,
    name_of_key,
    read_certificate,
    verify_issued,
)
from node.errors import BadCertificate

NOW_MS = 1_700_000_000_000
CA_KEY, CHAIN_KEY, TLS_KEY, OTHER = (SigningKey(bytes([number]) * 32) for number in range(1, 5))
CA = make_ca(CA_KEY, not_before_ms=NOW_MS)
SUBJECT = Subject(member="pv-101", key=CHAIN_KEY.public_key, role="producer", network=b"\x07" * 32)


def certify(subject=SUBJECT, *, ca=CA, ca_key=CA_KEY, **changes):
    facts = {"serial": 5, "not_before_ms": NOW_MS, "not_after_ms": NOW_MS + DAY_MS}
    return issue(ca, ca_key, subject, **{"tls_key": TLS_KEY.public_key, **facts, **changes})


def test_a_certificate_says_what_was_put_into_it():
    expected = MemberCertificate(
        subject=SUBJECT,
        tls_key=TLS_KEY.public_key,
        serial=5,
        not_before_ms=NOW_MS,
        not_after_ms=NOW_MS + DAY_MS,
    )
    pem = certify()
    assert read_certificate(pem) == verify_issued(pem, CA) == expected
    assert read_certificate(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)) == expected


@given(st.text(min_size=1, max_size=32).filter(lambda text: text.isprintable()))
def test_any_name_survives(name):
    subject = Subject(member=name, key=SUBJECT.key, role=SUBJECT.role, network=SUBJECT.network)
    assert read_certificate(certify(subject)).member == name


def test_days_left_are_whole_and_negative_after_the_end():
    info = read_certificate(certify(not_after_ms=NOW_MS + 10 * DAY_MS))
    days = [info.days_left(NOW_MS + offset_ms) for offset_ms in (0, 1_000, 10 * DAY_MS, 10 * DAY_MS + 1)]
    assert days == [10, 9, 0, -1]


def test_a_chain_key_has_a_name_with_labels_that_dns_allows():
    name = name_of_key(CHAIN_KEY.public_key)
    assert name.replace(".", "").removesuffix("gridmerit") == CHAIN_KEY.public_key.hex()
    assert max(map(len, name.split("."))) <= 63


def test_the_authority_may_issue_and_a_member_may_not():
    check_ca(CA)
    with pytest.raises(BadCertificate, match="no authority's certificate"):
        check_ca(certify())


def test_a_certificate_of_another_authority_is_told_apart_though_the_name_is_the_same():
    foreign = certify(ca=make_ca(OTHER, not_before_ms=NOW_MS), ca_key=OTHER)
    assert read_certificate(foreign).member == "pv-101"
    with pytest.raises(BadCertificate, match="not issued by this network's authority"):
        verify_issued(foreign, CA)


def test_while_one_authority_follows_another_either_counts():
    both = CA + make_ca(OTHER, not_before_ms=NOW_MS)
    check_ca(both)
    for issued in (certify(), certify(ca=make_ca(OTHER, not_before_ms=NOW_MS), ca_key=OTHER)):
        assert verify_issued(issued, both).member == "pv-101"
    with pytest.raises(BadCertificate, match="no authority's certificate"):
        check_ca(CA + certify())
    with pytest.raises(BadCertificate, match="more than 4"):
        check_ca(CA * 5)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"ca_key": OTHER}, "do not belong together"),
        ({"serial": 0}, "serial 0"),
        ({"serial": MAX_SERIAL + 1}, "serial"),
        ({"not_after_ms": NOW_MS}, "end before it begins"),
        ({"not_after_ms": NOW_MS + 30 * 365 * DAY_MS}, "outlive the authority's"),
        ({"ca": b"nonsense"}, "not an X.509 certificate"),
    ],
)
def test_what_cannot_be_issued_is_refused(changes, detail):
    with pytest.raises(BadCertificate, match=detail):
        certify(**changes)


@pytest.mark.parametrize("weak", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32])
def test_weak_keys_get_no_certificate(weak):
    with pytest.raises(InvalidKey):
        certify(tls_key=weak)
    with pytest.raises(InvalidKey):
        certify(Subject(member="pv-101", key=weak, role="producer", network=bytes(32)))


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage):
    for data in (garbage, b"-----BEGIN CERTIFICATE-----\n" + garbage, bytes(20_000)):
        with pytest.raises(BadCertificate):
            read_certificate(data)


@pytest.mark.parametrize("spoilt", [CA, certify()], ids=["authority", "member"])
def test_a_certificate_with_any_bit_flipped_is_good_or_refused(spoilt):
    """Files are read while a node runs: nothing on disk may raise anything else."""
    der = bytearray(x509.load_pem_x509_certificate(spoilt).public_bytes(Encoding.DER))
    for place in range(len(der)):
        der[place] ^= 1
        for certificate, authority in ((bytes(der), CA), (certify(), bytes(der))):
            with suppress(BadCertificate):
                verify_issued(certificate, authority)
            with suppress(BadCertificate):
                check_ca(authority)
        der[place] ^= 1


def test_a_certificate_that_names_no_member_is_refused():
    with pytest.raises(BadCertificate, match="names no member"):
        read_certificate(CA)
