"""The record of a week: every hour as it was settled, every day as it was accounted for. Frozen, in µ¥ and Wh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from market.claim_records import Served
from market.trading.settlement_record import SettledTrade, SettledWithGrid
from market.trading.trades import TradeRecord
from market.waterfall import Payments, State


class Sale(NamedTuple):
    """A claim that was sold."""

    period: int
    seller: str
    buyer: str
    volume_wh: int
    price_uyuan: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One settled period: what was agreed of it, and the rows that it was settled at."""

    period: int
    hour_ms: int
    claims: tuple[Served, ...]
    trades: tuple[SettledTrade, ...]
    grid: tuple[SettledWithGrid, ...]
    agreed: tuple[TradeRecord, ...]  # the trades that bind


class Bill(NamedTuple):
    """The cost of a home's day: at retail alone, as settled, and what vouchers paid of that."""

    home: str
    consumed_wh: int
    retail_uyuan: int
    vouchers_uyuan: int
    plants_uyuan: int  # what of it was claims and trades at their price, less penalties
    grid_uyuan: int  # what of it is the grid company's
    credited_uyuan: int  # what the grid company paid for claims beyond the home's need
    parts_uyuan: Mapping[str, int]  # who shares in what is the grid company's

    @property
    def settled_uyuan(self) -> int:
        return self.plants_uyuan + self.grid_uyuan - self.credited_uyuan

    @property
    def after_uyuan(self) -> int:
        return self.settled_uyuan - self.vouchers_uyuan


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day's accounts, once all its hours are settled."""

    number: int
    bills: tuple[Bill, ...]
    subsidies_uyuan: Mapping[str, int]
    budget_left_uyuan: int
    collections_uyuan: int
    payments: Payments
    pool: State


class Vouchers(NamedTuple):
    """The vouchers of all issuers so far."""

    issued: int
    live: int
    spent: int
    expired: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """All that the page tells. `breaches` are identities that did not hold, each with its block."""

    players: tuple[tuple[str, str], ...]  # name and role
    names: Mapping[bytes, str]
    hours: tuple[Hour, ...]
    days: tuple[Day, ...]
    sales: tuple[Sale, ...]
    vouchers: tuple[Vouchers, ...]  # after each day
    founding_uyuan: int
    deposited_uyuan: int
    withdrawn_uyuan: int
    lowest_uyuan: Mapping[str, int]
    costs_uyuan: Mapping[str, int]  # by the accounts: what settlements had each player pay, less what they paid it
    blocks: int
    breaches: tuple[str, ...]
    refused: Mapping[str, int]
    events: Mapping[str, int]

    @property
    def plants(self) -> tuple[str, ...]:
        return tuple(name for name, role in self.players if role == "producer")

    @property
    def homes(self) -> tuple[str, ...]:
        return tuple(name for name, role in self.players if role == "consumer")
