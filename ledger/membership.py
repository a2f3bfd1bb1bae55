"""Membership, from when until when: the acts of the authority (the weak centre), and their effect on a chain.

An authority's act is a canonical array signed by `threshold` of its keys under the network's id: the same bytes are
good on every chain of the network, once on each. Any member may send it. A credential is a member's serial, TLS key,
validity and status; it lies beside the member's record, which stays when the member goes, for what it has agreed is
still settled. A member that comes back under the same key keeps its old credit, and with it the memory of what it did;
under a new key it starts with the initial credit, as every member does: to tell that apart is what the authority audits
for.

A validity that has ended stops a member's transactions and its connections, never its seals and votes, or all of a
network founded in one hour would stop in one hour: those end by an act.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, cast

from ledger.accounts import (
    ECONOMY_ROLES,
    ROLES,
    Account,
    Member,
    account_key,
    get_member,
    put_account,
    put_member,
    require_member,
)
from ledger.codec import Value, encode, expect_array, expect_bytes, expect_int, expect_list, expect_str
from ledger.contract import BlockContext, Handler, Hook
from ledger.errors import (
    CredentialExpired,
    CredentialTooEarly,
    DuplicateSigner,
    InvalidAct,
    InvalidValidity,
    KeyTaken,
    MemberLeft,
    MemberRevoked,
    NameChanged,
    NameTaken,
    NoAuthority,
    NonCanonical,
    NotYetMember,
    OwnerNeeded,
    OwnerNotAllowed,
    RoleMayNotSeal,
    RoleNotAdmitted,
    SerialTaken,
    SupersededSerial,
    TlsKeyTaken,
    TooFewSealers,
    TooFewSignatures,
    TooManyPending,
    TooManySealers,
    UnknownAuthority,
    UnknownChainNamed,
    UnknownMember,
    UnknownSerial,
    ValidityOver,
    WrongShape,
)
from ledger.hashing import ADDRESS_SIZE, Address, address_of
from ledger.names import is_normal
from ledger.overlay import Overlay
from ledger.sealers import get_wanted_sealers, put_wanted_sealers, update_sealers
from ledger.signatures import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, SigningKey, check_public_key, signing_digest, verify
from ledger.state import State
from ledger.transaction import Transaction

ADMIT, REVOKE, RENEW, EXIT = "admit", "revoke", "renew", "exit"
PENDING, ACTIVE, REVOKED, LEFT = "pending", "active", "revoked", "left"
UNLIMITED_MS = 2**63 - 1
YEAR_MS = 366 * 86_400_000
MAX_VALIDITY_MS = 20 * YEAR_MS
MAX_AHEAD_MS = YEAR_MS  # how long after its act a validity may begin
MAX_PENDING = 1_024
MAX_SIGNATURES = 64
MAX_REASON_BYTES = 256
MAX_CAPACITY_WH = 2**53 - 1  # as in a genesis
_PPM = 1_000_000

_NOT_ADMITTED = ("authority", "grid-operator")  # the first has no use for transactions, of the second there is one
ADMITTED_ROLES = tuple(role for role in (*ROLES, *ECONOMY_ROLES) if role not in _NOT_ADMITTED)
SEALING_ROLES = (
    *("dispatcher", "producer", "prosumer", "consumer", "grid-operator", "auditor"),
    *("originator", "investor"),  # who supervise a pool take part in accounting (text 003, §8)
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")

_AUTHORITY = b"authority"
_CREDENTIAL = b"c/"
_BY_NAME = b"mn/"
_BY_TLS_KEY = b"mt/"
_BY_SERIAL = b"ms/"
_NEWEST = b"members/newest"
_WAITING = b"members/waiting"


class AuthorityRecord(NamedTuple):
    """A chain's record of the authority: `chains` names all chains of the network."""

    network_id: bytes
    threshold: int
    keys: tuple[bytes, ...]
    chains: tuple[str, ...]
    max_sealers: int


class Credential(NamedTuple):
    """A member's current one; a founder's serial is its place in the genesis, and its validity unlimited."""

    serial: int
    tls_key: bytes
    not_before_ms: int
    not_after_ms: int
    status: str


class Listing(NamedTuple):
    """One line of the list of members; `member` is what it is, or is to be from the next period on."""

    address: Address
    member: Member
    credential: Credential


class Admission(NamedTuple):
    """The body of an `admit`, after its first word."""

    serial: int
    name: str
    role: str
    key: bytes
    tls_key: bytes
    capacity_wh: int
    position: str
    owner: bytes  # the address of a device's owner, empty for all others
    seals: tuple[str, ...]  # names of chains
    not_before_ms: int
    not_after_ms: int
    renewable_ppm: int = 0
    stability_ppm: int = 0

    def to_value(self) -> Value:
        return (ADMIT, *self)

    @classmethod
    def from_value(cls, body: Value) -> Admission:
        """Raises the `Malformed` family or `InvalidAct`."""
        word, *rest = expect_array(body, len(cls._fields) + 1, ADMIT)
        _check_word(word, ADMIT)
        (
            serial,
            name,
            role,
            key,
            tls_key,
            capacity,
            position,
            owner,
            seals,
            not_before,
            not_after,
            renewable,
            stability,
        ) = rest
        chains = tuple(expect_str(chain, "chain") for chain in expect_list(seals, "sealing rights", max_items=16))
        if len(set(chains)) < len(chains):
            raise InvalidAct(what="sealing rights", detail="a chain is named twice")
        text = expect_str(name, "name")
        if _NAME.fullmatch(text) is None:
            raise InvalidAct(what="name", detail="want up to 32 letters, digits, _ and -, a letter or digit first")
        place = expect_str(position, "position", max_size=32)
        if not is_normal(place):
            raise InvalidAct(what="position", detail="want it composed (NFC), and no other letters for it")
        return cls(
            serial=expect_int(serial, "serial", low=1),
            name=text,
            role=expect_str(role, "role"),
            key=expect_bytes(key, "chain key", size=PUBLIC_KEY_SIZE),
            tls_key=_expect_tls_key(tls_key),
            capacity_wh=expect_int(capacity, "capacity", high=MAX_CAPACITY_WH),
            position=place,
            owner=expect_bytes(owner, "owner", max_size=ADDRESS_SIZE),
            seals=chains,
            not_before_ms=expect_int(not_before, "not before"),
            not_after_ms=expect_int(not_after, "not after"),
            renewable_ppm=expect_int(renewable, "renewable share", high=_PPM),
            stability_ppm=expect_int(stability, "stability", high=_PPM),
        )


# --- reading -------------------------------------------------------------------------------------


def get_authority(view: Overlay) -> AuthorityRecord:
    value = cast(tuple[bytes, int, tuple[bytes, ...], tuple[str, ...], int], view.get(_AUTHORITY))
    return AuthorityRecord._make(value)


def get_credential(view: Overlay, address: Address) -> Credential | None:
    """A member's credential, whatever its status; None where the address was never admitted."""
    row = _get_row(view, address)
    return None if row is None else row[0]


def find_by_tls_key(state: State, tls_key: bytes) -> Address | None:
    """The member whose current credential has this TLS key, whatever its status."""
    view = Overlay(state)
    address = cast(bytes | None, view.get(_BY_TLS_KEY + tls_key))
    if not tls_key or address is None:
        return None
    credential = get_credential(view, address)
    return address if credential is not None and credential.tls_key == tls_key else None


def find_by_name(view: Overlay, name: str) -> Address | None:
    """The address that a name belongs to, whatever has become of its holder."""
    return cast(bytes | None, view.get(_BY_NAME + name.encode()))


def is_active(view: Overlay, address: Address, now_ms: int) -> bool:
    """Return True if a member has been admitted, has neither left nor been revoked, and its validity holds."""
    credential = get_credential(view, address)
    if credential is None or credential.status != ACTIVE:
        return False
    return credential.not_before_ms <= now_ms < credential.not_after_ms


def is_gone(view: Overlay, address: Address) -> bool:
    """Return True if the member has left or been revoked: nothing that it has signed counts any more."""
    credential = get_credential(view, address)
    return credential is not None and credential.status in (REVOKED, LEFT)


def get_newest(view: Overlay) -> Address:
    """The member that was first admitted last of all, or is to be; with `get_admitted_before` it leads to every one."""
    return cast(bytes, view.get(_NEWEST) or b"")


def get_admitted_before(view: Overlay, address: Address) -> Address:
    """The member that was first admitted before this one; empty for the first of all."""
    row = _get_row(view, address)
    assert row is not None, address
    return row[1]


def list_members(state: State) -> tuple[Listing, ...]:
    """Every member that was ever admitted, by name."""
    view = Overlay(state)
    waiting = dict(_get_waiting(view))
    found = []
    address = get_newest(view)
    while address:
        row = _get_row(view, address)
        assert row is not None, address
        member = waiting.get(address) or get_member(view, address)
        if member is not None:  # else it was revoked before it became one
            found.append(Listing(address, member, row[0]))
        address = row[1]
    return tuple(sorted(found, key=lambda item: item.member.name))


def require_active(view: Overlay, address: Address, kind: str, now_ms: int) -> None:
    """Raise unless this sender's transaction of a kind may stand in a block of that time.

    A renewal may be sent with an expired credential, or a network whose credentials all end would stay shut. Raises
    `UnknownMember`, `NotYetMember`, `MemberRevoked`, `MemberLeft`, `CredentialExpired` or `CredentialTooEarly`.
    """
    credential = get_credential(view, address)
    who = "0x" + address.hex()
    if credential is None:
        raise UnknownMember(address=who)
    _check_status(credential, who)
    if credential.status == PENDING:
        raise NotYetMember(address=who)
    if now_ms >= credential.not_after_ms and kind != RENEW:
        raise CredentialExpired(address=who, not_after=credential.not_after_ms, now=now_ms)
    if now_ms < credential.not_before_ms:
        raise CredentialTooEarly(address=who, not_before=credential.not_before_ms, now=now_ms)


# --- founding ------------------------------------------------------------------------------------


def put_authority(view: Overlay, record: AuthorityRecord) -> None:
    view.put(_AUTHORITY, tuple(record))


def enrol_founder(view: Overlay, address: Address, member: Member, *, serial: int, tls_key: bytes) -> None:
    """Give a founder its credential."""
    _put_credential(view, address, Credential(serial, tls_key, 0, UNLIMITED_MS, ACTIVE))
    _reserve(view, address, member.name, serial, tls_key)


# --- what the authority signs --------------------------------------------------------------------


def compute_act_digest(network_id: bytes, body: Value) -> bytes:
    """The 32 bytes that each key of the authority signs."""
    return signing_digest("authority", network_id, encode(body))


def sign_act(network_id: bytes, body: Value, keys: Sequence[SigningKey]) -> tuple[Value, ...]:
    """The payload `[body, signatures]` of the transaction that carries an act."""
    digest = compute_act_digest(network_id, body)
    return (body, tuple(sorted((key.public_key, key.sign(digest)) for key in keys)))


def check_act(view: Overlay, body: Value, signatures: Value) -> None:
    """Raise unless the authority has signed: `signatures` are pairs of key and signature, ascending by key.

    Raises `NoAuthority`, `WrongShape`, `TooLarge`, `DuplicateSigner`, `NonCanonical`, `UnknownAuthority`,
    `TooFewSignatures`, `InvalidKey` or `InvalidSignature`: the cheap checks first.
    """
    authority = get_authority(view)
    if not authority.keys:
        raise NoAuthority()
    pairs: list[tuple[bytes, bytes]] = []
    for item in expect_list(signatures, "the authority's signatures", max_items=MAX_SIGNATURES):
        key, signature = expect_array(item, 2, "signature of the authority")
        signer = expect_bytes(key, "key of the authority", size=PUBLIC_KEY_SIZE)
        if pairs and signer == pairs[-1][0]:
            raise DuplicateSigner(signer=signer.hex()[:16])
        if pairs and signer < pairs[-1][0]:
            raise NonCanonical(detail="the authority's signatures are not ascending by key")
        if signer not in authority.keys:
            raise UnknownAuthority(signer=signer.hex()[:16])
        pairs.append((signer, expect_bytes(signature, "signature", size=SIGNATURE_SIZE)))
    if len(pairs) < authority.threshold:
        raise TooFewSignatures(actual=len(pairs), threshold=authority.threshold)
    digest = compute_act_digest(authority.network_id, body)
    for signer, signature in pairs:
        verify(signer, digest, signature, what="act of the authority")


# --- transactions --------------------------------------------------------------------------------


def membership_handlers() -> dict[str, Handler]:
    """Handlers by transaction kind; every chain has them, whatever its kind."""
    return {ADMIT: process_admit, REVOKE: process_revoke, RENEW: process_renew, EXIT: process_exit}


def membership_hooks() -> tuple[Hook, ...]:
    """The hooks at the start of every block, before the credit snapshot is taken."""
    return (process_boundary, update_sealers)


def process_admit(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`admit [body, signatures]`, the body an `Admission`: from the next period on there is one member more.

    Raises what `check_act` and `Admission.from_value` raise, `TooManyPending`, and a leaf for whatever the
    admission asks too much of.
    """
    admission = Admission.from_value(_take_act(view, transaction))
    address = address_of(admission.key)
    _check_serial_is_free(view, admission.serial)
    for key in filter(None, (admission.key, admission.tls_key)):
        check_public_key(key)
    _check_validity(block, admission.not_before_ms, admission.not_after_ms)
    _check_identity(view, admission, address)
    _check_role(view, block, admission)
    if len(_get_waiting(view)) >= MAX_PENDING:
        raise TooManyPending(limit=MAX_PENDING)
    if block.params.name in admission.seals:
        _add_sealer(view, admission.key)
    member = Member(
        admission.name,
        admission.role,
        admission.key,
        admission.capacity_wh,
        admission.position,
        admission.owner,
        admission.renewable_ppm,
        admission.stability_ppm,
    )
    _put_waiting(view, [*_get_waiting(view), (address, member)])
    validity = admission.not_before_ms, admission.not_after_ms
    _put_credential(view, address, Credential(admission.serial, admission.tls_key, *validity, PENDING))
    _reserve(view, address, admission.name, admission.serial, admission.tls_key)
    view.emit("admitted", address, admission.name, admission.serial)


def process_revoke(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`revoke [["revoke", serial, reason], signatures]`: a member's transactions count no more from here on.

    It seals and votes no more after the next boundary. Raises what `check_act` raises, `UnknownSerial`,
    `SupersededSerial`, `MemberRevoked`, `MemberLeft` or `TooFewSealers`.
    """
    word, number, text = expect_array(_take_act(view, transaction), 3, REVOKE)
    _check_word(word, REVOKE)
    serial, reason = expect_int(number, "serial", low=1), expect_str(text, "reason", max_size=MAX_REASON_BYTES)
    address, credential = _find_current(view, serial)
    _leave(view, block, address, credential._replace(status=REVOKED))
    view.emit(REVOKED, address, serial, reason)


def process_renew(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`renew [["renew", old serial, serial, tls_key, not_before_ms, not_after_ms], signatures]`: at once.

    Raises what `check_act` raises, `UnknownSerial`, `SupersededSerial`, `SerialTaken`, `MemberRevoked`, `MemberLeft`,
    `TlsKeyTaken`, `InvalidKey`, `ValidityOver` or `InvalidValidity`.
    """
    word, old, new, key, begin, end = expect_array(_take_act(view, transaction), 6, RENEW)
    _check_word(word, RENEW)
    serial, tls_key = expect_int(new, "serial", low=1), _expect_tls_key(key)
    not_before_ms, not_after_ms = expect_int(begin, "not before"), expect_int(end, "not after")
    _check_serial_is_free(view, serial)
    address, credential = _find_current(view, expect_int(old, "old serial", low=1))
    _check_status(credential, "0x" + address.hex())
    if tls_key:
        check_public_key(tls_key)
        _check_tls_key_is_free(view, address, tls_key)
    _check_validity(block, not_before_ms, not_after_ms)
    _put_credential(view, address, Credential(serial, tls_key, not_before_ms, not_after_ms, credential.status))
    _reserve(view, address, "", serial, tls_key)
    view.emit("renewed", address, serial)


def process_exit(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`exit []`: a member goes by itself, on this chain; it seals and votes no more after the next boundary.

    Raises `WrongShape` or `TooFewSealers`.
    """
    expect_array(transaction.payload, 0, EXIT)
    credential = get_credential(view, transaction.sender)
    assert credential is not None, "only members send transactions"
    _leave(view, block, transaction.sender, credential._replace(status=LEFT))
    view.emit(LEFT, transaction.sender, credential.serial)


def process_boundary(view: Overlay, block: BlockContext) -> None:
    """Admit, at the first block of a period, the members that the authority has let in."""
    if not block.is_first_of_period:
        return
    waiting = _get_waiting(view)
    for address, member in waiting:
        credential = get_credential(view, address)
        assert credential is not None, member
        put_member(view, address, member)
        if view.get(account_key(address)) is None:
            put_account(view, address, Account(credit_upt=block.params.market.initial_credit_upt))
        _put_credential(view, address, credential._replace(status=ACTIVE))
        view.emit("member", address, member.name, member.role)
    if waiting:
        _put_waiting(view, [])


# --- the rules of an admission -------------------------------------------------------------------


def _check_identity(view: Overlay, admission: Admission, address: Address) -> None:
    """Check that name, key and TLS key are no other member's; a key that comes back keeps its name."""
    credential, member = get_credential(view, address), get_member(view, address)
    if admission.key in get_authority(view).keys or admission.tls_key in get_authority(view).keys:
        raise KeyTaken(key=admission.key.hex()[:16], owner="the authority")
    if credential is not None and credential.status in (ACTIVE, PENDING):
        raise KeyTaken(key=admission.key.hex()[:16], owner=member.name if member is not None else "a member to be")
    if member is not None and member.name != admission.name:
        raise NameChanged(expected=member.name, actual=admission.name)
    if find_by_name(view, admission.name) not in (None, address):
        raise NameTaken(name=admission.name)
    _check_tls_key_is_free(view, address, admission.tls_key)


def _check_role(view: Overlay, block: BlockContext, admission: Admission) -> None:
    """The role is one that members have, its sealing right fits, and a device has an owner."""
    role = admission.role
    known = [name for name in ADMITTED_ROLES if name in ROLES or block.params.market.economy]
    before = get_member(view, address_of(admission.key))
    comes_back = before is not None and before.role == role
    if role not in known and not comes_back:
        raise RoleNotAdmitted(role=role, known=", ".join(known))
    chains = get_authority(view).chains
    for name in admission.seals:
        if name not in chains:
            raise UnknownChainNamed(name=name, known=", ".join(chains))
    if admission.seals and role not in SEALING_ROLES:
        raise RoleMayNotSeal(role=role)
    if role != "device":
        if admission.owner:
            raise OwnerNotAllowed(role=role)
        return
    credential = get_credential(view, admission.owner)
    owner = dict(_get_waiting(view)).get(admission.owner) or get_member(view, admission.owner)
    if owner is None or owner.role == "device" or credential is None or credential.status not in (ACTIVE, PENDING):
        raise OwnerNeeded()


def _check_validity(block: BlockContext, not_before_ms: int, not_after_ms: int) -> None:
    span = {"not_before": not_before_ms, "not_after": not_after_ms}
    if not_after_ms <= not_before_ms:
        raise InvalidValidity(**span, detail="it ends before it begins")
    if not_after_ms <= block.timestamp_ms:
        raise ValidityOver(not_after=not_after_ms, now=block.timestamp_ms)
    if not_after_ms - not_before_ms > MAX_VALIDITY_MS:
        raise InvalidValidity(**span, detail="it is longer than 20 years")
    if not_before_ms > block.timestamp_ms + MAX_AHEAD_MS:
        raise InvalidValidity(**span, detail="it begins more than a year from now")


def _check_tls_key_is_free(view: Overlay, address: Address, tls_key: bytes) -> None:
    if tls_key and view.get(_BY_TLS_KEY + tls_key) not in (None, address):
        raise TlsKeyTaken(key=tls_key.hex()[:16])


def _check_serial_is_free(view: Overlay, serial: int) -> None:
    if view.get(_serial_key(serial)) is not None:
        raise SerialTaken(serial=serial)


def _check_status(credential: Credential, who: str) -> None:
    match credential.status:
        case "revoked":
            raise MemberRevoked(address=who)
        case "left":
            raise MemberLeft(address=who)


def _check_word(word: Value, kind: str) -> None:
    if word != kind:
        raise WrongShape(what=kind, detail="the authority has signed another kind of act")


def _take_act(view: Overlay, transaction: Transaction) -> Value:
    """The body of an act whose signatures have been checked."""
    body, signatures = expect_array(transaction.payload, 2, transaction.kind)
    check_act(view, body, signatures)
    return body


def _expect_tls_key(value: Value) -> bytes:
    return expect_bytes(value, "TLS key", size=PUBLIC_KEY_SIZE) if value != b"" else b""


# --- writing -------------------------------------------------------------------------------------


def _add_sealer(view: Overlay, key: bytes) -> None:
    wanted, limit = get_wanted_sealers(view), get_authority(view).max_sealers
    if key not in wanted and len(wanted) >= limit:
        raise TooManySealers(limit=limit)
    put_wanted_sealers(view, tuple({*wanted, key}))


def _leave(view: Overlay, block: BlockContext, address: Address, credential: Credential) -> None:
    """End a membership that stands, or is to begin."""
    before = get_credential(view, address)
    assert before is not None, "it has a credential"
    _check_status(before, "0x" + address.hex())
    waiting = _get_waiting(view)
    member = dict(waiting).get(address) or require_member(view, address)
    wanted = get_wanted_sealers(view)
    left = [key for key in wanted if key != member.key]
    if len(left) < len(wanted):
        needed = max(1, block.params.consensus.checkpoint_m + 1)
        if len(left) < needed:
            raise TooFewSealers(left=len(left), needed=needed)
        put_wanted_sealers(view, tuple(left))
    _put_credential(view, address, credential)
    if before.status == PENDING:
        _put_waiting(view, [item for item in waiting if item[0] != address])


def _find_current(view: Overlay, serial: int) -> tuple[Address, Credential]:
    address = cast(bytes | None, view.get(_serial_key(serial)))
    if address is None:
        raise UnknownSerial(serial=serial)
    credential = get_credential(view, address)
    assert credential is not None, "a serial belongs to a credential"
    if credential.serial != serial:
        raise SupersededSerial(serial=serial, current=credential.serial)
    return address, credential


def _get_row(view: Overlay, address: Address) -> tuple[Credential, Address] | None:
    """A credential, and the member that was first admitted before this one: they form a chain, newest first."""
    value = cast(tuple[int, bytes, int, int, str, bytes] | None, view.get(_CREDENTIAL + address))
    return None if value is None else (Credential._make(value[:5]), value[5])


def _put_credential(view: Overlay, address: Address, credential: Credential) -> None:
    row = _get_row(view, address)
    if row is None:
        before = get_newest(view)
        view.put(_NEWEST, address)
    else:
        before = row[1]
    view.put(_CREDENTIAL + address, (*credential, before))


def _reserve(view: Overlay, address: Address, name: str, serial: int, tls_key: bytes) -> None:
    """Keep name, serial and TLS key for this member, for ever."""
    if name:
        view.put(_BY_NAME + name.encode(), address)
    view.put(_serial_key(serial), address)
    if tls_key:
        view.put(_BY_TLS_KEY + tls_key, address)


def _get_waiting(view: Overlay) -> list[tuple[Address, Member]]:
    """The members to be, admitted at the next boundary, in the order of admission."""
    rows = cast(tuple[tuple[bytes, tuple[str, str, bytes, int, str, bytes, int, int]], ...], view.get(_WAITING) or ())
    return [(address, Member._make(member)) for address, member in rows]


def _put_waiting(view: Overlay, waiting: list[tuple[Address, Member]]) -> None:
    view.put(_WAITING, tuple((address, tuple(member)) for address, member in waiting))


def _serial_key(serial: int) -> bytes:
    return _BY_SERIAL + serial.to_bytes(8, "big")
