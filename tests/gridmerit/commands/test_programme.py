"""`gridmerit programme` and `gridmerit bill`, against a node's real API."""

from __future__ import annotations

import asyncio
import json

import pytest

from gridmerit.main import run
from ledger.params import BillShares, MarketParams
from node.credentials.keystore import save_key
from tests.support.keys import key_of
from tests.support.market_nodes import MemoryRuntime, PromptHost, tell_story

SHARES = BillShares(producer_ppm=350_000, transmission_ppm=250_000, distribution_ppm=250_000, tax_ppm=150_000)


@pytest.fixture
async def call(tmp_path, capsys):
    """Run a command line against a node of a chain whose bills are split."""
    world, _ = tell_story(1, MarketParams(economy=1, bills=SHARES))
    runtime = MemoryRuntime(world)
    runtime.chains["jy1"] = PromptHost(world, runtime.config.limits)
    (tmp_path / "passphrase").write_text("secret")
    (tmp_path / "passphrase").chmod(0o600)
    save_key(tmp_path / "bank.pem", key_of("bank"), b"secret")
    async with runtime.serve() as url:

        async def call(*arguments: str) -> tuple[int, str]:
            signer = ["--key", str(tmp_path / "bank.pem")] if "open" in arguments or "deposit" in arguments else []
            code = await asyncio.to_thread(run, [*arguments, *signer, "--api", url])
            return code, "".join(capsys.readouterr())

        yield call


async def test_a_programme_is_opened_and_shown(call):
    assert (await call("programme", "show"))[1].startswith("no programmes")
    terms = ("--rate", "producer=0.05", "--from", "900", "--to", "990")
    code, text = await call("programme", "open", "sun", "20", *terms)
    assert code != 0
    assert "BudgetNotCovered" in text
    assert "gridmerit treasury deposit" in text
    assert (await call("treasury", "deposit", "bank", "250", "--payment", "1/1"))[0] == 0
    code, text = await call("programme", "open", "sun", "20", *terms)
    assert (code, "took effect" in text) == (0, True)
    found = json.loads((await call("programme", "show", "--json"))[1])["programmes"][0]
    assert (found["name"], found["state"], found["left_uyuan"]) == ("sun", "open", "20000000")
    assert found["rates_uyuan_per_kwh"] == {"producer": 50_000}
    text = (await call("programme", "show"))[1]
    assert "900–990" in text
    assert "producer 0.05" in text
    code, text = await call("programme", "open", "sun", "20", "--rate", "0.05", "--from", "900", "--to", "990")
    assert code == 2
    assert "is not SOURCE=YUAN" in text


async def test_a_bill_is_shown_or_it_is_said_why_there_is_none(call):
    code, text = await call("bill", "99", "homes-2")
    assert code != 0
    assert "homes-2 has no bill of period 99: it paid nothing" in text
