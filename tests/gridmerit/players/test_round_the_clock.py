"""Playing the day round the clock: whose key is good for what, and what a new start takes up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from gridmerit.main import run
from gridmerit.network.compose import choose_params
from gridmerit.network.layout import Network
from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_packaged_profile
from gridmerit.players.round_the_clock import (
    DUTIES,
    ORDERS,
    PLANS,
    READINGS,
    Acknowledged,
    Assignment,
    Listeners,
    QueuedSender,
    Rounds,
    ask_any,
    find_posts,
)
from ledger.genesis import Genesis
from ledger.signatures import SigningKey, generate_key
from ledger.transaction import Transaction
from node.api.client import Client
from node.config import load_genesis
from node.credentials.keystore import load_key, load_passphrase
from node.errors import RemoteNotFound, RemoteRejected, Unreachable
from node.queries.answers import AccountInfo
from node.system.clock import now_ms

PROFILE = load_packaged_profile()
SILENT = Listeners(on_taken=lambda taken: None, on_progress=lambda text: None, on_alive=lambda: None)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    home = tmp_path_factory.mktemp("rounds") / "network"
    return new_network(home, nodes=2, params=choose_params(60_000), profile=PROFILE, seed=1)


@pytest.fixture(scope="module")
def genesis(network: Network) -> Genesis:
    return load_genesis(network.genesis_path)


def _key(network: Network, file: str, passphrase: str) -> SigningKey:
    return load_key(network.directory / file, load_passphrase(network.directory / passphrase))


def _posts(network: Network, genesis: Genesis, duties: Sequence[str] = DUTIES) -> list[Assignment]:
    player, dispatcher = network.players[2], network.dispatcher
    assert dispatcher is not None
    keys = [
        _key(network, player.key_file, player.passphrase_file),
        _key(network, player.meter_key_file, player.meter_passphrase_file),
        _key(network, dispatcher.key_file, dispatcher.passphrase_file),
        generate_key(),
    ]
    return find_posts(genesis, keys, duties, {player.name: ("pv-101",)})


def test_a_key_is_good_for_what_its_member_may_do(network: Network, genesis: Genesis) -> None:
    assert [(post.member.name, post.duty) for post in _posts(network, genesis)] == [
        ("homes-1", ORDERS),
        ("meter-homes-1", READINGS),
        ("dispatch", PLANS),
    ]
    assert [post.member.name for post in _posts(network, genesis, [PLANS])] == ["dispatch"]


def test_every_period_is_an_hour_of_the_day_and_the_day_begins_again(network: Network, genesis: Genesis) -> None:
    rounds = _make_rounds(network, genesis)
    first, again = rounds._make_day(5), rounds._make_day(5 + len(PROFILE.hours_ms))
    assert first.profile.hours_ms == again.profile.hours_ms == (PROFILE.hours_ms[5],)
    assert first.times_of(0).delivery_start_ms == genesis.time_ms + 5 * 60_000
    orders = [day.plan_orders("homes-1") for day in (first, again)]
    assert [order.volume_wh for order in orders[0]] == [order.volume_wh for order in orders[1]]
    assert orders[0] != orders[1], "another day has other prices"


def test_a_start_plans_what_is_not_due_and_reads_what_can_still_be_read(network: Network, genesis: Genesis) -> None:
    rounds = _make_rounds(network, genesis)
    soonest = rounds._find_next_plan()
    assert rounds._make_day(soonest).scheduling_times_of(0).quota_ms > genesis.time_ms
    assert rounds._find_first_period() <= soonest


async def test_the_first_that_has_an_answer_gives_it() -> None:
    silent, empty, full = Client("http://silent", "jy1"), Client("http://empty", "jy1"), Client("http://full", "jy1")

    async def question(client: Client) -> str:
        await asyncio.sleep(0)
        if client is silent:
            raise Unreachable(url=client.url, detail="no answer in time")
        if client is empty:
            raise RemoteNotFound(code="NotFound", detail="no such period", values={})
        return client.url

    assert await ask_any([silent, empty, full], question) == "http://full"
    assert await ask_any([silent, empty], question) is None


def _make_rounds(network: Network, genesis: Genesis, listeners: Listeners = SILENT) -> Rounds:
    clients = {chain: {node.name: Client(node.api_url, chain) for node in network.nodes} for chain in network.chains}
    return Rounds(genesis, PROFILE, _posts(network, genesis), clients, seed=1, listeners=listeners)


# --- a sender of many rounds ---------------------------------------------------------------------


class _Node:
    """Takes a reading of each period once; `received` has the sequence of what it took on."""

    def __init__(self, *refusals: str) -> None:
        self.refusals = list(refusals)
        self.received: list[int] = []

    async def account(self, ref: bytes) -> AccountInfo:
        return AccountInfo(
            height=10,
            address="0x" + ref.hex(),
            name="meter-homes-1",
            role="device",
            balance_uyuan=0,
            reserved_uyuan=0,
            credit_upt=0,
            sequence=7,
            next_sequence=7,
            score_count=0,
            penalty_upt=0,
            capacity_wh=0,
            position="",
        )

    async def submit(self, transactions: Sequence[Transaction]) -> list[RemoteRejected | None]:
        if self.refusals and (code := self.refusals.pop(0)):
            return [RemoteRejected(code=code, detail=code, values={})]
        self.received += [transaction.sequence for transaction in transactions]
        return [None]


def _make_sender(network: Network, genesis: Genesis, node: _Node, taken: list[Acknowledged]) -> QueuedSender:
    post = _posts(network, genesis)[1]
    listeners = Listeners(on_taken=taken.append, on_progress=lambda text: None, on_alive=lambda: None)
    return QueuedSender(post, "du1", [cast(Client, node)], genesis.chain_id, listeners)


async def test_what_a_chain_had_already_takes_no_sequence(network: Network, genesis: Genesis) -> None:
    # A start finds the reading of period 3 done; were its sequence counted, all later ones would wait for it.
    node, taken = _Node("", "DuplicateReading"), list[Acknowledged]()
    sender = _make_sender(network, genesis, node, taken)
    for period in (2, 3, 4):
        await sender.send("reading", (period, 0, 0), until_ms=now_ms() + 1_000)
    assert node.received == [7, 8]
    assert len(taken) == 2


async def test_rounds_that_send_at_once_do_not_share_a_sequence(network: Network, genesis: Genesis) -> None:
    node, taken = _Node(), list[Acknowledged]()
    sender = _make_sender(network, genesis, node, taken)
    sends = (sender.send("reading", (period, 0, 0), until_ms=now_ms() + 1_000) for period in range(5))
    await asyncio.gather(*sends)
    assert node.received == [7, 8, 9, 10, 11]
    assert [entry.name for entry in taken] == ["meter-homes-1"] * 5


async def test_a_quota_that_is_gone_for_an_instant_is_waited_for(network: Network, genesis: Genesis) -> None:
    node, taken = _Node("NoQuota"), list[Acknowledged]()
    sender = _make_sender(network, genesis, node, taken)
    await sender.send("intention", (), until_ms=now_ms() + 10_000)
    assert node.received == [7]


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [[], ["DIR", "--api", "http://127.0.0.1:1"], ["--api", "http://127.0.0.1:1"], ["DIR", "--only", "everything"]],
)
def test_the_command_wants_a_network_or_nodes_and_keys(
    arguments: list[str], network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(network.directory) if argument == "DIR" else argument for argument in arguments]
    assert run(["agents", *given]) == 2
    assert "error[Usage]" in capsys.readouterr().err


def test_a_node_that_is_not_there_is_named(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    key = network.directory / network.players[2].key_file
    assert run(["agents", "--api", "http://127.0.0.1:1", "--key", str(key)]) == 4
    assert "127.0.0.1:1" in capsys.readouterr().err
