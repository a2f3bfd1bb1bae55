"""Authenticate a peer connection: find the active member whose registered TLS key it presents."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from ledger.hashing import address_of
from node.chain.events import PeerId
from node.credentials.tls import check_certificate, get_peer_certificate
from node.errors import BadCertificate, CertificateRefused, NotActive
from node.peer.active_members import Membership
from node.system.clock import now_ms


class Authenticator:
    """Holds connections against the members of every chain, by its name. `seeds` are the peers of the configuration."""

    def __init__(self, network: bytes, members: Mapping[str, Membership], seeds: Collection[PeerId]) -> None:
        self._network = network
        self._members = members
        self._seeds = seeds

    def find_active(self, chain: str, transport: asyncio.BaseTransport | None) -> PeerId:
        """Find the active member of a chain whose certificate a connection shows. Raises `CertificateRefused`.

        A node that has been away, or is new, may know nothing of its seeds, or not their TLS keys of today: until it
        has caught up it takes them at the word of their certificates, for it is from them that it hears of members.
        """
        certificate = get_peer_certificate(transport)
        if certificate is None:
            raise BadCertificate(detail="its connection has gone")
        check_certificate(certificate, network=self._network, now_ms=now_ms())
        members = self._members[chain]
        try:
            return members.find(certificate, now_ms())
        except NotActive:
            is_seed = certificate.key in self._seeds and not members.has_ended(address_of(certificate.key))
            if not is_seed or not members.is_behind(now_ms()):
                raise
            return certificate.key

    def check_reached(self, transport: asyncio.BaseTransport | None) -> None:
        """Check that the member at the other end is active on some chain. Raises `CertificateRefused`.

        TLS itself checks no more than the chain key in the certificate, which may have been replaced.
        """
        refusals = []
        for chain in self._members:
            try:
                self.find_active(chain, transport)
            except CertificateRefused as error:
                refusals.append(error)
        if len(refusals) == len(self._members):
            raise refusals[0]
