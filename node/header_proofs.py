"""Headers that prove themselves, under PBFT: as many as lead to one that a quorum has certified.

Each header names its parent by hash, so that the certificate of the last proves them all, to anyone who knows who
certifies it: that is why they end, at the latest, where the members change.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from consensus.quorum import QuorumCertificate
from ledger.block import Header
from ledger.codec import decode, encode
from ledger.errors import UnprovenHeaders

_MAX_BYTES = 1_000_000


def prove_headers(
    headers: tuple[Header, ...],
    *,
    certificate_at: Callable[[int], QuorumCertificate | None],
    changes: Container[int],
) -> tuple[tuple[Header, ...], bytes]:
    """The headers up to the last that can be proven, and the certificate that does; nothing where none can.

    `changes` are the heights of blocks after which others certify.
    """
    last = next((index for index, header in enumerate(headers, start=1) if header.height in changes), len(headers))
    for count in range(last, 0, -1):
        certificate = certificate_at(headers[count - 1].height)
        if certificate is not None and certificate.statement.block_hash == headers[count - 1].hash:
            return headers[:count], encode(certificate.to_value())
    return (), b""


def read_header_proof(headers: tuple[Header, ...], raw: bytes) -> QuorumCertificate:
    """The certificate of the last of one or more headers, not verified yet.

    Raises `UnprovenHeaders` where there is none or it is another block's, and the `Malformed` family.
    """
    if not raw:
        raise UnprovenHeaders(count=len(headers))
    certificate = QuorumCertificate.from_value(decode(raw, max_bytes=_MAX_BYTES))
    if certificate.statement.block_hash != headers[-1].hash:
        raise UnprovenHeaders(count=len(headers))
    return certificate
