"""`gridmerit events`: kinds, text and JSON, what it says of gaps, and how it ends."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gridmerit.commands import events
from gridmerit.commands.events import render_control, render_event
from gridmerit.commands.target import Target
from gridmerit.main import run
from node.api import following
from node.api.following import Told, follow
from node.errors import RemoteNotFound, Unreachable
from node.queries.chain import EVENT_FIELDS, describe_event
from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PAUSES_S", (0.01,))


@asynccontextmanager
async def told_by(*streams: tuple[dict[str, Any], ...]) -> AsyncIterator[str]:
    """A node whose streams of events are these, one after the other, each cut off at its end."""
    left = list(streams)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in left.pop(0) if left else ():
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    app = web.Application()
    app.router.add_get("/v1/jy1/events", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def take(url: str, count: int) -> list[Told]:
    found: list[Told] = []
    async with asyncio.timeout(PATIENCE_S), aclosing(follow(url, ["jy1"])) as stream:
        async for told in stream:
            found.append(told)
            if len(found) == count:
                break
    return found


# --- following -------------------------------------------------------------------------------------


async def test_a_broken_stream_begins_again_and_says_so_once() -> None:
    begin, head = {"event": "subscribed"}, {"event": "head", "height": 3}
    async with told_by((begin, head), (), (begin, head)) as url:
        found = [told.event for told in await take(url, 5)]
    assert [event["event"] for event in found] == ["subscribed", "head", "disconnected", "subscribed", "head"]
    assert "cut off" in found[2]["why"]


async def test_a_node_that_stops_is_waited_for() -> None:
    begin = {"event": "subscribed"}
    async with told_by((begin, {"event": "closed"}), (begin,)) as url:
        found = [told.event for told in await take(url, 3)]
    assert [event["event"] for event in found] == ["subscribed", "disconnected", "subscribed"]
    assert "the node stops" in found[1]["why"]


async def test_dropped_events_are_counted_and_others_follow() -> None:
    begin = {"event": "subscribed"}
    async with told_by((begin, {"event": "dropped", "missed": 12}), (begin,)) as url:
        found = [told.event for told in await take(url, 3)]
    assert found == [begin, {"event": "dropped", "missed": 12}, begin]


async def test_a_node_that_was_never_there_is_an_error() -> None:
    with pytest.raises(Unreachable):
        await take("http://127.0.0.1:9", 1)


async def test_a_chain_that_the_node_has_not_is_an_error(runtime_of: Callable[..., Any]) -> None:
    async with runtime_of().serve() as url:
        with pytest.raises(RemoteNotFound):
            async with aclosing(follow(url, ["lh1"])) as stream:
                await anext(stream)


@pytest.fixture
def runtime_of(world: Any, make_runtime: Any) -> Callable[..., Any]:
    return lambda **limits: make_runtime(world, **limits)


# --- the command -----------------------------------------------------------------------------------


async def test_events_are_lines_with_names_and_units(world: Any, runtime_of: Any, capsys: Any) -> None:
    async with runtime_of().serve() as url:
        printing = asyncio.ensure_future(events._print(Target(url=url), frozenset({"transfer"}), 1))
        await _until(lambda: "following" in capsys.readouterr().err)
        world.send("homes-2", "transfer", world.keys["grid"].address, 12_500_000)
        world.make_block()
        async with asyncio.timeout(PATIENCE_S):
            await printing
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d  jy1  transfer      sender homes-2, receiver grid, amount 12.50 yuan", line)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _running(url: str, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gridmerit", "events", "--api", url, "--json", *args,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_0_after_the_events_that_were_asked_for(world: Any, runtime_of: Any) -> None:
    async with runtime_of().serve() as url, _running(url, "--kind", "head", "--count", "2") as process:
        lines = [json.loads(await process.stdout.readline())]  # type: ignore[union-attr]
        for _ in range(3):
            world.make_block()
        rest, _ = await process.communicate()
        lines += map(json.loads, rest.splitlines())
    assert process.returncode == 0
    assert [line["event"] for line in lines] == ["subscribed", "head", "head"]
    assert [(line["chain"], line["height"]) for line in lines[1:]] == [("jy1", 1), ("jy1", 2)]
    assert all(isinstance(line["time_ms"], int) for line in lines)


async def test_8_where_they_do_not_come_in_time(runtime_of: Any) -> None:
    async with runtime_of().serve() as url, _running(url, "--count", "1", "--timeout", "0.5") as process:
        _, err = await process.communicate()
    assert (process.returncode, b"error[TimedOut]" in err) == (8, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_0_or_130_when_it_is_told_to_end(runtime_of: Any, number: int, code: int) -> None:
    async with runtime_of().serve() as url, _running(url) as process:
        await process.stdout.readline()  # type: ignore[union-attr]
        process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == code


def test_4_without_a_node() -> None:
    assert run(["events", "--api", "http://127.0.0.1:9"]) == 4


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--kind", "trde"), "no event is called 'trde': did you mean 'trade'?"),
        (("--kind", "gate,zzz"), "no event is called 'zzz': there are head, "),
        (("--timeout", "5"), "--timeout is for how long to wait for --count events"),
    ],
)
def test_2_usage(args: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["events", *args]) == 2
    assert why in capsys.readouterr().err


# --- texts -----------------------------------------------------------------------------------------


def test_the_help_names_every_kind() -> None:
    words = set(re.findall(r"[a-z-]+", events.command.help or ""))
    assert set(EVENT_FIELDS) <= words


def test_every_kind_that_is_published_has_names_for_its_fields() -> None:
    """`view.emit("…"` of the contracts, and what the core publishes."""
    published = set()
    for package in ("ledger", "market", "consensus"):
        for file in (ROOT / package).rglob("*.py"):
            published |= set(re.findall(r'\bemit\(\s*"([a-z-]+)"', file.read_text()))
    assert len(published) > 30
    assert published <= set(EVENT_FIELDS)


def test_amounts_have_units_and_addresses_names() -> None:
    buyer, seller = bytes(20), b"\1" * 20
    names = {"0x" + buyer.hex(): "homes-1"}
    trade = describe_event(("trade", 4, 0, buyer, seller, 450_000, 12_500))
    assert render_event(trade, names) == (
        "trade         period 4, index 0, buyer homes-1, seller 0x0101010101…, price 0.45 yuan/kWh, volume 12.500 kWh"
    )
    debt = describe_event(("grid-settlement", 4, buyer, 1_000, 0, 2**60, 0))
    assert "pays 1,152,921,504,606.846976 yuan" in render_event(debt, names)


def test_gaps_are_told_in_words() -> None:
    assert "12 events were dropped" in render_control(Told("jy1", {"event": "dropped", "missed": 12}))
    assert "no answer; trying again" in render_control(Told("jy1", {"event": "disconnected", "why": "no answer"}))
