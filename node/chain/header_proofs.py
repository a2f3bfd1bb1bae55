"""Headers that prove themselves, under PBFT: as many as lead to one that a quorum has certified.

Each header names its parent by hash, so that the certificate of the last proves them all, to a reader that knows who
certifies it: that is why they end, at the latest, where the members change.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from consensus.quorum import QuorumCertificate
from ledger.block import Header
from ledger.chain import Chain
from node.errors import UnprovenHeaders


def prove_headers(
    heights: range,
    chain: Chain,
    certificate_at: Callable[[int], QuorumCertificate | None],
    *,
    changes: Container[int],
) -> tuple[range, bytes]:
    """The heights up to the last header that can be proven, and the certificate that does; nothing where none can.

    `changes` are the heights of blocks after which others certify.
    """
    last = next((height for height in heights if height in changes), heights.stop - 1)
    for height in range(last, heights.start - 1, -1):
        certificate = certificate_at(height)
        if certificate is not None and certificate.statement.block_hash == chain.hash_at(height):
            return range(heights.start, height + 1), certificate.raw
    return range(0), b""


def read_header_proof(headers: tuple[Header, ...], raw: bytes) -> QuorumCertificate:
    """The certificate of the last of one or more headers, not verified yet.

    Raises `UnprovenHeaders` where there is none or it is another block's, and the `Malformed` family.
    """
    if not raw:
        raise UnprovenHeaders(count=len(headers))
    certificate = QuorumCertificate.from_bytes(raw)
    if certificate.statement.block_hash != headers[-1].hash:
        raise UnprovenHeaders(count=len(headers))
    return certificate
