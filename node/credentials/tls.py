"""Mutual TLS 1.3 between peers: the two contexts of a node, and what the other side's certificate says.

Only certificates of this network's authority count, on both sides; there are no session tickets, so that no connection
lives on what an earlier one has proven. A certificate that is replaced on disk is taken up without a restart, and the
authority's with SIGHUP.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from functools import lru_cache

from ledger.errors import UnreadableFile
from node.config import TlsConfig
from node.credentials.certificates import MemberCertificate, check_ca, read_certificate, verify_issued
from node.credentials.keystore import encode_plain, load_key
from node.errors import BadCertificate, BadCertificateFile, CertificateExpired, CertificateTooEarly, ForeignCertificate
from node.system.files import read_file

_MAX_BYTES = 65_536
_Stamp = tuple[tuple[int, int, int], ...]


class PeerTls:
    """This node's certificate and key, and the contexts that use them.

    `server` and `client` stay the same objects when the certificate is replaced: what listens goes on listening. They
    are others once the authority's has been.
    """

    def __init__(self, files: TlsConfig, passphrase: bytes, *, key: bytes, network: bytes) -> None:
        """`key` is the member's chain key. Raises `BadCertificateFile` and the `ConfigError` family of key files."""
        self._files = files
        self._passphrase = passphrase
        self._key = key
        self._network = network
        self._stamp = self._read_stamp()
        self.certificate = self._check()
        self.server = make_server_context(files, passphrase)
        self.client = make_client_context(files, passphrase)

    def refresh(self) -> bool:
        """Take up a certificate and key that have changed on disk; whether they had. Raises as opening does.

        The authority's certificate is not looked at: the authority to trust changes when the node's owner says so
        (`reload`).
        """
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        certificate = self._check()
        for context in (self.server, self.client):
            _load_chain(context, self._files, self._passphrase)
        self.certificate = certificate
        return True

    def reload(self) -> None:
        """Read everything anew, the authority's certificate too. Raises as opening does, and then nothing has changed.

        What either context has let in is for the caller to close.
        """
        stamp, certificate = self._read_stamp(), self._check()
        server = make_server_context(self._files, self._passphrase)
        client = make_client_context(self._files, self._passphrase)
        self._stamp, self.certificate, self.server, self.client = stamp, certificate, server, client

    def _check(self) -> MemberCertificate:
        """Read the certificate on disk, and check that it works with all that stands beside it."""
        files = self._files
        file = str(files.certificate)
        try:
            certificate = verify_issued(read_file(files.certificate, _MAX_BYTES), read_file(files.ca, _MAX_BYTES))
        except BadCertificate as error:
            raise BadCertificateFile(file=file, detail=str(error)) from None
        if load_key(files.key_file, self._passphrase).public_key != certificate.tls_key:
            raise BadCertificateFile(file=file, detail=f"it is not for the key in {files.key_file}")
        if certificate.key != self._key:
            raise BadCertificateFile(file=file, detail=f"it is {certificate.member}'s, whose chain key is another")
        if certificate.subject.network != self._network:
            raise BadCertificateFile(file=file, detail="it is of another network")
        make_server_context(files, self._passphrase)
        return certificate

    def _read_stamp(self) -> _Stamp:
        stamps = []
        for file in (self._files.certificate, self._files.key_file):
            try:
                status = file.stat()
            except OSError as error:
                raise UnreadableFile(file=str(file), detail=error.strerror or str(error)) from None
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(stamps)


def make_server_context(files: TlsConfig, passphrase: bytes) -> ssl.SSLContext:
    """Make the context of the peer port: a client must show a certificate. Raises `BadCertificateFile`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    return _restrict(context, files, passphrase)


def make_client_context(files: TlsConfig, passphrase: bytes) -> ssl.SSLContext:
    """For reaching a peer: its certificate must carry the name of its chain key (`certificates.name_of_key`).

    Raises `BadCertificateFile`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    return _restrict(context, files, passphrase)


def get_peer_certificate(transport: asyncio.BaseTransport | None) -> MemberCertificate | None:
    """The certificate of a connection's other side; None without TLS. Raises `BadCertificate`."""
    connection = None if transport is None else transport.get_extra_info("ssl_object")
    if connection is None:
        return None
    der = connection.getpeercert(binary_form=True)
    assert der, "a handshake without a certificate does not succeed"
    return _read_der(der)


@lru_cache(maxsize=1_024)
def _read_der(der: bytes) -> MemberCertificate:
    return read_certificate(der)


def check_certificate(certificate: MemberCertificate, *, network: bytes, now_ms: int) -> None:
    """That a certificate is of this network and still valid: a connection may outlive what it began with.

    Raises `ForeignCertificate`, `CertificateTooEarly` or `CertificateExpired`.
    """
    if certificate.subject.network != network:
        actual = certificate.subject.network.hex()[:16]
        raise ForeignCertificate(member=certificate.member, actual=actual, expected=network.hex()[:16])
    if now_ms < certificate.not_before_ms:
        raise CertificateTooEarly(member=certificate.member, not_before_ms=certificate.not_before_ms)
    if now_ms > certificate.not_after_ms:
        raise CertificateExpired(member=certificate.member, not_after_ms=certificate.not_after_ms)


def _restrict(context: ssl.SSLContext, files: TlsConfig, passphrase: bytes) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    authority = read_file(files.ca, _MAX_BYTES)
    try:
        check_ca(authority)
        context.load_verify_locations(cadata=authority.decode("ascii"))
    except (BadCertificate, ssl.SSLError, UnicodeDecodeError) as error:
        raise BadCertificateFile(file=str(files.ca), detail=str(error)) from None
    _load_chain(context, files, passphrase)
    return context


def _load_chain(context: ssl.SSLContext, files: TlsConfig, passphrase: bytes) -> None:
    """The key goes by way of memory: decrypted anew for every context, a person's passphrase would cost each time."""
    key = load_key(files.key_file, passphrase)
    descriptor = os.memfd_create("tls-key", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, encode_plain(key))
        context.load_cert_chain(files.certificate, f"/proc/self/fd/{descriptor}")
    except OSError as error:  # ssl.SSLError is one
        raise BadCertificateFile(file=str(files.certificate), detail=str(error)) from None
    finally:
        os.close(descriptor)
