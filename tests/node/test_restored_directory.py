"""A node's directory copied, put back, and used twice, over real sockets and disks: nothing is signed a second time."""

import shutil
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from gridmerit.network.make import find_free_ports
from ledger.accounts import get_account
from ledger.overlay import Overlay
from node.config import ListenAddress
from node.runtime import Runtime

pytestmark = pytest.mark.live

AWAY = 20  # blocks that are added between the copy and its return
DEPTH = 3  # blocks above one that is not likely to be left again


@pytest.fixture(params=["poca", "pbft"])
def local(request, make_local):
    """Four nodes, of which n0 has more hash power than the rest: it seals again and again."""
    four = make_local(4, engine=request.param, interval_ms=200, period_ms=8_000)
    first, *rest = four.configs
    strong = first.sealing.model_copy(update={"core_share_ppm": 4 * first.sealing.core_share_ppm})
    return replace(four, configs=(first.model_copy(update={"sealing": strong}), *rest))


class Watch:
    """Everything that a node publishes about its chain."""

    def __init__(self, local, runtime):
        self.seen = []
        local.host(runtime)._subscribers.publish = self.seen.append

    def names(self):
        return {event[0] for event in self.seen}


def state(local, runtime):
    return local.host(runtime).node.signing_state


def credit(local, runtime, index=0):
    head = local.host(runtime).node.chain.head
    return get_account(Overlay(head.state), local.keys[index].address).credit_upt


async def come_to(local, runtime, height):
    await local.until(lambda: local.height(runtime) >= height)


async def copy_of_n0(local, others, copy):
    """Copy n0's directory once it has taken part; let it go on, and end it. What it has signed by then lies ahead."""
    async with local.running(0, is_sure=False):
        await local.until(lambda: has_taken_part(local, others[0]))
    shutil.copytree(local.configs[0].data_dir, copy)
    async with local.running(0, is_sure=False):
        since = local.height(others[0])
        await come_to(local, others[0], since + AWAY)
        await local.until(lambda: has_taken_part(local, others[0], since))


def has_taken_part(local, other, since=0):
    """True where another node's chain has a block of n0's above `since`, others on it, or under PBFT its vote."""
    node, key = local.host(other).node, local.keys[0].public_key
    if is_pbft(local):
        return node.chain.final_height > since and key in dict(node.final_certificate.signatures)
    deep = range(since + 1, node.chain.head.height - DEPTH)
    return any(entry.header.producer == key for entry in node.chain.ancestors(node.chain.head) if entry.height in deep)


def is_pbft(local):
    return local.genesis.params.consensus.engine == "pbft"


def put_back(local, copy):
    data = local.configs[0].data_dir
    shutil.rmtree(data)
    shutil.copytree(copy, data)


async def test_a_directory_put_back_signs_nothing_twice_and_comes_back_by_itself(local, tmp_path):
    async with local.running(1, 2, 3, is_sure=False) as others:
        watch, before = Watch(local, others[0]), credit(local, others[0])
        await copy_of_n0(local, others, tmp_path / "copy")
        put_back(local, tmp_path / "copy")
        async with local.running(0, is_sure=False) as [n0]:
            told = Watch(local, n0)
            await local.until(lambda: "signing-signs" in told.names())
            node = local.host(n0).node
            assert node.chain.final_height >= node.signing_record.silent_until
            record = node.signing_record
            await local.until(lambda: node.signing_record != record)  # it has sealed, or voted
        assert is_pbft(local) or "signing-record-behind" in told.names()
        assert "equivocation" not in watch.names() | told.names()
        assert credit(local, others[0]) == before


async def test_a_directory_put_back_that_reaches_nobody_signs_nothing(local, tmp_path):
    async with local.running(1, 2, 3, is_sure=False) as others:
        await copy_of_n0(local, others, tmp_path / "copy")
        put_back(local, tmp_path / "copy")
    async with local.running(0, is_sure=False) as [n0]:  # the others have gone
        told = Watch(local, n0)
        height, record = local.height(n0), local.host(n0).node.signing_record
        beats = []
        local.host(n0).node._pool.remind = lambda age: beats.append(0) or []
        await local.until(lambda: len(beats) >= 4)
        assert state(local, n0) == "waits"
        assert (local.height(n0), local.host(n0).node.signing_record) == (height, record)
        assert told.names() & {"head", "signing-signs"} == set()


async def test_the_same_key_in_two_processes_signs_in_the_one_that_the_others_talk_to(local, tmp_path):
    data = local.configs[0].data_dir
    peer_port, api_port = find_free_ports(2)
    twin = local.configs[0].model_copy(
        update={
            "data_dir": tmp_path / "twin",
            "peer_listen": ListenAddress(host="127.0.0.1", port=peer_port),
            "api_listen": ListenAddress(host="127.0.0.1", port=api_port),
        }
    )
    async with AsyncExitStack() as stack:
        others = await stack.enter_async_context(local.running(1, 2, 3, is_sure=False))
        watch = Watch(local, others[0])
        async with local.running(0, is_sure=False) as [n0]:
            await local.until(lambda: state(local, n0) == "signs" and has_taken_part(local, others[0]))
        shutil.copytree(data, twin.data_dir)
        [n0] = await stack.enter_async_context(local.running(0, is_sure=False))
        await local.until(lambda: state(local, n0) == "signs")
        second = Runtime(twin)
        stack.push_async_callback(second.stop)
        told = Watch(local, second)
        await second.start()
        await come_to(local, others[0], local.height(others[0]) + AWAY)
        assert state(local, second) in {"waits", "record-behind"}
        assert "signing-signs" not in told.names()
        assert "equivocation" not in watch.names()
