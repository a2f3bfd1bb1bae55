"""Money in a node's answers: the treasury, whose money does not last, and nothing of it without an economy."""

from __future__ import annotations

import json

import pytest

from ledger.params import MarketParams
from market.runway import WARN_BEFORE
from node.errors import NoTreasury
from node.queries.answers import StandingOrderInfo, to_json
from node.queries.chain import ChainQueries
from tests.support.keys import address
from tests.support.market_nodes import MemoryRuntime, World, tell_story

YUAN = 10**6
ECONOMY = MarketParams(economy=1, credit_line_uyuan=2 * YUAN)


@pytest.fixture(scope="module")
def paid() -> World:
    """The story of a market with a bank: homes-2 has an order for 200 yuan, as far as the bank's 50 go."""
    world, _ = tell_story(1, ECONOMY)
    world.send("bank", "deposit", address("bank"), 50 * YUAN, 7, 1)
    world.send("bank", "standing-order", address("homes-2"), 200 * YUAN, 40)
    world.make_block()
    return world


def spend_all(world: World, name: str, *, but: int) -> None:
    """Have a member transfer what it has, but for so much."""
    account = ChainQueries(world.node).get_account(name)
    world.send(name, "transfer", address("bank"), account.balance_uyuan - but)
    world.make_block()


def test_the_treasury_says_what_there_is_and_who_brought_it(paid):
    found = ChainQueries(paid.node).get_account("homes-2"), ChainQueries(paid.node).treasury.get_treasury()
    account, treasury = found
    assert (treasury.founding_uyuan, treasury.deposited_uyuan, treasury.withdrawn_uyuan) == (200 * YUAN, 50 * YUAN, 0)
    assert treasury.money_uyuan == 250 * YUAN
    (bank,) = treasury.banks
    assert (bank.bank_name, bank.statement, bank.line, bank.deposited_uyuan) == ("bank", 7, 1, 50 * YUAN)
    (order,) = treasury.orders
    assert order == account.runway.order
    assert order == StandingOrderInfo(
        member=account.address, member_name="homes-2", bank=bank.bank, bank_name="bank", limit_uyuan=200 * YUAN,
        every_periods=40, due_period=treasury.period + 1,
    )  # fmt: skip


def test_a_member_hears_for_how_long_its_money_lasts(paid):
    """homes-2 has bought 12.5 kWh in the one period that is settled."""
    account = ChainQueries(paid.node).get_account("homes-2")
    runway = account.runway
    assert runway.periods == 1
    assert runway.spent_uyuan == account.income_uyuan or runway.spent_uyuan > 5 * YUAN
    assert runway.left_uyuan == account.balance_uyuan + account.reserved_uyuan + 2 * YUAN
    assert runway.lasts_periods == runway.left_uyuan // runway.spent_uyuan
    assert (runway.is_low, runway.is_under) == (runway.lasts_periods < WARN_BEFORE, False)
    assert ChainQueries(paid.node).get_account("pv-101").runway.lasts_periods is None  # it has earned


def test_status_bills_and_metrics_say_so_before_it_is_gone():
    world, _ = tell_story(1, ECONOMY)
    queries = ChainQueries(world.node)
    before = queries.get_status(world.now_ms)
    spend_all(world, "homes-2", but=10 * YUAN)
    status = queries.get_status(world.now_ms)
    (low,) = status.low_accounts
    assert (low.member_name, low.is_under, low.due_period) == ("homes-2", False, None)
    assert low.lasts_periods == 12 * YUAN // queries.get_account("homes-2").runway.spent_uyuan < WARN_BEFORE
    assert [item.member_name for item in before.low_accounts] == ["homes-2"]
    assert before.low_accounts[0].lasts_periods > low.lasts_periods


async def test_metrics_count_the_accounts(paid):
    async with MemoryRuntime(paid).serve() as url:
        import aiohttp

        async with aiohttp.ClientSession(url) as session, session.get("/metrics") as answer:
            text = await answer.text()
    assert 'gridmerit_accounts_low{chain="jy1"} ' in text
    assert 'gridmerit_accounts_under_credit_line{chain="jy1"} 0' in text


def test_nothing_is_said_where_there_is_no_economy(world):
    queries = ChainQueries(world.node)
    assert "low_accounts" not in json.loads(to_json(queries.get_status(world.now_ms)))
    assert "runway" not in json.loads(to_json(queries.get_account("homes-2")))
    with pytest.raises(NoTreasury) as caught:
        queries.treasury.get_treasury()
    assert str(caught.value) == (
        "jy1 has no treasury: only a trading chain has one, where economy is 1 among its parameters"
    )
