"""Members who play the market: they agree on what they do not mean, and their meters are silent, or say too much.

`PLAYS` by name, each on a network of its own, whose market has the recommended parameters. What everybody's account has
gained in the end is held against what the tariff allows for what truly flowed (`tariff.py`), as all nodes tell it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

from gridmerit.network.layout import Network
from gridmerit.network.parameters import get_packaged_params, load_chain_params
from ledger.codec import Value
from ledger.genesis import Genesis
from ledger.params import MarketParams
from ledger.signatures import SigningKey
from ledger.units import format_yuan
from market.orders import Side
from market.trading.gates import LAPSED, VOID
from market.trading.times import PeriodTimes, compute_times
from node.api.client import Client
from node.config import load_genesis
from node.credentials.keystore import load_key, load_passphrase
from node.errors import RemoteNotFound, RemoteRejected
from node.queries.answers import SettlementInfo
from node.system.clock import now_ms
from tests.processes.stage import Mishap, Report, Stage, Unfit, build_network, open_stage
from tests.processes.tariff import Agreed, Energy, compute_most, judge_gains

SELLER, BUYER = "pv-101", "homes-1"
KWH = 1_000
DEAR_UYUAN_PER_KWH = 50_000_000
FAIR_UYUAN_PER_KWH = 500_000
AGREED_WH = 20 * KWH
METERED_WH = 70 * KWH
_PERIODS_TRIED = 3  # under POCA a gate may come to nothing for want of blocks: then they try again
_MS_PER_WINDOW_S = 480  # a period of 9.6 s in the long form, of 2.4 s in the short one
_SLACK_MS = 200
_POLL_S = 0.1
_WITHIN_S = 30.0


class Void(Exception):
    """The period came to nothing, by nobody's trick."""


@dataclass(frozen=True, kw_only=True)
class Deal:
    """One delivery period, as its two players and their meters act in it; what was seen, and what of it is wrong."""

    stage: Stage
    genesis: Genesis
    keys: Mapping[str, SigningKey]
    period: int
    flows: Mapping[str, Energy]  # what truly flows
    before: Mapping[str, int]  # everybody's money, in µ¥
    seen: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def market(self) -> MarketParams:
        return self.genesis.params.market

    @property
    def times(self) -> PeriodTimes:
        return compute_times(self.period, self.genesis.params, self.genesis.time_ms)

    @property
    def clients(self) -> Sequence[Client]:
        return tuple(self.stage.clients.values())

    def expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.faults.append(f"{what}: {found!r}, not {wanted!r}")

    # --- acting ----------------------------------------------------------------------------------

    async def order_both(self, price_uyuan_per_kwh: int, volume_wh: int) -> list[str]:
        """Have the two place orders that meet, while the market is open; "" or the code of the refusal of each."""
        await sleep_until(self.times.open_ms + _SLACK_MS)
        terms = self.period, price_uyuan_per_kwh, volume_wh
        payloads = {SELLER: (int(Side.OFFER), *terms), BUYER: (int(Side.BID), *terms)}
        return await asyncio.gather(*(self._say(name, "intention", payload) for name, payload in payloads.items()))

    async def agree(self, price_uyuan_per_kwh: int, volume_wh: int) -> None:
        """The same, where both are to be taken. Raises `Void` where they are too late."""
        codes = await self.order_both(price_uyuan_per_kwh, volume_wh)
        if "GateClosed" in codes:
            raise Void("they were too late")
        self.expect("orders that meet", codes, ["", ""])

    async def read(self, name: str, energy: Energy) -> str:
        """Have a member's meter speak once all is delivered; "", or the code of the refusal."""
        await sleep_until(self.times.delivery_end_ms + _SLACK_MS)
        payload = self.period, energy.consumed_wh, energy.produced_wh
        return await self._say(f"meter-{name}", "reading", payload)

    async def read_truly(self, *names: str) -> None:
        codes = await asyncio.gather(*(self.read(name, self.flows[name]) for name in names))
        self.expect(f"true readings of {', '.join(names)}", codes, [""] * len(names))

    async def _say(self, name: str, kind: str, payload: tuple[Value, ...]) -> str:
        client = self.clients[0]
        try:
            identity = await client.send(self.keys[name], kind, payload)
            found = await client.wait_for(identity, timeout_s=_WITHIN_S)
        except RemoteRejected as error:
            return error.code  # at the door
        return f"{found.code} in a block" if found.code else ""

    # --- looking ---------------------------------------------------------------------------------

    async def settle(self, *, imputed: str = "") -> None:
        """Wait until every node has settled the period for good, with these sides imputed. Raises `Void` or `Unfit`."""
        await sleep_until(self.times.settle_ms)
        try:
            async with asyncio.timeout(_WITHIN_S):
                await asyncio.gather(*(self._wait_for_settlement(client, imputed) for client in self.clients))
        except TimeoutError:
            raise Unfit(f"not settled in {_WITHIN_S:.0f} s with {imputed or 'nobody'} imputed") from None

    async def _wait_for_settlement(self, client: Client, imputed: str) -> None:
        height = None  # by which it was settled so
        while height is None or (await client.status()).final_height < height:
            await asyncio.sleep(_POLL_S)
            if not await self._is_settled(client, imputed):
                height = None
            elif height is None:
                height = (await client.status()).height

    async def _is_settled(self, client: Client, imputed: str) -> bool:
        try:
            settlement = await client.settlement(self.period)
        except RemoteNotFound:
            return False
        if settlement.gate is not None and settlement.gate.status in (VOID, LAPSED):
            raise Void(f"period {self.period} is {settlement.gate.status}")
        return list_imputed(settlement) == imputed

    async def judge(self, when: str = "") -> Mapping[str, int]:
        """The gains of all (µ¥), in which all nodes must agree; what the tariff does not allow is a fault."""
        told = await asyncio.gather(*map(ask_money, self.clients))
        self.expect("other accounts told by other nodes", [money for money in told if money != told[0]], [])
        gains = {name: money - self.before[name] for name, money in told[0].items()}
        trades = await ask_agreed(self.clients[0], self.period)
        self.expect("trades", len(trades), 1)
        tariff = load_chain_params(get_packaged_params()).market
        for name, energy in self.flows.items():
            most = int(compute_most(name, energy, trades, tariff))
            self.seen.append(f"{name} {format_yuan(gains[name])} of {format_yuan(most)}{when and ' ' + when}")
        self.faults.extend(judge_gains(gains, self.flows, trades, tariff))
        return gains


def list_imputed(settlement: SettlementInfo) -> str:
    """The sides of a settlement's trades of which a meter was not heard."""
    buyers = ["buyer" for trade in settlement.trades if trade.is_consumption_imputed]
    return " ".join(buyers + ["seller" for trade in settlement.trades if trade.is_output_imputed])


async def ask_agreed(client: Client, period: int) -> list[Agreed]:
    """The trades of a period by one node's word."""
    return [
        Agreed(
            seller=trade.seller_name or trade.seller,
            buyer=trade.buyer_name or trade.buyer,
            price_uyuan_per_kwh=trade.price_uyuan_per_kwh,
            volume_wh=trade.volume_wh,
        )
        for trade in (await client.trades(period)).trades
    ]


async def ask_money(client: Client) -> dict[str, int]:
    """All members' money by one node's word, in µ¥, with what is set aside."""
    names = [member.name for member in await client.members() if member.owner is None]
    accounts = await asyncio.gather(*map(client.account, names))
    return {account.name: int(account.balance_uyuan + account.reserved_uyuan) for account in accounts}


async def sleep_until(time_ms: int) -> None:
    await asyncio.sleep(max(0, time_ms - now_ms()) / 1_000)


# --- what they play ------------------------------------------------------------------------------


async def meet_for_a_watt_hour(deal: Deal) -> None:
    """Two accomplices want 50 yuan/kWh, and take the highest price there may be, for 1 Wh; much more is metered."""
    limit = deal.market.max_price_uyuan_per_kwh
    for price in (DEAR_UYUAN_PER_KWH, limit + 1):
        codes = await deal.order_both(price, 1)
        deal.expect(f"orders at {format_yuan(price)} yuan/kWh", codes, ["PriceTooHigh", "PriceTooHigh"])
    await deal.agree(limit, 1)
    await _deliver(deal)


async def meet_at_any_price(deal: Deal) -> None:
    """The same where no price is refused: they meet at 50 yuan/kWh."""
    await deal.agree(DEAR_UYUAN_PER_KWH, 1)
    await _deliver(deal)


async def _deliver(deal: Deal) -> None:
    await deal.read_truly(SELLER, BUYER)
    await deal.settle()
    await deal.judge()


async def silence_the_buyer(deal: Deal) -> None:
    """A buyer keeps its meter silent until the period is settled; then it speaks, and says the same again."""
    await deal.agree(FAIR_UYUAN_PER_KWH, AGREED_WH)
    await deal.read_truly(SELLER)
    await deal.settle(imputed="buyer")
    gains = await deal.judge("silent")
    deal.expect("the silent buyer's gain", gains[BUYER], -AGREED_WH * deal.market.retail_uyuan_per_kwh // KWH)
    await deal.read_truly(BUYER)
    await deal.settle()
    gains = await deal.judge("corrected")
    price = FAIR_UYUAN_PER_KWH + deal.market.wheeling_uyuan_per_kwh
    deal.expect("the buyer's gain", gains[BUYER], -AGREED_WH * price // KWH)
    deal.expect("the same reading again", await deal.read(BUYER, deal.flows[BUYER]), "DuplicateReading")


async def silence_the_seller(deal: Deal) -> None:
    """A seller does so."""
    await deal.agree(FAIR_UYUAN_PER_KWH, AGREED_WH)
    await deal.read_truly(BUYER)
    await deal.settle(imputed="seller")
    gains = await deal.judge("silent")
    deal.expect("the silent seller's gain", gains[SELLER], 0)
    await deal.read_truly(SELLER)
    await deal.settle()
    gains = await deal.judge("corrected")
    deal.expect("the seller's gain", gains[SELLER], AGREED_WH * FAIR_UYUAN_PER_KWH // KWH)
    deal.expect("the same reading again", await deal.read(SELLER, deal.flows[SELLER]), "DuplicateReading")


async def say_too_much(deal: Deal) -> None:
    """A consumer's meter reports production, and a producer's more than it can make; who is refused, is honest."""
    capacities = {member.name: member.capacity_wh for member in deal.genesis.members}
    lies = {
        BUYER: (Energy(consumed_wh=AGREED_WH, produced_wh=10 * capacities[BUYER]), "OutputNotAllowed"),
        SELLER: (Energy(produced_wh=capacities[SELLER] * 6 // 5 + 1), "ImplausibleReading"),
    }
    await deal.agree(FAIR_UYUAN_PER_KWH, AGREED_WH)
    for name, (lie, code) in lies.items():
        found = await deal.read(name, lie)
        deal.expect(f"the false reading of {name}", found, code)
        if found:
            await deal.read_truly(name)
    await deal.settle()
    await deal.judge()


# --- on a network of their own -------------------------------------------------------------------

Script = Callable[[Deal], Awaitable[None]]


async def play(
    script: Script,
    home: Path,
    seconds: float,
    *,
    engine: str = "poca",
    honest: int = 4,
    metered_wh: int = AGREED_WH,
    terms: Mapping[str, object] = MappingProxyType({}),
) -> Report:
    """Play a script in one period, or in another where that one came to nothing.

    `terms` are what the market's parameters differ in from the recommended ones. Raises `Unfit`.
    """
    network = build_network(
        home,
        engine=engine,
        honest=honest,
        liar_votes=False,
        liar_seals=False,
        period_ms=int(seconds * _MS_PER_WINDOW_S),
        market=terms,
    )
    flows = {SELLER: Energy(produced_wh=metered_wh), BUYER: Energy(consumed_wh=metered_wh)}
    async with open_stage(network, rate=0) as stage:
        for _ in range(_PERIODS_TRIED):
            deal = await find_deal(stage, flows)
            with suppress(Void):
                await script(deal)
                return Report(seen=", ".join(deal.seen), faults=(*deal.faults, *stage.check_processes()))
        raise Unfit(f"{_PERIODS_TRIED} periods have come to nothing")


async def find_deal(stage: Stage, flows: Mapping[str, Energy]) -> Deal:
    """The next period whose gate is not about to close."""
    genesis = load_genesis(stage.network.genesis_path)
    period_ms = genesis.params.ledger.period_ms
    gate_ms = compute_times(0, genesis.params, genesis.time_ms).gate_ms
    return Deal(
        stage=stage,
        genesis=genesis,
        keys=load_keys(stage.network),
        period=-((gate_ms - now_ms()) // period_ms) + 1,
        flows=flows,
        before=await ask_money(next(iter(stage.clients.values()))),
    )


def load_keys(network: Network) -> dict[str, SigningKey]:
    """Those of the two players and of their meters."""
    keys = {}
    for player in network.players:
        if player.name in (SELLER, BUYER):
            files = {
                player.name: (player.key_file, player.passphrase_file),
                player.meter: (player.meter_key_file, player.meter_passphrase_file),
            }
            for name, (key, passphrase) in files.items():
                keys[name] = load_key(network.directory / key, load_passphrase(network.directory / passphrase))
    return keys


PLAYS: dict[str, Mishap] = {
    "accomplices": partial(play, meet_for_a_watt_hour, engine="pbft", metered_wh=METERED_WH),
    "any-price": partial(play, meet_at_any_price, metered_wh=METERED_WH, terms={"max_price_uyuan_per_kwh": 10**8}),
    "silent-buyer": partial(play, silence_the_buyer),
    "silent-seller": partial(play, silence_the_seller),
    "false-meters": partial(play, say_too_much),
}
