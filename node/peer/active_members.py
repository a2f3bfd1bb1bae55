"""The active members of a chain at its last final height: what every request of a peer is checked against."""

from __future__ import annotations

from typing import Protocol

from ledger.accounts import Member, get_member
from ledger.chain import WINDOW, BlockNode
from ledger.hashing import Address, address_of
from ledger.membership import LEFT, REVOKED, get_credential, is_active, is_gone
from ledger.overlay import Overlay
from ledger.sealers import get_wanted_sealers
from node.chain.events import PeerId
from node.chain.node import ChainNode
from node.credentials.certificates import MemberCertificate
from node.errors import MembershipEnded, NoPeerRole, NotActive, WrongRole
from node.peer.records import MemberStatus

_DEEPEST = 4 * WINDOW
_BEHIND_PERIODS = 2
_ENDINGS = {REVOKED: "was revoked", LEFT: "has left"}
_NO_PEERS = ("authority", "device")  # what admits members takes no part among them; a meter talks to the API


class Membership(Protocol):
    """The peer port's view of a chain's members."""

    def find(self, certificate: MemberCertificate, now_ms: int) -> PeerId:
        """The chain key of the active member that a certificate belongs to. Raises `CertificateRefused`."""
        ...

    def has_ended(self, address: Address) -> bool:
        """Return True if an address is that of a member that has been revoked or has left."""
        ...

    def get_standing(self, address: Address, now_ms: int) -> MemberStatus:
        """The status of an address on the chain."""
        ...

    def is_behind(self, now_ms: int) -> bool:
        """Return True if this node cannot tell who the members are by now."""
        ...


class FinalMembers:
    """The members of one chain as its last final block leaves them.

    Where finality lags by very many blocks, one that many below the head stands in for the final one, another every
    `WINDOW` blocks: each time states are brought back from the store. Looked at from any thread; `refresh` and
    `turn_to` belong to the one that steps the node.
    """

    def __init__(self, node: ChainNode) -> None:
        self._node = node
        self._basis = self._find_basis()

    def refresh(self) -> None:
        """Take up the block that counts now."""
        if self._get_hash() != self._basis.hash:
            self._basis = self._find_basis()

    def turn_to(self, node: ChainNode) -> None:
        """Go by another node of the same chain from now on."""
        self._node = node
        self._basis = self._find_basis()

    def find(self, certificate: MemberCertificate, now_ms: int) -> PeerId:
        """The chain key of the active member that a certificate belongs to.

        Its chain key and TLS key must be those on record. Raises `NotActive`, of it `MembershipEnded` where the member
        has been revoked or has left, `WrongRole` or `NoPeerRole`.
        """
        basis, address = self._basis, address_of(certificate.key)
        view = Overlay(basis.state)
        member, credential = get_member(view, address), get_credential(view, address)
        where = {"member": certificate.member, "chain": self._node.params.name, "height": basis.height}
        if credential is not None and credential.status in _ENDINGS:
            raise MembershipEnded(how=_ENDINGS[credential.status], **where)
        if (
            member is None
            or credential is None
            or credential.tls_key not in (b"", certificate.tls_key)
            or not is_active(view, address, now_ms)
        ):
            raise NotActive(**where)
        self._check_role(member, certificate)
        return member.key

    def has_ended(self, address: Address) -> bool:
        return is_gone(Overlay(self._basis.state), address)

    def get_standing(self, address: Address, now_ms: int) -> MemberStatus:
        """The status of an address on the chain; one whose credential has expired, or that has no peers, is unknown."""
        view = Overlay(self._basis.state)
        member = get_member(view, address)
        if is_gone(view, address):
            return MemberStatus.GONE
        if member is None or member.role in _NO_PEERS or not is_active(view, address, now_ms):
            return MemberStatus.UNKNOWN
        return MemberStatus.SEALER if member.key in get_wanted_sealers(view) else MemberStatus.MEMBER

    def is_behind(self, now_ms: int) -> bool:
        """Return True if the block that names the members is older than the period before this one."""
        age_ms = now_ms - self._basis.header.timestamp_ms
        return age_ms > _BEHIND_PERIODS * self._node.params.ledger.period_ms

    def _check_role(self, member: Member, certificate: MemberCertificate) -> None:
        actual = certificate.subject.role
        if actual != member.role:
            raise WrongRole(member=member.name, actual=actual, expected=member.role, chain=self._node.params.name)
        if actual in _NO_PEERS:
            raise NoPeerRole(member=member.name, role=actual)

    def _get_hash(self) -> bytes:
        """The hash of the block that counts."""
        chain = self._node.chain
        floor = (chain.head.height - _DEEPEST) // WINDOW * WINDOW
        deep = chain.hash_at(floor) if chain.final_height < floor else None
        return deep or chain.final_hash

    def _find_basis(self) -> BlockNode:
        entry = self._node.chain.get(self._get_hash())
        assert entry is not None, "a canonical block"
        return entry
