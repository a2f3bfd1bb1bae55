"""A node's metrics for Prometheus, over real sockets: lines in its text format, with the numbers of the status."""

import re

import aiohttp
import pytest

from node.queries.answers import NodeStatus, from_json
from node.queries.metrics import render_metrics

LINE = re.compile(r'^(gridmerit_[a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)+)\})? (-?[0-9.e+-]+)$')


async def scrape(url):
    """The numbers by name and labels, and what is said of each name."""
    async with aiohttp.ClientSession(url) as session:
        async with session.get("/metrics") as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
            text = await answer.text()
        async with session.get("/v1/status") as answer:
            status = from_json(NodeStatus, await answer.read())
    return *parse(text), status


def parse(text):
    assert text.endswith("\n")
    numbers, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            name, labels, value = LINE.match(line).groups()
            family = re.sub("_(bucket|sum|count)$", "", name)
            assert name in kinds or kinds.get(family) == "histogram", "its type comes first"
            numbers[name.removeprefix("gridmerit_"), labels] = float(value)
    return numbers, kinds


async def test_the_numbers_are_those_of_the_status(story, make_runtime):
    async with make_runtime(story[0]).serve() as url:
        numbers, kinds, status = await scrape(url)
    chain = status.chains[0]
    told = {name: value for (name, labels), value in numbers.items() if labels == 'chain="jy1"'}
    assert told == {
        "chain_up": 1,
        "chain_height": chain.height,
        "chain_final_height": chain.final_height,
        "chain_bodies_from_height": 1,
        "chain_head_timestamp_seconds": chain.head_time_ms / 1_000,
        "chain_syncing": 0,
        "chain_signs": 1,
        "chain_record_behind": 0,
        "chain_read_only": 0,
        "chain_peers_connected": chain.peers,
        "mempool_transactions": chain.mempool_count,
        "mempool_bytes": chain.mempool_bytes,
        "agreement_missing_members": 0,
        "blocks_refused_total": chain.blocks_refused,
        "acknowledged_not_executed_total": 0,
        "results_differing_total": 0,
        "results_elsewhere_total": 0,
        "side_blocks_total": chain.forks.side_blocks,
        "reorgs_total": chain.forks.reorgs,
        "reorg_depth_blocks_max": chain.forks.deepest_reorg,
    }
    stored = {labels: value for (name, labels), value in numbers.items() if name == "store_bytes"}
    assert stored == {f'chain="jy1",kind="{rows.kind}"': rows.size_bytes for rows in chain.stored}
    assert {"blocks", "receipts", "state", "others"} < {rows.kind for rows in chain.stored}
    assert chain.height > chain.final_height > 0
    assert numbers["uptime_seconds", None] == status.uptime_ms / 1_000
    assert numbers["clock_offset_seconds", None] == status.clock["offset_ms"] / 1_000 == -1.5
    assert numbers["node_info", f'version="{status.version}",member="grid"'] == 1
    assert {name for name, kind in kinds.items() if kind == "counter"} == {
        name for name in kinds if name.endswith("_total")
    }


async def test_what_waits_and_each_chain_by_its_name(world, make_runtime, make_world):
    world.submit([world.make("pv-101", "transfer", world.keys["grid"].address, 1)])
    async with make_runtime(world, make_world(1, "du1")).serve() as url:
        numbers, _, _ = await scrape(url)
    assert numbers["mempool_transactions", 'chain="jy1"'] == 1
    assert numbers["mempool_bytes", 'chain="jy1"'] > 0
    assert numbers["mempool_transactions", 'chain="du1"'] == 0


@pytest.mark.parametrize("days", [59, -3])
async def test_a_certificate_that_ends_shows(make_local, days):
    local = make_local(2, seals=False)
    local.configs[0].tls.certificate.write_bytes(local.certify(0, from_days=-100, to_days=days))
    async with local.running(0) as [node]:
        numbers, _, status = await scrape(f"http://127.0.0.1:{node.api_port}")
    left_days = numbers["certificate_remaining_seconds", None] / 86_400
    assert status.certificate["days_left"] <= left_days <= days


def test_a_name_cannot_forge_a_line():
    status = NodeStatus(
        version='1"\n# TYPE x', member="a\\b", address=None, uptime_ms=0, chains=(), peers=(), sealing={}
    )
    numbers, _ = parse(render_metrics(status, 0))
    assert numbers["node_info", r'version="1\"\n# TYPE x",member="a\\b"'] == 1
