"""Admission at the peer port: real nodes on real sockets, and everybody who should not be let in.

Only n0 runs in most of these. The test speaks for n1, with its keys and certificates of any kind.
"""

import asyncio
import json
import logging
import re
import socket
import ssl
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from gridmerit.commands.status import render
from gridmerit.network.silences import find_exclusion
from ledger.membership import sign_act
from ledger.signatures import SigningKey
from node.api.client import Client
from node.chain.messages import MAX_BATCH_BYTES, SESSION_BYTES
from node.credentials.certificates import DAY_MS, make_ca, name_of_key
from node.system.clock import now_ms
from node.system.logs import get_logger
from tests.support.local_network import PEER_HEAD
from tests.support.loop_clock import running_clock
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.live

STRANGER = SigningKey(b"\x77" * 32)
CLOSED = "closed without an answer"


# --- certificates of any kind ---------------------------------------------------------------------


def private(key):
    return Ed25519PrivateKey.from_private_bytes(key.seed)


def rebuild(pem, *, signer, issuer=None, usages=None):
    """A certificate as this one, signed by `signer`: its issuer and what it may be used for can be others."""
    model = x509.load_pem_x509_certificate(pem)
    builder = (
        x509.CertificateBuilder()
        .subject_name(model.subject)
        .issuer_name(issuer or model.issuer)
        .public_key(model.public_key())
        .serial_number(model.serial_number)
        .not_valid_before(model.not_valid_before_utc)
        .not_valid_after(model.not_valid_after_utc)
    )
    for extension in model.extensions:
        value = extension.value
        if isinstance(value, x509.ExtendedKeyUsage) and usages is not None:
            value = x509.ExtendedKeyUsage(usages)
        if isinstance(value, x509.AuthorityKeyIdentifier):
            value = x509.AuthorityKeyIdentifier.from_issuer_public_key(private(signer).public_key())
        builder = builder.add_extension(value, extension.critical)
    return builder.sign(private(signer), None).public_bytes(Encoding.PEM)


def self_signed(local):
    pem = local.certify(1)
    return rebuild(pem, signer=local.tls_keys[1], issuer=x509.load_pem_x509_certificate(pem).subject)


def of_a_foreign_authority(local):
    return rebuild(local.certify(1), signer=STRANGER)


def of_a_members_leaf(local):
    """Its issuer is n2's certificate, which follows in the chain that is sent."""
    above = local.certify(2)
    name = x509.load_pem_x509_certificate(above).subject
    return rebuild(local.certify(1), signer=local.tls_keys[2], issuer=name) + above


def for_servers_only(local):
    return rebuild(local.certify(1), signer=local.ca_key, usages=[ExtendedKeyUsageOID.SERVER_AUTH])


# --- speaking -------------------------------------------------------------------------------------


def make_context(tmp_path, pem, key):
    """A client that checks nothing and shows what it is told to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if pem is not None:
        file = tmp_path / "shown.pem"
        secret = private(key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(secret + pem)
        context.load_cert_chain(file)
    return context


class Line:
    """One connection to a node's peer port."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, path, body, **headers):
        """Status and error code of the answer, or `CLOSED`."""
        lines = {"Host": "n0", "Content_Length": len(body), **PEER_HEAD, **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        try:
            self.writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
            return await self.read_answer()
        except (OSError, asyncio.IncompleteReadError):
            return CLOSED

    async def read_answer(self):
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status = int(head.split()[1])
            sizes = [line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")]
            body = await self.reader.readexactly(int(sizes[0])) if sizes else b""
        self.values = json.loads(body).get("values") if body else None
        return status, json.loads(body)["error"] if body else None

    async def is_closed(self):
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read() == b""
            except OSError:
                return True

    def close(self):
        self.writer.transport.abort()


class Peers:
    """n0 runs; the test holds the keys of n1 and n2."""

    def __init__(self, local, runtime, tmp_path):
        self.local, self.runtime, self.tmp_path = local, runtime, tmp_path
        self.batches = local.batches(1)
        self.path = f"/p2p/{local.genesis.chain_id.hex()}"
        self.lines = []

    def context(self, pem, *, key=None):
        return make_context(self.tmp_path, pem, key or self.local.tls_keys[1])

    async def connect(self, pem=b"", *, key=None, context=None):
        """A connection that shows this certificate, by default n1's own; None shows none."""
        context = context or self.context(self.local.certify(1) if pem == b"" else pem, key=key)
        port = self.runtime.peer_port
        line = Line(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="n0"))
        self.lines.append(line)
        return line

    def seal(self, *, index=1, receiver=0, **changes):
        keys = self.local.keys
        return self.batches.seal(key=keys[index], receiver=keys[receiver].public_key, **changes)

    async def greet(self, line, *, index=1):
        """Learn n0's session, as every sender does once."""
        assert await line.ask(self.path, self.seal(index=index)) == (409, "OutOfStep")
        self.batches.session = bytes.fromhex(line.values["session"])  # numbers go on: they are of several senders

    async def say(self, pem=b"", **options):
        """The answer to a batch of n1 on a connection of its own."""
        try:
            line = await self.connect(pem, **options)
        except OSError:  # ssl.SSLError is one
            return CLOSED
        return await line.ask(self.path, self.seal())

    async def talk(self, context, batch, session=None):
        """Status, TLS session and whether that was resumed, on a connection that offers an earlier `session`."""

        def talk():
            with socket.create_connection(("127.0.0.1", self.runtime.peer_port), timeout=PATIENCE_S) as plain:
                secured = context.wrap_socket(plain, server_hostname="n0", session=session)
                lines = {"Host": "n0", "Content-Length": len(batch), **PEER_HEAD}
                head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
                secured.sendall(f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + batch)
                return int(secured.recv(100).split()[1]), secured.session, secured.session_reused

        return await asyncio.to_thread(talk)


@pytest.fixture
async def peers(make_local, tmp_path):
    local = make_local(3, seals=False)
    async with local.running(0) as [runtime]:
        peers = Peers(local, runtime, tmp_path)
        await peers.greet(await peers.connect())
        yield peers
        assert await peers.say() == (204, None), "whatever came before, an honest peer is heard"
        for line in peers.lines:
            line.close()


@pytest.fixture
def refusals(caplog):
    """The reasons for which handshakes failed."""
    log = get_logger()
    log.addHandler(caplog.handler)
    before = log.level
    log.setLevel(logging.INFO)
    yield lambda: [item.fields["detail"] for item in caplog.records if item.getMessage() == "tls-refused"]
    log.removeHandler(caplog.handler)
    log.setLevel(before)


# --- who is not let in ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda local: None, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        (self_signed, "self-signed certificate"),
        (of_a_foreign_authority, "unable to get local issuer certificate"),
        (of_a_members_leaf, "invalid CA certificate"),
        (lambda local: local.certify(1, from_days=-90, to_days=-1), "certificate has expired"),
        (lambda local: local.certify(1, from_days=1), "certificate is not yet valid"),
        (for_servers_only, "unsuitable certificate purpose"),
    ],
    ids=["none", "self-signed", "foreign authority", "a member's leaf", "expired", "not yet valid", "wrong usage"],
)
async def test_a_certificate_that_does_not_hold_fails_the_handshake(peers, refusals, make, reason):
    assert await peers.say(make(peers.local)) == CLOSED
    await peers.local.until(refusals)
    assert reason in refusals()[0]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"role": "dispatcher"}, "WrongRole"),
        ({"network": b"\x05" * 32}, "ForeignCertificate"),
        ({"key": STRANGER.public_key}, "NotActive"),
    ],
)
async def test_a_certificate_that_says_what_the_chain_does_not_is_refused(peers, changes, error):
    assert await peers.say(peers.local.certify(1, **changes)) == (403, error)


async def test_a_tls_key_that_is_not_on_record_is_refused(peers):
    """The authority has issued it, but no chain has heard of it."""
    local = peers.local
    pem = local.certify(1)
    other = type(local)(**{**vars(local), "tls_keys": (STRANGER,) * 3}).certify(1)
    assert await peers.say(other, key=STRANGER) == (403, "NotActive")
    assert await peers.say(pem) == (204, None)


async def test_a_certificate_of_one_member_carries_no_batch_of_another(peers):
    line = await peers.connect()
    assert await line.ask(peers.path, peers.seal(index=2)) == (403, "SignerMismatch")
    assert {view.score for view in peers.runtime.peer_views()} == {0}


async def test_what_another_member_has_sent_cannot_be_sent_again(peers):
    theirs, mine = await peers.connect(peers.local.certify(2), key=peers.local.tls_keys[2]), await peers.connect()
    batch = peers.seal(index=2)
    assert await theirs.ask(peers.path, batch) == (204, None)
    assert await mine.ask(peers.path, batch) == (403, "SignerMismatch")
    assert await theirs.ask(peers.path, batch) == (409, "OutOfStep")


async def test_a_batch_is_good_for_one_chain_one_receiver_and_its_session(peers):
    line = await peers.connect()
    assert await line.ask(peers.path, peers.seal(chain_id=b"\x01" * 32)) == (401, "InvalidSignature")
    assert await line.ask(peers.path, peers.seal(receiver=2)) == (400, "NotForUs")
    assert await line.ask(peers.path, peers.seal(session=b"\x01" * SESSION_BYTES)) == (409, "OutOfStep")
    assert await line.ask(peers.path, peers.seal()) == (204, None)


async def test_tls_1_2_is_not_spoken(peers, refusals):
    context = peers.context(peers.local.certify(1))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await peers.say(context=context) == CLOSED
    await peers.local.until(refusals)
    assert set(refusals()) == {"UNSUPPORTED_PROTOCOL"}


async def test_plain_http_gets_no_answer(peers, refusals):
    line = Line(*await asyncio.open_connection("127.0.0.1", peers.runtime.peer_port))
    assert await line.ask(peers.path, peers.seal()) == CLOSED
    line.close()
    await peers.local.until(refusals)
    assert set(refusals()) == {"HTTP_REQUEST"}


async def test_no_session_can_be_resumed(peers):
    """Without tickets there is nothing to resume: every connection shows its certificate anew."""
    context = peers.context(peers.local.certify(1))
    status, first, _ = await peers.talk(context, peers.seal())
    assert (status, first.has_ticket) == (204, False)
    assert (await peers.talk(context, peers.seal(), first))[::2] == (204, False)


async def test_a_certificate_that_ends_while_its_connection_lives_is_refused(peers, monkeypatch):
    line = await peers.connect(peers.local.certify(1, to_days=1))
    assert await line.ask(peers.path, peers.seal()) == (204, None)
    monkeypatch.setattr("node.peer.authentication.now_ms", lambda: now_ms() + 2 * DAY_MS)
    assert await line.ask(peers.path, peers.seal()) == (403, "CertificateExpired")
    assert await line.is_closed()


async def test_a_body_of_a_gigabyte_or_a_compressed_one_is_refused_unread(peers):
    line = await peers.connect()
    assert await line.ask(peers.path, b"", Content_Length=10**9) == (413, "TooLarge")
    assert await line.is_closed()
    line = await peers.connect()
    headers = {"Content_Encoding": "gzip", "Content_Length": MAX_BATCH_BYTES}
    assert await line.ask(peers.path, b"", **headers) == (415, "CompressedBody")
    assert await line.is_closed()


# --- whom a node talks to --------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [1, 2])
async def test_a_node_talks_to_the_peer_that_holds_the_key_it_knows(make_local, tmp_path, shown):
    """In the place of n1: its own certificate, or that of n2, which is as good but for the name."""
    local = make_local(3, seals=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secret = private(local.tls_keys[shown]).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "impostor.pem").write_bytes(secret + local.certify(shown))
    context.load_cert_chain(tmp_path / "impostor.pem")
    tries, heard = [], []

    async def listen(reader, writer):
        while data := await reader.read(65_536):
            heard.append(data)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    context.sni_callback = lambda connection, name, context: tries.append(name)
    address = local.configs[1].peer_listen
    server = await asyncio.start_server(listen, address.host, address.port, ssl=context)
    async with server, local.running(0) as [node]:
        await local.until(lambda: len(tries) >= 3 or heard)
        assert tries[0] == name_of_key(local.keys[1].public_key)
        assert bool(heard) == (shown == 1)
        assert node.peer_views()[0].connected == (shown == 1)


# --- replacing a certificate -----------------------------------------------------------------------


@pytest.fixture
def unusable(caplog, monkeypatch):
    """Certificates that were looked at and not taken up; looks come often."""
    monkeypatch.setattr("node.runtime._REFRESH_S", 0.05)
    log = get_logger()
    log.addHandler(caplog.handler)
    yield lambda: [item for item in caplog.records if item.getMessage() == "certificate-unusable"]
    log.removeHandler(caplog.handler)


async def test_an_expired_certificate_is_replaced_without_stopping_anybody(make_local):
    local = make_local(2)
    files = local.configs[1].tls
    assert files is not None
    files.certificate.write_bytes(local.certify(1, from_days=-30, to_days=-1))
    async with local.running(is_sure=True) as [first, second]:
        await local.until(lambda: local.height(first) >= 2)
        assert not any(view.connected for node in (first, second) for view in node.peer_views())
        assert second.certificate_view().days_left < 0
        files.certificate.write_bytes(local.certify(1))
        await local.until(lambda: all(view.connected for node in (first, second) for view in node.peer_views()))
        await local.until(lambda: local.head(first) == local.head(second))
        assert second.certificate_view().days_left == 364


async def test_a_certificate_that_cannot_be_used_leaves_the_old_one_at_work(make_local, unusable):
    local = make_local(2)
    files = local.configs[1].tls
    assert files is not None
    async with local.running() as nodes:
        before = nodes[1].certificate_view()
        for rubbish in (b"rubbish", local.certify(0)):
            files.certificate.write_bytes(rubbish)
            seen = len(unusable())
            await local.until(lambda: len(unusable()) > seen)  # noqa: B023
            assert nodes[1].certificate_view().serial == before.serial
        reached = local.height(nodes[0])
        await local.until(lambda: min(map(local.height, nodes)) >= reached + 3)


async def test_another_authority_takes_over_without_stopping_anybody(make_local, tmp_path):
    """First both count, then every member gets a certificate by the new one, then the new one alone counts."""
    local = make_local(2)
    later = replace(local, ca_key=STRANGER, ca_pem=make_ca(STRANGER, not_before_ms=now_ms() - DAY_MS))
    ca = local.configs[0].tls.ca
    async with local.running() as nodes:

        async def connect_anew():
            for node in nodes:
                await node.reload()
            await local.until(lambda: all(view.connected for node in nodes for view in node.peer_views()))

        ca.write_bytes(local.ca_pem + later.ca_pem)
        await connect_anew()
        for index, node in enumerate(nodes):
            local.configs[index].tls.certificate.write_bytes(later.certify(index, from_days=0, to_days=300))
            await local.until(lambda: node.certificate_view().days_left == 299)  # noqa: B023
        ca.write_bytes(later.ca_pem)
        await connect_anew()
        peers = Peers(local, nodes[0], tmp_path)
        assert await peers.say(local.certify(1)) == CLOSED
        reached = local.height(nodes[0])
        await local.until(lambda: min(map(local.height, nodes)) >= reached + 2)
        ca.write_bytes(local.ca_pem)
        await nodes[0].reload()
        assert nodes[0].certificate_view().days_left == 299, "what does not fit is not taken up"
        await local.until(lambda: all(view.connected for view in nodes[0].peer_views()))


# --- revocation ------------------------------------------------------------------------------------


async def test_a_revoked_member_is_cut_off_within_a_second(make_local, tmp_path):
    local = make_local(3, period_ms=2_000)
    async with local.running(0, 1) as nodes:
        node, host = nodes[0], local.host(nodes[0])
        peers = Peers(local, node, tmp_path)
        certificate, key = local.certify(2), local.tls_keys[2]
        line = await peers.connect(certificate, key=key)
        await peers.greet(line, index=2)
        assert await line.ask(peers.path, peers.seal(index=2)) == (204, None)
        context = peers.context(certificate, key=key)
        _, session, _ = await peers.talk(context, peers.seal(index=2))
        waiting = local.transfer(5, sender=2, receiver=0)  # its sequence leaves a gap, so it stays pending
        assert await host.submit([waiting]) == (None,)

        body = ("revoke", local.genesis.serial_of("n2"), "test")
        act = sign_act(local.genesis.network_id, body, [local.authority])
        revoke = local.transaction(0, 0, "revoke", *act)
        assert await host.submit([revoke]) == (None,)

        def is_final():
            place = host.node.chain.find_transaction(revoke.id)
            return place and host.node.chain.get_header(place[0]).height <= host.node.chain.final_height

        await local.until(is_final)
        async with running_clock() as clock:
            assert await line.is_closed()
            await local.until(lambda: waiting.id not in host.node.mempool)
        assert clock.elapsed_s < 1
        again = await peers.connect(certificate, key=key)
        assert await again.ask(peers.path, peers.seal(index=2)) == (403, "MembershipEnded")
        assert (await peers.talk(context, peers.seal(index=2), session))[::2] == (403, False), "nor in its old session"
        reached = local.height(node)
        await local.until(lambda: min(map(local.height, nodes)) >= reached + 2)


async def test_a_revoked_node_is_told_so_and_says_so_and_the_others_wait_for_it_no_more(make_local, caplog):
    """Of the requests with which it goes on, the others' logs have few lines."""
    caplog.set_level(logging.INFO, logger="gridmerit")
    local = make_local(3, period_ms=2_000)
    async with local.running() as nodes:
        await local.until(lambda: all(view.connected for node in nodes for view in node.peer_views()))
        body = ("revoke", local.genesis.serial_of("n2"), "test")
        act = sign_act(local.genesis.network_id, body, [local.authority])
        assert await local.host(nodes[0]).submit([local.transaction(0, 0, "revoke", *act)]) == (None,)
        await local.until(lambda: {view.refusal for view in nodes[2].peer_views()} == {"MembershipEnded"})
        assert all("n2 was revoked" in view.refusal_detail for view in nodes[2].peer_views())
        await local.until(lambda: [view.has_ended for view in nodes[0].peer_views()] == [False, True])
        async with Client(f"http://127.0.0.1:{nodes[2].api_port}", "") as client:
            status = await client.node_status()
        exclusion = find_exclusion(status)
        assert exclusion.state == "its membership has ended, say n0, n1"
        assert re.search("excluded +its membership has ended, say n0, n1: n2 was revoked", render(status, "there"))
        async with Client(f"http://127.0.0.1:{nodes[0].api_port}", "") as client:
            assert find_exclusion(await client.node_status()) is None
        outbox = nodes[2]._links.find("jy1", nodes[0].public_key)
        told = count_refusals(caplog)
        for _ in range(30):
            outbox.refusal = None
            outbox._heard.set()  # as if its pause were over
            await local.until(lambda: outbox.refusal is not None)
        assert count_refusals(caplog) - told <= 3


def count_refusals(caplog):
    lines = [line for line in caplog.records if line.getMessage() == "batch-refused"]
    return sum(line.fields["error"] == "MembershipEnded" for line in lines)
