"""Who is an active member of a chain at its last final height: what every request of a peer is checked against."""

from __future__ import annotations

from typing import Protocol

from ledger.accounts import Member, get_member
from ledger.chain import WINDOW
from ledger.errors import NoPeerRole, NotActive, WrongRole
from ledger.hashing import Address, address_of
from ledger.membership import get_credential, is_active, is_gone
from ledger.overlay import Overlay
from node.certificates import CertificateInfo
from node.core import ChainNode
from node.events import PeerId

_DEEPEST = 4 * WINDOW
_NO_PEERS = ("authority", "device")  # what admits members takes no part among them; a meter talks to the API


class Membership(Protocol):
    """What the peer port asks of a chain."""

    def find(self, certificate: CertificateInfo, now_ms: int) -> PeerId:
        """The chain key of the active member that a certificate belongs to. Raises `CertificateRefused`."""
        ...

    def has_ended(self, address: Address) -> bool:
        """Whether an address is that of a member that has been revoked or has left."""
        ...


class FinalMembers:
    """The members of one chain as its last final block leaves them.

    Where finality lags by very many blocks, the block that many below the head stands in for the final one.
    """

    def __init__(self, node: ChainNode) -> None:
        self._node = node
        self._hash = b""
        self._view: Overlay | None = None

    def find(self, certificate: CertificateInfo, now_ms: int) -> PeerId:
        """The chain key of the active member that a certificate belongs to.

        Its chain key and TLS key must be those on record. Raises `NotActive`, `WrongRole` or `NoPeerRole`.
        """
        view, address = self._get_view(), address_of(certificate.key)
        member, credential = get_member(view, address), get_credential(view, address)
        if (
            member is None
            or credential is None
            or credential.tls_key not in (b"", certificate.tls_key)
            or not is_active(view, address, now_ms)
        ):
            name, height = self._node.params.name, self._node.chain.final_height
            raise NotActive(member=certificate.member, chain=name, height=height)
        self._check_role(member, certificate)
        return member.key

    def has_ended(self, address: Address) -> bool:
        return is_gone(self._get_view(), address)

    def _check_role(self, member: Member, certificate: CertificateInfo) -> None:
        actual = certificate.subject.role
        if actual != member.role:
            raise WrongRole(member=member.name, actual=actual, expected=member.role, chain=self._node.params.name)
        if actual in _NO_PEERS:
            raise NoPeerRole(member=member.name, role=actual)

    def _get_view(self) -> Overlay:
        chain = self._node.chain
        wanted = chain.final_hash
        floor = chain.head.height - _DEEPEST
        if chain.final_height < floor:
            wanted = chain.hash_at(floor) or wanted
        if self._view is None or wanted != self._hash:
            entry = chain.get(wanted)
            assert entry is not None, "a canonical block"
            self._hash, self._view = wanted, Overlay(entry.state)
        return self._view
