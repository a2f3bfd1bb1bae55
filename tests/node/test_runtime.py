"""Whole nodes over real sockets and disks, in this process: they agree, come back, and stop rather than limp on."""

import asyncio
import os
import signal
import sys

import pytest

from ledger.errors import SequenceTooLow, StoreFailed, StoreLocked
from node.api.client import Client
from node.chain.events import ForwardRelay, TimerFired
from node.config import save_config
from node.driver.event_queue import MAX_OWN_RELAYS
from node.errors import (
    AddressInUse,
    GuardCorrupt,
    GuardMissing,
    InboxFull,
    NodeStopping,
    RolledBack,
    TooManySubscribers,
)
from node.runtime import Runtime
from node.system.clock import now_ms
from node.system.health import find_address, is_answering
from tests.support.local_network import choose_loopback
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.live


def connected(runtimes):
    return all(view.connected for runtime in runtimes for view in runtime.peer_views())


def agreed(local, runtimes):
    return len({local.head(runtime) for runtime in runtimes}) == 1


@pytest.mark.parametrize("count", [2, 4])
async def test_nodes_seal_and_agree_on_the_same_head(make_local, count):
    local = make_local(count)
    async with local.running() as nodes:
        await local.until(lambda: connected(nodes))
        await local.until(lambda: min(map(local.height, nodes)) >= 8)
        await local.until(lambda: agreed(local, nodes))
        chain = local.host(nodes[0]).node.chain
        producers = {entry.header.producer for entry in chain.ancestors(chain.head) if entry.height}
        assert producers <= {key.public_key for key in local.keys}
        assert all(view.banned_until_ms is None for node in nodes for view in node.peer_views())


async def test_a_clients_transaction_reaches_the_chains_of_all(make_local):
    local = make_local(2)
    async with local.running() as nodes:
        await local.until(lambda: connected(nodes))
        sent = [local.transfer(sequence) for sequence in range(300)]
        assert await local.host(nodes[0]).submit(sent) == (None,) * 300
        await local.until(lambda: all(local.host(node).node.chain.find_transaction(sent[-1].id) for node in nodes))
        [refused] = await local.host(nodes[1]).submit([sent[0]])
        assert isinstance(refused, SequenceTooLow)


async def test_clients_at_the_same_time_get_their_own_answers(make_local):
    local = make_local(2, seals=False)
    async with local.running(0) as [node]:
        host = local.host(node)
        good, bad = local.transfer(0), local.transfer(999_999, sender=1)
        outcomes = await asyncio.gather(
            host.submit([good]), host.submit([bad]), host.submit([]), host.submit([local.transfer(1), bad])
        )
        codes = [[None if error is None else error.code for error in outcome] for outcome in outcomes]
        assert codes == [[None], ["SequenceGapTooWide"], [], [None, "SequenceGapTooWide"]]
        assert await host.submit([good]) == (None,)  # said again: it is acknowledged as before


async def test_an_acknowledged_transaction_survives_a_restart(make_local):
    local = make_local(2, seals=False)
    async with local.running(0) as [node]:
        assert await local.host(node).submit([local.transfer(0)]) == (None,)
    async with local.running(0) as [node]:
        await local.until(lambda: local.transfer(0).id in local.host(node).node.mempool)


async def test_a_node_that_was_away_catches_up_and_is_connected_again(make_local):
    local = make_local(2)
    async with local.running(0) as [first]:
        async with local.running(1) as [second]:
            await local.until(lambda: connected([first, second]) and local.height(first) >= 3)
        await local.until(lambda: not connected([first]))
        left_at = local.height(first)
        await local.until(lambda: local.height(first) >= left_at + 3)
        async with local.running(1) as [second]:
            await local.until(lambda: connected([first, second]))
            await local.until(lambda: local.height(second) > left_at and agreed(local, [first, second]))


async def test_a_node_opens_on_the_head_it_had(make_local):
    local = make_local(2)
    async with local.running(0) as [node]:
        await local.until(lambda: local.height(node) >= 3)
    head, root = local.head(node), local.host(node).node.chain.head.state.root
    node = Runtime(local.configs[0])
    try:
        assert local.head(node) == head
        assert local.host(node).node.chain.head.state.root == root
    finally:
        await node.stop()


async def test_a_peer_that_accepts_and_never_answers_holds_up_nobody(make_local):
    local = make_local(3)
    reached = asyncio.Event()

    async def swallow(reader, writer):
        reached.set()
        while await reader.read(65_536):
            pass
        writer.close()

    deaf = local.configs[2].peer_listen
    server = await asyncio.start_server(swallow, deaf.host, deaf.port)
    async with server, local.running(0, 1) as nodes:
        await reached.wait()
        await local.until(lambda: min(map(local.height, nodes)) >= 6)
        await local.until(lambda: agreed(local, nodes))
        views = {view.name: view for view in nodes[0].peer_views()}
        assert views["n1"].connected
        assert not views["n2"].connected


async def test_subscribers_hear_what_happens_once_it_is_on_disk(make_local):
    local = make_local(2)
    async with local.running(0) as [node]:
        host = local.host(node)
        heights = []
        async for event in local.events(node):
            if event["event"] == "head":
                heights.append(event["height"])
                assert host.node.chain.get_receipts(bytes.fromhex(event["hash"])) is not None
            if len(heights) == 3:
                break
        assert heights == list(range(heights[0], heights[0] + 3))


async def test_subscribers_are_bounded_in_number_and_told_of_the_end(make_local):
    local = make_local(2, seals=False)
    async with local.running(0) as [node]:
        host = local.host(node)
        opened = [host.subscribe() for _ in range(node.config.limits.api_subscribers)]
        with pytest.raises(TooManySubscribers):
            host.subscribe()
    async with asyncio.timeout(PATIENCE_S):
        while await opened[0].take():
            pass  # what has happened comes before the end


# --- several chains ------------------------------------------------------------------------------


async def test_a_process_hosts_three_chains_each_with_a_store_of_its_own(make_local):
    local = make_local(2, siblings=("du1", "lh1"))
    async with local.running() as nodes:
        await local.until(lambda: connected(nodes))
        for chain in ("jy1", "du1", "lh1"):
            await local.until(lambda: min(local.height(node, chain) for node in nodes) >= 4)  # noqa: B023
            await local.until(lambda: len({local.head(node, chain) for node in nodes}) == 1)  # noqa: B023
        assert len({local.host(nodes[0], chain).chain_id for chain in nodes[0].chains}) == 3
        assert nodes[0].peer_views()[0].chains == ("jy1", "du1", "lh1")
        directories = [path.name for path in nodes[0].config.data_dir.iterdir() if path.is_dir()]
    assert sorted(directories) == ["du1", "jy1", "lh1"]


async def hear_quota(local, node):
    async for event in local.events(node):
        if event["event"] == "quota":
            return [value for name, value in event.items() if name != "event"]
    raise AssertionError("the node has stopped")


async def test_what_one_chain_says_reaches_another_with_its_proof(make_local):
    """A plan on DU1 leads to a quota, which the nodes carry to JY1 by themselves."""
    local = make_local(2, siblings=("du1",), period_ms=2_000)
    async with local.running() as nodes:
        quotas = asyncio.ensure_future(hear_quota(local, nodes[1]))
        period = (now_ms() - local.genesis.time_ms) // 2_000 + 60  # on a busy machine, too, its plan is in time
        plan = local.transaction(0, 0, "plan", period, (("feeder-1", 1_000, 2_000),), chain="du1")
        assert await local.host(nodes[0], "du1").submit([plan]) == (None,)
        async with asyncio.timeout(PATIENCE_S):
            assert await quotas == [period, 1, 1_000, 2_000]
        assert nodes[1].peer_views()[0].banned_until_ms is None


def only(config, *chains):
    """This node without its other chains."""
    return config.model_copy(update={"chains": tuple(chain for chain in config.chains if chain.name in chains)})


def knowing(config, *chains):
    """This node, told that its peers take part in these chains alone."""
    peers = tuple(peer.model_copy(update={"chains": chains}) for peer in config.peers)
    return config.model_copy(update={"peers": peers})


async def test_peers_gossip_only_the_chains_that_both_host(make_local):
    local = make_local(2, siblings=("lh1",))
    both = Runtime(knowing(local.configs[0], "jy1"), is_sure=True)
    trader = Runtime(only(local.configs[1], "jy1"))
    nodes = [both, trader]
    try:
        for node in nodes:
            await node.start()
        await local.until(lambda: connected(nodes) and min(map(local.height, nodes)) >= 4)
        await local.until(lambda: agreed(local, nodes) and local.height(both, "lh1") >= 2)
        assert [node.peer_views()[0].chains for node in nodes] == [("jy1",), ("jy1",)]
        assert both.chains["lh1"].node.peers == {}
    finally:
        for node in nodes:
            await node.stop()
    assert [node.failure for node in nodes] == [None, None]


async def test_a_peer_is_refused_on_a_chain_that_it_is_not_known_for(make_local):
    local = make_local(2, siblings=("lh1",), seals=False)
    shy, eager = Runtime(knowing(local.configs[0], "jy1")), Runtime(local.configs[1])
    try:
        for node in (shy, eager):
            await node.start()
        await local.until(lambda: connected([shy]))
        await local.until(lambda: eager.chains["jy1"].node.peers)
        [view] = eager.peer_views()
        assert (view.chains, view.connected) == (("jy1", "lh1"), False), "on one of two chains alone"
        assert shy.chains["lh1"].node.peers == {}
        assert shy.peer_views()[0].score == 0, "a configuration that differs is no fault"
    finally:
        await shy.stop()
        await eager.stop()


async def test_a_relay_is_delivered_to_the_chain_it_is_for_if_that_lives_here(make_local):
    local = make_local(2, siblings=("lh1",), seals=False)
    node = Runtime(local.configs[0])
    offered = []
    for name, host in node.chains.items():
        host.take_relay = lambda message, raw, name=name: offered.append((name, message, raw))
    jy1, lh1 = (node.chains[name].chain_id for name in ("jy1", "lh1"))
    delivered, credit = (jy1, "delivered", 3, 0), (lh1, "credit", 0, 0)
    try:
        node.deliver(ForwardRelay(chain_id=lh1, name=delivered, raw=b"a"))
        node.deliver(ForwardRelay(chain_id=jy1, name=credit, raw=b"b"))
        node.deliver(ForwardRelay(chain_id=bytes(32), name=credit, raw=b"c"))
    finally:
        await node.stop()
    assert offered == [("lh1", delivered, b"a"), ("jy1", credit, b"b")]


async def test_relays_that_cannot_wait_are_dropped(make_local):
    local = make_local(2, siblings=("lh1",), seals=False)
    node = Runtime(local.configs[0])
    jy1, source = node.chains["jy1"], node.chains["lh1"].chain_id

    def deliver(kind, number):
        node.deliver(
            ForwardRelay(chain_id=jy1.chain_id, name=(source, kind, number, 0), raw=f"{kind} {number}".encode())
        )

    for number in range(MAX_OWN_RELAYS):
        deliver("gossip", number)  # of no use to this chain
    jy1.take_relay((source, "credit", 0, 0), b"so there is room")
    for number in range(MAX_OWN_RELAYS + 1):
        deliver("credit", number)
    with pytest.raises(InboxFull):
        jy1.take_relay((source, "credit", number, 0), b"one more")
    jy1.offer_relay(b"what anybody brings has room of its own")
    await node.stop()
    deliver("credit", 0)
    with pytest.raises(NodeStopping):
        jy1.take_relay((source, "credit", 0, 0), b"too late")
    with pytest.raises(NodeStopping):
        jy1.offer_relay(b"too late")


# --- what must end the process -------------------------------------------------------------------


async def test_a_node_that_cannot_write_its_guard_stops(make_local):
    local = make_local(2)
    node = Runtime(local.configs[0], is_sure=True)
    (node.config.data_dir / "jy1" / "guard.new").mkdir()
    await node.start()
    with pytest.raises(StoreFailed):
        async with asyncio.timeout(PATIENCE_S):
            await node.run_until_signal()
    assert isinstance(node.failure, StoreFailed)
    with pytest.raises(NodeStopping):
        await local.host(node).submit([local.transfer(0)])


_DISK_FILLS_UP = """
import asyncio, resource, sys
from node.config import load_config
from node.runtime import Runtime
from node.system.health import find_address, is_answering
from tests.support.local_network import choose_loopback

async def main():
    node = Runtime(load_config(sys.argv[1]), is_sure=True)
    await node.start()
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
    await node.run_until_signal()

asyncio.run(main())
"""


async def test_a_node_whose_disk_is_full_stops_and_finds_its_chain_intact(make_local, tmp_path):
    local = make_local(2, interval_ms=20)
    save_config(local.configs[0], tmp_path / "node.toml")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _DISK_FILLS_UP, tmp_path / "node.toml", stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        _, stderr = await process.communicate()
    assert process.returncode == 1
    assert b"StoreFailed" in stderr.splitlines()[-1]
    async with local.running(0) as [node]:
        left_at = local.height(node)
        assert left_at > 0
        await local.until(lambda: local.height(node) > left_at)


async def test_a_step_that_raises_a_bug_stops_the_node(make_local):
    local = make_local(2, seals=False)
    node = Runtime(local.configs[0])
    await node.start()
    host = local.host(node)
    host.post(TimerFired(name="no such timer"))
    with pytest.raises(AssertionError, match="no such timer"):
        await node.run_until_signal()
    with pytest.raises(NodeStopping):
        await host.submit([local.transfer(0)])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_a_node(make_local, number):
    local = make_local(2)
    node = Runtime(local.configs[0], is_sure=True)
    await node.start()
    await local.until(lambda: local.height(node) >= 1)
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
    assert await node.run_until_signal() == number
    assert node.failure is None


# --- what must keep it from starting -------------------------------------------------------------


async def test_two_processes_cannot_share_a_data_directory(make_local):
    local = make_local(2, seals=False)
    async with local.running(0):
        with pytest.raises(StoreLocked):
            Runtime(local.configs[0])


@pytest.mark.parametrize("setting", ["peer_listen", "api_listen"])
async def test_a_port_in_use_leaves_everything_as_it_was(make_local, setting):
    local = make_local(2, seals=False)
    clash = local.configs[1].model_copy(update={setting: getattr(local.configs[0], setting)})
    async with local.running(0):
        with pytest.raises(AddressInUse, match=f"which is {setting} in node.toml: Address already in use"):
            Runtime(clash)
        assert not clash.data_dir.exists()
        async with local.running(1):
            pass  # the other port is free
        before = read_files(clash.data_dir)
        with pytest.raises(AddressInUse):
            Runtime(clash)
        assert read_files(clash.data_dir) == before != {}


def read_files(directory):
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in directory.rglob("*") if file.is_file()}


async def test_a_chain_that_does_not_open_leaves_the_ports_free(make_local):
    local = make_local(2, seals=False)
    guard = local.configs[0].data_dir / "jy1" / "guard"
    guard.parent.mkdir(parents=True)
    guard.write_bytes(b"?")
    with pytest.raises(GuardCorrupt):
        Runtime(local.configs[0])
    guard.unlink()
    async with local.running(0):
        pass


async def test_two_nodes_meet_on_ipv6(make_local, tmp_path):
    host = choose_loopback()
    place = f"[{host}]" if ":" in host else host
    local = make_local(2, host=host)
    async with local.running() as nodes:
        await local.until(lambda: connected(nodes) and local.height(nodes[0]) >= 2 and agreed(local, nodes))
        save_config(local.configs[0], tmp_path / "node.toml")
        assert await asyncio.to_thread(is_answering, find_address(str(tmp_path)))
        assert {peer.url.rpartition(":")[0] for node in nodes for peer in node.peer_views()} == {f"https://{place}"}
        assert nodes[0]._neighbours._own.url == f"https://{place}:{nodes[0].peer_port}"
        async with Client(f"http://{place}:{nodes[1].api_port}", "jy1") as client:
            assert (await client.node_status()).member == "n1"


async def test_a_ledger_without_its_guard_is_refused(make_local):
    local = make_local(2, seals=False)
    async with local.running(0) as [node]:
        guard = node.config.data_dir / "jy1" / "guard"
    guard.unlink()
    with pytest.raises(GuardMissing):
        Runtime(local.configs[0])


async def test_a_ledger_set_back_behind_its_guard_is_refused(make_local):
    """A restored backup: the key may have signed what the ledger has forgotten."""
    local = make_local(2)
    async with local.running(0) as [node]:
        await local.until(lambda: local.height(node) >= 2)
        directory = node.config.data_dir / "jy1"
    for file in (directory / "ledger").iterdir():
        file.unlink()
    with pytest.raises(RolledBack):
        Runtime(local.configs[0])


# --- observers -----------------------------------------------------------------------------------


async def test_an_observer_follows_the_chain_and_keeps_its_peer_key(make_local, tmp_path):
    local = make_local(2, secure=False)
    settings = local.configs[1].model_copy(
        update={"key_file": None, "passphrase_file": None, "data_dir": tmp_path / "observer"}
    )
    observer = Runtime(settings)
    key = observer.public_key
    await observer.stop()
    known = local.configs[0].peers[0].model_copy(update={"name": "observer", "key": key})
    node = Runtime(local.configs[0].model_copy(update={"peers": (known,)}), is_sure=True)
    observer = Runtime(settings)
    assert (observer.public_key, observer.member) == (key, None)
    assert (settings.data_dir / "peer-key").stat().st_mode & 0o777 == 0o600
    try:
        await node.start()
        await observer.start()
        await local.until(lambda: local.height(observer) >= 3)
        chain = local.host(observer).node.chain
        assert {entry.header.producer for entry in chain.ancestors(chain.head) if entry.height} == {
            local.keys[0].public_key
        }
    finally:
        await observer.stop()
        await node.stop()
