"""The same hour traded in four ways.

    game      the prices found, and the merit order
    corner    every price at its upper bound, the only equilibrium of the printed equations, and the merit order
    tariffs   fixed ones: the grid company sells to all and buys of all; bureaus make what the green energy leaves
    auction   a double one of truthful orders, cleared by the chain's rule price-time

Subsidies are the paper's: they are paid in the game and at its corner alone.
"""

from __future__ import annotations

from math import exp
from typing import Literal, TypeAlias

from market.game import payoffs
from market.game.hour import WH_PER_KWH, Hour, Prices
from market.game.merit_order import trade
from market.game.payoffs import Matrix, Volumes
from simulation.game.accounts import (
    RETAIL,
    Account,
    Green,
    HourAccounts,
    add_up,
    buy_of_grid,
    keep_grid_account,
    sell_to_grid,
)
from simulation.game.auction import trade_by_auction

Market: TypeAlias = Literal["game", "corner", "tariffs", "auction"]
MARKETS: tuple[Market, ...] = ("game", "corner", "tariffs", "auction")


def trade_in(market: Market, hour: Hour, prices: Prices, own_use_wh: int) -> HourAccounts:
    """The accounts of an hour; `prices` are the game's, `own_use_wh` is what companies' plants make for themselves."""
    own_use = own_use_wh / WH_PER_KWH
    match market:
        case "game":
            return trade_at(hour, prices, own_use)
        case "corner":
            return trade_at(hour, find_corner(hour), own_use)
        case "tariffs":
            return trade_by_tariffs(hour, own_use)
        case "auction":
            return trade_by_auction(hour, own_use)


def find_corner(hour: Hour) -> Prices:
    """The upper bounds."""
    count = {"g": hour.companies, "c": hour.bureaus}
    return hour.make_prices(**{name: [high] * count[name[0]] for name, (_, high) in hour.bounds.items()})


# --- by the merit order ------------------------------------------------------------------------------


def trade_at(hour: Hour, prices: Prices, own_use_kwh: float) -> HourAccounts:
    """Trade an hour by the merit order at these prices. Raises `PriceOutOfBounds` and `NoSupplyMargin`."""
    volumes = trade(hour, prices)
    fed_in = sum(volumes.feed_in)
    return HourAccounts(
        companies=_list_companies(hour, prices, volumes),
        bureaus=_list_bureaus(hour, prices, volumes),
        users=_list_users(hour, prices, volumes),
        grid=keep_grid_account(hour, bought_kwh=fed_in),
        green=Green(own_use_kwh, _sum(volumes.g_to_u), _sum(volumes.g_to_c), fed_in),
    )


def _list_companies(hour: Hour, prices: Prices, volumes: Volumes) -> tuple[Account, ...]:
    rows = zip(
        map(sum, volumes.g_to_u),
        map(sum, volumes.g_to_c),
        payoffs.compute_company_sales(prices, volumes),
        _sum_columns(volumes.c_to_g, hour.companies),
        payoffs.compute_company_purchases(prices, volumes) or (0.0,) * hour.companies,
        payoffs.compute_company_subsidies(prices, volumes, hour.subsidy) or (0.0,) * hour.companies,
        hour.per_player("value_company"),
        volumes.flexible_companies,
        volumes.feed_in,
        strict=True,
    )
    return tuple(
        Account(sold + resold, sales, bought, cost, subsidy, value * flexible).add(sell_to_grid(hour, fed_in))
        for sold, resold, sales, bought, cost, subsidy, value, flexible, fed_in in rows
    )


def _list_bureaus(hour: Hour, prices: Prices, volumes: Volumes) -> tuple[Account, ...]:
    rows = zip(
        map(sum, volumes.c_to_u),
        map(sum, volumes.c_to_g),
        payoffs.compute_bureau_sales(prices, volumes),
        _sum_columns(volumes.g_to_c, hour.bureaus),
        payoffs.compute_bureau_purchases(prices, volumes) or (0.0,) * hour.bureaus,
        payoffs.compute_bureau_subsidies(prices, volumes, hour.subsidy),
        hour.per_player("value_bureau"),
        hour.per_player("bureau_cost"),
        strict=True,
    )
    return tuple(
        Account(users + companies, sales, bought, cost, -subsidy, value * bought - unit_cost * (users + companies))
        for users, companies, sales, bought, cost, subsidy, value, unit_cost in rows
    )


def _list_users(hour: Hour, prices: Prices, volumes: Volumes) -> tuple[Account, ...]:
    rows = zip(
        _sum_columns((*volumes.g_to_u, *volumes.c_to_u), hour.users),
        payoffs.compute_user_purchases(prices, volumes),
        payoffs.compute_user_subsidies(prices, volumes, hour.subsidy),
        hour.per_player("value_user"),
        volumes.flexible_users,
        strict=True,
    )
    return tuple(
        Account(bought_kwh=bought, cost=cost, subsidy=subsidy, worth=value * flexible)
        for bought, cost, subsidy, value, flexible in rows
    )


def _sum(matrix: Matrix) -> float:
    return sum(map(sum, matrix))


def _sum_columns(matrix: Matrix, count: int) -> list[float]:
    return [sum(row[column] for row in matrix) for column in range(count)]


# --- by tariffs --------------------------------------------------------------------------------------


def trade_by_tariffs(hour: Hour, own_use_kwh: float) -> HourAccounts:
    """Trade an hour in which everybody deals with the grid company alone."""

    def buy(needed: float, value: float) -> Account:
        flexible = hour.phi * needed / (1 + exp((RETAIL - value) / hour.mu))
        return buy_of_grid((1 - hour.phi) * needed + flexible, value * flexible)

    surplus, lacks = hour.kwh("surplus_wh"), zip(hour.kwh("shortage_wh"), hour.per_player("value_company"), strict=True)
    companies = [sell_to_grid(hour, left).add(buy(*lack)) for left, lack in zip(surplus, lacks, strict=True)]
    users = [buy(*need) for need in zip(hour.kwh("user_load_wh"), hour.per_player("value_user"), strict=True)]
    used = add_up([*companies, *users]).bought_kwh
    made = max(0.0, used - sum(surplus))
    costs = hour.per_player("bureau_cost")
    return HourAccounts(
        companies=tuple(companies),
        bureaus=tuple(sell_to_grid(hour, share * made, cost) for share, cost in zip(hour.shares(), costs, strict=True)),
        users=tuple(users),
        grid=keep_grid_account(hour, bought_kwh=sum(surplus) + made, sold_kwh=used),
        green=Green(own=own_use_kwh, fed_in=sum(surplus)),
    )
