"""Nodes that begin with one entry, or none, in their configuration, and find the others: real sockets, one process."""

from dataclasses import replace

import pytest

from ledger.codec import encode
from ledger.signatures import SigningKey
from node.chain.messages import Contacts
from node.config import load_config, save_config
from node.credentials.keystore import load_passphrase, save_key
from node.errors import BadConfigFile
from node.peer.records import PeerRecord
from node.runtime import Runtime
from node.system.clock import now_ms

pytestmark = pytest.mark.live


@pytest.fixture
def local(make_local):
    """Three nodes: n0 knows nobody, n1 and n2 know n0."""
    made = make_local(3, seals=False)
    seed = made.configs[1].peers[:1]
    assert [peer.name for peer in seed] == ["n0"]
    peers = ((), seed, seed)
    configs = tuple(config.model_copy(update={"peers": some}) for config, some in zip(made.configs, peers, strict=True))
    return type(made)(**{**vars(made), "configs": configs})


def known(runtime):
    return {view.name for view in runtime.peer_views() if view.connected}


def url_of(runtime, name):
    """The address at which a node reaches a peer, or looks for it next."""
    [view] = [view for view in runtime.peer_views() if view.name == name]
    return view.url


async def test_they_find_each_other_and_remember_it(local):
    async with local.running() as nodes:
        await local.until(lambda: [known(node) for node in nodes] == [{"n1", "n2"}, {"n0", "n2"}, {"n0", "n1"}])
        kept = nodes[1]._neighbours._own
    async with local.running(1, 2) as nodes:
        await local.until(lambda: [known(node) for node in nodes] == [{"n2"}, {"n1"}])
        assert nodes[1].peer_views()[0].name == "n0"
        assert nodes[0]._neighbours._own == kept, "what still holds is not signed anew"


async def test_one_that_has_moved_is_found_at_its_new_place(local):
    async with local.running() as nodes:
        await local.until(lambda: all(len(known(node)) == 2 for node in nodes))
        [view] = [view for view in nodes[2].peer_views() if view.name == "n1"]
        before = view.url
        await nodes[1].stop()
        address = local.configs[1].peer_listen._replace(port=0)
        moved = Runtime(local.configs[1].model_copy(update={"peer_listen": address}))
        await moved.start()
        try:
            await local.until(lambda: {view.url for view in nodes[2].peer_views() if view.name == "n1"} != {before})
            await local.until(lambda: all("n1" in known(node) for node in (nodes[0], nodes[2])))
        finally:
            await moved.stop()


async def test_a_seed_that_has_moved_is_found_by_its_own_word_also_after_a_restart(local):
    async with local.running() as nodes:
        await local.until(lambda: all(len(known(node)) == 2 for node in nodes))
        await nodes[0].stop()
        address = local.configs[0].peer_listen._replace(port=0)
        moved = Runtime(local.configs[0].model_copy(update={"peer_listen": address}))
        await moved.start()
        try:
            await local.until(lambda: all("n0" in known(node) for node in nodes[1:]))
            await local.until(lambda: url_of(nodes[1], "n0").endswith(f":{moved.peer_port}"))  # by its own record
            await nodes[1].stop()
            again = Runtime(local.configs[1])  # which still names the old place
            await again.start()
            try:
                await local.until(lambda: "n0" in known(again))
            finally:
                await again.stop()
        finally:
            await moved.stop()


async def test_one_that_starts_anew_has_its_connection_looked_at(make_local, monkeypatch):
    local = make_local(2, seals=False)
    async with local.running() as nodes:
        await local.until(lambda: [known(node) for node in nodes] == [{"n1"}, {"n0"}])
        outbox, looked = nodes[0]._links.find("jy1", local.keys[1].public_key), []
        monkeypatch.setattr(outbox, "on_anew", lambda: looked.append("looked"))
        await nodes[1].stop()
        assert not looked, "while it lived it never said so"
        again = Runtime(local.configs[1], is_sure=True)
        await again.start()
        try:
            await local.until(lambda: looked and known(again) == {"n0"})
        finally:
            await again.stop()


@pytest.mark.parametrize("is_seed", [True, False])
async def test_one_that_is_far_behind_takes_its_seeds_at_their_certificates_word(make_local, is_seed):
    """n0 has a TLS key by now of which n1, whose ledger ends long ago, has not heard; it is new to whom it reaches."""
    local = make_local(2, seals=False, period_ms=1_000)
    fresh = SigningKey(b"\x55" * 32)
    files = local.configs[0].tls
    files.certificate.write_bytes(replace(local, tls_keys=(fresh, *local.tls_keys[1:])).certify(0))
    files.key_file.unlink()
    save_key(files.key_file, fresh, load_passphrase(local.configs[0].passphrase_file))
    configs = (local.configs[0], local.configs[1] if is_seed else local.configs[1].model_copy(update={"peers": ()}))
    async with replace(local, configs=configs).running() as [first, second]:
        await local.until(lambda: second._members["jy1"].is_behind(now_ms()))
        if is_seed:
            await local.until(lambda: known(first) == {"n1"})
        else:
            outbox = first._links.find("jy1", local.keys[1].public_key)
            await local.until(lambda: "NotActive" in outbox._failure)
            assert known(first) == set()


async def test_whoever_answers_with_a_tls_key_that_is_not_on_record_is_sent_nothing(make_local):
    """As the thief of one that has been replaced would: the authority's signature on its certificate is good still."""
    local = make_local(2, seals=False)
    stolen = SigningKey(b"\x55" * 32)
    files = local.configs[0].tls
    files.certificate.write_bytes(replace(local, tls_keys=(stolen, *local.tls_keys[1:])).certify(0))
    files.key_file.unlink()
    save_key(files.key_file, stolen, load_passphrase(local.configs[0].passphrase_file))
    async with local.running() as [_, second]:
        outbox = second._links.find("jy1", local.keys[0].public_key)
        await local.until(lambda: "NotActive" in outbox._failure)
        assert known(second) == set()


async def test_whoever_passes_on_a_forged_record_is_at_fault(local):
    async with local.running(0, 1) as [first, second]:
        await local.until(lambda: known(second) == {"n0"})
        forged = PeerRecord(key=local.keys[2].public_key, url="https://evil.example", chains=("jy1",), sequence=1)
        raw = forged.to_bytes().replace(b"\xc4\x00", b"\xc4\x40" + bytes(64))
        second._links.tell_all(Contacts(raw=(raw,)), None)
        await local.until(lambda: any(view.score for view in first.peer_views()))
        assert {view.name for view in first.peer_views()} == {"n1"}


async def test_rubbish_in_the_file_of_contacts_is_no_reason_to_stay_down(local):
    config = local.configs[1]
    config.data_dir.mkdir(exist_ok=True)
    (config.data_dir / "contacts").write_bytes(b"rubbish")
    async with local.running(0, 1) as nodes:
        await local.until(lambda: known(nodes[0]) == {"n1"})


async def test_a_record_that_a_wrong_clock_has_signed_is_not_kept(local):
    config, key = local.configs[1], local.keys[1]
    config.data_dir.mkdir(exist_ok=True)
    ahead = PeerRecord(key=key.public_key, url=f"https://{config.peer_listen}", chains=("jy1",), sequence=2**62)
    (config.data_dir / "contacts").write_bytes(encode((ahead.signed(key, local.genesis.network_id).to_bytes(),)))
    async with local.running(0, 1) as [first, _]:
        await local.until(lambda: known(first) == {"n1"})


async def test_a_record_that_nobody_would_take_is_not_told(local):
    """As of a node that listens at an address with a zone: others would hold such a record against it."""
    unusable = local.configs[1].model_copy(update={"advertise": "https://[fe80::1%eth0]:9100"})
    async with replace(local, configs=(local.configs[0], unusable)).running() as [first, second]:
        await local.until(lambda: known(second) == {"n0"})
        assert second._neighbours._own is None
        assert first.peer_views() == []


def test_where_a_node_says_it_is(local, tmp_path):
    config = local.configs[0]
    address = config.peer_listen
    assert config.advertised_url(7) == "https://127.0.0.1:7"
    anywhere = config.model_copy(update={"peer_listen": address._replace(host="0.0.0.0")})
    assert anywhere.advertised_url(7) is None
    told = anywhere.model_copy(update={"advertise": "https://node.example:9100"})
    assert told.advertised_url(7) == "https://node.example:9100"
    save_config(told, tmp_path / "node.toml")
    assert load_config(tmp_path / "node.toml").advertise == told.advertise


@pytest.mark.parametrize("url", ["http://node.example", "https://node.example/path"])
def test_an_address_that_nobody_would_take_is_a_mistake_in_the_configuration(local, tmp_path, url):
    save_config(local.configs[0].model_copy(update={"advertise": url}), tmp_path / "node.toml")
    with pytest.raises(BadConfigFile, match="advertise"):
        load_config(tmp_path / "node.toml")
