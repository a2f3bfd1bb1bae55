"""Files that a node shows to peers: they fit together, are taken up when they change, and told of before they end."""

import ssl

import pytest

from gridmerit.network.doctor import examine
from ledger.errors import UnreadableFile
from ledger.genesis import GenesisMember
from ledger.signatures import SigningKey
from ledger.store import MemoryStore
from node.chain.node import ChainNode
from node.config import save_config
from node.credentials.certificates import DAY_MS, MemberCertificate, Subject, make_ca, read_certificate
from node.credentials.tls import PeerTls, check_certificate, make_client_context, make_server_context
from node.errors import (
    BadCertificateFile,
    CertificateExpired,
    CertificateTooEarly,
    ForeignCertificate,
    KeyFilePermissions,
    NoPeerRole,
    NotActive,
    WrongRole,
)
from node.peer.active_members import FinalMembers
from node.runtime import Runtime
from node.system.clock import now_ms

PASSPHRASE = b"0" * 64  # as in conftest
METER = SigningKey(b"\x51" * 32)


@pytest.fixture
def local(make_local):
    return make_local(2, seals=False)


def open_tls(local, **changes):
    facts = {"key": local.keys[0].public_key, "network": local.genesis.network_id}
    return PeerTls(local.configs[0].tls, PASSPHRASE, **{**facts, **changes})


# --- files ------------------------------------------------------------------------------------------


def test_both_contexts_demand_a_certificate_and_tls_1_3_without_tickets(local):
    files = local.configs[0].tls
    server, client = make_server_context(files, PASSPHRASE), make_client_context(files, PASSPHRASE)
    for context in (server, client):
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
        assert [item["subject"] for item in context.get_ca_certs()] == [((("commonName", "gridmerit authority"),),)]
    assert server.num_tickets == 0
    assert client.check_hostname


@pytest.mark.parametrize(
    ("spoil", "detail"),
    [
        (lambda local, files: files.certificate.write_bytes(b"rubbish"), "not an X.509 certificate"),
        (lambda local, files: files.certificate.write_bytes(local.certify(1)), "not for the key in"),
        (lambda local, files: files.certificate.write_bytes(local.certify(0, network=bytes(32))), "another network"),
        (
            lambda local, files: files.certificate.write_bytes(local.certify(0, key=METER.public_key)),
            "whose chain key is another",
        ),
        (
            lambda local, files: files.ca.write_bytes(make_ca(METER, not_before_ms=now_ms())),
            "not issued by this network's authority",
        ),
    ],
)
def test_files_that_do_not_fit_together_are_told(local, spoil, detail):
    spoil(local, local.configs[0].tls)
    with pytest.raises(BadCertificateFile, match=detail):
        open_tls(local)


def test_a_member_is_no_authority(local):
    files = local.configs[0].tls
    files.ca.write_bytes(local.certify(1))
    with pytest.raises(BadCertificateFile):
        make_server_context(files, PASSPHRASE)


def test_a_key_that_others_can_read_or_a_file_that_is_missing_is_refused(local):
    files = local.configs[0].tls
    files.key_file.chmod(0o644)
    with pytest.raises(KeyFilePermissions):
        open_tls(local)
    files.key_file.chmod(0o600)
    files.certificate.unlink()
    with pytest.raises(UnreadableFile):
        open_tls(local)


def test_a_changed_certificate_is_taken_up_once(local):
    tls, files = open_tls(local), local.configs[0].tls
    assert not tls.refresh()
    contexts = tls.server, tls.client
    files.certificate.write_bytes(local.certify(0, to_days=500))
    assert (tls.refresh(), tls.refresh()) == (True, False)
    assert tls.certificate.days_left(now_ms()) == 499
    assert (tls.server, tls.client) == contexts
    files.certificate.write_bytes(b"rubbish")
    with pytest.raises(BadCertificateFile):
        tls.refresh()
    assert not tls.refresh(), "said once"
    assert tls.certificate.days_left(now_ms()) == 499


# --- what a certificate may be used for ----------------------------------------------------------------


def test_a_certificate_counts_in_its_network_and_its_time(local):
    info = read_certificate(local.certify(1, from_days=-1, to_days=10))
    network, now = local.genesis.network_id, now_ms()
    check_certificate(info, network=network, now_ms=now)
    with pytest.raises(CertificateTooEarly):
        check_certificate(info, network=network, now_ms=now - 2 * DAY_MS)
    with pytest.raises(CertificateExpired):
        check_certificate(info, network=network, now_ms=now + 11 * DAY_MS)
    with pytest.raises(ForeignCertificate):
        check_certificate(info, network=bytes(32), now_ms=now)


def test_members_are_those_of_the_last_final_block(local):
    meter = GenesisMember(name="meter", role="device", key=METER.public_key, owner="n1")
    plain = local.genesis.members[1].model_copy(update={"tls_key": b""})
    genesis = local.genesis.model_copy(update={"members": (local.genesis.members[0], plain, meter)})
    members = FinalMembers(ChainNode(genesis, MemoryStore()))

    def find(member, **changes):
        facts = {"member": member.name, "key": member.key, "role": member.role, "network": genesis.network_id}
        info = MemberCertificate(
            subject=Subject(**{**facts, **changes}),
            tls_key=local.tls_keys[0].public_key,
            serial=1,
            not_before_ms=0,
            not_after_ms=2**62,
        )
        return members.find(info, now_ms())

    first, second, device = genesis.members
    assert find(first) == first.key
    assert find(second) == second.key, "without a TLS key on record its chain key tells who it is"
    with pytest.raises(NoPeerRole):
        find(device)
    with pytest.raises(WrongRole):
        find(first, role="auditor")
    with pytest.raises(NotActive):
        find(first, key=local.ca_key.public_key)
    assert not members.has_ended(local.keys[0].address)
    assert not members.has_ended(local.ca_key.address), "it has never been one"


def test_a_node_is_behind_once_two_periods_have_gone_since_the_block_that_names_the_members(local):
    genesis = local.genesis
    members = FinalMembers(ChainNode(genesis, MemoryStore()))
    last_ms = genesis.time_ms + 2 * genesis.params.ledger.period_ms
    assert not members.is_behind(last_ms)
    assert members.is_behind(last_ms + 1)


# --- before it ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "verdict"), [(61, "ok"), (59, "warn"), (-3, "fail")])
async def test_doctor_tells_of_a_certificate_that_ends(local, tmp_path, days, verdict):
    home = tmp_path / "home"
    home.mkdir()
    save_config(local.configs[0], home / "node.toml")
    local.configs[0].tls.certificate.write_bytes(local.certify(0, from_days=-100, to_days=days))
    finding = next(item for item in await examine(home) if item.what == "certificate")
    assert finding.verdict == verdict
    assert ("renew" in finding.remedy) == (verdict != "ok")


@pytest.mark.parametrize(("days", "level"), [(61, None), (59, "WARNING"), (-3, "ERROR")])
async def test_the_log_warns_at_the_start_and_not_again_that_day(local, caplog, days, level):
    local.configs[0].tls.certificate.write_bytes(local.certify(0, from_days=-100, to_days=days))
    node = Runtime(local.configs[0])
    try:
        with caplog.at_level("INFO", logger="gridmerit"):
            for _ in range(2):
                node._warn_of_end(node._tls)
        said = {item.levelname for item in caplog.records if item.getMessage() == "certificate-ends"}
        assert said == ({level} if level else set())
        assert node.certificate_view().days_left == days - 1
    finally:
        await node.stop()
