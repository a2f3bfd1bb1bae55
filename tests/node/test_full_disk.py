"""Nodes whose disk is full, or mounted read-only: they answer, sign nothing, say so, and go on by themselves."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import pytest

from gridmerit.main import run
from node.api.client import Client
from node.config import save_config
from node.errors import RemoteError
from tests.support.patience import PATIENCE_S
from tests.support.small_disk import beside, fill, has_small_disks, look_in, make_room, make_writable, on_small_disk

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not has_small_disks(), reason="no user may mount a disk of their own here"),
]
MB = 64


class Machine:
    """One node of a network as a process with a disk of its own."""

    def __init__(self, local, process, directory, index):
        self.local, self.process, self.index = local, process, index
        self.url = f"http://{local.configs[index].api_listen}"
        self.log = directory / "log"
        self.disk = look_in(process.pid, local.configs[index].data_dir)

    def ask(self, chain="jy1"):
        return Client(self.url, chain, timeout_s=PATIENCE_S)

    async def until(self, condition):
        """Wait for what a status of the chain fulfils; the node must answer all the while, once it has."""
        async with asyncio.timeout(PATIENCE_S), self.ask() as client:
            while True:
                assert self.process.returncode is None, self.log.read_text()
                if condition(status := await client.status()):
                    return status
                await asyncio.sleep(0.02)

    def events(self):
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line["event"] for line in lines if line["level"] in ("critical", "warning") and "disk" in line["event"]]


@asynccontextmanager
async def machine(local, directory, index=0, *, sure=True, **disk):
    """A node on a small disk, up and answering."""
    save_config(local.configs[index], directory / "node.toml")
    words = ["-m", "gridmerit", "start", directory, *(["--i-am-sure"] if sure else [])]
    prefix = on_small_disk(local.configs[index].data_dir, MB, **disk)
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *prefix, sys.executable, *words, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        assert await process.stdout.readline(), (directory / "log").read_text()
        yield Machine(local, process, directory, index)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def test_a_full_disk_is_read_and_the_node_goes_on_when_there_is_room(make_local, tmp_path, capsys):
    local = make_local(2)
    first, second = local.transfer(0), local.transfer(1)
    async with machine(local, tmp_path) as node, node.ask() as client:
        assert await client.submit([first]) == [None]
        await node.until(lambda status: status.height >= 2)
        fill(node.disk)
        left = await node.until(lambda status: status.signing == "read-only")
        assert "No space left on device" in left.refusal
        assert (await client.transaction(first.id)).status in ("included", "pending")
        [refusal] = await refused(client, second)
        assert refusal.code == "StoreReadOnly"
        status = await client.node_status()
        assert not status.outages
        assert status.sealing["jobs"] == []
        assert await asyncio.to_thread(run, ["status", "--api", node.url]) == 0
        assert "the disk takes no writes" in capsys.readouterr().out
        found = await examine(node, tmp_path)
        assert found["signing on jy1"]["verdict"] == "warn"
        assert "make room" in found["signing on jy1"]["remedy"]
        assert (await client.status()).height == left.height, "nothing is sealed"
        make_room(node.disk)
        assert await node.until(lambda status: status.signing == "signs" and status.height > left.height + 1)
        assert await client.submit([second]) == [None]
        await client.wait_for(second.id, timeout_s=PATIENCE_S)
        assert (await client.transaction(first.id)).status == "included"
        assert node.events() == ["disk-takes-nothing", "disk-takes-writes"]
        node.process.terminate()
        assert await node.process.wait() == 0


@pytest.mark.parametrize(
    ("state", "why"), [("full", "No space left on device"), ("read-only", "Read-only file system")]
)
async def test_a_node_starts_on_a_disk_that_takes_nothing_and_goes_on_once_it_does(make_local, tmp_path, state, why):
    local = make_local(2)
    data, kept, first = local.configs[0].data_dir, tmp_path / "kept", local.transfer(0)
    async with local.running(0) as [runtime]:
        await local.host(runtime).submit([first])
        await local.until(lambda: local.height(runtime) >= 2)
    data.rename(kept)
    (kept / "jy1" / "reserve").unlink()  # the disk was full before
    async with machine(local, tmp_path, holding=kept, state=state) as node, node.ask() as client:
        status = await client.status()
        assert (status.signing, why in status.refusal) == ("read-only", True)
        assert status.height >= 2
        assert (await client.transaction(first.id)).status in ("included", "pending")
        [refusal] = await refused(client, local.transfer(1))
        assert refusal.code == "StoreReadOnly"
        if state == "full":
            make_room(node.disk)
        else:
            make_writable(node.process.pid, data)
        await node.until(lambda now: now.signing == "signs" and now.height > status.height)
        assert node.events() == ["disk-takes-nothing", "disk-takes-writes"]
        assert [*(node.disk / "jy1").glob(".view-*")] == []


async def test_the_others_agree_without_a_validator_whose_disk_is_full_and_it_comes_back(make_local, tmp_path):
    local = make_local(4, engine="pbft")
    async with local.running(1, 2, 3) as others, machine(local, tmp_path) as node, node.ask() as client:
        await node.until(lambda status: status.signing == "signs" and status.final_height >= 2)
        fill(node.disk)
        left = await node.until(lambda status: status.signing == "read-only")
        await local.until(lambda: local.height(others[0]) > left.height + 10)
        assert (await client.status()).height == left.height, "it takes in nothing"
        make_room(node.disk)
        await node.until(lambda status: status.signing == "signs" and status.height > left.height + 10)
        signers = []
        async with asyncio.timeout(PATIENCE_S):
            while local.keys[0].public_key not in signers:
                height = (await client.status()).final_height
                await node.until(lambda status, height=height: status.final_height > height)
                signers = dict(local.host(others[0]).node.final_certificate.signatures)
        assert (await client.account("n0")).penalty_upt == 0


async def examine(node, directory):
    """The findings of the doctor who sees the node's disk."""
    words = (sys.executable, "-m", "gridmerit", "doctor", "--node", directory, "--json")
    doctor = await asyncio.create_subprocess_exec(*beside(node.process.pid), *words, stdout=asyncio.subprocess.PIPE)
    out, _ = await doctor.communicate()
    return {finding["what"]: finding for finding in json.loads(out)}


async def refused(client, transaction):
    try:
        return await client.submit([transaction])
    except RemoteError as error:
        return [error]
