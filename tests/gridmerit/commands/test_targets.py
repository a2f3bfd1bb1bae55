"""A period's target from the command line to the book that shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import click
import pytest

from gridmerit.commands.market_tables import render_book
from gridmerit.commands.payloads import make_payload
from gridmerit.players.sample_book import convert_book
from ledger.hashing import show_address
from ledger.params import MarketParams
from node.api.client import Client
from node.queries.answers import MarketPeriods, TargetInfo
from node.queries.chain import ChainQueries, describe_event
from tests.support.keys import address
from tests.support.market_nodes import MemoryRuntime, World

PERIOD = 6
VALUES = (str(PERIOD), "0.5", "0.51", "0.52", "0.53")
PRICES = (500_000, 510_000, 520_000, 530_000)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a chain that clears by `knn`, whose period 6 has a target."""
    world = World(market=MarketParams(clearing_rule="knn"))
    world.send("grid", "game-target", PERIOD, PRICES)
    world.make_block()
    async with MemoryRuntime(world).serve() as url, Client(url, "jy1") as client:
        yield client


async def test_the_book_of_a_period_has_its_target(client: Client) -> None:
    found = await client.book(PERIOD)
    assert found.target == TargetInfo(
        height=1,
        sender=show_address(address("grid")),
        sender_name="grid",
        g_to_u_uyuan_per_kwh=500_000,
        g_to_c_uyuan_per_kwh=510_000,
        c_to_u_uyuan_per_kwh=520_000,
        c_to_g_uyuan_per_kwh=530_000,
    )
    assert (await client.book(PERIOD + 1)).target is None
    assert render_book(MarketPeriods(time_ms=0, periods=()), found) == (
        "book of period 6\n"
        "target 0.50 yuan per kWh, committed by grid in block 1; "
        "the game's others: G→C 0.51, C→U 0.52, C→G 0.53\n\n"
        "no orders"
    )


async def test_a_book_that_is_compared_is_cleared_towards_its_target(client: Client) -> None:
    genesis = await client.genesis()
    books = [convert_book(await client.book(period), genesis) for period in (PERIOD, PERIOD + 1)]
    assert [book.target_uyuan_per_kwh for book in books] == [500_000, None]


def test_a_second_target_passes_the_door_and_is_refused_on_record_in_a_block() -> None:
    world, heard = World(market=MarketParams(clearing_rule="knn")), list[tuple[object, ...]]()
    world.on_publish.append(heard.append)
    world.send("grid", "game-target", PERIOD, PRICES)
    world.make_block()
    second = world.send("grid", "game-target", PERIOD, PRICES)  # no error: the node takes it on
    world.make_block()
    status = ChainQueries(world.node).get_transaction(second.id.hex())
    assert (status.height, status.code) == (2, "TargetTwice")
    assert ("second-target", PERIOD, address("grid")) in heard
    third = world.make("grid", "game-target", 1, PRICES)
    (error,) = world.submit([third])
    assert error is not None
    assert error.code == "TargetTooLate", "other refusals are told at the door"


async def test_a_target_is_typed_in_yuan(client: Client) -> None:
    assert await make_payload(client, "game-target", VALUES, address("grid")) == (PERIOD, PRICES)
    as_json = (str(PERIOD), str(list(PRICES)))
    assert await make_payload(client, "game-target", as_json, address("grid")) == (PERIOD, PRICES)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (VALUES[:4], "game-target takes PERIOD G_TO_U G_TO_C C_TO_U C_TO_G"),
        (("soon", *VALUES[1:]), "'soon' is not a whole number"),
        ((*VALUES[:4], "x"), "'x' is not a number"),
    ],
)
async def test_2_a_target_that_is_none(client: Client, values: tuple[str, ...], says: str) -> None:
    with pytest.raises(click.UsageError, match=says):
        await make_payload(client, "game-target", values, address("grid"))


async def test_2_a_target_where_no_rule_looks_for_one() -> None:
    async with MemoryRuntime(World()).serve() as url, Client(url, "jy1") as client:
        with pytest.raises(click.UsageError, match="jy1 clears by price-time, and only knn looks for a target"):
            await make_payload(client, "game-target", VALUES, address("grid"))


def test_subscribers_hear_of_both_kinds_by_name() -> None:
    told = describe_event(("game-target", PERIOD, address("grid"), *PRICES))
    assert (told["period"], told["sender"]) == (PERIOD, show_address(address("grid")))
    assert tuple(told[f"{way}_uyuan_per_kwh"] for way in ("g_to_u", "g_to_c", "c_to_u", "c_to_g")) == PRICES
    again = describe_event(("second-target", PERIOD, address("grid")))
    assert again == {"event": "second-target", "period": PERIOD, "sender": show_address(address("grid"))}
