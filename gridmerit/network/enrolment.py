"""Enrolment of a member to be: an application, the authority's act upon it, a certificate.

An application proves that its sender holds both secret keys it names: each signs all of it, a fresh nonce and the
network's id included. The serial of the credential follows from the application, so that no chain takes one twice,
and the authority's directory remembers every nonce it has acted upon.

Layout of an authority's directory, its keys and certificate made by `init_authority`:

    key-1.pem …                 sign acts; a network's genesis says which keys count, and how many must sign
    ca-key.pem, ca.pem          issue certificates
    passphrase                  of all of these keys
    acts/, certificates/        what has been signed and issued, by kind, name and serial
    nonces/                     of the applications that were acted upon
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from gridmerit.errors import (
    ApplicationUsed,
    BadActFile,
    BadApplication,
    ForeignApplication,
    NotThisAuthority,
    SignedAlready,
)
from gridmerit.network.layout import (
    CA_FILE,
    CA_KEY_FILE,
    CERTIFICATE_FILE,
    TLS_KEY_FILE,
    claim_directory,
    make_directory,
    make_passphrase,
)
from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_str
from ledger.errors import (
    DuplicateSigner,
    GridmeritError,
    NoAuthority,
    TooFewSignatures,
    UnknownAuthority,
    UnwritableFile,
)
from ledger.genesis import Authority
from ledger.hashing import ADDRESS_SIZE, HASH_SIZE, Address, address_of, show_address, tagged_hash
from ledger.membership import (
    ADMIT,
    ADMITTED_ROLES,
    MAX_REASON_BYTES,
    MAX_SIGNATURES,
    RENEW,
    REVOKE,
    Admission,
    compute_act_digest,
)
from ledger.params import HexBytes, Name, Natural, Ppm, Section
from ledger.signatures import (
    PUBLIC_KEY_SIZE,
    SIGNATURE_SIZE,
    SigningKey,
    check_public_key,
    generate_key,
    signing_digest,
    verify,
)
from ledger.upgrades import UPGRADE, Upgrade
from market.trading.contract import COUNTERSIGN
from node.credentials.certificates import DAY_MS, Subject, check_ca, issue, make_ca
from node.credentials.keystore import load_key, load_passphrase, save_key
from node.system.files import read_text

CHAIN_KEY_FILE, PASSPHRASE_FILE, APPLICATION_FILE = "key.pem", "passphrase", "application.json"
WITHOUT_TLS = ("device",)  # a meter talks to the API of a node, never to peers
MAX_SERIAL = 2**63 - 1
NONCE_SIZE = 32
_ACTS, _CERTIFICATES, _NONCES = "acts", "certificates", "nonces"
_KEYS = "key-*.pem"
_MAX_FILE_BYTES = 65_536
_MAX_BODY_BYTES = 4_096
_S = 1_000


# --- applications --------------------------------------------------------------------------------


class Terms(NamedTuple):
    """The terms that an applicant asks for."""

    name: str
    role: str
    capacity_wh: int = 0
    position: str = ""
    owner: bytes = b""  # the address of a device's owner
    seals: tuple[str, ...] = ()  # chains that it would seal
    renewable_ppm: int = 0
    stability_ppm: int = 0


class Keys(NamedTuple):
    """A member's keys; those of a device have none for TLS."""

    chain: SigningKey
    tls: SigningKey | None


class Application(Section):
    """An applicant's hand-over to the authority. Nothing in it is secret."""

    format: Literal["gridmerit-application/1"] = "gridmerit-application/1"
    network: HexBytes
    name: Name
    role: str
    key: HexBytes
    tls_key: HexBytes
    capacity_wh: Natural
    position: str = Field(max_length=32)
    owner: HexBytes
    seals: tuple[str, ...]
    renewable_ppm: Ppm
    stability_ppm: Ppm
    nonce: HexBytes
    key_proof: HexBytes  # signatures over everything before, by each of the two keys
    tls_key_proof: HexBytes

    @property
    def statement(self) -> Value:
        """The statement that both keys sign."""
        value = self.to_value()
        assert isinstance(value, tuple)
        return value[:-2]

    @property
    def serial(self) -> int:
        """Of the credential that it asks for, from 1 to 2^63 - 1."""
        digest = tagged_hash("gridmerit/serial", encode(self.statement))
        return int.from_bytes(digest[:8], "big") % MAX_SERIAL + 1

    @property
    def address(self) -> Address:
        return address_of(self.key)


def make_application(network: bytes, terms: Terms, keys: Keys, *, nonce: bytes | None = None) -> Application:
    """An application under a fresh nonce."""
    unsigned = Application(
        network=network,
        name=terms.name,
        role=terms.role,
        key=keys.chain.public_key,
        tls_key=b"" if keys.tls is None else keys.tls.public_key,
        capacity_wh=terms.capacity_wh,
        position=terms.position,
        owner=terms.owner,
        seals=terms.seals,
        renewable_ppm=terms.renewable_ppm,
        stability_ppm=terms.stability_ppm,
        nonce=secrets.token_bytes(NONCE_SIZE) if nonce is None else nonce,
        key_proof=b"",
        tls_key_proof=b"",
    )
    digest = _compute_possession_digest(unsigned)
    proofs = {
        "key_proof": keys.chain.sign(digest),
        "tls_key_proof": b"" if keys.tls is None else keys.tls.sign(digest),
    }
    return unsigned.model_copy(update=proofs)


def check_application(application: Application, network: bytes) -> None:
    """Raise unless an application is for this network and its sender holds the keys that it names.

    Raises `ForeignApplication`, `BadApplication`, `InvalidKey` or `InvalidSignature`.
    """
    if application.network != network:
        name, actual = application.name, application.network.hex()[:16]
        raise ForeignApplication(name=name, actual=actual, expected=network.hex()[:16])
    if problem := _find_problem(application):
        raise BadApplication(file=f"what {application.name} sent", detail=problem)
    for key in filter(None, (application.key, application.tls_key)):
        check_public_key(key)
    digest = _compute_possession_digest(application)
    verify(application.key, digest, application.key_proof, what="application by the chain key")
    if application.tls_key:
        verify(application.tls_key, digest, application.tls_key_proof, what="application by the TLS key")


def _find_problem(application: Application) -> str | None:
    if len(application.nonce) != NONCE_SIZE:
        return f"its nonce has {len(application.nonce)} bytes, not {NONCE_SIZE}"
    if application.role not in ADMITTED_ROLES:
        return f"nobody is admitted with the role {application.role!r}, only with one of {', '.join(ADMITTED_ROLES)}"
    if application.key == application.tls_key:
        return "its two keys are one"
    if (application.role in WITHOUT_TLS) == bool(application.tls_key):
        return f"a {application.role} has {'no' if application.tls_key else 'a'} TLS key"
    if len(application.owner) not in (0, ADDRESS_SIZE):
        return "its owner is no address"
    return None


def _compute_possession_digest(application: Application) -> bytes:
    return signing_digest("application", application.network, encode(application.statement))


def load_application(file: Path) -> Application:
    """Raises `UnreadableFile` or `BadApplication`."""
    try:
        return Application.model_validate_json(read_text(file, _MAX_FILE_BYTES))
    except ValidationError as error:
        raise BadApplication(file=file, detail=_explain(error)) from None


def save_application(file: Path, application: Application) -> None:
    """Raises `UnwritableFile`."""
    write_file(file, application.model_dump_json(indent=2) + "\n")


def apply_for(
    directory: Path, network: bytes, terms: Terms, chain_key: SigningKey | None = None
) -> tuple[Application, Path]:
    """Make an applicant's keys, as far as its directory lacks them, and its application; with the file of that.

    Raises `UnusableDirectory`, `BadApplication` or a `ConfigError` of the key files.
    """
    make_directory(directory)
    keys = take_keys(directory, needs_tls=terms.role not in WITHOUT_TLS, chain_key=chain_key)
    application = make_application(network, terms, keys)
    check_application(application, network)
    file = directory / APPLICATION_FILE
    save_application(file, application)
    return application, file


def take_keys(directory: Path, *, needs_tls: bool, chain_key: SigningKey | None = None) -> Keys:
    """The member's keys in a directory; those that are missing are made, under the passphrase that lies beside them.

    `chain_key` stands for one that is kept elsewhere. Raises the `ConfigError` family.
    """
    beside = directory / PASSPHRASE_FILE
    passphrase = load_passphrase(beside) if beside.exists() else make_passphrase(beside)
    chain = chain_key or _take_key(directory / CHAIN_KEY_FILE, passphrase)
    return Keys(chain, _take_key(directory / TLS_KEY_FILE, passphrase) if needs_tls else None)


def _take_key(file: Path, passphrase: bytes) -> SigningKey:
    if file.exists():
        return load_key(file, passphrase)
    key = generate_key()
    save_key(file, key, passphrase)
    return key


# --- acts ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An act of the authority with its signatures: pairs of key and signature, ascending by key."""

    network: bytes
    body: tuple[Value, ...]
    signatures: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def kind(self) -> str:
        return str(self.body[0])

    @property
    def serial(self) -> int:
        """Of the credential made, renewed (the new one) or revoked; a trade list's period; the version of rules."""
        serial = self.body[2 if self.kind in (RENEW, COUNTERSIGN, UPGRADE) else 1]
        assert isinstance(serial, int), "checked where it was read"
        return serial

    @property
    def payload(self) -> tuple[Value, ...]:
        """Of the transaction that carries it."""
        return (*self.body[2:], self.signatures) if self.kind == COUNTERSIGN else (self.body, self.signatures)

    @property
    def chain_id(self) -> bytes | None:
        """Of the chain that it is for; None where it is for every chain of the network."""
        chain_id = self.body[1] if self.kind in (COUNTERSIGN, UPGRADE) else None
        assert chain_id is None or isinstance(chain_id, bytes), "checked where it was read"
        return chain_id


class _ActFile(Section):
    format: Literal["gridmerit-act/1"] = "gridmerit-act/1"
    network: HexBytes
    body: HexBytes
    signatures: tuple[tuple[HexBytes, HexBytes], ...]


class Validity(NamedTuple):
    """From when until when, ms."""

    begin_ms: int
    end_ms: int


def compute_validity(now_ms: int, days: int) -> Validity:
    """So many days from now, in whole seconds, as in certificates; it begins a day ago, because clocks differ."""
    second = now_ms // _S * _S
    return Validity(second - DAY_MS, second + days * DAY_MS)


def make_admission(application: Application, validity: Validity, *, seals: tuple[str, ...] | None = None) -> Act:
    """The act that admits an applicant, unsigned; `seals` overrides the sealing right that it asks for.

    Raises the `Malformed` family or `InvalidAct`.
    """
    admission = Admission(
        serial=application.serial,
        name=application.name,
        role=application.role,
        key=application.key,
        tls_key=application.tls_key,
        capacity_wh=application.capacity_wh,
        position=application.position,
        owner=application.owner,
        seals=application.seals if seals is None else seals,
        not_before_ms=validity.begin_ms,
        not_after_ms=validity.end_ms,
        renewable_ppm=application.renewable_ppm,
        stability_ppm=application.stability_ppm,
    )
    return Act(network=application.network, body=_check_body(admission.to_value()))


def make_revocation(network: bytes, serial: int, reason: str) -> Act:
    """The act that ends a membership. Raises the `Malformed` family."""
    return Act(network=network, body=_check_body((REVOKE, serial, reason)))


def make_renewal(network: bytes, old: int, serial: int, tls_key: bytes, validity: Validity) -> Act:
    """The act that gives a member another credential. Raises the `Malformed` family."""
    return Act(network=network, body=_check_body((RENEW, old, serial, tls_key, *validity)))


def make_countersignature(network: bytes, chain_id: bytes, period: int, result_root: bytes) -> Act:
    """The act that lets a period's trades bind, on a chain that asks for an audit. Raises the `Malformed` family."""
    return Act(network=network, body=_check_body((COUNTERSIGN, chain_id, period, result_root)))


def make_upgrade(network: bytes, chain_id: bytes, rules: int, height: int) -> Act:
    """The act that announces a chain's next rules and the height they begin at. Raises the `Malformed` family."""
    return Act(network=network, body=_check_body(Upgrade(chain_id, rules, height).to_value()))


def draw_serial() -> int:
    """A serial that nothing else follows from."""
    return secrets.randbelow(MAX_SERIAL) + 1


def sign_act(act: Act, key: SigningKey) -> Act:
    """The act with one more signature. Raises `SignedAlready`."""
    if key.public_key in dict(act.signatures):
        raise SignedAlready(signer=key.public_key.hex()[:16])
    signature = key.sign(compute_act_digest(act.network, act.body))
    return replace(act, signatures=tuple(sorted((*act.signatures, (key.public_key, signature)))))


def check_signatures(act: Act, authority: Authority) -> None:
    """Raise unless so many different keys of the authority have signed as must.

    Raises `NoAuthority`, `UnknownAuthority`, `DuplicateSigner`, `TooFewSignatures` or `InvalidSignature`.
    """
    if not authority.keys:
        raise NoAuthority()
    for signer, _signature in act.signatures:
        if signer not in authority.keys:
            raise UnknownAuthority(signer=signer.hex()[:16])
    _verify_signatures(act)
    if len(act.signatures) < authority.threshold:
        raise TooFewSignatures(actual=len(act.signatures), threshold=authority.threshold)


def _verify_signatures(act: Act) -> None:
    seen: set[bytes] = set()
    digest = compute_act_digest(act.network, act.body)
    for signer, signature in act.signatures:
        if signer in seen:
            raise DuplicateSigner(signer=signer.hex()[:16])
        seen.add(signer)
        verify(signer, digest, signature, what="act of the authority")


def describe_act(act: Act) -> dict[str, str | int | list[str]]:
    """Describe an act for its signers; bytes as hexadecimal digits."""
    match act.body[0]:
        case "admit":
            fields = Admission.from_value(act.body)._asdict()
        case "revoke":
            fields = dict(zip(("serial", "reason"), act.body[1:], strict=True))
        case "countersign":
            fields = dict(zip(("chain_id", "period", "result_root"), act.body[1:], strict=True))
        case "upgrade":
            fields = Upgrade.from_value(act.body)._asdict()
        case _:
            names = ("old_serial", "serial", "tls_key", "not_before_ms", "not_after_ms")
            fields = dict(zip(names, act.body[1:], strict=True))
    return {"kind": act.kind, **{name: _show(value) for name, value in fields.items()}}


def _show(value: object) -> str | int | list[str]:
    if isinstance(value, bytes):
        return show_address(value) if len(value) == ADDRESS_SIZE else value.hex()
    if isinstance(value, tuple):
        return [str(item) for item in value]
    assert isinstance(value, str | int), value
    return value


def _check_body(body: Value) -> tuple[Value, ...]:
    """A body that a chain could take, or the `Malformed` family or `InvalidAct`."""
    word = body[0] if isinstance(body, tuple) and body else None
    match word:
        case "admit":
            admission = Admission.from_value(body)
            for key in filter(None, (admission.key, admission.tls_key)):
                check_public_key(key)
        case "revoke":
            _, serial, reason = expect_array(body, 3, REVOKE)
            expect_int(serial, "serial", low=1)
            expect_str(reason, "reason", max_size=MAX_REASON_BYTES)
        case "renew":
            _, old, serial, tls_key, begin_ms, end_ms = expect_array(body, 6, RENEW)
            for number in (old, serial):
                expect_int(number, "serial", low=1)
            for time_ms in (begin_ms, end_ms):
                expect_int(time_ms, "validity")
            if tls_key != b"":
                check_public_key(expect_bytes(tls_key, "TLS key", size=PUBLIC_KEY_SIZE))
        case "countersign":
            _, chain_id, period, root = expect_array(body, 4, COUNTERSIGN)
            expect_int(period, "period")
            for value, what in ((chain_id, "chain id"), (root, "result root")):
                expect_bytes(value, what, size=HASH_SIZE)
        case "upgrade":
            Upgrade.from_value(body)
        case _:
            known = f"{ADMIT}, {REVOKE}, {RENEW}, {COUNTERSIGN} or {UPGRADE}"
            raise BadActFile(file="the act", detail=f"want {known}, have {word!r}")
    assert isinstance(body, tuple)
    return body


def load_act(file: Path) -> Act:
    """An act with signatures that verify; which keys count, `check_signatures` knows.

    Raises `UnreadableFile` or `BadActFile`.
    """
    try:
        document = _ActFile.model_validate_json(read_text(file, _MAX_FILE_BYTES))
    except ValidationError as error:
        raise BadActFile(file=file, detail=_explain(error)) from None
    try:
        if len(document.network) != HASH_SIZE or len(document.signatures) > MAX_SIGNATURES:
            raise BadActFile(file=file, detail="its network or its signatures have the wrong size")
        body = _check_body(decode(document.body, max_bytes=_MAX_BODY_BYTES))
        signatures = tuple(sorted(document.signatures))
        for _signer, signature in signatures:
            expect_bytes(signature, "signature", size=SIGNATURE_SIZE)
        act = Act(network=document.network, body=body, signatures=signatures)
        _verify_signatures(act)
    except GridmeritError as error:
        raise BadActFile(file=file, detail=error) from None
    return act


def save_act(file: Path, act: Act) -> None:
    """Raises `UnwritableFile`."""
    document = _ActFile(network=act.network, body=encode(act.body), signatures=act.signatures)
    write_file(file, document.model_dump_json(indent=2) + "\n")


# --- the authority's directory -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityFiles:
    """An authority's directory, opened: the keys that sign acts, and what issues certificates."""

    directory: Path
    keys: tuple[SigningKey, ...]
    ca_key: SigningKey
    ca_pem: bytes

    def act_file(self, act: Act, name: str) -> Path:
        return self.directory / _ACTS / f"{act.kind}-{name}-{act.serial}.json"

    def certificate_file(self, name: str, serial: int) -> Path:
        return self.directory / _CERTIFICATES / f"{name}-{serial}.pem"

    def nonce_file(self, application: Application) -> Path:
        return self.directory / _NONCES / application.nonce.hex()


def init_authority(directory: Path, *, keys: int, now_ms: int) -> AuthorityFiles:
    """Make an authority in a new or empty directory, which is private then.

    Raises `BusyDirectory`, `UnusableDirectory` or `UnwritableFile`.
    """
    claim_directory(directory)
    directory.chmod(0o700)
    passphrase = make_passphrase(directory / PASSPHRASE_FILE)
    made = tuple(generate_key() for _ in range(keys))
    for number, key in enumerate(made, start=1):
        save_key(directory / f"key-{number}.pem", key, passphrase)
    ca_key = generate_key()
    save_key(directory / CA_KEY_FILE, ca_key, passphrase)
    ca_pem = make_ca(ca_key, not_before_ms=now_ms - DAY_MS)
    write_file(directory / CA_FILE, ca_pem.decode())
    return AuthorityFiles(directory=directory, keys=made, ca_key=ca_key, ca_pem=ca_pem)


def load_authority(directory: Path) -> AuthorityFiles:
    """Open an authority's directory. Raises the `ConfigError` family or `BadCertificate`."""
    passphrase = load_passphrase(directory / PASSPHRASE_FILE)
    ca_pem = read_text(directory / CA_FILE, _MAX_FILE_BYTES).encode()
    check_ca(ca_pem)
    return AuthorityFiles(
        directory=directory,
        keys=tuple(load_key(file, passphrase) for file in sorted(directory.glob(_KEYS))),
        ca_key=load_key(directory / CA_KEY_FILE, passphrase),
        ca_pem=ca_pem,
    )


def sign_as_far(act: Act, files: AuthorityFiles, authority: Authority) -> Act:
    """Sign with as many of the directory's keys as must sign. Raises `NoAuthority` or `NotThisAuthority`."""
    if not authority.keys:
        raise NoAuthority()
    own = [key for key in files.keys if key.public_key in authority.keys]
    if not own:
        known = ", ".join(key.hex()[:16] for key in authority.keys)
        raise NotThisAuthority(directory=files.directory, known=known)
    for key in own[: max(0, authority.threshold - len(act.signatures))]:
        act = sign_act(act, key)
    return act


def claim_application(files: AuthorityFiles, application: Application, act: Act) -> Path:
    """Note that an application has led to an act, and keep that; the act's file. Raises `ApplicationUsed`."""
    file, nonce = files.act_file(act, application.name), files.nonce_file(application)
    if nonce.exists():
        raise ApplicationUsed(name=application.name, act=nonce.read_text(encoding="utf-8").strip())
    if file.exists():
        raise ApplicationUsed(name=application.name, act=file)
    save_act(file, act)
    write_file(nonce, f"{file}\n", is_new=True)
    return file


def issue_certificate(
    files: AuthorityFiles, subject: Subject, *, tls_key: bytes, serial: int, validity: Validity
) -> Path:
    """Issue a member's certificate and keep it; its file. Raises `BadCertificate`, `InvalidKey` or `UnwritableFile`."""
    pem = issue(
        files.ca_pem,
        files.ca_key,
        subject,
        tls_key=tls_key,
        serial=serial,
        not_before_ms=validity.begin_ms,
        not_after_ms=validity.end_ms,
    )
    file = files.certificate_file(subject.member, serial)
    write_file(file, pem.decode())
    return file


def hand_over(files: AuthorityFiles, certificate: Path, directory: Path) -> Path:
    """Put a certificate, and the authority's beside it, where a node looks for them; its file there.

    Raises `UnwritableFile`.
    """
    write_file(directory / CA_FILE, files.ca_pem.decode())
    file = directory / CERTIFICATE_FILE
    write_file(file, read_text(certificate, _MAX_FILE_BYTES))
    return file


# --- files ---------------------------------------------------------------------------------------


def write_file(file: Path, text: str, *, is_new: bool = False) -> None:
    """Write a file whole, or not at all; `is_new` refuses to replace one. Raises `UnwritableFile`."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:
            os.link(draft, file)
            draft.unlink()
        else:
            draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UnwritableFile(file=str(file), detail=error.strerror or str(error)) from None


def _explain(error: ValidationError) -> str:
    """The first thing wrong, in words."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
