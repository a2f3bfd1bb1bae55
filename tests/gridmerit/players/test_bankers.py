"""A bank and its customers on a node: what they send as a period opens, and what comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gridmerit.network.parameters import load_packaged_profile
from gridmerit.players.agents import Day
from gridmerit.players.bankers import Banker, Payee
from gridmerit.players.banking import Terms
from gridmerit.players.round_the_clock import (
    MONEY,
    ORDERS,
    Acknowledged,
    Assignment,
    Listeners,
    QueuedSender,
    find_posts,
)
from ledger.genesis import Genesis
from ledger.params import MarketParams
from node.api.client import Client
from node.queries.chain import ChainQueries
from tests.support.keys import key_of
from tests.support.market_nodes import MemoryRuntime, PromptHost, World

YUAN = 10**6
TERMS = Terms(limit_uyuan=40 * YUAN, every=24)  # pv-101 and homes-2 have 100 yuan each


class _Stage:
    def __init__(self, world: World, url: str) -> None:
        self.world, self.client = world, Client(url, "jy1")
        self.taken: list[Acknowledged] = []
        genesis = world.genesis
        self.day = Day(
            genesis=genesis, scheduling=genesis, profile=load_packaged_profile(), first_period=1, hours=1, seed=1
        )

    def make(self, kind: type[Banker | Payee], name: str) -> Banker | Payee:
        listeners = Listeners(on_taken=self.taken.append, on_progress=lambda text: None, on_alive=lambda: None)
        genesis = self.world.genesis
        member = next(member for member in genesis.members if member.name == name)
        post = Assignment(member=member, key=key_of(name), duty=MONEY)
        sender = QueuedSender(post, "jy1", [self.client], genesis.chain_id, listeners)
        return kind(name=name, day=self.day, sender=sender, node=sender, terms=TERMS)

    def treasury(self):
        return ChainQueries(self.world.node).treasury.get_treasury()


@pytest.fixture
async def stage() -> AsyncIterator[_Stage]:
    world = World(market=MarketParams(economy=1))
    runtime = MemoryRuntime(world)
    runtime.chains["jy1"] = PromptHost(world, runtime.config.limits)
    async with runtime.serve() as url:
        stage = _Stage(world, url)
        async with stage.client:
            yield stage


async def test_a_bank_orders_for_all_who_trade_and_holds_what_that_may_take(stage):
    banker = stage.make(Banker, "bank")
    await banker.act()
    assert banker.problems == []
    assert [taken.kind for taken in stage.taken] == ["standing-order"] * 3 + ["deposit"]
    found = stage.treasury()
    assert {order.member_name for order in found.orders} == {"grid", "pv-101", "homes-2"}
    assert (found.banks[0].balance_uyuan, found.deposited_uyuan) == (120 * YUAN, 120 * YUAN)
    await banker.act()
    assert len(stage.taken) == 4, "there is nothing more to do"


async def test_who_has_much_is_paid_out_by_the_bank(stage):
    banker, payee = stage.make(Banker, "bank"), stage.make(Payee, "pv-101")
    await banker.act()
    await payee.act()
    assert ChainQueries(stage.world.node).get_account("pv-101").balance_uyuan == 40 * YUAN
    await banker.act()
    found = stage.treasury()
    assert found.withdrawn_uyuan == found.deposited_uyuan + 60 * YUAN - found.banks[0].balance_uyuan > 0
    assert [*payee.problems, *banker.problems] == []


async def test_a_period_that_has_opened_is_left_alone(stage):
    """The world's clock is years behind the machine's: a new start has nothing to make up for."""
    await stage.make(Banker, "bank").run()
    assert stage.taken == []


def test_a_banks_key_is_good_for_money_and_no_roles_without_a_duty_are_played():
    genesis: Genesis = World(market=MarketParams(economy=1)).genesis
    keys = [key_of(member.name) for member in genesis.members]
    posts = {post.member.name: post.duty for post in find_posts(genesis, keys, [ORDERS, MONEY], {})}
    assert posts == {"pv-101": ORDERS, "homes-2": ORDERS, "bank": MONEY}
