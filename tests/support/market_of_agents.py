"""The packaged day, day after day, by the contracts of three chains: agents trade, and nobody's money runs out.

    python -m tests.support.market_of_agents --periods 1000
    python -m tests.support.market_of_agents --periods 1000 --without-bank

Every period is planned, ordered as the strategy `truthful` has it, cleared, metered and settled. A bank tops everybody
up each day, players who have sold much have it pay them out. Fails where a balance is below nothing, an order is
refused for want of money, or the sum of all accounts is not what the genesis gave out, plus deposits, less withdrawals.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from gridmerit.network.founders import DISPATCH, GRID, deal_positions, make_members
from gridmerit.network.parameters import load_packaged_profile, load_params_set
from gridmerit.players.banking import Call, Terms, plan_banking, plan_payout
from gridmerit.players.plans import plan_lines, plan_orders
from gridmerit.text import format_yuan
from ledger.accounts import Account, get_account
from ledger.genesis import ALL_CHAINS, Genesis, GenesisMember
from ledger.params import ChainParams, LedgerParams
from ledger.signatures import SigningKey
from market.orders import Side
from market.runway import find_runway, get_spending
from market.standing_orders import get_standing_order
from market.trading.views import get_quota
from market.treasury import Booked, get_book, get_booked
from simulation.world.contract_chains import ContractChain
from simulation.world.networks import GENESIS_TIME_MS, key_of
from tests.support.market_years import BLOCKS, MARKET, PERIOD_MS, SCHEDULING

BANK = "bank"
YUAN = 10**6
HOURS = 24
TERMS = Terms(limit_uyuan=5_000 * YUAN, every=HOURS)
REFUSED_FOR_MONEY = {"InsufficientBalance", "UnderCreditLine"}


class MarketOfAgents:
    """Ten players, a dispatcher, the grid company and a bank; `terms` are None where the bank stays away."""

    def __init__(self, *, terms: Terms | None = TERMS, balance_uyuan: int = 5_000 * YUAN) -> None:
        self.terms = terms
        self.profile = load_packaged_profile()
        self.players = [player.name for player in self.profile.players]
        meters = {name: f"meter-{name}" for name in self.players}
        self.keys = {name: key_of(name) for name in (GRID, DISPATCH, BANK, *meters, *meters.values())}
        self.genesis = self._found(balance_uyuan)
        self.chains = [
            ContractChain(self.genesis.open(chain.name), self.keys[GRID], [self.keys[GRID]])
            for chain in self.genesis.chains
        ]
        self.du1, self.jy1 = (
            next(chain for chain in self.chains if chain.params.kind == kind) for kind in ("scheduling", "trading")
        )
        self.customers = (GRID, *self.players)
        self.period = 0
        self.refused: Counter[str] = Counter()
        self.events: Counter[object] = Counter()
        self.lowest = dict.fromkeys(self.customers, self.founding_uyuan)
        self.warned: dict[str, int] = {}  # the period in which it was first said, by name
        self.dry: dict[str, int] = {}  # the period in which a balance was first below nothing

    def _found(self, balance_uyuan: int) -> Genesis:
        """The recommended network's members and lines, and a bank; the clock of `market_years`."""
        grid = next(chain for chain in load_params_set() if chain.kind == "scheduling")
        positions = deal_positions(grid, self.players)
        members = [
            member.model_copy(
                update={
                    "seals": (ALL_CHAINS,) if member.name == GRID else (),
                    "balance_uyuan": balance_uyuan if member.name in self.players else 0,
                }
            )
            for member in make_members(self.profile, self.keys, {}, positions, {})
        ]
        members.append(GenesisMember(name=BANK, role="bank", key=self.keys[BANK].public_key))
        self.positions = {member.name: member.position for member in members}
        market = MARKET.model_copy(update={"economy": 1, "income_and_cost": "kept"})
        shared = {"ledger": LedgerParams(period_ms=PERIOD_MS, max_transaction_bytes=65_536), "market": market}
        lines = {"lines": grid.scheduling.lines, "areas": grid.scheduling.areas}
        return Genesis(
            params=ChainParams(name="JY1", **shared),
            time_ms=GENESIS_TIME_MS,
            members=tuple(members),
            siblings=(
                ChainParams(name="DU1", kind="scheduling", scheduling=SCHEDULING.model_copy(update=lines), **shared),
                ChainParams(name="LH1", kind="credit", **shared),
            ),
        )

    # --- what happens ------------------------------------------------------------------------------

    def run(self, periods: int) -> None:
        for _ in range(periods):
            for part in range(BLOCKS):
                self._act(part)
                self._make_blocks(part)
            self.period += 1

    def _act(self, part: int) -> None:
        match part:
            case 0:
                hour = (self.period + 5) % HOURS
                plan = plan_lines(self.profile, self.positions, hour)
                self.du1.send(self.keys[DISPATCH], "plan", self.period + 5, plan)
            case 1 if self.period > 1:
                self._read_meters(self.period - 1)
            case 2:
                self._place_orders(self.period + 3)
            case 3 if self.terms is not None:
                self._bank(self.terms)

    def _place_orders(self, period: int) -> None:
        quotas = get_quota(self.jy1.state, period)
        for player in self.players if quotas is not None else ():
            for order in plan_orders(self.profile, player, period, self.jy1.params.market, HOURS):
                quota = quotas[self.positions[player]]  # type: ignore[index]
                limit_wh = quota.demand_wh if order.side == Side.BID else quota.supply_wh
                if order.hour == period % HOURS and (volume_wh := min(order.volume_wh, limit_wh)):
                    fields = (int(order.side), period, order.price_uyuan_per_kwh, volume_wh)
                    self.jy1.send(self.keys[player], "intention", *fields)

    def _read_meters(self, period: int) -> None:
        for player in self.profile.players:
            actual_wh = self.profile.readings[player.name, self.profile.hours_ms[period % HOURS]].actual_wh
            energy = (0, actual_wh) if player.role == "producer" else (actual_wh, 0)
            self.du1.send(self.keys[f"meter-{player.name}"], "reading", period, *energy)

    def _bank(self, terms: Terms) -> None:
        view, bank = self.jy1.view, self.keys[BANK]
        book = get_book(view, bank.address)
        orders = {self.address(name): get_standing_order(view, self.address(name)) for name in self.customers}
        has_order = {member: order is not None for member, order in orders.items()}
        balance_uyuan = self.account(BANK).balance_uyuan
        last = None if book is None else book.last
        self._send(bank, plan_banking(bank.address, balance_uyuan, last, has_order, terms))
        for name in self.customers:
            self._send(self.keys[name], plan_payout(bank.address, self.account(name).balance_uyuan, terms))

    def _send(self, key: SigningKey, calls: Sequence[Call]) -> None:
        for kind, payload in calls:
            self.jy1.send(key, kind, *payload)

    def _make_blocks(self, part: int) -> None:
        now_ms = GENESIS_TIME_MS + (self.period * BLOCKS + part) * PERIOD_MS // BLOCKS + 1
        for chain in self.chains:
            said = chain.make_block(now_ms)
            self.refused.update(receipt.code for receipt in chain.receipts if receipt.code)
            self.events.update(event[0] for event in chain.events)
            for other in self.chains:
                if other is not chain:
                    other.heard += said
        self._look()

    # --- what is seen ------------------------------------------------------------------------------

    def _look(self) -> None:
        money = self.founding_uyuan + self.booked.deposited_uyuan - self.booked.withdrawn_uyuan
        accounts = {name: self.account(name) for name in self.positions}
        assert sum(item.balance_uyuan + item.reserved_uyuan for item in accounts.values()) == money
        for name in self.customers:
            self.lowest[name] = min(self.lowest[name], accounts[name].balance_uyuan)
            if accounts[name].balance_uyuan < 0:
                self.dry.setdefault(name, self.period)
        self._look_who_is_warned()

    def _look_who_is_warned(self) -> None:
        view = self.jy1.view
        spending = get_spending(view)
        for name in self.customers:
            order = get_standing_order(view, self.address(name))
            runway = find_runway(view, self.jy1.params.market, self.address(name), spending, order, self.period)
            if runway.is_low or runway.is_under:
                self.warned.setdefault(name, self.period)

    @property
    def is_dry(self) -> bool:
        """True where a balance has been below nothing, or an order was refused for want of money."""
        return bool(self.dry or REFUSED_FOR_MONEY & self.refused.keys())

    @property
    def founding_uyuan(self) -> int:
        return sum(member.balance_uyuan for member in self.genesis.members)

    @property
    def booked(self) -> Booked:
        return get_booked(self.jy1.view)

    def address(self, name: str) -> bytes:
        return self.keys[name].address

    def account(self, name: str) -> Account:
        return get_account(self.jy1.view, self.address(name))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--periods", type=int, default=1_000)
    parser.add_argument("--without-bank", action="store_true")
    options = parser.parse_args(arguments)
    market = MarketOfAgents(terms=None if options.without_bank else TERMS)
    for _ in range(0, options.periods, 50):
        market.run(50)
        print(f"{market.period}: {market.events['settled']} settled, lowest {format_yuan(min(market.lowest.values()))}")
    for name in (*market.customers, BANK):
        account = market.account(name)
        lowest = format_yuan(market.lowest.get(name, 0))
        said = f", said in {market.warned[name]}" if name in market.warned else ""
        dry = f", dry in {market.dry[name]}" if name in market.dry else ""
        print(f"{name:10} {format_yuan(account.balance_uyuan):>18} yuan, lowest {lowest}{said}{dry}")
    booked = market.booked
    print(f"{format_yuan(booked.deposited_uyuan)} deposited, {format_yuan(booked.withdrawn_uyuan)} withdrawn")
    print(f"refused: {dict(market.refused)}; topped up {market.events['topped-up']} times")
    return int(market.is_dry)


if __name__ == "__main__":
    sys.exit(main())
