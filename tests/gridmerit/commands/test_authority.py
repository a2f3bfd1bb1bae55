"""The authority's countersignatures by command, where a market asks for an audit; over the API of a real node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from gridmerit.commands.acts import Chains
from gridmerit.main import run
from gridmerit.network.enrolment import init_authority, make_countersignature, make_revocation
from ledger.errors import WrongChain
from ledger.genesis import Authority
from ledger.overlay import Overlay
from ledger.params import MarketParams
from ledger.signatures import SigningKey
from market.orders import Side
from market.trading.contract import TradeIntention
from market.trading.period import is_countersigned
from node.api.client import Client
from node.config import save_genesis
from node.credentials.keystore import load_passphrase, save_key
from node.queries.answers import PeriodInfo
from node.system.clock import now_ms
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.live

SECOND = SigningKey(b"\x77" * 32)
MARKET = MarketParams(audit="required", open_ppm=4_000_000, gate_ppm=2_500_000)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command line with --json, in a thread: exit code and document."""

    def call(*args: object) -> tuple[int, Any]:
        code = run([*map(str, args), "--json"])
        return code, json.loads(capsys.readouterr().out)

    async def ask(*args: object) -> tuple[int, Any]:
        return await asyncio.to_thread(call, *args)

    return ask


async def trade(client: Client, keys: tuple[SigningKey, ...]) -> int:
    """One trade of 1 kWh in a period to come; its gate is closed when this returns."""
    status = await client.status()
    period = (status.time_ms - status.genesis_time_ms) // status.period_ms + 5

    async def until(condition: Callable[[PeriodInfo], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not any(item.period == period and condition(item) for item in (await client.periods()).periods):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    await until(lambda item: item.phase == "open")
    for key, side in zip(keys, (Side.BID, Side.OFFER), strict=True):
        order = TradeIntention(side, period, 500_000, 1_000)
        placed = await client.wait_for(await client.send(key, "intention", order.to_payload()), timeout_s=PATIENCE_S)
        assert placed.code == ""
    await until(lambda item: item.gate is not None)
    assert len((await client.trades(period)).trades) == 1
    return period


def test_a_countersignature_is_for_one_chain(make_local):
    genesis = make_local(1, siblings=("lh1",)).genesis
    act = make_countersignature(genesis.network_id, genesis.chain_id_of("jy1"), 7, bytes(32))
    clients = {name: Client("http://unused", name) for name in ("lh1", "jy1")}
    assert Chains(clients=clients, genesis=genesis).choose(act) == ("jy1",)
    del clients["jy1"]
    with pytest.raises(WrongChain):
        Chains(clients=clients, genesis=genesis).choose(act)
    everywhere = make_revocation(genesis.network_id, 1, "")
    assert Chains(clients=clients, genesis=genesis).choose(everywhere) == ("lh1",)


async def test_two_of_the_authority_countersign_and_the_chain_takes_it_once(make_local, ask, tmp_path):
    local = make_local(3, secure=False, period_ms=2_000)
    office = init_authority(tmp_path / "authority", keys=1, now_ms=now_ms())
    save_key(tmp_path / "second.pem", SECOND, load_passphrase(tmp_path / "passphrase"))
    authority = Authority(threshold=2, keys=(office.keys[0].public_key, SECOND.public_key))
    params = local.genesis.params.model_copy(update={"market": MARKET})
    save_genesis(local.genesis.model_copy(update={"authority": authority, "params": params}), tmp_path / "genesis.json")
    beside = ("--passphrase-file", tmp_path / "passphrase")
    async with local.running(0) as [node], Client(f"http://127.0.0.1:{node.api_port}", "jy1") as client:
        send = ("--key", tmp_path / "n0.pem", *beside, "--api", f"http://127.0.0.1:{node.api_port}")
        period = await trade(client, local.keys[1:])
        countersign = ("authority", "countersign", period, "--authority", office.directory, *send)
        code, left = await ask(*countersign)
        assert (code, left["status"], left["signatures"]) == (0, "unsigned", 1)
        (file,) = left["acts"]
        assert (await ask("authority", "submit", file, *send))[1]["error"] == "TooFewSignatures"
        _, signed = await ask("authority", "sign", file, "--key", tmp_path / "second.pem", *beside)
        root = (await client.trades(period)).gate.result_root
        assert signed["act"] == {
            "kind": "countersign",
            "chain_id": node.chains["jy1"].node.chain_id.hex(),
            "period": period,
            "result_root": root,
        }
        for status in ("done", "already"):
            code, done = await ask("authority", "submit", file, *send)
            assert (code, done["chains"]["jy1"]["status"], done["missing"]) == (0, status, [])
        assert is_countersigned(Overlay(node.chains["jy1"].node.chain.head.state), period)
        assert (await ask("authority", "countersign", 9_999, "--authority", office.directory, *send))[0] == 5
