"""Ways that must not lead around a membership, over real sockets: acts that are none, early admissions, old copies."""

import asyncio
import shutil
from dataclasses import replace

import aiohttp
import pytest

from gridmerit.network.make import find_free_ports
from ledger.errors import DuplicateSigner, InvalidKey, TooFewSignatures
from ledger.genesis import Authority
from ledger.membership import Admission, sign_act
from ledger.signatures import SigningKey
from node.api.client import Client
from node.chain.gossip import announce_block
from node.config import ListenAddress, SealingConfig, TlsConfig, save_genesis
from node.credentials.certificates import Subject, issue, name_of_key
from node.credentials.keystore import save_key
from node.credentials.tls import make_client_context
from node.errors import RemoteRejected, RolledBack
from node.queries.chain import ChainQueries
from node.runtime import Runtime
from node.system.clock import now_ms
from tests.support.local_network import PEER_HEAD
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.live

NEWCOMER, TLS_KEY, SECOND = (SigningKey(bytes([number]) * 32) for number in (0x61, 0x62, 0xA2))
NEUTRAL = bytes([1, *bytes(31)])  # the point of order one
PASSPHRASE = b"0" * 64
NAME, SERIAL = "homes-9", 4_711
YEAR_MS = 365 * 86_400_000


def admission(**changes):
    now = now_ms()
    facts = {
        "serial": SERIAL, "name": NAME, "role": "consumer", "key": NEWCOMER.public_key, "tls_key": TLS_KEY.public_key,
        "capacity_wh": 1_000, "position": "feeder-1", "owner": b"", "seals": (), "not_before_ms": now - 86_400_000,
        "not_after_ms": now + YEAR_MS,
    }  # fmt: skip
    return Admission(**{**facts, **changes}).to_value()


# --- acts ------------------------------------------------------------------------------------------


async def test_acts_that_the_authority_has_not_made_are_refused(make_local, tmp_path):
    """By a node's API: m - 1 signatures, m by one key, and keys of small order in what the authority has signed."""
    local = make_local(1, secure=False, seals=False)
    authority = Authority(threshold=2, keys=(local.authority.public_key, SECOND.public_key))
    save_genesis(local.genesis.model_copy(update={"authority": authority}), tmp_path / "genesis.json")
    both = (local.authority, SECOND)
    async with local.running() as [node], Client(f"http://127.0.0.1:{node.api_port}", "jy1") as client:
        network = (await client.genesis()).network_id
        for error, signers, changes in (
            (TooFewSignatures, both[:1], {}),
            (DuplicateSigner, both[:1] * 2, {}),
            (InvalidKey, both, {"key": NEUTRAL}),
            (InvalidKey, both, {"tls_key": NEUTRAL}),
        ):
            with pytest.raises(RemoteRejected) as refused:
                await client.send(local.keys[0], "admit", sign_act(network, admission(**changes), signers))
            assert refused.value.code == error.__name__
        await client.send(local.keys[0], "admit", sign_act(network, admission(), both))


# --- who speaks at the peer port ---------------------------------------------------------------------


class Caller:
    """Says something to n0, or hello, each time on a connection of its own."""

    def __init__(self, local, context, key):
        self._local, self._context = local, context
        self._batches = local.batches(key)

    async def call(self, node, *messages):
        """None where the node listens, else the error's name."""
        batch = self._batches.seal(*messages)
        url = f"https://127.0.0.1:{node.peer_port}/p2p/{self._local.genesis.chain_id.hex()}"
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._context)) as session,
            session.post(
                url, data=batch, headers=PEER_HEAD, server_hostname=name_of_key(self._local.keys[0].public_key)
            ) as answer,
        ):
            if answer.status == 409:
                self._batches.go_on((await answer.json())["values"])
                return await self.call(node, *messages)
            return None if answer.status == 204 else (await answer.json())["error"]


def make_newcomer(local, tmp_path):
    """A caller to whom the authority has issued a certificate already."""
    subject = Subject(member=NAME, key=NEWCOMER.public_key, role="consumer", network=local.genesis.network_id)
    *_, begin_ms, end_ms, _, _ = admission()
    files = TlsConfig(certificate=tmp_path / "tls.pem", key_file=tmp_path / "tls-key.pem", ca=tmp_path / "ca.pem")
    files.certificate.write_bytes(
        issue(
            local.ca_pem,
            local.ca_key,
            subject,
            tls_key=TLS_KEY.public_key,
            serial=SERIAL,
            not_before_ms=begin_ms,
            not_after_ms=end_ms,
        )
    )
    save_key(files.key_file, TLS_KEY, PASSPHRASE)
    return Caller(local, make_client_context(files, PASSPHRASE), NEWCOMER)


async def until_answered(caller, node, answer):
    async with asyncio.timeout(PATIENCE_S):
        while await caller.call(node) != answer:  # noqa: ASYNC110 - of sockets
            await asyncio.sleep(0.05)


def is_final(host, transaction):
    chain = host.node.chain
    place = chain.find_transaction(transaction.id)
    return place is not None and chain.get_header(place[0]).height <= chain.final_height


async def test_an_admission_counts_once_it_is_final(make_local, tmp_path):
    """n0 alone makes blocks, and no certificate: its head takes the newcomer for a member, its peer port does not."""
    local = make_local(2, period_ms=1_000)
    newcomer = make_newcomer(local, tmp_path)
    async with local.running(0) as [node]:
        host = local.host(node)
        act = sign_act(local.genesis.network_id, admission(), [local.authority])
        assert await host.submit([local.transaction(0, 0, "admit", *act)]) == (None,)

        def is_member():
            listed = {item.name: item for item in ChainQueries(host.node).get_members()}
            return NAME in listed and listed[NAME].status == "active"

        await local.until(is_member)
        assert host.node.chain.final_height == 0
        assert await newcomer.call(node) == "NotActive"
        async with local.running(1):
            await until_answered(newcomer, node, None)


async def test_who_was_revoked_is_a_member_again_on_no_old_copy(make_local):
    """An old ledger beside a guard of today is refused; a copy of both lets nobody in once it has caught up."""
    local = make_local(3, period_ms=2_000)
    revoked = Caller(local, make_client_context(local.configs[2].tls, PASSPHRASE), local.keys[2])
    now = local.configs[0].data_dir
    copy, kept = now.with_name("copy"), now.with_name("kept")
    async with local.running(1):
        async with local.running(0) as [node]:
            await local.until(lambda: local.host(node).node.chain.final_height >= 1)
            assert await revoked.call(node) is None
        copied_at = local.height(node)
        shutil.copytree(now, copy)
        async with local.running(0) as [node]:
            body = ("revoke", local.genesis.serial_of("n2"), "test")
            act = sign_act(local.genesis.network_id, body, [local.authority])
            revoke = local.transaction(0, 0, "revoke", *act)
            assert await local.host(node).submit([revoke]) == (None,)
            await local.until(lambda: is_final(local.host(node), revoke))
            assert await revoked.call(node) == "MembershipEnded"
            # the guard of today is above the old ledger once this node has sealed again
            await local.until(lambda: local.host(node).node.signing_record.height > copied_at)

        now.rename(kept)
        shutil.copytree(copy, now)
        shutil.copy(kept / "jy1" / "guard", now / "jy1" / "guard")
        with pytest.raises(RolledBack):
            Runtime(local.configs[0])

        shutil.copy(copy / "jy1" / "guard", now / "jy1" / "guard")
        async with local.running(0) as [node]:
            await until_answered(revoked, node, "MembershipEnded")
            await local.until(lambda: is_final(local.host(node), revoke))


# --- one key on two hosts ----------------------------------------------------------------------------


async def seal_elsewhere(local):
    """The announcement of a block on genesis by a second host of n2's key, which reaches nobody and is sure."""
    peer_port, api_port = find_free_ports(2)
    changes = {
        "data_dir": local.configs[2].data_dir.with_name("twin"),
        "peer_listen": ListenAddress("127.0.0.1", peer_port),
        "api_listen": ListenAddress("127.0.0.1", api_port),
        "peers": (),
    }
    twin = Runtime(local.configs[2].model_copy(update=changes), is_sure=True)
    try:
        await twin.start()
        await local.until(lambda: local.height(twin) >= 1)
    finally:
        await twin.stop()
    chain = local.host(twin).node.chain
    return announce_block(chain.get(chain.hash_at(1)))


async def test_two_hosts_with_one_key_give_themselves_away(make_local):
    """Both seal on the genesis block, and that costs their member's credit; nobody else's."""
    local = make_local(3)
    announcement = await seal_elsewhere(local)
    # Of the three it alone seals: the others might make a branch of their own final before they hear of it.
    *others, sealing = local.configs
    others = [other.model_copy(update={"sealing": SealingConfig(threads=0)}) for other in others]
    local = replace(local, configs=(*others, sealing))
    async with local.running(2) as [first]:
        await local.until(lambda: local.height(first) >= 5)  # more than the others come to before they hear of it
        first_block = local.host(first).node.chain.hash_at(1)
        async with local.running(0, 1) as [node, _]:
            ask, chain = ChainQueries(local.host(node).node).get_account, local.host(node).node.chain
            await local.until(lambda: chain.hash_at(1) == first_block)
            before_upt = ask("n2").credit_upt
            caller = Caller(local, make_client_context(local.configs[2].tls, PASSPHRASE), local.keys[2])
            assert await caller.call(node, announcement) is None
            await local.until(lambda: ask("n2").penalty_upt)
            assert ask("n2").credit_upt < before_upt
            assert (ask("n0").penalty_upt, ask("n1").penalty_upt) == (0, 0)
