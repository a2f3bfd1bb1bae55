"""The selling and the purchase account of text 001 in one: what a player of an hour sells, buys and has of it.

What a player keeps is its payoff of the game: its money, less what a bureau's generation costs, with the values that
the game gives to what a bureau buys and to the flexible part of a demand. The grid company is in every account: a
kWh that it holds is worth the feed-in tariff, one that it has sold and not bought costs it as much.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Self

from market.game.hour import Hour

RETAIL = 0.615  # yuan/kWh, what the grid company asks: Table 2 of text 000; it pays the hour's feed-in tariff


class _Addable:
    """Figures of one kind that are added up field by field."""

    __slots__: tuple[str, ...] = ()

    def add(self, other: Self) -> Self:
        """The two as one."""
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Account(_Addable):
    """The account of one player, in kWh and yuan, before subsidies."""

    sold_kwh: float = 0.0
    income: float = 0.0
    bought_kwh: float = 0.0
    cost: float = 0.0
    subsidy: float = 0.0
    """Received; below zero where it is paid."""
    worth: float = 0.0
    """The values of what is bought, less what generation costs."""

    @property
    def money(self) -> float:
        """The money that is left of income and cost, with subsidies."""
        return self.income - self.cost + self.subsidy

    @property
    def payoff(self) -> float:
        """The payoff of the game."""
        return self.money + self.worth


@dataclass(frozen=True, slots=True)
class Green(_Addable):
    """The kWh of companies' plants by where they go."""

    own: float = 0.0
    sold: float = 0.0
    """To users, and in an auction to companies that lack some."""
    resold: float = 0.0
    """To bureaus."""
    fed_in: float = 0.0

    @property
    def made(self) -> float:
        """All of it."""
        return self.own + self.sold + self.resold + self.fed_in


@dataclass(frozen=True, slots=True, kw_only=True)
class HourAccounts:
    """All accounts of an hour or of several, and where the green energy went."""

    companies: tuple[Account, ...]
    bureaus: tuple[Account, ...]
    users: tuple[Account, ...]
    grid: Account
    green: Green

    @property
    def everybody(self) -> tuple[Account, ...]:
        """All accounts: companies, bureaus, users, the grid company."""
        return (*self.companies, *self.bureaus, *self.users, self.grid)


def add_up(accounts: Iterable[Account]) -> Account:
    """Several players as one."""
    return reduce(Account.add, accounts, Account())


def sum_hours(hours: Sequence[HourAccounts]) -> HourAccounts:
    """Several hours of the same players as one."""

    def add_side(side: str) -> tuple[Account, ...]:
        return tuple(map(add_up, zip(*(getattr(hour, side) for hour in hours), strict=True)))

    return HourAccounts(
        companies=add_side("companies"),
        bureaus=add_side("bureaus"),
        users=add_side("users"),
        grid=add_up(hour.grid for hour in hours),
        green=reduce(Green.add, (hour.green for hour in hours), Green()),
    )


def keep_grid_account(hour: Hour, *, bought_kwh: float, sold_kwh: float = 0.0) -> Account:
    """The grid company's account of what it buys at the feed-in tariff and sells at the retail one."""
    return Account(
        sold_kwh=sold_kwh,
        income=RETAIL * sold_kwh,
        bought_kwh=bought_kwh,
        cost=hour.feed_in * bought_kwh,
        worth=hour.feed_in * (bought_kwh - sold_kwh),
    )


def buy_of_grid(kwh: float, worth: float) -> Account:
    """A purchase at the retail tariff."""
    return Account(bought_kwh=kwh, cost=RETAIL * kwh, worth=worth)


def sell_to_grid(hour: Hour, kwh: float, cost: float = 0.0) -> Account:
    """A sale at the feed-in tariff of what costs so much a kWh to make."""
    return Account(sold_kwh=kwh, income=hour.feed_in * kwh, worth=-cost * kwh)
