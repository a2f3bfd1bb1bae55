"""Stores that fail one chain of a node: it is named and out, the others run, and the node ends where none is left."""

import asyncio
import shutil
import threading

import pytest

from gridmerit.main import run
from gridmerit.network.doctor import examine
from ledger.errors import StoreCorrupt, StoreFailed, StoreLocked
from node.api.client import Client
from node.driver import write_times
from node.driver.signing_file import SigningFile
from node.errors import NodeStopping, RemoteFailed
from node.runtime import Runtime
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.live

CHAINS = ("jy1", "du1", "lh1")


def flip_byte(file, place):
    raw = bytearray(file.read_bytes())
    raw[place] ^= 0x01
    file.write_bytes(raw)


def damage_ledger(directory):
    [log] = (directory / "ledger").glob("*.log")
    flip_byte(log, 100)


def block_guard(directory):
    """Take the place of the file that the next record is written to, once that of the last one has been renamed."""
    while True:
        try:
            return (directory / "guard.new").mkdir()
        except FileExistsError:
            continue


def empty_ledger(directory):
    for file in (directory / "ledger").iterdir():
        file.unlink()


def replace_ledger(directory):
    shutil.rmtree(directory / "ledger")
    (directory / "ledger").write_text("no directory")


DAMAGES = {
    "StoreCorrupt": damage_ledger,
    "StoreFailed": replace_ledger,
    "GuardCorrupt": lambda directory: flip_byte(directory / "guard", 50),
    "GuardMissing": lambda directory: (directory / "guard").unlink(),
    "RolledBack": empty_ledger,
}


async def run_for_a_while(local):
    async with local.running(0) as [node]:
        await local.until(lambda: min(local.height(node, chain) for chain in CHAINS) >= 2)
    return {chain: local.configs[0].data_dir / chain for chain in CHAINS}


async def fetch(url):
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
    body = (await reader.read()).decode()
    writer.close()
    return body


@pytest.mark.parametrize("code", DAMAGES)
async def test_each_damage_is_named_and_the_other_chains_run(make_local, code):
    local = make_local(2, siblings=("du1", "lh1"))
    directories = await run_for_a_while(local)
    DAMAGES[code](directories["lh1"])
    async with local.running(0) as [node]:
        [outage] = node.outages.values()
        assert (outage.chain, outage.error.code, outage.path) == ("lh1", code, directories["lh1"])
        assert outage.error.values["chain"] == "lh1"
        assert str(outage.error).startswith(f"chain lh1 in {directories['lh1']}: ")
        assert list(node.chains) == ["jy1", "du1"]
        reached = {chain: local.height(node, chain) for chain in node.chains}
        await local.until(lambda: all(local.height(node, chain) > reached[chain] for chain in reached))
        assert "lh1" not in node.sealing_view().jobs


async def test_status_metrics_and_refusals_say_which_chain_is_out(make_local, capsys):
    local = make_local(2, siblings=("du1", "lh1"))
    directories = await run_for_a_while(local)
    damage_ledger(directories["lh1"])
    async with local.running() as nodes:
        url = f"http://127.0.0.1:{nodes[0].api_port}"
        async with Client(url, "lh1") as client:
            status = await client.node_status()
            with pytest.raises(RemoteFailed) as caught:
                await client.status()
        values = caught.value.values
        assert (caught.value.code, values["status"], values["chain"]) == ("ChainOut", 503, "lh1")
        assert [chain.chain for chain in status.chains] == ["jy1", "du1"]
        [outage] = status.outages
        assert (outage.chain, outage.kind, outage.error) == ("lh1", "credit", "StoreCorrupt")
        assert str(directories["lh1"]) in outage.message
        assert f"below {directories['lh1']}" in outage.remedy
        metrics = await fetch(url)
        assert 'gridmerit_chain_up{chain="lh1"} 0' in metrics
        assert 'gridmerit_chain_up{chain="jy1"} 1' in metrics
        assert 'gridmerit_chain_out_info{chain="lh1",error="StoreCorrupt"} 1' in metrics
        assert await asyncio.to_thread(run, ["status", "--api", url]) == 0
        out = capsys.readouterr().out
        assert "lh1, credit: OUT since" in out
        assert "StoreCorrupt: chain lh1 in" in out
        assert await asyncio.to_thread(run, ["credit", "show", "--api", url, "--chain", "lh1"]) == 4
        assert "error[ChainOut] chain lh1 of this node is out" in capsys.readouterr().err
        await local.until(lambda: all(nodes[1].chains[name].node.peers for name in ("jy1", "du1")))
        reached = max(local.height(node) for node in nodes)
        await local.until(lambda: min(local.height(node) for node in nodes) > reached)
        [view] = nodes[1].peer_views()
        assert (view.connected, view.score, view.banned_until_ms) == (False, 0, None), (
            "on two of three chains, no fault"
        )


async def test_the_command_that_means_a_chain_that_is_out_says_so(make_local, capsys):
    """And does not ask another chain in its place."""
    local = make_local(2, siblings=("du1", "lh1"))
    directories = await run_for_a_while(local)
    damage_ledger(directories["jy1"])
    async with local.running(0) as [node]:
        url = f"http://127.0.0.1:{node.api_port}"
        assert await asyncio.to_thread(run, ["tx", "show", "ab" * 32, "--api", url]) == 4
        assert await asyncio.to_thread(run, ["market", "book", "--api", url]) == 4
        assert capsys.readouterr().err.count("error[ChainOut] chain jy1 of this node is out") == 2


async def test_a_chain_that_cannot_write_is_stopped_alone_until_none_is_left(make_local, caplog):
    local = make_local(2, siblings=("lh1",))
    async with local.running(1) as [other]:
        node = Runtime(local.configs[0])
        await node.start()
        await local.until(lambda: other.peer_views()[0].connected)
        running = asyncio.ensure_future(node.run_until_signal())
        await local.until(lambda: min(local.height(node, chain) for chain in ("jy1", "lh1")) >= 2)
        lh1, directory = node.chains["lh1"], node.config.data_dir
        block_guard(directory / "lh1")
        await local.until(lambda: "lh1" not in node.chains)
        assert isinstance(node.outages["lh1"].error, StoreFailed)
        assert node.failure is None
        await node._cut_off_the_gone(lh1)  # its turn comes in a look that began before, and has waited for connections
        head = lh1.node.chain.head.hash
        with pytest.raises(NodeStopping):
            await lh1.submit([local.transfer(0)])
        reached = local.height(node)
        await local.until(lambda: local.height(node) >= reached + 3)
        assert lh1.node.chain.head.hash == head, "it takes no step"
        assert "lh1" not in node.sealing_view().jobs
        [line] = [record for record in caplog.records if record.getMessage() == "chain-out"]
        assert (line.levelname, line.name) == ("CRITICAL", "gridmerit.lh1")
        assert {"error", "path", "detail", "remedy"} <= set(line.fields)
        await local.until(lambda: not other.peer_views()[0].connected)
        assert not [record for record in caplog.records if record.name == "gridmerit.http"], (
            "its peers are refused by name"
        )
        assert node._links.find("lh1", other.public_key) is None
        assert node._links.find("jy1", other.public_key).is_connected
        SigningFile(directory / "lh1", lh1.chain_id).close()  # whoever mends it finds it free
        (directory / "lh1" / "guard.new").rmdir()
        block_guard(directory / "jy1")
        with pytest.raises(StoreFailed) as caught:
            async with asyncio.timeout(PATIENCE_S):
                await running
        assert caught.value.values["chain"] == "jy1"
    (directory / "jy1" / "guard.new").rmdir()
    async with local.running(0) as [node]:
        assert not node.outages, "both are as they were left, and their directories free"


async def test_a_node_whose_chains_are_all_out_does_not_start(make_local):
    local = make_local(2, siblings=("du1", "lh1"))
    directories = await run_for_a_while(local)
    for directory in directories.values():
        damage_ledger(directory)
    with pytest.raises(StoreCorrupt, match=r"chain jy1 in .*/jy1: the store is damaged"):
        Runtime(local.configs[0])


async def test_a_locked_store_still_ends_all(make_local):
    local = make_local(2, siblings=("lh1",), seals=False)
    directory = local.configs[0].data_dir / "lh1"
    with (
        SigningFile(directory, local.genesis.chain_id_of("lh1")),
        pytest.raises(StoreLocked, match="chain lh1 in ") as caught,
    ):
        Runtime(local.configs[0])
    assert caught.value.exit_code == 9


async def test_the_doctor_says_what_to_do_for_each(make_local, tmp_path):
    from node.config import save_config

    local = make_local(2, siblings=("du1", "lh1"))
    directories = await run_for_a_while(local)
    save_config(local.configs[0], tmp_path / "node.toml")
    damage_ledger(directories["lh1"])
    (directories["du1"] / "guard").unlink()
    found = {finding.what: finding for finding in await examine(tmp_path)}
    assert found["store of jy1"].verdict == "ok"
    assert found["store of lh1"].detail.startswith("StoreCorrupt: chain lh1 in ")
    assert "gridmerit node reset DIR --chain lh1; or put another stopped node's" in found["store of lh1"].remedy
    assert "newest backup" in found["store of du1"].remedy


async def test_a_disk_that_takes_seconds_for_one_chain_keeps_no_other_waiting(make_local, monkeypatch, caplog):
    """Neither its blocks, nor its readers, nor its timers; and the log says once that it is slow."""
    local = make_local(2, siblings=("lh1",))
    async with local.running(0) as [node]:
        await local.until(lambda: min(local.height(node, chain) for chain in ("jy1", "lh1")) >= 1)
        slow, writing, go_on = node.chains["lh1"]._disk, threading.Event(), threading.Event()
        write = slow.store.write

        def take_long(changes):
            writing.set()
            assert go_on.wait(PATIENCE_S)
            write(changes)

        monkeypatch.setattr(write_times, "_LONG_NS", 0)
        monkeypatch.setattr(slow.store, "write", take_long)
        try:
            await asyncio.to_thread(writing.wait, PATIENCE_S)
            url, reached = f"http://127.0.0.1:{node.api_port}", node.chains["jy1"].node.chain.head.height
            async with (
                asyncio.timeout(PATIENCE_S),
                Client(url, "jy1") as client,
                node.chains["jy1"].subscribe() as news,
            ):
                while (await client.status()).height < reached + 3:
                    await news.take()
            assert not go_on.is_set()
        finally:
            go_on.set()
        monkeypatch.setattr(slow.store, "write", write)
        await local.until(lambda: local.height(node, "lh1") > 1)
        assert 'gridmerit_disk_longest_write_seconds{chain="lh1"}' in await fetch(url)
        said = [record.name for record in caplog.records if record.getMessage() == "disk-slow"]
        assert said.count("gridmerit.lh1") == 1
