"""X.509 certificates of a network: its authority's own, and one per member, which binds name, keys, role and network.

All keys are Ed25519. A member's facts stand in the subject alternative name, as URIs; a DNS name made from its chain
key stands beside them, so that TLS itself checks which node a connection leads to. Times are ms since the Unix epoch.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ledger.errors import InvalidKey
from ledger.signatures import SigningKey, check_public_key
from node.errors import BadCertificate

DAY_MS = 86_400_000
LEAF_DAYS = 365
AUTHORITY_DAYS = 20 * 365
WARNING_DAYS = 60  # before a certificate's end
MAX_SERIAL = 2**159 - 1  # RFC 5280, section 4.1.2.2: 20 octets, positive
_MAX_BYTES = 16_384
_MAX_AUTHORITIES = 4  # in one file, while one follows another
_PEM_HEAD = b"-----BEGIN CERTIFICATE-----"
_URN = "urn:gridmerit:"
_FACTS = ("member", "key", "role", "network")
_DOMAIN = "gridmerit"
_KEY_DIGITS = 64
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_LABEL = _KEY_DIGITS // 2  # a DNS label has at most 63 characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The subject of a certificate: `key` is its chain key, `network` the network's id (32 bytes each)."""

    member: str
    key: bytes
    role: str
    network: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberCertificate:
    """The facts in a member's certificate."""

    subject: Subject
    tls_key: bytes
    serial: int
    not_before_ms: int
    not_after_ms: int

    @property
    def member(self) -> str:
        return self.subject.member

    @property
    def key(self) -> bytes:
        return self.subject.key

    def days_left(self, now_ms: int) -> int:
        """Whole days until it ends; negative once it has."""
        return (self.not_after_ms - now_ms) // DAY_MS


def name_of_key(key: bytes) -> str:
    """The DNS name that stands for a chain key, and for nothing on the Internet."""
    digits = key.hex()
    return f"{digits[:_LABEL]}.{digits[_LABEL:]}.{_DOMAIN}"


def make_ca(
    key: SigningKey, *, not_before_ms: int, not_after_ms: int | None = None, name: str = "gridmerit authority"
) -> bytes:
    """The authority's own certificate, PEM: it issues members' certificates, and those issue nothing."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    private = _private(key)
    identifier = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    end_ms = not_before_ms + AUTHORITY_DAYS * DAY_MS if not_after_ms is None else not_after_ms
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_datetime(not_before_ms))
        .not_valid_after(_datetime(end_ms))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return builder.sign(private, None).public_bytes(Encoding.PEM)


def issue(
    ca_pem: bytes,
    ca_key: SigningKey,
    subject: Subject,
    *,
    tls_key: bytes,
    serial: int,
    not_before_ms: int,
    not_after_ms: int,
) -> bytes:
    """A member's certificate, PEM. `tls_key` is the public key it will speak TLS with.

    Raises `BadCertificate` where the authority's certificate is another key's or ends before, and `InvalidKey`.
    """
    ca = _load(ca_pem)
    if _raw_key(ca) != ca_key.public_key:
        raise BadCertificate(detail="the authority's certificate and its key do not belong together")
    if not 0 < serial <= MAX_SERIAL:
        raise BadCertificate(detail=f"serial {serial} is not from 1 to 2^159 - 1")
    if not_after_ms <= not_before_ms:
        raise BadCertificate(detail="it would end before it begins")
    if not_after_ms > _ms(ca.not_valid_after_utc):
        raise BadCertificate(detail="it would outlive the authority's own certificate")
    for key in (subject.key, tls_key):
        check_public_key(key)
    public = Ed25519PublicKey.from_public_bytes(tls_key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.member)]))
        .issuer_name(ca.subject)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(_datetime(not_before_ms))
        .not_valid_after(_datetime(not_after_ms))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(_alternative_names(subject)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(_private(ca_key).public_key()), critical=False
        )
    )
    return builder.sign(_private(ca_key), None).public_bytes(Encoding.PEM)


def read_certificate(data: bytes) -> MemberCertificate:
    """Read a member's certificate (PEM or DER). Raises `BadCertificate`.

    Neither its signature nor its times are checked here: TLS does that, and `verify_issued`.
    """
    certificate = _load(data)
    facts = _read_facts(certificate)
    try:
        key, network = bytes.fromhex(facts["key"]), bytes.fromhex(facts["network"])
        check_public_key(key)
    except (ValueError, InvalidKey) as error:
        raise BadCertificate(detail=f"its subject alternative name: {error}") from None
    return MemberCertificate(
        subject=Subject(member=facts["member"], key=key, role=facts["role"], network=network),
        tls_key=_raw_key(certificate),
        serial=certificate.serial_number,
        not_before_ms=_ms(certificate.not_valid_before_utc),
        not_after_ms=_ms(certificate.not_valid_after_utc),
    )


def verify_issued(data: bytes, ca_pem: bytes) -> MemberCertificate:
    """Read a certificate and check the authority's signature on it. Raises `BadCertificate`."""
    certificate = _load(data)
    for authority in _load_authorities(ca_pem):
        with suppress(*_UNREADABLE, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(authority)
            return read_certificate(data)
    raise BadCertificate(detail="it was not issued by this network's authority")


def check_ca(ca_pem: bytes) -> None:
    """Raise `BadCertificate` unless these are certificates that may issue others: one, or the old and the new."""
    for ca in _load_authorities(ca_pem):
        _raw_key(ca)
        try:
            is_ca = ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (x509.ExtensionNotFound, *_UNREADABLE):
            is_ca = False
        if not is_ca:
            raise BadCertificate(detail="it is no authority's certificate")


def _read_facts(certificate: x509.Certificate) -> dict[str, str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *_UNREADABLE) as error:
        raise BadCertificate(detail=f"it names no member of a network: {error}") from None
    facts: dict[str, str] = {}
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        name, _, value = uri.removeprefix(_URN).partition(":")
        if not uri.startswith(_URN) or name not in _FACTS or name in facts:
            raise BadCertificate(detail=f"its subject alternative name has {uri[:80]!r}")
        facts[name] = unquote(value)
    if missing := [name for name in _FACTS if name not in facts]:
        raise BadCertificate(detail=f"its subject alternative name lacks {', '.join(missing)}")
    return facts


def _alternative_names(subject: Subject) -> list[x509.GeneralName]:
    values = (subject.member, subject.key.hex(), subject.role, subject.network.hex())
    uris = [f"{_URN}{name}:{quote(value, safe='')}" for name, value in zip(_FACTS, values, strict=True)]
    return [x509.DNSName(name_of_key(subject.key)), *map(x509.UniformResourceIdentifier, uris)]


def _load(data: bytes) -> x509.Certificate:
    if len(data) > _MAX_BYTES:
        raise BadCertificate(detail=f"it is larger than {_MAX_BYTES} bytes")
    try:
        if data.lstrip().startswith(_PEM_HEAD):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except _UNREADABLE:
        raise BadCertificate(detail="it is not an X.509 certificate") from None


def _load_authorities(ca_pem: bytes) -> list[x509.Certificate]:
    if ca_pem.count(_PEM_HEAD) > _MAX_AUTHORITIES:
        raise BadCertificate(detail=f"there are more than {_MAX_AUTHORITIES} in one file")
    first = _load(ca_pem)
    if not ca_pem.lstrip().startswith(_PEM_HEAD):
        return [first]
    try:
        return x509.load_pem_x509_certificates(ca_pem)
    except _UNREADABLE:
        raise BadCertificate(detail="it is not an X.509 certificate") from None


def _raw_key(certificate: x509.Certificate) -> bytes:
    try:
        public = certificate.public_key()
    except _UNREADABLE:
        public = None
    if not isinstance(public, Ed25519PublicKey):
        raise BadCertificate(detail="its key is not Ed25519")
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _private(key: SigningKey) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(key.seed)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _datetime(time_ms: int) -> datetime:
    """To the second, which is all that X.509 knows."""
    return datetime.fromtimestamp(time_ms // 1_000, UTC)


def _ms(time: datetime) -> int:
    return int(time.timestamp()) * 1_000
