"""`gridmerit treasury`, against a node's real API: each transaction is in a block of its own at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gridmerit.commands.status import render
from gridmerit.commands.treasury_tables import describe_low, describe_runway
from gridmerit.main import run
from ledger.params import MarketParams
from node.credentials.keystore import save_key
from node.queries.answers import LowAccount, NodeStatus, RunwayInfo
from node.queries.chain import ChainQueries
from tests.support.keys import key_of
from tests.support.market_nodes import MemoryRuntime, PromptHost, World, tell_story

YUAN = 10**6
Call = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
async def call(tmp_path, capsys) -> AsyncIterator[Call]:
    """Run a command line against a node whose bank's key is at hand."""
    world, _ = tell_story(1, MarketParams(economy=1))
    runtime = MemoryRuntime(world)
    runtime.chains["jy1"] = PromptHost(world, runtime.config.limits)
    (tmp_path / "passphrase").write_text("secret")
    (tmp_path / "passphrase").chmod(0o600)
    for name in ("bank", "homes-2"):
        save_key(tmp_path / f"{name}.pem", key_of(name), b"secret")
    async with runtime.serve() as url:

        async def call(*arguments: str, key: str = "bank") -> tuple[int, str]:
            signer = ["--key", str(tmp_path / f"{key}.pem")] if key else []
            code = await asyncio.to_thread(run, [*arguments, *signer, "--api", url])
            return code, "".join(capsys.readouterr())

        yield call


async def test_money_comes_in_and_goes_out(call):
    code, text = await call("treasury", "deposit", "bank", "250", "--payment", "212/4")
    assert (code, "took effect" in text) == (0, True)
    code, text = await call("treasury", "withdraw", "20.5", "--payment", "212/5", "--json")
    assert code == 0
    assert json.loads(text)["payment"] == "212/5"
    code, text = await call("treasury", "order", "homes-2", "--limit", "300", "--every", "720")
    assert code == 0
    code, text = await call("treasury", "show", "--json", key="")
    found = json.loads(text)
    assert (found["deposited_uyuan"], found["withdrawn_uyuan"]) == (str(250 * YUAN), str(20_500_000))
    assert found["orders"][0]["every_periods"] == 720
    code, text = await call("treasury", "show", key="")
    assert "212/5" in text
    assert "homes-2" in text
    code, text = await call("treasury", "order", "homes-2", "--end")
    assert code == 0
    code, text = await call("treasury", "show", "--json", key="")
    assert json.loads(text)["orders"] == []


async def test_what_is_refused_says_what_to_try(call):
    await call("treasury", "deposit", "homes-2", "1", "--payment", "212/4")
    code, text = await call("treasury", "deposit", "homes-2", "1", "--payment", "212/4")
    assert code != 0
    assert "PaymentBooked" in text
    assert "gridmerit treasury show" in text
    code, text = await call("treasury", "deposit", "homes-2", "1", "--payment", "212/5", key="homes-2")
    assert code != 0
    assert "RoleNotAllowed" in text
    assert "gridmerit member list" in text
    code, text = await call("treasury", "order", "homes-2", "--end")
    assert "NoStandingOrder" in text


def test_status_says_whose_money_does_not_last():
    world, _ = tell_story(1, MarketParams(economy=1))
    chain = ChainQueries(world.node).get_status(world.now_ms)
    status = NodeStatus(
        version="", member=None, address=None, uptime_ms=0, chains=(chain,), peers=(), sealing={"jobs": 0}
    )
    (low,) = chain.low_accounts
    assert f"homes-2's money  {describe_low(low)}" in render(status, "http://127.0.0.1")


async def test_account_and_bill_say_for_how_long_money_lasts(call):
    code, text = await call("account", "show", "homes-2", key="")
    assert code == 0
    assert "lasts" in text
    code, text = await call("account", "bill", "homes-2", key="")
    assert code == 0
    assert "left: " in text


@pytest.mark.parametrize("payment", ["212", "212/", "/4", "a/4", "212/4/1", "-1/4", f"{2**53}/1"])
async def test_a_payment_is_named_by_statement_and_line(call, payment):
    code, text = await call("treasury", "deposit", "homes-2", "1", f"--payment={payment}")
    assert code == 2
    assert "is not STATEMENT/LINE" in text


@pytest.mark.parametrize("options", [[], ["--limit", "5"], ["--every", "5"], ["--end", "--limit", "5"],
                                     ["--end", "--limit", "5", "--every", "5"]])  # fmt: skip
async def test_an_order_has_limit_and_interval_or_an_end(call, options):
    code, text = await call("treasury", "order", "homes-2", *options)
    assert code == 2
    assert "name --limit and --every, or --end" in text


def test_how_long_money_lasts_in_words():
    def low(**changes: object) -> str:
        fields = {
            "member": "0x", "member_name": "homes-2", "left_uyuan": 5 * YUAN, "lasts_periods": 3, "is_under": False,
            "due_period": None,
        }  # fmt: skip
        return describe_low(LowAccount(**{**fields, **changes}))

    def runway(**changes: object) -> str:
        fields = {
            "left_uyuan": 5 * YUAN, "credit_line_uyuan": 0, "spent_uyuan": YUAN, "periods": 24, "lasts_periods": 120,
            "is_low": False, "is_under": False, "order": None,
        }  # fmt: skip
        return describe_runway(RunwayInfo(**{**fields, **changes}))

    assert low() == "5.00 yuan left, for 3 periods like the last ones"
    assert low(due_period=9) == "5.00 yuan left, for 3 periods like the last ones; topped up in period 9"
    assert low(is_under=True) == "below its credit line, it places no bids (5.00 yuan left)"
    assert runway() == "5.00 yuan, for 120 periods like the last 24"
    assert runway(is_low=True, lasts_periods=1, credit_line_uyuan=YUAN) == (
        "5.00 yuan, the credit line of 1.00 yuan included, for 1 period like the last 24: LOW"
    )
    assert runway(lasts_periods=None) == "5.00 yuan; the last 24 periods have cost nothing"
    assert runway(lasts_periods=None, periods=0) == "5.00 yuan; no period is settled yet"
    assert runway(is_under=True) == "5.00 yuan: below the credit line, no bids until money comes in"


def test_a_world_without_an_economy_has_no_bank():
    assert "bank" not in World().genesis.model_dump_json()
